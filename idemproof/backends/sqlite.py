"""The SQLite layer: one durable file for many threads and processes."""

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
    IdempotencyPersistenceConnectionError,
    IdempotencyRecordTooLargeError,
)
from ..spec.record import Record, checked, same_version
from .base import CompareAndSwapLayer, InThreads
from .housekeeping import MARGIN_MS, callers_now, evictable
from .sqlite_errors import is_busy, note_if_busy
from .sqlite_file import Connection, SQLiteFile, write_transaction
from .sqlite_table import SQLiteTable
from .within import SQLITE, Records

_PURGE_EVERY = 128
_PURGE_AT_MOST = 512
_BEFORE_ALL = (-math.inf, 0)
_PAUSE_SECONDS = 0.005

_Reply = TypeVar("_Reply")


class SQLitePersistenceLayer(CompareAndSwapLayer):
    """Stores records in a SQLite file, for any number of threads and processes of one machine.

    The file and its table are created on first use. Expired records are deleted while new ones are written.
    The layer is safe to share between threads and to use on both sides of a fork. Keep the file on a local
    disk, because SQLite's locks are not reliable on network file systems. Only its owner can read a new file.
    A copy of the layer, also one by ``pickle``, uses the same file with its own connections.

    With ``table``, the file belongs to an application. The layer then changes nothing but its table: it keeps
    the journal mode, the permissions and ``user_version``, and does not truncate the write-ahead log.

    Parameters
    ----------
    path
        The file. Without ``table`` it must be new, empty, or created by this class.
    table
        The name of a table in the file of an application. It is created if it does not exist.
    timeout_seconds
        How many seconds a request waits for the write lock.
    durable
        Whether an acknowledged result survives a power failure. If False, it survives the death of any
        process, and writes are faster.

    Raises
    ------
    IdempotencyPersistenceConfigError
        The path cannot be used: it is in memory, a directory, or not a file of this class. The last is raised
        on first use. It is also raised if the file is deleted or replaced while the layer uses it, or if the
        process was forked while a connection was open. That happens only with a fork by other means than
        ``os.fork`` or from a signal handler.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        table: str | None = None,
        timeout_seconds: float = 5.0,
        durable: bool = True,
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
        self._table = SQLiteTable(table)
        # Absolute, so that the file stays the same after chdir().
        self._path = Path(name).expanduser().absolute()
        self._use_file()

    def _use_file(self) -> None:
        self._file = SQLiteFile(self._path, durable=self._durable, table=self._table)
        self._claims_until_purge = _PURGE_EVERY
        self._purged_up_to = _BEFORE_ALL

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the connections, because they belong to this object and to this process."""
        state = self.__dict__.copy()
        del state["_file"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._use_file()

    def __repr__(self) -> str:
        table = f", table={self._table.name!r}" if self._table.shares_file else ""
        return f"{type(self).__name__}({str(self._path)!r}{table})"

    def _records(self) -> Records:
        return Records(SQLITE, self._table.quoted, str, str, str(self._path))

    def _load(self, key: str) -> Record | None:
        return self._retry_while_busy(lambda db: self._read(db, key))

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        if expected is None:
            return self._retry_while_busy(lambda db: self._insert(db, key, new, ttl_ms))
        return self._retry_while_busy(lambda db: self._replace(db, key, expected, new))

    def _read(self, db: Connection, key: str) -> Record | None:
        try:
            row = db.execute(self._table.read, (key,)).fetchone()
        except sqlite3.OperationalError as cause:
            if "decode to UTF-8" not in str(cause):
                raise
            raise IdempotencyInvalidStatusError(
                f"The record stored under {key!r} is corrupt: {cause}. Inspect it, and delete it if the "
                "operation may run again."
            ) from cause
        return None if row is None else Record(*row)

    def _insert(self, db: Connection, key: str, new: Record | None, ttl_ms: int) -> Record | None:
        # Read without the write lock first, so that replays and refusals never wait for writers.
        while (current := self._read(db, key)) is None and new is not None:
            if _write(db, self._table.insert, new):
                self._file.after_write(db)
                self._tidy(db, callers_now(new, ttl_ms))
                return new
        return current

    def _replace(self, db: Connection, key: str, expected: Record, new: Record | None) -> Record | None:
        with write_transaction(db):
            current = self._read(db, key)
            if not same_version(current, expected):
                return current
            if new is None:
                db.execute(self._table.delete, (key,))
            else:
                _write(db, self._table.update, new)
        self._file.after_write(db)
        return new

    def _tidy(self, db: Connection, now: int) -> None:
        """Delete expired records after every ``_PURGE_EVERY`` claims."""
        self._claims_until_purge -= 1
        if self._claims_until_purge <= 0:
            self._claims_until_purge = _PURGE_EVERY
            # The claim is stored, so ignore errors here. purge() reports them.
            with suppress(sqlite3.OperationalError), write_transaction(db):
                _, self._purged_up_to = _purge(db, self._table, now - MARGIN_MS, self._purged_up_to)

    def purge(self, now: int | None = None) -> int:
        """Delete all expired records and return how many there were. Corrupt records are kept for inspection.

        Parameters
        ----------
        now
            Epoch milliseconds; the layer's clock if not given.
        """
        over = self.clock() if now is None else now
        total, up_to = 0, _BEFORE_ALL
        while True:
            gone, up_to = self._retry_while_busy(
                partial(_purge_at_once, table=self._table, now=over, up_to=up_to)
            )
            total += gone
            if up_to == _BEFORE_ALL:
                return total

    def close(self) -> None:
        """Close the idle connections. The layer stays usable: it opens new ones."""
        self._file.close()

    def _retry_while_busy(self, request: Callable[[Connection], _Reply]) -> _Reply:
        """Repeat a request while another connection holds the lock, until the timeout.

        Between two tries the connection is returned, so that a fork does not have to wait.
        """
        until = time.monotonic() + self._timeout
        while True:
            try:
                with self._file.connection() as db:
                    return request(db)
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() >= until:
                    note_if_busy(error)
                    if self._table.shares_file:
                        named = self._named(error)
                        if named is not error:
                            raise named from error
                    raise
            time.sleep(_PAUSE_SECONDS)

    def _named(self, error: sqlite3.OperationalError) -> Exception:
        """Return the error of a request to an application's file."""
        if "no such table" in str(error):
            return self._table.missing(self._path)
        if not is_busy(error):
            return error
        busy = IdempotencyPersistenceConnectionError(
            f"Another connection held the lock of {str(self._path)!r} for {self._timeout:g} seconds. Nothing "
            "was written. If this call was made inside a transaction of the application that has used this "
            "file, it waited for itself: begin the transaction in the function, or end it before the call."
        )
        busy.nothing_written = True  # type: ignore[attr-defined]  # the engine looks for it
        return busy


class AsyncSQLitePersistenceLayer(InThreads):
    """:class:`SQLitePersistenceLayer` for ``async def`` functions: requests run in the layer's own threads.

    Parameters
    ----------
    path, table
        As for :class:`SQLitePersistenceLayer`.
    timeout_seconds
        How many seconds a request waits for the write lock.
    durable
        Whether an acknowledged result survives a power failure.
    """

    _layer: SQLitePersistenceLayer

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        table: str | None = None,
        timeout_seconds: float = 5.0,
        durable: bool = True,
    ) -> None:
        super().__init__(
            SQLitePersistenceLayer(path, table=table, timeout_seconds=timeout_seconds, durable=durable)
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}{repr(self._layer).removeprefix(type(self._layer).__name__)}"

    async def purge(self, now: int | None = None) -> int:
        """Delete all expired records and return how many there were; ``now`` in epoch milliseconds."""
        from ..drivers.threads import in_thread  # noqa: PLC0415 - loads asyncio

        gone: int = await in_thread(self._works_for, self._layer.purge, self.clock() if now is None else now)
        return gone

    async def close(self) -> None:
        """Close the idle connections. The layer stays usable: it opens new ones."""
        from ..drivers.threads import in_thread  # noqa: PLC0415 - loads asyncio

        await in_thread(self._works_for, self._layer.close)


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


