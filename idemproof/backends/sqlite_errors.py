"""What SQLite's errors mean."""

import sqlite3

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def primary_code(error: sqlite3.Error) -> int:
    """Return the kind of an error, or 0 for one of Python's own; the rest of its code is finer."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    """Return whether another connection has the lock."""
    return primary_code(error) in _BUSY


def note_if_busy(error: sqlite3.OperationalError) -> None:
    """Let the engine know if a statement failed because others kept the lock: it changed nothing."""
    if is_busy(error):
        error.nothing_written = True  # type: ignore[attr-defined]  # the engine looks for it
