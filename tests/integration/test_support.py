"""The servers and injected faults of the tests behave as other tests expect."""

import contextlib
import random
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import pytest
import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry

import servers
from proxy import Proxy, command
from servers import Address, Cluster, Server

pytestmark = pytest.mark.once

SET = command("SET")
PUT = b"DynamoDB_20120810.PutItem"
LOST = (botocore.exceptions.ConnectionClosedError, botocore.exceptions.EndpointConnectionError)


@contextlib.contextmanager
def redis_client(server: Server, **more: Any) -> Iterator[redis.Redis]:
    """Yield a client that never retries by itself."""
    settings = {"socket_timeout": 60, "retry": Retry(NoBackoff(), 0), **more}
    with redis.Redis(**servers.redis_kwargs(server, **settings)) as client:
        yield client


@contextlib.contextmanager
def dynamodb_client(server: Address, **config: Any) -> Iterator[Any]:
    """Yield a client that never retries by itself."""
    with contextlib.closing(
        servers.dynamodb_client(server, retries={"total_max_attempts": 1}, **config)
    ) as client:
        yield client


@pytest.fixture
def valkey_proxy(valkey_server: Server) -> Iterator[Proxy]:
    with redis_client(valkey_server) as client:
        client.flushall()
    with Proxy(valkey_server) as made:
        yield made


@pytest.fixture
def table(dynamodb_server: Server, request: pytest.FixtureRequest) -> Iterator[str]:
    with dynamodb_client(dynamodb_server) as client:
        servers.create_table(client, request.node.name)
        yield request.node.name
        client.delete_table(TableName=request.node.name)


def put(client: Any, table: str, key: str) -> None:
    client.put_item(TableName=table, Item={"id": {"S": key}})


def stored(server: Server, table: str, key: str) -> bool:
    with dynamodb_client(server) as client:
        return "Item" in client.get_item(TableName=table, Key={"id": {"S": key}}, ConsistentRead=True)


def assert_stopped(server: Server) -> None:
    server.stop()
    server.stop()
    assert server.process is not None
    assert server.process.poll() is not None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.port), timeout=5)


@pytest.mark.usefixtures("valkey_server")
def test_valkey_answers_and_stops(tmp_path: Path) -> None:
    with servers.valkey(tmp_path, "--maxmemory", "64mb") as server, redis_client(server) as client:
        info = client.info()
        assert info["server_name"] == "valkey"
        assert info["maxmemory"] == 64 << 20
        server.pause()
        with redis_client(server, socket_timeout=0.2) as hasty, pytest.raises(redis.TimeoutError):
            hasty.ping()
        server.resume()
        assert client.ping()
        server.pause()
        assert_stopped(server)


def test_the_nodes_of_a_cluster_share_the_keys(valkey_cluster: Cluster) -> None:
    node = valkey_cluster.nodes[0]
    with contextlib.closing(RedisCluster(host=node.host, port=node.port)) as client:
        client.flushall()  # other tests share these nodes
        for number in range(30):
            client.set(f"key-{number}", number)
    sizes = []
    for node in valkey_cluster.nodes:
        with redis_client(node) as client:
            sizes.append(client.dbsize())
    assert all(sizes)
    assert sum(sizes) == 30


@pytest.mark.usefixtures("valkey_cluster")
def test_a_cluster_stops(tmp_path: Path) -> None:
    with servers.valkey_cluster(tmp_path) as cluster:
        pass
    for node in cluster.nodes:
        assert_stopped(node)


def test_redis_demands_its_certificate_and_password(redis_tls_server: Server) -> None:
    with redis_client(redis_tls_server) as client:
        assert int(client.info()["redis_version"].split(".")[0]) >= 7
    with redis_client(redis_tls_server, password=None) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    with redis_client(redis_tls_server, ssl=False) as client, pytest.raises(redis.ConnectionError):
        client.ping()
    with redis_client(redis_tls_server, ssl_ca_certs=None) as client, pytest.raises(redis.ConnectionError):
        client.ping()


@pytest.mark.usefixtures("redis_tls_server")
def test_a_replica_has_the_data_and_takes_none(tmp_path: Path) -> None:
    with servers.redis7(tmp_path, password=None, tls=False) as server, redis_client(server) as client:
        client.set("key", "value")
        follow = ("--replicaof", server.host, str(server.port))
        with (
            servers.redis7(tmp_path, *follow, password=None, tls=False) as replica,
            redis_client(replica) as reader,
        ):
            assert reader.get("key") == b"value"
            with pytest.raises(redis.ReadOnlyError):
                reader.set("key", "other")
            assert_stopped(replica)
        assert_stopped(server)


