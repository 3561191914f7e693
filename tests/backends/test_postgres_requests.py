"""Requests of the PostgreSQL layers: locks, isolation, poolers, failover, interrupts, forks, and errors."""

import asyncio
import copy
import inspect
import itertools
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

import postgres
import servers
from idemproof import (
    AsyncPostgresPersistenceLayer,
    IdempotencyConfig,
    PostgresPersistenceLayer,
    Record,
    idempotent_function,
)
from idemproof.backends.credentials import texts
from idemproof.conformance import Capabilities, check
from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceConsistencyError,
    IdempotencyPersistenceLayerError,
)
from idemproof.spec.record import COMPLETED, INPROGRESS
from pgbouncer import PgBouncer
from profiles import SMALL

pytestmark = pytest.mark.once

Make = Callable[..., PostgresPersistenceLayer]

FAR = 32_503_680_000
CLAIM = Record("key", INPROGRESS, FAR, FAR * 1000 - 1, None, "hash", "owner")
LAPSED = CLAIM._replace(in_progress_expiry_timestamp=1)
RESULT = Record("key", COMPLETED, FAR, None, '{"a": 1}', "hash", "owner")


class Either:
    """A blocking or an async layer, called as if it were blocking."""

    def __init__(self, kind: type[Any], runner: asyncio.Runner) -> None:
        self.kind = kind
        self.runner = runner
        self.made: list[Any] = []

    def make(self, *args: Any, **options: Any) -> "Either":
        one = Either(self.kind, self.runner)
        one.layer = self.kind(*args, **options)
        self.made.append(one)
        return one

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.__dict__["layer"], name)

        def call(*args: Any) -> Any:
            answer = method(*args)
            return self.runner.run(answer) if inspect.iscoroutine(answer) else answer

        return call


