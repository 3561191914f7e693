"""An invalid configuration is refused before anything runs, and no error shows a password."""

import socketserver
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import fakeredis
import pytest
import redis
import redis.asyncio
import redis.cluster
import valkey
import valkey.asyncio
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import servers
from idemproof import Record
from idemproof.backends.redis_clients import Address
from idemproof.errors import (
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceLayerError,
)
from idemproof.spec.record import COMPLETED
from sides import Side

HERE = "127.0.0.1"
RECORD = Record("key", COMPLETED, 2**40)

ATTRIBUTES = (
    "in_progress_expiry_attr",
    "expiry_attr",
    "status_attr",
    "data_attr",
    "validation_key_attr",
    "owner_attr",
)

# Search for both ends, because no part of a password may be shown.
BEGINNING, END = "hunter2", "zwiebel"
SPECIAL = " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~é€\N{GRINNING FACE}"
few = settings(
    max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
passwords = st.text(SPECIAL, min_size=1, max_size=6).map(lambda middle: BEGINNING + middle + END)
SOME_PASSWORDS = [BEGINNING + middle + END for middle in ("", "'\"", "@:/?#", " %25\\", "é€")]


@pytest.mark.parametrize("parameter", ATTRIBUTES)
def test_a_name_that_is_none_is_refused(side: Side, parameter: str) -> None:
    with pytest.raises(IdempotencyPersistenceConfigError, match=parameter):
        side.redis(fakeredis.FakeRedis(), **{parameter: 5})


@pytest.mark.parametrize("parameter", ATTRIBUTES)
@pytest.mark.parametrize("name", ["", None], ids=repr)
def test_a_missing_name_is_an_error_at_the_first_request(side: Side, parameter: str, name: Any) -> None:
    layer = side.redis(fakeredis.FakeRedis(), **{parameter: name})
    with pytest.raises(IdempotencyPersistenceConfigError, match=f"{parameter} is {name!r}"):
        side.load(layer, "key")


@pytest.mark.parametrize("parameter", ATTRIBUTES)
@pytest.mark.parametrize("other", ATTRIBUTES)
def test_two_attributes_of_one_name_are_refused(side: Side, parameter: str, other: str) -> None:
    if parameter == other:
        side.redis(fakeredis.FakeRedis(), **{parameter: "same"})
        return
    with pytest.raises(IdempotencyPersistenceConfigError, match="'same'"):
        side.redis(fakeredis.FakeRedis(), **{parameter: "same", other: "same"})


@pytest.mark.parametrize(
    ("parameters", "reported"),
    [
        ({"host": HERE, "mode": "sentinel"}, "'sentinel'"),
        ({"host": HERE, "mode": ""}, "mode"),
        ({"url": f"redis://{HERE}", "mode": None}, "mode"),
        ({"host": HERE, "port": "63 79"}, "port must be a number"),
        ({"host": HERE, "port": ""}, "port must be a number"),
        ({"host": HERE, "port": 6379.5}, "port must be a number"),
        ({"host": HERE, "db_index": -1}, "db_index must be a number"),
    ],
    ids=repr,
)
def test_invalid_parameters_are_refused(side: Side, parameters: dict[str, Any], reported: str) -> None:
    with pytest.raises(IdempotencyPersistenceConfigError, match=reported):
        side.redis_layer(**parameters)


@pytest.mark.parametrize("nowhere", [{}, {"host": None}, {"url": None, "host": ""}], ids=repr)
def test_a_missing_address_is_an_error_at_the_first_request(side: Side, nowhere: dict[str, Any]) -> None:
    layer = side.redis_layer(port=1234, password=BEGINNING, **nowhere)
    with pytest.raises(IdempotencyPersistenceConfigError, match="url, a host or a client"):
        side.load(layer, "key")


@pytest.mark.parametrize("port", [6380, "6380", " 6380 "], ids=repr)
@pytest.mark.parametrize("db_index", [3, "3"], ids=repr)
def test_a_text_of_digits_is_a_number(side: Side, port: Any, db_index: Any) -> None:
    layer = side.redis_layer(host=HERE, port=port, db_index=db_index)
    assert (layer._address.port, layer._address.db_index) == (6380, 3)


def test_a_library_that_is_not_installed_is_named_with_what_installs_it(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("idemproof.backends.redis_clients.find_spec", lambda name: None)
    with pytest.raises(IdempotencyPersistenceConfigError, match=r"idemproof\[redis\]"):
        side.redis_layer(host=HERE)
    side.redis(fakeredis.FakeRedis())  # a client that was brought needs no library of ours


# Clients that were brought.


@pytest.mark.parametrize(
    ("blocking", "awaited"),
    [
        (redis.Redis, redis.asyncio.Redis),
        (valkey.Valkey, valkey.asyncio.Valkey),
        (redis.RedisCluster, redis.asyncio.RedisCluster),
        (valkey.ValkeyCluster, valkey.asyncio.ValkeyCluster),
    ],
)
def test_a_client_of_the_other_side_is_refused(side: Side, blocking: Any, awaited: Any) -> None:
    right, wrong = (awaited, blocking) if side.asynchronous else (blocking, awaited)
    other = "RedisCachePersistenceLayer" if side.asynchronous else "AsyncRedisCachePersistenceLayer"
    with pytest.raises(IdempotencyPersistenceConfigError, match=rf"\b{other}\b"):
        side.redis_layer(client=wrong.__new__(wrong))
    side.redis_layer(client=right.__new__(right))


@pytest.mark.parametrize("missing", ["get", "execute_command", "eval", "evalsha"])
def test_a_client_without_a_command_is_refused(side: Side, missing: str) -> None:
    commands = dict.fromkeys(("get", "execute_command", "eval", "evalsha"), print)
    side.redis(SimpleNamespace(**commands))
    lacking = "set, delete" if missing != "get" else "get, set, delete"
    with pytest.raises(IdempotencyPersistenceConfigError, match=f"SimpleNamespace has no {lacking}"):
        side.redis_layer(client=SimpleNamespace(**commands | {missing: None}))


READS_FROM_REPLICAS: list[dict[str, Any]] = [{"read_from_replicas": True}]
if hasattr(redis.cluster, "LoadBalancingStrategy"):  # which old releases do not have
    READS_FROM_REPLICAS += [{"load_balancing_strategy": redis.cluster.LoadBalancingStrategy.ROUND_ROBIN}]


@pytest.mark.parametrize("reading", READS_FROM_REPLICAS)
@pytest.mark.filterwarnings("ignore:.*read_from_replicas:DeprecationWarning")
def test_a_cluster_client_that_reads_from_replicas_is_refused(
    valkey_cluster: servers.Cluster, side: Side, reading: dict[str, Any]
) -> None:
    node = valkey_cluster.nodes[0]

    async def make() -> Any:
        return redis.asyncio.RedisCluster(host=node.host, port=node.port, **reading)

    client = (
        side.wait(make())
        if side.asynchronous
        else redis.RedisCluster(host=node.host, port=node.port, **reading)
    )
    with pytest.raises(IdempotencyPersistenceConfigError, match="replicas"):
        side.redis_layer(client=client)
    side.wait(client.aclose() if side.asynchronous else client.close())


# Nothing shows a password.


def reported_by(error: BaseException | None) -> str:
    """Return all texts of an error, its causes and its contexts."""
    reported, seen = [], set()
    chain = [error]
    while chain:
        one = chain.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            reported += [str(one), repr(one), repr(one.args), *getattr(one, "__notes__", [])]
            chain += [one.__cause__, one.__context__]
    return "\n".join([*reported, *traceback.format_exception(error)])


def assert_silent(text: str) -> None:
    assert BEGINNING not in text
    assert END not in text


def reported_by_use(side: Side, parameters: dict[str, Any]) -> str:
    """Return all texts of a layer with these parameters and of the errors of its requests."""
    reported = []
    try:
        layer = side.redis_layer(**parameters)
    except IdempotencyPersistenceLayerError as error:
        return reported_by(error)
    reported.append(f"{layer!r} {layer} {layer.client!r}" if side.asynchronous else f"{layer!r} {layer}")
    for expected, new in ((None, None), (None, RECORD), (RECORD, RECORD), (RECORD, None)):
        try:
            side.swap(layer, "key", expected, new)
        except IdempotencyPersistenceLayerError as error:
            reported.append(reported_by(error))
        else:
            raise AssertionError("it worked")
    with suppress(IdempotencyPersistenceLayerError):
        side.wait(layer.close())
    return "\n".join(reported)


def ways(password: str, place: str, mode: str = "standalone") -> Iterator[dict[str, Any]]:
    """Yield parameters that contain a password."""
    host, _, port = place.partition(":")
    quoted = quote(password, safe="")
    yield {"host": host, "port": int(port), "password": password, "ssl": False, "mode": mode}
    yield {
        "host": host,
        "port": int(port),
        "username": "me",
        "password": password,
        "ssl": False,
        "mode": mode,
    }
    yield {"url": f"redis://:{quoted}@{place}", "mode": mode}
    yield {"url": f"redis://me:{quoted}@{place}", "mode": mode}
    yield {"url": f"redis://{place}?password={quoted}", "mode": mode}


def refuse(side: Side, url: str) -> None:
    with pytest.raises(IdempotencyPersistenceConfigError) as raised:
        side.load(side.redis_layer(url), "key")
    assert_silent(reported_by(raised.value))


@pytest.mark.parametrize(
    "url",
    [
        "redis://me:{password}@127.0.0.1:port/0",
        "redis://:{password}@127.0.0.1:99999999/0",
        "http://me:{password}@127.0.0.1",
        "127.0.0.1:6379?password={password}",
        "{password}",
    ],
)
@few
@given(password=passwords, encoded=st.booleans())
def test_a_url_that_cannot_be_used_is_refused_without_its_password(
    side: Side, url: str, password: str, encoded: bool
) -> None:
    assume(encoded or "@" not in password)  # what follows might be an address
    refuse(side, url.format(password=quote(password, safe="") if encoded else password))


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:1?socket_timeout=soon&password={password}",
        "redis://127.0.0.1:1?password={password}&no_such_option=1",
        "redis://me:{password}@127.0.0.1:1?db=x",
        "redis://me:{password}@[::1/0",
    ],
)
@few
@given(password=passwords)
def test_a_url_with_a_wrong_option_is_refused_without_its_password(
    side: Side, url: str, password: str
) -> None:
    refuse(side, url.format(password=quote(password, safe="")))


