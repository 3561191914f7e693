"""Every outage of Redis or Valkey raises its documented error, which shows no password."""

import asyncio
import contextlib
import gc
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any
from urllib.parse import quote

import pytest
import redis
from redis.backoff import NoBackoff

import outages
import servers
from idemproof import AsyncRedisCachePersistenceLayer, RedisCachePersistenceLayer
from idemproof.errors import (
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceLayerError,
    IdempotencyResultUnavailableError,
)
from outages import COMPLETION_TIMEOUT, RETRIED, Calls, Work
from servers import PASSWORD, Address, Server

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("pauses")]

WRONG = "close sesame"
SECRETS = (PASSWORD, quote(PASSWORD), WRONG, quote(WRONG), outages.SECRET, quote(outages.SECRET, safe=""))


class Side:
    """The blocking or the async layer."""

    def __init__(self, asynchronous: bool) -> None:
        self.asynchronous = asynchronous
        self.work = Work()
        self.stack = contextlib.ExitStack()
        self.environment = self.stack.enter_context(pytest.MonkeyPatch.context())
        self.run = self.stack.enter_context(asyncio.Runner()).run
        self.calls: list[Calls] = []

    def calling(self, address: Address, **more: Any) -> Calls:
        """Return the function over a client of its own that never retries."""
        where = {"host": address.host, "port": address.port, **more}
        return self.over(self.stack.enter_context(outages.redis_layer(self.asynchronous, self.run, **where)))

    def made_by(self, **parameters: Any) -> Calls:
        """Return the function over a layer that makes its client."""
        layer: Any
        if self.asynchronous:
            layer = AsyncRedisCachePersistenceLayer(**parameters)
            self.stack.callback(lambda: self.run(layer.close()))
        else:
            layer = self.stack.enter_context(contextlib.closing(RedisCachePersistenceLayer(**parameters)))
        return self.over(layer)

    def over(self, layer: Any) -> Calls:
        self.calls.append(Calls(layer, self.work, self.run))
        return self.calls[-1]


@pytest.fixture(params=["blocking", "async"])
def side(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Side]:
    caplog.set_level(logging.DEBUG)
    made = Side(request.param == "async")
    with made.stack:
        yield made
    said = [*outages.logged(caplog)]
    for calls in made.calls:
        said += [*calls.reported, repr(calls.layer), str(calls.layer)]
    assert said
    assert not [text for text in said for secret in SECRETS if secret in text]


@contextlib.contextmanager
def client(server: Server) -> Iterator[redis.Redis]:
    with redis.Redis(**servers.redis_kwargs(server)) as made:
        yield made


def by_url(side: Side, server: Server, password: str, ca_file: str) -> Calls:
    secret = f":{quote(password)}@" if password else ""
    trust = f"?ssl_ca_certs={quote(ca_file)}" if ca_file else ""
    return side.made_by(url=f"rediss://{secret}{server.host}:{server.port}/0{trust}")


def by_parameters(side: Side, server: Server, password: str, ca_file: str) -> Calls:
    # Whom to trust, OpenSSL asks the environment.
    side.environment.setenv("SSL_CERT_FILE", ca_file or "/nowhere")
    return side.made_by(host=server.host, port=server.port, password=password)


def by_client(side: Side, server: Server, password: str, ca_file: str) -> Calls:
    return side.calling(server, ssl=True, password=password or None, ssl_ca_certs=ca_file or None)


Connect = Callable[[Side, Server, str, str], Calls]


@pytest.fixture(params=[by_url, by_parameters, by_client])
def connect(request: pytest.FixtureRequest) -> Connect:
    made: Connect = request.param
    return made


