"""An endpoint that does not return the record that prevented a write costs one more request."""

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import outages
import servers
from idemproof import DynamoDBPersistenceLayer
from idemproof.errors import IdempotencyAlreadyInProgressError
from outages import Calls, Work

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def database(dynalite_server: servers.Server) -> servers.Server:
    with contextlib.closing(servers.dynamodb_client(dynalite_server)) as client:
        servers.create_table(client, outages.TABLE)
        client.get_waiter("table_exists").wait(TableName=outages.TABLE, WaiterConfig={"Delay": 1})
    return dynalite_server


@pytest.fixture(params=["blocking", "async"])
def call(request: pytest.FixtureRequest, database: servers.Server) -> Iterator[Calls]:
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(asyncio.Runner()).run
        opening = outages.dynamodb_layer(request.param == "async", run, address=database)
        yield Calls(stack.enter_context(opening), Work(), run)


def test_a_repeat_is_answered_and_a_call_in_progress_is_refused(call: Calls, name: str) -> None:
    refused: list[Any] = []

    def meanwhile() -> None:
        layer = call.layer
        if isinstance(layer, DynamoDBPersistenceLayer):  # the other is in the midst of its event loop
            refused.append(call.refused(name, IdempotencyAlreadyInProgressError))

    call.work.during = meanwhile
    assert call(name) == call(name) == f"{name} done"
    assert call.work.runs == [name]
    assert len(refused) == isinstance(call.layer, DynamoDBPersistenceLayer)


def test_what_failed_may_begin_again_at_once(call: Calls, name: str) -> None:
    def fail() -> None:
        raise ArithmeticError

    call.work.during = fail
    with pytest.raises(ArithmeticError):
        call(name)
    call.work.during = lambda: None
    assert call(name) == f"{name} done"
    assert call.work.runs == [name, name]


def test_of_many_at_once_one_runs(database: servers.Server, name: str) -> None:
    with contextlib.closing(servers.dynamodb_client(database, max_pool_connections=20)) as client:
        work = Work()
        call = Calls(DynamoDBPersistenceLayer(outages.TABLE, boto3_client=client), work, lambda reply: reply)

        def outcome(number: int) -> str:
            try:
                return str(call(f"{name} {number // 16}"))
            except IdempotencyAlreadyInProgressError:
                return "refused"

        with ThreadPoolExecutor(16) as threads:
            outcomes = list(threads.map(outcome, range(160)))
    assert sorted(work.runs) == sorted(f"{name} {number}" for number in range(10))
    for number in range(10):
        mine = outcomes[number * 16 : number * 16 + 16]
        assert f"{name} {number} done" in mine
        assert set(mine) <= {f"{name} {number} done", "refused"}
