"""The SQLAlchemy layers on real servers: locks, lost connections, tables, limits, forks and secrets."""

import asyncio
import copy
import os
import pickle
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import MetaData, create_engine, event, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool, StaticPool
from sqlalchemy.util import await_only

import mariadb
import sql_places
from idemproof import (
    AsyncSQLAlchemyPersistenceLayer,
    IdempotencyConfig,
    Record,
    SQLAlchemyPersistenceLayer,
    idempotency_table,
    idempotent_function,
)
from idemproof.drivers.exchanges import Ask
from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyInvalidStatusError,
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceLayerError,
    IdempotencyRecordTooLargeError,
    IdempotencyResultUnavailableError,
)
from idemproof.spec.record import COMPLETED, INPROGRESS

CLAIM = Record("key", INPROGRESS, 32_503_680_000, 1, None, "hash", "owner")
RESULT = Record("key", COMPLETED, 32_503_680_000, None, '"done"', "hash", "owner")

BLOCKING = ["sqlite_url", "psycopg_url", "pymysql_url"]
SERVERS = ["psycopg_url", "pymysql_url"]


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def engines() -> Iterator[Callable[..., sqlalchemy.Engine]]:
    made: list[sqlalchemy.Engine] = []

    def make(url: str, **options: Any) -> sqlalchemy.Engine:
        made.append(create_engine(url, **options))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()


@pytest.fixture
def engine(url: str, engines: Callable[..., sqlalchemy.Engine]) -> sqlalchemy.Engine:
    """Return the application's engine."""
    return engines(url)


@pytest.fixture
def layer(engine: sqlalchemy.Engine) -> Iterator[SQLAlchemyPersistenceLayer]:
    with closing(SQLAlchemyPersistenceLayer(engine)) as made:
        yield made


on = pytest.mark.parametrize


def protect(layer: Any, body: Callable[[Any], Any]) -> Callable[..., Any]:
    return idempotent_function(
        body,
        data_keyword_argument="order",
        persistence_store=layer,
        config=IdempotencyConfig(),
        key_prefix="orders",
    )


@on("url", SERVERS, indirect=True)
def test_a_row_that_a_transaction_has_locked_is_in_progress(
    engine: sqlalchemy.Engine, layer: SQLAlchemyPersistenceLayer
) -> None:
    assert layer._swap("key", None, CLAIM, 1) is CLAIM
    with engine.begin() as transaction:
        transaction.execute(text("UPDATE idempotency SET expiration = expiration + 1"))
        assert layer._load("key") == CLAIM
        assert layer._swap("key", None, RESULT, 1) == CLAIM
        for new in (RESULT, None):
            with pytest.raises(IdempotencyAlreadyInProgressError, match="has locked") as refused:
                layer._swap("key", CLAIM, new, 1)
            assert refused.value.nothing_written  # type: ignore[attr-defined]
        assert layer.purge(CLAIM.expiry_timestamp * 2000) == 0
        transaction.rollback()
    assert layer._swap("key", CLAIM, RESULT, 1) is RESULT


@on("url", BLOCKING, indirect=True)
def test_callers_may_hold_all_connections_of_their_pool(
    url: str, engines: Callable[..., sqlalchemy.Engine]
) -> None:
    engine = engines(url, pool_size=1, max_overflow=0, pool_timeout=0)
    with closing(SQLAlchemyPersistenceLayer(engine)) as layer, engine.connect():
        assert layer._swap("key", None, RESULT, 1) is RESULT


@on("url", SERVERS, indirect=True)
def test_a_rollback_of_the_caller_keeps_the_record(
    engine: sqlalchemy.Engine, layer: SQLAlchemyPersistenceLayer
) -> None:
    with engine.connect() as transaction:
        transaction.execute(text("SELECT 1"))
        assert layer._swap("key", None, RESULT, 1) is RESULT
        transaction.rollback()
    assert layer._load("key") == RESULT


