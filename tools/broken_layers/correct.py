"""Correct layers in memory, each with a different design. No check may report any of them as broken."""

# ruff: noqa: D102 - what is overridden is documented where it comes from

import datetime as dt
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from idemproof.backends.base import CompareAndSwapLayer
from idemproof.conformance.suite.capabilities import Capabilities
from idemproof.spec.errors import IdempotencyItemAlreadyExistsError
from idemproof.spec.record import COMPLETED, INPROGRESS, Record, expiry_ms, same_version

from .exhibits import UNFENCED, correct
from .foundations import AsyncDictionary, AsyncFourMethods, Dictionary, FourMethods, OnItsOwn
from .stale import OnAHost

_SHARDS = 16


@correct()
class ByALock(Dictionary):
    """A dictionary and a lock."""


@correct()
class ByALockOfAllObjects(OnAHost):
    """Several objects that share one dictionary and one lock."""


@correct()
class ByAnAsyncioLock(AsyncDictionary):
    """A dictionary and an asyncio lock, with a task switch at every step."""


@correct(capabilities=UNFENCED)
class ByFourMethods(FourMethods):
    """The four documented methods over a dictionary and a lock; does not claim fencing."""


@correct(capabilities=UNFENCED)
class ByFourAsyncMethods(AsyncFourMethods):
    """The four documented methods for ``async def``; does not claim fencing."""


@correct()
class ByVersions(Dictionary):
    """Optimistic: reads without a lock, writes if the version is unchanged, otherwise retries."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: dict[str, tuple[int, Record | None]] = {}

    def _load(self, key: str) -> Record | None:
        return self.cells.get(key, (0, None))[1]

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:  # noqa: ARG002
        while True:  # a retry means that another caller has succeeded, so the system makes progress
            version, current = self.cells.get(key, (0, None))
            if not same_version(current, expected):
                return current
            if self.commit(key, version, new):
                return new

    def commit(self, key: str, version: int, new: Record | None) -> bool:
        """Write unless another caller has written since ``version`` was read."""
        with self.lock:
            if self.cells.get(key, (0, None))[0] != version:
                return False
            self.cells[key] = (version + 1, new)
            return True


@correct()
class ByALog(Dictionary):
    """A log for each key: the last entry is the record; it appends only after the entry that it read."""

    def __init__(self) -> None:
        super().__init__()
        self.logs: dict[str, list[Record | None]] = {}

    def _load(self, key: str) -> Record | None:
        return self.logs.get(key, [None])[-1]

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:  # noqa: ARG002
        log = self.logs.setdefault(key, [None])
        while True:  # as in ByVersions
            tail = len(log)
            current = log[tail - 1]
            if not same_version(current, expected):
                return current
            if self.append(log, tail, new):
                return new

    def append(self, log: list[Record | None], tail: int, new: Record | None) -> bool:
        """Append unless the log has grown since."""
        with self.lock:
            if len(log) != tail:
                return False
            log.append(new)
            return True


@correct()
class InShards(OnItsOwn, CompareAndSwapLayer):
    """Sixteen dictionaries, each with its lock; the hash of the key selects one."""

    blocks = False

    def __init__(self) -> None:
        self.shards = [Dictionary() for _ in range(_SHARDS)]

    def _load(self, key: str) -> Record | None:
        return self.shards[hash(key) % _SHARDS]._load(key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        return self.shards[hash(key) % _SHARDS]._swap(key, expected, new, ttl_ms)


@correct()
class ThroughOneThread(OnItsOwn, CompareAndSwapLayer):
    """All requests go through a queue to one thread, which alone uses the dictionary."""

    def __init__(self) -> None:
        self.own = Dictionary()
        self.requests: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None]
        self.requests = queue.SimpleQueue()
        self.thread = threading.Thread(target=self.serve, name="broken-layers-one-thread", daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Stop the thread."""
        self.requests.put(None)
        self.thread.join()

    def serve(self) -> None:
        """Answer the requests one by one."""
        while (request := self.requests.get()) is not None:
            answer, method, arguments = request
            answer.set_result(method(*arguments))

    def ask(self, method: Callable[..., Record | None], *arguments: Any) -> Record | None:
        """Queue a request and wait for its answer."""
        answer: Future[Record | None] = Future()
        self.requests.put((answer, method, arguments))
        return answer.result()

    def _load(self, key: str) -> Record | None:
        return self.ask(self.own._load, key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        return self.ask(self.own._swap, key, expected, new, ttl_ms)


@correct(capabilities=UNFENCED)
class RefusesWithoutARecord(FourMethods):
    """The four documented methods; a refusal does not carry the stored record, which is optional."""

    def refuse(self, current: Record | None) -> None:
        try:
            super().refuse(current)
        except IdempotencyItemAlreadyExistsError:
            raise IdempotencyItemAlreadyExistsError from None


@correct(capabilities=Capabilities(fenced=False, movable_clock=False))
class ByFourMethodsInRealTime(FourMethods):
    """The four documented methods, by a clock that the suite may not move."""


@correct()
class DeletesWhatHasExpired(Dictionary):
    """Before each swap it deletes expired records, as a store with a time to live may at any time."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        with self.lock:
            for name in [name for name, record in self.rows.items() if self.clock() >= expiry_ms(record)]:
                del self.rows[name]
        return super()._swap(key, expected, new, ttl_ms)


@correct()
class WithConstraints(Dictionary):
    """A table with constraints that follow from the protocol, and without years of five digits."""

    def write(self, key: str, new: Record | None) -> None:
        if new is not None:
            lease = new.in_progress_expiry_timestamp
            if new.status == COMPLETED and lease is not None:
                raise ValueError("a result has no lease")
            if new.status == INPROGRESS and new.response_data:
                raise ValueError("a claim has no response")
            if lease is not None and expiry_ms(new) < lease:
                raise ValueError("an expiry is not before the lease")
            dt.datetime.fromtimestamp(new.expiry_timestamp, dt.UTC)
        super().write(key, new)


@correct()
class ForgetsWhatIsTooFarAway(Dictionary):
    """It does not keep a record that expires in more than thirty thousand years."""

    def write(self, key: str, new: Record | None) -> None:
        far = new is not None and new.expiry_timestamp >= 2**40
        super().write(key, None if far else new)
