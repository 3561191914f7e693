"""Correct and broken layers for stress tests, with factories that other processes can import.

The environment variable ``RECORDS`` is the location of the records.
"""

import hashlib
import json
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

from broken_layers import foundations
from idemproof import (
    AsyncSQLitePersistenceLayer,
    DataRecord,
    Record,
    RedisCachePersistenceLayer,
    SQLitePersistenceLayer,
)
from idemproof.spec.record import same_version
from looking_layers import LooksThenWrites
from racing_layers import AsyncReadThenWrite

PAUSE_SECONDS = 0.005
"""Long enough for other clients to run in between."""


def pause() -> None:
    time.sleep(PAUSE_SECONDS)


def records_location() -> str:
    return os.environ["RECORDS"]


def sqlite() -> SQLitePersistenceLayer:
    return SQLitePersistenceLayer(records_location(), durable=False)


def durable_sqlite() -> SQLitePersistenceLayer:
    return SQLitePersistenceLayer(records_location())


async def async_sqlite() -> AsyncSQLitePersistenceLayer:
    return AsyncSQLitePersistenceLayer(records_location(), durable=False)


def pair_of_sqlite() -> tuple[SQLitePersistenceLayer, SQLitePersistenceLayer]:
    return sqlite(), sqlite()


def redis_layer() -> RedisCachePersistenceLayer:
    return RedisCachePersistenceLayer(records_location())


class Rows(LooksThenWrites):
    """Reads, lets other clients run, and then writes."""

    def __init__(self, rows: dict[str, Record] | None = None) -> None:
        self.rows: dict[str, Record] = {} if rows is None else rows

    def _load(self, key: str) -> Record | None:
        return self.rows.get(key)

    def _write(self, key: str, new: Record | None, ttl_ms: int) -> None:
        pause()
        self._store(key, new)

    def _store(self, key: str, new: Record | None) -> None:
        if new is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = new


class LockedRows(Rows):
    """Runs each swap under a lock."""

    lock = threading.RLock()

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        with self.lock:
            return super()._swap(key, expected, new, ttl_ms)


SHARED_ROWS: dict[str, Record] = {}


def rows_in_process_memory() -> LockedRows:
    return LockedRows(SHARED_ROWS)


class AsyncRows(AsyncReadThenWrite):
    """Sleeps between the read and the write."""

    pause_seconds = PAUSE_SECONDS


class SharedResult(LockedRows):
    """Keeps the result in an attribute, which another thread may overwrite before it is returned."""

    def _load(self, key: str) -> Record | None:
        with self.lock:
            self.found = super()._load(key)
        pause()
        return self.found

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        with self.lock:
            self.found = Rows._load(self, key)
            if same_version(self.found, expected):
                self.found = new
                self._store(key, new)
        pause()
        return self.found


class NotThreadSafe(LockedRows):
    """Has an attribute that two threads cannot use at once."""

    def __init__(self) -> None:
        super().__init__()
        self.used: list[str] = []

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        self.used.append(key)
        if len(self.used) > 1:
            self.used.clear()
            self.used.pop()
        pause()
        found = super()._swap(key, expected, new, ttl_ms)
        if self.used:
            self.used.pop()
        return found


class RefusesToWait(LockedRows):
    """Raises an error instead of waiting for other clients."""

    says_so = True
    """Whether the error says that nothing was written."""

    def __init__(self) -> None:
        super().__init__()
        self.busy = threading.Lock()

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        if not self.busy.acquire(blocking=False):
            busy = RuntimeError("the store is busy")
            busy.nothing_written = self.says_so  # type: ignore[attr-defined]
            raise busy
        try:
            return super()._swap(key, expected, new, ttl_ms)
        finally:
            self.busy.release()


class RefusesWithoutSayingSo(RefusesToWait):
    """Raises an error that does not say whether anything was written."""

    says_so = False