@on("url", BLOCKING, indirect=True)
def test_too_few_connections_of_its_own_are_named(
    url: str, engines: Callable[..., sqlalchemy.Engine]
) -> None:
    engine = engines(url, pool_size=1, max_overflow=0, pool_timeout=0)
    with closing(SQLAlchemyPersistenceLayer(engine)) as layer:

        def inside(_: Any) -> None:
            with pytest.raises(IdempotencyPersistenceConnectionError, match="pool_size") as refused:
                layer._load("key")
            assert refused.value.nothing_written  # type: ignore[attr-defined]

        layer._own.run(inside)
        assert layer._load("key") is None


@on("level", ["AUTOCOMMIT", "SERIALIZABLE", "REPEATABLE READ"])
@on("url", SERVERS, indirect=True)
def test_the_applications_isolation_level_does_not_matter(
    url: str, level: str, engines: Callable[..., sqlalchemy.Engine]
) -> None:
    engine = engines(url, isolation_level=level)
    for each in (engine, engine.execution_options(isolation_level=level)):
        with closing(SQLAlchemyPersistenceLayer(each)) as layer:
            layer._swap("key", layer._load("key"), None, 0)
            assert layer._swap("key", None, CLAIM, 1) is CLAIM
            assert layer._swap("key", CLAIM, RESULT, 1) is RESULT
    with engine.connect() as connection:
        assert level == "AUTOCOMMIT" or connection.get_isolation_level() == level


def test_a_server_that_is_serializable_by_default_grants_one_claim(
    psycopg_url: str, engines: Callable[..., sqlalchemy.Engine]
) -> None:
    engine = engines(psycopg_url)
    name = sqlalchemy.make_url(psycopg_url).database
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'"))
    engine.dispose()
    with closing(SQLAlchemyPersistenceLayer(engine)) as layer, ThreadPoolExecutor(8) as threads:
        for number in range(10):
            rivals = [RESULT._replace(idempotency_key=str(number), owner=str(rival)) for rival in range(8)]
            stored = list(threads.map(lambda new: layer._swap(new.idempotency_key, None, new, 1), rivals))
            assert len({each.owner for each in stored if each is not None}) == 1
            assert layer._load(str(number)) == stored[0]


@on("url", BLOCKING, indirect=True)
def test_one_of_many_takes_over(layer: SQLAlchemyPersistenceLayer) -> None:
    with ThreadPoolExecutor(8) as threads:
        current = layer._swap("key", None, CLAIM, 1)
        for number in range(10):
            rivals = [CLAIM._replace(owner=f"{number}/{rival}") for rival in range(8)]
            found = list(threads.map(lambda new: layer._swap("key", current, new, 1), rivals))  # noqa: B023 - awaited
            assert sum(each is mine for each, mine in zip(found, rivals, strict=True)) == 1
            assert len(set(found)) == 1
            current = found[0]


@on("url", BLOCKING, indirect=True)
def test_a_missing_table_is_named_and_may_come(
    engine: sqlalchemy.Engine, layer: SQLAlchemyPersistenceLayer
) -> None:
    layer._load("key")
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE idempotency"))
    with closing(SQLAlchemyPersistenceLayer(engine)) as new:
        for each in (layer, new, layer):
            with pytest.raises(IdempotencyPersistenceConfigError, match="idempotency") as refused:
                each._load("key")
            assert refused.value.may_pass
        layer.create_table()
        for each in (layer, new):
            assert each._load("key") is None


@on("url", BLOCKING, indirect=True)
def test_many_create_the_table_at_once(engine: sqlalchemy.Engine) -> None:
    layers = [SQLAlchemyPersistenceLayer(engine, "another") for _ in range(6)]
    barrier = threading.Barrier(len(layers))

    def create(layer: SQLAlchemyPersistenceLayer) -> Record | None:
        barrier.wait()
        layer.create_table()
        return layer._load("key")

    with ThreadPoolExecutor(len(layers)) as threads:
        assert list(threads.map(create, layers)) == [None] * len(layers)
    for layer in layers:
        layer.close()


