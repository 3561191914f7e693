"""The contract tier passes every right layer, and sees each way of breaking it."""

import datetime as dt
import json
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from idemproof import DataRecord, Record
from idemproof.conformance import check
from idemproof.conformance.suite.runner import checks
from idemproof.conformance.tiers import contract, round_trips, swaps
from idemproof.errors import IdempotencyItemNotFoundError
from idemproof.spec.record import COMPLETED, INPROGRESS, expiry_ms, live, same_version
from right_layers import NOT_FENCED, OFFERED, RIGHT, FourMethods, TwoMethods, now_ms

pytestmark = pytest.mark.judging


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_layer_passes(name: str, tmp_path: Path) -> None:
    factory, capabilities = RIGHT[name](tmp_path)
    report = check(factory, tiers=("contract",), capabilities=capabilities, seed=1)
    assert report.findings == ()
    assert report.tiers["contract"] == "kept"


# By the two methods.


class ForgetsTheOwner(TwoMethods):
    def matches(self, standing: Record | None, expected: Record | None) -> bool:
        return same_version(
            standing and standing._replace(owner=None), expected and expected._replace(owner=None)
        )


class ForgetsTheLease(TwoMethods):
    def matches(self, standing: Record | None, expected: Record | None) -> bool:
        if standing is None or expected is None:
            return standing is expected
        return same_version(
            standing._replace(in_progress_expiry_timestamp=None),
            expected._replace(in_progress_expiry_timestamp=None),
        )


class ForgetsTheExpiry(TwoMethods):
    def matches(self, standing: Record | None, expected: Record | None) -> bool:
        if standing is None or expected is None:
            return standing is expected
        return same_version(standing, expected._replace(expiry_timestamp=standing.expiry_timestamp))


class ForgetsTheStatus(TwoMethods):
    def matches(self, standing: Record | None, expected: Record | None) -> bool:
        if standing is None or expected is None:
            return standing is expected
        return same_version(standing, expected._replace(status=standing.status))


class ComparesEverything(TwoMethods):
    def matches(self, standing: Record | None, expected: Record | None) -> bool:
        return standing == expected


class CreatesWhereSomethingWasExpected(TwoMethods):
    def matches(self, standing: Record | None, expected: Record | None) -> bool:
        return standing is None or same_version(standing, expected)


class AnswersWithTheExpected(TwoMethods):
    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        return super()._swap(key, expected, new, keep_ms) and expected


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

    def write(self, name: str, new: Record, keep_ms: int) -> None:
        super().write(name, new, keep_ms)
        self.until[name] = now_ms() + self.kept(name, keep_ms)

    def kept(self, name: str, keep_ms: int) -> int:
        return keep_ms


class KeepsForWholeSeconds(_KeepsFor):
    def kept(self, name: str, keep_ms: int) -> int:
        return keep_ms // 1000 * 1000


class KeepsForAsLongAsTheFirst(_KeepsFor):
    def kept(self, name: str, keep_ms: int) -> int:
        return self.until[name] - now_ms() if name in self.until else keep_ms


class KeepsFor32Bits(_KeepsFor):
    def kept(self, name: str, keep_ms: int) -> int:
        return keep_ms % 2**32


class ShortensWhenItRefuses(_KeepsFor):
    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        found = super()._swap(key, expected, new, keep_ms)
        self.until[key] = now_ms() + keep_ms
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

    def write(self, name: str, new: Record, keep_ms: int) -> None:
        super().write(name, new, keep_ms)
        self.until[name] = time.perf_counter() + keep_ms / 1_000_000


class _Changes(TwoMethods):
    def write(self, name: str, new: Record, keep_ms: int) -> None:
        super().write(name, self.changed(new), keep_ms)

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

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        self.cache.pop(key, None)
        found = super()._swap(key, expected, new, keep_ms)
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
        self.rows[data_record.idempotency_key] = Record(*data_record)


class DeletesWithoutLooking(TwoMethods):
    def _delete_record(self, data_record: Record) -> None:
        self.rows.pop(data_record.idempotency_key, None)


class NeedsAnOwner(TwoMethods):
    def _update_record(self, data_record: Record) -> None:
        if data_record.owner:
            super()._update_record(data_record)


class StoresNothingButJson(TwoMethods):
    def write(self, name: str, new: Record, keep_ms: int) -> None:
        json.loads(new.response_data or "null")
        super().write(name, new, keep_ms)


