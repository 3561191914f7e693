"""Sentinels name another primary: after a command, and after the primary has died."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
import redis.sentinel
import valkey.asyncio
import valkey.sentinel

import failover_load
import sentinels
import servers
from idemproof import AsyncRedisCachePersistenceLayer, RedisCachePersistenceLayer
from idemproof.errors import (
    IdempotencyError,
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
)
from outages import Calls, Work
from sentinels import NAME, Watched

pytestmark = [pytest.mark.once, pytest.mark.waits]

Sentinel = Callable[..., Any]
SENTINELS: dict[str, Sentinel] = {
    "redis": redis.sentinel.Sentinel,
    "valkey": valkey.sentinel.Sentinel,
    "redis-async": redis.asyncio.Sentinel,
    "valkey-async": valkey.asyncio.Sentinel,
}


@pytest.fixture(scope="module")
def _servers(valkey_server: servers.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with sentinels.watched(tmp_path_factory.mktemp("sentinels")) as made:
        yield made


@pytest.fixture
def watched(_servers: Watched) -> Iterator[Watched]:
    _servers.catch_up()
    yield _servers
    for member in _servers.members:
        if not member.alive():
            member.restart()


@pytest.fixture(params=SENTINELS)
def calls(watched: Watched, request: pytest.FixtureRequest) -> Iterator[Calls]:
    asynchronous = request.param.endswith("async")
    with asyncio.Runner() as runner, contextlib.ExitStack() as stack:
        sentinel = SENTINELS[request.param](watched.addresses, socket_timeout=5)
        client = sentinel.master_for(NAME, socket_timeout=5)
        for each in (client, *sentinel.sentinels):
            stack.callback(partial(disconnect, runner.run, each))
        kind: Any = AsyncRedisCachePersistenceLayer if asynchronous else RedisCachePersistenceLayer
        yield Calls(kind(client=client), Work(), runner.run, completion_timeout_seconds=60)


def disconnect(run: Callable[[Any], Any], client: Any) -> None:
    closing = client.connection_pool.disconnect()
    if closing is not None:
        run(closing)


def persist(calls: Calls, name: str) -> None:
    """Call until the store is available."""
    sentinels.until("the call is served", lambda: served(calls, name))


def served(calls: Calls, name: str) -> bool:
    with contextlib.suppress(IdempotencyPersistenceConnectionError):
        return bool(calls(name))
    return False


def test_the_next_calls_go_to_the_primary_that_the_sentinels_name(
    watched: Watched, calls: Calls, name: str
) -> None:
    calls(f"{name} before")
    for number in range(2):
        watched.fail_over()
        with contextlib.suppress(IdempotencyError):  # the first or the second gets through
            calls(f"{name} {number}")
        assert calls(f"{name} {number}") == f"{name} {number} done"
        assert calls(f"{name} before") == f"{name} before done"
    assert calls.work.runs == [f"{name} before", f"{name} 0", f"{name} 1"]


def test_a_result_is_stored_though_the_sentinels_fail_over_while_the_function_runs(
    watched: Watched, calls: Calls, name: str
) -> None:
    calls(f"{name} before")
    calls.work.during = watched.fail_over
    assert calls(name) == f"{name} done"
    calls.work.during = lambda: None
    assert calls(name) == f"{name} done"
    assert calls.work.runs == [f"{name} before", name]


def test_a_result_is_stored_though_the_primary_dies_while_the_function_runs(
    watched: Watched, calls: Calls, name: str
) -> None:
    def die() -> None:
        watched.catch_up()
        watched.kill_primary()

    calls(f"{name} before")
    calls.work.during = die
    assert calls(name) == f"{name} done"
    calls.work.during = lambda: None
    assert [calls(name), calls(f"{name} before")] == [f"{name} done", f"{name} before done"]
    assert calls.work.runs == [f"{name} before", name]


def test_between_primaries_calls_are_refused_before_anything_runs(
    watched: Watched, calls: Calls, name: str
) -> None:
    calls(f"{name} before")
    watched.catch_up()
    dead = watched.kill_primary()
    calls.refused(name, IdempotencyPersistenceConnectionError, "did not serve")
    assert calls.work.runs == [f"{name} before"]
    watched.wait_for_another_than(dead)
    persist(calls, name)
    assert [calls(name), calls(f"{name} before")] == [f"{name} done", f"{name} before done"]
    assert calls.work.runs == [f"{name} before", name]


@pytest.mark.parametrize("kind", SENTINELS)
def test_a_client_of_the_replicas_is_refused(kind: str) -> None:
    client = SENTINELS[kind]([("127.0.0.1", 1)]).slave_for(NAME)
    layer: Any = AsyncRedisCachePersistenceLayer if kind.endswith("async") else RedisCachePersistenceLayer
    with pytest.raises(IdempotencyPersistenceConfigError, match="master_for"):
        layer(client=client)


def test_under_load_nothing_is_lost_but_what_was_written_while_the_sentinels_failed_over(
    watched: Watched, tmp_path: Path
) -> None:
    keys = 400
    made = f"Sentinel({watched.addresses}, socket_timeout=5).master_for({NAME!r}, socket_timeout=5)"
    layers = [
        f"RedisCachePersistenceLayer(client=__import__('redis.sentinel').sentinel.{made})",
        f"AsyncRedisCachePersistenceLayer(client=__import__('redis.asyncio').asyncio.{made})",
    ]
    windows = []
    with failover_load.Workers(tmp_path, keys, layers * 2) as workers:
        workers.wait_for_answers(0.2)
        with failover_load.window() as times:
            watched.fail_over()
        windows.append(times)
        workers.wait_for_answers(0.5)
        with failover_load.window() as times:
            watched.wait_for_another_than(watched.kill_primary())
        windows.append(times)
        heard = workers.finish()
    repeated = {key: times for key, times in heard.runs.items() if len(times) > 1}
    assert heard.said == []
    print(f"\n{len(repeated)} of {keys} repeated, {dict(heard.failed)}")  # noqa: T201 - what it was worth
    for key, ran in repeated.items():
        # The earlier run's record was lost: so it was written during the failover.
        written = [*sorted(ran)[:-1], *sorted(heard.answers[key].values())[:-1]]
        assert all(any(begin <= at <= end for begin, end in windows) for at in written), (key, ran, windows)
    assert {key: found for key, found in heard.answers.items() if len(found) > len(heard.runs[key])} == {}
    assert time.time() > windows[-1][1]
