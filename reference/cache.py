"""The local cache of one decorated function: completed records, least recently used out first."""

from collections import OrderedDict
from contextlib import AbstractContextManager, suppress
from typing import Any

from ..backends.forksafe import give_lock
from ..spec.record import COMPLETED, Record


class LocalCache:
    """Keeps completed records in the process. Thread-safe and bounded.

    It decides nothing: whether a record still counts, the specification says, by the engine's clock.

    Parameters
    ----------
    max_items
        How many records it keeps.
    """

    _lock: AbstractContextManager[Any]

    def __init__(self, max_items: int) -> None:
        self._max_items = max_items
        self._records: OrderedDict[str, Record] = OrderedDict()
        give_lock(self)

    def get(self, key: str) -> Record | None:
        """Return the record of ``key``, which becomes the most recently used, or None."""
        with self._lock:
            record = self._records.get(key)
            if record is not None:
                self._touch(key)
            return record

    def put(self, record: Record) -> None:
        """Keep ``record`` if it is completed; the least recently used one makes room."""
        if record.status != COMPLETED:
            return
        with self._lock:
            self._records[record.idempotency_key] = record
            self._touch(record.idempotency_key)
            while len(self._records) > self._max_items:
                self._records.popitem(last=False)

    def discard(self, record: Record) -> None:
        """Forget ``record``, unless a newer one has taken its place."""
        with self._lock:
            if self._records.get(record.idempotency_key) is record:
                self._records.pop(record.idempotency_key, None)

    def _touch(self, key: str) -> None:
        with suppress(KeyError):  # a signal's handler may have made a call of its own, and room for it
            self._records.move_to_end(key)

    def __len__(self) -> int:
        return len(self._records)
