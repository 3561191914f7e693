"""The durable embedded layer: one SQLite file, many threads, many processes."""

import math
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ..spec.errors import (
    IdempotencyInvalidStatusError,
    IdempotencyPersistenceConfigError,
    IdempotencyRecordTooLargeError,
)
from ..spec.record import Record, checked, same_version
from .base import CompareAndSwapLayer, InThreads
from .housekeeping import MARGIN_MS, callers_now, evictable
from .sqlite_errors import is_busy, note_if_busy
from .sqlite_file import Connection, SQLiteFile, write_transaction

_COLUMNS = "id, status, expiration, in_progress_expiration, data, validation, owner"
_READ = f"SELECT {_COLUMNS} FROM records WHERE id = ?"  # noqa: S608 - constants only
_FIELDS = ("status", "expiration", "in_progress_expiration", "data", "validation", "owner", "id")
_INSERT = (
    f"INSERT INTO records ({', '.join(_FIELDS)}) VALUES (?, ?, ?, ?, ?, ?, ?) "  # noqa: S608 - constants only
    "ON CONFLICT (id) DO NOTHING"
)
_UPDATE = f"UPDATE records SET {', '.join(f'{name} = ?' for name in _FIELDS[:-1])} WHERE id = ?"  # noqa: S608
_DELETE = "DELETE FROM records WHERE id = ?"
_EXPIRED = (
    f"SELECT {_COLUMNS}, rowid FROM records "  # noqa: S608 - constants only
    "WHERE expiration <= ? AND (expiration, rowid) > (?, ?) ORDER BY expiration, rowid LIMIT ?"
)

_PURGE_EVERY = 128
_PURGE_AT_MOST = 512
_BEFORE_ALL = (-math.inf, 0)
_PAUSE_SECONDS = 0.005

_Reply = TypeVar("_Reply")


