"""Races pause at each request of a known client of a database, and name the transactions."""

import contextlib
import importlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import psycopg_pool
import pymongo
import pymysql
import pytest
import redis
import sqlalchemy
import valkey

import postgres_layers as layers
import servers
from idemproof.conformance import Capabilities
from idemproof.conformance.harness.interception import Interception
from idemproof.conformance.harness.known_clients import KNOWN, end_session, lost_connection, undoes
from idemproof.conformance.harness.object_graph import references
from idemproof.conformance.harness.scheduled_client import Client
from idemproof.conformance.harness.scheduler import Interleaving
from idemproof.conformance.harness.schedules import chooser
from idemproof.conformance.suite.subjects import LoopThread
from postgres import PostgreSQL
from race_reports import TWO_CLAIMS, broken, judged
from single_checks import results

pytestmark = pytest.mark.once

PATIENCE = 60
NUMBERS = itertools.count()
ONE_PROCESS = Capabilities(processes=False)
NOT_INSTALLED = {"mysql"}  # its client is looked up by name only


@pytest.fixture
def dsn(postgres_server: PostgreSQL) -> str:
    return postgres_server.create_database(f"clients_{next(NUMBERS)}")


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    made = LoopThread()
    yield made
    made.close()


def by_sqlalchemy(dsn: str) -> str:
    return dsn.replace("postgresql:", "postgresql+psycopg:")


def reported(work: Callable[[], Any]) -> list[str]:
    """Return the calls at which the only client pauses."""
    calls: list[str] = []

    def run(client: Client) -> None:
        client.pause("begins", "request")
        work()

    def on_step(_: Client, what: Any, *, reply: bool) -> None:
        words = what if isinstance(what, str) else what()
        if words != "begins" and not reply:
            calls.append(words)

    with Interception([]):
        Interleaving([run], chooser(()), PATIENCE, on_step).run()
    return calls


@pytest.mark.parametrize("known", KNOWN, ids=lambda each: f"{each.module}.{each.kind}.{each.method}")
def test_the_table_names_what_exists(known: Any) -> None:
    if known.module.partition(".")[0] in NOT_INSTALLED:
        pytest.skip("not among the test dependencies")
    kind = getattr(importlib.import_module(known.module), known.kind)
    assert callable(vars(kind)[known.method])


def test_psycopg_names_the_transactions_that_it_begins(dsn: str) -> None:
    def work() -> None:
        with psycopg.connect(dsn) as connection:
            connection.commit()  # of nothing
            connection.execute("CREATE TABLE t (x INT)")
            connection.cursor().executemany("INSERT INTO t VALUES (%s)", [(1,), (2,)])
            connection.commit()
            connection.execute(psycopg.sql.SQL("SELECT {}").format(1))
            connection.rollback()
            connection.execute(b"SELECT   2")

    assert reported(work) == [
        "BEGIN, CREATE TABLE t (x INT)",
        "INSERT INTO t VALUES (%s) (many)",
        "COMMIT",
        "BEGIN, SELECT 1",
        "ROLLBACK",
        "BEGIN, SELECT 2",
        "COMMIT",
    ]


def test_psycopg_names_blocks_and_savepoints(dsn: str) -> None:
    def work() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("SELECT 1")
            with connection.transaction():
                with connection.transaction():
                    connection.execute("SELECT 2")
                with contextlib.suppress(ValueError), connection.transaction():
                    raise ValueError
            with contextlib.suppress(ValueError), connection.transaction():
                raise ValueError

    assert reported(work) == [
        "SELECT 1",
        *("BEGIN", "SAVEPOINT", "SELECT 2", "RELEASE SAVEPOINT", "SAVEPOINT", "ROLLBACK TO SAVEPOINT"),
        *("COMMIT", "BEGIN", "ROLLBACK"),
    ]


def test_async_psycopg_and_its_pool_pause_at_the_layers_requests_only(dsn: str, loop: LoopThread) -> None:
    async def work() -> None:
        async with psycopg_pool.AsyncConnectionPool(dsn, min_size=2, open=False) as pool:
            async with pool.connection() as connection:
                await connection.execute("SELECT 1")
            async with pool.connection() as connection, connection.transaction():
                await connection.execute("SELECT 2")

    calls = reported(lambda: loop.run(work()))
    assert calls == ["BEGIN, SELECT 1", "COMMIT", "BEGIN", "SELECT 2", "COMMIT"]