@pytest.fixture(autouse=True)
def clients_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return how often clients that retry by themselves wanted to wait, without waiting."""
    wanted: list[float] = []

    def compute(_: object, failures: int) -> float:
        wanted.append(failures)
        return 0

    for kind in ("ExponentialBackoff", "ExponentialWithJitterBackoff"):  # the other is of newer releases
        monkeypatch.setattr(getattr(redis.backoff, kind, NoBackoff), "compute", compute)
    return wanted


@pytest.mark.parametrize("made_by", ["url", "parameters"])
def test_a_client_that_a_layer_makes_leaves_retries_to_the_engine(
    side: Side,
    made_by: str,
    name: str,
    pauses: list[float],
    clients_pauses: list[float],
    port_of_nobody: int,
) -> None:
    port = port_of_nobody
    call = (
        side.made_by(url=f"redis://127.0.0.1:{port}/0")
        if made_by == "url"
        else side.made_by(host="127.0.0.1", port=port, ssl=False)
    )
    call.refused(name, IdempotencyPersistenceConnectionError, str(port))
    assert pauses == RETRIED * 2
    assert clients_pauses == []


def test_the_right_password_over_an_encrypted_connection(
    side: Side, connect: Connect, redis_tls_server: Server, name: str
) -> None:
    call = connect(side, redis_tls_server, PASSWORD, str(redis_tls_server.ca_file))
    assert call(name) == call(name) == f"{name} done"
    assert side.work.runs == [name]


@pytest.mark.parametrize(
    ("password", "cause"),
    [(WRONG, "invalid username-password"), ("", "uthenticat")],
    ids=["wrong", "missing"],
)
def test_a_password_that_is_wrong_or_missing(
    side: Side,
    connect: Connect,
    password: str,
    cause: str,
    redis_tls_server: Server,
    name: str,
    pauses: list[float],
) -> None:
    call = connect(side, redis_tls_server, password, str(redis_tls_server.ca_file))
    call.refused(name, IdempotencyPersistenceConfigError, "AuthenticationError", cause)
    assert pauses == []
    assert side.work.runs == []


@pytest.mark.parametrize("closes", [True, False], ids=["by_close", "by_the_loop"])
@pytest.mark.parametrize("password", [WRONG, ""], ids=["wrong", "missing"])
def test_no_connection_stays_open_after_a_refused_login(
    redis_tls_server: Server, password: str, closes: bool
) -> None:
    secret = f":{quote(password)}@" if password else ""
    place = f"{redis_tls_server.host}:{redis_tls_server.port}"
    layer = AsyncRedisCachePersistenceLayer(
        url=f"rediss://{secret}{place}?ssl_ca_certs={quote(str(redis_tls_server.ca_file))}"
    )

    async def refused() -> None:
        with pytest.raises(IdempotencyPersistenceConfigError):
            await layer._load("key")
        redis_tls_server.pause()  # so that it does not take part in closing
        if closes:
            await layer.close()

    try:
        asyncio.run(refused())
    finally:
        redis_tls_server.resume()
    with warnings.catch_warnings(record=True) as left:
        warnings.simplefilter("always")
        gc.collect()
    assert [str(warning.message) for warning in left] == []


def test_a_database_that_the_server_has_not(side: Side, valkey_server: Server, name: str) -> None:
    call = side.calling(valkey_server, db=99)
    call.refused(name, IdempotencyPersistenceConfigError, "out of range")
    assert side.work.runs == []


def test_a_server_that_is_no_cluster(valkey_server: Server) -> None:
    with pytest.raises(IdempotencyPersistenceConfigError, match="is not a cluster"):
        RedisCachePersistenceLayer(
            host=valkey_server.host, port=valkey_server.port, ssl=False, mode="cluster"
        )


def test_a_certificate_that_no_authority_signed(
    side: Side, connect: Connect, redis_tls_server: Server, name: str
) -> None:
    call = connect(side, redis_tls_server, PASSWORD, "")
    error = call.refused(name, IdempotencyPersistenceConnectionError)
    assert "certificate verify failed" in "".join(outages.spoken(error))  # some libraries hide it there
    assert side.work.runs == []


@pytest.fixture
def user(redis_tls_server: Server, side: Side) -> Iterator[Callable[[str], Calls]]:
    """Make a function whose user may not use some commands."""
    with client(redis_tls_server) as admin:

        def lacking(*commands: str) -> Calls:
            admin.acl_setuser(
                "limited",
                enabled=True,
                passwords=[f"+{outages.SECRET}"],
                keys=["*"],
                categories=["+@all"],
                commands=[f"-{name}" for name in commands],
            )
            secured = servers.redis_kwargs(redis_tls_server, username="limited", password=outages.SECRET)
            return side.calling(redis_tls_server, **secured)

        yield lacking
        admin.acl_deluser("limited")


def test_a_user_who_may_not_claim(
    side: Side, user: Callable[..., Calls], name: str, pauses: list[float]
) -> None:
    user("set").refused(name, IdempotencyPersistenceConfigError, "NoPermissionError", "'set'")
    assert pauses == []
    assert side.work.runs == []


def test_a_user_who_may_not_complete(
    side: Side, user: Callable[..., Calls], name: str, pauses: list[float]
) -> None:
    error = user("evalsha").refused(
        name, IdempotencyPersistenceLayerError, "ran", "NoPermissionError", "'evalsha'"
    )
    assert error.result == f"{name} done"
    assert type(error.__cause__) is IdempotencyPersistenceConfigError
    assert pauses[:3] == [0.025, 0.05, 0.1]  # the permission may come back while there is time
    assert sum(pauses) <= 10
    assert side.work.runs == [name]


def test_a_replica_takes_no_claims(
    side: Side, valkey_server: Server, name: str, pauses: list[float], port_of_nobody: int
) -> None:
    call = side.calling(valkey_server)
    with client(valkey_server) as admin:
        admin.replicaof(valkey_server.host, port_of_nobody)
        try:
            call.refused(name, IdempotencyPersistenceConnectionError, "ReadOnlyError", "read only replica")
        finally:
            admin.replicaof("NO", "ONE")
    assert pauses == RETRIED  # the release finds that there is nothing to write
    assert side.work.runs == []
    assert call(name) == f"{name} done"


@contextlib.contextmanager
def full(server: Server) -> Iterator[Callable[[], object]]:
    """Yield a function that fills the server's memory, and free the memory at the end."""
    with client(server) as admin:
        admin.config_set("maxmemory-policy", "noeviction")
        try:
            yield partial(admin.config_set, "maxmemory", 1)
        finally:
            admin.config_set("maxmemory", 0)


