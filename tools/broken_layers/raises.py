"""Layers that raise instead of answering, or that raise something else than what has interrupted them."""

# ruff: noqa: D102 - what is overridden is documented where it comes from

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from idemproof.spec.record import Record, same_version

from .exhibits import broken, correct
from .foundations import AsyncDictionary, Dictionary

_CONNECTIONS = 4


class UniqueViolation(Exception):  # noqa: N818 - as databases call it
    """The error of a store in which the key exists already."""


class _Inserts(Dictionary):
    """Looks first, and then inserts, which fails if another client has inserted in between."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        if expected is not None or new is None:
            return super()._swap(key, expected, new, ttl_ms)
        current = self._load(key)
        if current is not None:
            return current
        with self.lock:
            if key in self.rows:
                raise UniqueViolation(key)
            self.rows[key] = new
        return new


@broken(CAS_3="exclusion")
class RaisesWhenItIsOvertaken(_Inserts):
    """If another client inserts first, it raises the unique violation of its database."""


@correct()
class LooksAgain(_Inserts):
    """Inserts, and looks again if another client was first."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        try:
            return super()._swap(key, expected, new, ttl_ms)
        except UniqueViolation:
            return self._load(key)


@broken(CAS_3="exclusion")
class RaisesWhenNothingIsUpdated(Dictionary):
    """Its update raises if another client has changed the record since it looked."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        current = self._load(key)
        if expected is None or not same_version(current, expected):
            return super()._swap(key, expected, new, ttl_ms)
        with self.lock:
            if not same_version(self.rows.get(key), expected):
                raise UniqueViolation("0 rows were updated")
            self.write(key, new)
        return new


@broken(CAS_3="exclusion")
class RaisesWhenATaskOvertakesIt(AsyncDictionary):
    """If another task inserts while it waits for the store, it raises the unique violation."""

    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, _keep_ms: int
    ) -> Record | None:
        before = await self._load(key)
        async with self.lock:
            if before != self.rows.get(key):
                raise UniqueViolation(key)
            return await self.replace(key, expected, new)


class _Pool(Dictionary):
    """Four connections."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = 0

    @contextmanager
    def connection(self) -> Iterator[None]:
        """Take a connection, and give it back."""
        with self.lock:
            if self.taken >= _CONNECTIONS:
                raise RuntimeError("connection pool exhausted")
            self.taken += 1
        try:
            yield
        finally:
            with self.lock:
                self.taken -= 1

    def _load(self, key: str) -> Record | None:
        with self.connection():
            return super()._load(key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        with self.connection():
            return super()._swap(key, expected, new, ttl_ms)


@broken(CAS_7="concurrency")
class RaisesAtTheFifthRequest(_Pool):
    """It has four connections, and raises at the fifth request at once."""


@correct()
class WaitsForAConnection(_Pool):
    """Four connections; the fifth request at once waits for one."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.BoundedSemaphore(_CONNECTIONS)

    @contextmanager
    def connection(self) -> Iterator[None]:
        with self.free:
            yield


@broken(CAS_10="faults")
class TurnsInterruptsIntoErrors(Dictionary):
    """It raises an error of its own for whatever ends its swap, also for Ctrl-C."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        try:
            return super()._swap(key, expected, new, ttl_ms)
        except BaseException as error:
            raise TypeError("it could not be cleaned up") from error


@correct()
class TurnsErrorsIntoErrors(Dictionary):
    """It raises an error of its own for each error, and leaves interrupts as they are."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        try:
            return super()._swap(key, expected, new, ttl_ms)
        except Exception as error:
            raise TypeError("it could not be cleaned up") from error


@broken(CAS_10="faults")
class RetriesWhateverHappens(Dictionary):
    """It tries a swap again after every exception, also after Ctrl-C."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        while True:
            try:
                return super()._swap(key, expected, new, ttl_ms)
            except BaseException:  # noqa: BLE001, S112 - the fault
                continue


@broken(CAS_10="faults")
class FindsNothingWhenItIsToEnd(Dictionary):
    """Its load answers that there is no record, if the program exits meanwhile."""

    def _load(self, key: str) -> Record | None:
        try:
            return super()._load(key)
        except SystemExit:
            return None


@broken(CAS_10="faults")
class SwallowsCancellations(AsyncDictionary):
    """Its load answers that there is no record, if its task is cancelled."""

    async def _load(self, key: str) -> Record | None:
        try:
            return await super()._load(key)
        except asyncio.CancelledError:
            return None


@broken(CAS_11="concurrency")
class BelongsToItsFirstLoop(AsyncDictionary):
    """It raises in every event loop but the one that used it first."""

    loop: asyncio.AbstractEventLoop | None = None

    async def replace(self, key: str, expected: Record | None, new: Record | None) -> Record | None:
        loop = asyncio.get_running_loop()
        self.loop = self.loop or loop
        if self.loop is not loop:
            raise RuntimeError("attached to a different loop")
        return await super().replace(key, expected, new)


@broken(CAS_11="concurrency")
class ForgetsInAnotherLoop(AsyncDictionary):
    """It keeps a table for each event loop, so the second asyncio.run finds nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Record]] = WeakKeyDictionary()

    async def _load(self, key: str) -> Record | None:
        self.rows = self.tables.setdefault(asyncio.get_running_loop(), {})
        return await super()._load(key)

    async def replace(self, key: str, expected: Record | None, new: Record | None) -> Record | None:
        self.rows = self.tables.setdefault(asyncio.get_running_loop(), {})
        return await super().replace(key, expected, new)


@correct()
class ByALockForEachLoop(AsyncDictionary):
    """A dictionary, and an asyncio lock for each event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, _keep_ms: int
    ) -> Record | None:
        async with self.locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            return await self.replace(key, expected, new)


@correct()
class SleepsInTheLoop(AsyncDictionary):
    """A dictionary whose load blocks the event loop for a moment, which is noted, and breaks no clause."""

    async def _load(self, key: str) -> Record | None:
        time.sleep(0.0001)  # noqa: ASYNC251 - what is noted
        return self.rows.get(key)
