"""The SQLAlchemy layers: records in a table of any database that SQLAlchemy 2 can use."""

import asyncio
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, suppress
from typing import Any, ClassVar, Self

try:
    from sqlalchemy import Connection, MetaData, Table, event
    from sqlalchemy.engine import Dialect, Engine
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
    from sqlalchemy.pool import AssertionPool, Pool, SingletonThreadPool, StaticPool
except ImportError as cause:
    raise ImportError(
        "The SQLAlchemy layers need SQLAlchemy 2: python -m pip install 'idemproof[sqlalchemy]'"
    ) from cause

from ..drivers.exchanges import Ask, Exchange, perform, perform_async
from ..drivers.forksafe import give_lock
from ..drivers.interrupts import any_interrupts
from ..spec.errors import IdempotencyError, IdempotencyPersistenceConfigError
from ..spec.record import Record
from . import within
from .base import AsyncCompareAndSwapLayer, CompareAndSwapLayer
from .copies import Copied
from .sqlalchemy_errors import Trouble, named_error, trouble_of
from .sqlalchemy_statements import Statements
from .sqlalchemy_table import COLUMNS, MYSQL, SQLITE, idempotency_table, require_own_table
from .within import Records

__all__ = ["AsyncSQLAlchemyPersistenceLayer", "SQLAlchemyPersistenceLayer", "idempotency_table"]

_ONE_CONNECTION = (AssertionPool, SingletonThreadPool, StaticPool)

_COMMITS_ITSELF = "idemproof commits each statement"
"""Marks connections in autocommit mode. Another COMMIT would be another round trip on MySQL."""

_LOCK_WAIT_SECONDS = 1
"""How long MySQL and MariaDB let a statement wait for a row that another transaction has locked."""

_LOOKS_SECONDS = 0.005
"""How often an event loop looks whether another layer has begun to use the engine."""


class _OverSQLAlchemy(Copied):
    """The parts that both layers share: the parameters, the table and its statements."""

    _recreated = frozenset({"_statements", "_own", "_clients"})
    _supplied = ("engine", "table")
    _kind: ClassVar[type]
    engine: Any

    def __init__(self, engine: Any, table: str | Table = "idempotency", *, schema: str | None = None) -> None:
        if not isinstance(engine, self._kind):
            raise IdempotencyPersistenceConfigError(
                f"{type(self).__name__} needs an {self._kind.__name__}, not {type(engine).__name__}."
            )
        self.engine = engine
        _require_shared_database(self._sync_engine)
        if isinstance(table, Table):
            if schema is not None:
                raise IdempotencyPersistenceConfigError(
                    "Give the schema to idempotency_table, not to the layer."
                )
            if not set(COLUMNS) <= set(table.columns.keys()):
                raise IdempotencyPersistenceConfigError(
                    f"The Table {table.fullname!r} is not what idempotency_table(metadata) returns. Use that."
                )
        elif isinstance(table, str) and table:
            table = idempotency_table(MetaData(), table, schema=schema)
        else:
            raise IdempotencyPersistenceConfigError(f"table must be a name or a Table, not {table!r}.")
        self.table = table
        self._initialize()

    def _records(self) -> Records:
        dialect, url = self._sync_engine.dialect, self._sync_engine.url
        table = dialect.identifier_preparer.format_table(self.table)
        if dialect.name in MYSQL:
            return Records(within.MYSQL, table, str.encode, lambda stored: bytes(stored).decode())
        path = None
        if dialect.name == SQLITE and url.database and not url.database.startswith("file:"):
            path = url.database
        return Records(dialect.name, table, str, str, path)

    def __repr__(self) -> str:
        address = self._sync_engine.url.render_as_string(hide_password=True)
        return f"{type(self).__name__}({address!r}, {self.table.fullname!r})"

    @property
    def _sync_engine(self) -> Engine:
        given: Any = self.engine
        engine: Engine = given.sync_engine if isinstance(given, AsyncEngine) else given
        return engine

    def _initialize(self) -> None:
        self._statements = Statements(self.table, self._sync_engine.dialect)
        self._prepare()

    def _prepare(self) -> None:
        raise NotImplementedError

    def _failure(self, error: Exception, key: str | None) -> BaseException:
        """Return what to raise for an error of SQLAlchemy or of its driver."""
        interrupt = any_interrupts().behind(error)
        if interrupt is not None:
            return interrupt
        if trouble_of(error) is Trouble.NO_TABLE:
            self._statements.forget_check()
        where = f"The table {self.table.fullname!r}"
        return named_error(error, where, key, self._sync_engine.url)

    def _creation(self) -> Exchange:
        """Create the table, unless it exists."""
        failure: Exception | None = None
        try:
            yield Ask("run", (self.table.create, True))
        except Exception as error:  # noqa: BLE001 - raised below, if it is not that another process was faster
            failure = error
        try:
            yield Ask("run", (require_own_table, self.table))
        except IdempotencyPersistenceConfigError as refusal:
            if failure is None or not refusal.may_pass:
                raise
        else:
            return
        raise failure