@pytest.fixture(params=["valkey_server", "redis_tls_server"])
def either(request: pytest.FixtureRequest, side: Side) -> tuple[Server, Calls]:
    """Return a server that completes by a command, or one that does so by a script, and a function."""
    server: Server = request.getfixturevalue(request.param)
    return server, side.calling(server, **servers.redis_kwargs(server))


def test_a_full_store_takes_no_claim(
    side: Side, either: tuple[Server, Calls], name: str, pauses: list[float]
) -> None:
    server, call = either
    with full(server) as fill:
        fill()
        call.refused(name, IdempotencyPersistenceConnectionError, "'maxmemory'")
        assert pauses == RETRIED
        assert side.work.runs == []
    assert call(name) == f"{name} done"


def test_a_full_store_answers_repeats(
    side: Side, either: tuple[Server, Calls], name: str, pauses: list[float]
) -> None:
    server, call = either
    assert call(name) == f"{name} done"
    with full(server) as fill:
        fill()
        assert call(name) == f"{name} done"
    assert pauses == []
    assert side.work.runs == [name]


def test_a_store_that_cannot_save_answers_repeats_and_takes_no_claim(
    side: Side, tmp_path: Path, name: str, pauses: list[float]
) -> None:
    nowhere = tmp_path / "gone"
    nowhere.mkdir()
    with servers.valkey(tmp_path, "--save", "3600 100000", "--dir", str(nowhere)) as server:
        call = side.calling(server)
        assert call(name) == f"{name} done"
        nowhere.rmdir()
        with client(server) as admin:
            admin.bgsave()
            until = time.monotonic() + 30
            while admin.info("persistence")["rdb_last_bgsave_status"] != "err":
                assert time.monotonic() < until
                time.sleep(0.02)
        assert call(name) == f"{name} done"
        call.refused(f"{name} again", IdempotencyPersistenceConnectionError, "MISCONF")
    assert pauses == RETRIED
    assert side.work.runs == [name]


