"""The SQLite file of a layer: opens it, detects that it was replaced, and protects it across forks."""

import os
import sqlite3
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..drivers.forksafe import ForkGate
from ..drivers.interrupts import raise_interrupt
from ..spec.errors import IdempotencyPersistenceConfigError
from .sqlite_errors import is_busy, primary_code
from .sqlite_table import OWN_TABLE, SQLiteTable

APPLICATION_ID = 0x1DE3900F
"""Identifies our files in SQLite's header."""

SCHEMA_VERSION = 1

LARGEST_LOG = 16 * 1024 * 1024
"""The size in bytes from which the write-ahead log is truncated. SQLite itself never shrinks it."""

_WRITES_BETWEEN_CUTS = 32
_IDLE_CONNECTIONS = 16
_FORK_WAITS_SECONDS = 10.0
_BUSY_SECONDS = 0.1
"""How long SQLite itself waits for a lock. Longer waits repeat this one, so that forks can happen between."""

Identity = tuple[int, int]
"""Device and inode."""


class Connection(sqlite3.Connection):
    """A connection that knows which file it has open."""

    file: Identity
    log_path: Path
    log: Identity | None = None


class SQLiteFile:
    """The connections to one file, for any number of threads and on both sides of a fork.

    Parameters
    ----------
    path
        The file. If it does not belong to an application, it must be new, empty, or created by this class.
    durable
        Whether a commit waits for the disk.
    table
        The table of the layer, which says to whom the file belongs.
    """

    def __init__(self, path: Path, *, durable: bool, table: SQLiteTable = OWN_TABLE) -> None:
        self.path = path
        self._table = table
        self._durable = durable
        self._identity: Identity | None = None
        self._writes_until_cut = 0
        # By process: a child must neither use nor close the connections that it has inherited.
        self._idle: dict[int, list[Connection]] = {}
        weakref.finalize(self, _close_idle, self._idle)
        with _gate.no_forks():
            _files.add(self)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection. A fork waits until it is returned, so use it only for a short time.

        Raises
        ------
        IdempotencyPersistenceConfigError
            The path cannot be used, the file was replaced, or this process has inherited connections to it.
        """
        with _gate:
            idle = self._idle.setdefault(os.getpid(), [])
            self._check_identity()
            try:
                db = idle.pop()
            except IndexError:
                db = None
            if db is None:  # not in the handler, so that its errors do not have the IndexError as context
                db = self._open()
            healthy = False
            try:
                yield db
                healthy = True
            except sqlite3.OperationalError as error:
                healthy = is_busy(error) and not db.in_transaction
                raise
            finally:
                if healthy and len(idle) < _IDLE_CONNECTIONS:
                    idle.append(db)
                else:
                    _close(db)

    def close(self) -> None:
        """Close the idle connections."""
        _close_idle(self._idle)

    def after_write(self, db: Connection) -> None:
        """Check that the write is in the current write-ahead log, and truncate a log that has grown.

        Raises
        ------
        IdempotencyPersistenceConfigError
            The log was deleted, and with it the write.
        """
        try:
            found = db.log_path.stat()
        except FileNotFoundError:
            if self._table.shares_file and db.log is None and not _uses_log(db):
                return
            raise self._replaced("write-ahead log") from None
        log = (found.st_dev, found.st_ino)
        db.log = db.log or log
        if db.log != log:
            raise self._replaced("write-ahead log")
        if self._table.shares_file:
            return
        self._writes_until_cut -= 1
        if found.st_size >= LARGEST_LOG and self._writes_until_cut <= 0:
            self._writes_until_cut = _WRITES_BETWEEN_CUTS  # truncating waits for readers, and may fail
            with suppress(sqlite3.OperationalError):
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def _check_identity(self) -> None:
        """Refuse a file that was replaced since this layer has opened it."""
        if self._identity is None and not _inherited:
            return
        found = _identity_of(self.path)
        if self._identity is not None and found != self._identity:
            self.close()
            raise self._replaced("file")
        if found in _inherited:
            raise IdempotencyPersistenceConfigError(
                f"This process was forked while connections to {str(self.path)!r} were open, so SQLite "
                "cannot lock the file here. Nothing was read or written. Call the layer's close() before a "
                "fork by other means than os.fork, and do not fork from a signal handler."
            )

    def _replaced(self, what: str) -> IdempotencyPersistenceConfigError:
        return IdempotencyPersistenceConfigError(
            f"The {what} of {str(self.path)!r} was deleted or replaced while this layer was using it. "
            "Records may be lost, so the layer refuses every request. Put the file back, or accept the loss "
            "and make a new layer."
        )

    def _open(self) -> Connection:
        with (
            _gate.no_forks()
        ):  # closing a file that is being created must not drop the locks of another thread
            try:
                if not self._table.shares_file:
                    os.close(os.open(self.path.resolve(), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            except OSError as error:  # the file exists, or SQLite has a better error message
                raise_interrupt(error)
            before = _identity_of(self.path)
            try:
                db = sqlite3.connect(
                    self.path,
                    timeout=_BUSY_SECONDS,
                    isolation_level=None,
                    check_same_thread=False,
                    factory=Connection,
                )
            except sqlite3.OperationalError as cause:
                raise IdempotencyPersistenceConfigError(
                    f"SQLite cannot open {str(self.path)!r}: {cause}. Check that the directory exists and is "
                    "writable."
                ) from cause
            file = _identity_of(self.path)
            created = before is None and self._table.shares_file  # by SQLite, with the usual permissions
            if file is None or (file != before and not created) or file != (self._identity or file):
                db.close()
                raise self._replaced("file")
            db.file = file
            db.log_path = Path(f"{self.path.resolve()}-wal")  # SQLite also resolves links
            _open_files[file] += 1
        try:
            self._prepare(db)
        except BaseException:
            _close(db)
            raise
        self._identity = file
        return db

    def _prepare(self, db: Connection) -> None:
        try:
            if self._table.shares_file:
                self._prepare_table(db)
            else:
                self._prepare_file(db)
        except sqlite3.DatabaseError as cause:
            if primary_code(cause) == sqlite3.SQLITE_READONLY:
                raise IdempotencyPersistenceConfigError(
                    f"SQLite cannot write to {str(self.path)!r}: {cause}. "
                    "Check that the file and its directory are writable."
                ) from cause
            if isinstance(cause, sqlite3.OperationalError):
                raise
            raise IdempotencyPersistenceConfigError(
                f"{str(self.path)!r} is not a SQLite database: {cause}. Use another path."
            ) from cause
        db.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'NORMAL'}")

    def _prepare_file(self, db: Connection) -> None:
        if _pragma(db, "application_id") != APPLICATION_ID:
            with write_transaction(db):
                self._create(db)
        found = _pragma(db, "user_version")
        if found != SCHEMA_VERSION:
            raise IdempotencyPersistenceConfigError(
                f"{str(self.path)!r} has schema version {found}, but this release supports "
                f"{SCHEMA_VERSION}. Upgrade idemproof, or use another file."
            )
        db.execute("PRAGMA journal_mode = WAL")

    def _prepare_table(self, db: Connection) -> None:
        if self._table.found(db, self.path):
            return
        if self._identity is not None:
            raise self._table.missing(self.path)
        with write_transaction(db):
            if not self._table.found(db, self.path):
                self._table.create(db)

    def _create(self, db: Connection) -> None:
        if _pragma(db, "application_id") == APPLICATION_ID:
            return  # another process has created the table
        if self._identity is not None:
            raise self._replaced("file")  # by an empty file with the same inode
        if _pragma(db, "application_id") or _pragma(db, "user_version") or _pragma(db, "schema_version"):
            raise IdempotencyPersistenceConfigError(
                f"{str(self.path)!r} is a database of other software. Use a separate file, or name a "
                'table in this one, as in SQLitePersistenceLayer(path, table="idempotency").'
            )
        self._table.create(db)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")


@contextmanager
def write_transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Hold the write lock; commit at the end, or roll back after an exception."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if db.in_transaction:  # SQLite may have rolled back already
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _uses_log(db: sqlite3.Connection) -> bool:
    mode: str = db.execute("PRAGMA main.journal_mode").fetchone()[0]
    return mode == "wal"


def _pragma(db: sqlite3.Connection, name: str) -> int:
    value: int = db.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _identity_of(path: Path) -> Identity | None:
    try:
        found = path.stat()
    except OSError as error:
        raise_interrupt(error)  # a declared interrupt may be an OSError, such as TimeoutError
        return None
    return found.st_dev, found.st_ino


# SQLite keeps a list of its file locks per process. A child inherits the list without the locks, so its
# connections would run without locks, and other processes could delete the log. So a fork waits until no
# connection is open. A child that has nevertheless inherited open connections refuses these files.

_files: "weakref.WeakSet[SQLiteFile]" = weakref.WeakSet()
_open_files: Counter[Identity] = Counter()
_inherited: set[Identity] = set()


def _close(db: Connection) -> None:
    with _gate.no_forks():
        db.close()
        _open_files[db.file] -= 1
        if not _open_files[db.file]:
            del _open_files[db.file]


def _close_idle(idle: dict[int, list[Connection]]) -> None:
    with _gate.no_forks(), suppress(IndexError):
        connections = idle.get(os.getpid(), [])
        while True:
            _close(connections.pop())


def _close_all_idle() -> None:
    for file in _files:
        _close_idle(file._idle)


def _note_inherited() -> None:
    _inherited.update(_open_files)
    _open_files.clear()


_gate = ForkGate(_close_all_idle, _note_inherited, _FORK_WAITS_SECONDS)
