"""Layers that break the contract, each in one place."""

import datetime as dt
import json
import time
import unicodedata
from typing import Any

from idemproof import DataRecord, Record
from idemproof.errors import IdempotencyItemNotFoundError
from idemproof.spec.record import COMPLETED, INPROGRESS, live, same_version
from right_layers import FourMethods, TwoMethods, now_ms

# By the two methods.


class Forgets(TwoMethods):
    """Compares all that makes a version but one field."""

    field: str

    def matches(self, standing: Record | None, expected: Record | None) -> bool:
        if standing is None or expected is None:
            return standing is expected
        return same_version(standing, expected._replace(**{self.field: getattr(standing, self.field)}))


class ForgetsTheOwner(Forgets):
    field = "owner"


class ForgetsTheLease(Forgets):
    field = "in_progress_expiry_timestamp"


class ForgetsTheExpiry(Forgets):
    field = "expiry_timestamp"


class ForgetsTheStatus(Forgets):
    field = "status"


class ComparesEverything(TwoMethods):
    def matches(self, standing: Record | None, expected: Record | None) -> bool:
        return standing == expected


class CreatesWhereSomethingWasExpected(TwoMethods):
    def matches(self, standing: Record | None, expected: Record | None) -> bool:
        return standing is None or same_version(standing, expected)


class AnswersWithTheExpected(TwoMethods):
    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        return super()._swap(key, expected, new, ttl_ms) and expected


class AnswersNothingIfRefused(TwoMethods):
    def refusal(self, standing: Record | None) -> Record | None:
        return None


class AnswersWithoutTheResponse(TwoMethods):
    def refusal(self, standing: Record | None) -> Record | None:
        return standing and standing._replace(response_data=None)


class FindsExpiredClaimsAbsent(TwoMethods):
    def _load(self, key: str) -> Record | None:
        found = super()._load(key)
        return found if found is not None and live(found, now_ms()) else None


class LetsAnybodySwapWhatIsOver(TwoMethods):
    def matches(self, standing: Record | None, expected: Record | None) -> bool:
        return super().matches(standing, expected) or (standing is not None and not live(standing, now_ms()))


class _KeepsFor(TwoMethods):
    def __init__(self) -> None:
        super().__init__()
        self.until: dict[str, int] = {}

    def _load(self, key: str) -> Record | None:
        if now_ms() >= self.until.get(key, 0):
            self.rows.pop(key, None)
        return super()._load(key)

    def write(self, name: str, new: Record, ttl_ms: int) -> None:
        super().write(name, new, ttl_ms)
        self.until[name] = now_ms() + self.kept(name, ttl_ms)

    def kept(self, name: str, ttl_ms: int) -> int:
        return ttl_ms


class KeepsForWholeSeconds(_KeepsFor):
    def kept(self, name: str, ttl_ms: int) -> int:
        return ttl_ms // 1000 * 1000


class KeepsForAsLongAsTheFirst(_KeepsFor):
    def kept(self, name: str, ttl_ms: int) -> int:
        return self.until[name] - now_ms() if name in self.until else ttl_ms


class KeepsFor32Bits(_KeepsFor):
    def kept(self, name: str, ttl_ms: int) -> int:
        return ttl_ms % 2**32


class ShortensWhenItRefuses(_KeepsFor):
    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        found = super()._swap(key, expected, new, ttl_ms)
        self.until[key] = now_ms() + ttl_ms
        return found


class KeepsForMicroseconds(TwoMethods):
    """Has a clock of its own, which nobody moves."""

    def __init__(self) -> None:
        super().__init__()
        self.until: dict[str, float] = {}

    def _load(self, key: str) -> Record | None:
        if time.perf_counter() >= self.until.get(key, 0):
            self.rows.pop(key, None)
        return super()._load(key)

    def write(self, name: str, new: Record, ttl_ms: int) -> None:
        super().write(name, new, ttl_ms)
        self.until[name] = time.perf_counter() + ttl_ms / 1_000_000


class _Changes(TwoMethods):
    def write(self, name: str, new: Record, ttl_ms: int) -> None:
        super().write(name, self.changed(new), ttl_ms)

    def changed(self, record: Record) -> Record:
        return record


class CutsResponses(_Changes):
    def changed(self, record: Record) -> Record:
        return record._replace(response_data=record.response_data and record.response_data[:65535])


class NormalisesText(_Changes):
    def changed(self, record: Record) -> Record:
        text = record.response_data
        return record._replace(response_data=text and unicodedata.normalize("NFC", text))


class StripsText(_Changes):
    def changed(self, record: Record) -> Record:
        return record._replace(response_data=record.response_data and record.response_data.strip())


class KnowsTheBasicPlaneOnly(_Changes):
    def changed(self, record: Record) -> Record:
        text = record.response_data
        return record._replace(
            response_data=text and "".join(each if ord(each) < 0x10000 else "?" for each in text)
        )


class TakesHashesForNumbers(_Changes):
    def changed(self, record: Record) -> Record:
        text = record.payload_hash
        return record._replace(payload_hash=str(int(text)) if text and text.isdigit() else text)


class TakesOwnersForNumbers(_Changes):
    def changed(self, record: Record) -> Record:
        owner = record.owner
        return record._replace(owner=str(int(owner)) if owner and owner.isdigit() else owner)


