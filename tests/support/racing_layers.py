"""Layers over dictionaries, for the tests of the exclusion tier: each fault beside its remedy.

Where a blocking layer is raced, each line of its own files is a pause: what it inherits counts too.
"""

import asyncio
import threading
import time
from typing import Any

from idemproof import BasePersistenceLayer, CompareAndSwapLayer, DataRecord, Record
from idemproof.backends.base import AsyncCompareAndSwapLayer
from idemproof.errors import IdempotencyItemAlreadyExistsError, IdempotencyItemNotFoundError
from idemproof.spec.record import live, same_version


# Not a `LooksThenWrites`, and `FourUnlocked` no `FourMethods`: lines of theirs would be pauses too.
class UnlockedDictionary(CompareAndSwapLayer):
    """Looks, then writes."""

    def __init__(self) -> None:
        self.rows: dict[str, Record] = {}

    def _load(self, key: str) -> Record | None:
        return self.rows.get(key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        standing = self.rows.get(key)
        if not same_version(standing, expected):
            return standing
        if new is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = new
        return new


class LockedDictionary(UnlockedDictionary):
    """The same under a lock."""

    def __init__(self, lock: Any = None) -> None:
        super().__init__()
        self.lock = lock or threading.Lock()

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        with self.lock:
            return super()._swap(key, expected, new, keep_ms)


_everybodys = threading.RLock()


class GloballyLockedDictionary(LockedDictionary):
    """With a lock of its module, taken twice."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        with _everybodys, _everybodys:
            return super()._swap(key, expected, new, keep_ms)


class ClosedOverLock(UnlockedDictionary):
    """With a lock that nobody can find."""

    def __init__(self) -> None:
        super().__init__()
        lock = threading.Lock()
        swap = super()._swap

        def locked(*args: Any) -> Record | None:
            with lock:
                return swap(*args)

        self.locked = locked

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        return self.locked(key, expected, new, keep_ms)


class LockedTheWrongWayRound(UnlockedDictionary):
    """Takes two locks, in another order for releases."""

    def __init__(self) -> None:
        super().__init__()
        self.locks = [threading.Lock(), threading.Lock()]

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        first, second = self.locks if new is not None else reversed(self.locks)
        with first:  # noqa: SIM117 - on one line, nobody could come in between
            with second:
                return super()._swap(key, expected, new, keep_ms)


class Slotted(UnlockedDictionary):
    """Keeps its rows in a slot, and has the lock of its class."""

    __slots__ = ("rows",)
    _guard = threading.Lock()

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        with self._guard:
            return super()._swap(key, expected, new, keep_ms)


class AsyncWithAPause(AsyncCompareAndSwapLayer):
    """Lets other tasks run between looking and writing."""

    pause_seconds = 0.0

    def __init__(self, rows: dict[str, Record] | None = None) -> None:
        self.rows: dict[str, Record] = {} if rows is None else rows

    async def _load(self, key: str) -> Record | None:
        return self.rows.get(key)

    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, keep_ms: int
    ) -> Record | None:
        standing = self.rows.get(key)
        await asyncio.sleep(self.pause_seconds)
        if not same_version(standing, expected):
            return standing
        self.rows.pop(key, None)
        if new is not None:
            self.rows[key] = new
        return new


class AsyncLocked(AsyncWithAPause):
    """The same under a lock."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = asyncio.Lock()

    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, keep_ms: int
    ) -> Record | None:
        async with self.lock:
            return await super()._swap(key, expected, new, keep_ms)


class FourUnlocked(BasePersistenceLayer):
    """By the four methods, decides by its own clock, knows no owner."""

    def __init__(self) -> None:
        self.rows: dict[str, Record] = {}

    def _get_record(self, idempotency_key: str) -> DataRecord:
        try:
            return DataRecord.of(self.rows[idempotency_key])
        except KeyError:
            raise IdempotencyItemNotFoundError from None

    def _put_record(self, data_record: DataRecord) -> None:
        standing = self.rows.get(data_record.idempotency_key)
        if standing is not None and live(standing, time.time_ns() // 1_000_000):
            raise IdempotencyItemAlreadyExistsError(old_data_record=standing)
        self.rows[data_record.idempotency_key] = Record(*data_record[:7])

    def _update_record(self, data_record: DataRecord) -> None:
        self.rows[data_record.idempotency_key] = Record(*data_record[:7])

    def _delete_record(self, data_record: DataRecord) -> None:
        self.rows.pop(data_record.idempotency_key, None)


class WritesUnderALock(BasePersistenceLayer):
    """Does each of the methods that write as a whole."""

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


class FourLocked(WritesUnderALock, FourUnlocked):
    """The same under a lock, in all that writes."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class FourLockedForPuts(FourLocked):
    """Forgets the lock where it stores a result."""

    def _update_record(self, data_record: DataRecord) -> None:
        FourUnlocked._update_record(self, data_record)