@pytest.mark.clause("ENG-10")
def test_a_store_that_fills_while_the_body_runs_takes_what_needs_no_more_room_than_the_claim(
    side: Side, either: tuple[Server, Calls], name: str, pauses: list[float]
) -> None:
    server, call = either
    name = name[-20:]
    with full(server) as side.work.during:
        assert [call(name), call(name)] == [f"{name} done"] * 2
    assert (pauses, side.work.runs) == ([], [name])


@pytest.mark.clause("ENG-10")
def test_a_store_that_fills_while_the_body_runs_is_reported_as_it_ran(
    side: Side, either: tuple[Server, Calls], name: str, pauses: list[float]
) -> None:
    server, call = either
    name *= 40
    with full(server) as side.work.during:
        error = call.refused(name, IdempotencyPersistenceLayerError, "ran", "'maxmemory'")
        call.refused(name, IdempotencyResultUnavailableError)
    assert error.result == f"{name} done"
    assert type(error.__cause__) is IdempotencyPersistenceConnectionError
    assert sum(pauses) == pytest.approx(COMPLETION_TIMEOUT)
    assert side.work.runs == [name]


@pytest.mark.usefixtures("valkey_server")
def test_a_cluster_that_does_not_cover_all_keys(
    side: Side, tmp_path: Path, name: str, pauses: list[float]
) -> None:
    bus = ("--cluster-port", str(servers.free_port()))
    with servers.valkey(tmp_path, "--cluster-enabled", "yes", *bus) as node:
        call = side.calling(node)
        call.refused(name, IdempotencyPersistenceConnectionError, "not served")
        assert pauses == RETRIED * 2
        assert side.work.runs == []


class Loading(StreamRequestHandler):
    """Speaks for a server that has just started."""

    def handle(self) -> None:
        while self.request.recv(1 << 16):
            self.request.sendall(b"-LOADING Redis is loading the dataset in memory\r\n")


class Quoting(StreamRequestHandler):
    """Speaks for a server that does not know AUTH, and says what it was sent."""

    def handle(self) -> None:
        while sent := self.request.recv(1 << 16):
            words = b" ".join(word for word in sent.split(b"\r\n") if word[:1] not in (b"*", b"$", b""))
            self.request.sendall(b"-ERR unknown command " + words.replace(b" ", b", args: ", 1) + b"\r\n")


@pytest.mark.parametrize("library", [redis, redis.asyncio], ids=["blocking", "async"])
def test_a_server_that_quotes_what_a_credential_provider_gave(
    library: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    stub = ThreadingTCPServer(("127.0.0.1", 0), Quoting)
    host, port = stub.server_address[:2]
    with outages.serving(stub), asyncio.Runner() as runner:
        provider = redis.UsernamePasswordCredentialProvider("u", outages.SECRET)
        client = library.Redis(host=host, port=port, credential_provider=provider)
        asynchronous = library is redis.asyncio
        kind: Any = AsyncRedisCachePersistenceLayer if asynchronous else RedisCachePersistenceLayer
        calls = Calls(kind(client=client), Work(), runner.run)
        calls.refused(name, IdempotencyPersistenceConnectionError, "would show the password")
        closing = client.aclose() if asynchronous else client.close()
        if asynchronous:
            runner.run(closing)
    assert not [text for text in (*calls.reported, *outages.logged(caplog)) if outages.SECRET in text]


def test_a_server_that_is_still_loading(side: Side, name: str, pauses: list[float]) -> None:
    stub = ThreadingTCPServer(("127.0.0.1", 0), Loading)
    host, port = stub.server_address[:2]
    # The stub ends when its connections have ended.
    with outages.serving(stub), side.stack:
        call = side.made_by(url=f"redis://{host!s}:{port}/0")
        call.refused(name, IdempotencyPersistenceConnectionError, "BusyLoadingError", "the dataset")
    assert pauses == RETRIED * 2
    assert side.work.runs == []
