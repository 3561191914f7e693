"""The durable embedded layer: one SQLite file, many threads, many processes."""

import os
import sqlite3
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..spec.errors import (
    IdempotencyInvalidStatusError,
    IdempotencyPersistenceConfigError,
    IdempotencyRecordTooLargeError,
)
from ..spec.record import Record, checked, same_version
from .base import CompareAndSwapLayer, InThreads
from .forksafe import ForkGate
from .housekeeping import MARGIN_MS, callers_now, evictable
from .sqlite_errors import note_if_busy, primary_code

APPLICATION_ID = 0x1DE3900F
"""Marks a file as ours in SQLite's header."""

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE records (
    id TEXT PRIMARY KEY,
    status TEXT NOT NULL,
    expiration INTEGER NOT NULL,
    in_progress_expiration INTEGER,
    data TEXT,
    validation TEXT,
    owner TEXT
)
"""
_COLUMNS = "id, status, expiration, in_progress_expiration, data, validation, NULL, owner"
_READ = f"SELECT {_COLUMNS} FROM records WHERE id = ?"  # noqa: S608 - constants only
_FIELDS = ("status", "expiration", "in_progress_expiration", "data", "validation", "owner", "id")
_INSERT = (
    f"INSERT INTO records ({', '.join(_FIELDS)}) VALUES (?, ?, ?, ?, ?, ?, ?) "  # noqa: S608 - constants only
    "ON CONFLICT (id) DO NOTHING"
)
_UPDATE = f"UPDATE records SET {', '.join(f'{name} = ?' for name in _FIELDS[:-1])} WHERE id = ?"  # noqa: S608
_DELETE = "DELETE FROM records WHERE id = ?"
_EXPIRED = f"SELECT {_COLUMNS} FROM records WHERE expiration <= ? ORDER BY expiration LIMIT ?"  # noqa: S608

_PURGE_EVERY = 128
_PURGE_AT_MOST = 512
_IDLE_CONNECTIONS = 16
_FORK_WAITS_SECONDS = 10.0


class SQLitePersistenceLayer(CompareAndSwapLayer):
    """Keeps records in a SQLite file, for any number of threads and processes of one machine.

    The file and its table are created on first use. Expired records are deleted as new ones come. Safe to
    share between threads and to use on both sides of a fork. Keep the file on a local disk: SQLite's locks
    are not reliable on network file systems.

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
        raised on first use.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, timeout_seconds: float = 5.0, durable: bool = True
    ) -> None:
        name = os.fsdecode(path)
        if not timeout_seconds >= 0:
            raise IdempotencyPersistenceConfigError(
                f"timeout_seconds must be a number of seconds, 0 or more, not {timeout_seconds!r}."
            )
        if "\0" in name:
            raise IdempotencyPersistenceConfigError(f"The path {name!r} has a NUL character.")
        if name in ("", ":memory:") or name.startswith("file:"):
            raise IdempotencyPersistenceConfigError(
                f"SQLitePersistenceLayer needs the path of a file, not {name!r}. "
                "To keep records in memory, use InMemoryPersistenceLayer."
            )
        # Absolute, so that a later chdir() does not lead to another file.
        self._path = Path(name).expanduser().absolute()
        self._timeout = timeout_seconds
        self._durable = durable
        # By process: SQLite's connections do not survive a fork, so a child neither uses nor closes them.
        self._idle: dict[int, list[sqlite3.Connection]] = {}
        self._claims_until_purge = _PURGE_EVERY
        weakref.finalize(self, _close_idle, self._idle)
        with _open_for_requests.still():
            _layers.add(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._path)!r})"

    def _load(self, key: str) -> Record | None:
        try:
            with self._connection() as db:
                return _read(db, key)
        except sqlite3.OperationalError as error:
            note_if_busy(error)
            raise

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        try:
            return self._swapped(key, expected, new, keep_ms)
        except sqlite3.OperationalError as error:
            note_if_busy(error)
            raise

    def _swapped(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        with self._connection() as db:
            if expected is None:
                # Looks without the write lock first: replays and refusals never wait for writers.
                while (standing := _read(db, key)) is None and new is not None:
                    if _write(db, _INSERT, new):
                        self._tidy(db, callers_now(new, keep_ms))
                        return new
                return standing
            with _write_transaction(db):
                standing = _read(db, key)
                if not same_version(standing, expected):
                    return standing
                if new is None:
                    db.execute(_DELETE, (key,))
                else:
                    _write(db, _UPDATE, new)
                return new

    def _tidy(self, db: sqlite3.Connection, now: int) -> None:
        """Delete expired records after every so many new ones."""
        self._claims_until_purge -= 1
        if self._claims_until_purge <= 0:
            self._claims_until_purge = _PURGE_EVERY
            with _write_transaction(db):
                _purge(db, now - MARGIN_MS)

    def purge(self, now: int | None = None) -> int:
        """Delete all expired records and return how many there were.

        Parameters
        ----------
        now
            Epoch milliseconds; the layer's clock if not given.
        """
        now = self.clock() if now is None else now
        total = 0
        with self._connection() as db:
            while True:
                with _write_transaction(db):
                    gone = _purge(db, now)
                total += gone
                if gone < _PURGE_AT_MOST:
                    return total

    def close(self) -> None:
        """Close the idle connections. The layer stays usable: it opens new ones."""
        _close_idle(self._idle)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with _open_for_requests:
            idle = self._idle.setdefault(os.getpid(), [])
            try:
                db = idle.pop()
            except IndexError:
                db = None
            if db is None:  # not in the handler: what fails there would tell of an empty list first
                db = self._open()
            healthy = False
            try:
                yield db
                healthy = True
            finally:
                if healthy and len(idle) < _IDLE_CONNECTIONS:
                    idle.append(db)
                else:
                    db.close()

    def _open(self) -> sqlite3.Connection:
        try:
            db = sqlite3.connect(
                self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False
            )
        except sqlite3.OperationalError as cause:
            raise IdempotencyPersistenceConfigError(
                f"SQLite cannot open {str(self._path)!r}: {cause}. Is the directory there, and writable?"
            ) from cause
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        try:
            if _pragma(db, "application_id") != APPLICATION_ID:
                with _write_transaction(db):
                    self._create(db)
            found = _pragma(db, "user_version")
            if found != SCHEMA_VERSION:
                raise IdempotencyPersistenceConfigError(
                    f"{str(self._path)!r} has schema version {found}, this release knows {SCHEMA_VERSION}. "
                    "Upgrade idemproof, or use another file."
                )
            self._use_wal(db)
        except sqlite3.DatabaseError as cause:
            if primary_code(cause) == sqlite3.SQLITE_READONLY:
                raise IdempotencyPersistenceConfigError(
                    f"SQLite cannot write to {str(self._path)!r}: {cause}. "
                    "Are the file and its directory writable?"
                ) from cause
            if isinstance(cause, sqlite3.OperationalError):
                raise
            raise IdempotencyPersistenceConfigError(
                f"{str(self._path)!r} is not a SQLite database: {cause}. Use another path."
            ) from cause
        db.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'NORMAL'}")

    def _create(self, db: sqlite3.Connection) -> None:
        if _pragma(db, "application_id") == APPLICATION_ID:
            return  # another process was faster
        if _pragma(db, "application_id") or _pragma(db, "user_version") or _pragma(db, "schema_version"):
            raise IdempotencyPersistenceConfigError(
                f"{str(self._path)!r} is a database of other software. Use a file of its own for idempotency."
            )
        db.execute(_SCHEMA)
        db.execute("CREATE INDEX records_by_expiration ON records (expiration)")
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    def _use_wal(self, db: sqlite3.Connection) -> None:
        # Changing the journal mode does not wait for its turn as other statements do.
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
                time.sleep(0.005)
            else:
                return


