"""Layers that offer to wait for a change of a record, and do so wrongly; and correct ones."""

# ruff: noqa: D102 - what is overridden is documented where it comes from

import asyncio
import threading
import time

from idemproof.backends.waiters import Waiters
from idemproof.conformance.suite.factories import Factory
from idemproof.spec.record import COMPLETED, Record

from .exhibits import broken, correct
from .foundations import AsyncDictionary, Dictionary

_INTERVAL = 0.005
_TOO_LONG = 5.0
_CONNECTIONS = 10


@correct()
class SignalsByACondition(Dictionary):
    """A condition of all keys: each write wakes all calls that wait, and each of them looks."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition(self.lock)

    def write(self, key: str, new: Record | None) -> None:
        super().write(key, new)
        self.signal(new)

    def signal(self, _new: Record | None) -> None:
        """Wake the calls that wait. The lock is held."""
        self.changed.notify_all()

    def _wait_for_change(self, key: str, seen: Record, seconds: float) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: self.rows.get(key) != seen, self.time_of(seconds))

    def time_of(self, seconds: float) -> float:
        """Return for how long to wait."""
        return seconds


@correct()
class LooksOften(Dictionary):
    """A call that waits reads the record every few milliseconds."""

    def _wait_for_change(self, key: str, seen: Record, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while self._load(key) == seen:
            if time.monotonic() > until:
                return False
            time.sleep(_INTERVAL)
        return True


@correct()
class SignalsAnEventLoop(AsyncDictionary):
    """Calls that wait on an event loop, each with a future that a write sets."""

    def __init__(self) -> None:
        super().__init__()
        self.waiters = Waiters()

    def write(self, key: str, new: Record | None) -> None:
        super().write(key, new)
        self.waiters.wake(key)

    async def _wait_for_change(self, key: str, seen: Record, seconds: float) -> bool:
        return await self.waiters.wait_async(key, lambda: self.rows.get(key) != seen, seconds)


@broken(CAS_14="concurrency")
class MissesAnEarlierChange(SignalsByACondition):
    """It does not look whether the record has changed before the wait began."""

    def _wait_for_change(self, _key: str, _seen: Record, seconds: float) -> bool:
        with self.changed:
            return self.changed.wait(seconds)


@broken(CAS_14="concurrency")
class WakesOneCallOnly(SignalsByACondition):
    """A change wakes one of the calls that wait."""

    def signal(self, _new: Record | None) -> None:
        self.changed.notify()


@broken(CAS_14="concurrency")
class SignalsResultsOnly(SignalsByACondition):
    """A result wakes the calls that wait; a release, a renewal and a takeover do not."""

    def signal(self, new: Record | None) -> None:
        if new is not None and new.status == COMPLETED:
            super().signal(new)


@broken(CAS_14="concurrency")
class SignalsItsOwnWritesOnly(SignalsByACondition):
    """Several objects share one dictionary, and each wakes only the calls that wait on itself."""

    @classmethod
    def factory(cls) -> Factory:
        rows: dict[str, Record] = {}
        lock = threading.Lock()

        def make() -> "SignalsItsOwnWritesOnly":
            layer = cls()
            layer.rows, layer.lock = rows, lock
            layer.changed = threading.Condition(lock)
            return layer

        return make


@broken(CAS_14="concurrency")
class WaitsTooLong(SignalsByACondition):
    """Without a change it waits for some seconds more than it may."""

    def time_of(self, seconds: float) -> float:
        return seconds + _TOO_LONG


@broken(CAS_14="concurrency")
class GivesUpEarly(SignalsByACondition):
    """It ends after half of the time."""

    def time_of(self, seconds: float) -> float:
        return seconds / 2


@broken(CAS_14="concurrency")
class WaitsOnConnections(SignalsByACondition):
    """A wait holds one of ten connections, and requests need one too."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Semaphore(_CONNECTIONS)

    def _load(self, key: str) -> Record | None:
        with self.free:
            return super()._load(key)

    def _wait_for_change(self, key: str, seen: Record, seconds: float) -> bool:
        with self.free:
            return super()._wait_for_change(key, seen, seconds)


@broken(CAS_14="concurrency")
class SleepsOnTheEventLoop(SignalsAnEventLoop):
    """It looks for a change between naps of the whole event loop."""

    async def _wait_for_change(self, key: str, seen: Record, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while (changed := self.rows.get(key) == seen) and time.monotonic() < until:
            time.sleep(_INTERVAL)  # noqa: ASYNC251 - the fault
            await asyncio.sleep(0)
        return not changed


@broken(CAS_14="concurrency")
class WaitsInItsLock(SignalsAnEventLoop):
    """It holds the lock of its writes while a call waits."""

    async def _wait_for_change(self, key: str, seen: Record, seconds: float) -> bool:
        async with self.lock:
            return await super()._wait_for_change(key, seen, seconds)