class SQLAlchemyPersistenceLayer(_OverSQLAlchemy, CompareAndSwapLayer):
    """Stores records in a table of a database, through an engine of SQLAlchemy 2.

    PostgreSQL, MariaDB and SQLite are tested; MySQL gets the same requests as MariaDB. Other databases work
    if they enforce the primary key and count changed rows; the layer refuses drivers that do not count. Each
    statement is a transaction of its own, on connections of the layer's own: a pool like the engine's, with
    its settings and event listeners. So requests never wait for connections that their callers hold, and
    never see or end their transactions.

    It is safe to share between threads and forks. Delete expired records regularly with :meth:`purge`.

    Parameters
    ----------
    engine
        The engine. It must lead to the primary server, not to a replica.
    table
        The name of the table, or what :func:`~idemproof.idempotency_table` returned.
    schema
        The schema of the table, if ``table`` is a name.

    Raises
    ------
    IdempotencyPersistenceConfigError
        The engine cannot be used: it is async, in memory, or has one connection for all threads. On first
        use: the table is missing, or it is not a table of this layer.
    """

    _kind = Engine
    engine: Engine
    """The engine that was given."""

    def __init__(
        self, engine: Engine, table: str | Table = "idempotency", *, schema: str | None = None
    ) -> None:
        super().__init__(engine, table, schema=schema)

    def _prepare(self) -> None:
        self._own = _Client(self.engine)

    def _load(self, key: str) -> Record | None:
        record: Record | None = self._perform(self._statements.load(key), key)
        return record

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:  # noqa: ARG002
        record: Record | None = self._perform(self._statements.swap(key, expected, new), key)
        return record

    def create_table(self) -> None:
        """Create the table and its index, unless they exist."""
        self._perform(self._creation())

    def purge(self, now: int | None = None) -> int:
        """Delete all expired records, in batches, and return how many there were.

        Records that another transaction has locked, and corrupt ones, are kept.

        Parameters
        ----------
        now
            Epoch milliseconds; the layer's clock if not given.
        """
        gone: int = self._perform(self._statements.purge(self.clock() if now is None else now))
        return gone

    def close(self) -> None:
        """Close the layer's own connections. The layer stays usable: it opens new ones."""
        self._own.close()

    def _perform(self, exchange: Exchange, key: str | None = None) -> Any:
        try:
            return perform(exchange, self._own)
        except IdempotencyError:
            raise
        except Exception as error:  # noqa: BLE001 - raised below, outside of the handler
            trouble = error
        if trouble_of(trouble) is Trouble.READ_ONLY:
            self._own.close()  # new connections lead to the new primary
        raise self._failure(trouble, key)


