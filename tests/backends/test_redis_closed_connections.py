"""Connections that the user or the server has closed are replaced, however many there are."""

import asyncio
import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import redis.asyncio
import valkey
import valkey.asyncio

from idemproof import (
    AsyncRedisCachePersistenceLayer,
    IdempotencyConfig,
    RedisCachePersistenceLayer,
    idempotent_function,
)
from places import RedisPlace

LIBRARIES: dict[str, tuple[Any, bool]] = {
    f"{library.__name__}{'-blocking' if blocking else ''}": (library, blocking)
    for library in (redis, valkey, redis.asyncio, valkey.asyncio)
    for blocking in (False, True)
}
CONNECTIONS = 6


class Calls:
    """An idempotent function over a client that the user has supplied."""

    def __init__(self, library: Any, blocking: bool, place: RedisPlace, run: Callable[[Any], Any]) -> None:
        self.run = run
        self.runs: list[int] = []
        self.during: Callable[[], object] = lambda: None
        where = {"host": place.host, "port": place.port}
        kind = library.Redis if hasattr(library, "Redis") else library.Valkey
        pool = library.BlockingConnectionPool(max_connections=CONNECTIONS, timeout=5, **where)
        self.client = kind(connection_pool=pool) if blocking else kind(**where)
        self.asynchronous = library.__name__.endswith("asyncio")
        layer: Any = AsyncRedisCachePersistenceLayer if self.asynchronous else RedisCachePersistenceLayer
        self.layer = layer(client=self.client)

        def work(n: int) -> int:
            self.runs.append(n)
            self.during()
            return n

        async def async_work(n: int) -> int:
            return work(n)

        self._function = idempotent_function(
            async_work if self.asynchronous else work,
            data_keyword_argument="n",
            persistence_store=self.layer,
            config=IdempotencyConfig(in_progress_expires_after_seconds=30),
        )

    def __call__(self, n: int) -> Any:
        return self.wait(self._function(n=n))

    def wait(self, reply: Any) -> Any:
        async def waited() -> Any:
            return await reply

        return self.run(waited()) if inspect.isawaitable(reply) else reply

    def fill(self) -> None:
        """Open as many idle connections as the pool allows."""
        pool = self.client.connection_pool
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # one library wants no name, the other does
            taken = [self.wait(pool.get_connection("PING")) for _ in range(CONNECTIONS)]
        for connection in taken:
            self.wait(pool.release(connection))


@pytest.fixture(params=LIBRARIES)
def calls(request: pytest.FixtureRequest, valkey_place: RedisPlace) -> Iterator[Calls]:
    with asyncio.Runner() as runner:
        made = Calls(*LIBRARIES[request.param], valkey_place, runner.run)
        yield made
        made.wait(made.client.connection_pool.disconnect())


def test_a_client_that_its_user_closed_serves_again(calls: Calls) -> None:
    assert calls(1) == 1
    calls.fill()
    for close in (
        calls.client.connection_pool.disconnect,
        getattr(calls.client, "aclose", calls.client.close),
    ):
        calls.wait(close())
        assert [calls(1), calls(2)] == [1, 2]
    assert calls.runs == [1, 2]


def test_connections_that_the_server_closed_are_all_replaced(calls: Calls, valkey_place: RedisPlace) -> None:
    calls(1)
    calls.fill()
    admin = valkey_place.open(redis.Redis)
    admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert [calls(1), calls(2)] == [1, 2]
    assert calls.runs == [1, 2]


def test_connections_that_are_closed_while_the_function_runs(calls: Calls, valkey_place: RedisPlace) -> None:
    calls.fill()
    admin = valkey_place.open(redis.Redis)
    calls.during = lambda: admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert [calls(1), calls(1)] == [1, 1]
    assert calls.runs == [1]
