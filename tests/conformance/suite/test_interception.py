"""Where clients pause, and that every patch is undone."""

import asyncio
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import fakeredis
import pytest
import redis
import redis.asyncio
from moto import mock_aws

import racing_stores as stores
from broken_layers.correct_stores import ByWatching
from idemproof import (
    AsyncRedisCachePersistenceLayer,
    AsyncSQLitePersistenceLayer,
    DynamoDBPersistenceLayer,
    RedisCachePersistenceLayer,
    SQLitePersistenceLayer,
)
from idemproof.conformance import FactoryError
from idemproof.conformance.harness import scheduler
from idemproof.conformance.harness.interception import Interception
from idemproof.conformance.harness.object_graph import references
from idemproof.conformance.harness.scheduled_client import Client
from idemproof.conformance.harness.scheduler import Interleaving
from idemproof.conformance.harness.schedules import chooser, round_robin
from idemproof.conformance.suite.subjects import LoopThread, Subject
from idemproof.spec.record import INPROGRESS, Record
from racing_layers import UnlockedDictionary

CLAIM = Record("k", INPROGRESS, 4_000_000_000, 3_999_999_999_000, owner="alice")
PATIENCE = 60


@pytest.fixture(autouse=True)
def _tolerate_slow_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not treat a client as blocked elsewhere only because the machine is slow."""
    monkeypatch.setattr(scheduler, "OUTSIDE_SECONDS", 30)


def pauses(work: Callable[[], Any], choose: Any = None, clients: int = 1) -> list[str]:
    """Return the call that each pause before a call describes."""
    reported: list[str] = []

    def run(client: Client) -> None:
        client.pause("begins", "request")
        work()

    def on_step(client: Client, what: Any, *, reply: bool) -> None:
        words = what if isinstance(what, str) else what()
        if words != "begins" and not reply:
            reported.append(words)

    Interleaving([run] * clients, choose or chooser(()), PATIENCE, on_step).run()
    return reported


def load_and_swap(layer: Any, loop: LoopThread | None = None, key: str = "k") -> Callable[[], Any]:
    subject = Subject(layer, loop)  # type: ignore[arg-type]
    claim = CLAIM._replace(idempotency_key=key)
    return lambda: (subject.load(key), subject.swap(key, None, claim, 1000))


def test_a_redis_client_pauses_at_each_command() -> None:
    layer = RedisCachePersistenceLayer(client=fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(7,))))
    with Interception([layer]):
        reported = pauses(load_and_swap(layer))
    assert [each.split()[:2] for each in reported] == [["GET", "k"], ["SET", "k"]]


def test_a_pipeline_pauses_where_it_calls_the_store() -> None:
    layer = ByWatching(fakeredis.FakeServer())
    with Interception([layer]):
        reported = pauses(load_and_swap(layer))
    assert [each.split()[0] for each in reported] == ["GET", "WATCH", "GET", "EXEC"]


def test_an_async_client_pauses_without_stopping_its_loop() -> None:
    loop = LoopThread()
    layer = AsyncRedisCachePersistenceLayer(client=fakeredis.FakeAsyncRedis())
    try:
        with Interception([layer]):
            reported = pauses(load_and_swap(layer, loop), round_robin, clients=2)
        assert [each.split()[0] for each in reported] == ["GET", "GET", "SET", "SET"]
    finally:
        loop.run(layer.client.aclose())
        loop.close()


def test_a_dynamodb_client_that_is_made_on_first_use_pauses() -> None:
    with mock_aws():
        session = boto3.session.Session("id", "secret", region_name="eu-west-1")
        layer = DynamoDBPersistenceLayer("records", boto3_session=session)
        layer.create_table()
        with Interception([layer]):
            reported = pauses(load_and_swap(layer))
        layer.close()
    assert reported == ["GetItem", "PutItem"]


@pytest.mark.parametrize("kind", [SQLitePersistenceLayer, AsyncSQLitePersistenceLayer])
def test_open_and_new_connections_pause(kind: Any, tmp_path: Path) -> None:
    loop = LoopThread()
    layer = kind(tmp_path / "a.db", durable=False)
    subject = Subject(layer, loop)
    try:
        subject.load("k")
        with Interception([layer]):
            opening = pauses(load_and_swap(layer, loop), round_robin, clients=2)
            claiming = pauses(load_and_swap(layer, loop, "other"), round_robin, clients=2)
            releasing = pauses(lambda: subject.swap("k", CLAIM, None, 0), round_robin, clients=2)
        assert "PRAGMA journal_mode = WAL" in opening
        assert [each.split()[0] for each in claiming[:6]] == ["SELECT"] * 4 + ["INSERT"] * 2
        assert releasing[:2] == ["BEGIN IMMEDIATE"] * 2
        assert "BEGIN IMMEDIATE (waits for a lock)" in releasing
    finally:
        closing = layer.close()
        if closing is not None:
            loop.run(closing)
        loop.close()


def test_transactions_and_cursors_of_sqlite_pause(tmp_path: Path) -> None:
    class Layer:
        def __init__(self) -> None:
            self.db = sqlite3.connect(tmp_path / "a.db", check_same_thread=False)
            self.cursor = self.db.cursor()

        def work(self) -> None:
            with self.db:
                self.db.execute("CREATE TABLE t (x)")
            self.cursor.executemany("INSERT INTO t VALUES (?)", [(1,), (2,)])
            self.db.commit()
            with pytest.raises(ValueError, match="mine"), self.db:
                raise ValueError("mine")
            other = self.db.cursor()
            rows = other.execute("SELECT x FROM t")
            assert rows is other
            assert [row[0] for row in rows] == [1, 2]
            self.db.rollback()
            self.db.executescript("DELETE FROM t; VACUUM")
            self.db.row_factory = sqlite3.Row

    layer = Layer()
    with Interception([layer]):
        reported = pauses(layer.work)
        assert layer.db.row_factory is sqlite3.Row
    assert reported == [
        "CREATE TABLE t (x)",
        "COMMIT",
        "INSERT INTO t VALUES (?) (many)",
        "COMMIT",
        "ROLLBACK",
        "SELECT x FROM t",
        "ROLLBACK",
        "DELETE FROM t; VACUUM",
    ]
    assert type(layer.db) is sqlite3.Connection
    assert type(layer.cursor) is sqlite3.Cursor
    layer.db.close()


def test_a_connection_with_timeout_zero_gets_an_error_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.db"

    def opened() -> Any:
        return sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)

    class Layer:
        one, other = opened(), opened()

        def __init__(self) -> None:
            self.dbs = [opened(), opened()]

    layer = Layer()
    layer.dbs[0].execute("CREATE TABLE t (x)")
    layer.dbs[0].execute("BEGIN IMMEDIATE")

    def work() -> None:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            layer.dbs[1].execute("BEGIN IMMEDIATE")

    with Interception([layer]):
        assert pauses(work) == ["BEGIN IMMEDIATE"]
    for db in [*layer.dbs, layer.one, layer.other]:
        db.close()


def test_a_lock_that_is_never_released_raises_as_after_the_timeout(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.db"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")

    class Layer:
        db = None

    layer = Layer()
    layer.db = sqlite3.connect(path, timeout=3600, isolation_level=None, check_same_thread=False)

    def work() -> None:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            layer.db.execute("BEGIN IMMEDIATE")

    began = time.perf_counter()
    with Interception([layer]):
        assert pauses(work) == ["BEGIN IMMEDIATE", "BEGIN IMMEDIATE (waits for a lock)"]
    assert time.perf_counter() - began < 1800
    assert layer.db.execute("PRAGMA busy_timeout").fetchone() == (3_600_000,)
    holder.close()
    layer.db.close()


def test_connections_do_not_wait_for_the_disk_unless_a_transaction_is_open(tmp_path: Path) -> None:
    class Layer:
        """Has two connections."""

    layer = Layer()
    connections = {
        name: sqlite3.connect(tmp_path / "a.db", isolation_level=None) for name in ("idle", "busy")
    }
    vars(layer).update(connections)
    connections["busy"].execute("BEGIN")

    def waits() -> dict[str, int]:
        return {name: vars(layer)[name].execute("PRAGMA synchronous").fetchone()[0] for name in connections}

    before = waits()
    assert before["idle"] > 0
    with Interception([layer]):
        assert waits() == {**before, "idle": 0}
        connections["busy"].execute("COMMIT")
    assert waits() == before
    for each in connections.values():
        each.close()


def everything_patched() -> list[Any]:
    return [
        redis.Redis.execute_command,
        redis.client.Pipeline.execute,
        redis.client.Pipeline.immediate_execute_command,
        redis.RedisCluster.execute_command,
        redis.asyncio.Redis.execute_command,
        sys.modules["botocore.client"].BaseClient._make_api_call,
        sqlite3.connect,
        time.sleep,
    ]


def test_every_patch_is_undone(tmp_path: Path) -> None:
    layer = SQLitePersistenceLayer(tmp_path / "a.db", durable=False)
    layer._load("k")
    before = everything_patched()

    def classes() -> set[type]:
        return {type(reference.value) for reference in references(layer)}

    found = classes()
    with Interception([layer]):
        assert all(now is not was for now, was in zip(everything_patched(), before, strict=True))
        assert classes() != found
        pauses(load_and_swap(layer), round_robin, clients=2)
    assert everything_patched() == before
    assert classes() == found
    for reference in references(layer):
        if isinstance(reference.value, sqlite3.Connection):
            assert reference.value.execute("PRAGMA busy_timeout").fetchone() == (100,)
    layer.close()


def test_every_patch_is_undone_after_an_error() -> None:
    before = everything_patched()
    layer = stores.OverUnknown(UnlockedDictionary())
    with pytest.raises(FactoryError, match=r"'store\.nothing', which OverUnknown does not have"):
        Interception([layer], ["store.fetch", "store.nothing"]).__enter__()
    assert everything_patched() == before
    assert "fetch" not in vars(layer.store)


def test_named_methods_pause() -> None:
    layer = stores.OverUnknown(UnlockedDictionary())
    with Interception([layer], ["store.fetch", "store.store"]):
        reported = pauses(load_and_swap(layer))
    assert [each.partition("(")[0] for each in reported] == ["fetch", "fetch", "store"]
    assert vars(layer.store).keys() == {"_client"}


def test_named_async_methods_pause() -> None:
    class Store:
        async def ask(self, key: str) -> str:
            await asyncio.sleep(0)
            return key

    class Layer:
        def __init__(self) -> None:
            self.store = Store()

    layer, loop = Layer(), LoopThread()
    try:
        with Interception([layer], ["store.ask"]):
            reported = pauses(lambda: loop.run(layer.store.ask("k")), round_robin, clients=2)
        assert reported == ["ask('k')", "ask('k')"]
    finally:
        loop.close()


def test_any_object_with_execute_command_is_found_wherever_it_is() -> None:
    class CommandClient:
        def execute_command(self, *words: str) -> tuple[str, ...]:
            return words

    class SlottedLayer:
        __slots__ = ("__hidden", "seen")

        def __init__(self) -> None:
            self.__hidden = {"deep": [(CommandClient(),)]}

        def ask(self) -> Any:
            return self.__hidden["deep"][0][0].execute_command("PING", "a", "b", "c")

    layer = SlottedLayer()
    original = CommandClient.execute_command
    with Interception([layer]):
        assert pauses(layer.ask) == ["PING a b"]
        assert layer.ask() == ("PING", "a", "b", "c")
    assert CommandClient.execute_command is original


def test_calls_outside_the_race_do_not_pause() -> None:
    client = fakeredis.FakeRedis()
    with Interception([RedisCachePersistenceLayer(client=client)]):
        other = threading.Thread(target=client.set, args=("k", "v"))
        other.start()
        other.join(10)
        assert client.get("k") == b"v"


def test_a_sleeping_client_lets_others_run_first() -> None:
    order: list[str] = []

    def sleeps(client: Client) -> None:
        client.pause("begins", "request")
        time.sleep(1000)
        order.append("slept")

    def tasks(client: Client) -> None:
        client.pause("begins", "request")
        order.append("worked")

    with Interception([]):
        Interleaving([sleeps, tasks], chooser(()), PATIENCE).run()
    assert order == ["worked", "slept"]
