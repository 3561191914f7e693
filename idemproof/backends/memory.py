"""A layer in the memory of the process, for tests and for work in a single process."""

from contextlib import AbstractContextManager
from typing import Any, NoReturn

from ..drivers.forksafe import give_lock
from ..spec.errors import IdempotencyPersistenceConfigError
from ..spec.record import Record, expiry_ms, same_version
from .base import AsyncCompareAndSwapLayer, CompareAndSwapLayer
from .housekeeping import MARGIN_MS, callers_now, evictable
from .waiters import Waiters

_PURGE_EVERY = 1024


class InMemoryPersistenceLayer(CompareAndSwapLayer):
    """Stores records in a dictionary. Thread-safe.

    The records are lost when the process ends, and a forked child has its own copy. Expired records are
    deleted while new ones are written.
    """

    blocks = False
    _lock: AbstractContextManager[Any]

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._writes_until_purge = _PURGE_EVERY
        self._waiters = Waiters()
        give_lock(self)

    def __reduce__(self) -> NoReturn:
        raise IdempotencyPersistenceConfigError(
            f"{type(self).__name__} cannot be copied or pickled, because the copy would be another store and "
            "operations would run again. Share the layer itself. For several processes, use "
            "SQLitePersistenceLayer."
        )

    def _load(self, key: str) -> Record | None:
        return self._records.get(key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        with self._lock:
            while True:
                current = self._records.get(key)
                if current is not expected and not same_version(current, expected):
                    return current
                if self._replace(key, current, new):
                    break
            if self._waiters.by_key:
                self._waiters.wake(key)
            if new is not None:
                self._writes_until_purge -= 1
                if self._writes_until_purge <= 0:
                    self._purge(callers_now(new, ttl_ms) - MARGIN_MS)
            return new

    def _replace(self, key: str, current: Record | None, new: Record | None) -> bool:
        """Replace ``current`` with ``new``; return whether ``current`` was still stored.

        This calls nothing and has no loop, so no signal handler can run in between and change the record.
        """
        records = self._records
        if (records[key] if key in records else None) is not current:  # noqa: SIM401 - get() is a call
            return False
        if new is not None:
            records[key] = new
        elif current is not None:
            del records[key]
        return True

    def _wait_for_change(self, key: str, seen: Record, seconds: float) -> bool:
        return self._waiters.wait(key, lambda: self._records.get(key) != seen, seconds)

    async def _wait_for_change_async(self, key: str, seen: Record, seconds: float) -> bool:
        return await self._waiters.wait_async(key, lambda: self._records.get(key) != seen, seconds)

    def purge(self, now: int | None = None) -> int:
        """Delete all expired records and return how many there were.

        Parameters
        ----------
        now
            Epoch milliseconds; the layer's clock if not given.
        """
        with self._lock:
            return self._purge(self.clock() if now is None else now)

    def _purge(self, now: int) -> int:
        over = [item for item in list(self._records.items()) if expiry_ms(item[1]) <= now]
        gone = sum(evictable(record, now) and self._replace(key, record, None) for key, record in over)
        # In proportion to the number of records, so that the cost of a write stays constant.
        self._writes_until_purge = max(_PURGE_EVERY, 2 * len(self._records))
        return gone

    def __len__(self) -> int:
        return len(self._records)

    def __bool__(self) -> bool:
        return True


class AsyncInMemoryPersistenceLayer(AsyncCompareAndSwapLayer):
    """:class:`InMemoryPersistenceLayer` for ``async def`` functions."""

    blocks = False

    def __init__(self) -> None:
        self._layer = InMemoryPersistenceLayer()

    async def _load(self, key: str) -> Record | None:
        return self._layer._load(key)

    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, ttl_ms: int
    ) -> Record | None:
        return self._layer._swap(key, expected, new, ttl_ms)

    async def _wait_for_change(self, key: str, seen: Record, seconds: float) -> bool:
        return await self._layer._wait_for_change_async(key, seen, seconds)

    async def purge(self, now: int | None = None) -> int:
        """Delete all expired records and return how many there were; ``now`` in epoch milliseconds."""
        return self._layer.purge(self.clock() if now is None else now)

    def __len__(self) -> int:
        return len(self._layer)

    def __bool__(self) -> bool:
        return True