@pytest.fixture(params=[PostgresPersistenceLayer, AsyncPostgresPersistenceLayer], ids=["blocking", "async"])
def either(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Iterator[Either]:
    made = Either(request.param, runner)
    yield made
    for one in made.made:
        one.close()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[postgres.PostgreSQL]:
    """Start a server that the test may stop."""
    with servers.running(postgres.PostgreSQL, tmp_path) as server:
        yield server


@contextmanager
def locked(dsn: str, key: str = "key") -> Iterator[None]:
    """Hold the row of a key locked, in a transaction of the application."""
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT FROM idempotency WHERE id = %s FOR UPDATE", [key])
        yield
        connection.rollback()


def isolated(dsn: str, isolation: str) -> dict[str, Any]:
    """Return the settings of sessions whose transactions have this isolation."""
    escaped = isolation.replace(" ", "\\ ")
    settings: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(dsn)
    return {**settings, "options": f"-c default_transaction_isolation={escaped}"}


def wait_for_a_waiting_session(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND datname = current_database()"
        )
        while connection.execute(waiting).fetchone() == (0,):
            connection.execute("SELECT pg_sleep(0.005)")


def complete(
    layer: PostgresPersistenceLayer, expected: Record | None = CLAIM, new: Record = RESULT
) -> Record | None:
    """Swap, and again if a lock outlasts one request."""
    while True:
        with suppress(IdempotencyAlreadyInProgressError):
            return layer._swap("key", expected, new, 1)


# Locks.


@pytest.mark.parametrize("new", [CLAIM, None], ids=["takeover", "release"])
def test_a_locked_record_is_in_progress_and_nothing_was_written(
    either: Either, records_table: str, new: Record | None
) -> None:
    layer = either.make(records_table)
    assert layer._swap("key", None, LAPSED, 1) == LAPSED
    with locked(records_table):
        with pytest.raises(IdempotencyAlreadyInProgressError, match="'key' locked") as raised:
            layer._swap("key", LAPSED, new, 1)
        assert raised.value.retry_after_ms == 1000
        assert raised.value.nothing_written  # type: ignore[attr-defined]
        assert layer._load("key") == LAPSED
    assert layer._swap("key", LAPSED, new, 1) == new


def test_a_call_that_finds_a_locked_record_runs_nothing_and_leaves_nothing(
    records_table: str, make_postgres: Make
) -> None:
    runs = []
    layer = make_postgres(records_table)

    @idempotent_function(
        data_keyword_argument="order",
        persistence_store=layer,
        config=IdempotencyConfig(in_progress_expires_after_seconds=60),
    )
    def charge(order: int) -> str:
        runs.append(order)
        return "done"

    charge(order=1)
    with psycopg.connect(records_table, autocommit=True) as connection:
        connection.execute(
            "UPDATE idempotency SET status = 'INPROGRESS', in_progress_expiration = 1, owner = 'dead'"
        )
        row = connection.execute("SELECT * FROM idempotency").fetchone()
        assert row is not None
        with locked(records_table, row[0]), pytest.raises(IdempotencyAlreadyInProgressError) as raised:
            charge(order=1)
        assert raised.value.retry_after_ms is not None
        assert connection.execute("SELECT * FROM idempotency").fetchall() == [row]
    assert charge(order=1) == "done"
    assert runs == [1, 1]


def test_reading_never_waits_for_a_lock(either: Either, records_table: str) -> None:
    layer = either.make(records_table)
    layer._swap("key", None, RESULT, 1)
    with locked(records_table):
        assert layer._swap("key", None, CLAIM, 1) == layer._load("key") == RESULT
        assert layer._swap("key", CLAIM, None, 0) == RESULT  # it is another version, so nothing is written


def test_a_completion_waits_for_a_lock(records_table: str, make_postgres: Make) -> None:
    layer = make_postgres(records_table)
    layer._swap("key", None, CLAIM, 1)
    with ThreadPoolExecutor(1) as thread:
        with locked(records_table):
            done = thread.submit(complete, layer)
            wait_for_a_waiting_session(records_table)
        assert done.result() == RESULT


@pytest.mark.parametrize("takeover", [CLAIM._replace(owner="other"), None], ids=["taken over", "released"])
@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_a_change_that_was_waited_for_decides(
    records_table: str, make_postgres: Make, takeover: Record | None, isolation: str
) -> None:
    layer = make_postgres(isolated(records_table, isolation))
    layer._swap("key", None, CLAIM, 1)
    with ThreadPoolExecutor(1) as thread, psycopg.connect(records_table) as other:
        if takeover is None:
            other.execute("DELETE FROM idempotency WHERE id = 'key'")
        else:
            other.execute("UPDATE idempotency SET owner = 'other' WHERE id = 'key'")
        done = thread.submit(complete, layer)
        wait_for_a_waiting_session(records_table)
        other.commit()
        assert done.result() == takeover


def test_an_insert_that_was_waited_for_decides(records_table: str, make_postgres: Make) -> None:
    layer = make_postgres(records_table)
    with ThreadPoolExecutor(1) as thread, psycopg.connect(records_table) as other:
        other.execute("INSERT INTO idempotency VALUES ('key', 'COMPLETED', %s)", [FAR])
        done = thread.submit(complete, layer, None, CLAIM)
        wait_for_a_waiting_session(records_table)
        other.commit()
        assert done.result() == Record("key", COMPLETED, FAR)


def test_no_setting_outlives_its_statement(records_table: str, make_postgres: Make) -> None:
    layer = make_postgres(records_table, max_connections=1)
    for expected, new in itertools.pairwise([None, CLAIM, RESULT, None]):
        layer._swap("key", expected, new, 1)
        (cursor,) = layer._client._idle
        assert cursor.execute("SHOW lock_timeout").fetchone() == ("0",)
        assert cursor.connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


# Isolation and poolers.


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_one_of_many_claims_under_every_isolation(
    records_table: str, make_postgres: Make, isolation: str
) -> None:
    settings = psycopg.conninfo.conninfo_to_dict(records_table)
    settings["options"] = f"-c default_transaction_isolation={isolation.replace(' ', chr(92) + ' ')}"
    layer = make_postgres(settings)

    def claim(number: int) -> bool:
        own = CLAIM._replace(owner=str(number))
        return layer._swap("key", None, own, 1) == own

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(claim, range(64))) == 1


