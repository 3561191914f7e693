"""Small correct layers, one of each kind, in which a subclass can override one step.

At the end is a fault that several kinds have: they read, and then store.
"""

import asyncio
import threading
from abc import abstractmethod

from idemproof.backends.base import (
    AsyncBasePersistenceLayer,
    AsyncCompareAndSwapLayer,
    BasePersistenceLayer,
    CompareAndSwapLayer,
)
from idemproof.backends.clock import wall_clock_ms
from idemproof.backends.records import DataRecord
from idemproof.conformance.suite.factories import Factory
from idemproof.spec.errors import IdempotencyItemAlreadyExistsError, IdempotencyItemNotFoundError
from idemproof.spec.record import Record, live, same_version


class OnItsOwn:
    """A layer that shares its store with no other."""

    @classmethod
    def factory(cls) -> Factory:
        """Return a factory of layers of this class, each with a separate store."""
        return cls


class Rows(OnItsOwn):
    """Keeps records in a dictionary."""

    blocks = False

    def __init__(self) -> None:
        self.rows: dict[str, Record] = {}

    def write(self, key: str, new: Record | None) -> None:
        """Store ``new``, or delete the record if it is None."""
        if new is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = new


class Dictionary(Rows, CompareAndSwapLayer):
    """A dictionary and a lock."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def _load(self, key: str) -> Record | None:
        with self.lock:
            return self.read(key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:  # noqa: ARG002
        with self.lock:
            current = self.read(key)
            if not self.may_replace(current, expected, new):
                return current
            self.write(key, new)
            return new

    def read(self, key: str) -> Record | None:
        """Return the stored record."""
        return self.rows.get(key)

    def may_replace(self, current: Record | None, expected: Record | None, new: Record | None) -> bool:  # noqa: ARG002
        """Return whether the stored record is the expected one."""
        return same_version(current, expected)


class AsyncDictionary(Rows, AsyncCompareAndSwapLayer):
    """A dictionary and an asyncio lock."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = asyncio.Lock()

    async def _load(self, key: str) -> Record | None:
        await asyncio.sleep(0)
        return self.rows.get(key)

    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, _keep_ms: int
    ) -> Record | None:
        async with self.lock:
            return await self.replace(key, expected, new)

    async def replace(self, key: str, expected: Record | None, new: Record | None) -> Record | None:
        """Read, wait for the store, and write; return the stored record."""
        current = self.rows.get(key)
        await asyncio.sleep(0)
        if not same_version(current, expected):
            return current
        self.write(key, new)
        return new


class _FourSteps(Rows):
    """The steps of the four documented methods under their lock; decides by its clock, stores no owner."""

    def found(self, key: str) -> DataRecord:
        """Return the stored record, or raise as documented."""
        current = self.rows.get(key)
        if current is None:
            raise IdempotencyItemNotFoundError
        return DataRecord.of(current)

    def refuse(self, current: Record | None) -> None:
        """Raise as documented if the stored record is live."""
        if current is not None and self.live(current):
            raise IdempotencyItemAlreadyExistsError(old_data_record=DataRecord.of(current))

    def keep(self, record: DataRecord) -> None:
        """Store a record without its owner."""
        self.rows[record.idempotency_key] = record.as_record()._replace(owner=None)

    def live(self, record: Record) -> bool:
        """Return whether a record is live by the wall clock."""
        return live(record, self.now())

    def now(self) -> int:
        """Return the current time (epoch milliseconds)."""
        return wall_clock_ms()


class FourMethods(_FourSteps, BasePersistenceLayer):
    """The four documented methods over a dictionary and a lock."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def _get_record(self, idempotency_key: str) -> DataRecord:
        with self.lock:
            return self.found(idempotency_key)

    def _put_record(self, data_record: DataRecord) -> None:
        with self.lock:
            self.refuse(self.rows.get(data_record.idempotency_key))
            self.keep(data_record)

    def _update_record(self, data_record: DataRecord) -> None:
        with self.lock:
            self.keep(data_record)

    def _delete_record(self, data_record: DataRecord) -> None:
        with self.lock:
            self.write(data_record.idempotency_key, None)


class AsyncFourMethods(_FourSteps, AsyncBasePersistenceLayer):
    """The four methods for ``async def``, over a dictionary and an asyncio lock."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = asyncio.Lock()

    async def _get_record(self, idempotency_key: str) -> DataRecord:
        await asyncio.sleep(0)
        return self.found(idempotency_key)

    async def _put_record(self, data_record: DataRecord) -> None:
        async with self.lock:
            await self.put(data_record)

    async def put(self, data_record: DataRecord) -> None:
        """Read, wait for the store, and write."""
        current = self.rows.get(data_record.idempotency_key)
        await asyncio.sleep(0)
        self.refuse(current)
        self.keep(data_record)

    async def _update_record(self, data_record: DataRecord) -> None:
        async with self.lock:
            await asyncio.sleep(0)
            self.keep(data_record)

    async def _delete_record(self, data_record: DataRecord) -> None:
        async with self.lock:
            await asyncio.sleep(0)
            self.write(data_record.idempotency_key, None)


class Overwriting(CompareAndSwapLayer):
    """A layer that can also store unconditionally, for broken subclasses."""

    @abstractmethod
    def store(self, key: str, new: Record | None, ttl_ms: int) -> None:
        """Store ``new``, or delete the record if it is None, whatever is stored now."""


class LooksThenStores(Overwriting):
    """A mixin for a correct layer: it reads, compares, and then stores, so others may write in between."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        if not self.in_steps(expected, new):
            return super()._swap(key, expected, new, ttl_ms)  # type: ignore[safe-super]  # of the correct layer
        current = self._load(key)
        if not same_version(current, expected):
            return current
        self.store(key, new, ttl_ms)
        return new

    def in_steps(self, _expected: Record | None, _new: Record | None) -> bool:
        """Return whether this swap is done in steps, and not atomically."""
        return True
