"""Layers over clients of stores for the tests of the exclusion tier: broken ones next to correct ones."""

import json
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

from idemproof import Record
from looking_layers import LooksThenWrites
from racing_layers import UnlockedDictionary


class OverRedis(LooksThenWrites):
    """Reads, then writes, in two commands."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def _load(self, key: str) -> Record | None:
        found = self.client.get(key)
        return None if found is None else Record(*json.loads(found))

    def _write(self, key: str, new: Record | None, ttl_ms: int) -> None:
        if new is None:
            self.client.delete(key)
        else:
            self.client.set(key, json.dumps(new), px=ttl_ms)


class OverRedisLocking(OverRedis):
    """Reads, then writes, under a lock in the store, which it polls."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        while not self.client.set(f"{key}:lock", "mine", nx=True):
            time.sleep(0.01)
        try:
            return super()._swap(key, expected, new, ttl_ms)
        finally:
            self.client.delete(f"{key}:lock")


class WrappedRows:
    """A client of an unknown class, which wraps another object."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def fetch(self, key: str) -> Any:
        return self._client.rows.get(key)

    def store(self, key: str, value: Any) -> None:
        self._client.rows[key] = value

    def drop(self, key: str) -> None:
        self._client.rows.pop(key, None)


class OverUnknown(LooksThenWrites):
    """Reads, then writes, with a client that the suite cannot find."""

    def __init__(self, rows: UnlockedDictionary) -> None:
        self.store = WrappedRows(rows)

    def _load(self, key: str) -> Record | None:
        return self.store.fetch(key)

    def _write(self, key: str, new: Record | None, ttl_ms: int) -> None:
        if new is None:
            self.store.drop(key)
        else:
            self.store.store(key, new)


class _Held:
    """Closes a connection when the thread that owns it ends."""

    def __init__(self, db: Any) -> None:
        self.db = db

    def __del__(self) -> None:
        self.db.close()


class OverSQLite(LooksThenWrites):
    """Selects, then writes, each statement in its own transaction."""

    def __init__(self, path: Path, *, each_thread: bool = False) -> None:
        self._path = path
        self._each_thread = each_thread
        self._db = self._open()
        self._local = threading.local()
        self._db.execute("CREATE TABLE IF NOT EXISTS records (id TEXT PRIMARY KEY, text TEXT)")

    def _open(self) -> Any:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=60)
        db.execute("PRAGMA synchronous = OFF")
        return db

    @property
    def db(self) -> Any:
        if not self._each_thread:
            return self._db
        if not hasattr(self._local, "held"):
            self._local.held = _Held(self._open())
        return self._local.held.db

    def _load(self, key: str) -> Record | None:
        row = self.db.execute("SELECT text FROM records WHERE id = ?", (key,)).fetchone()
        return None if row is None else Record(*json.loads(row[0]))

    def _write(self, key: str, new: Record | None, ttl_ms: int) -> None:
        if new is None:
            self.db.execute("DELETE FROM records WHERE id = ?", (key,))
        else:
            self.db.execute("INSERT OR REPLACE INTO records VALUES (?, ?)", (key, json.dumps(new)))

    def close(self) -> None:
        self._db.close()
