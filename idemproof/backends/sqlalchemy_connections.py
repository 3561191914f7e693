"""The SQLAlchemy layers' own connections: engines like the application's, which commit every statement."""

import asyncio
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, suppress
from typing import Any, Self

from sqlalchemy import Connection, event
from sqlalchemy.engine import Dialect, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import AssertionPool, Pool, SingletonThreadPool, StaticPool

from ..drivers.forksafe import give_lock
from ..spec.errors import IdempotencyPersistenceConfigError
from .sqlalchemy_table import MYSQL, SQLITE

_ONE_CONNECTION = (AssertionPool, SingletonThreadPool, StaticPool)

_COMMITS_ITSELF = "idemproof commits each statement"
"""Marks connections in autocommit mode. Another COMMIT would be another round trip on MySQL."""

_LOCK_WAIT_SECONDS = 1
"""How long MySQL and MariaDB let a statement wait for a row that another transaction has locked."""

_LOOKS_SECONDS = 0.005
"""How often an event loop looks whether another layer has begun to use the engine."""


class Client:
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


class AsyncClient:
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


def require_shared_database(engine: Engine) -> None:
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