class ThreadBoundSQLite(LooksThenWrites):
    """Has one connection, which only the thread that created it may use."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(records_location(), isolation_level=None, timeout=60)
        self.db.execute("CREATE TABLE IF NOT EXISTS bound (key TEXT PRIMARY KEY, record TEXT)")

    def _load(self, key: str) -> Record | None:
        row = self.db.execute("SELECT record FROM bound WHERE key = ?", (key,)).fetchone()
        return row and Record(*json.loads(row[0]))

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        self.db.execute("BEGIN IMMEDIATE")
        try:
            return super()._swap(key, expected, new, ttl_ms)
        finally:
            self.db.execute("COMMIT")

    def _write(self, key: str, new: Record | None, ttl_ms: int) -> None:
        self.db.execute("DELETE FROM bound WHERE key = ?", (key,))
        if new is not None:
            self.db.execute("INSERT INTO bound VALUES (?, ?)", (key, json.dumps(new)))

    def close(self) -> None:
        self.db.close()


def thread_bound_sqlite() -> ThreadBoundSQLite:
    return ThreadBoundSQLite()


class FourMethods(foundations.FourMethods):
    """Has the four methods, each under a lock."""

    def keep(self, record: DataRecord) -> None:
        pause()
        super().keep(record)


class _NoLock:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class RacingFourMethods(FourMethods):
    """Has the four methods, without a lock."""

    def __init__(self) -> None:
        super().__init__()
        self.lock: Any = _NoLock()


class Files(LooksThenWrites):
    """Keeps a file for each key: excludes threads from each other, but not processes."""

    lock = threading.RLock()

    def _load(self, key: str) -> Record | None:
        try:
            return Record(*json.loads(self._path(key).read_text()))
        except FileNotFoundError:
            return None

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        with self.lock:
            return super()._swap(key, expected, new, ttl_ms)

    def _write(self, key: str, new: Record | None, ttl_ms: int) -> None:
        pause()
        self._store(key, new)

    def _store(self, key: str, new: Record | None) -> None:
        path = self._path(key)
        if new is None:
            path.unlink(missing_ok=True)
            return
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(new))
        temporary.replace(path)

    def _path(self, key: str) -> Path:
        return Path(records_location(), hashlib.sha256(key.encode()).hexdigest())


def files() -> Files:
    return Files()


class BufferedFiles(Files):
    """Acknowledges writes when they are in a buffer, and writes the files later."""

    buffer: ClassVar[dict[str, Record | None]] = {}
    capacity = 1000

    def _load(self, key: str) -> Record | None:
        return self.buffer[key] if key in self.buffer else super()._load(key)

    def _store(self, key: str, new: Record | None) -> None:
        self.buffer[key] = new
        if len(self.buffer) >= self.capacity:
            for buffered, record in self.buffer.items():
                super()._store(buffered, record)
            self.buffer.clear()


def buffered_files() -> BufferedFiles:
    return BufferedFiles()


class DelayedDeletions(Files):
    """Writes records at once, but removes deleted ones from memory only, not from the files."""

    deleted: ClassVar[set[str]] = set()

    def _load(self, key: str) -> Record | None:
        return None if key in self.deleted else super()._load(key)

    def _store(self, key: str, new: Record | None) -> None:
        self.deleted.discard(key)
        if new is None:
            self.deleted.add(key)
        else:
            super()._store(key, new)


def delayed_deletions() -> DelayedDeletions:
    return DelayedDeletions()


class OwnBuffer(Files):
    """Each object writes its first two keys to files, and keeps the others in its own buffer."""

    def __init__(self) -> None:
        self.buffer: dict[str, Record | None] = {}

    def _load(self, key: str) -> Record | None:
        return self.buffer[key] if key in self.buffer else super()._load(key)

    def _store(self, key: str, new: Record | None) -> None:
        self.buffer[key] = new
        if len(self.buffer) <= 2:
            super()._store(key, new)


def own_buffer() -> OwnBuffer:
    return OwnBuffer()


def exiting_factory() -> Files:
    if os.environ.get("ALIVE") != str(os.getpid()):
        os._exit(3)
    return Files()


def failing_factory() -> Files:
    if os.environ.get("ALIVE") != str(os.getpid()):
        raise RuntimeError("no store here")
    return Files()
