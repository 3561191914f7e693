"""Connections of an application, as completion within its transactions uses them.

Each class adapts one kind of connection. It knows whether a transaction is open, and sends statements through
it; it never begins or commits one. Libraries are recognized if they are loaded, and never imported here.
"""

# ruff: noqa: D102 - the base class documents the methods

import re
import sqlite3
import sys
import weakref
from collections.abc import Callable
from functools import cached_property
from typing import Any

from .within import (
    HAS_FAILED,
    IN_SAVEPOINT,
    MYSQL,
    NO_TRANSACTION,
    NOT_VISIBLE,
    POSTGRESQL,
    ROLLED_BACK,
    SQLITE,
    Client,
    Problem,
)

_PLACE = re.compile("\0([a-z]+)\0")


def _named(statement: str) -> str:
    return _PLACE.sub(r"%(\1)s", statement.replace("%", "%%"))


class _Mark:
    """Stands for one transaction of a connection of sqlite3."""


_marks: "weakref.WeakValueDictionary[int, _Mark]" = weakref.WeakValueDictionary()
"""The latest one by the id of its connection, which the client with the mark keeps alive."""


class SQLiteClient(Client):
    """A connection of the module sqlite3.

    SQLite numbers no transactions. But it switches the setting ``defer_foreign_keys`` off at each COMMIT and
    ROLLBACK, and at nothing else. So the setting marks a transaction, where no foreign keys are enforced and
    it means nothing otherwise.
    """

    dialect = SQLITE
    _mark: _Mark | None = None

    def is_open(self) -> bool:
        try:
            return bool(self.given.in_transaction)
        except sqlite3.ProgrammingError:  # it is closed
            return False

    def require(self, *, savepoint: bool) -> None:  # noqa: ARG002 - SQLite does not show savepoints
        if not self.is_open():
            raise Problem(
                NO_TRANSACTION,
                "the connection is in no transaction. Execute BEGIN IMMEDIATE, or write the effect first",
            )
        if not self._pragma("foreign_keys"):
            self._mark = _marks.get(id(self.given)) if self._pragma("defer_foreign_keys") else None
            if self._mark is None:
                self._mark = _marks[id(self.given)] = _Mark()
                self.given.execute("PRAGMA defer_foreign_keys = ON")

    def is_same(self) -> bool | None:
        if self._mark is None:
            return None
        return self._pragma("defer_foreign_keys") and _marks.get(id(self.given)) is self._mark

    def _pragma(self, name: str) -> bool:
        return bool(self._cursor(f"PRAGMA {name}", {}).fetchone()[0])

    def rows(self, statement: str, given: dict[str, Any]) -> Any:
        return self._cursor(statement, given).fetchall()

    def changed(self, statement: str, given: dict[str, Any]) -> int:
        return int(self._cursor(statement, given).rowcount)

    def _cursor(self, statement: str, given: dict[str, Any]) -> Any:
        cursor = self.given.cursor()
        cursor.row_factory = None
        return cursor.execute(_PLACE.sub(r":\1", statement), given)

    def roll_back(self) -> None:
        if getattr(self.given, "autocommit", None) is False:
            self.given.rollback()  # which begins the next transaction
        elif self.is_open():
            self.given.execute("ROLLBACK")


_PSYCOPG_OPEN = (2, 3)
"""INTRANS and INERROR, of libpq's transaction states."""


class PsycopgClient(Client):
    """A connection of psycopg 3."""

    dialect = POSTGRESQL

    def is_open(self) -> bool:
        return not self.given.closed and self.given.info.transaction_status in _PSYCOPG_OPEN

    def require(self, *, savepoint: bool) -> None:  # noqa: ARG002 - the statement itself detects one
        if self.given.info.pipeline_status and not self.is_open():
            raise Problem(
                NO_TRANSACTION,
                "the connection is in pipeline mode, and the server has not confirmed that it is in a "
                "transaction. Call sync() on the pipeline first, or complete outside of it",
            )
        if not self.is_open():
            raise Problem(
                NO_TRANSACTION,
                "the connection is in no transaction. Use `with connection.transaction():`, or write the "
                "effect first",
            )
        if self.given.info.transaction_status == _PSYCOPG_OPEN[1]:
            raise Problem(ROLLED_BACK, HAS_FAILED)

    def rows(self, statement: str, given: dict[str, Any]) -> Any:
        with self._cursor() as cursor:
            return cursor.execute(_named(statement), given, prepare=False).fetchall()

    def _cursor(self) -> Any:
        return self.given.cursor(row_factory=sys.modules["psycopg.rows"].tuple_row)


class AsyncPsycopgClient(PsycopgClient):
    """An async connection of psycopg 3."""

    asynchronous = True

    async def require(self, *, savepoint: bool) -> None:  # type: ignore[override]  # awaited
        super().require(savepoint=savepoint)

    async def rows(self, statement: str, given: dict[str, Any]) -> Any:
        async with self._cursor() as cursor:
            await cursor.execute(_named(statement), given, prepare=False)
            return await cursor.fetchall()