@pytest.mark.parametrize("start", [servers.dynamodb, servers.dynalite])
def test_dynamodb_answers_and_stops(
    tmp_path: Path, start: Callable[[Path], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(servers.ENDPOINT, raising=False)
    with servers.running(start, tmp_path) as server, dynamodb_client(server) as client:
        servers.create_table(client, "records", sort_key="sort")
        assert client.list_tables()["TableNames"] == ["records"]
        assert len(client.describe_table(TableName="records")["Table"]["KeySchema"]) == 2
        assert_stopped(server)


def test_a_server_that_cannot_start_says_why(valkey_server: Server, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="--no-such-option"):
        servers.valkey(tmp_path, "--no-such-option", "1")
    # Its own option comes last, and takes away the port that was chosen: five times, then it gives up.
    with pytest.raises(RuntimeError, match="Address already in use"):
        servers.valkey(tmp_path, "--port", str(valkey_server.port))


def test_a_lost_reply_of_valkey(valkey_server: Server, valkey_proxy: Proxy) -> None:
    valkey_proxy.lose_reply(to=SET)
    with redis_client(valkey_server, port=valkey_proxy.port) as client:
        with pytest.raises(redis.ConnectionError):
            client.set("key", "value")
        with redis_client(valkey_server) as direct:
            assert direct.get("key") == b"value"
        assert client.set("key", "other")
        assert client.get("key") == b"other"
    assert valkey_proxy.requests(SET) == 2
    assert valkey_proxy.requests(b"other") == 1


def test_a_lost_request_to_valkey(valkey_server: Server, valkey_proxy: Proxy) -> None:
    valkey_proxy.lose_request(to=SET, times=2)
    with redis_client(valkey_server, port=valkey_proxy.port) as client:
        for _ in range(2):
            with pytest.raises(redis.ConnectionError):
                client.set("key", "value")
            assert client.get("key") is None
        assert client.set("key", "value")


def test_a_late_request_to_valkey(valkey_server: Server, valkey_proxy: Proxy) -> None:
    valkey_proxy.delay_request_and_hang_up(to=SET)
    with (
        redis_client(valkey_server, port=valkey_proxy.port) as client,
        pytest.raises(redis.ConnectionError),
    ):
        client.set("key", "value")
    with redis_client(valkey_server) as direct:
        assert direct.get("key") is None
        valkey_proxy.release()
        assert direct.get("key") == b"value"
        valkey_proxy.delay_request(to=SET, seconds=0.1)
        with redis_client(valkey_server, port=valkey_proxy.port) as client:
            assert client.set("key", "other")


def test_a_held_request_goes_on_when_it_is_released(valkey_server: Server, valkey_proxy: Proxy) -> None:
    valkey_proxy.delay_request(to=SET)
    replies = []
    with redis_client(valkey_server, port=valkey_proxy.port) as client:
        caller = threading.Thread(target=lambda: replies.append(client.set("key", "value")))
        caller.start()
        valkey_proxy.wait_held()
        assert client.get("key") is None
        valkey_proxy.release()
        caller.join()
    assert replies == [True]


def test_what_is_held_at_the_end_never_happens(valkey_server: Server) -> None:
    before = set(threading.enumerate())
    with Proxy(valkey_server) as proxy, redis_client(valkey_server, port=proxy.port) as client:
        proxy.delay_request_and_hang_up(to=SET)
        with redis_client(valkey_server, port=proxy.port) as other, pytest.raises(redis.ConnectionError):
            other.set("held", "value")
        assert client.get("held") is None
        assert set(threading.enumerate()) - before
    assert not set(threading.enumerate()) - before
    with redis_client(valkey_server) as direct:
        assert direct.get("held") is None


def test_a_large_request_is_one_request(valkey_server: Server, valkey_proxy: Proxy) -> None:
    valkey_proxy.lose_request(to=b"the end")
    large = b"." * 1_000_000
    with redis_client(valkey_server, port=valkey_proxy.port) as client:
        with pytest.raises(redis.ConnectionError):
            client.set("key", large + b"the end")
        assert client.get("key") is None
        valkey_proxy.lose_reply(to=SET)
        valkey_proxy.lose_reply(to=command("GET"))
        with pytest.raises(redis.ConnectionError):
            client.set("key", large)
        with pytest.raises(redis.ConnectionError):
            client.get("key")
        assert client.get("key") == large
    assert valkey_proxy.requests(SET) == 2


def test_refusing_and_accepting(valkey_server: Server, valkey_proxy: Proxy) -> None:
    with redis_client(valkey_server, port=valkey_proxy.port) as client:
        for _ in range(3):
            assert client.ping()
            valkey_proxy.refuse()
            for _ in range(2):
                with pytest.raises(redis.ConnectionError):
                    client.ping()
            valkey_proxy.accept()
        assert client.ping()


def test_dropping_randomly(valkey_server: Server) -> None:
    outcomes = set()
    with (
        Proxy(valkey_server, remember=False) as proxy,
        redis_client(valkey_server, port=proxy.port) as client,
        redis_client(valkey_server) as direct,
    ):
        client.ping()
        proxy.drop_randomly(random.Random(1), 0.3)
        for number in range(100):
            try:
                acknowledged = bool(client.set(f"random-{number}", "value"))
            except redis.ConnectionError:
                acknowledged = False
            outcomes.add((acknowledged, bool(direct.exists(f"random-{number}"))))
        proxy.drop_randomly(random.Random(1), 0)
        assert all(client.set("key", "value") for _ in range(100))
        with pytest.raises(RuntimeError, match="remember"):
            proxy.requests()
    assert outcomes == {(True, True), (False, True), (False, False)}


def test_a_lost_reply_of_dynamodb(dynamodb_server: Server, table: str) -> None:
    with Proxy(dynamodb_server) as proxy, dynamodb_client(proxy) as client:
        proxy.lose_reply(to=PUT)
        with pytest.raises(LOST):
            put(client, table, "one")
        assert stored(dynamodb_server, table, "one")
        put(client, table, "two")
        assert proxy.requests(PUT) == 2


def test_a_lost_request_to_dynamodb(dynamodb_server: Server, table: str) -> None:
    with Proxy(dynamodb_server) as proxy, dynamodb_client(proxy) as client:
        put(client, table, "one")
        # The name is in the body, the operation in the head.
        proxy.lose_request(to=b"two")
        with pytest.raises(LOST):
            put(client, table, "two")
        assert not stored(dynamodb_server, table, "two")
        put(client, table, "two")
        assert stored(dynamodb_server, table, "two")


def test_a_late_request_to_dynamodb(dynamodb_server: Server, table: str) -> None:
    with Proxy(dynamodb_server) as proxy:
        proxy.delay_request_and_hang_up(to=PUT)
        with dynamodb_client(proxy) as client, pytest.raises(LOST):
            put(client, table, "late")
        assert not stored(dynamodb_server, table, "late")
        proxy.release()
        assert stored(dynamodb_server, table, "late")


def test_the_kwargs_make_a_client(dynamodb_server: Server) -> None:
    kwargs = servers.dynamodb_kwargs(f"http://{dynamodb_server.host}:{dynamodb_server.port}")
    with contextlib.closing(boto3.Session().client("dynamodb", **kwargs)) as client:
        assert "TableNames" in client.list_tables()


def test_missing_fails_in_ci_and_skips_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="node is missing: install it"):
        servers.missing("node", "install it")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="node is missing: install it"):
        servers.missing("node", "install it")


