"""Layers with the four documented methods, and with the faults that such layers have."""

# ruff: noqa: D102 - what is overridden is documented where it comes from

import asyncio
import time

from idemproof.backends.records import DataRecord
from idemproof.spec.errors import IdempotencyItemAlreadyExistsError, IdempotencyItemNotFoundError
from idemproof.spec.record import COMPLETED, INPROGRESS, Record, deadline_ms, expiry_ms

from .exhibits import FENCED, UNFENCED, broken
from .foundations import AsyncFourMethods, FourMethods


@broken(
    CAS_8="time",
    INV_2="fencing",
    INV_3="fencing",
    capabilities=FENCED,
    seen_in="Powertools for AWS Lambda 3.37: a run that outlived its lease overwrites the new owner's "
    "result, or deletes it",
)
class KnowsNoOwners(FourMethods):
    """It claims to be fenced, but completes and releases any record."""


@broken(CAS_7="contract", INV_1="exclusion", capabilities=UNFENCED)
class PutsWithoutLooking(FourMethods):
    """Its put overwrites a live claim."""

    def _put_record(self, data_record: DataRecord) -> None:
        self._update_record(data_record)


@broken(CAS_7="contract", capabilities=UNFENCED)
class OverwritesResults(FourMethods):
    """Its put keeps a live claim, but overwrites a result."""

    def live(self, record: Record) -> bool:
        return record.status == INPROGRESS and super().live(record)


@broken(CAS_4="exclusion", INV_1="exclusion", capabilities=UNFENCED)
class LooksThenPuts(FourMethods):
    """Its put reads and then writes: two callers may read before either of them writes."""

    def _put_record(self, data_record: DataRecord) -> None:
        self.refuse(self.rows.get(data_record.idempotency_key))
        self._update_record(data_record)


@broken(CAS_7="contract", capabilities=UNFENCED)
class RefusesInItsOwnWords(FourMethods):
    """Its put refuses with KeyError instead of the documented IdempotencyItemAlreadyExistsError."""

    def _put_record(self, data_record: DataRecord) -> None:
        try:
            super()._put_record(data_record)
        except IdempotencyItemAlreadyExistsError:
            raise KeyError(data_record.idempotency_key) from None


@broken(CAS_7="contract", capabilities=UNFENCED)
class RefusesSilently(FourMethods):
    """Its put returns silently when a live claim exists."""

    def _put_record(self, data_record: DataRecord) -> None:
        try:
            super()._put_record(data_record)
        except IdempotencyItemAlreadyExistsError:
            return


@broken(CAS_7="contract", INV_4="contract", capabilities=UNFENCED)
class RefusesWithTheNewRecord(FourMethods):
    """Its put refuses, but reports the new record as the stored one."""

    def _put_record(self, data_record: DataRecord) -> None:
        try:
            super()._put_record(data_record)
        except IdempotencyItemAlreadyExistsError:
            raise IdempotencyItemAlreadyExistsError(old_data_record=data_record) from None


@broken(CAS_1="contract", capabilities=UNFENCED)
class RaisesKeyErrorForAbsence(FourMethods):
    """Its get raises KeyError instead of the documented IdempotencyItemNotFoundError."""

    def _get_record(self, idempotency_key: str) -> DataRecord:
        return DataRecord.of(self.rows[idempotency_key])


@broken(CAS_1="contract", capabilities=UNFENCED)
class ReturnsAnEmptyRecord(FourMethods):
    """Its get returns an empty record for a key that has no record."""

    def _get_record(self, idempotency_key: str) -> DataRecord:
        try:
            return super()._get_record(idempotency_key)
        except IdempotencyItemNotFoundError:
            return DataRecord(idempotency_key, COMPLETED, 0)


@broken(
    CAS_8="contract",
    capabilities=UNFENCED,
    seen_in="Powertools for AWS Lambda 3.37: its Redis layer drops the payload hash, and then rejects the "
    "same payload as changed",
)
class UpdatesWithoutTheHash(FourMethods):
    """Its update drops the payload hash."""

    def _update_record(self, data_record: DataRecord) -> None:
        super()._update_record(data_record._replace(payload_hash=""))


@broken(CAS_8="contract", capabilities=UNFENCED)
class UpdatesWithoutTheResponse(FourMethods):
    """Its update stores the status, but no response."""

    def _update_record(self, data_record: DataRecord) -> None:
        super()._update_record(data_record._replace(response_data=""))


@broken(CAS_8="contract", capabilities=UNFENCED)
class UpdatesWithoutTheStatus(FourMethods):
    """Its update stores the response, but keeps the old status."""

    def _update_record(self, data_record: DataRecord) -> None:
        super()._update_record(data_record._replace(status=INPROGRESS))


@broken(CAS_8="contract", capabilities=UNFENCED)
class UpdatesWithoutTheExpiry(FourMethods):
    """Its update keeps the expiry of the claim."""

    def _update_record(self, data_record: DataRecord) -> None:
        before = self.rows.get(data_record.idempotency_key)
        expiry = data_record.expiry_timestamp if before is None else before.expiry_timestamp
        super()._update_record(data_record._replace(expiry_timestamp=expiry))


@broken(CAS_8="contract", ROW_10="contract", capabilities=UNFENCED)
class DeletesNothing(FourMethods):
    """Its delete does nothing, so a failed operation cannot be retried."""

    def _delete_record(self, data_record: DataRecord) -> None:
        pass


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


@broken(
    CAS_4="exclusion",
    INV_2="exclusion",
    capabilities=UNFENCED,
    seen_in="Powertools for AWS Lambda 3.37: its Redis layer overwrites a result that was stored between its "
    "GET and its SET",
)
class UpdatesWithoutItsLock(AsyncFourMethods):
    """Its puts lock each other out, but not updates: a takeover overwrites a result that was just stored."""

    async def _update_record(self, data_record: DataRecord) -> None:
        await asyncio.sleep(0)
        self.keep(data_record)


@broken(CAS_4="exclusion", INV_1="exclusion", capabilities=UNFENCED)
class LooksAwaitsPuts(AsyncFourMethods):
    """Its put reads, awaits, and then writes: another task reads in between."""

    async def _put_record(self, data_record: DataRecord) -> None:
        await self.put(data_record)