def test_a_transaction_that_the_server_rolls_back_is_repeated_and_not_without_end(
    records_table: str, make_postgres: Make
) -> None:
    layer = make_postgres(records_table)
    layer._load("key")
    fails = itertools.count(1)
    ask = layer._client.ask

    def failing(last: int) -> Callable[..., Any]:
        def once_more(*args: Any) -> Any:
            if next(fails) <= last:
                raise psycopg.errors.SerializationFailure
            return ask(*args)

        return once_more

    layer._client.ask = failing(3)
    assert layer._swap("key", None, CLAIM, 1) == CLAIM
    layer._client.ask = failing(10**9)
    with pytest.raises(IdempotencyPersistenceConnectionError, match="SerializationFailure"):
        layer._load("key")
    assert next(fails) < 50


def test_nothing_is_broken_through_a_pooler(pgbouncer_server: PgBouncer, records_table: str) -> None:
    dsn = pgbouncer_server.dsn(psycopg.conninfo.conninfo_to_dict(records_table)["dbname"])
    made = []

    def layer() -> PostgresPersistenceLayer:
        made.append(PostgresPersistenceLayer(dsn))
        return made[-1]

    claims = Capabilities(durable=True, processes=False)
    report = check(layer, profile=SMALL, seed=1, capabilities=claims, tiers=("contract", "exclusion"))
    assert [(each.check, each.why) for each in report.findings] == []


def test_nothing_is_prepared_through_a_pooler(
    pgbouncer_server: PgBouncer, records_table: str, either: Either, runner: asyncio.Runner
) -> None:
    """PgBouncer gives one session to many clients, whose statements would have the same names."""
    dsn = pgbouncer_server.dsn(psycopg.conninfo.conninfo_to_dict(records_table)["dbname"])
    if either.kind is PostgresPersistenceLayer:
        sources: list[Any] = [dsn, lambda: psycopg.connect(dsn)]
    else:
        sources = [dsn, lambda: psycopg.AsyncConnection.connect(dsn)]
    for source in sources:
        layer = either.make(source)
        for number in range(20):
            key = f"{len(either.made)} {number}"
            claim, result = (each._replace(idempotency_key=key) for each in (CLAIM, RESULT))
            assert layer._swap(key, None, claim, 1) == claim
            assert layer._swap(key, claim, result, 1) == result
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        for _ in range(10):
            assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)


def test_statements_are_prepared_without_a_pooler(records_table: str, make_postgres: Make) -> None:
    layer = make_postgres(records_table)
    for _ in range(10):
        layer._load("key")
    (cursor,) = layer._client._idle
    assert cursor.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (1,)


# Failover.


def test_a_restart_of_the_server_reaches_no_caller(own_server: postgres.PostgreSQL, either: Either) -> None:
    with own_server.connect() as connection:  # a kill of the server must lose nothing
        connection.execute("ALTER DATABASE postgres SET synchronous_commit = on")
    layer = either.make(own_server.dsn())
    layer.create_table()
    config = IdempotencyConfig(in_progress_expires_after_seconds=60)
    runs: list[int] = []

    def body(order: int) -> int:
        runs.append(order)
        own_server.restart()
        return order

    async def async_body(order: int) -> int:
        return body(order)

    function = body if either.kind is PostgresPersistenceLayer else async_body
    call: Any = idempotent_function(
        function, data_keyword_argument="order", persistence_store=layer.__dict__["layer"], config=config
    )

    def asked(order: int) -> Any:
        answer = call(order=order)
        return either.runner.run(answer) if inspect.iscoroutine(answer) else answer

    assert [asked(1), asked(1), asked(2), asked(2), asked(1)] == [1, 1, 2, 2, 1]
    assert runs == [1, 2]