COLUMNS = (
    "status {0} NOT NULL, expiration BIGINT NOT NULL, in_progress_expiration BIGINT, data {0}, validation {0}"
)
FOREIGN = {
    ("psycopg_url", "no column 'owner'"): f"CREATE TABLE x (id TEXT PRIMARY KEY, {COLUMNS.format('TEXT')})",
    ("psycopg_url", "not 'id' alone"): f"CREATE TABLE x (id TEXT, {COLUMNS.format('TEXT')}, owner TEXT)",
    ("psycopg_url", "unlogged"): (
        f"CREATE UNLOGGED TABLE x (id TEXT PRIMARY KEY, {COLUMNS.format('TEXT')}, owner TEXT)"
    ),
    ("psycopg_url", "requires a value"): (
        f"CREATE TABLE x (id TEXT PRIMARY KEY, {COLUMNS.format('TEXT')}, owner TEXT, tenant TEXT NOT NULL)"
    ),
    ("pymysql_url", "only InnoDB"): (
        f"CREATE TABLE x (id VARBINARY(900) PRIMARY KEY, {COLUMNS.format('LONGBLOB')}, owner LONGBLOB) "
        "ENGINE=Aria"
    ),
    ("pymysql_url", "'id' is not binary"): (
        f"CREATE TABLE x (id VARCHAR(700) PRIMARY KEY, {COLUMNS.format('LONGBLOB')}, owner LONGBLOB)"
    ),
    ("pymysql_url", "'status' is not binary"): (
        f"CREATE TABLE x (id VARBINARY(900) PRIMARY KEY, {COLUMNS.format('TEXT')}, owner TEXT)"
    ),
    ("sqlite_url", "no column 'owner'"): f"CREATE TABLE x (id TEXT PRIMARY KEY, {COLUMNS.format('TEXT')})",
}


@on(("url", "why"), FOREIGN, indirect=["url"])
def test_a_table_that_is_not_its_own_is_refused(
    why: str, request: pytest.FixtureRequest, engine: sqlalchemy.Engine
) -> None:
    dialect = engine.dialect.name
    kind = {"postgresql": "psycopg_url", "sqlite": "sqlite_url"}.get(dialect, "pymysql_url")
    with engine.begin() as connection:
        connection.execute(text(FOREIGN[kind, why]))
    with closing(SQLAlchemyPersistenceLayer(engine, "x")) as layer:
        for request_of in (layer.create_table, lambda: layer._swap("key", None, RESULT, 1)):
            with pytest.raises(IdempotencyPersistenceConfigError, match=why):
                request_of()
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM x")) == 0


@on(("url", "longest"), [("psycopg_url", 2690), ("pymysql_url", 3072)], indirect=["url"])
def test_keys_have_a_limit(longest: int, layer: SQLAlchemyPersistenceLayer) -> None:
    letters = random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=longest)  # not compressible
    key = "".join(letters)
    record = RESULT._replace(idempotency_key=key)
    assert layer._swap(key, None, record, 1) is record
    assert layer._load(key) == record
    for refused in (key + "x", key[:-1] + "é", "\ud800"):
        with pytest.raises(IdempotencyPersistenceConfigError, match="Nothing was written"):
            layer._load(refused)


def test_a_result_above_the_packet_size_is_too_large(
    pymysql_url: str, engines: Callable[..., sqlalchemy.Engine], mariadb_server: mariadb.MariaDB
) -> None:
    with closing(SQLAlchemyPersistenceLayer(engines(pymysql_url))) as layer:
        layer._load("key")
        limit = layer._statements._largest_packet
        assert limit is not None
        assert layer._swap("key", None, CLAIM, 1) is CLAIM
        for size, letter in ((limit, "x"), (limit - 10_000, "'")):  # the second by the quotes' escapes
            large = RESULT._replace(response_data=letter * size)
            with pytest.raises(IdempotencyRecordTooLargeError, match="max_allowed_packet"):
                layer._swap("key", CLAIM, large, 1)
        assert layer._load("key") == CLAIM
        function = protect(layer, lambda order: "x" * limit)
        with pytest.raises(IdempotencyPersistenceLayerError) as unstored:
            function(order=1)
        assert unstored.value.function_returned
        with pytest.raises(IdempotencyResultUnavailableError):
            function(order=1)


