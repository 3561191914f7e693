"""The layers under test behind one blocking interface. Tests select layers by capability, never by name."""

import asyncio
import inspect
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import fakeredis
import psycopg
import psycopg_pool
import pytest
import redis
import valkey
from moto import mock_aws

import mariadb
import pgbouncer
import postgres
import servers
import sql_places
from broken_layers.foundations import FourMethods
from idemproof import (
    AsyncDynamoDBPersistenceLayer,
    AsyncInMemoryPersistenceLayer,
    AsyncPostgresPersistenceLayer,
    AsyncRedisCachePersistenceLayer,
    AsyncSQLitePersistenceLayer,
    DataRecord,
    DynamoDBPersistenceLayer,
    InMemoryPersistenceLayer,
    PostgresPersistenceLayer,
    Record,
    RedisCachePersistenceLayer,
    SQLitePersistenceLayer,
)
from idemproof.backends.base import compare_and_swap
from places import SORT_KEY, AsyncSession, RedisPlace, Table, moto_client
from sides import Side


class Kind(NamedTuple):
    """How to make a layer, where its records are, and its capabilities.

    place: the fixture for the place of the records; ``make`` gets its value.
    runs: "once" or "nightly" if the layer is another one with a different server, client or table. The other
        one covers what depends on the interpreter.
    fenced: a swap happens only if owner, status and both deadlines are as expected; no clock is read.
    durable: another layer object at the same place sees the records.
    housekeeping: ``purge`` deletes expired records.
    steady: its time to live does not depend on the wall clock of this process.
    large: it stores records of a megabyte.
    nameless: it accepts the empty text as a key.
    quick: it is fast enough for hundreds of random requests.
    representative: it represents all layers in tests that need only the common contract.
    """

    place: str
    make: Callable[[Any], Any]
    capabilities: frozenset[str]
    runs: Literal["always", "once", "nightly"] = "always"


def fakeredis_layer(server: fakeredis.FakeServer) -> RedisCachePersistenceLayer:
    return RedisCachePersistenceLayer(client=fakeredis.FakeRedis(server=server))


def dynamodb_layer(table: Table, **options: Any) -> DynamoDBPersistenceLayer:
    return DynamoDBPersistenceLayer(table.name, boto3_client=table.client, **options)


IN_PROCESS = frozenset({"fenced", "housekeeping", "steady", "large", "nameless", "quick"})
REDIS = frozenset({"fenced", "durable", "steady", "large", "nameless"})
SQL = frozenset({"fenced", "durable", "steady", "large", "nameless"})
DYNAMODB = frozenset({"fenced", "durable", "steady"})
POSTGRES = frozenset({"fenced", "durable", "housekeeping", "steady", "large", "nameless"})

