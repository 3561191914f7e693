"""Connections to PostgreSQL, which give up a server that does not answer.

This module loads psycopg, so layers import it when they are used.
"""

import time
from collections.abc import Callable, Generator
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from ..drivers.exchanges import Exchange, perform, perform_async

INTERVAL = 0.1
"""How often a wait for the server looks at the time, in seconds."""

IDLE = TransactionStatus.IDLE


def _keep_quiet(_connection: Any, *_: Any) -> None:
    """Allow closing the socket without a warning. An interrupt may lose a connection, a fork inherits it."""


class _Connection(psycopg.Connection[Any]):
    """A connection that gives up a server that does not answer."""

    idle_seconds: float = 0.0
    __del__ = _keep_quiet

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        return super().wait(_bounded(gen, self.idle_seconds), *args, **{"interval": INTERVAL, **kwargs})


class _AsyncConnection(psycopg.AsyncConnection[Any]):
    """:class:`_Connection` for event loops."""

    idle_seconds: float = 0.0
    __del__ = _keep_quiet

    async def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        return await super().wait(_bounded(gen, self.idle_seconds), *args, **{"interval": INTERVAL, **kwargs})


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


def open_cursor(settings: dict[str, Any], seconds: float, check: Callable[[], Exchange]) -> tuple[Any, bool]:
    """Return the cursor of a new connection, and whether it leads to a pooler.

    Parameters
    ----------
    settings
        The parameters of a connection.
    seconds
        How long to wait for the login, and for an answer.
    check
        Returns the exchange that checks a new connection, and returns the process id that the server reports.
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


async def open_cursor_async(settings: dict[str, Any], seconds: float, check: Callable[[], Exchange]) -> Any:
    """Return the cursor of a new connection for event loops; the rest as for :func:`open_cursor`."""
    connection = await _AsyncConnection.connect(
        autocommit=True, row_factory=tuple_row, **_options(settings, seconds)
    )
    connection.idle_seconds = seconds
    try:
        cursor = connection.cursor()
        _disable_prepared(connection, await perform_async(check(), Async(cursor)))
    except BaseException:
        await connection.close()
        raise
    return cursor


class Blocking:
    """Performs the requests of an exchange on one cursor."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def ask(self, statement: str, parameters: Any) -> list[tuple[Any, ...]]:
        """Send a statement, and return its rows."""
        return rows_of(self._cursor.execute(statement, parameters), parameters)


class Async:
    """:class:`Blocking` for event loops."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    async def ask(self, statement: str, parameters: Any) -> list[tuple[Any, ...]]:
        """Send a statement, and return its rows."""
        cursor = await self._cursor.execute(statement, parameters)
        return [] if parameters is None else await cursor.fetchall()


def rows_of(cursor: Any, parameters: Any) -> list[tuple[Any, ...]]:
    """Return the rows of a statement. Without parameters it defines data, and returns none."""
    return [] if parameters is None else cursor.fetchall()


def is_idle(connection: Any) -> bool:
    """Return whether a connection is open, and in no transaction."""
    return not connection.closed and connection.info.transaction_status == IDLE


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