class AsyncSQLAlchemyPersistenceLayer(_OverSQLAlchemy, AsyncCompareAndSwapLayer):
    """:class:`SQLAlchemyPersistenceLayer` for ``async def`` functions, over an ``AsyncEngine``.

    Each event loop gets a pool of its own, which is closed when the loop shuts down.

    Parameters
    ----------
    engine
        The async engine.
    table, schema
        As for :class:`SQLAlchemyPersistenceLayer`.
    """

    _kind = AsyncEngine
    engine: AsyncEngine
    """The engine that was given."""

    def __init__(
        self, engine: AsyncEngine, table: str | Table = "idempotency", *, schema: str | None = None
    ) -> None:
        super().__init__(engine, table, schema=schema)

    def _prepare(self) -> None:
        from ..drivers.event_loops import ClientPerLoop  # noqa: PLC0415 - loads asyncio

        self._clients = ClientPerLoop(self._connect)

    async def _load(self, key: str) -> Record | None:
        record: Record | None = await self._perform(self._statements.load(key), key)
        return record

    async def _swap(
        self,
        key: str,
        expected: Record | None,
        new: Record | None,
        ttl_ms: int,  # noqa: ARG002
    ) -> Record | None:
        record: Record | None = await self._perform(self._statements.swap(key, expected, new), key)
        return record

    async def create_table(self) -> None:
        """Create the table and its index, unless they exist."""
        await self._perform(self._creation())

    async def purge(self, now: int | None = None) -> int:
        """Delete all expired records, as :meth:`SQLAlchemyPersistenceLayer.purge` does."""
        gone: int = await self._perform(self._statements.purge(self.clock() if now is None else now))
        return gone

    async def close(self) -> None:
        """Close the running event loop's connections. The layer stays usable: it opens new ones."""
        await self._clients.close()

    async def _perform(self, exchange: Exchange, key: str | None = None) -> Any:
        client = await self._clients.get(key)
        try:
            return await perform_async(exchange, client)
        except IdempotencyError:
            raise
        except Exception as error:  # noqa: BLE001 - raised below, outside of the handler
            trouble = error
        if trouble_of(trouble) is Trouble.READ_ONLY:
            await client.engine.dispose()
        raise self._failure(trouble, key)

    def _connect(self) -> "_AsyncClient":
        return _AsyncClient(self.engine)


class _Client:
    """Runs functions on connections of its own, in any thread, and on both sides of a fork."""

    _lock: AbstractContextManager[Any]

    def __init__(self, engine: Engine) -> None:
        self._given = engine
        self._engine: Engine | None = None
        self._process = os.getpid()
        give_lock(self)

    def run(self, work: Callable[..., Any], *given: Any) -> Any:
        """Return what ``work`` returns for a connection."""
        engine = self._engine
        if engine is None or self._process != os.getpid():
            engine = self._open()
        with engine.connect() as connection:
            return _guarded(connection, work, *given)

    def close(self) -> None:
        """Close all idle connections."""
        engine = self._engine
        if engine is not None and self._process == os.getpid():
            self._engine = None
            engine.dispose()

    def _open(self) -> Engine:
        with self._lock:
            if self._engine is not None and self._process != os.getpid():
                if self._engine.dialect.name == SQLITE:
                    raise IdempotencyPersistenceConfigError(
                        "This process was forked while the layer had connections to a SQLite file, so SQLite "
                        "cannot lock the file here. Nothing was read or written. Call the layer's close() "
                        "before the fork, or use SQLitePersistenceLayer."
                    )
                _inherited.append(self._engine)  # to close the connections would end the parent's sessions
                self._engine = None
            if self._engine is None:
                self._process = os.getpid()
                _initialize(self._given)
                self._engine = engine = _own_engine(self._given)
                weakref.finalize(self, _dispose, engine, self._process).atexit = False
            return self._engine