KINDS = {
    "memory": Kind("path", lambda _: InMemoryPersistenceLayer(), IN_PROCESS | {"representative"}),
    "memory-async": Kind("path", lambda _: AsyncInMemoryPersistenceLayer(), IN_PROCESS | {"representative"}),
    "sqlite": Kind(
        "path", lambda path: SQLitePersistenceLayer(path, durable=False), IN_PROCESS | {"durable"}
    ),
    "sqlite-async": Kind(
        "path", lambda path: AsyncSQLitePersistenceLayer(path, durable=False), IN_PROCESS | {"durable"}
    ),
    "postgres": Kind("records_table", PostgresPersistenceLayer, POSTGRES | {"quick"}),
    "postgres-async": Kind("records_table", AsyncPostgresPersistenceLayer, POSTGRES),
    "postgres-by-a-pool": Kind("postgres_pool", PostgresPersistenceLayer, POSTGRES, runs="nightly"),
    "postgres-by-a-callable": Kind(
        "records_table",
        lambda dsn: PostgresPersistenceLayer(lambda: psycopg.connect(dsn)),
        POSTGRES,
        runs="nightly",
    ),
    "postgres-async-by-a-callable": Kind(
        "records_table",
        lambda dsn: AsyncPostgresPersistenceLayer(lambda: psycopg.AsyncConnection.connect(dsn)),
        POSTGRES,
        runs="nightly",
    ),
    "sqlite-beside": Kind(
        "path",
        lambda path: SQLitePersistenceLayer(path, table="of ours", durable=False),
        IN_PROCESS | {"durable"},
    ),
    "sqlalchemy-sqlite": Kind("sqlite_url", sql_places.layer, SQL | {"representative"}),
    "sqlalchemy-sqlite-async": Kind("aiosqlite_url", sql_places.layer, SQL),
    "sqlalchemy-psycopg": Kind("psycopg_url", sql_places.layer, SQL),
    "sqlalchemy-psycopg-async": Kind("psycopg_url", sql_places.async_layer, SQL, runs="nightly"),
    "sqlalchemy-asyncpg": Kind("asyncpg_url", sql_places.layer, SQL),
    "sqlalchemy-mariadb": Kind("pymysql_url", sql_places.layer, SQL),
    "sqlalchemy-mariadb-async": Kind("asyncmy_url", sql_places.layer, SQL, runs="once"),
    "four-methods": Kind(
        "path", lambda _: compare_and_swap(FourMethods()), frozenset({"large", "nameless", "quick"})
    ),
    "valkey": Kind(
        "valkey_place", lambda place: RedisCachePersistenceLayer(place.url), REDIS | {"representative"}
    ),
    "valkey-async": Kind(
        "valkey_place",
        lambda place: AsyncRedisCachePersistenceLayer(host=place.host, port=place.port, ssl=False),
        REDIS,
    ),
    "valkey-decoding": Kind(
        "valkey_place",
        lambda place: RedisCachePersistenceLayer(client=place.open(redis.Redis, decode_responses=True)),
        REDIS,
        runs="nightly",
    ),
    "valkey-by-its-own-client": Kind(
        "valkey_place",
        lambda place: RedisCachePersistenceLayer(client=place.open(valkey.Valkey)),
        REDIS,
        runs="nightly",
    ),
    "valkey-cluster": Kind(
        "empty_cluster", lambda client: RedisCachePersistenceLayer(client=client), REDIS, runs="once"
    ),
    "fakeredis": Kind("fake_redis_7", fakeredis_layer, REDIS - {"steady"}, runs="nightly"),
    "redis6": Kind("fake_redis_6", fakeredis_layer, REDIS - {"steady"}, runs="once"),
    "dynamodb": Kind("table", dynamodb_layer, DYNAMODB),
    "dynamodb-composite": Kind(
        "partition",
        lambda table: dynamodb_layer(table, static_pk_value=table.partition, sort_key_attr=SORT_KEY),
        DYNAMODB,
        runs="once",
    ),
    "dynamodb-spread": Kind(
        "partition",
        lambda table: dynamodb_layer(
            table, static_pk_value=table.partition, sort_key_attr=SORT_KEY, static_pk_shards=3
        ),
        DYNAMODB,
        runs="nightly",
    ),
    "dynamodb-async": Kind(
        "async_table",
        lambda table: AsyncDynamoDBPersistenceLayer(table.name, client=table.client),
        DYNAMODB | {"representative"},
    ),
    "moto-by-an-old-sdk": Kind("old_moto_table", dynamodb_layer, DYNAMODB, runs="once"),
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*capabilities): which layers the test is for")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "store" in metafunc.fixturenames:
        needs = {name for mark in metafunc.definition.iter_markers("needs") for name in mark.args}
        found = {name: kind for name, kind in KINDS.items() if needs <= kind.capabilities}
        assert found, f"no layer has {needs}"
        marks: Any = {"always": (), "once": pytest.mark.once, "nightly": pytest.mark.nightly}
        stores = [pytest.param(name, marks=marks[kind.runs]) for name, kind in found.items()]
        metafunc.parametrize("store", stores, indirect=True)


AN_HOUR = 3_600_000