class SQLAlchemyClient(Client):
    """A Connection or a Session of SQLAlchemy, which has an object for each transaction."""

    knows_savepoints = True
    _noted: tuple[Any, Any] | None = None
    """The connection, and its transaction that was completed in."""

    @property
    def dialect(self) -> str:  # type: ignore[override]  # of the database, which only the object knows
        connection = self._connections[0] if self._is_session else self.given
        name: str = connection.dialect.name
        return MYSQL if name == "mariadb" else name

    @property
    def _is_session(self) -> bool:
        return hasattr(self.given, "flush")

    def is_open(self) -> bool:
        if self._noted is not None and not self.is_over():
            return True  # also if a session has left the transaction, because others have begun it
        return not getattr(self.given, "closed", False) and bool(self.given.in_transaction())

    def require(self, *, savepoint: bool) -> None:
        given = self.given
        if not self.is_open():
            raise Problem(NO_TRANSACTION, "it is in no transaction. Write the effect first, or use begin()")
        if self._is_session:
            given.flush()  # so that the effect is written before its record
            self._require_one_connection()
        nested = given.in_nested_transaction() or self._connection.in_nested_transaction()
        if nested and not savepoint:
            raise Problem(
                IN_SAVEPOINT,
                "it is in a savepoint, which could be rolled back alone. Complete outside of it, or pass "
                "savepoint=True",
            )
        if _commits_itself(self._connection):
            raise Problem(
                NO_TRANSACTION, "it is in autocommit mode, which commits the effect and the record separately"
            )
        connection = self._connection
        self._noted = connection, connection.get_transaction()

    def is_over(self) -> bool:
        if self._noted is None:
            return False
        connection, transaction = self._noted
        return connection.invalidated or connection.get_transaction() is not transaction

    def is_same(self) -> Any:
        return True  # or it would be over

    def _require_one_connection(self) -> None:
        """Refuse a session whose effects are on several connections, which are committed one by one."""
        count = len(self._connections)
        if count > 1:
            raise Problem(
                NOT_VISIBLE,
                f"the session uses {count} connections, which are committed one after the other. Write the "
                "effect by a session that uses only the database of the records",
            )
        if count == 0:
            try:
                self.given.connection()
            except sys.modules["sqlalchemy.exc"].UnboundExecutionError:
                raise Problem(
                    NO_TRANSACTION,
                    "the session has begun no transaction, and has no engine for all its tables. Write the "
                    "effect first",
                ) from None

    @property
    def _connections(self) -> list[Any]:
        """The connections of the session's transaction. They are known by its engine and by themselves."""
        transaction = self.given.get_transaction()
        used = [] if transaction is None else [each[0] for each in transaction._connections.values()]
        return list({id(connection): connection for connection in used}.values())

    @property
    def _connection(self) -> Any:
        if not self._is_session:
            return self.given
        used = self._connections
        # Asked of the session, which sets a savepoint only when the connection is used.
        return self.given.connection(bind_arguments={"bind": used[0].engine} if used else None)

    def rows(self, statement: str, given: dict[str, Any]) -> Any:
        return [tuple(row) for row in self._execute(statement, given).all()]

    def changed(self, statement: str, given: dict[str, Any]) -> int:
        return int(self._execute(statement, given).rowcount)

    def _execute(self, statement: str, given: dict[str, Any]) -> Any:
        sqlalchemy: Any = sys.modules["sqlalchemy"]
        text = sqlalchemy.text(_PLACE.sub(r":\1", statement.replace(":", r"\:")))
        connection = self._connection if self._noted is None else self._noted[0]
        try:
            return connection.execute(text, given, execution_options={"preserve_rowcount": True})
        except sqlalchemy.exc.StatementError as error:
            error.hide_parameters = True  # they contain the result
            raise

    def roll_back(self) -> None:
        self.given.rollback()
        if self._noted is not None and not self.is_over():
            self._noted[1].rollback()


def _commits_itself(connection: Any) -> bool:
    """Return whether the driver below a Connection commits each statement."""
    adapted = connection.connection.dbapi_connection
    driver = getattr(adapted, "driver_connection", adapted)
    if connection.dialect.name == SQLITE:
        inner = getattr(driver, "_conn", driver)  # of aiosqlite
        begins_none = driver.isolation_level is None or getattr(inner, "autocommit", None) is True
        return begins_none and not driver.in_transaction
    for candidate in (adapted, driver):
        mode = getattr(candidate, "get_autocommit", None)
        mode = getattr(candidate, "autocommit", None) if mode is None else mode()
        if isinstance(mode, bool | int):
            return bool(mode)
    return bool(connection.get_isolation_level() == "AUTOCOMMIT")


