"""Small right layers, one of each flavour, made so that one step can be overridden."""

import asyncio
import threading
import time

from ...backends.base import AsyncCompareAndSwapLayer, BasePersistenceLayer, CompareAndSwapLayer
from ...backends.records import DataRecord
from ...spec.errors import IdempotencyItemAlreadyExistsError, IdempotencyItemNotFoundError
from ...spec.record import Record, live, same_version
from ..suite.factories import Factory


class Dictionary(CompareAndSwapLayer):
    """A dictionary and a lock."""

    blocks = False

    def __init__(self) -> None:
        self.rows: dict[str, Record] = {}
        self.lock = threading.Lock()

    @classmethod
    def factory(cls) -> Factory:
        """Return what makes layers of this class; each has a dictionary of its own."""
        return cls

    def _load(self, key: str) -> Record | None:
        with self.lock:
            return self.read(key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:  # noqa: ARG002
        with self.lock:
            standing = self.read(key)
            if not self.may_replace(standing, expected, new):
                return standing
            self.write(key, new)
            return new

    def read(self, key: str) -> Record | None:
        """Return what stands."""
        return self.rows.get(key)

    def may_replace(self, standing: Record | None, expected: Record | None, new: Record | None) -> bool:  # noqa: ARG002
        """Tell whether what stands is what is expected."""
        return same_version(standing, expected)

    def write(self, key: str, new: Record | None) -> None:
        """Let ``new`` stand, or nothing."""
        if new is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = new


class AsyncDictionary(AsyncCompareAndSwapLayer):
    """A dictionary and an asyncio lock."""

    blocks = False

    def __init__(self) -> None:
        self.rows: dict[str, Record] = {}
        self.lock = asyncio.Lock()

    @classmethod
    def factory(cls) -> Factory:
        """Return what makes layers of this class; each has a dictionary of its own."""
        return cls

    async def _load(self, key: str) -> Record | None:
        await asyncio.sleep(0)
        return self.rows.get(key)

    async def _swap(
        self,
        key: str,
        expected: Record | None,
        new: Record | None,
        keep_ms: int,  # noqa: ARG002
    ) -> Record | None:
        async with self.lock:
            standing = self.rows.get(key)
            await asyncio.sleep(0)
            if not same_version(standing, expected):
                return standing
            self.write(key, new)
            return new

    def write(self, key: str, new: Record | None) -> None:
        """Let ``new`` stand, or nothing."""
        if new is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = new


class FourMethods(BasePersistenceLayer):
    """The four documented methods over a dictionary and a lock: judges by its clock, knows no owner."""

    blocks = False

    def __init__(self) -> None:
        self.rows: dict[str, Record] = {}
        self.lock = threading.Lock()

    @classmethod
    def factory(cls) -> Factory:
        """Return what makes layers of this class; each has a dictionary of its own."""
        return cls

    def _get_record(self, idempotency_key: str) -> DataRecord:
        with self.lock:
            standing = self.rows.get(idempotency_key)
        if standing is None:
            raise IdempotencyItemNotFoundError
        return DataRecord.of(standing)

    def _put_record(self, data_record: DataRecord) -> None:
        with self.lock:
            standing = self.rows.get(data_record.idempotency_key)
            if standing is not None and self.live(standing):
                raise IdempotencyItemAlreadyExistsError(old_data_record=DataRecord.of(standing))
            self.rows[data_record.idempotency_key] = self.kept(data_record)

    def _update_record(self, data_record: DataRecord) -> None:
        with self.lock:
            self.rows[data_record.idempotency_key] = self.kept(data_record)

    def _delete_record(self, data_record: DataRecord) -> None:
        with self.lock:
            self.rows.pop(data_record.idempotency_key, None)

    def kept(self, record: DataRecord) -> Record:
        """Return the record as it is stored."""
        return Record(*record)._replace(owner=None)

    def live(self, record: Record) -> bool:
        """Tell whether a record counts, by the wall clock."""
        return live(record, self.now())

    def now(self) -> int:
        """Return the epoch milliseconds that it is."""
        return time.time_ns() // 1_000_000