def test_a_session_that_has_become_read_only_is_dropped(either: Either, records_table: str) -> None:
    settings = psycopg.conninfo.conninfo_to_dict(records_table)
    layer = either.make({**settings, "target_session_attrs": "any"}, max_connections=1)
    assert layer._load("key") is None
    either_client = layer.layer._client or next(iter(layer.layer._clients._open.values()))[0]
    cursor = either_client._idle[0]
    done = cursor.execute("SET default_transaction_read_only = on")
    if inspect.iscoroutine(done):
        either.runner.run(done)
    with pytest.raises(IdempotencyPersistenceConnectionError, match="read-only"):
        layer._swap("key", None, CLAIM, 1)
    assert layer._swap("key", None, CLAIM, 1) == CLAIM


def test_no_replica_is_read(records_database: str) -> None:
    settings = psycopg.conninfo.conninfo_to_dict(records_database)
    settings["options"] = "-c default_transaction_read_only=on"
    layer = PostgresPersistenceLayer(settings)  # by default it asks for a session that may write
    with pytest.raises(IdempotencyPersistenceConnectionError, match="read-only"):
        layer._load("key")


def test_sessions_that_an_administrator_ends_reach_no_caller_twice(
    either: Either, records_table: str
) -> None:
    layer = either.make(records_table)
    layer._load("key")
    with psycopg.connect(records_table, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
            "WHERE application_name = 'idemproof' AND datname = current_database()"
        )
    with pytest.raises(IdempotencyPersistenceConnectionError):
        layer._load("key")
    assert layer._load("key") is None


def test_a_server_that_hangs_is_given_up(own_server: postgres.PostgreSQL, either: Either) -> None:
    layer = either.make(own_server.dsn(), timeout_seconds=1)
    layer.create_table()
    layer._load("key")
    with psycopg.connect(own_server.dsn(), autocommit=True) as connection:
        pids = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'idemproof'"
        ).fetchall()
    for (pid,) in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(IdempotencyPersistenceConnectionError, match="did not answer"):
            layer._load("key")
    finally:
        for (pid,) in pids:
            os.kill(pid, signal.SIGCONT)
    assert layer._load("key") is None


# Interrupts and forks.


class Stop(BaseException):
    """An interrupt by a signal."""


def test_an_interrupted_request_closes_its_connection(records_table: str, make_postgres: Make) -> None:
    layer = make_postgres(records_table, max_connections=1)
    layer._swap("key", None, CLAIM, 1)
    layer._swap("other", None, RESULT._replace(idempotency_key="other"), 1)

    def stop(*_: Any) -> None:
        raise Stop

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with locked(records_table):

            def interrupt() -> None:
                wait_for_a_waiting_session(records_table)
                os.kill(os.getpid(), signal.SIGUSR1)

            with ThreadPoolExecutor(1) as thread:
                sent = thread.submit(interrupt)
                with pytest.raises(Stop):
                    complete(layer)
                sent.result()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert layer._load("other") == RESULT._replace(idempotency_key="other")
    assert layer._load("key") in (CLAIM, RESULT)