class Refused:
    """A fake client whose server repeats commands that it does not know."""

    def __init__(self, password: str, error: type[Exception], where: str) -> None:
        self.error = error(f"unknown command 'AUTH', with args beginning with: '{password}'")
        setattr(self, where, {"password": password})
        if where != "connection_kwargs":
            setattr(self, where, SimpleNamespace(connection_kwargs={"password": password}))

    def get(self, *args: Any, **kwargs: Any) -> Any:
        raise self.error

    set = eval = evalsha = execute_command = get


@pytest.mark.parametrize("where", ["connection_kwargs", "connection_pool", "nodes_manager"])
@pytest.mark.parametrize(
    ("error", "named"),
    [
        (redis.ResponseError, IdempotencyPersistenceConnectionError),
        (redis.AuthenticationError, IdempotencyPersistenceConfigError),
        (redis.ConnectionError, IdempotencyPersistenceConnectionError),
    ],
)
@few
@given(password=passwords)
def test_an_error_of_the_server_that_has_the_password_is_not_quoted(
    side: Side, error: type[Exception], named: type[Exception], where: str, password: str
) -> None:
    layer = side.redis(Refused(password, error, where))
    assert_silent(repr(layer))
    for expected, new in ((None, None), (None, RECORD), (RECORD, RECORD), (RECORD, None)):
        with pytest.raises(named, match=error.__name__) as raised:
            side.swap(layer, "key", expected, new)
        assert_silent(reported_by(raised.value))
        assert raised.value.__cause__ is None