@on("url", SERVERS, indirect=True)
def test_a_lost_connection_is_replaced(
    url: str, engine: sqlalchemy.Engine, layer: SQLAlchemyPersistenceLayer
) -> None:
    kill = "SELECT pg_terminate_backend(:id)" if "postgresql" in url else "KILL :id"
    ask = "SELECT pg_backend_pid()" if "postgresql" in url else "SELECT connection_id()"
    function = protect(layer, lambda order: order)
    ids: list[int] = []
    for number in range(2):
        layer._own.run(lambda connection: ids.append(connection.scalar(text(ask))))
        with engine.connect() as connection:
            connection.execute(text(kill), {"id": ids[-1]})
        assert function(order=number) == number
    assert ids[0] != ids[1]


def test_a_server_that_has_become_a_replica_is_left(
    psycopg_url: str, engines: Callable[..., sqlalchemy.Engine]
) -> None:
    engine = engines(psycopg_url)
    name = sqlalchemy.make_url(psycopg_url).database
    admin = engines(psycopg_url, isolation_level="AUTOCOMMIT")
    with closing(SQLAlchemyPersistenceLayer(engine)) as layer, admin.connect() as connection:
        layer._swap("key", None, CLAIM, 1)
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
        layer.close()
        with pytest.raises(IdempotencyPersistenceConnectionError, match="accepts no writes"):
            layer._swap("key", CLAIM, RESULT, 1)
        connection.execute(text("SET default_transaction_read_only = off"))
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = off"))
        assert layer._swap("key", CLAIM, RESULT, 1) is RESULT


class Limit(Exception):  # noqa: N818 - as job queues name it
    """A time limit that a signal handler raises."""


@on("kind", [KeyboardInterrupt, Limit])
@on("url", BLOCKING, indirect=True)
def test_an_interrupted_connection_is_not_used_again(
    kind: type[BaseException], engine: sqlalchemy.Engine, layer: SQLAlchemyPersistenceLayer
) -> None:
    IdempotencyConfig(interrupts=(Limit,))
    layer._load("key")
    own = layer._own._engine
    assert own is not None
    ended: list[Any] = []
    event.listen(own.pool, "invalidate", lambda connection, *_: ended.append(connection))

    def interrupted(connection: sqlalchemy.Connection) -> None:
        connection.execute(text("SELECT 1"))
        raise kind

    with pytest.raises(kind):
        layer._perform(asks(interrupted))
    assert len(ended) == 1
    assert layer._load("key") is None


def asks(work: Callable[..., Any]) -> Any:
    return (yield Ask("run", (work,)))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@on("url", SERVERS, indirect=True)
def test_a_child_has_connections_of_its_own(layer: SQLAlchemyPersistenceLayer) -> None:
    layer._swap("key", None, CLAIM, 1)
    child = os.fork()
    if not child:
        try:
            good = layer._swap("key", CLAIM, RESULT, 1) == RESULT
        except BaseException:
            good = False
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert layer._load("key") == RESULT  # by the same connection, which nobody has closed


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_does_not_use_a_sqlite_file_that_its_parent_has_open(
    sqlite_url: str, engines: Callable[..., sqlalchemy.Engine]
) -> None:
    with closing(SQLAlchemyPersistenceLayer(engines(sqlite_url))) as layer:
        layer._swap("key", None, RESULT, 1)
        for closes, status in ((False, 2), (True, 0)):
            if closes:
                layer.close()
            child = os.fork()
            if not child:
                try:
                    found = 0 if layer._load("key") == RESULT else 1
                except IdempotencyPersistenceConfigError:
                    found = 2
                os._exit(found)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == status


