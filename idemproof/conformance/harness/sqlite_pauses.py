"""Connections of the standard library's sqlite3 that pause before and after each statement.

The classes cannot be patched, so proxies replace their objects. Where a statement would wait for another
connection's lock, the client lets other clients run instead, as long as one of them can. Commits do not wait
for the disk: this matters only after a loss of power, which races do not test.
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
"""The settings that make SQLite wait for locks and for the disk; 0 disables waiting."""
_proxies: "weakref.WeakSet[PausingConnection]" = weakref.WeakSet()


class _Proxy:
    """A proxy with all attributes of the real object."""

    __slots__ = ("__weakref__", "real")

    def __init__(self, real: Any) -> None:
        object.__setattr__(self, "real", real)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.real, name, value)


class _ExecutingProxy(_Proxy):
    __slots__ = ()

    def execute(self, sql: str, *args: Any) -> Any:
        return self._wrapped(_paused(self, _short(sql), lambda: self.real.execute(sql, *args)))

    def executemany(self, sql: str, *args: Any) -> Any:
        return self._wrapped(
            _paused(self, f"{_short(sql)} (many)", lambda: self.real.executemany(sql, *args))
        )

    def executescript(self, script: str) -> Any:
        return self._wrapped(_paused(self, _short(script), lambda: self.real.executescript(script)))

    def _wrapped(self, result: Any) -> Any:
        return result


class PausingCursor(_ExecutingProxy):
    """A proxy of a cursor."""

    __slots__ = ()

    def __iter__(self) -> Any:
        return iter(self.real)

    def __next__(self) -> Any:
        return next(self.real)

    def _wrapped(self, result: Any) -> Any:
        return self if result is self.real else result


class PausingConnection(_ExecutingProxy):
    """A proxy of a connection; as long as it is in use, SQLite itself does not wait."""

    __slots__ = ("_before",)
    _before: dict[str, int]

    def __init__(self, real: sqlite3.Connection) -> None:
        super().__init__(real)
        before: dict[str, int] = {}
        object.__setattr__(self, "_before", before)
        for setting in _WAITING:
            with suppress(sqlite3.Error):  # closed, bound to another thread, or in a transaction
                was = real.execute(f"PRAGMA {setting}").fetchone()[0]
                real.execute(f"PRAGMA {setting} = 0")
                before[setting] = was
        _proxies.add(self)

    @property
    def timeout(self) -> int:
        """The original busy timeout, in milliseconds."""
        return self._before.get("busy_timeout", 0)

    def cursor(self, *args: Any, **kwargs: Any) -> PausingCursor:
        """Return a cursor that pauses as well."""
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
        # Its own `__exit__` rolls back if the commit must wait, so it cannot be repeated.
        try:
            if failure[0]:
                self.rollback()
            else:
                self.commit()
        except BaseException:
            if self.real.in_transaction:  # as sqlite3 does if the commit fails
                self.real.rollback()
            raise
        return False

    def restore_waiting(self) -> None:
        """Restore the original settings for waiting."""
        for setting, was in self._before.items():
            with suppress(sqlite3.Error):
                self.real.execute(f"PRAGMA {setting} = {was}")


def proxy_of(value: Any) -> Any:
    """Return a proxy for ``value``, or None if it is no connection or cursor of sqlite3."""
    if isinstance(value, sqlite3.Connection):
        return PausingConnection(value)
    if isinstance(value, sqlite3.Cursor):
        return PausingCursor(value)
    return None


def connect(*args: Any, **kwargs: Any) -> Any:
    """Open a connection as ``sqlite3.connect`` does; in a race, return a proxy that pauses."""
    made = _real_connect(*args, **kwargs)
    return PausingConnection(made) if intercepted() else made


def restore_waiting() -> None:
    """Restore the settings of all connections that have had a proxy."""
    for each in list(_proxies):
        each.restore_waiting()
        _proxies.discard(each)


def _paused(holder: _Proxy, what: str, call: Callable[[], Any]) -> Any:
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
            # SQLite is also busy where waiting is useless, because another connection has written.
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
