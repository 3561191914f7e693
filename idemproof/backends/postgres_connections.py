"""Connections to PostgreSQL: pools of the layer's own, and connections that the user supplies.

This module loads psycopg, so layers import it when they are used.
"""

import asyncio
import inspect
import os
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from ..drivers.exchanges import Exchange, perform, perform_async
from ..spec.errors import IdempotencyPersistenceConfigError

_INTERVAL = 0.1
"""How often a wait for the server looks at the time, in seconds."""

_IDLE = TransactionStatus.IDLE

_inherited: list[Any] = []
"""Connections of a parent process. They are neither used nor closed here."""


def _keep_quiet(_connection: Any, *_: Any) -> None:
    """Allow closing the socket without a warning. An interrupt may lose a connection, a fork inherits it."""


class _Connection(psycopg.Connection[Any]):
    """A connection that gives up a server that does not answer."""

    idle_seconds: float = 0.0
    __del__ = _keep_quiet

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        return super().wait(_bounded(gen, self.idle_seconds), *args, **{"interval": _INTERVAL, **kwargs})


class _AsyncConnection(psycopg.AsyncConnection[Any]):
    """:class:`_Connection` for event loops."""

    idle_seconds: float = 0.0
    __del__ = _keep_quiet

    async def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        return await super().wait(
            _bounded(gen, self.idle_seconds), *args, **{"interval": _INTERVAL, **kwargs}
        )


def _bounded(gen: Generator[Any, Any, Any], seconds: float) -> Generator[Any, Any, Any]:
    """Raise an error in ``gen`` when nothing has arrived or left for so long. The server may hang."""
    until = time.monotonic() + seconds
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready:
                until = time.monotonic() + seconds
            elif seconds and time.monotonic() > until:
                raise psycopg.OperationalError(f"the server did not answer for {seconds:g} seconds")
            wanted = gen.send(ready)
    except StopIteration as done:
        return done.value


class PoolExhaustedError(psycopg.OperationalError):
    """All connections are in use."""