@on("url", ["postgresql+psycopg://u:{}@127.0.0.1:{}/x", "mysql+pymysql://u:{}@127.0.0.1:{}/x"])
def test_errors_do_not_show_the_password(
    url: str, port_of_nobody: int, engines: Callable[..., sqlalchemy.Engine]
) -> None:
    secret = "open-sesame"
    layer = SQLAlchemyPersistenceLayer(engines(url.format(secret, port_of_nobody)))
    with pytest.raises(IdempotencyPersistenceConnectionError) as refused:
        layer._load("key")
    assert secret not in f"{refused.value!r} {refused.value} {refused.value.__cause__!r} {layer!r}"

    @event.listens_for(layer.engine, "do_connect")
    def repeats(*_: Any) -> None:
        raise RuntimeError(f"cannot use {secret}")

    with pytest.raises(IdempotencyPersistenceConnectionError, match="would show the password") as hidden:
        layer._load("key")
    assert hidden.value.__cause__ is None


@on("url", BLOCKING, indirect=True)
def test_errors_do_not_show_results(engine: sqlalchemy.Engine, layer: SQLAlchemyPersistenceLayer) -> None:
    layer._swap("key", None, CLAIM, 1)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE idempotency RENAME COLUMN data TO other"))
    with pytest.raises(IdempotencyPersistenceLayerError) as refused:
        layer._swap("key", CLAIM, RESULT._replace(response_data='"private"'), 1)
    assert "private" not in f"{refused.value} {refused.value.__cause__}"


@on("url", BLOCKING, indirect=True)
def test_purging_keeps_what_is_needed_and_what_is_corrupt(
    engine: sqlalchemy.Engine, layer: SQLAlchemyPersistenceLayer
) -> None:
    now = 10_000_000
    records = [
        *(
            RESULT._replace(idempotency_key=f"over {number:03}", expiry_timestamp=10_000)
            for number in range(600)
        ),
        RESULT._replace(idempotency_key="not over", expiry_timestamp=10_001),
        CLAIM._replace(
            idempotency_key="leased", expiry_timestamp=10_000, in_progress_expiry_timestamp=now + 1
        ),
        RESULT._replace(idempotency_key="odd", status="ODD", expiry_timestamp=1),
    ]
    layer._load("key")
    with engine.begin() as connection:
        given = [
            dict(
                zip(
                    ("id", "status", "expiration", "in_progress_expiration", "data", "validation", "owner"),
                    each,
                    strict=True,
                )
            )
            for each in records
        ]
        connection.execute(layer.table.insert(), given)
    assert layer.purge(now) == 600
    with engine.connect() as connection:
        left = set(connection.scalars(sqlalchemy.select(layer.table.c.id)))
    assert left == {"not over", "leased", "odd"}
    assert layer.purge(now) == 0


def test_a_corrupt_text_is_named(pymysql_url: str, engines: Callable[..., sqlalchemy.Engine]) -> None:
    engine = engines(pymysql_url)
    with closing(SQLAlchemyPersistenceLayer(engine)) as layer:
        layer._swap("key", None, RESULT, 1)
        with engine.begin() as connection:
            connection.execute(text("UPDATE idempotency SET data = x'ff'"))
        with pytest.raises(IdempotencyInvalidStatusError, match="corrupt"):
            layer._load("key")


@on("url", BLOCKING, indirect=True)
def test_the_applications_metadata_creates_the_table(engine: sqlalchemy.Engine) -> None:
    metadata = MetaData()
    table = idempotency_table(metadata, "keys of orders")
    metadata.create_all(engine)
    with closing(SQLAlchemyPersistenceLayer(engine, table)) as layer:
        assert layer._swap("key", None, RESULT, 1) is RESULT
    with closing(SQLAlchemyPersistenceLayer(engine)) as other:
        assert other._load("key") is None


def test_updates_stay_in_their_page_on_postgresql(
    psycopg_url: str, engines: Callable[..., sqlalchemy.Engine]
) -> None:
    engine = engines(psycopg_url)
    with engine.connect() as connection:
        options = connection.scalar(text("SELECT reloptions FROM pg_class WHERE relname = 'idempotency'"))
        kinds = connection.scalars(
            text("SELECT indexdef FROM pg_indexes WHERE tablename = 'idempotency'")
        ).all()
    assert options == ["fillfactor=70"]
    assert sorted("brin" in kind for kind in kinds) == [False, True]


