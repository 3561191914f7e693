"""Measure the cost of protection over a real Valkey. The floor is the plain commands of the same client.

The floor of a first call is two SETs, of a replay one GET, of a takeover a GET and two SETs, of a refusal a
GET. Each contestant has its own database. The records of dead workers and live claims are made from records
that the library stored.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis
import redis.asyncio
from aws_lambda_powertools.utilities.idempotency.persistence.redis import CachePersistenceLayer
from libraries import (
    BARE,
    IDEMKIT,
    IDEMPROOF,
    POWERTOOLS,
    Function,
    by_idemkit,
    by_jmespath,
    closing,
    first_and_replay,
    idemkit_redis,
    powertools,
)
from measuring import (
    FIRST,
    REPLAY,
    Act,
    Contestant,
    Scenario,
    Size,
    Step,
    by_steps,
    in_tasks,
    in_threads,
    in_turn,
)
from payloads import HUGE, LARGE, ORDER, Kind, Payload
from stores import Places

import idemproof

_Enter = Callable[[Places, contextlib.ExitStack], list[Contestant]]
_Crowd = Callable[[Function], Act]

TAKEOVER, REFUSED = "takeover", "refused"
RETENTION_MS = 3_600_000
FIELDS = "x" * 150
"""The attributes of a record other than its result."""

_DATABASES = {BARE: 1, IDEMPROOF: 2, POWERTOOLS: 3, IDEMKIT: 4}
_HELD = "IdempotencyAlreadyInProgressError"


def _stored(kind: Kind, payload: Payload) -> str:
    return FIELDS + json.dumps(kind.answer(payload))


def _bare(kind: Kind, client: redis.Redis) -> dict[str, Function]:
    def first(payload: Payload) -> Payload:
        client.set(payload["order_id"], FIELDS, px=RETENTION_MS)
        client.set(payload["order_id"], _stored(kind, payload), px=RETENTION_MS)
        return kind.answer(payload)

    def look(payload: Payload) -> Any:
        return json.loads(client.get(payload["order_id"])[len(FIELDS) :])

    def takeover(payload: Payload) -> Payload:
        client.get(payload["order_id"])
        return first(payload)

    return {FIRST: first, REPLAY: look, TAKEOVER: takeover, REFUSED: look}


def _bare_async(kind: Kind, client: redis.asyncio.Redis) -> dict[str, Function]:
    async def first(payload: Payload) -> Payload:
        await client.set(payload["order_id"], FIELDS, px=RETENTION_MS)
        await client.set(payload["order_id"], _stored(kind, payload), px=RETENTION_MS)
        return kind.answer(payload)

    async def look(payload: Payload) -> Any:
        return json.loads((await client.get(payload["order_id"]))[len(FIELDS) :])

    return {FIRST: first, REPLAY: look}


def _libraries(port: int, kind: Kind, runs: dict[str, list[Any]]) -> dict[str, Function]:
    ours = idemproof.RedisCachePersistenceLayer(client=redis.Redis(port=port, db=_DATABASES[IDEMPROOF]))
    # Configured as in its documentation.
    original = CachePersistenceLayer(
        client=redis.Redis(port=port, decode_responses=True, db=_DATABASES[POWERTOOLS])
    )
    return {
        IDEMPROOF: by_jmespath(idemproof, ours, kind, runs[IDEMPROOF]),
        POWERTOOLS: by_jmespath(powertools, original, kind, runs[POWERTOOLS]),
        IDEMKIT: by_idemkit(idemkit_redis(port, _DATABASES[IDEMKIT]), kind, runs[IDEMKIT]),
    }


def _blocking(kind: Kind, threads: int = 1) -> _Enter:
    def enter(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:
        def crowd(function: Function) -> Act:
            return in_turn(function) if threads == 1 else in_threads(function, threads, stack)

        port = places.valkey_port
        stack.callback(redis.Redis(port=port).flushall)
        bare = _bare(kind, stack.enter_context(redis.Redis(port=port, db=_DATABASES[BARE])))
        steps = [Step(case, crowd(bare[case]), kind.answer) for case in (FIRST, REPLAY)]
        runs: dict[str, list[Any]] = {name: [] for name in _DATABASES}
        functions = _libraries(port, kind, runs)
        others = [
            first_and_replay(name, kind, runs[name], crowd(function)) for name, function in functions.items()
        ]
        return [by_steps(BARE, steps), *others]

    return enter


def _contended(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:
    port = places.valkey_port
    stack.callback(redis.Redis(port=port).flushall)
    bare = _bare(ORDER, stack.enter_context(redis.Redis(port=port, db=_DATABASES[BARE])))
    contestants = [
        by_steps(
            BARE,
            [
                Step(None, in_turn(bare[FIRST]), ORDER.answer),
                Step(TAKEOVER, in_turn(bare[TAKEOVER]), ORDER.answer),
                Step(REFUSED, in_turn(bare[REFUSED]), ORDER.answer),
            ],
        )
    ]
    runs: dict[str, list[Any]] = {name: [] for name in _DATABASES}
    for name, function in _libraries(port, ORDER, runs).items():
        client = stack.enter_context(redis.Redis(port=port, db=_DATABASES[name]))
        steps = [
            Step(None, _emptying(client)),
            Step(None, in_turn(function), ORDER.answer, runs=True),
            Step(None, _claiming(client, lease_ms=-1000)),
            Step(TAKEOVER, in_turn(function), ORDER.answer, runs=True),
        ]
        if name != IDEMKIT:  # it waits for the result instead
            steps += [
                Step(None, _claiming(client, lease_ms=RETENTION_MS)),
                Step(REFUSED, in_turn(_told(function)), lambda _: _HELD, runs=False),
            ]
        contestants.append(by_steps(name, steps, runs[name]))
    return contestants


def _emptying(client: redis.Redis) -> Act:
    def act(payloads: Sequence[Payload]) -> list[Any]:
        client.flushdb()
        return list(payloads)

    return act


def _claiming(client: redis.Redis, lease_ms: int) -> Act:
    """Return a function that turns all stored records into claims whose leases end after the given time."""

    def act(payloads: Sequence[Payload]) -> list[Any]:
        until = int(time.time() * 1000) + lease_ms
        # Powertools does not delete the locks of its takeovers.
        keys = [key for key in client.scan_iter() if not key.endswith(b":lock")]
        if len(keys) != len(payloads):
            raise RuntimeError(f"{len(keys)} records of {len(payloads)} calls")
        with client.pipeline(transaction=False) as pipeline:
            for key, text in zip(keys, client.mget(keys), strict=True):
                pipeline.set(key, json.dumps(_claimed(json.loads(text), until)), px=RETENTION_MS)
            pipeline.execute()
        return list(payloads)

    return act


def _claimed(record: dict[str, Any], until: int) -> dict[str, Any]:
    if "state" in record:  # idemkit's
        results = {"completed_at_ms", "response_status", "response_headers", "response_body_b64"}
        rest = {name: value for name, value in record.items() if name not in results}
        return rest | {"state": "CLAIMED", "lease_until_ms": until}
    rest = {name: value for name, value in record.items() if name != "data"}
    return rest | {"status": "INPROGRESS", "in_progress_expiration": until}


def _told(function: Function) -> Function:
    """Return a function that returns the name of the error that ``function`` raises."""

    def call(payload: Payload) -> Any:
        try:
            return function(payload=payload)
        except Exception as error:  # noqa: BLE001 - the answer is checked
            return type(error).__name__

    return call


def _tasks(count: int) -> _Enter:
    def enter(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:
        port = places.valkey_port
        stack.callback(redis.Redis(port=port).flushall)
        runner = stack.enter_context(asyncio.Runner())
        # One connection for each task, because the client refuses requests above its default limit.
        pool = {"max_connections": count + 1}

        def client(name: str) -> redis.asyncio.Redis:
            made = redis.asyncio.Redis(port=port, db=_DATABASES[name], **pool)
            stack.callback(closing(runner, made.aclose))
            return made

        our_runs: list[Any] = []
        their_runs: list[Any] = []
        bare = _bare_async(ORDER, client(BARE))
        layer = idemproof.AsyncRedisCachePersistenceLayer(client=client(IDEMPROOF))
        ours = by_jmespath(idemproof, layer, ORDER, our_runs, asynchronous=True)
        backend = idemkit_redis(port, _DATABASES[IDEMKIT], **pool)
        stack.callback(closing(runner, backend.aclose))
        theirs = by_idemkit(backend, ORDER, their_runs, asynchronous=True)
        steps = [Step(case, in_tasks(act, count, runner), ORDER.answer) for case, act in bare.items()]
        return [
            by_steps(BARE, steps),
            first_and_replay(IDEMPROOF, ORDER, our_runs, in_tasks(ours, count, runner)),
            first_and_replay(IDEMKIT, ORDER, their_runs, in_tasks(theirs, count, runner)),
        ]

    return enter


SCENARIOS = [
    Scenario("Valkey, 200 B", _blocking(ORDER), BARE, Size(21, 250)),
    Scenario("Valkey, 10 KB", _blocking(LARGE), BARE, Size(15, 60), kind=LARGE),
    Scenario("Valkey, 300 KB", _blocking(HUGE), BARE, Size(7, 4), Size(1, 2), kind=HUGE),
    Scenario(
        "Valkey, contended", _contended, BARE, Size(15, 120), remark="idemkit waits where the others refuse."
    ),
    Scenario("Valkey, 16 threads", _blocking(ORDER, threads=16), BARE, Size(11, 320)),
    Scenario("Valkey, async, 1 task", _tasks(1), BARE, Size(11, 200)),
    Scenario("Valkey, async, 200 tasks", _tasks(200), BARE, Size(11, 400)),
]
