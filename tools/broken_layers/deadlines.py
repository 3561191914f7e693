"""Layers with the four documented methods that end claims or results too early or too late."""

# ruff: noqa: D102 - what is overridden is documented where it comes from

import time

from idemproof.backends.records import DataRecord
from idemproof.spec.record import COMPLETED, INPROGRESS, Record, deadline_ms, expiry_ms

from .exhibits import UNFENCED, broken
from .foundations import FourMethods


@broken(TIME_2="time", capabilities=UNFENCED)
class LivesAtItsDeadline(FourMethods):
    """It treats a record as live at its deadline."""

    def live(self, record: Record) -> bool:
        return self.now() <= deadline_ms(record)


@broken(TIME_4="time", capabilities=UNFENCED)
class CountsSeconds(FourMethods):
    """Its clock has whole seconds, so a claim is live for up to a second too long."""

    def now(self) -> int:
        return int(time.time()) * 1000


@broken(TIME_2="time", TIME_4="time", capabilities=UNFENCED)
class RoundsTheTime(FourMethods):
    """Its clock rounds to seconds, so a claim ends up to half a second too early."""

    def now(self) -> int:
        return round(time.time()) * 1000


@broken(TIME_4="time", INV_9="time", capabilities=UNFENCED)
class WaitsForTheWindow(FourMethods):
    """A claim is live until its expiry, so a dead worker holds its key for the whole window."""

    def live(self, record: Record) -> bool:
        return self.now() < expiry_ms(record)


@broken(TIME_4="time", capabilities=UNFENCED)
class NeedsALease(FourMethods):
    """A claim without a lease is never live, although it must be live until its expiry."""

    def live(self, record: Record) -> bool:
        if record.status == INPROGRESS:
            return self.now() < (record.in_progress_expiry_timestamp or 0)
        return super().live(record)


@broken(TIME_3="time", capabilities=UNFENCED)
class EndsResultsWithTheLease(FourMethods):
    """A result expires at the lease of the claim that it replaced."""

    def _update_record(self, data_record: DataRecord) -> None:
        before = self.rows.get(data_record.idempotency_key)
        lease = None if before is None else before.in_progress_expiry_timestamp
        super()._update_record(data_record._replace(in_progress_expiry_timestamp=lease))

    def live(self, record: Record) -> bool:
        return self.now() < (record.in_progress_expiry_timestamp or expiry_ms(record))


@broken(TIME_3="time", capabilities=UNFENCED)
class KeepsResultsForEver(FourMethods):
    """A result never expires."""

    def live(self, record: Record) -> bool:
        return record.status == COMPLETED or super().live(record)


@broken(
    TIME_4="time",
    INV_9="time",
    capabilities=UNFENCED,
    seen_in="Powertools for AWS Lambda (Java): seconds were compared with milliseconds",
)
class ComparesTheLeaseWithSeconds(FourMethods):
    """It compares a lease in milliseconds with a time in seconds, so no claim ever ends."""

    def live(self, record: Record) -> bool:
        if record.in_progress_expiry_timestamp is not None:
            return self.now() // 1000 < record.in_progress_expiry_timestamp
        return super().live(record)


@broken(
    TIME_3="time",
    capabilities=UNFENCED,
    seen_in="Powertools for AWS Lambda (Java): seconds were compared with milliseconds",
)
class ComparesTheExpiryWithMilliseconds(FourMethods):
    """It compares an expiry in seconds with a time in milliseconds, so every result expires at once."""

    def live(self, record: Record) -> bool:
        if record.status == COMPLETED:
            return self.now() < record.expiry_timestamp
        return super().live(record)


@broken(TIME_2="time", capabilities=UNFENCED)
class LivesAtItsLease(FourMethods):
    """It treats a claim as live at the end of its lease; results end correctly."""

    def live(self, record: Record) -> bool:
        return self.now() < deadline_ms(record) + (record.status == INPROGRESS)


@broken(TIME_3="time", TIME_4="time", capabilities=UNFENCED)
class EndsAMillisecondEarly(FourMethods):
    """A claim or result ends one millisecond before its deadline."""

    def live(self, record: Record) -> bool:
        return self.now() + 1 < deadline_ms(record)


@broken(TIME_4="time", capabilities=UNFENCED)
class RoundsLeasesDown(FourMethods):
    """It compares a lease in whole seconds, so a claim ends up to a second too early."""

    def live(self, record: Record) -> bool:
        return self.now() < deadline_ms(record) // 1000 * 1000


@broken(TIME_4="time", INV_9="time", capabilities=UNFENCED)
class NeverEndsWithoutALease(FourMethods):
    """A claim without a lease never ends, although it must end at its expiry."""

    def live(self, record: Record) -> bool:
        if record.status == INPROGRESS and record.in_progress_expiry_timestamp is None:
            return True
        return super().live(record)


@broken(ROW_1="time", capabilities=UNFENCED)
class AcceptsAndKeepsTheOld(FourMethods):
    """Its put accepts a takeover, but keeps the record of the previous owner."""

    def _put_record(self, data_record: DataRecord) -> None:
        with self.lock:
            self.refuse(self.rows.get(data_record.idempotency_key))
            if data_record.idempotency_key not in self.rows:
                self.keep(data_record)


@broken(ROW_1="time", capabilities=UNFENCED)
class KeepsTheOldResult(FourMethods):
    """After an expired result has been replaced, it stores the old response again."""

    def keep(self, record: DataRecord) -> None:
        before = self.rows.get(record.idempotency_key)
        old = None if before is None else before.response_data
        super().keep(record._replace(response_data=old) if old else record)


@broken(TIME_4="time", capabilities=UNFENCED)
class KeepsTheFirstLease(FourMethods):
    """A claim that takes over gets the lease of the claim that it replaces."""

    def __init__(self) -> None:
        super().__init__()
        self.first: dict[str, int] = {}

    def keep(self, record: DataRecord) -> None:
        super().keep(record)
        self.first.setdefault(record.idempotency_key, deadline_ms(record.as_record()))

    def live(self, record: Record) -> bool:
        return self.now() < self.first[record.idempotency_key]


@broken(TIME_4="time", capabilities=UNFENCED)
class OverflowsIn2038(FourMethods):
    """Its clock overflows in the year 2038: after that, nothing is live."""

    def live(self, record: Record) -> bool:
        return super().live(record) and self.now() < 2**31 * 1000