def test_asyncpg_and_its_pool_pause_at_the_layers_requests_only(dsn: str, loop: LoopThread) -> None:
    async def work() -> None:
        async with (
            layers.asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool,
            pool.acquire() as connection,
            connection.transaction(),
        ):
            assert await connection.fetchval("SELECT 1") == 1
            prepared = await connection.prepare("SELECT 2")
            assert await prepared.fetchval() == 2

    assert reported(lambda: loop.run(work())) == ["BEGIN;", "SELECT 1", "SELECT 2", "COMMIT;"]


@pytest.mark.parametrize("driver", ["psycopg", "sqlite"])
def test_sqlalchemy_pauses_at_statements_and_ends_of_transactions(
    driver: str, dsn: str, tmp_path: Path
) -> None:
    url = (
        f"sqlite:///{tmp_path / 'a.db'}"
        if driver == "sqlite"
        else dsn.replace("postgresql:", "postgresql+psycopg:")
    )
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:  # it asks the database for its version once
        connection.execute(sqlalchemy.text("CREATE TABLE t (x INT)"))

    def work() -> None:
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("INSERT INTO t VALUES (1)"))
        with contextlib.suppress(ValueError), engine.begin() as connection:
            connection.execute(sqlalchemy.text("DELETE FROM t"))
            raise ValueError

    begin = "BEGIN, " if driver == "psycopg" else ""
    insert, delete = f"{begin}INSERT INTO t VALUES (1)", f"{begin}DELETE FROM t"
    assert reported(work) == [insert, "COMMIT", delete, "ROLLBACK"]
    engine.dispose()


@pytest.mark.parametrize("kind", [redis.Redis, valkey.Valkey])
def test_redis_and_valkey_pause_at_commands_and_pipelines(kind: Any, valkey_server: servers.Server) -> None:
    def work() -> None:
        client.set("k", "v")
        client.pipeline().get("k").execute()

    with kind(**servers.redis_kwargs(valkey_server)) as client:
        assert reported(work) == ["SET k v", "EXEC"]


def test_boto3_pauses_at_operations(dynamodb_server: servers.Server) -> None:
    with contextlib.closing(servers.dynamodb_client(dynamodb_server)) as client:
        assert reported(client.list_tables) == ["ListTables"]


def test_pymysql_pauses_at_statements_and_transactions() -> None:
    connection = pymysql.connect(defer_connect=True)  # there is no server: each request fails

    def work() -> None:
        cursor = connection.cursor()
        requests = (
            connection.begin,
            lambda: cursor.execute("SELECT 1"),
            connection.commit,
            connection.rollback,
        )
        for request in requests:
            # Not of pymysql.err: Django imports modules of pymysql a second time, under another name.
            with pytest.raises(pymysql.InterfaceError):
                request()

    assert reported(work) == ["BEGIN", "SELECT 1", "COMMIT", "ROLLBACK"]


def test_pymongo_pauses_at_operations(port_of_nobody: int) -> None:
    client: Any = pymongo.MongoClient("127.0.0.1", port_of_nobody, serverSelectionTimeoutMS=1)

    def work() -> None:
        with pytest.raises(pymongo.errors.ServerSelectionTimeoutError):
            client.app.records.find_one_and_update({"_id": "k"}, {"$set": {"x": 1}})

    assert reported(work) == ["find_one_and_update in records"]
    client.close()


def test_pools_keep_their_own_locks(dsn: str) -> None:
    layer = layers.OverPool(dsn)
    engine = layers.OverSQLAlchemy(by_sqlalchemy(dsn))
    try:
        found = {type(each.value).__module__.partition(".")[0] for each in references(layer, engine)}
        assert {"psycopg_pool", "sqlalchemy"} <= found
        assert not {"_thread", "threading"} & found
    finally:
        layer.close()
        engine.close()