def test_a_cancelled_request_closes_its_connection(records_table: str, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        layer = AsyncPostgresPersistenceLayer(records_table, max_connections=1)
        await layer._swap("key", None, CLAIM, 1)
        with locked(records_table):
            while True:
                task = asyncio.ensure_future(layer._swap("key", CLAIM, RESULT, 1))
                await asyncio.to_thread(wait_for_a_waiting_session, records_table)
                if task.cancel():
                    break
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await layer._load("other") is None
        assert await layer._load("key") in (CLAIM, RESULT)
        await layer.close()

    runner.run(scenario())


def in_child(function: Callable[[], Any]) -> Any:
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(writing, pickle.dumps(function()))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return pickle.loads(answer)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_uses_connections_of_its_own(records_table: str, make_postgres: Make) -> None:
    layer = make_postgres(records_table)
    layer._swap("key", None, RESULT, 1)

    def session() -> tuple[int, Record | None]:
        found = layer._load("key")
        pid = layer._client._idle[0].connection.info.backend_pid
        layer.close()
        return pid, found

    parents = layer._client._idle[0].connection.info.backend_pid
    pid, found = in_child(session)
    assert found == RESULT
    assert pid != parents
    assert layer._load("key") == RESULT
    assert layer._client._idle[0].connection.info.backend_pid == parents


def test_copies_have_connections_of_their_own(records_table: str, make_postgres: Make) -> None:
    layer = make_postgres(records_table, table="idempotency", max_connections=3)
    layer._swap("key", None, RESULT, 1)
    for twin in (copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert twin._load("key") == RESULT
        assert twin._client is not layer._client
        assert twin._client._size == 3
        twin.close()
    supplied = make_postgres(lambda: psycopg.connect(records_table))
    assert copy.copy(supplied)._load("key") == RESULT
    with pytest.raises(IdempotencyPersistenceConfigError, match="pickled"):
        pickle.dumps(supplied)


# Connections.


def test_a_request_waits_for_a_connection_and_not_for_ever(records_table: str, make_postgres: Make) -> None:
    layer = make_postgres(records_table, max_connections=1, timeout_seconds=0.2)
    layer._load("key")
    in_use = layer._client._idle.pop()
    with pytest.raises(IdempotencyPersistenceConnectionError, match="all 1 connections were in use"):
        layer._load("key")
    layer._client._idle.append(in_use)
    assert layer._load("key") is None


def test_there_are_never_more_connections_than_allowed(records_table: str, make_postgres: Make) -> None:
    layer = make_postgres(records_table, max_connections=3, timeout_seconds=600)
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda number: layer._load(str(number)), range(200)))
    assert 1 <= len(layer._client._idle) <= 3