class Store:
    """A layer, blocking or async, called as if it were blocking."""

    def __init__(self, kind: Kind, place: Any, runner: asyncio.Runner) -> None:
        self.kind = kind
        self.layer = kind.make(place)
        self.capabilities = kind.capabilities
        self._place = place
        self._runner = runner
        self._others: list[Store] = []

    def load(self, key: str) -> Record | None:
        found: Record | None = self._call("_load", key)
        return found

    def swap(
        self, key: str, expected: Record | None, new: Record | None, ttl_ms: int = AN_HOUR
    ) -> Record | None:
        found: Record | None = self._call("_swap", key, expected, new, 0 if new is None else ttl_ms)
        return found

    def get(self, key: str) -> DataRecord:
        found: DataRecord = self._call("_get_record", key)
        return found

    def put(self, record: Record) -> None:
        self._call("_put_record", record)

    def update(self, record: Record) -> None:
        self._call("_update_record", record)

    def delete(self, record: Record) -> None:
        self._call("_delete_record", record)

    def at(self, now: int) -> "Store":
        """Set the layer's clock."""
        self.layer.clock = lambda: now
        return self

    def kept(self, record: Record) -> Record:
        """Return ``record`` as this store should return it."""
        if "fenced" in self.capabilities:
            return record
        return record._replace(
            owner=None, response_data=record.response_data or None, payload_hash=record.payload_hash or None
        )

    def again(self) -> "Store":
        """Return another layer object at the same place."""
        self._others.append(Store(self.kind, self._place, self._runner))
        return self._others[-1]

    def purge(self, now: int | None = None) -> int:
        gone: int = self._call("purge", now)
        return gone

    def close(self) -> None:
        for other in self._others:
            other.close()
        if hasattr(self.layer, "close"):
            self._call("close")

    def _call(self, method: str, *args: Any) -> Any:
        reply = getattr(self.layer, method)(*args)
        return self._runner.run(reply) if inspect.iscoroutine(reply) else reply


