"""Pools of the PostgreSQL layers' own connections."""

import asyncio
import os
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import psycopg

from ..drivers.exchanges import Exchange
from .postgres_connections import INTERVAL, Async, is_idle, open_cursor, open_cursor_async, rows_of

_inherited: list[Any] = []
"""Connections of a parent process. They are neither used nor closed here."""


class PoolExhaustedError(psycopg.OperationalError):
    """All connections are in use."""


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
            rows = rows_of(cursor.execute(statement, parameters), parameters)
            healthy = True
        except Exception:
            healthy = is_idle(cursor.connection)
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
                    self._turn.wait(INTERVAL)  # not longer, because a lost connection tells nobody
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
            return await Async(cursor).ask(statement, parameters)

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
            healthy = cursor is not None and is_idle(cursor.connection)
            raise
        finally:
            self._free.release()
            if cursor is not None:
                if healthy and idle is self._idle:
                    idle.append(cursor)
                else:
                    await cursor.connection.close()

    async def _open(self) -> Any:
        return await open_cursor_async(self._settings, self._seconds, self._check)

    async def drop_idle(self) -> None:
        """Close the idle connections, also those that are in use now, as soon as they are returned."""
        idle, self._idle = self._idle, []
        while idle:
            await idle.pop().connection.close()


def _exhausted(size: int, seconds: float) -> PoolExhaustedError:
    return PoolExhaustedError(f"all {size} connections were in use for {seconds:g} seconds, nothing was sent")
