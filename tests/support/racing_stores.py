"""Layers over clients of stores, for the tests of the exclusion tier: each fault beside its remedy."""

import json
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import redis

from idemproof import Record
from idemproof.spec.record import same_version
from looking_layers import LooksThenWrites
from racing_layers import UnlockedDictionary


class OverRedis(LooksThenWrites):
    """Reads, then writes."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def _load(self, key: str) -> Record | None:
        found = self.client.get(key)
        return None if found is None else Record(*json.loads(found))

    def _write(self, key: str, new: Record | None, keep_ms: int) -> None:
        if new is None:
            self.client.delete(key)
        else:
            self.client.set(key, json.dumps(new), px=keep_ms)


class OverRedisWatching(OverRedis):
    """Reads, and writes only if nobody else has since."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        for _ in range(20):
            with self.client.pipeline() as pipe:
                pipe.watch(key)
                found = pipe.get(key)
                standing = None if found is None else Record(*json.loads(found))
                if not same_version(standing, expected):
                    return standing
                pipe.multi()
                if new is None:
                    pipe.delete(key)
                else:
                    pipe.set(key, json.dumps(new), px=keep_ms)
                try:
                    pipe.execute()
                except redis.WatchError:
                    continue
                return new
        raise RuntimeError("never quiet")


class OverRedisByScript(OverRedis):
    """Compares and swaps texts in the store, after a look at what stands."""

    _SWAP = """
    local standing = redis.call('GET', KEYS[1]) or ''
    if standing ~= ARGV[1] then return 0 end
    if ARGV[2] == '' then redis.call('DEL', KEYS[1])
    else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
    return 1
    """

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self.script = client.register_script(self._SWAP)

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        for _ in range(20):
            found = self.client.get(key)
            standing = None if found is None else Record(*json.loads(found))
            if not same_version(standing, expected):
                return standing
            text = "" if new is None else json.dumps(new)
            if self.script([key], [found or "", text, keep_ms]):
                return new
        raise RuntimeError("never quiet")


class OverRedisLocking(OverRedis):
    """Reads, then writes, under a lock that the store keeps, and for which it waits actively."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        while not self.client.set(f"{key}:lock", "mine", nx=True):
            time.sleep(0.01)
        try:
            return super()._swap(key, expected, new, keep_ms)
        finally:
            self.client.delete(f"{key}:lock")


class Behind:
    """A client of nobody's protocol, behind something else."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def fetch(self, key: str) -> Any:
        return self._client.rows.get(key)

    def store(self, key: str, value: Any) -> None:
        self._client.rows[key] = value

    def drop(self, key: str) -> None:
        self._client.rows.pop(key, None)


class OverUnknown(LooksThenWrites):
    """Reads, then writes, by a client that cannot be found."""

    def __init__(self, rows: UnlockedDictionary) -> None:
        self.store = Behind(rows)

    def _load(self, key: str) -> Record | None:
        return self.store.fetch(key)

    def _write(self, key: str, new: Record | None, keep_ms: int) -> None:
        if new is None:
            self.store.drop(key)
        else:
            self.store.store(key, new)


class _Held:
    """Closes a connection with the thread that has it."""

    def __init__(self, db: Any) -> None:
        self.db = db

    def __del__(self) -> None:
        self.db.close()


class OverSQLite(LooksThenWrites):
    """Selects, then writes: each statement a transaction of its own."""

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

    def _write(self, key: str, new: Record | None, keep_ms: int) -> None:
        if new is None:
            self.db.execute("DELETE FROM records WHERE id = ?", (key,))
        else:
            self.db.execute("INSERT OR REPLACE INTO records VALUES (?, ?)", (key, json.dumps(new)))

    def close(self) -> None:
        self._db.close()


class OverSQLiteByCondition(OverSQLite):
    """Writes on condition that what it has read still stands."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        for _ in range(20):
            row = self.db.execute("SELECT text FROM records WHERE id = ?", (key,)).fetchone()
            standing = None if row is None else Record(*json.loads(row[0]))
            if not same_version(standing, expected):
                return standing
            if row is None:
                if new is None:
                    return None
                sql = "INSERT INTO records VALUES (?, ?) ON CONFLICT DO NOTHING"
                args: tuple[Any, ...] = (key, json.dumps(new))
            elif new is None:
                sql, args = "DELETE FROM records WHERE id = ? AND text = ?", (key, row[0])
            else:
                sql = "UPDATE records SET text = ? WHERE id = ? AND text = ?"
                args = (json.dumps(new), key, row[0])
            if self.db.execute(sql, args).rowcount:
                return new
        raise RuntimeError("never quiet")


class OverSQLiteInOneTransaction(OverSQLite):
    """Takes the write lock before it looks, by a cursor."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        cursor = self.db.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        try:
            return super()._swap(key, expected, new, keep_ms)
        finally:
            cursor.execute("COMMIT")
            cursor.close()