@pytest.mark.parametrize("start", [servers.redis7, servers.dynalite])
def test_a_program_that_is_not_there_is_missing(
    start: Callable[[Path], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(servers.Missing, match="install"):
        start(tmp_path)


def test_another_dynamodb_is_used_where_the_environment_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(servers.ENDPOINT, "http://database:8000")
    with servers.dynamodb(tmp_path) as server:
        assert (server.host, server.port) == ("database", 8000)
    monkeypatch.setenv(servers.ENDPOINT, "database:8000")
    with pytest.raises(servers.Missing, match="http://host:port"):
        servers.dynamodb(tmp_path)


@pytest.mark.parametrize("server", ["dynamodb_server", "dynalite_server"])
def test_of_many_conditional_writes_at_once_one_succeeds(server: str, request: pytest.FixtureRequest) -> None:
    with dynamodb_client(request.getfixturevalue(server), max_pool_connections=20) as client:
        servers.create_table(client, "atomic")
        client.get_waiter("table_exists").wait(TableName="atomic", WaiterConfig={"Delay": 1})

        def claim(number: int) -> bool:
            try:
                client.put_item(
                    TableName="atomic",
                    Item={"id": {"S": str(number // 16)}},
                    ConditionExpression="attribute_not_exists(id)",
                )
            except client.exceptions.ConditionalCheckFailedException:
                return False
            return True

        with ThreadPoolExecutor(16) as threads:
            won = list(threads.map(claim, range(320)))
        client.delete_table(TableName="atomic")
    assert [sum(won[start : start + 16]) for start in range(0, 320, 16)] == [1] * 20
