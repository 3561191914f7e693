"""No request gets an unread reply to another request, neither after an interrupt nor after ``close``."""

import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from unittest.mock import Mock

import pytest
import redis
import valkey

import servers
from idemproof import IdempotencyConfig, Record, RedisCachePersistenceLayer, idempotent_function
from idemproof.errors import IdempotencyPersistenceConnectionError
from idemproof.spec.record import COMPLETED
from proxy import Proxy, command

HOUR = 3_600_000
FIRST, SECOND = (Record(key, COMPLETED, 2**40, response_data=f'"{key}"') for key in ("first", "second"))


class Alarm(Exception):  # noqa: N818 - what a signal's handler raises
    """An interrupt that can come at any moment."""


class Interrupted(redis.Connection):
    """A connection on which an alarm strikes after a request was sent, before its reply is read."""

    alarm: BaseException | None = None

    def read_response(self, *args: Any, **options: Any) -> Any:
        alarm, type(self).alarm = type(self).alarm, None
        if alarm is not None:
            raise alarm
        return super().read_response(*args, **options)


@pytest.fixture
def proxy(valkey_server: servers.Server) -> Iterator[Proxy]:
    with Proxy(valkey_server) as between:
        yield between


def filled(layer: RedisCachePersistenceLayer) -> RedisCachePersistenceLayer:
    layer.client.flushall()
    for record in (FIRST, SECOND):
        assert layer._swap(record.idempotency_key, None, record, HOUR) == record
    return layer


@pytest.mark.parametrize(
    "alarm", [Alarm("time is up"), KeyboardInterrupt()], ids=lambda alarm: type(alarm).__name__
)
def test_after_an_interrupt_no_request_reads_the_unread_reply(proxy: Proxy, alarm: BaseException) -> None:
    pool = redis.ConnectionPool(connection_class=Interrupted, host=proxy.host, port=proxy.port)
    with redis.Redis(connection_pool=pool) as client:
        layer = filled(RedisCachePersistenceLayer(client=client))
        proxy.delay_request(to=command("GET"), seconds=0.05)  # so that it has not arrived at the check
        Interrupted.alarm = alarm
        with pytest.raises(BaseException) as raised:
            layer._load("first")
        assert alarm in (raised.value, raised.value.__cause__)
        assert layer._load("second") == SECOND


def test_closing_leaves_a_request_alone_that_is_under_way(proxy: Proxy) -> None:
    layer = filled(RedisCachePersistenceLayer(host=proxy.host, port=proxy.port, ssl=False))
    found: list[Record | None] = []
    reader = threading.Thread(target=lambda: found.append(layer._load("first")))
    proxy.delay_request(to=command("GET"))
    reader.start()
    proxy.wait_held()
    layer.close()
    proxy.release()
    reader.join()
    assert found == [FIRST]
    assert layer._load("second") == SECOND
    layer.close()


@pytest.mark.parametrize("library", [redis, valkey])
@pytest.mark.parametrize("warm", [False, True], ids=["first call", "later call"])
def test_an_interrupt_reaches_the_caller_through_a_blocking_pool(
    valkey_server: servers.Server, library: Any, warm: bool
) -> None:
    pool = library.BlockingConnectionPool(
        max_connections=1, timeout=5, host=valkey_server.host, port=valkey_server.port
    )
    kind = library.Redis if library is redis else library.Valkey
    client = kind(connection_pool=pool)
    ran: list[str] = []

    @idempotent_function(
        data_keyword_argument="p",
        persistence_store=RedisCachePersistenceLayer(client=client),
        config=IdempotencyConfig(in_progress_expires_after_seconds=30),
    )
    def work(p: str) -> str:
        ran.append(p)
        return p

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    usual = signal.signal(signal.SIGALRM, interrupt)
    try:
        with closing(redis.Redis(**servers.redis_kwargs(valkey_server))) as admin:
            admin.flushall()
            if warm:
                work(p="warm")
            admin.execute_command("CLIENT", "PAUSE", 900, "ALL")
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            work(p="key")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)
    assert ran == ["warm"] * warm
    assert [work(p="key"), work(p="key")] == ["key", "key"]
    assert ran == [*["warm"] * warm, "key"]
    client.close()
    pool.disconnect()


def test_an_interrupt_that_a_clients_clean_up_covers_is_raised_but_not_one_of_before() -> None:
    class Covering:
        def get(self, _: str) -> None:
            try:
                raise KeyboardInterrupt
            finally:
                self.execute_command()

        def execute_command(self, *_: Any, **__: Any) -> None:
            raise redis.ConnectionError("clean-up")

        evalsha = eval = execute_command

    layer = RedisCachePersistenceLayer(client=Covering())
    with pytest.raises(KeyboardInterrupt):
        layer._load("key")
    try:
        raise KeyboardInterrupt  # the caller's, who handles it with a protected call
    except KeyboardInterrupt:
        with pytest.raises(IdempotencyPersistenceConnectionError):
            layer._swap("key", FIRST, SECOND, HOUR)


def test_idle_connections_are_those_of_each_node_of_a_cluster() -> None:
    nodes = [Mock(spec=["redis_connection"]) for _ in range(2)]
    nodes.append(Mock(spec=["redis_connection"], redis_connection=None))  # never spoken to
    client = Mock(spec=["get_nodes", "get", "eval", "evalsha", "execute_command"])
    client.get_nodes.return_value = nodes
    client.get.side_effect = Alarm
    with pytest.raises(Exception, match="Alarm"):
        RedisCachePersistenceLayer(client=client)._load("key")
    for node in nodes[:2]:
        node.redis_connection.connection_pool.disconnect.assert_called_once_with(inuse_connections=False)


@pytest.mark.parametrize("option", [{"single_connection_client": True}, {"cached": True}], ids=str)
def test_a_client_that_mixes_up_replies_or_keeps_them_is_refused(
    valkey_server: servers.Server, option: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = redis.Redis(
        **servers.redis_kwargs(valkey_server), **{k: v for k, v in option.items() if k != "cached"}
    )
    if "cached" in option:  # the library does so for Redis alone
        client.connection_pool.cache = Mock()
    with pytest.raises(Exception, match=r"single_connection_client|cache_config"):
        RedisCachePersistenceLayer(client=client)
    client.connection_pool.cache = None
    client.close()