class RoundsLeasesToSeconds(_Changes):
    def changed(self, record: Record) -> Record:
        lease = record.in_progress_expiry_timestamp
        return record._replace(in_progress_expiry_timestamp=lease and lease // 1000 * 1000)


class KeepsLeasesAsFloats(_Changes):
    def changed(self, record: Record) -> Record:
        lease = record.in_progress_expiry_timestamp
        return record._replace(in_progress_expiry_timestamp=lease and int(float(lease)))


class Keeps32BitsOfSeconds(_Changes):
    def changed(self, record: Record) -> Record:
        return record._replace(expiry_timestamp=record.expiry_timestamp % 2**32)


class StoresTheTextNone(_Changes):
    def changed(self, record: Record) -> Record:
        return record._replace(
            response_data=str(record.response_data) if record.status == COMPLETED else None
        )


class KnowsNoUpperCase(TwoMethods):
    def name(self, key: str) -> str:
        return key.lower()

    def _load(self, key: str) -> Record | None:
        found = super()._load(key)
        return found and found._replace(idempotency_key=key)


class CutsKeys(FourMethods):
    def name(self, key: str) -> str:
        return key[:255]


class DeletesByPrefix(FourMethods):
    def _delete_record(self, data_record: DataRecord) -> None:
        for key in [key for key in self.rows if key.startswith(data_record.idempotency_key)]:
            del self.rows[key]


class StoresExpired(TwoMethods):
    def _load(self, key: str) -> Record | None:
        found = super()._load(key)
        return found and found._replace(status="EXPIRED")


class StoresDates(FourMethods):
    def write(self, record: Record) -> None:
        when: Any = dt.datetime.fromtimestamp(record.expiry_timestamp, dt.UTC)
        super().write(record._replace(expiry_timestamp=when))


class CachesReads(TwoMethods):
    """One cache for each object: what another has written is not seen."""

    shared: dict[str, Record] = {}  # noqa: RUF012 - the store

    def __init__(self) -> None:
        super().__init__()
        self.rows = self.shared
        self.cache: dict[str, Record] = {}

    def _load(self, key: str) -> Record | None:
        if key not in self.cache and key in self.rows:
            self.cache[key] = self.rows[key]
        return self.cache.get(key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        self.cache.pop(key, None)
        found = super()._swap(key, expected, new, ttl_ms)
        self.cache.pop(key, None)
        return found


# By the four methods, or in place of those that follow from the two.


class ReturnsNoneForMissing(FourMethods):
    def _get_record(self, idempotency_key: str) -> Any:
        return self.rows.get(idempotency_key)


class RaisesKeyErrors(FourMethods):
    def _get_record(self, idempotency_key: str) -> DataRecord:
        return DataRecord.of(self.rows[idempotency_key])


class LetsEverybodyIn(FourMethods):
    def live(self, record: Record, now: int) -> bool:
        return False


class ForgetsThatResultsCount(FourMethods):
    def live(self, record: Record, now: int) -> bool:
        return record[1] == INPROGRESS and live(record, now)


class WritesAndThenRefuses(FourMethods):
    def refusal(self, standing: Record) -> Record | None:
        self.rows[standing.idempotency_key] = standing._replace(
            expiry_timestamp=standing.expiry_timestamp + 1
        )
        return standing


class RefusesWithAnEmptyRecord(FourMethods):
    def refusal(self, standing: Record) -> Record | None:
        return standing._replace(response_data=None)


class RefusesWithoutARecord(FourMethods):
    def refusal(self, standing: Record) -> Record | None:
        return None


class LosesTheHash(FourMethods):
    def _update_record(self, data_record: DataRecord) -> None:
        self.write(data_record._replace(payload_hash=None))


class KeepsTheClaimsExpiry(FourMethods):
    def _update_record(self, data_record: DataRecord) -> None:
        expiry = self.rows[data_record.idempotency_key].expiry_timestamp
        self.write(data_record._replace(expiry_timestamp=expiry))


class NeverDeletes(FourMethods):
    def _delete_record(self, data_record: DataRecord) -> None:
        pass


class LeavesAGhost(FourMethods):
    def __init__(self) -> None:
        super().__init__()
        self.ghosts: set[str] = set()

    def _delete_record(self, data_record: DataRecord) -> None:
        self.ghosts.add(data_record.idempotency_key)

    def _get_record(self, idempotency_key: str) -> DataRecord:
        if idempotency_key in self.ghosts:
            raise IdempotencyItemNotFoundError
        return super()._get_record(idempotency_key)


class UpdatesWithoutLooking(TwoMethods):
    def _update_record(self, data_record: Record) -> None:
        self.rows[data_record.idempotency_key] = data_record.as_record()


class DeletesWithoutLooking(TwoMethods):
    def _delete_record(self, data_record: Record) -> None:
        self.rows.pop(data_record.idempotency_key, None)


class NeedsAnOwner(TwoMethods):
    def _update_record(self, data_record: Record) -> None:
        if data_record.owner:
            super()._update_record(data_record)


class StoresNothingButJson(TwoMethods):
    def write(self, name: str, new: Record, ttl_ms: int) -> None:
        json.loads(new.response_data or "null")
        super().write(name, new, ttl_ms)
