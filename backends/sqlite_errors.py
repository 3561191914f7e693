"""What SQLite's errors mean."""

import sqlite3

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def primary_code(error: sqlite3.Error) -> int:
    """Return the kind of an error; the rest of its code tells errors of the same kind apart."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def note_if_busy(error: sqlite3.OperationalError) -> None:
    """Tell the engine if a statement failed because others kept the lock: it waited, and changed nothing."""
    if primary_code(error) in _BUSY:
        error.nothing_written = True  # type: ignore[attr-defined]  # the engine looks for it