def test_a_schema_is_used(psycopg_url: str, engines: Callable[..., sqlalchemy.Engine]) -> None:
    engine = engines(psycopg_url)
    with engine.begin() as connection:
        connection.execute(text('CREATE SCHEMA "the shop"'))
    with closing(SQLAlchemyPersistenceLayer(engine, schema="the shop")) as layer:
        layer.create_table()
        assert layer._swap("key", None, RESULT, 1) is RESULT
        assert "the shop.idempotency" in repr(layer)


@on(
    "make",
    [
        lambda: SQLAlchemyPersistenceLayer(create_engine("sqlite://")),
        lambda: SQLAlchemyPersistenceLayer(create_engine("sqlite:///:memory:")),
        lambda: SQLAlchemyPersistenceLayer(
            create_engine("sqlite:///file:x?mode=memory&uri=true", poolclass=NullPool)
        ),
        lambda: SQLAlchemyPersistenceLayer(create_engine("sqlite:///x.db", poolclass=StaticPool)),
        lambda: SQLAlchemyPersistenceLayer("sqlite:///x.db"),  # type: ignore[arg-type]
        lambda: SQLAlchemyPersistenceLayer(create_async_engine("sqlite+aiosqlite:///x.db")),  # type: ignore[arg-type]
        lambda: AsyncSQLAlchemyPersistenceLayer(create_engine("sqlite:///x.db")),  # type: ignore[arg-type]
        lambda: SQLAlchemyPersistenceLayer(create_engine("sqlite:///x.db"), ""),
        lambda: SQLAlchemyPersistenceLayer(create_engine("sqlite:///x.db"), 7),  # type: ignore[arg-type]
        lambda: SQLAlchemyPersistenceLayer(
            create_engine("sqlite:///x.db"), idempotency_table(MetaData()), schema="y"
        ),
        lambda: SQLAlchemyPersistenceLayer(
            create_engine("sqlite:///x.db"), sqlalchemy.Table("x", MetaData())
        ),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(make: Callable[[], Any]) -> None:
    with pytest.raises(IdempotencyPersistenceConfigError):
        make()


@on("url", BLOCKING, indirect=True)
def test_an_engine_without_a_pool_works(url: str, engines: Callable[..., sqlalchemy.Engine]) -> None:
    with closing(SQLAlchemyPersistenceLayer(engines(url, poolclass=NullPool))) as layer:
        assert layer._swap("key", None, RESULT, 1) is RESULT
        assert layer._load("key") == RESULT


def test_listeners_of_the_engine_serve_the_layers_connections_too(
    sqlite_url: str, engines: Callable[..., sqlalchemy.Engine]
) -> None:
    engine = engines(sqlite_url)
    opened: list[Any] = []
    event.listen(engine, "connect", lambda connection, _: opened.append(connection))
    with closing(SQLAlchemyPersistenceLayer(engine)) as layer:
        layer._load("key")
    assert len(opened) == 1


@on("url", BLOCKING, indirect=True)
def test_a_listener_may_leave_a_transaction_open(
    engine: sqlalchemy.Engine, layer: SQLAlchemyPersistenceLayer
) -> None:
    @event.listens_for(engine, "connect")
    def begins(connection: Any, _: Any) -> None:
        connection.cursor().execute("SELECT 1")

    assert layer._swap("key", None, RESULT, 1) is RESULT
    assert layer._load("key") == RESULT


@on("levels", [[], None])
@on("url", BLOCKING, indirect=True)
def test_without_autocommit_each_statement_is_committed(
    levels: list[str] | None,
    engine: sqlalchemy.Engine,
    layer: SQLAlchemyPersistenceLayer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def known(_: Any) -> list[str]:
        if levels is None:
            raise NotImplementedError
        return levels

    monkeypatch.setattr(engine.dialect, "get_isolation_level_values", known)
    assert layer._swap("key", None, CLAIM, 1) is CLAIM
    assert layer._swap("key", CLAIM, RESULT, 1) is RESULT
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM idempotency")) == 1
    layer.close()
    assert layer._load("key") == RESULT


@on("url", SERVERS, indirect=True)
def test_a_number_that_does_not_fit_is_refused(layer: SQLAlchemyPersistenceLayer) -> None:
    with pytest.raises(IdempotencyPersistenceConfigError, match="Nothing was written"):
        layer._swap("key", None, RESULT._replace(expiry_timestamp=2**63), 1)


def test_a_busy_file_says_that_a_caller_may_wait_for_itself(
    sqlite_url: str, engines: Callable[..., sqlalchemy.Engine]
) -> None:
    engine = engines(sqlite_url, connect_args={"timeout": 0})
    with closing(SQLAlchemyPersistenceLayer(engine)) as layer, engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(IdempotencyPersistenceConnectionError, match="waited for itself") as refused:
            layer._swap("key", None, RESULT, 1)
        assert refused.value.nothing_written  # type: ignore[attr-defined]
        connection.rollback()
        assert layer._swap("key", None, RESULT, 1) is RESULT


@on("fixture", ["aiosqlite_url", "psycopg_url", "asyncpg_url", "asyncmy_url"])
def test_one_async_layer_serves_many_loops_and_cancellations(
    fixture: str, request: pytest.FixtureRequest
) -> None:
    layer = sql_places.async_layer(request.getfixturevalue(fixture))

    async def calls(number: int) -> None:
        await layer._load("key")
        for steps in range(12):  # until its loop has gone round so often
            task = asyncio.ensure_future(layer._load("key"))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        new = RESULT._replace(idempotency_key=str(number))
        assert await layer._swap(str(number), None, new, 1) is new
        found = await asyncio.gather(*(layer._load(str(number)) for _ in range(20)))
        assert found == [new] * 20
        await layer.close()

    for number in range(2):
        asyncio.run(calls(number))


def test_a_copy_shares_the_engine_and_has_connections_of_its_own(sqlite_url: str) -> None:
    layer = SQLAlchemyPersistenceLayer(create_engine(sqlite_url))
    for twin in (copy.copy(layer), copy.deepcopy(layer)):
        assert twin.engine is layer.engine
        assert twin.table is layer.table
        assert twin._own is not layer._own
        assert twin._load("key") is None
        twin.close()
    with pytest.raises(IdempotencyPersistenceConfigError, match="engine"):
        pickle.dumps(layer)


# Several layers over one engine.


@pytest.mark.parametrize("elsewhere", [False, True], ids=["one event loop", "two event loops"])
@pytest.mark.parametrize("url", ["asyncpg_url", "asyncmy_url"], indirect=True)
def test_an_async_layer_waits_until_another_one_knows_the_server(url: str, elsewhere: bool) -> None:
    """The dialect, which both share, knows the server's version before it knows the rest."""
    engine = create_async_engine(url)
    dialect = engine.sync_engine.dialect
    ask, levels = dialect.initialize, dialect.get_isolation_level_values
    knew: list[bool] = []
    others: list[Any] = []
    knows = False

    async def load() -> None:
        layer = AsyncSQLAlchemyPersistenceLayer(engine)
        assert await layer._load("key") is None
        await layer.close()

    async def let_the_other_begin() -> None:
        others.append(asyncio.ensure_future(asyncio.to_thread(asyncio.run, load()) if elsewhere else load()))
        await asyncio.wait(others, timeout=0.3)  # it cannot end before this one

    def initialize(connection: Any) -> None:
        nonlocal knows
        ask(connection)
        if not others:
            await_only(let_the_other_begin())
        knows = True

    def get_isolation_level_values(connection: Any) -> Any:
        knew.append(knows)
        return levels(connection)

    async def main() -> None:
        await load()
        await asyncio.gather(*others)
        await engine.dispose()

    dialect.initialize = initialize  # type: ignore[method-assign]
    dialect.get_isolation_level_values = get_isolation_level_values  # type: ignore[method-assign, assignment]
    asyncio.run(main())
    assert len(others) == 1
    assert len(knew) >= 2
    assert all(knew)