BROKEN: list[tuple[Any, str, str]] = [
    (ForgetsTheOwner, "a-swap-replaces-what-is-expected-and-nothing-else", "CAS-2"),
    (ForgetsTheLease, "a-swap-replaces-what-is-expected-and-nothing-else", "CAS-2"),
    (ForgetsTheExpiry, "a-swap-replaces-what-is-expected-and-nothing-else", "CAS-2"),
    (ForgetsTheStatus, "a-swap-replaces-what-is-expected-and-nothing-else", "CAS-2"),
    (ComparesEverything, "a-swap-replaces-what-is-expected-and-nothing-else", "CAS-2"),
    (CreatesWhereSomethingWasExpected, "a-swap-replaces-what-is-expected-and-nothing-else", "CAS-2"),
    (AnswersWithTheExpected, "a-swap-replaces-what-is-expected-and-nothing-else", "CAS-3"),
    (AnswersWithoutTheResponse, "a-swap-replaces-what-is-expected-and-nothing-else", "CAS-3"),
    (AnswersNothingIfRefused, "a-swap-recognises-what-was-written-already", "CAS-3"),
    (FindsExpiredClaimsAbsent, "neither-load-nor-swap-looks-at-a-clock", "CAS-5"),
    (LetsAnybodySwapWhatIsOver, "neither-load-nor-swap-looks-at-a-clock", "CAS-5"),
    (KeepsForWholeSeconds, "a-record-stands-for-the-time-it-was-told", "CAS-6"),
    (KeepsForAsLongAsTheFirst, "a-record-stands-for-the-time-it-was-told", "CAS-6"),
    (KeepsFor32Bits, "a-record-stands-for-the-time-it-was-told", "CAS-6"),
    (ShortensWhenItRefuses, "a-record-stands-for-the-time-it-was-told", "CAS-6"),
    (KeepsForMicroseconds, "a-record-stands-for-milliseconds-and-not-less", "CAS-6"),
    (CutsResponses, "a-response-of-any-size-comes-back", "CAS-3"),
    (NormalisesText, "a-response-of-any-text-comes-back", "CAS-3"),
    (StripsText, "a-response-of-any-text-comes-back", "CAS-3"),
    (KnowsTheBasicPlaneOnly, "a-response-of-any-text-comes-back", "CAS-3"),
    (StoresNothingButJson, "the-marker-of-an-unavailable-result-comes-back", "REC-6"),
    (StoresTheTextNone, "no-response-comes-back-as-none", "REC-4"),
    (TakesHashesForNumbers, "a-payload-hash-comes-back", "CAS-3"),
    (TakesOwnersForNumbers, "an-owner-comes-back", "CAS-3"),
    (RoundsLeasesToSeconds, "a-lease-comes-back-to-the-millisecond", "REC-3"),
    (KeepsLeasesAsFloats, "deadlines-keep-every-digit", "CAS-3"),
    (Keeps32BitsOfSeconds, "deadlines-of-any-year-come-back", "CAS-3"),
    (KnowsNoUpperCase, "every-key-has-its-own-record", "CAS-1"),
    (CutsKeys, "every-key-has-its-own-record", "CAS-1"),
    (DeletesByPrefix, "every-key-has-its-own-record", "CAS-1"),
    (StoresExpired, "a-claim-comes-back-as-it-was-put", "REC-1"),
    (StoresDates, "a-claim-comes-back-as-it-was-put", "CAS-1"),
    (CachesReads, "what-one-writes-the-other-reads-at-once", "CAS-1"),
    (ReturnsNoneForMissing, "a-missing-record-is-reported-as-missing", "CAS-1"),
    (RaisesKeyErrors, "a-claim-comes-back-as-it-was-put", "CAS-1"),
    (LetsEverybodyIn, "a-live-claim-refuses-another-put", "CAS-7"),
    (ForgetsThatResultsCount, "a-live-result-refuses-another-put", "CAS-7"),
    (WritesAndThenRefuses, "a-live-claim-refuses-another-put", "CAS-7"),
    (RefusesWithAnEmptyRecord, "a-refusal-carries-what-stands-or-nothing", "CAS-7"),
    (LosesTheHash, "a-completion-keeps-the-payload-hash", "CAS-8"),
    (KeepsTheClaimsExpiry, "a-completion-stores-the-result", "CAS-8"),
    (NeverDeletes, "a-deleted-claim-is-gone", "CAS-8"),
    (LeavesAGhost, "a-deleted-claim-is-gone", "CAS-8"),
    (UpdatesWithoutLooking, "who-lost-a-claim-is-told", "CAS-8"),
    (DeletesWithoutLooking, "who-lost-a-claim-is-told", "CAS-8"),
    (NeedsAnOwner, "who-names-no-owner-acts-as-the-holder", "CAS-9"),
    (DeletesWithoutLooking, "who-names-no-owner-leaves-a-live-result-alone", "CAS-9"),
]


@pytest.mark.parametrize(("layer", "name", "clause"), BROKEN)
def test_a_broken_layer_is_seen(layer: Any, name: str, clause: str) -> None:
    capabilities = NOT_FENCED if issubclass(layer, FourMethods) else OFFERED
    report = check(layer, profile="quick", tiers=("contract",), capabilities=capabilities, seed=1)
    broken = {finding.check: set(finding.clauses) for finding in report.findings}
    assert clause in broken[name]
    assert all(finding.why.endswith((".", "?")) for finding in report.findings)


@pytest.mark.parametrize("layer", [RefusesWithoutARecord])
def test_what_is_optional_may_be_left_out(layer: Any) -> None:
    assert check(layer, profile="quick", tiers=("contract",), capabilities=NOT_FENCED, seed=1).findings == ()


