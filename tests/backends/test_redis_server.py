"""The requests to Redis and Valkey: the time to live, the script, and each parameter of a layer."""

import asyncio
import json
import traceback
from typing import Any

import fakeredis
import pytest
import redis
import valkey

import servers
from idemproof import (
    AsyncCachePersistenceLayer,
    AsyncRedisCachePersistenceLayer,
    CachePersistenceLayer,
    Record,
    RedisCachePersistenceLayer,
)
from idemproof.errors import (
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
)
from idemproof.spec.record import COMPLETED, INPROGRESS
from places import RedisPlace
from sides import KEY, Recording, Side

FAR = 32_503_680_000
CLAIM = Record("key", INPROGRESS, FAR, FAR * 1000 - 1, None, "hash", "mine")
RESULT = Record("key", COMPLETED, FAR, None, '{"a": 1}', "hash", "mine")
A_DAY = 86_400_000


def sent(client: Recording) -> list[str]:
    """Return the names of the requests, and the options of SET."""
    return [
        " ".join(["SET", *(word.decode() for word in (b"NX", b"GET", b"IFEQ") if word in ask.args)])
        if ask.method == "execute_command"
        else ask.method
        for ask in client.asked
    ]


@pytest.fixture
def client(valkey_place: RedisPlace) -> Recording:
    return Recording(valkey_place.open(redis.Redis))


# Time to live.


@pytest.mark.clause("CAS-6")
@pytest.mark.parametrize("ttl_ms", [60_000, A_DAY])
@pytest.mark.parametrize("script", [False, True], ids=["by command", "by script"])
def test_the_stores_time_to_live_is_keep_ms(client: Recording, side: Side, ttl_ms: int, script: bool) -> None:
    layer = side.redis(client)
    if script:
        layer._values._unknown_options |= {"NX GET", "IFEQ"}
    side.swap(layer, "key", None, CLAIM, ttl_ms)
    assert ttl_ms - 1000 < client.client.pttl("key") <= ttl_ms
    side.swap(layer, "key", CLAIM, RESULT, 2 * ttl_ms)
    assert 2 * ttl_ms - 1000 < client.client.pttl("key") <= 2 * ttl_ms
    assert ("evalsha" in sent(client)) is script


def test_a_refused_request_does_not_extend_the_time_to_live(client: Recording, side: Side) -> None:
    layer = side.redis(client)
    side.swap(layer, "key", None, CLAIM, 60_000)
    rival = CLAIM._replace(owner="rival")
    side.swap(layer, "key", None, rival, A_DAY)
    side.swap(layer, "key", rival, RESULT, A_DAY)
    side.load(layer, "key")
    assert 0 < client.client.pttl("key") <= 60_000


def test_a_functions_window_becomes_the_time_to_live(client: Recording, side: Side) -> None:
    layer = side.redis(client)
    seen = []

    def body() -> str:
        seen.append(client.client.pttl(KEY))
        return "done"

    assert side.function(layer, body, expires_after_seconds=3600)() == "done"
    seen.append(client.client.pttl(KEY))
    assert all(3_590_000 < left <= 3_601_000 for left in seen)


@pytest.mark.parametrize("ttl_ms", [2**53, 2**63, 2**70])
def test_a_time_that_no_clock_holds_is_cut(client: Recording, side: Side, ttl_ms: int) -> None:
    layer = side.redis(client)
    assert side.swap(layer, "key", None, CLAIM, ttl_ms) == CLAIM
    assert side.swap(layer, "key", CLAIM, RESULT, ttl_ms) == RESULT
    assert client.client.pttl("key") > 10**15


# Commands and the script.


def test_each_step_of_a_records_life_takes_one_request(client: Recording, side: Side) -> None:
    layer = side.redis(client)
    client.client.script_load("return 1")
    assert side.swap(layer, "key", None, CLAIM) == CLAIM
    assert side.swap(layer, "key", None, CLAIM._replace(owner="rival")) == CLAIM
    assert side.swap(layer, "key", CLAIM, RESULT) == RESULT
    assert side.load(layer, "key") == RESULT
    assert sent(client) == ["SET NX GET", "SET NX GET", "SET IFEQ", "get"]


def test_a_record_is_ascii_whatever_encoding_the_client_has_for_texts(
    valkey_place: RedisPlace, side: Side
) -> None:
    client = Recording(valkey_place.open(redis.Redis, encoding="utf-16"))
    layer = side.redis(client)
    for new in (CLAIM, RESULT):
        assert side.swap(layer, "key", None if new is CLAIM else CLAIM, new) == new
        assert side.load(layer, "key") == new
    [kept] = valkey_place.open(redis.Redis).mget("key".encode("utf-16"))
    assert json.loads(kept.decode("ascii"))["owner"] == "mine"