def _write(db: sqlite3.Connection, statement: str, new: Record) -> bool:
    """Insert or update a record; return whether a row changed."""
    try:
        return db.execute(statement, (*new[1:6], new.owner, new.idempotency_key)).rowcount == 1
    except (sqlite3.DataError, OverflowError) as cause:
        raise IdempotencyRecordTooLargeError(
            f"SQLite refuses the record of {new.idempotency_key!r}: {cause}. It was not stored."
        ) from cause


def _purge_at_once(
    db: Connection, table: SQLiteTable, now: int, up_to: tuple[float, int]
) -> tuple[int, tuple[float, int]]:
    with write_transaction(db):
        return _purge(db, table, now, up_to)


def _purge(
    db: Connection, table: SQLiteTable, now: int, up_to: tuple[float, int]
) -> tuple[int, tuple[float, int]]:
    """Delete some expired records after ``up_to``; return how many, and where to continue.

    Corrupt records, and those that may still be needed, are skipped so that they never block the rest.
    """
    db.text_factory = _text_or_bytes
    try:
        expired = db.execute(table.expired, (now // 1000, *up_to, _PURGE_AT_MOST)).fetchall()
    finally:
        db.text_factory = str
    gone = [row[:1] for row in expired if _well_formed(row[:-1]) and evictable(Record(*row[:-1]), now)]
    db.executemany(table.delete, gone)
    if len(expired) < _PURGE_AT_MOST:
        return len(gone), _BEFORE_ALL
    return len(gone), (expired[-1][2], expired[-1][-1])


def _text_or_bytes(stored: bytes) -> str | bytes:
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored


def _well_formed(row: Any) -> bool:
    """Return whether a row is a valid record. Corrupt rows are kept for inspection."""
    try:
        checked(Record(*row), row[0])
    except IdempotencyInvalidStatusError:
        return False
    return True
