"""Decorated functions over real stores, behind one blocking interface. Time is set, never waited for."""

import asyncio
import contextlib
import functools
import inspect
import json
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import aiobotocore.config
import aiobotocore.session
import boto3
import botocore.config
import psycopg
import pytest
import redis.asyncio
import redis.backoff

import postgres
import servers
from idemproof import (
    AsyncDynamoDBPersistenceLayer,
    AsyncPostgresPersistenceLayer,
    AsyncRedisCachePersistenceLayer,
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    PostgresPersistenceLayer,
    RedisCachePersistenceLayer,
    idempotent_function,
)
from idemproof.reference.keys import KeyDerivation
from proxy import Proxy, command

LEASE_SECONDS = 10
ORDER = {"id": 1, "amount": 120}
PREFIX = "orders"
PATIENCE_SECONDS = 600  # for what must happen


class Clock:
    """Epoch milliseconds, a quarter after a full second. Each reading adds ``step``, by default 0."""

    def __init__(self) -> None:
        self.now = time.time_ns() // 10**9 * 1000 + 1250
        self.step = 0

    def __call__(self) -> int:
        self.now += self.step
        return self.now

    def advance(self, *, seconds: int) -> None:
        self.now += seconds * 1000


class Loop:
    """An event loop in its own thread, in which any thread can run coroutines."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._loop = self._runner.get_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE_SECONDS)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._runner.close()


def ended(outcome: Any, order: Any) -> Any:
    """End a body: raise ``outcome`` if it is an exception, call it if it can be called, else return it."""
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome(order) if callable(outcome) else outcome


class Protected:
    """A decorated function, called as if it were blocking from any thread. It counts runs of its body."""

    def __init__(self, store: "Store", outcome: Any, layer: Any, settings: Mapping[str, Any]) -> None:
        self.runs = 0
        self._lock = threading.Lock()
        self._store = store
        self._outcome = outcome
        usual: dict[str, Any] = {"in_progress_expires_after_seconds": LEASE_SECONDS, "clock": store.clock}
        self.function = idempotent_function(
            self._async_body if store.asynchronous else self._body,
            data_keyword_argument="order",
            persistence_store=layer,
            config=IdempotencyConfig(**{**usual, **settings}),
            key_prefix=PREFIX,
        )

    def __call__(self, order: Any = ORDER) -> Any:
        return self._store.wait(self.function(order=order))

    def _body(self, order: Any) -> Any:
        with self._lock:
            self.runs += 1
        return ended(self._outcome, order)

    async def _async_body(self, order: Any) -> Any:
        # In a thread, where it may wait, and call other decorated functions.
        return await asyncio.to_thread(self._body, order)


class Run:
    """A call whose body waits until it may finish."""

    def __init__(self, store: "Store", outcome: Any, layer: Any, settings: Mapping[str, Any]) -> None:
        self._outcome = outcome
        self._begun = threading.Event()
        self._may_finish = threading.Event()
        self._future = store.threads.submit(Protected(store, self._body, layer, settings))
        store.cleanup.callback(self._end)
        while not self._begun.wait(0.01):
            assert not self._future.done(), f"it did not begin: {self._future.exception()!r}"

    def finish(self) -> Any:
        """Let the body end; return the result of the call, or raise its error."""
        self._may_finish.set()
        return self._future.result(PATIENCE_SECONDS)

    def _end(self) -> None:
        self._may_finish.set()
        self._future.exception(PATIENCE_SECONDS)

    def _body(self, order: Any) -> Any:
        self._begun.set()
        assert self._may_finish.wait(PATIENCE_SECONDS)
        return ended(self._outcome, order)


class Store:
    """A real store, and how it protects functions."""

    commands: ClassVar[Mapping[str, str]]
    """What the layer sends to claim, to replace (take over, complete), if that is refused, and to release."""

    markers: ClassVar[Mapping[str, bytes]]
    """The bytes by which a proxy recognises a step."""

    learns: ClassVar = False  # whether a layer tries what the server can do

    def __init__(self, server: servers.Server, *, asynchronous: bool, cleanup: contextlib.ExitStack) -> None:
        self.server = server
        self.asynchronous = asynchronous
        self.cleanup = cleanup
        self.clock = Clock()
        self.sent: list[str] = []
        """What the layers' clients have sent, by the clients' own count: retries included."""
        self.key = self.key_of(ORDER)
        if asynchronous:
            self._loop = Loop()
            cleanup.callback(self._loop.close)
        self.raw = self._raw_client()
        self.clear()
        self._layer = self.layer()
        self.threads = cleanup.enter_context(ThreadPoolExecutor(16))

    def layer(self, address: servers.Address | None = None, *, retries: int = 0, **options: Any) -> Any:
        """Return a layer with its own client, as in another process.

        The layer has already detected the features of the server.
        """
        manager = self._client(address or self.server, retries)
        if self.asynchronous:
            client = self.wait(manager.__aenter__())
            self.cleanup.callback(lambda: self.wait(manager.__aexit__(None, None, None)))
        else:
            client = self.cleanup.enter_context(manager)
        made = self._make(client, options)
        if self.learns:
            self.protect(None, made)("first")
            self.delete(self.key_of("first"))
        return made

    def protect(self, outcome: Any = "done", layer: Any = None, **settings: Any) -> Protected:
        return Protected(self, outcome, layer or self._layer, settings)

    def begin(self, outcome: Any = "late", layer: Any = None, **settings: Any) -> Run:
        """Call a function, and return once its body has begun."""
        return Run(self, outcome, layer or self.layer(), settings)

    def outlast_lease(self) -> None:
        self.clock.advance(seconds=LEASE_SECONDS)

    def wait(self, answer: Any) -> Any:
        return self._loop.run(answer) if inspect.iscoroutine(answer) else answer

    @staticmethod
    def key_of(order: Any) -> Any:
        return KeyDerivation(IdempotencyConfig(), PREFIX).derive(order)[0]

    def costs(self, *steps: str) -> list[str]:
        """Return the requests for these steps."""
        return " ".join(self.commands[step] for step in steps).split()

    def record(self) -> dict[str, Any]:
        """Return the raw record of ``ORDER``, the only one in the store."""
        records = self.records()
        assert list(records) == [self.key]
        return records[self.key]

    def amend(self, **changes: Any) -> None:
        """Change the raw record as other software might; None removes an attribute."""
        fields = self.record() | changes
        self.write({name: value for name, value in fields.items() if value is not None})

    def abandon(self, **more: Any) -> None:
        """Write the claim of a dead attempt whose lease has ended."""
        now = self.clock.now
        claim = {"status": "INPROGRESS", "expiration": now // 1000 + 3600, "in_progress_expiration": now}
        self.write(claim | more)

    def clear(self) -> None:
        for key in self.records():
            self.delete(key)


class Valkey(Store):
    learns: ClassVar = True
    commands: ClassVar = {
        "claim": "SET",
        "swap": "SET",
        "complete": "SET",
        "refused": "SET EVALSHA",
        "release": "EVALSHA",
    }
    markers: ClassVar = {
        "claim": command("NX"),
        "swap": command("IFEQ"),
        "completion": b"COMPLETED",
        "release": command("EVALSHA"),
    }

    def _raw_client(self) -> Any:
        return self.cleanup.enter_context(redis.Redis(**servers.redis_kwargs(self.server)))

    def _client(self, address: servers.Address, retries: int) -> Any:
        module: Any = redis.asyncio if self.asynchronous else redis
        sent = self.sent

        class Connection(module.Connection):  # type: ignore[misc]
            def send_command(self, *args: Any, **kwargs: Any) -> Any:
                sent.append(args[0])
                return super().send_command(*args, **kwargs)

        pool = module.ConnectionPool(
            connection_class=Connection,
            host=address.host,
            port=address.port,
            socket_timeout=PATIENCE_SECONDS,
            max_connections=200,
            retry=module.retry.Retry(redis.backoff.NoBackoff(), retries),
        )
        return module.Redis.from_pool(pool)

    def _make(self, client: Any, options: Mapping[str, Any]) -> Any:
        kind = AsyncRedisCachePersistenceLayer if self.asynchronous else RedisCachePersistenceLayer
        return kind(client=client, **options)

    def records(self) -> dict[str, dict[str, Any]]:
        return {key.decode(): json.loads(self.raw.get(key)) for key in self.raw.keys("*")}

    def write(self, fields: Mapping[str, Any]) -> None:
        self.raw.set(self.key, json.dumps(fields))

    def delete(self, key: str) -> None:
        self.raw.delete(key)

    def clear(self) -> None:
        self.raw.flushall()  # even what is no record


class Redis7(Valkey):  # which has no SET IFEQ
    commands: ClassVar = Valkey.commands | {"swap": "EVALSHA", "complete": "EVALSHA", "refused": "EVALSHA"}
    markers: ClassVar = Valkey.markers | {"swap": command("EVALSHA")}


class DynamoDB(Store):
    commands: ClassVar = {
        "claim": "PutItem",
        "swap": "PutItem",
        "complete": "UpdateItem",
        "refused": "PutItem",
        "release": "DeleteItem",
    }
    markers: ClassVar = {
        "claim": b"attribute_not_exists(#key)",
        "swap": b"#status = :status",
        "completion": b"COMPLETED",
        "release": b"X-Amz-Target: DynamoDB_20120810.DeleteItem",
    }
    table: ClassVar = "orders-by-id"
    sort_key: ClassVar[str | None] = None
    _tables: ClassVar[set[tuple[int, str]]] = set()
    # Clients of one session share what takes long to load.
    _session: ClassVar = boto3.Session()
    _async_session: ClassVar = aiobotocore.session.get_session()

    def _raw_client(self) -> Any:
        manager = contextlib.closing(self._session.client("dynamodb", **servers.dynamodb_kwargs(self.server)))
        client = self.cleanup.enter_context(manager)
        if (self.server.port, self.table) not in self._tables:
            servers.create_table(client, self.table, self.sort_key)
            self._tables.add((self.server.port, self.table))
        return client

    def _client(self, address: servers.Address, retries: int) -> Any:
        config: dict[str, Any] = {
            # The older mode, as it waits for 50 ms and not for up to a second.
            "retries": {"mode": "legacy", "total_max_attempts": 1 + retries},
            "read_timeout": PATIENCE_SECONDS,
            "max_pool_connections": 32,
        }
        where = servers.dynamodb_kwargs(address)
        if self.asynchronous:
            aio_config = aiobotocore.config.AioConfig(**config)
            return self._async_session.create_client("dynamodb", config=aio_config, **where)
        config = botocore.config.Config(**config)
        return contextlib.closing(self._session.client("dynamodb", config=config, **where))

    def _make(self, client: Any, options: Mapping[str, Any]) -> Any:
        client.meta.events.register("before-send.dynamodb", self._note)
        kind: Any = AsyncDynamoDBPersistenceLayer if self.asynchronous else DynamoDBPersistenceLayer
        given = {"client" if self.asynchronous else "boto3_client": client}
        return kind(self.table, sort_key_attr=self.sort_key, **given, **options)

    def _note(self, event_name: str, **_: Any) -> None:
        self.sent.append(event_name.rpartition(".")[2])

    def records(self) -> dict[str, dict[str, Any]]:
        found = {}
        for item in self.raw.scan(TableName=self.table, ConsistentRead=True)["Items"]:
            values = {name: next(iter(typed.items())) for name, typed in item.items()}
            fields = {
                name: json.loads(value) if kind == "N" else value for name, (kind, value) in values.items()
            }
            partition = fields.pop("id")
            found[partition if self.sort_key is None else fields.pop(self.sort_key)] = fields
        return found

    def write(self, fields: Mapping[str, Any]) -> None:
        typed = {k: {"S": v} if isinstance(v, str) else {"N": str(v)} for k, v in fields.items()}
        self.raw.put_item(TableName=self.table, Item=self._item_key(self.key) | typed)

    def delete(self, key: str) -> None:
        self.raw.delete_item(TableName=self.table, Key=self._item_key(key))

    def _item_key(self, key: str) -> dict[str, Any]:
        if self.sort_key is None:
            return {"id": {"S": key}}
        return {"id": {"S": "idempotency#"}, self.sort_key: {"S": key}}


class CompositeDynamoDB(DynamoDB):
    table: ClassVar = "orders-by-sort"
    sort_key: ClassVar[str | None] = "sort"


class Postgres(Store):
    learns: ClassVar = True  # it checks the table
    commands: ClassVar = {
        "claim": "INSERT",
        "swap": "UPDATE",
        "complete": "UPDATE",
        "refused": "UPDATE SELECT",
        "release": "DELETE",
    }
    markers: ClassVar = {
        "claim": b"INSERT INTO",
        "swap": b"UPDATE ",
        "completion": b"COMPLETED",
        "release": b"DELETE FROM",
    }
    server: postgres.PostgreSQL

    def _raw_client(self) -> Any:
        raw = self.cleanup.enter_context(self.server.connect())
        PostgresPersistenceLayer(self.server.dsn()).create_table()
        return raw

    def _client(self, address: servers.Address, retries: int) -> Any:
        return contextlib.nullcontext({"host": address.host, "port": address.port, "user": "postgres"})

    def _make(self, client: Any, options: Mapping[str, Any]) -> Any:
        sent, asynchronous = self.sent, self.asynchronous
        base: Any = psycopg.AsyncCursor if asynchronous else psycopg.Cursor

        class Noting(base):  # type: ignore[misc]
            def execute(self, query: str, *args: Any, **kwargs: Any) -> Any:
                verbs = set(query.split())
                if "pg_backend_pid()," not in verbs:  # which checks a new connection
                    sent.append(*(verbs & {"INSERT", "UPDATE", "DELETE"} or {"SELECT"}))
                return super().execute(query, *args, **kwargs)

        kind = AsyncPostgresPersistenceLayer if asynchronous else PostgresPersistenceLayer
        settings = {**client, "cursor_factory": Noting}
        layer = kind(settings, max_connections=32, timeout_seconds=PATIENCE_SECONDS, **options)
        self.cleanup.callback(lambda: self.wait(layer.close()))
        return layer

    def records(self) -> dict[str, dict[str, Any]]:
        cursor = self.raw.cursor(row_factory=psycopg.rows.dict_row)
        found = [
            {name: value for name, value in row.items() if value is not None}
            for row in cursor.execute("SELECT * FROM idempotency")
        ]
        return {row.pop("id"): row for row in found}

    def write(self, fields: Mapping[str, Any]) -> None:
        self.delete(self.key)
        row = {"id": self.key, **fields}
        marks = ", ".join(["%s"] * len(row))
        self.raw.execute(f"INSERT INTO idempotency ({', '.join(row)}) VALUES ({marks})", [*row.values()])

    def delete(self, key: str) -> None:
        self.raw.execute("DELETE FROM idempotency WHERE id = %s", [key])


STORES: dict[str, tuple[type[Store], str, bool]] = {
    "dynamodb": (DynamoDB, "dynamodb_server", False),
    "dynamodb-composite": (CompositeDynamoDB, "dynamodb_server", False),
    "dynamodb-async": (DynamoDB, "dynamodb_server", True),
    "valkey": (Valkey, "valkey_server", False),
    "valkey-async": (Valkey, "valkey_server", True),
    "redis": (Redis7, "redis_server", False),
    "postgres": (Postgres, "postgres_server", False),
    "postgres-async": (Postgres, "postgres_server", True),
}
# Other tables and servers of the same layers: what depends on the interpreter shows in the others.
ONCE = frozenset({"dynamodb-composite", "redis"})


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "stores(*names): which stores the test is for, by default all")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "store" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("stores")
        names = mark.args if mark else list(STORES)
        stores = [pytest.param(name, marks=[pytest.mark.once] if name in ONCE else []) for name in names]
        metafunc.parametrize("store", stores, indirect=True)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    start = functools.partial(servers.redis7, password=None, tls=False)
    with servers.running(start, tmp_path_factory.mktemp("servers")) as server:
        yield server


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    kind, server, asynchronous = STORES[request.param]
    with contextlib.ExitStack() as cleanup:
        yield kind(request.getfixturevalue(server), asynchronous=asynchronous, cleanup=cleanup)


@pytest.fixture
def proxy(store: Store) -> Iterator[Proxy]:
    with Proxy(store.server) as made:
        yield made
