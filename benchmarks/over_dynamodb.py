"""Measure the cost of protection over DynamoDB. The floor is the plain requests of the same client.

The floor of a first call is two writes. The floor of a replay is one conditional write that is refused, which
both libraries send as a claim. idemkit is left out because it needs other versions of the clients.
"""

import asyncio
import contextlib
import json
from typing import Any

import boto3
from aiobotocore.session import get_session
from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer
from libraries import (
    BARE,
    IDEMPROOF,
    POWERTOOLS,
    Function,
    by_jmespath,
    closing,
    first_and_replay,
    powertools,
)
from measuring import FIRST, REPLAY, Contestant, Scenario, Size, Step, by_steps, in_tasks, in_threads, in_turn
from payloads import HUGE, LARGE, ORDER, Kind, Payload
from stores import TABLE, Places

import idemproof

_EXPIRY = "4102444800"
_SMOKE = Size(1, 4)


def claimed(payload: Payload) -> dict[str, Any]:
    """Return the request that claims a key without a record."""
    item = {"id": _text(f"bare#{payload['order_id']}"), "status": _text("INPROGRESS")}
    numbers = {name: {"N": _EXPIRY} for name in ("expiration", "in_progress_expiration")}
    return {
        "TableName": TABLE,
        "Item": item | numbers,
        "ConditionExpression": "attribute_not_exists(#id)",
        "ExpressionAttributeNames": {"#id": "id"},
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def _completion(kind: Kind, payload: Payload) -> dict[str, Any]:
    item = claimed(payload)["Item"] | {"status": _text("COMPLETED")}
    return {"TableName": TABLE, "Item": item | {"data": _text(json.dumps(kind.answer(payload)))}}


def _text(value: str) -> dict[str, str]:
    return {"S": value}


def _standing(error: Any) -> Any:
    return json.loads(error.response["Item"]["data"]["S"])


def _bare(kind: Kind, client: Any) -> dict[str, Function]:
    def first(payload: Payload) -> Payload:
        client.put_item(**claimed(payload))
        client.put_item(**_completion(kind, payload))
        return kind.answer(payload)

    def replay(payload: Payload) -> Any:
        try:
            client.put_item(**claimed(payload))
        except client.exceptions.ConditionalCheckFailedException as error:
            return _standing(error)
        return None

    return {FIRST: first, REPLAY: replay}


def _bare_async(kind: Kind, client: Any) -> dict[str, Function]:
    async def first(payload: Payload) -> Payload:
        await client.put_item(**claimed(payload))
        await client.put_item(**_completion(kind, payload))
        return kind.answer(payload)

    async def replay(payload: Payload) -> Any:
        try:
            await client.put_item(**claimed(payload))
        except client.exceptions.ConditionalCheckFailedException as error:
            return _standing(error)
        return None

    return {FIRST: first, REPLAY: replay}


def _blocking(kind: Kind, threads: int = 1) -> Any:
    def enter(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:
        def client() -> Any:
            made = boto3.Session().client("dynamodb", **places.dynamodb)
            stack.callback(made.close)
            return made

        def crowd(function: Function) -> Any:
            return in_turn(function) if threads == 1 else in_threads(function, threads, stack)

        steps = [Step(case, crowd(act), kind.answer) for case, act in _bare(kind, client()).items()]
        contestants = [by_steps(BARE, steps)]
        for name, library, layer in (
            (IDEMPROOF, idemproof, idemproof.DynamoDBPersistenceLayer(TABLE, boto3_client=client())),
            (POWERTOOLS, powertools, DynamoDBPersistenceLayer(TABLE, boto3_client=client())),
        ):
            runs: list[Any] = []
            # Different prefixes, because their keys are equal by default and they share the table.
            named = by_jmespath(library, layer, kind, runs, key_prefix=f"{name}-{threads}")
            contestants.append(first_and_replay(name, kind, runs, crowd(named)))
        return contestants

    return enter


def opened_client(places: Places, stack: contextlib.ExitStack, runner: asyncio.Runner) -> Any:
    """Return an async client that opens in the runner's event loop and closes with ``stack``."""
    made = get_session().create_client("dynamodb", **places.dynamodb)

    async def opened() -> Any:
        return await made.__aenter__()

    async def closed() -> None:
        await made.__aexit__(None, None, None)

    stack.callback(closing(runner, closed))
    return runner.run(opened())


def _tasks(count: int) -> Any:
    def enter(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:
        runner = stack.enter_context(asyncio.Runner())

        runs: list[Any] = []
        layer = idemproof.AsyncDynamoDBPersistenceLayer(TABLE, client=opened_client(places, stack, runner))
        ours = by_jmespath(idemproof, layer, ORDER, runs, asynchronous=True, key_prefix=f"tasks-{count}")
        bare = _bare_async(ORDER, opened_client(places, stack, runner))
        steps = [Step(case, in_tasks(act, count, runner), ORDER.answer) for case, act in bare.items()]
        act = in_tasks(ours, count, runner)
        return [by_steps(BARE, steps), first_and_replay(IDEMPROOF, ORDER, runs, act)]

    return enter


SCENARIOS = [
    Scenario("DynamoDB, 200 B", _blocking(ORDER), BARE, Size(11, 40), _SMOKE),
    Scenario("DynamoDB, 10 KB", _blocking(LARGE), BARE, Size(9, 20), _SMOKE, kind=LARGE),
    Scenario("DynamoDB, 300 KB", _blocking(HUGE), BARE, Size(7, 3), Size(1, 2), kind=HUGE),
    Scenario("DynamoDB, 16 threads", _blocking(ORDER, threads=16), BARE, Size(7, 64), _SMOKE),
    Scenario("DynamoDB, async, 1 task", _tasks(1), BARE, Size(7, 40), _SMOKE),
    Scenario("DynamoDB, async, 200 tasks", _tasks(200), BARE, Size(7, 200), _SMOKE),
]