@pytest.mark.parametrize("behind", [False, True], ids=["itself", "behind another"])
def test_a_command_that_a_server_quotes_is_not_quoted_even_in_part(side: Side, behind: bool) -> None:
    client = Refused(BEGINNING, redis.ConnectionError, "connection_pool")
    # A server truncates long words, and the password of a provider is unknown.
    client.error = echoed = redis.ResponseError("unknown command 'AUTH', with args beginning with: 'swordf")
    if behind:
        client.error = redis.ConnectionError("no handshake")
        client.error.__context__ = echoed
    with pytest.raises(IdempotencyPersistenceConnectionError) as raised:
        side.load(side.redis(client), "key")
    assert "swordf" not in reported_by(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("url", ["redis://h?password={}", "redis://:{}@h", "redis://u:{}@h/0?x=1"])
def test_the_password_of_a_url_is_known_to_be_secret(url: str) -> None:
    address = Address(url.format("s%40crd"), "", 0, "", "", 0, "standalone", ssl=False)
    assert "s@crd" in address.secrets()
    assert "crd" not in repr(address)


def test_an_error_without_the_password_is_quoted_and_is_the_cause(side: Side) -> None:
    client = Refused(BEGINNING, redis.ConnectionError, "connection_pool")
    client.error = redis.ConnectionError("down")
    with pytest.raises(IdempotencyPersistenceConnectionError, match=r"'key'.*down") as raised:
        side.load(side.redis(client), "key")
    assert raised.value.__cause__ is client.error


class Echo(socketserver.StreamRequestHandler):
    """Answers each request with an error that quotes the whole request."""

    def handle(self) -> None:
        while head := self.rfile.readline():
            words = []
            for _ in range(int(head[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:-2])
            said = b" ".join(b"'%s'" % word for word in words[1:])
            self.wfile.write(
                b"-ERR unknown command '%s', with args beginning with: %s\r\n" % (words[0], said)
            )


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    """Return the address of a server that quotes each request in an error."""
    with socketserver.ThreadingTCPServer((HERE, 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"{HERE}:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("mode", ["standalone", "cluster"])
@pytest.mark.parametrize("password", SOME_PASSWORDS)
@pytest.mark.parametrize("way", range(5), ids=["parameter", "with a user", "url", "url with a user", "query"])
def test_a_server_that_echoes_the_password_is_not_quoted(
    side: Side, echo: str, mode: str, password: str, way: int
) -> None:
    parameters = list(ways(password, echo, mode))[way]
    assert_silent(reported_by_use(side, parameters))


@pytest.mark.parametrize("mode", ["standalone", "cluster"])
@pytest.mark.parametrize("way", [2, 3, 4])
def test_an_unreachable_address_is_reported_without_the_password(
    side: Side, mode: str, way: int, port_of_nobody: int
) -> None:
    place = f"{HERE}:{port_of_nobody}"
    parameters = list(ways(BEGINNING + END, place, mode))[way]
    reported = reported_by_use(side, parameters)
    assert_silent(reported)
    assert place.partition(":")[2] in reported