def test_async_calls_share_their_connections(records_table: str, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        layer = AsyncPostgresPersistenceLayer(records_table, max_connections=3, timeout_seconds=600)
        await asyncio.gather(*(layer._load(str(number)) for number in range(200)))
        ((pool, _, _),) = layer._clients._open.values()
        assert 1 <= len(pool._idle) <= 3
        await layer.close()
        assert pool._idle == []

    runner.run(scenario())


def test_a_connection_in_a_transaction_is_refused(records_table: str, make_postgres: Make) -> None:
    with psycopg.connect(records_table) as connection:
        connection.execute("SELECT 1")
        lent = make_postgres(lambda: Lent(connection))
        with pytest.raises(IdempotencyPersistenceConfigError, match="in a transaction"):
            lent._load("key")
        connection.rollback()
        assert lent._swap("key", None, RESULT, 1) == RESULT
        assert not connection.autocommit
        connection.rollback()
        assert lent._load("key") == RESULT


class Lent:
    """A context manager that gives a connection, and keeps it open."""

    def __init__(self, connection: Any) -> None:
        self.connection_in_use = connection

    def __enter__(self) -> Any:
        return self.connection_in_use

    def __exit__(self, *_: object) -> None:
        pass


def test_a_connection_of_the_other_kind_is_refused(records_table: str, make_postgres: Make) -> None:
    with psycopg.connect(records_table) as connection:
        cursor = connection.cursor()
        with pytest.raises(IdempotencyPersistenceConfigError, match=r"needs a psycopg.Connection"):
            make_postgres(lambda: cursor)._load("key")


@pytest.mark.parametrize("given", [7, None, b"postgresql://", ["host=nowhere"]])
def test_what_is_no_address_is_refused(given: Any) -> None:
    with pytest.raises(IdempotencyPersistenceConfigError, match="conninfo must be"):
        PostgresPersistenceLayer(given)


# Errors.

SECRET = "s3cret-Of-Mine"


@pytest.mark.parametrize(
    "conninfo",
    [
        f"postgresql://me:{SECRET}@127.0.0.1:1/db",
        f"host=127.0.0.1 port=1 password={SECRET} user={SECRET}",
        f"host=127.0.0.1 password {SECRET}",
        f"postgresql://me:{SECRET}@127.0.0.1:{SECRET}/db",
        f"postgresql://me:{SECRET}@127.0.0.1/db?password={SECRET}&sslmode={SECRET}",
        f"postgresql://me:{SECRET}%zz@127.0.0.1/db",
        {"host": "127.0.0.1", "port": 1, "password": SECRET, "dbname": SECRET},
    ],
)
def test_no_error_shows_the_password(either: Either, conninfo: Any) -> None:
    with pytest.raises(IdempotencyPersistenceLayerError) as raised:
        either.make(conninfo)._load("key")
    assert not any(SECRET in text for text in texts(raised.value))


def test_an_absent_database_and_a_missing_privilege_are_named(
    records_table: str, postgres_server: postgres.PostgreSQL, make_postgres: Make
) -> None:
    with pytest.raises(IdempotencyPersistenceConfigError, match='"nowhere" does not exist'):
        make_postgres(postgres_server.dsn("nowhere"))._load("key")
    user = f"user_{os.urandom(4).hex()}"
    with psycopg.connect(records_table, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {user} LOGIN")
        layer = make_postgres(records_table.replace("postgres@", f"{user}@"))
        with pytest.raises(IdempotencyPersistenceConfigError, match="permission denied") as raised:
            layer._load("key")
        assert raised.value.may_pass
        connection.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency TO {user}")
    for expected, new in itertools.pairwise([None, CLAIM, RESULT, None]):
        assert layer._swap("key", expected, new, 1) == new
    assert layer.purge() == 0


def test_text_that_is_not_unicode_and_a_database_of_another_encoding_are_named(
    records_table: str, postgres_server: postgres.PostgreSQL, make_postgres: Make
) -> None:
    layer = make_postgres(records_table)
    with pytest.raises(IdempotencyPersistenceConfigError, match="encoding"):
        layer._swap("key", None, RESULT._replace(response_data="\ud800"), 1)
    assert layer._load("key") is None
    name = f"latin_{os.urandom(4).hex()}"
    with postgres_server.connect() as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    latin = make_postgres(postgres_server.dsn(name))
    latin.create_table()
    fits = RESULT._replace(response_data='"é"')
    assert latin._swap("key", None, fits, 1) == latin._load("key") == fits
    with pytest.raises(IdempotencyPersistenceConfigError, match="encoding"):
        latin._swap("other", None, RESULT._replace(response_data='"€"'), 1)


def test_a_statement_timeout_is_an_error_that_may_pass(records_table: str, make_postgres: Make) -> None:
    settings = psycopg.conninfo.conninfo_to_dict(records_table)
    layer = make_postgres({**settings, "options": "-c statement_timeout=50"}, max_connections=1)
    layer._swap("key", None, CLAIM, 1)
    with locked(records_table), pytest.raises(IdempotencyPersistenceConnectionError, match="QueryCanceled"):
        layer._swap("key", CLAIM, RESULT, 1)
    assert layer._swap("key", CLAIM, RESULT, 1) == RESULT


def test_a_record_that_changes_without_end_is_an_error(records_table: str, make_postgres: Make) -> None:
    layer = make_postgres(records_table)
    layer._load("key")
    ask, asked = layer._client.ask, itertools.count()

    def nothing(statement: str, parameters: Any) -> Any:
        next(asked)
        return [] if "INSERT" in statement else ask(statement, parameters)

    layer._client.ask = nothing
    with pytest.raises(IdempotencyPersistenceConsistencyError, match="'key' changed 10 times"):
        layer._swap("key", None, CLAIM, 1)
    assert next(asked) == 10


def test_a_huge_result_survives(either: Either, records_table: str) -> None:
    layer = either.make(records_table)
    huge = RESULT._replace(response_data='"' + "aé€😀" * 4_000_000 + '"')
    assert layer._swap("key", None, huge, 1) is huge
    assert layer._load("key") == huge


def test_a_daemon_of_threads_is_not_needed(records_table: str, make_postgres: Make) -> None:
    before = threading.active_count()
    layer = make_postgres(records_table)
    layer._load("key")
    assert threading.active_count() == before
