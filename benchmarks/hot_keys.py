"""Measure many concurrent calls with one key: a thousand tasks, of which one may do the work.

The floor is the same number of plain requests for one key: a ``GET``, or a write that is refused.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import redis
import redis.asyncio
from libraries import BARE, IDEMPROOF, Function, by_jmespath, closing
from measuring import REPLAY, Act, Contestant, Scenario, Size, Step, by_steps, in_tasks
from over_dynamodb import claimed, opened_client
from payloads import ORDER, Payload
from stores import TABLE, Places

import idemproof
from idemproof.errors import IdempotencyAlreadyInProgressError

AT_ONCE = "all at once"

_HELD = "another is running"
_Enter = Callable[[Places, contextlib.ExitStack], list[Contestant]]


def _together(function: Function, runner: asyncio.Runner, check: Callable[[Payload, list[Any]], None]) -> Act:
    """Return a function that makes all calls of a round concurrently, and checks the answers."""

    def act(payloads: Sequence[Payload]) -> list[Any]:
        count = len(payloads)
        answers = in_tasks(function, count, runner)(list(payloads[:1]) * count)
        check(payloads[0], answers)
        return answers

    return act


def _protected(layer: Any, runner: asyncio.Runner) -> Contestant:
    runs: list[Any] = []
    function = by_jmespath(idemproof, layer, ORDER, runs, asynchronous=True, key_prefix="hot")

    async def call(payload: Payload) -> Any:
        try:
            return await function(payload=payload)
        except IdempotencyAlreadyInProgressError:
            return _HELD

    def one_ran(payload: Payload, answers: list[Any]) -> None:
        others = [answer for answer in answers if answer != _HELD]
        if len(runs) != 1 or others != [ORDER.answer(payload)] * len(others) or not others:
            raise RuntimeError(f"the work was done {len(runs)} times, {len(others)} calls were answered")

    def all_are_answered(payload: Payload, answers: list[Any]) -> None:
        one_ran(payload, answers)
        if _HELD in answers:
            raise RuntimeError("a repeat was refused")
        runs.clear()

    steps = [
        Step(AT_ONCE, _together(call, runner, one_ran)),
        Step(REPLAY, _together(call, runner, all_are_answered)),
    ]
    return by_steps(IDEMPROOF, steps)


def _bare(look: Function, runner: asyncio.Runner) -> Contestant:
    act = _together(look, runner, lambda _payload, _answers: None)
    return by_steps(BARE, [Step(case, act) for case in (AT_ONCE, REPLAY)])


def _valkey(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:
    port = places.valkey_port
    stack.callback(redis.Redis(port=port).flushall)
    runner = stack.enter_context(asyncio.Runner())
    # One connection for each task, because the client refuses requests above its default limit.
    bare, ours = (redis.asyncio.Redis(port=port, db=db, max_connections=10_000) for db in (1, 2))
    for client in (bare, ours):
        stack.callback(closing(runner, client.aclose))

    async def look(payload: Payload) -> Any:
        return await bare.get(payload["order_id"])

    return [
        _bare(look, runner),
        _protected(idemproof.AsyncRedisCachePersistenceLayer(client=ours), runner),
    ]


def _dynamodb(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:
    runner = stack.enter_context(asyncio.Runner())
    client = opened_client(places, stack, runner)

    async def look(payload: Payload) -> Any:
        with contextlib.suppress(client.exceptions.ConditionalCheckFailedException):
            await client.put_item(**claimed(payload))

    return [
        _bare(look, runner),
        _protected(idemproof.AsyncDynamoDBPersistenceLayer(TABLE, client=client), runner),
    ]


def _scenario(store: str, enter: _Enter, size: Size) -> Scenario:
    remark = (
        "One of the concurrent calls does the work. The others are refused, or replayed if they arrive later."
    )
    return Scenario(f"hot key, {store}", enter, BARE, size, Size(1, 20), kind=ORDER, remark=remark)


SCENARIOS = [
    _scenario("Valkey", _valkey, Size(9, 1000)),
    _scenario("DynamoDB", _dynamodb, Size(5, 1000)),
]