def test_a_script_that_the_server_forgot_is_sent_again(client: Recording, side: Side) -> None:
    layer = side.redis(client)
    side.swap(layer, "key", None, CLAIM)
    for _ in range(2):
        client.client.script_flush()
        client.asked.clear()
        assert side.swap(layer, "key", CLAIM._replace(owner="rival"), None) == CLAIM
        assert side.swap(layer, "key", CLAIM._replace(owner="rival"), None) == CLAIM
        assert sent(client) == ["evalsha", "eval", "evalsha"]


def test_an_unknown_option_is_sent_only_once_to_an_older_store(side: Side) -> None:
    client = Recording(fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(6,))))
    layer = side.redis(client)
    assert side.swap(layer, "key", None, CLAIM) == CLAIM
    assert sent(client) == ["SET NX GET", "evalsha", "eval"]
    for _ in range(3):
        client.asked.clear()
        assert side.swap(layer, "key", None, CLAIM._replace(owner="rival")) == CLAIM
        assert sent(client) == ["evalsha"]
    client.asked.clear()
    assert side.swap(layer, "key", CLAIM, RESULT) == RESULT
    assert side.swap(layer, "key", RESULT, CLAIM) == CLAIM
    assert sent(client) == ["SET IFEQ", "evalsha", "evalsha"]


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("gone"),
        redis.TimeoutError("slow"),
        redis.ResponseError("OOM command not allowed"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("expected", [None, CLAIM], ids=["claim", "completion"])
def test_no_other_error_is_taken_for_an_old_store(
    client: Recording, side: Side, error: Exception, expected: Record | None
) -> None:
    class Failing(Recording):
        def execute_command(self, *words: Any, **options: Any) -> Any:
            raise error

    failing = Failing(client.client)
    layer = side.redis(failing)
    if expected is not None and "OOM" in str(error):  # what takes no more room than it replaces is stored
        side.swap(side.redis(client.client), "key", None, expected)
        assert side.swap(layer, "key", expected, RESULT) == RESULT
        assert failing.methods == ["eval"]
        return
    with pytest.raises(IdempotencyPersistenceConnectionError, match="'key'") as raised:
        side.swap(layer, "key", expected, RESULT)
    assert raised.value.__cause__ is error
    # A full store may still answer a repeat.
    assert failing.methods == (["get"] if expected is None and "OOM" in str(error) else [])
    assert not layer._values._unknown_options


# Parameters.


NAMES = {
    "in_progress_expiry_attr": "lease",
    "expiry_attr": "ttl",
    "status_attr": "state",
    "data_attr": "body",
    "validation_key_attr": "hash of it",
    "owner_attr": "whose",
}


def test_each_attribute_has_the_given_name(client: Recording, side: Side) -> None:
    layer = side.redis(client, **NAMES)
    record = CLAIM._replace(response_data="{}")
    side.swap(layer, "key", None, record)
    assert json.loads(client.client.get("key")) == {
        "body": "{}",
        "state": INPROGRESS,
        "ttl": FAR,
        "lease": FAR * 1000 - 1,
        "hash of it": "hash",
        "whose": "mine",
    }
    assert side.load(layer, "key") == record
    assert side.swap(layer, "key", record, RESULT) == RESULT


@pytest.mark.parametrize("by_url", [True, False], ids=["url", "parameters"])
@pytest.mark.parametrize("index", [0, 2])
def test_the_database_is_the_one_that_was_named(
    valkey_place: RedisPlace, side: Side, by_url: bool, index: int
) -> None:
    where: dict[str, Any] = (
        {"url": f"{valkey_place.url}/{index}"}
        if by_url
        else {"host": valkey_place.host, "port": valkey_place.port, "db_index": index, "ssl": False}
    )
    layer = side.redis_layer(**where)
    side.swap(layer, "key", None, RESULT)
    side.wait(layer.close())
    assert [valkey_place.open(redis.Redis, db=db).exists("key") for db in (0, 2)] == [index == 0, index == 2]


@pytest.mark.parametrize("by_url", [True, False], ids=["url", "parameters"])
def test_a_cluster_is_spoken_to_as_one(
    empty_cluster: redis.RedisCluster, valkey_cluster: servers.Cluster, side: Side, by_url: bool
) -> None:
    node = valkey_cluster.nodes[1]
    where: dict[str, Any] = (
        {"url": f"redis://{node.host}:{node.port}"}
        if by_url
        else {"host": node.host, "port": node.port, "ssl": False}
    )
    layer = side.redis_layer(**where, mode="cluster")
    # One node after the other has them, and at first none knows the script.
    for number in range(12):
        record = CLAIM._replace(idempotency_key=str(number))
        assert side.swap(layer, str(number), None, record) == record
        assert side.swap(layer, str(number), record._replace(owner="rival"), None) == record
        assert side.swap(layer, str(number), record, None) is None
        assert side.swap(layer, str(number), None, record) == record
    side.wait(layer.close())
    assert {empty_cluster.exists(str(number)) for number in range(12)} == {1}


def test_an_encrypted_store_with_a_password_is_reached(redis_tls_server: servers.Server, side: Side) -> None:
    place = f"{redis_tls_server.host}:{redis_tls_server.port}"
    url = f"rediss://:open%20sesame@{place}/0?ssl_ca_certs={redis_tls_server.ca_file}"
    layer = side.redis_layer(url)
    key = f"key of the {side.asynchronous}"
    record = RESULT._replace(idempotency_key=key)
    assert side.swap(layer, key, None, record) == record
    side.wait(layer.close())
    wrong = side.redis_layer(url.replace("open%20sesame", "wrong"))
    with pytest.raises(IdempotencyPersistenceConfigError, match="'key'"):
        side.load(wrong, "key")
    side.wait(wrong.close())


def test_an_untrusted_certificate_is_refused(redis_tls_server: servers.Server, side: Side) -> None:
    layer = side.redis_layer(f"rediss://:open%20sesame@{redis_tls_server.host}:{redis_tls_server.port}")
    with pytest.raises(IdempotencyPersistenceConnectionError) as refused:
        side.load(layer, "key")
    assert "certificate" in "".join(traceback.format_exception(refused.value))  # some libraries hide it there
    side.wait(layer.close())


def test_parameters_become_the_clients() -> None:
    layer = RedisCachePersistenceLayer(
        host="here", port=1234, username="me", password="open sesame", db_index=3, ssl=True
    )
    options = layer.client.connection_pool.connection_kwargs
    expected = {"host": "here", "port": 1234, "username": "me", "password": "open sesame", "db": 3}
    assert {name: options[name] for name in expected} == expected
    assert layer.client.connection_pool.connection_class is redis.SSLConnection
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (5, 5)
    options = RedisCachePersistenceLayer("redis://here").client.connection_pool.connection_kwargs
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (5, 5)


def test_the_documented_short_names_are_the_same_layers() -> None:
    assert CachePersistenceLayer is RedisCachePersistenceLayer
    assert AsyncCachePersistenceLayer is AsyncRedisCachePersistenceLayer


# Clients that were made here, and that were brought.


def test_a_closed_layer_opens_again(valkey_place: RedisPlace, side: Side) -> None:
    layer = side.redis_layer(valkey_place.url)
    side.swap(layer, "key", None, RESULT)
    for _ in range(2):
        side.wait(layer.close())
        assert side.load(layer, "key") == RESULT
    side.wait(layer.close())


def test_a_supplied_client_is_not_closed(side: Side) -> None:
    class Closing(Recording):
        def close(self) -> None:
            raise AssertionError("closed")

    side.wait(side.redis(Closing(fakeredis.FakeRedis())).close())


def test_each_event_loop_has_a_client_of_its_own(
    valkey_place: RedisPlace, valkey_client: redis.Redis
) -> None:
    layer = AsyncRedisCachePersistenceLayer(valkey_place.url)
    before = len(valkey_client.client_list())

    async def store(number: int) -> None:
        keys = [f"{number}/{other}" for other in range(20)]
        records = [RESULT._replace(idempotency_key=key) for key in keys]
        swaps = (layer._swap(key, None, record, A_DAY) for key, record in zip(keys, records, strict=True))
        assert await asyncio.gather(*swaps) == records

    for number in range(3):
        asyncio.run(store(number))
    assert len(layer._clients._open) == 0
    assert len(valkey_client.keys()) == 60
    for _ in range(1000):
        if len(valkey_client.client_list()) == before:
            return
    raise AssertionError("connections stay open")


@pytest.mark.parametrize("kind", [redis.Redis, valkey.Valkey])
def test_clients_of_two_libraries_share_records(valkey_place: RedisPlace, kind: Any) -> None:
    ours, other = (RedisCachePersistenceLayer(client=valkey_place.open(k)) for k in (redis.Redis, kind))
    ours._swap("key", None, CLAIM, A_DAY)
    assert other._swap("key", CLAIM, RESULT, A_DAY) == RESULT
    assert ours._load("key") == RESULT


@pytest.mark.parametrize("mode", ["standalone", "cluster"])
def test_more_calls_at_once_than_the_librarys_pool_has_connections(
    mode: str, valkey_server: servers.Server, valkey_cluster: servers.Cluster
) -> None:
    server = valkey_server if mode == "standalone" else valkey_cluster.nodes[0]
    keys = [f"many-{mode}-{number}" for number in range(150)]

    async def claim_all() -> list[Record | None]:
        layer = AsyncRedisCachePersistenceLayer(
            host=server.host,
            port=server.port,
            ssl=False,
            mode=mode,  # type: ignore[arg-type]
        )
        claims = [CLAIM._replace(idempotency_key=key) for key in keys]
        try:
            return await asyncio.gather(
                *(layer._swap(claim.idempotency_key, None, claim, 60_000) for claim in claims)
            )
        finally:
            await layer.close()

    assert {record.owner for record in asyncio.run(claim_all()) if record} == {"mine"}
