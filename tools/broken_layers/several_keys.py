"""Layers in which requests for different keys disturb each other (CAS-6), and their correct twins."""

# ruff: noqa: D102 - what is overridden is documented where it comes from

import fcntl
import json
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from idemproof.backends.base import CompareAndSwapLayer
from idemproof.backends.clock import wall_clock_ms
from idemproof.conformance.suite.factories import Factory
from idemproof.spec.record import COMPLETED, Record, expiry_ms, same_version

from .exhibits import broken, correct
from .foundations import AsyncDictionary, Dictionary

_BUCKETS = 16
_LOCKS = 64


class _LockForEachKey(Dictionary):
    """A lock for each key, and a table that all keys share."""

    def __init__(self) -> None:
        super().__init__()
        self.locks = [threading.Lock() for _ in range(_LOCKS)]

    def _load(self, key: str) -> Record | None:
        return self.rows.get(key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:  # noqa: ARG002
        with self.lock_of(key):
            current = self.rows.get(key)
            if not same_version(current, expected):
                return current
            self.write(key, new)
            return new

    def lock_of(self, key: str) -> threading.Lock:
        """Return the lock of a key."""
        return self.locks[hash(key) % _LOCKS]

    def replace_table(self, key: str, new: Record | None) -> None:
        """Copy the whole table, change the copy, and put it in the place of the table."""
        table = dict(self.rows)
        if new is None:
            table.pop(key, None)
        else:
            table[key] = new
        self.rows = table


@correct()
class ByALockForEachKey(_LockForEachKey):
    """A lock for each key; a write changes its own key alone."""


@correct()
class ByReplacingTheTable(Dictionary):
    """One lock for all keys; a write replaces the whole table."""

    def write(self, key: str, new: Record | None) -> None:
        table = {other: record for other, record in self.rows.items() if other != key}
        self.rows = table if new is None else {**table, key: new}


@broken(CAS_6="exclusion", INV_1="exclusion")
class ReplacesTheTable(_LockForEachKey):
    """It locks the key alone, but a write replaces the whole table."""

    def write(self, key: str, new: Record | None) -> None:
        self.replace_table(key, new)


@broken(CAS_6="exclusion")
class ReplacesTheTableToDelete(_LockForEachKey):
    """It locks the key alone, and a deletion replaces the whole table."""

    def write(self, key: str, new: Record | None) -> None:
        if new is not None:
            self.rows[key] = new
        else:
            self.replace_table(key, None)


@broken(CAS_6="exclusion")
class ReplacesTheTableToComplete(_LockForEachKey):
    """It locks the key alone, and the storage of a result replaces the whole table."""

    def write(self, key: str, new: Record | None) -> None:
        if new is None or new.status != COMPLETED:
            super().write(key, new)
        else:
            self.replace_table(key, new)


@broken(CAS_6="exclusion")
class CountsReadsInTheTable(_LockForEachKey):
    """Its load replaces the whole table, to note when a key was last read."""

    def _load(self, key: str) -> Record | None:
        found = self.rows.get(key)
        self.replace_table(key, found)
        return found


def _bucket_of(key: str) -> int:
    return sum(key.encode()) % _BUCKETS


@broken(CAS_6="exclusion")
class ReplacesABucket(_LockForEachKey):
    """It locks the key alone, but a write replaces the sixteenth of the table that the key is in."""

    def __init__(self) -> None:
        super().__init__()
        self.buckets: list[dict[str, Record]] = [{} for _ in range(_BUCKETS)]

    def _load(self, key: str) -> Record | None:
        return self.buckets[_bucket_of(key)].get(key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:  # noqa: ARG002
        with self.lock_of(key):
            bucket = dict(self.buckets[_bucket_of(key)])
            if not same_version(bucket.get(key), expected):
                return bucket.get(key)
            if new is None:
                bucket.pop(key, None)
            else:
                bucket[key] = new
            self.buckets[_bucket_of(key)] = bucket
            return new


@broken(CAS_6="exclusion")
class PurgesWhatHasBeenReplaced(_LockForEachKey):
    """Each write deletes expired records, and does not look again whether they have been replaced."""

    def write(self, key: str, new: Record | None) -> None:
        super().write(key, new)
        now = wall_clock_ms()
        over = [other for other, record in list(self.rows.items()) if expiry_ms(record) <= now]
        for other in over:
            self.rows.pop(other, None)


class _AnObject(Dictionary):
    """Several objects over one table and one lock."""

    def __init__(self, rows: dict[str, Record], lock: threading.Lock) -> None:
        super().__init__()
        self.rows = rows
        self.lock = lock

    @classmethod
    def factory(cls) -> Factory:
        """Return a factory of layers of this class over one table."""
        return partial(cls, {}, threading.Lock())


@broken(CAS_1="exclusion")
class KeepsTheRequestInTheObject(_AnObject):
    """It keeps what it is reading in an attribute, so two requests of one object mix their records up."""

    record: Record | None = None

    def _load(self, key: str) -> Record | None:
        self.record = self.rows.get(key)
        return self.record


@broken(CAS_6="exclusion")
class AwaitsWithTheTable(AsyncDictionary):
    """It copies the table, awaits, and puts the copy in its place, while another task writes another key."""

    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, _keep_ms: int
    ) -> Record | None:
        current = self.rows.get(key)
        if not same_version(current, expected):
            return current
        table = dict(self.rows)
        self.write(key, new)
        await self._load(key)
        self.rows = {**table, **({} if new is None else {key: new})}
        return new


class _File(CompareAndSwapLayer):
    """All records in one file of JSON, which a write replaces under a lock on another file."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    @classmethod
    def factory(cls) -> Factory:
        """Return a factory of layers of this class over a new file."""
        return _Folder(cls)

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold the lock of this name, against other processes too."""
        with self.path.with_suffix(f".{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def table(self) -> dict[str, Any]:
        """Return all records."""
        found: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}
        return found

    def _load(self, key: str) -> Record | None:
        row = self.table().get(key)
        return None if row is None else Record(*row)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:  # noqa: ARG002
        with self.locked("all"):
            return self.replace(key, expected, new)

    def replace(self, key: str, expected: Record | None, new: Record | None) -> Record | None:
        """Read the file, compare, and replace the whole file."""
        table = self.table()
        row = table.pop(key, None)
        current = None if row is None else Record(*row)
        if not same_version(current, expected):
            return current
        if new is not None:
            table[key] = new
        with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False) as file:
            json.dump(table, file)
        Path(file.name).replace(self.path)
        return new


class _Folder:
    """A factory of layers over one file, whose folder is deleted when the factory is garbage collected."""

    def __init__(self, kind: type[_File]) -> None:
        folder = tempfile.mkdtemp(prefix="idemproof-broken-layers-")
        self._make = partial(kind, str(Path(folder, "records.json")))
        self._remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def __call__(self) -> _File:
        """Return another layer over the file."""
        return self._make()

    def __reduce__(self) -> Any:
        return partial, (self._make.func, *self._make.args)


@correct()
class ByAFile(_File):
    """A file of JSON with all records, and one lock file for all keys."""


@broken(CAS_6="exclusion")
class ReplacesTheFile(_File):
    """It has a lock file for each key, but a write replaces the file with the records of all keys."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:  # noqa: ARG002
        with self.locked(key.rpartition("#")[2]):
            return self.replace(key, expected, new)


@broken(CAS_6="concurrency")
class ReplacesTheFileOfAllProcesses(_File):
    """One lock keeps the threads of a process apart, but processes have a lock file for each key."""

    mutex = threading.Lock()

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:  # noqa: ARG002
        with self.mutex, self.locked(key.rpartition("#")[2]):
            return self.replace(key, expected, new)
