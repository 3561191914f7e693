"""A durable server is killed and restarted: it refuses requests while it loads its data."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import redis.asyncio
import valkey
import valkey.asyncio

import sentinels
import servers
from idemproof import AsyncRedisCachePersistenceLayer, RedisCachePersistenceLayer
from idemproof.errors import IdempotencyPersistenceConnectionError
from outages import Calls, Work
from servers import Server

pytestmark = pytest.mark.once

KEPT = ("--appendonly", "yes", "--appendfsync", "always", "--loading-process-events-interval-bytes", "1024")


@pytest.fixture(scope="module")
def server(valkey_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers.valkey(tmp_path_factory.mktemp("kept"), *KEPT) as made:
        yield made


FILLERS = 60_000
"""Enough to load for seconds; after each thousand, the server looks who asks."""

CLIENTS: dict[str, Any] = {
    "own": None,
    "redis": redis.Redis,
    "valkey": valkey.Valkey,
    "own-async": None,
    "redis-async": redis.asyncio.Redis,
    "valkey-async": valkey.asyncio.Valkey,
}


@pytest.fixture(params=CLIENTS)
def calls(server: Server, request: pytest.FixtureRequest) -> Iterator[Calls]:
    asynchronous = request.param.endswith("async")
    kind: Any = AsyncRedisCachePersistenceLayer if asynchronous else RedisCachePersistenceLayer
    with asyncio.Runner() as runner, contextlib.ExitStack() as stack:
        if CLIENTS[request.param] is None:
            layer = kind(host=server.host, port=server.port, ssl=False)
            stack.callback(lambda: runner.run(layer.close()) if asynchronous else layer.close())
        else:
            client = CLIENTS[request.param](host=server.host, port=server.port)
            layer = kind(client=client)
            stack.callback(lambda: runner.run(client.aclose()) if asynchronous else client.close())
        yield Calls(layer, Work(), runner.run, completion_timeout_seconds=60)


def test_a_result_is_stored_though_the_server_is_killed_while_the_function_runs(
    server: Server, calls: Calls, name: str
) -> None:
    calls.work.during = server.restart
    assert calls(name) == f"{name} done"
    calls.work.during = lambda: None
    assert calls(name) == f"{name} done"
    assert calls.work.runs == [name]


@pytest.mark.parametrize("calls", ["own", "own-async"], indirect=True)
def test_a_server_that_loads_refuses_and_then_has_all(
    server: Server, calls: Calls, name: str, pauses: list[float]
) -> None:
    calls(f"{name} before")
    with admin(server) as client, client.pipeline(transaction=False) as pipeline:
        for number in range(FILLERS):
            pipeline.set(f"filler {number}", "", px=600_000)
        pipeline.execute()
    server.restart("--key-load-delay", "50")  # microseconds
    sentinels.until("the server loads", lambda: not responds(server))
    calls.refused(name, IdempotencyPersistenceConnectionError, "LoadingError", "loading")
    with admin(server) as client, contextlib.suppress(redis.exceptions.BusyLoadingError):
        client.config_set("key-load-delay", 0)
    assert calls.work.runs == [f"{name} before"]
    sentinels.until("the server has loaded", lambda: responds(server))
    assert [calls(f"{name} before"), calls(name)] == [f"{name} before done", f"{name} done"]
    assert calls.work.runs == [f"{name} before", name]
    with admin(server) as client:
        client.flushall()


def responds(server: Server) -> bool:
    """Return whether the server is ready; raise if it does not answer at all."""
    with admin(server) as client:
        try:
            return bool(client.ping())
        except redis.exceptions.BusyLoadingError:
            return False


def admin(server: Server) -> Any:
    never = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    return contextlib.closing(redis.Redis(host=server.host, port=server.port, retry=never))
