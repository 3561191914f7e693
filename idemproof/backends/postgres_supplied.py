"""Connections to PostgreSQL that the user supplies to a layer, from a pool or a callable."""

import inspect
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from ..drivers.exchanges import Exchange, perform, perform_async
from ..spec.errors import IdempotencyPersistenceConfigError
from .postgres_connections import IDLE, Async, Blocking, is_idle, rows_of


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
                return rows_of(cursor, parameters)
            finally:
                if not own_mode and is_idle(connection):
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
                    pid = await perform_async(self._check(), Async(cursor))
                    self._prepare = None if pid == connection.info.backend_pid else False
                    self._checked = True
                await cursor.execute(statement, parameters, prepare=self._prepare)
                return [] if parameters is None else await cursor.fetchall()
            finally:
                if not own_mode and is_idle(connection):
                    await connection.set_autocommit(False)

    async def drop_idle(self) -> None:
        """Make a pool replace its connections, and check the next one again."""
        self._checked = False
        if self._drain is not None:
            await self._drain()


def _lender(source: Any) -> Callable[[], Any]:
    lend: Callable[[], Any] = source.connection if callable(getattr(source, "connection", None)) else source
    return lend


def _require_idle(connection: Any, *, asynchronous: bool) -> None:
    kind = psycopg.AsyncConnection if asynchronous else psycopg.Connection
    if not isinstance(connection, kind):
        raise IdempotencyPersistenceConfigError(
            f"The layer got a {type(connection).__module__}.{type(connection).__qualname__}, and needs a "
            f"psycopg.{kind.__name__}. Nothing was sent."
        )
    if not connection.closed and connection.info.transaction_status != IDLE:
        raise IdempotencyPersistenceConfigError(
            "The layer got a connection that is in a transaction. A claim must not depend on its commit. "
            "Nothing was sent. Give the layer connections of its own."
        )
