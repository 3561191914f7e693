"""Layers for crowds, right and broken, by factories that other processes can import.

``RECORDS`` in the environment says where the records are.
"""

import hashlib
import json
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import right_layers
from idemproof import (
    AsyncSQLitePersistenceLayer,
    Record,
    RedisCachePersistenceLayer,
    SQLitePersistenceLayer,
)
from idemproof.spec.record import same_version
from looking_layers import LooksThenWrites
from racing_layers import AsyncWithAPause, WritesUnderALock

PAUSE_SECONDS = 0.005
"""Long enough for others to come in between."""


def give_way() -> None:
    time.sleep(PAUSE_SECONDS)


def place() -> str:
    return os.environ["RECORDS"]


def sqlite() -> SQLitePersistenceLayer:
    return SQLitePersistenceLayer(place(), durable=False)


def durable_sqlite() -> SQLitePersistenceLayer:
    return SQLitePersistenceLayer(place())


async def async_sqlite() -> AsyncSQLitePersistenceLayer:
    return AsyncSQLitePersistenceLayer(place(), durable=False)


def pair_of_sqlite() -> tuple[SQLitePersistenceLayer, SQLitePersistenceLayer]:
    return sqlite(), sqlite()


def redis_or_valkey() -> RedisCachePersistenceLayer:
    return RedisCachePersistenceLayer(place())


class Rows(LooksThenWrites):
    """Checks, lets others have their turn, and then sets."""

    def __init__(self, rows: dict[str, Record] | None = None) -> None:
        self.rows: dict[str, Record] = {} if rows is None else rows

    def _load(self, key: str) -> Record | None:
        return self.rows.get(key)

    def _write(self, key: str, new: Record | None, keep_ms: int) -> None:
        give_way()
        self._store(key, new)

    def _store(self, key: str, new: Record | None) -> None:
        if new is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = new


class LockedRows(Rows):
    """Does each request as a whole."""

    lock = threading.RLock()

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        with self.lock:
            return super()._swap(key, expected, new, keep_ms)


SHARED_ROWS: dict[str, Record] = {}


def rows_of_this_process() -> LockedRows:
    return LockedRows(SHARED_ROWS)


class AsyncRows(AsyncWithAPause):
    """Waits for something between the look and the write."""

    pause_seconds = PAUSE_SECONDS


class ForgettingWhoAsked(LockedRows):
    """Keeps what is found in itself, where another thread may put what it has found."""

    def _load(self, key: str) -> Record | None:
        with self.lock:
            self.found = super()._load(key)
        give_way()
        return self.found

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        with self.lock:
            self.found = Rows._load(self, key)
            if same_version(self.found, expected):
                self.found = new
                self._store(key, new)
        give_way()
        return self.found


class Stumbling(LockedRows):
    """Has something of its own that two threads cannot use at once."""

    def __init__(self) -> None:
        super().__init__()
        self.used: list[str] = []

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        self.used.append(key)
        if len(self.used) > 1:
            self.used.clear()
            self.used.pop()
        give_way()
        found = super()._swap(key, expected, new, keep_ms)
        if self.used:
            self.used.pop()
        return found


class Busy(LockedRows):
    """Refuses to wait for others."""

    def __init__(self) -> None:
        super().__init__()
        self.busy = threading.Lock()

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        if not self.busy.acquire(blocking=False):
            raise RuntimeError("the store is busy")
        try:
            return super()._swap(key, expected, new, keep_ms)
        finally:
            self.busy.release()


class BoundSQLite(LooksThenWrites):
    """Has one connection, which only the thread may use that made it."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(place(), isolation_level=None, timeout=60)
        self.db.execute("CREATE TABLE IF NOT EXISTS bound (key TEXT PRIMARY KEY, record TEXT)")

    def _load(self, key: str) -> Record | None:
        row = self.db.execute("SELECT record FROM bound WHERE key = ?", (key,)).fetchone()
        return row and Record(*json.loads(row[0]))

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        self.db.execute("BEGIN IMMEDIATE")
        try:
            return super()._swap(key, expected, new, keep_ms)
        finally:
            self.db.execute("COMMIT")

    def _write(self, key: str, new: Record | None, keep_ms: int) -> None:
        self.db.execute("DELETE FROM bound WHERE key = ?", (key,))
        if new is not None:
            self.db.execute("INSERT INTO bound VALUES (?, ?)", (key, json.dumps(new)))

    def close(self) -> None:
        self.db.close()


def bound_sqlite() -> BoundSQLite:
    return BoundSQLite()


class FourMethods(WritesUnderALock, right_layers.FourMethods):
    """The documented methods, each as a whole."""

    lock = threading.RLock()

    def write(self, record: Record) -> None:
        give_way()
        super().write(record)


class _NoLock:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class RacingFourMethods(FourMethods):
    """The same, without the lock."""

    lock: Any = _NoLock()


class Files(LooksThenWrites):
    """A file for each key: threads are kept apart, processes are not."""

    lock = threading.RLock()

    def _load(self, key: str) -> Record | None:
        try:
            return Record(*json.loads(self._path(key).read_text()))
        except FileNotFoundError:
            return None

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        with self.lock:
            return super()._swap(key, expected, new, keep_ms)

    def _write(self, key: str, new: Record | None, keep_ms: int) -> None:
        give_way()
        self._store(key, new)

    def _store(self, key: str, new: Record | None) -> None:
        path = self._path(key)
        if new is None:
            path.unlink(missing_ok=True)
            return
        whole = path.with_suffix(f".{os.getpid()}")
        whole.write_text(json.dumps(new))
        whole.replace(path)

    def _path(self, key: str) -> Path:
        return Path(place(), hashlib.sha256(key.encode()).hexdigest())


def files() -> Files:
    return Files()


class BufferedFiles(Files):
    """Says that it is done when it has made a note of it; the notes are written down later."""

    notes: ClassVar[dict[str, Record | None]] = {}
    at_once = 1000

    def _load(self, key: str) -> Record | None:
        return self.notes[key] if key in self.notes else super()._load(key)

    def _store(self, key: str, new: Record | None) -> None:
        self.notes[key] = new
        if len(self.notes) >= self.at_once:
            for noted, record in self.notes.items():
                super()._store(noted, record)
            self.notes.clear()


def buffered_files() -> BufferedFiles:
    return BufferedFiles()


class HastyFiles(Files):
    """Writes at once what it is given, but forgets what it deletes a little later: with its last breath."""

    deleted: ClassVar[set[str]] = set()

    def _load(self, key: str) -> Record | None:
        return None if key in self.deleted else super()._load(key)

    def _store(self, key: str, new: Record | None) -> None:
        self.deleted.discard(key)
        if new is None:
            self.deleted.add(key)
        else:
            super()._store(key, new)


def hasty_files() -> HastyFiles:
    return HastyFiles()


class NotesOfItsOwn(Files):
    """Each object writes down the first two keys that it is told of, and makes notes of the others."""

    def __init__(self) -> None:
        self.notes: dict[str, Record | None] = {}

    def _load(self, key: str) -> Record | None:
        return self.notes[key] if key in self.notes else super()._load(key)

    def _store(self, key: str, new: Record | None) -> None:
        self.notes[key] = new
        if len(self.notes) <= 2:
            super()._store(key, new)


def notes_of_its_own() -> NotesOfItsOwn:
    return NotesOfItsOwn()


def dying() -> Files:
    if os.environ.get("ALIVE") != str(os.getpid()):
        os._exit(3)
    return Files()


def failing() -> Files:
    if os.environ.get("ALIVE") != str(os.getpid()):
        raise RuntimeError("no store here")
    return Files()