class AsyncSQLitePersistenceLayer(InThreads):
    """:class:`SQLitePersistenceLayer` for ``async def`` functions: requests wait in worker threads.

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


def _close_idle(idle: dict[int, list[sqlite3.Connection]]) -> None:
    connections = idle.get(os.getpid(), [])
    with _open_for_requests.still(), suppress(IndexError):
        while True:
            connections.pop().close()


def _close_all_idle() -> None:
    for layer in _layers:
        _close_idle(layer._idle)


_layers: "weakref.WeakSet[SQLitePersistenceLayer]" = weakref.WeakSet()
# SQLite notes per process which file locks it has, and a child inherits the notes without the locks: its own
# connections would go unlocked, and the log be deleted under them. So a fork waits until none is open.
_open_for_requests = ForkGate(_close_all_idle, _FORK_WAITS_SECONDS)


def _read(db: sqlite3.Connection, key: str) -> Record | None:
    row = db.execute(_READ, (key,)).fetchone()
    return None if row is None else Record(*row)


def _write(db: sqlite3.Connection, statement: str, new: Record) -> bool:
    """Insert or update; return whether that changed anything."""
    try:
        return db.execute(statement, (*new[1:6], new.owner, new.idempotency_key)).rowcount == 1
    except (sqlite3.DataError, OverflowError) as cause:
        raise IdempotencyRecordTooLargeError(
            f"SQLite refuses the record of {new.idempotency_key!r}: {cause}."
        ) from cause


def _purge(db: sqlite3.Connection, now: int) -> int:
    expired = db.execute(_EXPIRED, (now // 1000, _PURGE_AT_MOST)).fetchall()
    gone = [(row[0],) for row in expired if _well_formed(row) and evictable(Record(*row), now)]
    db.executemany(_DELETE, gone)
    return len(gone)


def _well_formed(row: Any) -> bool:
    """Tell whether housekeeping may judge a row; a corrupt one stays for somebody to look at."""
    try:
        checked(Record(*row), row[0])
    except IdempotencyInvalidStatusError:
        return False
    return True


def _pragma(db: sqlite3.Connection, name: str) -> int:
    value: int = db.execute(f"PRAGMA {name}").fetchone()[0]
    return value


@contextmanager
def _write_transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if db.in_transaction:  # SQLite may have rolled back by itself
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