class DeletesInWordsOnly(TwoMethods):
    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        if new is None and self.matches(self._load(key), expected):
            return None
        return super()._swap(key, expected, new, keep_ms)


def test_who_says_that_something_is_deleted_and_keeps_it_answers_wrongly() -> None:
    report = check(DeletesInWordsOnly, profile="quick", tiers=("contract",), seed=1)
    clauses = {
        finding.clauses
        for finding in report.findings
        if finding.check == "a-swap-replaces-what-is-expected-and-nothing-else"
    }
    assert clauses == {("CAS-3",)}


class TakesAbsenceForAnotherOwner(TwoMethods):
    def matches(self, standing: Record | None, expected: Record | None) -> bool:
        differ = standing is not None and expected is not None and standing.owner != expected.owner
        return not differ and super().matches(standing, expected)


def test_empty_and_absent_owners_that_are_told_apart_break_rec_4() -> None:
    report = check(TakesAbsenceForAnotherOwner, profile="quick", tiers=("contract",), seed=1)
    assert {finding.clauses for finding in report.findings} == {("CAS-2", "REC-4")}


class MarksWhatIsOver(TwoMethods):
    def _load(self, key: str) -> Record | None:
        found = super()._load(key)
        return found if found is None or live(found, now_ms()) else found._replace(status="EXPIRED")


def test_what_is_malformed_only_after_its_deadline_was_looked_at_by_a_clock() -> None:
    report = check(MarksWhatIsOver, profile="quick", tiers=("contract",), seed=1)
    assert [(each.check, each.clauses) for each in report.findings] == [
        ("neither-load-nor-swap-looks-at-a-clock", ("CAS-5", "REC-1", "REC-2"))
    ]


class NeverCompares(TwoMethods):
    def matches(self, standing: Record | None, expected: Record | None) -> bool:
        return True


@pytest.mark.parametrize("layer", [RoundsLeasesToSeconds, NeverCompares])
def test_what_is_wrong_from_the_beginning_is_not_put_down_to_a_clock(layer: Any) -> None:
    report = check(layer, profile="quick", tiers=("contract",), seed=1)
    assert "CAS-5" not in {clause for each in report.findings for clause in each.clauses}


class ForgetsWhatHasExpired(TwoMethods):
    """It tidies up before each swap, as a store with a time to live may at any moment."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        for name, record in list(self.rows.items()):
            if now_ms() >= expiry_ms(record):
                del self.rows[name]
        return super()._swap(key, expected, new, keep_ms)


class KnowsNoYearOfFiveDigits(TwoMethods):
    def write(self, name: str, new: Record, keep_ms: int) -> None:
        dt.datetime.fromtimestamp(new.expiry_timestamp, dt.UTC)
        super().write(name, new, keep_ms)


class ForgetsWhatIsTooFarAway(TwoMethods):
    def write(self, name: str, new: Record, keep_ms: int) -> None:
        if new.expiry_timestamp < 2**40:
            super().write(name, new, keep_ms)


class WritesWhatTheProtocolWrites(TwoMethods):
    """A table with constraints, which follow from the transition and the clauses of time."""

    def write(self, name: str, new: Record, keep_ms: int) -> None:
        lease = new.in_progress_expiry_timestamp
        if new.status == COMPLETED and lease is not None:
            raise ValueError("a result has no lease")
        if new.status == INPROGRESS and new.response_data:
            raise ValueError("a claim has no response")
        if lease is not None and expiry_ms(new) < lease:
            raise ValueError("an expiry is not before the lease")
        super().write(name, new, keep_ms)


@pytest.mark.parametrize(
    "layer",
    [
        ForgetsWhatHasExpired,
        KnowsNoYearOfFiveDigits,
        ForgetsWhatIsTooFarAway,
        WritesWhatTheProtocolWrites,
    ],
)
def test_no_more_is_asked_than_the_protocol_says(layer: Any) -> None:
    assert check(layer, profile="quick", tiers=("contract",), capabilities=OFFERED, seed=1).findings == ()


def test_the_largest_response_is_what_is_claimed() -> None:
    class Refuses(TwoMethods):
        def write(self, name: str, new: Record, keep_ms: int) -> None:
            if len((new.response_data or "").encode()) > 5000:
                raise ValueError("too large")
            super().write(name, new, keep_ms)

    def findings(largest: int) -> list[str]:
        capabilities = OFFERED.__class__(largest_response=largest)
        report = check(Refuses, profile="quick", tiers=("contract",), capabilities=capabilities, seed=1)
        return [finding.why for finding in report.findings]

    assert findings(5000) == []
    assert findings(5001) == ["Storing a response of 5,001 bytes raised ValueError: too large."]


def test_every_check_of_these_modules_has_been_seen_to_fail() -> None:
    mine = {module.__name__ for module in (contract, round_trips, swaps)}
    assert {each.name for each in checks() if each.run.__module__ in mine} == {name for _, name, _ in BROKEN}
