"""Layers over dictionaries for the tests of the exclusion tier: each broken layer next to a correct one.

In a race of a blocking layer, each line of its source files is a pause, including inherited methods.
"""

import asyncio
import threading
import time
from typing import Any

from idemproof import BasePersistenceLayer, CompareAndSwapLayer, DataRecord, Record
from idemproof.backends.base import AsyncCompareAndSwapLayer
from idemproof.errors import IdempotencyItemAlreadyExistsError, IdempotencyItemNotFoundError
from idemproof.spec.record import live, same_version


# Inherits neither `LooksThenWrites` nor, below, `FourMethods`: their lines would be pauses too.
class UnlockedDictionary(CompareAndSwapLayer):
    """Reads, then writes, without a lock."""

    def __init__(self) -> None:
        self.rows: dict[str, Record] = {}

    def _load(self, key: str) -> Record | None:
        return self.rows.get(key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        current = self.rows.get(key)
        if not same_version(current, expected):
            return current
        if new is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = new
        return new


class LockedDictionary(UnlockedDictionary):
    """Swaps under a lock."""

    def __init__(self, lock: Any = None) -> None:
        super().__init__()
        self.lock = lock or threading.Lock()

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        with self.lock:
            return super()._swap(key, expected, new, ttl_ms)


_module_lock = threading.RLock()


class GloballyLockedDictionary(LockedDictionary):
    """Swaps under a lock of the module, acquired twice."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        with _module_lock, _module_lock:
            return super()._swap(key, expected, new, ttl_ms)


class ClosedOverLock(UnlockedDictionary):
    """Swaps under a lock in a closure, which the suite cannot find."""

    def __init__(self) -> None:
        super().__init__()
        lock = threading.Lock()
        swap = super()._swap

        def locked(*args: Any) -> Record | None:
            with lock:
                return swap(*args)

        self.locked = locked

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        return self.locked(key, expected, new, ttl_ms)


class LocksInOppositeOrder(UnlockedDictionary):
    """Acquires two locks, in the opposite order for releases."""

    def __init__(self) -> None:
        super().__init__()
        self.locks = [threading.Lock(), threading.Lock()]

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        first, second = self.locks if new is not None else reversed(self.locks)
        with first:  # noqa: SIM117 - on one line, there is no pause in between
            with second:
                return super()._swap(key, expected, new, ttl_ms)


class Slotted(UnlockedDictionary):
    """Keeps its rows in a slot, and uses a lock of its class."""

    __slots__ = ("rows",)
    _guard = threading.Lock()

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        with self._guard:
            return super()._swap(key, expected, new, ttl_ms)


class AsyncReadThenWrite(AsyncCompareAndSwapLayer):
    """Lets other tasks run between the read and the write."""

    pause_seconds = 0.0

    def __init__(self, rows: dict[str, Record] | None = None) -> None:
        self.rows: dict[str, Record] = {} if rows is None else rows

    async def _load(self, key: str) -> Record | None:
        return self.rows.get(key)

    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, ttl_ms: int
    ) -> Record | None:
        current = self.rows.get(key)
        await asyncio.sleep(self.pause_seconds)
        if not same_version(current, expected):
            return current
        self.rows.pop(key, None)
        if new is not None:
            self.rows[key] = new
        return new


class AsyncLocked(AsyncReadThenWrite):
    """Swaps under a lock."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = asyncio.Lock()

    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, ttl_ms: int
    ) -> Record | None:
        async with self.lock:
            return await super()._swap(key, expected, new, ttl_ms)


class FourMethodsUnlocked(BasePersistenceLayer):
    """Has the four methods, decides by its own clock, and stores no owners."""

    def __init__(self) -> None:
        self.rows: dict[str, Record] = {}

    def _get_record(self, idempotency_key: str) -> DataRecord:
        try:
            return DataRecord.of(self.rows[idempotency_key])
        except KeyError:
            raise IdempotencyItemNotFoundError from None

    def _put_record(self, data_record: DataRecord) -> None:
        current = self.rows.get(data_record.idempotency_key)
        if current is not None and live(current, time.time_ns() // 1_000_000):
            raise IdempotencyItemAlreadyExistsError(old_data_record=current)
        self.rows[data_record.idempotency_key] = Record(*data_record[:7])

    def _update_record(self, data_record: DataRecord) -> None:
        self.rows[data_record.idempotency_key] = Record(*data_record[:7])

    def _delete_record(self, data_record: DataRecord) -> None:
        self.rows.pop(data_record.idempotency_key, None)


class WritesUnderALock(BasePersistenceLayer):
    """Runs each method that writes under ``lock``."""

    lock: Any

    def _put_record(self, data_record: DataRecord) -> None:
        with self.lock:
            super()._put_record(data_record)

    def _update_record(self, data_record: DataRecord) -> None:
        with self.lock:
            super()._update_record(data_record)

    def _delete_record(self, data_record: DataRecord) -> None:
        with self.lock:
            super()._delete_record(data_record)


class FourMethodsLocked(WritesUnderALock, FourMethodsUnlocked):
    """Has the four methods, with a lock for every write."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class FourMethodsLockedForPuts(FourMethodsLocked):
    """Omits the lock where it stores a result."""

    def _update_record(self, data_record: DataRecord) -> None:
        FourMethodsUnlocked._update_record(self, data_record)
