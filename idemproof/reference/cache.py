"""The local cache of one decorated function: completed records, least recently used out first."""

from collections import OrderedDict
from contextlib import AbstractContextManager
from typing import Any

from ..drivers.forksafe import give_lock
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
        # What an operator forgets: a call that has read it before may only now want to keep it.
        self._forgotten: OrderedDict[str, Record] = OrderedDict()
        give_lock(self)

    def get(self, key: str) -> Record | None:
        """Return the record of ``key``, which becomes the most recently used, or None."""
        records = self._records
        with self._lock:
            record = records.get(key)
            if record is not None:
                try:  # noqa: SIM105 - which takes a microsecond
                    records.move_to_end(key)
                except KeyError:
                    pass  # a signal's handler has made a call of its own, and made space
            return record

    def put(self, record: Record) -> None:
        """Keep ``record`` if it is completed. A full cache drops the least recently used record."""
        key, records = record.idempotency_key, self._records
        if record.status != COMPLETED:
            return
        with self._lock:
            if records.get(key) is record:
                return  # it has just been found here
            if self._forgotten and self._forgotten.get(key) == record:
                return
            records.pop(key, None)  # a newer one goes to the end
            records[key] = record
            while len(records) > self._max_items:
                records.popitem(last=False)

    def discard(self, record: Record) -> None:
        """Forget ``record``, unless a newer one has taken its place."""
        with self._lock:
            if self._records.get(record.idempotency_key) is record:
                self._records.pop(record.idempotency_key, None)

    def forget(self, key: str, record: Record | None) -> None:
        """Forget what is kept for ``key``, and keep this version of its record no more."""
        with self._lock:
            self._records.pop(key, None)
            if record is not None:
                self._forgotten[key] = record
                while len(self._forgotten) > self._max_items:
                    self._forgotten.popitem(last=False)

    def __len__(self) -> int:
        return len(self._records)
