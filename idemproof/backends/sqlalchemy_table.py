"""The table of the SQLAlchemy layers, and what they require of a table that already exists."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    Connection,
    Index,
    MetaData,
    String,
    Table,
    Text,
    event,
    inspect,
    text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import NoSuchTableError
from sqlalchemy.types import TypeDecorator, TypeEngine, _Binary

from ..spec.errors import IdempotencyPersistenceConfigError

MYSQL = ("mysql", "mariadb")
POSTGRESQL = "postgresql"
SQLITE = "sqlite"

COLUMNS = ("id", "status", "expiration", "in_progress_expiration", "data", "validation", "owner")
"""The columns, in the order of the fields of a record."""

LONGEST_KEYS = {POSTGRESQL: 2690, "mysql": 3072, "mariadb": 3072}
"""The most bytes of a key, as UTF-8. PostgreSQL and InnoDB index no longer ones."""

LONGEST_KEY_ELSEWHERE = 450
"""The characters of a key in other databases. SQL Server indexes 900 bytes."""


class StoredText(TypeDecorator[str]):
    """Text that the database stores and compares byte by byte.

    MySQL and MariaDB compare text by a collation, which may ignore case, accents and trailing spaces, and may
    cut it off. There it is stored as UTF-8 in a binary column.

    Parameters
    ----------
    length
        The length for databases that require one; None for text of any length.
    key
        Whether it is the key.
    """

    impl = Text
    cache_ok = True

    def __init__(self, length: int | None = None, *, key: bool = False) -> None:
        super().__init__()
        self.length = length
        self.key = key

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type of the column in a database."""
        kind: TypeEngine[Any]
        if dialect.name in MYSQL:
            kind = mysql.VARBINARY(LONGEST_KEYS["mysql"]) if self.key else mysql.LONGBLOB()
        elif dialect.name == POSTGRESQL and self.key:
            kind = Text(collation="C")
        elif dialect.name in (POSTGRESQL, SQLITE) or self.length is None:
            kind = Text()
        else:
            kind = String(self.length)
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """Return what the driver gets."""
        return value if value is None or dialect.name not in MYSQL else value.encode()

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002 - as SQLAlchemy calls it
        """Return what the layer gets."""
        return bytes(value).decode() if isinstance(value, bytes | bytearray | memoryview) else value


def idempotency_table(metadata: MetaData, name: str = "idempotency", *, schema: str | None = None) -> Table:
    """Add the table of a :class:`~idemproof.SQLAlchemyPersistenceLayer` to ``metadata``.

    With it, ``metadata.create_all`` and Alembic create the table together with those of the application.

    Parameters
    ----------
    metadata
        The application's metadata.
    name
        The name of the table.
    schema
        The schema of the table; the connection's default if not given.
    """
    table = Table(
        name,
        metadata,
        Column("id", StoredText(LONGEST_KEY_ELSEWHERE, key=True), primary_key=True),
        Column("status", StoredText(16), nullable=False),
        Column("expiration", BigInteger, nullable=False),
        Column("in_progress_expiration", BigInteger),
        Column("data", StoredText()),
        Column("validation", StoredText(512)),
        Column("owner", StoredText(2000)),
        # PostgreSQL updates a row within its page only if no B-tree has the columns that change.
        Index(f"{name}_by_expiration", "expiration", postgresql_using="brin"),
        schema=schema,
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
        mariadb_engine="InnoDB",
        mariadb_row_format="DYNAMIC",
    )
    # With space in the page. As a parameter of the table it needs a newer SQLAlchemy.
    space = DDL("ALTER TABLE %(fullname)s SET (fillfactor = 70)")  # type: ignore[no-untyped-call]
    event.listen(table, "after_create", space.execute_if(dialect=POSTGRESQL))
    return table


def largest_packet(connection: Connection) -> int | None:
    """Return how many bytes a statement may have, if the server limits that."""
    if connection.dialect.name not in MYSQL:
        return None
    return int(connection.scalar(text("SELECT @@max_allowed_packet")))


def require_own_table(connection: Connection, table: Table) -> None:
    """Refuse a table that does not exist, or in which a claim could be lost or granted twice.

    Raises
    ------
    IdempotencyPersistenceConfigError
        It is missing, or it is not a table of the layer.
    """
    if not connection.dialect.supports_sane_rowcount:
        raise IdempotencyPersistenceConfigError(
            f"The driver {connection.dialect.driver!r} does not report how many rows a statement changed, so "
            "a layer cannot detect a lost race. Nothing ran. Use another driver."
        )
    inspector = inspect(connection)
    try:
        columns = {each["name"]: each for each in inspector.get_columns(table.name, table.schema)}
    except NoSuchTableError:
        raise missing_table(table) from None
    lacking = [name for name in COLUMNS if name not in columns]
    if lacking:
        raise _foreign(table, f"it has no column {lacking[0]!r}")
    for name, column in columns.items():
        if name not in COLUMNS and not column["nullable"] and column.get("default") is None:
            raise _foreign(table, f"its column {name!r} requires a value")
    unique = [inspector.get_pk_constraint(table.name, table.schema)["constrained_columns"]]
    if unique != [["id"]]:
        raise _foreign(table, "its primary key is not 'id' alone")
    check = _CHECKS.get(connection.dialect.name)
    if check is not None:
        check(connection, table, columns)


def missing_table(table: Table) -> IdempotencyPersistenceConfigError:
    """Return the error for a table that does not exist. It may pass, because a migration may create it."""
    error = IdempotencyPersistenceConfigError(
        f"The table {table.fullname!r} does not exist. Nothing was written. Create it with the layer's "
        "create_table(), or add idempotency_table(metadata) to your migrations."
    )
    error.may_pass = True
    return error


def _foreign(table: Table, why: str) -> IdempotencyPersistenceConfigError:
    return IdempotencyPersistenceConfigError(
        f"The table {table.fullname!r} is not a table of this layer: {why}. Nothing was written. Use another "
        "name, and create the table with create_table() or idempotency_table(metadata)."
    )


def _check_mysql(connection: Connection, table: Table, columns: dict[str, Any]) -> None:
    options = inspect(connection).get_table_options(table.name, table.schema)
    engine = options.get(f"{connection.dialect.name}_engine")
    if str(engine).lower() != "innodb":
        raise _foreign(
            table, f"its storage engine is {engine}, and only InnoDB has row locks and transactions"
        )
    for name in ("id", "status", "data", "validation", "owner"):
        if not isinstance(columns[name]["type"], _Binary):
            raise _foreign(table, f"its column {name!r} is not binary, so a collation would compare it")


def _check_postgresql(connection: Connection, table: Table, columns: dict[str, Any]) -> None:  # noqa: ARG001
    named = connection.dialect.identifier_preparer.format_table(table)
    kind = connection.scalar(
        text("SELECT relpersistence::text FROM pg_class WHERE oid = to_regclass(:named)"), {"named": named}
    )
    if kind in ("u", "t"):
        raise _foreign(table, "an unlogged or temporary table loses its records after a crash")


_CHECKS: dict[str, Callable[[Connection, Table, dict[str, Any]], None]] = {
    "mysql": _check_mysql,
    "mariadb": _check_mysql,
    POSTGRESQL: _check_postgresql,
}