@pytest.mark.parametrize("begun", [False, True])
def test_the_end_of_a_session_undoes_its_transaction_and_releases_its_locks(begun: bool, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as other, psycopg.connect(dsn, autocommit=True) as connection:
        other.execute("CREATE TABLE t (x INT)")
        connection.execute("SELECT pg_advisory_lock(1)")
        with contextlib.ExitStack() as stack:
            if begun:
                stack.enter_context(connection.transaction(force_rollback=True))
                connection.execute("INSERT INTO t VALUES (1)")
            end_session(connection.cursor())
            assert other.execute("SELECT pg_try_advisory_lock(1)").fetchone() == (True,)
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_a_lost_connection_raises_the_clients_own_error(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        assert isinstance(lost_connection(connection.cursor()), psycopg.OperationalError)
        assert undoes(connection, "ROLLBACK")
    assert type(lost_connection(object())) is ConnectionError


KINDS = [
    layers.OverPsycopg,
    layers.OverPool,
    layers.OverAsyncPsycopg,
    layers.OverAsyncpg,
    layers.OverSQLAlchemy,
]


def factory(kind: Any, dsn: str, writes: Any) -> Callable[[], Any]:
    url = by_sqlalchemy(dsn) if kind is layers.OverSQLAlchemy else dsn
    return lambda: type(kind.__name__, (kind,), {"writes": writes})(url)


@pytest.mark.parametrize("kind", KINDS)
def test_read_then_write_is_found_at_the_clients_calls(kind: Any, dsn: str) -> None:
    made = factory(kind, dsn, layers.UNCONDITIONAL)
    [found] = results(made, [TWO_CLAIMS], ONE_PROCESS)[TWO_CLAIMS].findings
    assert "Found by interleaving the calls of the layer's client" in found.why
    words = " ".join(line.what for line in found.lines)
    assert "SELECT record FROM records" in words
    assert "COMMIT" in words
    assert kind is layers.OverSQLAlchemy or "BEGIN" in words


# One for each statement that a layer sends, and one in which the calls for two keys share its connections.
RACES = (
    TWO_CLAIMS,
    "a-takeover-never-overwrites-a-result-stored-meanwhile",
    "a-release-never-removes-the-claim-that-took-over",
    "requests-for-two-keys-may-share-a-layer",
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_conditional_write_is_kept(kind: Any, dsn: str) -> None:
    found = results(factory(kind, dsn, layers.WRITES), RACES, ONE_PROCESS)
    assert {name: (each.verdict, each.findings) for name, each in found.items()} == dict.fromkeys(
        RACES, ("kept", ())
    )


@pytest.mark.nightly
@pytest.mark.parametrize("kind", KINDS)
def test_a_conditional_write_is_kept_in_every_race(kind: Any, dsn: str) -> None:
    report = judged(factory(kind, dsn, layers.WRITES), processes=False, profile="quick")
    assert not broken(report), report.findings


# The other checks of the faults tier lose messages to the layer. These two meet its client.
FAILURE, DEATH = "a-failure-of-the-client-is-no-answer", "a-death-between-two-calls-blocks-no-caller"


# psycopg leaves a connection open if its last commit fails.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_a_right_layer_survives_lost_connections_and_deaths(kind: Any, dsn: str) -> None:
    found = results(factory(kind, dsn, layers.WRITES), [FAILURE, DEATH], ONE_PROCESS)
    assert {name: (each.verdict, each.findings) for name, each in found.items()} == {
        FAILURE: ("kept", ()),
        DEATH: ("kept", ()),
    }


class LockedByARow(layers.OverPool):
    """Takes a lock in a row of its own, which outlives a dead worker."""

    def _swap(self, key: str, expected: Any, new: Any, ttl_ms: int) -> Any:
        with self.pool.connection() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS locks (id TEXT PRIMARY KEY)")
            lock = "INSERT INTO locks VALUES (%s) ON CONFLICT DO NOTHING"
            for _ in range(5):
                if connection.execute(lock, (key,)).rowcount:
                    break
            else:
                return self._load(key)
            try:
                return super()._swap(key, expected, new, ttl_ms)
            finally:
                connection.execute("DELETE FROM locks WHERE id = %s", (key,))


def test_a_lock_that_outlives_a_dead_worker_is_found(dsn: str) -> None:
    [found] = results(lambda: LockedByARow(dsn, 4), [DEATH], ONE_PROCESS)[DEATH].findings
    assert any("dies before" in line.what or "dies after" in line.what for line in found.lines)
