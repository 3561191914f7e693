"""A store that cannot be reached, or is slow, costs waiting: no body runs twice, and callers get errors."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import redis

import outages
import servers
from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceLayerError,
)
from outages import COMPLETION_TIMEOUT, HASTE, LEASE_MS, PATIENCE, RETRIED, Calls, Work
from proxy import Proxy, command
from servers import Address, Server


class Kind(NamedTuple):
    """How to speak to a server; a claim is a request that contains ``claim``."""

    server: str
    claim: bytes
    layer: Callable[..., Any]


def redis_at(asynchronous: bool, run: outages.Run, timeout: float, address: Address) -> Any:
    return outages.redis_layer(asynchronous, run, timeout, host=address.host, port=address.port)


def dynamodb_at(asynchronous: bool, run: outages.Run, timeout: float, address: Address) -> Any:
    return outages.dynamodb_layer(asynchronous, run, timeout, address=address)


pytestmark = [pytest.mark.once, pytest.mark.usefixtures("_abandoned_connections", "pauses")]

KINDS = {
    "valkey": Kind("valkey_server", command("SET"), redis_at),
    "dynamodb": Kind("dynamodb_server", b"DynamoDB_20120810.PutItem", dynamodb_at),
}


class Store:
    """A server, a proxy before it, and functions that use either."""

    def __init__(self, kind: Kind, asynchronous: bool, server: Server, proxy: Proxy, work: Work) -> None:
        self.claim = kind.claim
        self.server = server
        self.proxy = proxy
        self.work = work
        self._kind = kind
        self._asynchronous = asynchronous
        self._stack = contextlib.ExitStack()
        self._runner = self._stack.enter_context(asyncio.Runner())
        self.calls: list[Calls] = []

    def calling(self, timeout: float = PATIENCE, where: Address | None = None) -> Calls:
        """Return the function with a new client, which connects through the proxy by default."""
        layer = self._kind.layer(self._asynchronous, self._runner.run, timeout, where or self.proxy)
        self.calls.append(Calls(self._stack.enter_context(layer), self.work, self._runner.run))
        return self.calls[-1]

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="module", params=list(KINDS))
def served(request: pytest.FixtureRequest) -> Iterator[tuple[Kind, Server]]:
    kind = KINDS[request.param]
    server = request.getfixturevalue(kind.server)
    if request.param == "dynamodb":
        with contextlib.closing(servers.dynamodb_client(server)) as client:
            servers.create_table(client, outages.TABLE)
            yield kind, server
            client.delete_table(TableName=outages.TABLE)
    else:
        with redis.Redis(**servers.redis_kwargs(server)) as client:
            client.flushall()
            yield kind, server


@pytest.fixture(params=["blocking", "async"])
def store(
    request: pytest.FixtureRequest, served: tuple[Kind, Server], caplog: pytest.LogCaptureFixture
) -> Iterator[Store]:
    kind, server = served
    caplog.set_level(logging.DEBUG)
    with Proxy(server) as proxy:
        made = Store(kind, request.param == "async", server, proxy, Work())
        yield made
        made.close()
    logged = list(outages.logged(caplog))
    assert logged
    assert not any(outages.SECRET in text for calls in made.calls for text in (*logged, *calls.reported))


def test_where_nothing_listens_nothing_runs(store: Store, name: str, pauses: list[float]) -> None:
    call = store.calling()
    store.proxy.refuse()
    error = call.refused(name, IdempotencyPersistenceConnectionError, "did not serve", "Connect")
    assert pauses == RETRIED * 2  # for the claim, and for its release, as it may stand
    assert type(error.__cause__).__name__ in str(error)
    assert not error.function_returned
    assert store.work.runs == []
    store.proxy.accept()
    assert call(name) == f"{name} done"
    assert store.work.runs == [name]


def test_one_lost_connection_is_not_noticed(store: Store, name: str, pauses: list[float]) -> None:
    store.proxy.lose_request(to=store.claim, times=2)
    assert store.calling()(name) == f"{name} done"
    assert pauses == RETRIED
    assert store.work.runs == [name]


def test_a_server_that_goes_while_the_body_runs(store: Store, name: str, pauses: list[float]) -> None:
    call = store.calling()
    store.work.during = store.proxy.refuse
    error = call.refused(name, IdempotencyPersistenceLayerError, "ran", "not known", "did not serve")
    assert error.result == f"{name} done"
    assert type(error.__cause__) is IdempotencyPersistenceConnectionError
    assert pauses[: len(RETRIED)] == RETRIED
    assert sum(pauses) == pytest.approx(COMPLETION_TIMEOUT)
    store.proxy.accept()
    call.refused(name, IdempotencyAlreadyInProgressError)
    assert store.work.runs == [name]


def test_a_server_that_goes_while_the_body_raises(store: Store, name: str, pauses: list[float]) -> None:
    def fall() -> None:
        store.proxy.refuse()
        raise ZeroDivisionError

    call = store.calling()
    store.work.during = fall
    error = call.refused(name, IdempotencyPersistenceLayerError, "ZeroDivisionError", "could not be released")
    assert not error.function_returned
    assert error.result is None
    assert any("ZeroDivisionError" in text for text in call.reported)
    assert pauses == RETRIED


def connect(call: Calls, name: str) -> None:
    """Call until it is answered: with short time limits, the first calls may fail."""
    while True:
        with contextlib.suppress(IdempotencyPersistenceConnectionError):
            call(name)
            return


def test_a_server_that_does_not_move_costs_waiting_only(store: Store, name: str) -> None:
    hasty = store.calling(HASTE, where=store.server)
    patient = store.calling()
    patient(f"{name} before")
    connect(hasty, f"{name} before")
    store.server.pause()
    try:
        hasty.refused(name, IdempotencyPersistenceConnectionError, "did not serve", "Timeout")
        assert name not in store.work.runs
    finally:
        store.server.resume()
    # What was sent meanwhile is done now, or never, or later.
    with contextlib.suppress(IdempotencyAlreadyInProgressError):
        patient(name)
    store.work.now += LEASE_MS
    assert patient(name) == patient(name) == f"{name} done"
    assert store.work.runs.count(name) == 1


def test_a_claim_that_arrives_after_the_answer_changes_nothing(
    store: Store, name: str, pauses: list[float]
) -> None:
    call = store.calling()
    store.proxy.delay_request_and_hang_up(to=store.claim)
    assert call(name) == f"{name} done"
    assert pauses == RETRIED[:1]
    store.proxy.release()
    store.work.now += LEASE_MS
    assert call(name) == f"{name} done"
    assert store.work.runs == [name]


def test_claims_that_arrive_after_their_caller_gave_up_cost_a_lease(store: Store, name: str) -> None:
    store.proxy.delay_request_and_hang_up(to=store.claim, times=3)
    store.calling().refused(name, IdempotencyPersistenceConnectionError, "did not serve", "Connect")
    store.proxy.release()
    patient = store.calling()
    error = patient.refused(name, IdempotencyAlreadyInProgressError)
    assert error.retry_after_ms == LEASE_MS
    store.work.now += LEASE_MS - 1
    patient.refused(name, IdempotencyAlreadyInProgressError)
    assert store.work.runs == []
    store.work.now += 1
    assert patient(name) == patient(name) == f"{name} done"
    assert store.work.runs == [name]