def _options(settings: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return the arguments for a connection of the layer's own."""
    defaults = {
        "connect_timeout": max(1, int(seconds)),
        "application_name": "idemproof",
        # Of several hosts, the primary.
        "target_session_attrs": "read-write",
        "client_encoding": "utf8",
    }
    return {**defaults, **settings}


class _Opening:
    """Stands for a connection that is being opened."""


class BlockingPool:
    """Up to ``size`` connections, for any number of threads and on both sides of a fork. It has no threads.

    Parameters
    ----------
    settings
        The parameters of a connection.
    size
        How many connections there are at most.
    seconds
        How long to wait for a connection, for the login, and for an answer.
    check
        Returns the exchange that checks a new connection, and returns the process id that the server reports.
    """

    def __init__(
        self, settings: dict[str, Any], size: int, seconds: float, check: Callable[[], Exchange]
    ) -> None:
        self._settings = settings
        self._size = size
        self._seconds = seconds
        self._check = check
        self._renew()

    def _renew(self) -> None:
        self._idle: list[Any] = []
        # The cursors of open connections. An interrupt may lose one, which then leaves the set by itself.
        self._open_now: weakref.WeakSet[Any] = weakref.WeakSet()
        self._turn = threading.Condition()
        self._waiting = 0
        self._process = os.getpid()

    def ask(self, statement: str, parameters: Any) -> list[tuple[Any, ...]]:
        """Send a statement, and return its rows."""
        if self._process != os.getpid():
            self._begin_child()
        idle = self._idle
        try:
            cursor = idle.pop()
        except IndexError:
            cursor = None
        cursor = cursor or self._wait_or_open()
        healthy = False
        try:
            rows = _rows(cursor.execute(statement, parameters), parameters)
            healthy = True
        except Exception:
            healthy = _is_idle(cursor.connection)
            raise
        finally:
            self._give_back(cursor, idle, healthy=healthy)
        return rows

    def _give_back(self, cursor: Any, idle: list[Any], *, healthy: bool) -> None:
        if healthy and idle is self._idle and self._process == os.getpid():
            idle.append(cursor)
        else:
            cursor.connection.close()
            self._open_now.discard(cursor)
        if self._waiting:
            with self._turn:
                self._turn.notify()

    def _wait_or_open(self) -> Any:
        until = time.monotonic() + self._seconds
        with self._turn:
            self._waiting += 1
            try:
                while len(self._open_now) >= self._size:
                    with suppress(IndexError):
                        return self._idle.pop()
                    if time.monotonic() > until:
                        raise _exhausted(self._size, self._seconds)
                    self._turn.wait(_INTERVAL)  # not longer, because a lost connection tells nobody
                opening = _Opening()
                self._open_now.add(opening)
            finally:
                self._waiting -= 1
        try:
            cursor = self._open()
            self._open_now.add(cursor)
        finally:
            self._open_now.discard(opening)
        return cursor

    def _open(self) -> Any:
        return open_cursor(self._settings, self._seconds, self._check)[0]

    def _begin_child(self) -> None:
        with _child_lock:
            if self._process != os.getpid():
                _inherited.append(self._idle)
                self._renew()

    def drop_idle(self) -> None:
        """Close the idle connections, also those that are in use now, as soon as they are returned."""
        if self._process != os.getpid():
            self._begin_child()
        idle, self._idle = self._idle, []
        with suppress(IndexError):  # another thread may take one
            while True:
                self._give_back(idle.pop(), idle, healthy=False)

    close = drop_idle


def open_cursor(settings: dict[str, Any], seconds: float, check: Callable[[], Exchange]) -> tuple[Any, bool]:
    """Return the cursor of a new connection, and whether it leads to a pooler.

    Parameters
    ----------
    settings, seconds, check
        As for :class:`BlockingPool`.
    """
    connection = _Connection.connect(autocommit=True, row_factory=tuple_row, **_options(settings, seconds))
    connection.idle_seconds = seconds
    try:
        cursor = connection.cursor()
        is_pooled = _disable_prepared(connection, perform(check(), Blocking(cursor)))
    except BaseException:
        connection.close()
        raise
    return cursor, is_pooled


class Blocking:
    """Performs the requests of an exchange on one cursor."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def ask(self, statement: str, parameters: Any) -> list[tuple[Any, ...]]:
        """Send a statement, and return its rows."""
        return _rows(self._cursor.execute(statement, parameters), parameters)


class _Async:
    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    async def ask(self, statement: str, parameters: Any) -> list[tuple[Any, ...]]:
        cursor = await self._cursor.execute(statement, parameters)
        return [] if parameters is None else await cursor.fetchall()


_child_lock = threading.Lock()


class AsyncPool:
    """:class:`BlockingPool` for one event loop. It is closed when its ``async with`` block ends."""

    def __init__(
        self, settings: dict[str, Any], size: int, seconds: float, check: Callable[[], Exchange]
    ) -> None:
        self._settings = settings
        self._size = size
        self._seconds = seconds
        self._check = check
        self._idle: list[Any] = []
        self._free = asyncio.Semaphore(size)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.drop_idle()

    async def ask(self, statement: str, parameters: Any) -> list[tuple[Any, ...]]:
        """Send a statement, and return its rows."""
        async with self._lend() as cursor:
            return await _Async(cursor).ask(statement, parameters)

    @asynccontextmanager
    async def _lend(self) -> AsyncIterator[Any]:
        if self._free.locked():
            try:
                async with asyncio.timeout(self._seconds):
                    await self._free.acquire()
            except TimeoutError:
                raise _exhausted(self._size, self._seconds) from None
        else:
            await self._free.acquire()  # which does not wait
        idle = self._idle
        cursor = None
        healthy = False
        try:
            cursor = idle.pop() if idle else await self._open()
            yield cursor
            healthy = True
        except Exception:
            healthy = cursor is not None and _is_idle(cursor.connection)
            raise
        finally:
            self._free.release()
            if cursor is not None:
                if healthy and idle is self._idle:
                    idle.append(cursor)
                else:
                    await cursor.connection.close()

    async def _open(self) -> Any:
        connection = await _AsyncConnection.connect(
            autocommit=True, row_factory=tuple_row, **_options(self._settings, self._seconds)
        )
        connection.idle_seconds = self._seconds
        try:
            cursor = connection.cursor()
            _disable_prepared(connection, await perform_async(self._check(), _Async(cursor)))
        except BaseException:
            await connection.close()
            raise
        return cursor

    async def drop_idle(self) -> None:
        """Close the idle connections, also those that are in use now, as soon as they are returned."""
        idle, self._idle = self._idle, []
        while idle:
            await idle.pop().connection.close()


class BlockingSupplied:
    """Borrows connections from a pool or a callable of the user.

    Parameters
    ----------
    source
        A pool of psycopg, or a callable that returns a connection, or a context manager that gives one.
    check
        Returns the exchange that checks a new connection.
    """

    def __init__(self, source: Any, check: Callable[[], Exchange]) -> None:
        self._lend = _lender(source)
        self._drain = getattr(source, "drain", None)  # pools have it since version 3.3
        self._check = check
        self._prepare: bool | None = False
        self._checked = False

    def ask(self, statement: str, parameters: Any) -> list[tuple[Any, ...]]:
        """Send a statement, and return its rows."""
        with self._lend() as connection:
            _require_idle(connection, asynchronous=False)
            own_mode = connection.autocommit
            if not own_mode:
                connection.autocommit = True
            try:
                cursor = connection.cursor(row_factory=tuple_row)
                if not self._checked:
                    pid = perform(self._check(), Blocking(cursor))
                    self._prepare = None if pid == connection.info.backend_pid else False
                    self._checked = True
                cursor.execute(statement, parameters, prepare=self._prepare)
                return _rows(cursor, parameters)
            finally:
                if not own_mode and _is_idle(connection):
                    connection.autocommit = False

    def drop_idle(self) -> None:
        """Make a pool replace its connections, and check the next one again."""
        self._checked = False
        if self._drain is not None:
            self._drain()

    def close(self) -> None:
        """Do nothing: the connections belong to the user."""


class AsyncSupplied:
    """:class:`BlockingSupplied` for async connections."""

    def __init__(self, source: Any, check: Callable[[], Exchange]) -> None:
        self._lend = _lender(source)
        self._drain = getattr(source, "drain", None)  # pools have it since version 3.3
        self._check = check
        self._prepare: bool | None = False
        self._checked = False

    async def ask(self, statement: str, parameters: Any) -> list[tuple[Any, ...]]:
        """Send a statement, and return its rows."""
        lent = self._lend()
        if inspect.isawaitable(lent) and not hasattr(lent, "__aenter__"):
            lent = await lent
        async with lent as connection:
            _require_idle(connection, asynchronous=True)
            own_mode = connection.autocommit
            if not own_mode:
                await connection.set_autocommit(True)
            try:
                cursor = connection.cursor(row_factory=tuple_row)
                if not self._checked:
                    pid = await perform_async(self._check(), _Async(cursor))
                    self._prepare = None if pid == connection.info.backend_pid else False
                    self._checked = True
                await cursor.execute(statement, parameters, prepare=self._prepare)
                return [] if parameters is None else await cursor.fetchall()
            finally:
                if not own_mode and _is_idle(connection):
                    await connection.set_autocommit(False)

    async def drop_idle(self) -> None:
        """Make a pool replace its connections, and check the next one again."""
        self._checked = False
        if self._drain is not None:
            await self._drain()


def _lender(source: Any) -> Callable[[], Any]:
    lend: Callable[[], Any] = source.connection if callable(getattr(source, "connection", None)) else source
    return lend


def _rows(cursor: Any, parameters: Any) -> list[tuple[Any, ...]]:
    # Statements without parameters define data, and return no rows.
    return [] if parameters is None else cursor.fetchall()


def _is_idle(connection: Any) -> bool:
    return not connection.closed and connection.info.transaction_status == _IDLE


def _disable_prepared(connection: Any, pid: int) -> bool:
    """Prepare no statements through a pooler, whose sessions may have others under the same names.

    Return whether it is a pooler.

    Parameters
    ----------
    connection
        The connection.
    pid
        The process id of the session. A pooler reports another one when it accepts a connection.
    """
    is_pooled: bool = pid != connection.info.backend_pid
    if is_pooled:
        connection.prepare_threshold = None
    return is_pooled


def _require_idle(connection: Any, *, asynchronous: bool) -> None:
    kind = psycopg.AsyncConnection if asynchronous else psycopg.Connection
    if not isinstance(connection, kind):
        raise IdempotencyPersistenceConfigError(
            f"The layer got a {type(connection).__module__}.{type(connection).__qualname__}, and needs a "
            f"psycopg.{kind.__name__}. Nothing was sent."
        )
    if not connection.closed and connection.info.transaction_status != _IDLE:
        raise IdempotencyPersistenceConfigError(
            "The layer got a connection that is in a transaction. A claim must not depend on its commit. "
            "Nothing was sent. Give the layer connections of its own."
        )


def _exhausted(size: int, seconds: float) -> PoolExhaustedError:
    return PoolExhaustedError(f"all {size} connections were in use for {seconds:g} seconds, nothing was sent")
