"""Measure the memory of a record in the local cache, over a store that keeps nothing in the process."""

import asyncio
import contextlib
import gc
import tracemalloc
from collections.abc import Sequence
from typing import Any

import redis
from aws_lambda_powertools.utilities.idempotency.persistence.redis import CachePersistenceLayer
from libraries import (
    IDEMKIT,
    IDEMPROOF,
    POWERTOOLS,
    Function,
    by_idemkit,
    by_jmespath,
    closing,
    idemkit_redis,
    powertools,
)
from measuring import Act, Contestant, Sample, Scenario, Size, in_tasks, in_turn
from payloads import ORDER, Payload
from stores import Places

import idemproof

CACHED_RECORD = "a cached record"


def _measured(name: str, act: Act, runs: list[Any]) -> Contestant:
    def one_round(payloads: Sequence[Payload]) -> list[Sample]:
        act(payloads[:1])  # excludes objects that are created once
        rest = payloads[1:]
        runs.clear()
        gc.collect()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            right = _answered(act, rest) and len(runs) == len(rest)
            # idemkit caches replayed results; the others also cache stored results.
            right = _answered(act, rest) and len(runs) == len(rest) and right
            runs.clear()
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        return [Sample(CACHED_RECORD, (after - before) / len(rest), None if right else "a wrong answer")]

    return Contestant(name, one_round)


def _answered(act: Act, payloads: Sequence[Payload]) -> bool:
    return list(act(payloads)) == [ORDER.answer(payload) for payload in payloads]


def _enter(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:
    port = places.valkey_port
    stack.callback(redis.Redis(port=port).flushall)
    runner = stack.enter_context(asyncio.Runner())

    def client(db: int, **options: Any) -> redis.Redis:
        return stack.enter_context(redis.Redis(port=port, db=db, **options))

    def blocking(name: str, library: Any, layer: Any) -> Contestant:
        runs: list[Any] = []
        return _measured(name, in_turn(by_jmespath(library, layer, ORDER, runs, cached=True)), runs)

    ours = idemproof.RedisCachePersistenceLayer(client=client(2))
    original = CachePersistenceLayer(client=client(3, decode_responses=True))
    # In this thread's event loop, because the memory of another thread would vary between runs.
    backend = idemkit_redis(port, 4)
    stack.callback(closing(runner, backend.aclose))
    runs: list[Any] = []
    other: Function = by_idemkit(backend, ORDER, runs, cached=True, asynchronous=True)
    return [
        blocking(IDEMPROOF, idemproof, ours),
        blocking(POWERTOOLS, powertools, original),
        _measured(IDEMKIT, in_tasks(other, 1, runner), runs),
    ]


SCENARIOS = [
    Scenario("memory of the cache", _enter, POWERTOOLS, Size(3, 301), Size(1, 51), unit="bytes", anew=True)
]