@pytest.fixture
def store(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Iterator[Store]:
    """Return each layer that has the needed capabilities."""
    kind = KINDS[request.param]
    made = Store(kind, request.getfixturevalue(kind.place), runner)
    yield made
    made.close()


@pytest.fixture
def sqlite_url(path: Path) -> str:
    return sql_places.created(f"sqlite:///{path}")


@pytest.fixture
def aiosqlite_url(path: Path) -> str:
    return sql_places.created(f"sqlite+aiosqlite:///{path}")


@pytest.fixture
def psycopg_url(postgres_server: postgres.PostgreSQL) -> str:
    return sql_places.on_postgresql(postgres_server, "psycopg")


@pytest.fixture
def asyncpg_url(postgres_server: postgres.PostgreSQL) -> str:
    return sql_places.on_postgresql(postgres_server, "asyncpg")


@pytest.fixture
def pymysql_url(mariadb_server: mariadb.MariaDB) -> str:
    return sql_places.created(mariadb_server.create_database("pymysql"))


@pytest.fixture
def asyncmy_url(mariadb_server: mariadb.MariaDB) -> str:
    return sql_places.created(mariadb_server.create_database("asyncmy"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.db"


@pytest.fixture
def make_sqlite(path: Path) -> Iterator[Callable[..., SQLitePersistenceLayer]]:
    """Make SQLite layers, by default at ``path``, and close them at the end."""
    made = []

    def make(where: Any = path, **options: Any) -> SQLitePersistenceLayer:
        made.append(SQLitePersistenceLayer(where, **options))
        return made[-1]

    yield make
    for layer in made:
        layer.close()


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    """Return the event loop that runs the requests of all async layers."""
    with asyncio.Runner() as made:
        yield made


# Places of Redis and Valkey.


@pytest.fixture(scope="session")
def valkey_client(valkey_server: servers.Server) -> Iterator[redis.Redis]:
    """Return a client that reads the store directly."""
    with redis.Redis(**servers.redis_kwargs(valkey_server)) as client:
        yield client


@pytest.fixture
def valkey_place(valkey_server: servers.Server, valkey_client: redis.Redis) -> Iterator[RedisPlace]:
    valkey_client.flushall()
    with ExitStack() as clients:
        yield RedisPlace(valkey_server.host, valkey_server.port, clients)


@pytest.fixture(scope="session")
def cluster_client(valkey_cluster: servers.Cluster) -> Iterator[redis.RedisCluster]:
    node = valkey_cluster.nodes[0]
    with redis.RedisCluster(host=node.host, port=node.port) as client:
        yield client


@pytest.fixture
def empty_cluster(cluster_client: redis.RedisCluster) -> redis.RedisCluster:
    cluster_client.flushall(target_nodes=redis.RedisCluster.PRIMARIES)
    return cluster_client


@pytest.fixture
def fake_redis_7() -> fakeredis.FakeServer:
    return fakeredis.FakeServer(version=(7,))


@pytest.fixture
def fake_redis_6() -> fakeredis.FakeServer:
    return fakeredis.FakeServer(version=(6,))


# Places of PostgreSQL.


@pytest.fixture(scope="session")
def records_database(postgres_server: postgres.PostgreSQL) -> str:
    """Return the address of a database with a table for records."""
    dsn = postgres_server.create_database(f"records_{uuid.uuid4().hex}")
    with closing(PostgresPersistenceLayer(dsn)) as layer:
        layer.create_table()
    return dsn


@pytest.fixture
def records_table(records_database: str) -> str:
    """Return the address of a database whose table is empty."""
    with psycopg.connect(records_database, autocommit=True) as connection:
        connection.execute("TRUNCATE idempotency")
    return records_database


@pytest.fixture
def new_database(postgres_server: postgres.PostgreSQL) -> str:
    """Return the address of an empty database."""
    return postgres_server.create_database(f"empty_{uuid.uuid4().hex}")


@pytest.fixture(scope="session")
def pgbouncer_server(postgres_server: postgres.PostgreSQL) -> Iterator[pgbouncer.PgBouncer]:
    with servers.running(lambda _: pgbouncer.PgBouncer(postgres_server), Path()) as started:
        yield started


@pytest.fixture
def make_postgres() -> Iterator[Callable[..., PostgresPersistenceLayer]]:
    """Make blocking layers, and close them at the end."""
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(
            closing(PostgresPersistenceLayer(*args, **options))
        )


@pytest.fixture
def postgres_pool(records_table: str) -> Iterator[psycopg_pool.ConnectionPool[Any]]:
    with psycopg_pool.ConnectionPool(records_table, min_size=1, max_size=2, open=True) as pool:
        yield pool


# Places of DynamoDB.


@pytest.fixture(scope="session")
def dynamodb_client(dynamodb_server: servers.Server) -> Iterator[Any]:
    with closing(servers.dynamodb_client(dynamodb_server)) as client:
        yield client


@pytest.fixture
def table(dynamodb_client: Any) -> Iterator[Table]:
    """Return a new table for a test."""
    name = uuid.uuid4().hex
    servers.create_table(dynamodb_client, name)
    yield Table(name, dynamodb_client)
    dynamodb_client.delete_table(TableName=name)


@pytest.fixture(scope="session")
def composite_table(dynamodb_client: Any) -> str:
    name = uuid.uuid4().hex
    servers.create_table(dynamodb_client, name, SORT_KEY)
    return name


@pytest.fixture
def partition(composite_table: str, dynamodb_client: Any) -> Table:
    """Return a new partition for a test."""
    return Table(composite_table, dynamodb_client, uuid.uuid4().hex)


@pytest.fixture(scope="session")
def async_dynamodb_client(runner: asyncio.Runner, dynamodb_server: servers.Server) -> Iterator[Any]:
    opening = AsyncSession(dynamodb_server).create_client("dynamodb")
    yield runner.run(opening.__aenter__())
    runner.run(opening.__aexit__(None, None, None))


@pytest.fixture
def async_table(table: Table, async_dynamodb_client: Any) -> Table:
    return table._replace(client=async_dynamodb_client)


@pytest.fixture(scope="session")
def moto_clients() -> Iterator[Callable[..., Any]]:
    """Return a function that makes clients for use under ``mock_aws``, one of each kind."""
    with ExitStack() as stack:
        yield cache(lambda *, old: stack.enter_context(closing(moto_client(old=old))))


@pytest.fixture
def moto_table(moto_clients: Callable[..., Any]) -> Iterator[Table]:
    with mock_aws():
        servers.create_table(moto_clients(old=False), "records")
        yield Table("records", moto_clients(old=False))


@pytest.fixture(scope="session")
def dynalite_client(dynalite_server: servers.Server) -> Iterator[Any]:
    with closing(servers.dynamodb_client(dynalite_server)) as client:
        yield client


@pytest.fixture
def dynalite_table(dynalite_client: Any) -> Table:
    """Return a table whose server counts what an update adds to an item."""
    name = uuid.uuid4().hex
    servers.create_table(dynalite_client, name)
    # It answers before it has made the table.
    dynalite_client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
    return Table(name, dynalite_client)


@pytest.fixture
def old_moto_table(moto_table: Table, moto_clients: Callable[..., Any]) -> Table:
    """Return a table with a client of an SDK that does not return the items of failed conditions."""
    return moto_table._replace(client=moto_clients(old=True))


@pytest.fixture(params=["blocking", "async"])
def side(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Side:
    return Side(runner, asynchronous=request.param == "async")
