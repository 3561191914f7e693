"""A Valkey that is unavailable, refuses or hangs after the body has returned, and recovers later."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

import outages
import servers
from idemproof import (
    AsyncRedisCachePersistenceLayer,
    IdempotencyConfig,
    RedisCachePersistenceLayer,
    idempotent_function,
)
from outages import Calls, Work
from servers import Server

EVERY_WRITE = ("--appendonly", "yes", "--appendfsync", "always")
TRIES = 4
"""How many waits of the engine the trouble lasts: one more than an outage that three tries would survive."""


class Trouble:
    """A fault that ends after a number of the engine's waits."""

    def __init__(self) -> None:
        self.waits = 0
        self.end: Callable[[], object] = lambda: None

    def __call__(self, _: float) -> None:
        self.waits += 1
        if self.waits == TRIES:
            self.end()


@pytest.fixture
def trouble(monkeypatch: pytest.MonkeyPatch) -> Trouble:
    made = Trouble()

    async def pause(seconds: float) -> None:
        made(seconds)

    monkeypatch.setattr("idemproof.drivers.blocking.pause", made)
    monkeypatch.setattr("idemproof.drivers.asynchronous.pause_async", pause)
    return made


@pytest.fixture(scope="module")
def durable_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    def start(directory: Path) -> Server:
        return servers.valkey(directory, *EVERY_WRITE)

    with servers.running(start, tmp_path_factory.mktemp("servers")) as started:
        yield started


@contextlib.contextmanager
def made_by_layer(asynchronous: bool, run: outages.Run, **address: Any) -> Iterator[Any]:
    """Yield a layer that makes its own client."""
    if not asynchronous:
        with contextlib.closing(RedisCachePersistenceLayer(ssl=False, **address)) as blocking:
            yield blocking
        return
    layer = AsyncRedisCachePersistenceLayer(ssl=False, **address)
    yield layer
    run(layer.close())


@pytest.fixture(params=["blocking", "async"])
def calling(request: pytest.FixtureRequest) -> Iterator[Callable[..., Calls]]:
    """Return a factory of functions over a layer, whose client is the layer's or the user's."""
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(asyncio.Runner()).run

        def over(server: Server, kind: Any = outages.redis_layer, **more: Any) -> Calls:
            where = {"host": server.host, "port": server.port, **more}
            return Calls(stack.enter_context(kind(request.param == "async", run, **where)), Work(), run)

        yield over


@contextlib.contextmanager
def administration(server: Server) -> Iterator[redis.Redis]:
    with redis.Redis(**servers.redis_kwargs(server)) as client:
        yield client


def stored(call: Calls, trouble: Trouble, name: str) -> None:
    """Call and repeat: both get the answer, the body runs once, and the trouble has been met."""
    assert call(name) == f"{name} done"
    assert trouble.waits == TRIES
    call.work.during = lambda: None
    assert call(name) == f"{name} done"
    assert call.work.runs == [name]


@pytest.mark.clause("ENG-6")
@pytest.mark.usefixtures("_abandoned_connections")
@pytest.mark.parametrize("kind", [outages.redis_layer, made_by_layer], ids=["client", "address"])
def test_a_server_that_is_restarted_while_the_body_runs_gets_the_result(
    durable_server: Server, calling: Callable[..., Calls], kind: Any, trouble: Trouble, name: str
) -> None:
    call = calling(durable_server, kind)
    call.work.during = durable_server.kill
    trouble.end = durable_server.restart
    stored(call, trouble, name)


@pytest.mark.clause("ENG-6")
@pytest.mark.parametrize("commands", ["-@all", "-set -evalsha -eval"])
def test_a_user_who_is_denied_for_a_while_gets_the_result_stored(
    valkey_server: Server, calling: Callable[..., Calls], trouble: Trouble, name: str, commands: str
) -> None:
    with administration(valkey_server) as admin:
        admin.execute_command("ACL", "SETUSER", "denied", "on", ">secret", "~*", "+@all")
        try:
            call = calling(valkey_server, username="denied", password="secret")
            call.work.during = lambda: admin.execute_command("ACL", "SETUSER", "denied", *commands.split())
            trouble.end = lambda: admin.execute_command("ACL", "SETUSER", "denied", "+@all")
            stored(call, trouble, name)
        finally:
            admin.acl_deluser("denied")


@pytest.mark.clause("ENG-6")
def test_a_server_without_memory_for_a_while_gets_the_result(
    valkey_server: Server, calling: Callable[..., Calls], trouble: Trouble, name: str
) -> None:
    name *= 40  # so that it needs more room than the claim
    call = calling(valkey_server)
    with administration(valkey_server) as admin:
        admin.config_set("maxmemory-policy", "noeviction")
        try:
            call.work.during = lambda: admin.config_set("maxmemory", 1)
            trouble.end = lambda: admin.config_set("maxmemory", 0)
            stored(call, trouble, name)
        finally:
            admin.config_set("maxmemory", 0)


class Limit(Exception):  # noqa: N818 - as those of job queues
    """A time limit, which a signal's handler raises."""


class SocketLimit(TimeoutError):  # noqa: N818 - same
    """A time limit that looks like an error of a client's socket."""


LIMITS = [Limit("time is up"), SocketLimit("time is up"), KeyboardInterrupt()]


@pytest.mark.clause("ENG-4", "ENG-15")
@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: type(limit).__name__)
@pytest.mark.parametrize("warm", [False, True], ids=["first call", "later call"])
@pytest.mark.parametrize("library", ["redis", "valkey", "address"])
def test_a_signal_while_a_paused_server_is_asked_for_a_claim(
    valkey_server: Server, limit: BaseException, warm: bool, library: str, name: str
) -> None:
    where = {"host": valkey_server.host, "port": valkey_server.port}
    ran: list[str] = []
    declared = (type(limit),) if isinstance(limit, Exception) else ()
    with contextlib.ExitStack() as stack:
        if library == "address":
            layer = stack.enter_context(
                contextlib.closing(RedisCachePersistenceLayer(ssl=False, **where))  # type: ignore[arg-type]
            )
        else:
            module = pytest.importorskip(library)
            kind = module.Redis if library == "redis" else module.Valkey
            never = module.retry.Retry(module.backoff.NoBackoff(), 0)
            client = stack.enter_context(
                kind(**where, **({"retry": never} if isinstance(limit, SocketLimit) else {}))
            )
            layer = RedisCachePersistenceLayer(client=client)

        @idempotent_function(
            data_keyword_argument="p",
            persistence_store=layer,
            config=IdempotencyConfig(in_progress_expires_after_seconds=60, interrupts=declared),
            key_prefix=name,
        )
        def work(p: str) -> str:
            ran.append(p)
            return p

        def strike(*_: object) -> None:
            valkey_server.resume()  # so that the claim can be taken back
            raise limit

        if warm:
            work(p="warm")
        usual = signal.signal(signal.SIGALRM, strike)
        valkey_server.pause()
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(type(limit)) as raised:
                work(p="key")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, usual)
            valkey_server.resume()
        assert raised.value is limit
        assert "key" not in ran
        assert [work(p="key"), work(p="key")] == ["key"] * 2  # the key is free, and the client sound
        assert ran == ["warm"] * warm + ["key"]
