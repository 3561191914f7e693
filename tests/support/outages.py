"""Idempotent functions over clients that never retry by themselves, called as if they were blocking."""

import contextlib
import hashlib
import inspect
import json
import logging
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from socketserver import BaseServer
from threading import Thread
from typing import Any

import aiobotocore.session
import pytest
import redis
import redis.asyncio
from aiobotocore.config import AioConfig
from botocore.config import Config
from redis.backoff import NoBackoff
from redis.retry import Retry

import servers
from idemproof import (
    AsyncDynamoDBPersistenceLayer,
    AsyncRedisCachePersistenceLayer,
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    RedisCachePersistenceLayer,
    idempotent_function,
)
from idemproof.backends.redis_async_clients import ClosingAll
from servers import Address

LEASE_MS = 60_000
PATIENCE = 60.0
HASTE = 0.15
"""For a server that does not answer at all; whoever is to be served needs patience."""
RETRIED = [0.025, 0.05]
"""How the engine waits before it tries again."""
COMPLETION_TIMEOUT = 10
"""How many seconds it waits in all before it gives up storing a result."""
SECRET = "hush/hush"
TABLE = "outages"
_ASYNC_SESSION = aiobotocore.session.get_session()  # it takes long to load what its clients need

Run = Callable[[Any], Any]
"""Runs a coroutine to its end."""


@dataclass
class Work:
    """What an idempotent function does, over whichever layers it is called; its clock can be moved."""

    runs: list[str] = field(default_factory=list)
    now: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    during: Callable[[], object] = lambda: None
    """Happens while the body runs."""

    def body(self, name: str) -> str:
        self.runs.append(name)
        self.during()
        return f"{name} done"


def key_of(name: str) -> str:
    return f"work#{hashlib.md5(json.dumps(name).encode()).hexdigest()}"


class Calls:
    """A function over one layer, blocking or async."""

    def __init__(self, layer: Any, work: Work, run: Run, **config: Any) -> None:
        asynchronous = inspect.iscoroutinefunction(layer._swap)
        self.layer = layer
        self.work = work
        self.reported: list[str] = []
        """All that errors have said."""
        self._run = run

        def body(name: str) -> str:
            return work.body(name)

        async def body_async(name: str) -> str:
            return work.body(name)

        self._function = idempotent_function(
            body_async if asynchronous else body,
            data_keyword_argument="name",
            persistence_store=layer,
            config=IdempotencyConfig(
                in_progress_expires_after_seconds=LEASE_MS / 1000, clock=lambda: work.now, **config
            ),
            key_prefix="work",
        )

    def __call__(self, name: str) -> Any:
        reply = self._function(name=name)
        return self._run(reply) if inspect.isawaitable(reply) else reply

    def refused(self, name: str, kind: type[Exception], *words: str) -> Any:
        """Call, and return the error of exactly this kind, which names the key and has the words."""
        with pytest.raises(kind) as caught:
            self(name)
        self.reported += spoken(caught.value)
        assert type(caught.value) is kind, repr(caught.value)
        for word in (key_of(name), *words):
            assert word in str(caught.value), f"{word!r} is not in {str(caught.value)!r}"
        return caught.value


def spoken(error: BaseException | None) -> Iterator[str]:
    """Return all that an error and those behind it say."""
    if error is not None:
        yield "".join(traceback.format_exception(error))
    while error is not None:
        yield from (str(error), repr(error), repr(vars(error)))
        error = error.__cause__ or error.__context__


def logged(caplog: pytest.LogCaptureFixture) -> Iterator[str]:
    """Return all that was logged so far, tracebacks included."""
    for phase in ("setup", "call"):
        yield from (logging.Formatter().format(record) for record in caplog.get_records(phase))


def noted_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the engine note how long it wants to wait, instead of waiting."""
    wanted: list[float] = []

    async def pause(seconds: float) -> None:
        wanted.append(seconds)

    monkeypatch.setattr("idemproof.drivers.blocking.pause", wanted.append)
    monkeypatch.setattr("idemproof.drivers.asynchronous.pause_async", pause)
    return wanted


@contextlib.contextmanager
def serving(stub: BaseServer) -> Iterator[None]:
    """Let a stub serve, in a thread."""
    thread = Thread(target=stub.serve_forever, args=(0.01,), daemon=True)
    with stub:
        thread.start()
        try:
            yield
        finally:
            stub.shutdown()
            thread.join()


@contextlib.contextmanager
def redis_layer(asynchronous: bool, run: Run, timeout: float = PATIENCE, **address: Any) -> Iterator[Any]:
    """Yield a layer whose client never retries; ``address`` is as for ``redis.Redis``."""
    waits = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    if asynchronous:
        retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
        opening = ClosingAll(redis.asyncio.Redis(**{**waits, "retry": retry, **address}))
        try:
            yield AsyncRedisCachePersistenceLayer(client=run(opening.__aenter__()))
        finally:
            run(opening.__aexit__(None, None, None))
    else:
        with redis.Redis(**{**waits, "retry": Retry(NoBackoff(), 0), **address}) as blocking:
            yield RedisCachePersistenceLayer(client=blocking)


@contextlib.contextmanager
def dynamodb_layer(
    asynchronous: bool, run: Run, timeout: float = PATIENCE, table: str = TABLE, *, address: Address
) -> Iterator[Any]:
    """Yield a layer whose client never retries."""
    settings = {"connect_timeout": timeout, "read_timeout": timeout, "retries": {"total_max_attempts": 1}}
    where = servers.dynamodb_kwargs(address, aws_secret_access_key=SECRET)
    if asynchronous:
        opening = _ASYNC_SESSION.create_client("dynamodb", config=AioConfig(**settings), **where)
        try:
            yield AsyncDynamoDBPersistenceLayer(table, client=run(opening.__aenter__()))
        finally:
            run(opening.__aexit__(None, None, None))
    else:
        client = servers.boto3_session().client("dynamodb", config=Config(**settings), **where)
        with contextlib.closing(client):
            yield DynamoDBPersistenceLayer(table, boto3_client=client)