class AsyncSQLAlchemyClient(Client):
    """An AsyncConnection or an AsyncSession of SQLAlchemy."""

    asynchronous = True
    knows_savepoints = True

    @cached_property
    def _inner(self) -> SQLAlchemyClient:
        given = self.given
        inner = given.sync_session if hasattr(given, "sync_session") else given.sync_connection
        return SQLAlchemyClient(inner)

    @property
    def dialect(self) -> str:  # type: ignore[override]  # as above
        return self._inner.dialect if self._is_connected else ""

    @property
    def _is_connected(self) -> bool:
        return hasattr(self.given, "sync_session") or self.given.sync_connection is not None

    def is_open(self) -> bool:
        return self._is_connected and self._inner.is_open()

    async def require(self, *, savepoint: bool) -> None:
        if not self._is_connected:
            raise Problem(NO_TRANSACTION, "it is not connected. Use `async with engine.begin()`")
        await self._run(lambda inner: inner.require(savepoint=savepoint))

    def is_over(self) -> bool:
        return self._inner.is_over()

    async def is_same(self) -> Any:
        return self._inner.is_same()

    async def rows(self, statement: str, given: dict[str, Any]) -> Any:
        return await self._run(lambda inner: inner.rows(statement, given))

    async def changed(self, statement: str, given: dict[str, Any]) -> Any:
        return await self._run(lambda inner: inner.changed(statement, given))

    async def roll_back(self) -> None:
        await self._run(lambda inner: inner.roll_back())

    async def _run(self, work: Callable[[SQLAlchemyClient], Any]) -> Any:
        return await self.given.run_sync(lambda _: work(self._inner))


class DjangoClient(Client):
    """A connection of Django."""

    @property
    def dialect(self) -> str:  # type: ignore[override]  # of the database, which only the object knows
        return str(self.given.vendor)

    def is_open(self) -> bool:
        # The attribute, because Django refuses get_autocommit() on an event loop, where an async call ends.
        return self.given.connection is not None and (self.given.in_atomic_block or not self.given.autocommit)

    def require(self, *, savepoint: bool) -> None:
        given = self.given
        if not self.is_open():
            raise Problem(NO_TRANSACTION, "it is in no transaction. Use transaction.atomic()")
        if given.needs_rollback:
            raise Problem(ROLLED_BACK, "an error has marked the transaction, so it cannot commit")
        if any(given.savepoint_ids) and not savepoint:
            raise Problem(
                IN_SAVEPOINT,
                "it is in a nested atomic block, a savepoint that could be rolled back alone. Use "
                "atomic(savepoint=False), complete outside of the block, or pass savepoint=True",
            )

    def rows(self, statement: str, given: dict[str, Any]) -> Any:
        with self.given.cursor() as cursor:
            cursor.execute(_named(statement), given or None)
            return cursor.fetchall()

    def changed(self, statement: str, given: dict[str, Any]) -> int:
        with self.given.cursor() as cursor:
            cursor.execute(_named(statement), given)
            return int(cursor.rowcount)

    def roll_back(self) -> None:
        if not self.given.in_atomic_block:
            self.given.rollback()
            return
        if not self.given.needs_rollback:
            with self.given.cursor() as cursor:
                cursor.execute("ROLLBACK")
        self.given.set_rollback(True)


def client_of(within: Any) -> Client | None:
    """Return the client for a connection of the application; None for an unknown kind."""
    if isinstance(within, sqlite3.Connection):
        return SQLiteClient(within)
    known: list[tuple[str, str, type[Client]]] = [
        ("psycopg", "Connection", PsycopgClient),
        ("psycopg", "AsyncConnection", AsyncPsycopgClient),
        ("sqlalchemy", "Connection", SQLAlchemyClient),
        ("sqlalchemy.orm", "Session", SQLAlchemyClient),
        ("sqlalchemy.orm", "scoped_session", SQLAlchemyClient),
        ("sqlalchemy.ext.asyncio", "AsyncConnection", AsyncSQLAlchemyClient),
        ("sqlalchemy.ext.asyncio", "AsyncSession", AsyncSQLAlchemyClient),
        ("sqlalchemy.ext.asyncio", "async_scoped_session", AsyncSQLAlchemyClient),
        ("django.db.backends.base.base", "BaseDatabaseWrapper", DjangoClient),
        ("django.utils.connection", "ConnectionProxy", DjangoClient),
    ]
    for module, name, kind in known:
        loaded = getattr(sys.modules.get(module), name, None)
        if loaded is not None and isinstance(within, loaded):
            return kind(_unwrapped(within))
    return None


def _unwrapped(within: Any) -> Any:
    """Return the session of a scoped session, and the connection behind Django's proxy."""
    if type(within).__name__ == "ConnectionProxy":
        return within._connections[within._alias]
    registry = getattr(within, "registry", None)
    return registry() if callable(registry) else within
