"""The table of a SQLite layer: its statements, and the checks of a table in a file of an application."""

import sqlite3
from typing import Any

from ..spec.errors import IdempotencyPersistenceConfigError

_COLUMNS = "id, status, expiration, in_progress_expiration, data, validation, owner"
_FIELDS = ("status", "expiration", "in_progress_expiration", "data", "validation", "owner", "id")
_TABLE_OF_OWN_FILES = "records"


class SQLiteTable:
    """The table in which a layer keeps its records.

    Parameters
    ----------
    name
        The name of a table in a file of an application; None for the layer's own file.

    Raises
    ------
    IdempotencyPersistenceConfigError
        SQLite does not allow the name.
    """

    def __init__(self, name: str | None) -> None:
        self.shares_file = name is not None
        """Whether the file belongs to an application, so that only this table of it may change."""
        if name is None:
            name = _TABLE_OF_OWN_FILES
        if not isinstance(name, str) or not name or "\0" in name or name.lower().startswith("sqlite_"):
            raise IdempotencyPersistenceConfigError(
                f"table must be a name that SQLite allows, not {name!r}. Names that begin with sqlite_ are "
                "reserved."
            )
        try:
            name.encode()
        except UnicodeEncodeError as cause:
            raise IdempotencyPersistenceConfigError(f"table {name!r} is not valid Unicode.") from cause
        self.name = name
        table = self.quoted = f"main.{_quoted(name)}"
        self.read = f"SELECT {_COLUMNS} FROM {table} WHERE id = ?"  # noqa: S608 - the name is quoted, here and below
        self.insert = (
            f"INSERT INTO {table} ({', '.join(_FIELDS)}) VALUES (?, ?, ?, ?, ?, ?, ?) "  # noqa: S608
            "ON CONFLICT (id) DO NOTHING"
        )
        self.update = f"UPDATE {table} SET {', '.join(f'{each} = ?' for each in _FIELDS[:-1])} WHERE id = ?"  # noqa: S608
        self.delete = f"DELETE FROM {table} WHERE id = ?"  # noqa: S608
        self.keys = f"SELECT id FROM {table} WHERE substr(id, 1, ?) = ? ORDER BY id LIMIT ?"  # noqa: S608
        self.expired = (
            f"SELECT {_COLUMNS}, rowid FROM {table} "  # noqa: S608
            "WHERE expiration <= ? AND (expiration, rowid) > (?, ?) ORDER BY expiration, rowid LIMIT ?"
        )

    def create(self, db: sqlite3.Connection) -> None:
        """Create the table and its index."""
        db.execute(
            f"CREATE TABLE main.{_quoted(self.name)} (id TEXT PRIMARY KEY, status TEXT NOT NULL, "
            "expiration INTEGER NOT NULL, in_progress_expiration INTEGER, data TEXT, validation TEXT, "
            "owner TEXT)"
        )
        index = _quoted(f"{self.name}_by_expiration")
        db.execute(f"CREATE INDEX IF NOT EXISTS main.{index} ON {_quoted(self.name)} (expiration)")

    def found(self, db: sqlite3.Connection, path: object) -> bool:
        """Return whether the file has the table.

        Raises
        ------
        IdempotencyPersistenceConfigError
            It has something else with this name.
        """
        # SQLite compares names as ASCII without case.
        row = db.execute(
            "SELECT type, sql, name FROM main.sqlite_master WHERE lower(name) = lower(?)", (self.name,)
        ).fetchone()
        if row is None:
            return False
        why = f"it is of type {row[0]!r}" if row[0] != "table" else self._difference(db, str(row[1]), row[2])
        if why is not None:
            raise IdempotencyPersistenceConfigError(
                f"{self.name!r} in {str(path)!r} is not a table of this layer: {why}. Nothing was written. "
                "Use another name for the table."
            )
        return True

    def missing(self, path: object) -> IdempotencyPersistenceConfigError:
        """Return the error for a table that has been dropped."""
        return IdempotencyPersistenceConfigError(
            f"The table {self.name!r} of {str(path)!r} was dropped while this layer was using it. Records "
            "may be lost. Accept the loss, and make a new layer."
        )

    def _difference(self, db: sqlite3.Connection, sql: str, name: str) -> str | None:  # noqa: PLR0911 - one by one
        columns: dict[str, Any] = {
            column: found
            for column, *found in db.execute(
                'SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info(?)', (name,)
            )
        }
        for column in _FIELDS:
            if column not in columns:
                return f"it has no column {column!r}"
        for column, (_, required, default, _key) in columns.items():
            if column not in _FIELDS and required and default is None:
                return f"its column {column!r} requires a value"
        if [column for column, found in columns.items() if found[3]] != ["id"]:
            return "its primary key is not 'id' alone"
        if not any(kind in str(columns["id"][0]).upper() for kind in ("TEXT", "CHAR", "CLOB")):
            return "its column 'id' is not TEXT"
        if "WITHOUT ROWID" in " ".join(sql.upper().split()):
            return "it has no rowid"
        of_key = db.execute(
            "SELECT x.coll FROM pragma_index_list(?) AS i, pragma_index_xinfo(i.name) AS x "
            "WHERE i.origin = 'pk' AND x.key = 1",
            (name,),
        ).fetchone()
        if of_key is None or of_key[0] != "BINARY":
            return "its column 'id' does not compare byte by byte"
        return None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


OWN_TABLE = SQLiteTable(None)
"""The table in files that a layer has made for itself."""
