"""Two-method layers that decide by a clock (CAS-5), or delete records too early (CAS-6)."""

# ruff: noqa: D102 - what is overridden is documented where it comes from

import heapq
import time

from idemproof.spec.record import INPROGRESS, Record, expiry_ms, live

from .exhibits import broken
from .foundations import Dictionary

_CAPACITY = 64


@broken(CAS_2="contract", CAS_5="contract")
class DefendsTheLiving(Dictionary):
    """Its swap refuses to replace a record that is live by its own clock, whatever the caller expects."""

    def may_replace(self, current: Record | None, expected: Record | None, new: Record | None) -> bool:
        another = current is not None and new is not None and new.owner != current.owner
        if another and current is not None and live(current, self.clock()):
            return False
        return super().may_replace(current, expected, new)


@broken(CAS_2="fencing", CAS_5="contract")
class LetsInByItsClock(Dictionary):
    """Its swap treats a record that has expired by its own clock as absent."""

    def may_replace(self, current: Record | None, expected: Record | None, new: Record | None) -> bool:
        if expected is None and current is not None and not live(current, self.clock()):
            return True
        return super().may_replace(current, expected, new)


@broken(CAS_5="contract")
class HidesWhatIsOver(Dictionary):
    """It hides every record that has expired by its own clock."""

    def read(self, key: str) -> Record | None:
        found = super().read(key)
        return found if found is not None and live(found, self.clock()) else None


@broken(CAS_5="contract", REC_2="contract")
class MarksWhatIsOver(Dictionary):
    """It returns a record that has expired by its own clock with the status EXPIRED."""

    def read(self, key: str) -> Record | None:
        found = super().read(key)
        return found if found is None or live(found, self.clock()) else found._replace(status="EXPIRED")


@broken(CAS_3="contract")
class ExtendsLeases(Dictionary):
    """It sets the lease of a claim by its own clock: one minute after it stores the claim."""

    def write(self, key: str, new: Record | None) -> None:
        if new is not None and new.status == INPROGRESS:
            new = new._replace(in_progress_expiry_timestamp=self.clock() + 60_000)
        super().write(key, new)


class _ForgetsByTime(Dictionary):
    """Deletes a record after a time that the subclass chooses, as a store with a time to live does."""

    def __init__(self) -> None:
        super().__init__()
        self.until: dict[str, int] = {}

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        found = super()._swap(key, expected, new, ttl_ms)
        if found is new and new is not None:
            self.until[key] = self.clock() + self.keeps_for(new, ttl_ms)
        return found

    def read(self, key: str) -> Record | None:
        if key in self.until and self.clock() >= self.until[key]:
            self.rows.pop(key, None)
        return super().read(key)

    def keeps_for(self, record: Record, ttl_ms: int) -> int:
        """Return how long a record is kept (milliseconds)."""
        raise NotImplementedError


@broken(CAS_6="contract", INV_7="time")
class KeepsForNineTenths(_ForgetsByTime):
    """It keeps a record for nine tenths of the requested time."""

    def keeps_for(self, _record: Record, ttl_ms: int) -> int:
        return ttl_ms * 9 // 10


@broken(CAS_6="contract")
class KeepsWholeSeconds(_ForgetsByTime):
    """It rounds the requested time down to seconds."""

    def keeps_for(self, _record: Record, ttl_ms: int) -> int:
        return ttl_ms // 1000 * 1000


@broken(CAS_6="contract")
class TakesMillisecondsForSeconds(_ForgetsByTime):
    """It keeps a record for a thousandth of the requested time."""

    def keeps_for(self, _record: Record, ttl_ms: int) -> int:
        return ttl_ms // 1000


@broken(CAS_6="contract")
class KeepsForADayAtMost(_ForgetsByTime):
    """It deletes every record after a day, even if a longer time was requested."""

    def keeps_for(self, _record: Record, ttl_ms: int) -> int:
        return min(ttl_ms, 86_400_000)


@broken(CAS_6="contract")
class ForgetsClaimsAtTheirLease(_ForgetsByTime):
    """It deletes a claim when its lease ends, although its owner may still complete it."""

    def keeps_for(self, record: Record, ttl_ms: int) -> int:
        lease = record.in_progress_expiry_timestamp
        return ttl_ms if lease is None else lease - self.clock()


@broken(CAS_6="contract")
class KeepsTheFirstTimeToLive(_ForgetsByTime):
    """It does not extend the time to live when a result replaces a claim."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        before = self.until.get(key)
        found = super()._swap(key, expected, new, ttl_ms)
        if before is not None and expected is not None and found is new:
            self.until[key] = before
        return found

    def keeps_for(self, _record: Record, ttl_ms: int) -> int:
        return ttl_ms


@broken(CAS_6="contract")
class ForgetsWhenFull(Dictionary):
    """Once 64 records are stored, it deletes the oldest one, even if it is live."""

    def write(self, key: str, new: Record | None) -> None:
        super().write(key, new)
        while len(self.rows) > _CAPACITY:
            del self.rows[next(iter(self.rows))]


@broken(CAS_6="contract")
class TidiesUpByTheLease(Dictionary):
    """On each write it deletes all records whose lease is absent or over, including results."""

    def __init__(self) -> None:
        super().__init__()
        self.leases: list[tuple[int, str]] = []

    def write(self, key: str, new: Record | None) -> None:
        now = self.clock()
        while self.leases and self.leases[0][0] <= now:
            lease, other = heapq.heappop(self.leases)
            record = self.rows.get(other)
            if record is not None and (record.in_progress_expiry_timestamp or 0) == lease:
                del self.rows[other]
        super().write(key, new)
        if new is not None:
            heapq.heappush(self.leases, (new.in_progress_expiry_timestamp or 0, key))


@broken(CAS_6="contract")
class KeepsFor32Bits(_ForgetsByTime):
    """It stores the requested time in 32 bits of milliseconds, which overflow after 49 days."""

    def keeps_for(self, _record: Record, ttl_ms: int) -> int:
        return ttl_ms % 2**32


@broken(CAS_6="contract")
class ShortensWhenItRefuses(_ForgetsByTime):
    """A refused swap changes the time to live of the stored record."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        found = super()._swap(key, expected, new, ttl_ms)
        self.until[key] = self.clock() + ttl_ms
        return found

    def keeps_for(self, _record: Record, ttl_ms: int) -> int:
        return ttl_ms


@broken(INV_7="time")
class ForgetsResultsASecondEarly(Dictionary):
    """It rounds the expiry down to the second before, so a result is gone in its last second."""

    def read(self, key: str) -> Record | None:
        found = super().read(key)
        return None if found is not None and self.clock() >= expiry_ms(found) - 999 else found


@broken(CAS_6="contract")
class KeepsForMicroseconds(Dictionary):
    """Its store has its own clock, and treats the milliseconds as microseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.until: dict[str, int] = {}

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        found = super()._swap(key, expected, new, ttl_ms)
        if found is new:
            self.until[key] = time.perf_counter_ns() + ttl_ms * 1000
        return found

    def read(self, key: str) -> Record | None:
        return super().read(key) if time.perf_counter_ns() < self.until.get(key, 0) else None
