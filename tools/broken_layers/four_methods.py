"""Layers with the four documented methods, and with the faults that such layers have."""

# ruff: noqa: D102 - what is overridden is documented where it comes from

import asyncio
import datetime as dt
from typing import Any

from idemproof.backends.records import DataRecord
from idemproof.spec.errors import IdempotencyItemAlreadyExistsError, IdempotencyItemNotFoundError
from idemproof.spec.record import COMPLETED, INPROGRESS, Record

from .exhibits import FENCED, UNFENCED, broken
from .foundations import AsyncFourMethods, Dictionary, FourMethods


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


@broken(CAS_1="contract", capabilities=UNFENCED)
class ReturnsNoneForAbsence(FourMethods):
    """Its get returns None for a key that has no record."""

    def _get_record(self, idempotency_key: str) -> Any:
        found = self.rows.get(idempotency_key)
        return None if found is None else DataRecord.of(found)


@broken(CAS_1="contract", capabilities=UNFENCED)
class ReturnsDates(FourMethods):
    """Its get returns the expiry as a date, as some drivers of databases do."""

    def _get_record(self, idempotency_key: str) -> Any:
        found = super()._get_record(idempotency_key)
        expiry: Any = dt.datetime.fromtimestamp(found.as_record().expiry_timestamp, dt.UTC)
        return found._replace(expiry_timestamp=expiry)


@broken(CAS_7="contract", capabilities=UNFENCED)
class ChangesWhatItRefusesToReplace(FourMethods):
    """Its put refuses, but extends the stored record."""

    def refuse(self, current: Record | None) -> None:
        try:
            super().refuse(current)
        except IdempotencyItemAlreadyExistsError:
            assert current is not None
            self.write(
                current.idempotency_key, current._replace(expiry_timestamp=current.expiry_timestamp + 1)
            )
            raise


@broken(CAS_7="contract", INV_4="contract", capabilities=UNFENCED)
class RefusesWithoutTheResult(FourMethods):
    """Its put refuses with the stored record, but without its response."""

    def refuse(self, current: Record | None) -> None:
        super().refuse(None if current is None else current._replace(response_data=None))


@broken(CAS_8="contract", ROW_10="contract", capabilities=UNFENCED)
class HidesWhatItDeletes(FourMethods):
    """Its get no longer finds a deleted record, but its put still does."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden: set[str] = set()

    def _delete_record(self, data_record: DataRecord) -> None:
        self.hidden.add(data_record.idempotency_key)

    def _get_record(self, idempotency_key: str) -> DataRecord:
        if idempotency_key in self.hidden:
            raise IdempotencyItemNotFoundError(idempotency_key)
        return super()._get_record(idempotency_key)


@broken(CAS_1="contract", capabilities=UNFENCED)
class DeletesByPrefix(FourMethods):
    """Its delete also removes the records whose keys begin with the same characters."""

    def _delete_record(self, data_record: DataRecord) -> None:
        with self.lock:
            for key in [each for each in self.rows if each.startswith(data_record.idempotency_key)]:
                self.write(key, None)


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


# Layers with the two methods, with a fault in the documented methods that follow from them.


@broken(CAS_8="contract", CAS_9="contract")
class UpdatesAnyRecord(Dictionary):
    """Its update stores a result over any record."""

    def _update_record(self, data_record: Any) -> None:
        self.write(data_record.idempotency_key, data_record.as_record())


@broken(CAS_8="contract", CAS_9="contract")
class DeletesAnyRecord(Dictionary):
    """Its delete removes any record."""

    def _delete_record(self, data_record: Any) -> None:
        self.write(data_record.idempotency_key, None)


@broken(CAS_9="contract")
class NeedsAnOwner(Dictionary):
    """Its update does nothing if the caller does not name the owner."""

    def _update_record(self, data_record: Any) -> None:
        if data_record.owner:
            super()._update_record(data_record)