class _AsyncClient:
    """Runs functions on connections of one event loop, and closes them at the end."""

    def __init__(self, given: AsyncEngine) -> None:
        self._given = given
        self.engine = AsyncEngine(_own_engine(given.sync_engine))
        self._left: set[asyncio.Future[None]] = set()

    async def __aenter__(self) -> Self:
        await _initialize_async(self._given)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._left:  # a connection that is returned after this is not closed
            await asyncio.wait(self._left)
        await self.engine.dispose()

    async def run(self, work: Callable[..., Any], *given: Any) -> Any:
        """Return what ``work`` returns for a connection."""
        if self.engine.dialect.name == SQLITE:  # the driver closes no connection whose request is cancelled
            return await self._even_if_cancelled(self._on_a_connection(self._open(), work, *given))
        return await self._on_a_connection(self._even_if_cancelled(self._open()), work, *given)

    async def _open(self) -> AsyncConnection:
        return await self.engine.connect()

    @staticmethod
    async def _on_a_connection(
        opened: Awaitable[AsyncConnection], work: Callable[..., Any], *given: Any
    ) -> Any:
        connection = await opened
        try:
            return await connection.run_sync(_guarded, work, *given)
        finally:
            await asyncio.shield(connection.close())

    async def _even_if_cancelled(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Await ``work``, which goes on after a cancellation. A connection that it returns then is closed."""
        task = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            left = asyncio.ensure_future(_end(task))
            self._left.add(left)
            left.add_done_callback(self._left.discard)
            raise


async def _end(task: "asyncio.Future[Any]") -> None:
    with suppress(Exception):  # its caller is gone
        result = await task
        if isinstance(result, AsyncConnection):
            await result.close()


_inherited: list[Engine] = []


def _dispose(engine: Engine, process: int) -> None:
    if process == os.getpid():
        with suppress(SQLAlchemyError):
            engine.dispose()
    else:
        _inherited.append(engine)


def _guarded(connection: Connection, work: Callable[..., Any], *given: Any) -> Any:
    """Run ``work``, and commit. After an interrupt, the connection is not used any more."""
    try:
        answer = work(connection, *given)
        if not connection.info.get(_COMMITS_ITSELF):
            connection.commit()
    except SQLAlchemyError:
        raise
    except BaseException:
        # It may have an unread reply.
        connection.invalidate()
        raise
    return answer


class _Initializing:
    _lock: AbstractContextManager[Any]


_initializing = _Initializing()
give_lock(_initializing)


def _initialize(engine: Engine) -> None:
    """Let the given engine learn about its server, before several engines use what it has learned."""
    with _initializing._lock:
        if _is_unknown(engine.dialect):  # so its pool has a connection to spare
            with engine.connect() as connection:
                connection.invalidate()  # closed, and not left in a pool that is not ours


_first_uses: "weakref.WeakKeyDictionary[Dialect, threading.Lock]" = weakref.WeakKeyDictionary()
"""A lock for each dialect of async engines, held while an engine learns about its server."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_first_uses.clear)


async def _initialize_async(engine: AsyncEngine) -> None:
    """Do as :func:`_initialize`, on any event loop.

    A dialect knows the version of its server before it knows the rest, so each layer waits until another one
    that has begun to ask is done. That may be on the same event loop, or on that of another thread.
    """
    dialect = engine.sync_engine.dialect
    lock = _first_uses.setdefault(dialect, threading.Lock())
    while not lock.acquire(blocking=False):  # noqa: ASYNC110 - the holder may be another event loop
        await asyncio.sleep(_LOOKS_SECONDS)
    try:
        if _is_unknown(dialect):
            async with engine.connect() as connection:
                await connection.invalidate()
    finally:
        lock.release()


def _is_unknown(dialect: Dialect) -> bool:
    """Return whether no engine with this dialect has asked its server yet. SQLite has none to ask."""
    return dialect.name != SQLITE and dialect.server_version_info is None


def _own_engine(engine: Engine) -> Engine:
    """Return an engine like ``engine``, with connections of its own that commit every statement."""
    pool: Pool = engine.pool.recreate()
    # The level of the application's transactions does not concern the layer's.
    options = {name: v for name, v in engine.get_execution_options().items() if name != "isolation_level"}
    event.listen(pool, "connect", _Prepare(engine.dialect))
    # Error texts must not contain results.
    return Engine(pool, engine.dialect, engine.url, hide_parameters=True, execution_options=options)


class _Prepare:
    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def __call__(self, connection: Any, record: Any) -> None:
        dialect = self._dialect
        dialect.do_commit(connection)  # a listener of the application may have begun a transaction
        try:
            levels = dialect.get_isolation_level_values(connection)
        except NotImplementedError:  # then each statement is committed
            levels = ()
        if "AUTOCOMMIT" in levels:
            dialect.set_isolation_level(connection, "AUTOCOMMIT")
            record.info[_COMMITS_ITSELF] = True
        if dialect.name in MYSQL:
            cursor = connection.cursor()
            cursor.execute(f"SET SESSION innodb_lock_wait_timeout = {_LOCK_WAIT_SECONDS}")
            cursor.close()


def _require_shared_database(engine: Engine) -> None:
    """Refuse engines whose connections do not share a database, or which have only one connection."""
    database = engine.url.database
    in_memory = engine.dialect.name == SQLITE and (
        not database or database == ":memory:" or "mode=memory" in str(engine.url)
    )
    if in_memory or isinstance(engine.pool, _ONE_CONNECTION):
        why = "is in memory" if in_memory else f"uses {type(engine.pool).__name__}"
        raise IdempotencyPersistenceConfigError(
            f"The engine {why}, so connections cannot share records safely. Use a database that several "
            "connections can open, or InMemoryPersistenceLayer."
        )
