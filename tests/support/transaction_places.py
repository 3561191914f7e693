"""Databases with records and effects in one place, and the connections by which an application uses them."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from idemproof import (
    IdempotencyConfig,
    PostgresPersistenceLayer,
    SQLAlchemyPersistenceLayer,
    SQLitePersistenceLayer,
    idempotent_function,
)

LEASE_SECONDS = 30
PLACES = (
    "sqlite3",
    "psycopg",
    "SQLAlchemy on PostgreSQL",
    "SQLAlchemy on MariaDB",
    "SQLAlchemy on SQLite",
    "Session on PostgreSQL",
    "Session on MariaDB",
    "Session on SQLite",
    "Django on SQLite",
    "Django on PostgreSQL",
)
"""The kinds of connections that all tests use."""

ALSO_DJANGO_ON_MARIADB = pytest.mark.parametrize("place", [*PLACES, "Django on MariaDB"], indirect=True)
"""Marks what could be different there. Other tests have Django and MariaDB apart."""

WHAT = sa.text("INSERT INTO effects (what) VALUES (:what)")


class Place:
    """A database with a layer, and one kind of connection to it.

    Parameters
    ----------
    layer
        The layer over the database.
    connect
        Returns a new connection, in a transaction or not.
    observe
        Returns a new connection that sees what is committed, to execute a query with and get its rows.
    """

    savepoints_show = True
    """Whether a completion in a savepoint can be detected before it is written."""

    identifies_transactions = True
    """Whether it distinguishes a later transaction that writes from the one of the completion."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.opened: list[Any] = []

    def connect(self) -> Any:
        """Return a new connection."""
        raise NotImplementedError

    def new(self) -> Any:
        """Return a new connection that is closed at the end."""
        connection = self.connect()
        self.opened.append(connection)
        return connection

    def begin(self, connection: Any) -> None:
        """Begin a transaction, as far as the library does not by itself."""

    def act(self, connection: Any, what: str) -> None:
        """Let an effect happen."""
        connection.execute(WHAT, {"what": what})

    def commit(self, connection: Any) -> None:
        connection.commit()

    def roll_back(self, connection: Any) -> None:
        connection.rollback()

    @contextmanager
    def transaction(self, connection: Any) -> Iterator[None]:
        """Commit at the end, or roll back after an exception, as most code does."""
        self.begin(connection)
        try:
            yield
        except BaseException:
            self.roll_back(connection)
            raise
        self.commit(connection)

    def savepoint(self, connection: Any) -> Any:
        """Return a context manager for a savepoint, which is rolled back after an exception."""
        return connection.begin_nested()

    def query(self, statement: str) -> list[Any]:
        """Return the committed rows of a query."""
        raise NotImplementedError

    def change(self, statement: str) -> None:
        """Change the database behind the back of all others."""
        raise NotImplementedError

    def effects(self) -> list[str]:
        """Return the effects that are committed, in alphabetical order."""
        return sorted(what for (what,) in self.query("SELECT what FROM effects"))

    def records(self) -> list[str]:
        """Return the statuses of the committed records, in alphabetical order."""
        return sorted(_text(status) for (status,) in self.query("SELECT status FROM idempotency"))

    def steal(self) -> None:
        """Let another attempt take over every claim."""
        self.change("UPDATE idempotency SET owner = 'another' WHERE status = 'INPROGRESS'")

    def protect(self, body: Callable[..., Any], **settings: Any) -> Callable[..., Any]:
        """Return ``body``, whose argument ``what`` is its key, as a protected function."""
        options = {"in_progress_expires_after_seconds": LEASE_SECONDS, **settings}
        on_takeover = options.pop("on_takeover_asks", None)
        decorate = idempotent_function(
            data_keyword_argument="what",
            persistence_store=self.layer,
            config=IdempotencyConfig(**options),
            key_prefix="key",
            **({} if on_takeover is None else {"on_takeover": on_takeover}),
        )
        return decorate(body)  # type: ignore[no-any-return]

    def close(self) -> None:
        for connection in self.opened:
            connection.close()
        self.layer.close()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class _OverFile(Place):
    savepoints_show = False

    def __init__(self, layer: Any, path: Path) -> None:
        super().__init__(layer)
        self.path = path
        self.change("CREATE TABLE IF NOT EXISTS effects (what TEXT)")

    def query(self, statement: str) -> list[Any]:
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()

    def change(self, statement: str) -> None:
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            connection.execute(statement)
        finally:
            connection.close()


class SQLitePlace(_OverFile):
    """The module sqlite3."""

    def connect(self) -> Any:
        return sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)

    def begin(self, connection: Any) -> None:
        connection.execute("BEGIN")

    def act(self, connection: Any, what: str) -> None:
        connection.execute("INSERT INTO effects VALUES (?)", (what,))

    @contextmanager
    def savepoint(self, connection: Any) -> Iterator[None]:
        connection.execute("SAVEPOINT inner_one")
        try:
            yield
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK TO inner_one")
                connection.execute("RELEASE inner_one")
            raise
        connection.execute("RELEASE inner_one")


class _OnServer(Place):
    def __init__(self, layer: Any, dsn: str) -> None:
        super().__init__(layer)
        self.dsn = dsn
        self.change("CREATE TABLE IF NOT EXISTS effects (what text)")

    def query(self, statement: str) -> list[Any]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            return connection.execute(statement).fetchall()  # type: ignore[arg-type]  # a plain text

    def change(self, statement: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[arg-type]  # a plain text


class PsycopgPlace(_OnServer):
    """psycopg."""

    def connect(self) -> Any:
        return psycopg.connect(self.dsn)

    def begin(self, connection: Any) -> None:
        connection.execute("SELECT 1")

    def act(self, connection: Any, what: str) -> None:
        connection.execute("INSERT INTO effects VALUES (%s)", (what,))

    def savepoint(self, connection: Any) -> Any:
        return connection.transaction()


class SQLAlchemyPlace(Place):
    """A Connection of SQLAlchemy."""

    def __init__(self, layer: Any, engine: sa.Engine) -> None:
        super().__init__(layer)
        self.engine = engine
        text = "VARCHAR(100)"
        self.change(f"CREATE TABLE IF NOT EXISTS effects (what {text})")

    @property
    def savepoints_show(self) -> bool:  # type: ignore[override]  # SQLAlchemy knows them everywhere
        return True

    def connect(self) -> Any:
        return self.engine.connect()

    def begin(self, connection: Any) -> None:
        connection.begin()

    def query(self, statement: str) -> list[Any]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(statement))]

    def change(self, statement: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement))

    def close(self) -> None:
        super().close()
        self.engine.dispose()


class SessionPlace(SQLAlchemyPlace):
    """A Session of SQLAlchemy."""

    def connect(self) -> Any:
        return Session(self.engine)


def sqlite_place(folder: Path) -> Place:
    path = folder / "application.db"
    return SQLitePlace(SQLitePersistenceLayer(path, table="idempotency"), path)


def psycopg_place(dsn: str) -> Place:
    layer = PostgresPersistenceLayer(dsn)
    layer.create_table()
    return PsycopgPlace(layer, dsn)


def sqlalchemy_place(url: str, kind: type[SQLAlchemyPlace] = SQLAlchemyPlace) -> Place:
    engine = sa.create_engine(url)
    layer = SQLAlchemyPersistenceLayer(engine)
    layer.create_table()
    return kind(layer, engine)
