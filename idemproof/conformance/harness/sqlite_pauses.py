"""Connections of the standard library's sqlite3 that pause before and after each statement.

They cannot be patched, so others stand in for them. Where a statement would wait for another connection's
lock, the client lets others go first, as long as one of them can: so no time is spent on it. Nor is any spent
on waiting for the disk at each commit: that guards against a loss of power, which no race is about.
"""

import sqlite3
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from .scheduled_client import blocking_client, intercepted

_LONGEST = 60
_real_connect = sqlite3.connect
_WAITING = ("busy_timeout", "synchronous")
"""For what SQLite waits, for locks and for the disk: settings of which 0 is not to wait."""
_made: "weakref.WeakSet[PausingConnection]" = weakref.WeakSet()


class _StandIn:
    """Has all that the real one has."""

    __slots__ = ("__weakref__", "real")

    def __init__(self, real: Any) -> None:
        object.__setattr__(self, "real", real)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.real, name, value)


class _Executes(_StandIn):
    __slots__ = ()

    def execute(self, sql: str, *args: Any) -> Any:
        return self._own(_paused(self, _short(sql), lambda: self.real.execute(sql, *args)))

    def executemany(self, sql: str, *args: Any) -> Any:
        return self._own(_paused(self, f"{_short(sql)} (many)", lambda: self.real.executemany(sql, *args)))

    def executescript(self, script: str) -> Any:
        return self._own(_paused(self, _short(script), lambda: self.real.executescript(script)))

    def _own(self, result: Any) -> Any:
        return result


class PausingCursor(_Executes):
    """Stands in for a cursor."""

    __slots__ = ()

    def __iter__(self) -> Any:
        return iter(self.real)

    def __next__(self) -> Any:
        return next(self.real)

    def _own(self, result: Any) -> Any:
        return self if result is self.real else result


class PausingConnection(_Executes):
    """Stands in for a connection; while it does, nobody waits inside of SQLite."""

    __slots__ = ("_before",)
    _before: dict[str, int]

    def __init__(self, real: sqlite3.Connection) -> None:
        super().__init__(real)
        before: dict[str, int] = {}
        object.__setattr__(self, "_before", before)
        for setting in _WAITING:
            with suppress(sqlite3.Error):  # of another thread, perhaps, or closed, or in a transaction
                was = real.execute(f"PRAGMA {setting}").fetchone()[0]
                real.execute(f"PRAGMA {setting} = 0")
                before[setting] = was
        _made.add(self)

    @property
    def timeout(self) -> int:
        """For how many milliseconds it would wait for a lock."""
        return self._before.get("busy_timeout", 0)

    def cursor(self, *args: Any, **kwargs: Any) -> PausingCursor:
        """Return a cursor that pauses, too."""
        return PausingCursor(self.real.cursor(*args, **kwargs))

    def commit(self) -> None:
        """Commit, with pauses."""
        _paused(self, "COMMIT", self.real.commit)

    def rollback(self) -> None:
        """Roll back, with pauses."""
        _paused(self, "ROLLBACK", self.real.rollback)

    def __enter__(self) -> Self:
        self.real.__enter__()
        return self

    def __exit__(self, *failure: object) -> Any:
        try:
            return _paused(self, "ROLLBACK" if failure[0] else "COMMIT", lambda: self.real.__exit__(*failure))
        except BaseException:
            if self.real.in_transaction:  # as SQLite does if it cannot commit
                self.real.rollback()
            raise

    def waits_again(self) -> None:
        """Wait for locks, and for the disk, as before."""
        for setting, was in self._before.items():
            with suppress(sqlite3.Error):
                self.real.execute(f"PRAGMA {setting} = {was}")


def stand_in(value: Any) -> Any:
    """Return what stands in for ``value``, or None if it is nothing of sqlite3's."""
    if isinstance(value, sqlite3.Connection):
        return PausingConnection(value)
    if isinstance(value, sqlite3.Cursor):
        return PausingCursor(value)
    return None


def connect(*args: Any, **kwargs: Any) -> Any:
    """Open a connection as ``sqlite3.connect`` does; one that pauses, if it belongs to a race."""
    made = _real_connect(*args, **kwargs)
    return PausingConnection(made) if intercepted() else made


def wait_again() -> None:
    """Let all connections that have had a stand-in wait as before."""
    for each in list(_made):
        each.waits_again()
        _made.discard(each)


def _paused(holder: _StandIn, what: str, call: Callable[[], Any]) -> Any:
    client = blocking_client()
    if client is None:
        return call()
    client.calling = sqlite3
    client.pause(what, "call")
    waits = getattr(holder, "timeout", 1) > 0
    while True:
        client.inside = True
        try:
            result = call()
        except sqlite3.OperationalError as error:
            # Without waiting: one that can never come, as another has written since this one read.
            busy = error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not (busy and waits):
                raise
        else:
            break
        finally:
            client.inside = False
        if client.pauses_disabled or not client.wait(f"{what} (waits for a lock)"):
            waits = False
    if not client.pauses_disabled:
        client.pause(f"has done {what}", "reply")
    return result


def _short(sql: str) -> str:
    text = " ".join(str(sql).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