class SQLitePersistenceLayer(CompareAndSwapLayer):
    """Keeps records in a SQLite file, for any number of threads and processes of one machine.

    The file and its table are created on first use. Expired records are deleted as new ones come. Safe to
    share between threads and to use on both sides of a fork. Keep the file on a local disk: SQLite's locks
    are not reliable on network file systems. A new file is readable by its owner alone. A copy, also one by
    ``pickle``, uses the same file by connections of its own.

    Parameters
    ----------
    path
        The file. It must be new, empty, or have been made by this class.
    timeout_seconds
        How many seconds a request waits for its turn to write.
    durable
        Whether a result survives a power failure the moment it is acknowledged. Without, it survives the
        death of any process, and writes are faster.

    Raises
    ------
    IdempotencyPersistenceConfigError
        The path cannot be used: in memory, a directory, or not a file of this class. The latter is
        raised on first use. Also if the file is deleted or replaced under the layer, or if the process was
        forked while a connection was open, which only a fork by other means than ``os.fork`` or from a
        signal handler does.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, timeout_seconds: float = 5.0, durable: bool = True
    ) -> None:
        name = os.fsdecode(path)
        if "\0" in name:
            raise IdempotencyPersistenceConfigError(f"The path {name!r} has a NUL character.")
        if name in ("", ":memory:") or name.startswith("file:"):
            raise IdempotencyPersistenceConfigError(
                f"SQLitePersistenceLayer needs the path of a file, not {name!r}. "
                "To keep records in memory, use InMemoryPersistenceLayer."
            )
        self._timeout = _checked_timeout(timeout_seconds)
        self._durable = durable
        # Absolute, so that a later chdir() does not lead to another file.
        self._path = Path(name).expanduser().absolute()
        self._use_file()

    def _use_file(self) -> None:
        self._file = SQLiteFile(self._path, durable=self._durable)
        self._claims_until_purge = _PURGE_EVERY
        self._purged_up_to = _BEFORE_ALL

    def __getstate__(self) -> dict[str, Any]:
        """Leave the connections out: they belong to this object, and to this process."""
        state = self.__dict__.copy()
        del state["_file"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._use_file()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._path)!r})"

    def _load(self, key: str) -> Record | None:
        return self._patiently(lambda db: _read(db, key))

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        if expected is None:
            return self._patiently(lambda db: self._insert(db, key, new, keep_ms))
        return self._patiently(lambda db: self._replace(db, key, expected, new))

    def _insert(self, db: Connection, key: str, new: Record | None, keep_ms: int) -> Record | None:
        # Looks without the write lock first: replays and refusals never wait for writers.
        while (standing := _read(db, key)) is None and new is not None:
            if _write(db, _INSERT, new):
                self._file.after_write(db)
                self._tidy(db, callers_now(new, keep_ms))
                return new
        return standing

    def _replace(self, db: Connection, key: str, expected: Record, new: Record | None) -> Record | None:
        with write_transaction(db):
            standing = _read(db, key)
            if not same_version(standing, expected):
                return standing
            if new is None:
                db.execute(_DELETE, (key,))
            else:
                _write(db, _UPDATE, new)
        self._file.after_write(db)
        return new

    def _tidy(self, db: Connection, now: int) -> None:
        """Delete expired records after every so many new ones."""
        self._claims_until_purge -= 1
        if self._claims_until_purge <= 0:
            self._claims_until_purge = _PURGE_EVERY
            # The claim is stored. What cannot be deleted now is deleted later, or purge() says why not.
            with suppress(sqlite3.OperationalError), write_transaction(db):
                _, self._purged_up_to = _purge(db, now - MARGIN_MS, self._purged_up_to)

    def purge(self, now: int | None = None) -> int:
        """Delete all expired records and return how many there were. Corrupt ones stay, to be looked at.

        Parameters
        ----------
        now
            Epoch milliseconds; the layer's clock if not given.
        """
        over = self.clock() if now is None else now
        total, up_to = 0, _BEFORE_ALL
        while True:
            gone, up_to = self._patiently(partial(_purge_at_once, now=over, up_to=up_to))
            total += gone
            if up_to == _BEFORE_ALL:
                return total

    def close(self) -> None:
        """Close the idle connections. The layer stays usable: it opens new ones."""
        self._file.close()

    def _patiently(self, request: Callable[[Connection], _Reply]) -> _Reply:
        """Ask again while others have the lock, until the time is over.

        Between two tries nothing is open that a fork would have to wait for.
        """
        until = time.monotonic() + self._timeout
        while True:
            try:
                with self._file.connection() as db:
                    return request(db)
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() >= until:
                    note_if_busy(error)
                    raise
            time.sleep(_PAUSE_SECONDS)


class AsyncSQLitePersistenceLayer(InThreads):
    """:class:`SQLitePersistenceLayer` for ``async def`` functions: requests wait in threads of its own.

    Parameters
    ----------
    path
        The file. It must be new, empty, or have been made by this class or its blocking twin.
    timeout_seconds
        How many seconds a request waits for its turn to write.
    durable
        Whether a result survives a power failure the moment it is acknowledged.
    """

    _layer: SQLitePersistenceLayer

    def __init__(
        self, path: str | os.PathLike[str], *, timeout_seconds: float = 5.0, durable: bool = True
    ) -> None:
        super().__init__(SQLitePersistenceLayer(path, timeout_seconds=timeout_seconds, durable=durable))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._layer._path)!r})"

    def purge(self, now: int | None = None) -> int:
        """Delete all expired records and return how many there were; ``now`` in epoch milliseconds."""
        return self._layer.purge(self.clock() if now is None else now)

    def close(self) -> None:
        """Close the idle connections. The layer stays usable: it opens new ones."""
        self._layer.close()


def _checked_timeout(seconds: object) -> float:
    try:
        if (
            isinstance(seconds, int | float)
            and not isinstance(seconds, bool)
            and 0 <= float(seconds) < math.inf
        ):
            return float(seconds)
    except OverflowError:
        pass
    raise IdempotencyPersistenceConfigError(
        f"timeout_seconds must be a finite number of seconds, 0 or more, not {seconds!r}."
    )


def _read(db: Connection, key: str) -> Record | None:
    try:
        row = db.execute(_READ, (key,)).fetchone()
    except sqlite3.OperationalError as cause:
        if "decode to UTF-8" not in str(cause):
            raise
        raise IdempotencyInvalidStatusError(
            f"What is stored under {key!r} is corrupt: {cause}. Inspect it, and delete it if the operation "
            "may run again."
        ) from cause
    return None if row is None else Record(*row)


def _write(db: sqlite3.Connection, statement: str, new: Record) -> bool:
    """Insert or update; return whether that changed anything."""
    try:
        return db.execute(statement, (*new[1:6], new.owner, new.idempotency_key)).rowcount == 1
    except (sqlite3.DataError, OverflowError) as cause:
        raise IdempotencyRecordTooLargeError(
            f"SQLite refuses the record of {new.idempotency_key!r}: {cause}."
        ) from cause


def _purge_at_once(db: Connection, now: int, up_to: tuple[float, int]) -> tuple[int, tuple[float, int]]:
    with write_transaction(db):
        return _purge(db, now, up_to)


def _purge(db: Connection, now: int, up_to: tuple[float, int]) -> tuple[int, tuple[float, int]]:
    """Delete some expired records after ``up_to``; return how many, and where to go on.

    What stays, because it is corrupt or may still be owed, is passed over: so it never keeps the rest.
    """
    db.text_factory = _text_or_bytes
    try:
        expired = db.execute(_EXPIRED, (now // 1000, *up_to, _PURGE_AT_MOST)).fetchall()
    finally:
        db.text_factory = str
    gone = [row[:1] for row in expired if _well_formed(row[:-1]) and evictable(Record(*row[:-1]), now)]
    db.executemany(_DELETE, gone)
    if len(expired) < _PURGE_AT_MOST:
        return len(gone), _BEFORE_ALL
    return len(gone), (expired[-1][2], expired[-1][-1])


def _text_or_bytes(stored: bytes) -> str | bytes:
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored


def _well_formed(row: Any) -> bool:
    """Return whether housekeeping may judge a row; a corrupt one stays for somebody to look at."""
    try:
        checked(Record(*row), row[0])
    except IdempotencyInvalidStatusError:
        return False
    return True
