"""Classifies SQLite's errors."""

import sqlite3

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def primary_code(error: sqlite3.Error) -> int:
    """Return the primary code of an error, without its extended part; 0 for an error of Python's module."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    """Return whether another connection has the lock."""
    return primary_code(error) in _BUSY


def note_if_busy(error: sqlite3.OperationalError) -> None:
    """Mark an error for the engine if another connection held the lock, because then nothing changed."""
    if is_busy(error):
        error.nothing_written = True  # type: ignore[attr-defined]  # the engine looks for it
