"""Layers that return stale records, or whose records other objects over the same store miss (CAS-1)."""

# ruff: noqa: D102 - what is overridden is documented where it comes from

import threading
from collections import defaultdict
from collections.abc import Callable
from functools import partial

from idemproof.conformance.suite.capabilities import Capabilities
from idemproof.conformance.suite.factories import Factory
from idemproof.spec.record import Record, same_version

from .exhibits import broken
from .foundations import Dictionary
from .over_sqlite import Table

_LAG = 2


@broken(CAS_1="contract")
class ReadsFromAReplica(Dictionary):
    """Its load reads from a replica, which shows a write only at the third read."""

    def __init__(self) -> None:
        super().__init__()
        self.replica: dict[str, Record | None] = {}
        self.reads: dict[str, int] = {}

    def _load(self, key: str) -> Record | None:
        with self.lock:
            self.reads[key] = self.reads.get(key, 0) + 1
            return self.replica.get(key) if self.reads[key] <= _LAG else self.rows.get(key)

    def write(self, key: str, new: Record | None) -> None:
        self.replica[key], self.reads[key] = self.rows.get(key), 0
        super().write(key, new)


@broken(CAS_1="contract")
class RemembersAbsence(Table):
    """It caches that a key has no record, and does not ask the store again."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.absent: set[str] = set()

    def _load(self, key: str) -> Record | None:
        if key in self.absent:
            return None
        found = super()._load(key)
        if found is None:
            self.absent.add(key)
        return found


@broken(CAS_1="contract")
class RemembersWhatItRead(Table):
    """It answers a load from a cache, which misses later writes of other workers."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.cache: dict[str, Record | None] = {}

    def _load(self, key: str) -> Record | None:
        if key not in self.cache:
            self.cache[key] = super()._load(key)
        return self.cache[key]

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        self.cache[key] = found = super()._swap(key, expected, new, ttl_ms)
        return found


@broken(INV_1="exclusion")
class KeepsRecordsPerThread(Dictionary):
    """Each thread has its own dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.of_thread: dict[int, dict[str, Record]] = defaultdict(dict)

    def read(self, key: str) -> Record | None:
        return self.of_thread[threading.get_ident()].get(key)

    def write(self, key: str, new: Record | None) -> None:
        mine = self.of_thread[threading.get_ident()]
        if new is None:
            mine.pop(key, None)
        else:
            mine[key] = new


class Host:
    """The memory that several layers of one process share."""

    def __init__(self) -> None:
        self.rows: dict[str, Record] = {}
        self.lock = threading.Lock()


class OnAHost(Dictionary):
    """Layers of one process share a dictionary and its lock."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self.rows = host.rows
        self.lock = host.lock

    @classmethod
    def factory(cls) -> Factory:
        """Return a factory of layers of this class over one dictionary."""
        made: Callable[[], OnAHost] = partial(cls, Host())
        return made


@broken(CAS_1="contract", CAS_2="contract")
class CountsOwnersPerObject(OnAHost):
    """It keeps the owners in the layer object, so another object does not know them."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.owners: dict[str, str | None] = {}

    def read(self, key: str) -> Record | None:
        found = super().read(key)
        return None if found is None else found._replace(owner=self.owners.get(key))

    def write(self, key: str, new: Record | None) -> None:
        if new is not None:
            self.owners[key] = new.owner
            new = new._replace(owner=None)
        super().write(key, new)


@broken(CAS_4="exclusion", INV_1="exclusion")
class LocksPerObject(OnAHost):
    """Each layer object has its own lock for the dictionary that all share."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.lock = threading.Lock()


@broken(CAS_6="durability", capabilities=Capabilities(durable=True))
class WritesLater(Table):
    """It acknowledges a write but stores it with its next request, so it loses the last write."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.last: tuple[str, Record | None, int] | None = None

    def _load(self, key: str) -> Record | None:
        self.flush()
        return super()._load(key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        with self.lock:
            current = self._load(key)
            if not same_version(current, expected):
                return current
            self.last = (key, new, ttl_ms)
            return new

    def flush(self) -> None:
        """Store the record that was acknowledged last."""
        last, self.last = self.last, None
        if last is not None:
            self.store(*last)


@broken(CAS_6="durability", capabilities=Capabilities(durable=True))
class ForgetsOnRestart(OnAHost):
    """It claims to be durable, but keeps all records in the memory of its process."""

    @classmethod
    def factory(cls) -> Factory:
        """Return a factory of layers over the memory of this process, which other processes can import."""
        return in_this_process


def in_this_process() -> ForgetsOnRestart:
    """Return a layer over the memory of this process."""
    return ForgetsOnRestart(_THIS_PROCESS)


_THIS_PROCESS = Host()
