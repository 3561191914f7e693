"""The contract tier passes every correct layer, and finds each kind of broken one."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

import faulty_layers as layers
from idemproof import Record
from idemproof.conformance import check
from idemproof.conformance.suite.runner import checks
from idemproof.conformance.tiers import contract, round_trips, swaps
from idemproof.spec.record import COMPLETED, INPROGRESS, expiry_ms, live
from right_layers import NOT_FENCED, OFFERED, RIGHT, FourMethods, TwoMethods, now_ms

pytestmark = pytest.mark.once


@pytest.mark.parametrize("name", RIGHT)
def test_a_correct_layer_passes(name: str, tmp_path: Path) -> None:
    factory, capabilities = RIGHT[name](tmp_path)
    report = check(factory, tiers=("contract",), capabilities=capabilities, seed=1)
    assert report.findings == ()
    assert report.tiers["contract"] == "kept"


BROKEN: list[tuple[Any, str, str]] = [
    (layers.ForgetsTheOwner, "a-swap-replaces-what-is-expected-and-nothing-else", "CAS-2"),
    (layers.ForgetsTheLease, "a-swap-replaces-what-is-expected-and-nothing-else", "CAS-2"),
    (layers.ForgetsTheExpiry, "a-swap-replaces-what-is-expected-and-nothing-else", "CAS-2"),
    (layers.ForgetsTheStatus, "a-swap-replaces-what-is-expected-and-nothing-else", "CAS-2"),
    (layers.ComparesEverything, "a-swap-replaces-what-is-expected-and-nothing-else", "CAS-2"),
    (layers.CreatesWhereSomethingWasExpected, "a-swap-replaces-what-is-expected-and-nothing-else", "CAS-2"),
    (layers.AnswersWithTheExpected, "a-swap-replaces-what-is-expected-and-nothing-else", "CAS-3"),
    (layers.AnswersWithoutTheResponse, "a-swap-replaces-what-is-expected-and-nothing-else", "CAS-3"),
    (layers.AnswersNothingIfRefused, "a-swap-recognises-what-was-written-already", "CAS-3"),
    (layers.FindsExpiredClaimsAbsent, "neither-load-nor-swap-looks-at-a-clock", "CAS-5"),
    (layers.LetsAnybodySwapWhatIsOver, "neither-load-nor-swap-looks-at-a-clock", "CAS-5"),
    (layers.KeepsForWholeSeconds, "a-record-stands-for-the-time-it-was-told", "CAS-6"),
    (layers.KeepsForAsLongAsTheFirst, "a-record-stands-for-the-time-it-was-told", "CAS-6"),
    (layers.KeepsFor32Bits, "a-record-stands-for-the-time-it-was-told", "CAS-6"),
    (layers.ShortensWhenItRefuses, "a-record-stands-for-the-time-it-was-told", "CAS-6"),
    (layers.KeepsForMicroseconds, "a-record-stands-for-milliseconds-and-not-less", "CAS-6"),
    (layers.CutsResponses, "a-response-of-any-size-comes-back", "CAS-3"),
    (layers.NormalisesText, "a-response-of-any-text-comes-back", "CAS-3"),
    (layers.StripsText, "a-response-of-any-text-comes-back", "CAS-3"),
    (layers.KnowsTheBasicPlaneOnly, "a-response-of-any-text-comes-back", "CAS-3"),
    (layers.StoresNothingButJson, "the-marker-of-an-unavailable-result-comes-back", "REC-6"),
    (layers.StoresTheTextNone, "no-response-comes-back-as-none", "REC-4"),
    (layers.TakesHashesForNumbers, "a-payload-hash-comes-back", "CAS-3"),
    (layers.TakesOwnersForNumbers, "an-owner-comes-back", "CAS-3"),
    (layers.RoundsLeasesToSeconds, "a-lease-comes-back-to-the-millisecond", "REC-3"),
    (layers.KeepsLeasesAsFloats, "deadlines-keep-every-digit", "CAS-3"),
    (layers.Keeps32BitsOfSeconds, "deadlines-of-any-year-come-back", "CAS-3"),
    (layers.KnowsNoUpperCase, "every-key-has-its-own-record", "CAS-1"),
    (layers.CutsKeys, "every-key-has-its-own-record", "CAS-1"),
    (layers.DeletesByPrefix, "every-key-has-its-own-record", "CAS-1"),
    (layers.StoresExpired, "a-claim-comes-back-as-it-was-put", "REC-1"),
    (layers.StoresDates, "a-claim-comes-back-as-it-was-put", "CAS-1"),
    (layers.CachesReads, "what-one-writes-the-other-reads-at-once", "CAS-1"),
    (layers.ReturnsNoneForMissing, "a-missing-record-is-reported-as-missing", "CAS-1"),
    (layers.RaisesKeyErrors, "a-claim-comes-back-as-it-was-put", "CAS-1"),
    (layers.LetsEverybodyIn, "a-live-claim-refuses-another-put", "CAS-7"),
    (layers.ForgetsThatResultsCount, "a-live-result-refuses-another-put", "CAS-7"),
    (layers.WritesAndThenRefuses, "a-live-claim-refuses-another-put", "CAS-7"),
    (layers.RefusesWithAnEmptyRecord, "a-refusal-carries-what-stands-or-nothing", "CAS-7"),
    (layers.LosesTheHash, "a-completion-keeps-the-payload-hash", "CAS-8"),
    (layers.KeepsTheClaimsExpiry, "a-completion-stores-the-result", "CAS-8"),
    (layers.NeverDeletes, "a-deleted-claim-is-gone", "CAS-8"),
    (layers.LeavesAGhost, "a-deleted-claim-is-gone", "CAS-8"),
    (layers.UpdatesWithoutLooking, "who-lost-a-claim-is-told", "CAS-8"),
    (layers.DeletesWithoutLooking, "who-lost-a-claim-is-told", "CAS-8"),
    (layers.NeedsAnOwner, "who-names-no-owner-acts-as-the-holder", "CAS-9"),
    (layers.DeletesWithoutLooking, "who-names-no-owner-leaves-a-live-result-alone", "CAS-9"),
]


@pytest.mark.parametrize(("layer", "name", "clause"), BROKEN)
def test_a_broken_layer_is_found(layer: Any, name: str, clause: str) -> None:
    capabilities = NOT_FENCED if issubclass(layer, FourMethods) else OFFERED
    report = check(layer, profile="quick", tiers=("contract",), capabilities=capabilities, seed=1)
    broken = {finding.check: set(finding.clauses) for finding in report.findings}
    assert clause in broken[name]
    assert all(finding.why.endswith((".", "?")) for finding in report.findings)


@pytest.mark.parametrize("layer", [layers.RefusesWithoutARecord])
def test_optional_behaviour_may_be_absent(layer: Any) -> None:
    assert check(layer, profile="quick", tiers=("contract",), capabilities=NOT_FENCED, seed=1).findings == ()


class ReportsADeletionOnly(TwoMethods):
    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        if new is None and self.matches(self._load(key), expected):
            return None
        return super()._swap(key, expected, new, ttl_ms)


def test_a_deletion_that_is_reported_but_not_done_is_a_wrong_answer() -> None:
    report = check(ReportsADeletionOnly, profile="quick", tiers=("contract",), seed=1)
    clauses = {
        finding.clauses
        for finding in report.findings
        if finding.check == "a-swap-replaces-what-is-expected-and-nothing-else"
    }
    assert clauses == {("CAS-3",)}


class TakesAbsenceForAnotherOwner(TwoMethods):
    def matches(self, current: Record | None, expected: Record | None) -> bool:
        differ = current is not None and expected is not None and current.owner != expected.owner
        return not differ and super().matches(current, expected)


def test_distinguishing_empty_and_absent_owners_breaks_rec_4() -> None:
    report = check(TakesAbsenceForAnotherOwner, profile="quick", tiers=("contract",), seed=1)
    assert {finding.clauses for finding in report.findings} == {("CAS-2", "REC-4")}


class MarksWhatIsOver(TwoMethods):
    def _load(self, key: str) -> Record | None:
        found = super()._load(key)
        return found if found is None or live(found, now_ms()) else found._replace(status="EXPIRED")


def test_a_record_that_is_malformed_only_after_its_deadline_breaks_cas_5() -> None:
    report = check(MarksWhatIsOver, profile="quick", tiers=("contract",), seed=1)
    assert [(each.check, each.clauses) for each in report.findings] == [
        ("neither-load-nor-swap-looks-at-a-clock", ("CAS-5", "REC-1", "REC-2"))
    ]


class NeverCompares(TwoMethods):
    def matches(self, current: Record | None, expected: Record | None) -> bool:
        return True


@pytest.mark.parametrize("layer", [layers.RoundsLeasesToSeconds, NeverCompares])
def test_a_fault_that_does_not_depend_on_time_does_not_break_cas_5(layer: Any) -> None:
    report = check(layer, profile="quick", tiers=("contract",), seed=1)
    assert "CAS-5" not in {clause for each in report.findings for clause in each.clauses}


class ForgetsWhatHasExpired(TwoMethods):
    """Deletes expired records before each swap, as a store with a time to live may at any time."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        for name, record in list(self.rows.items()):
            if now_ms() >= expiry_ms(record):
                del self.rows[name]
        return super()._swap(key, expected, new, ttl_ms)


class KnowsNoYearOfFiveDigits(TwoMethods):
    def write(self, name: str, new: Record, ttl_ms: int) -> None:
        dt.datetime.fromtimestamp(new.expiry_timestamp, dt.UTC)
        super().write(name, new, ttl_ms)


class ForgetsWhatIsTooFarAway(TwoMethods):
    def write(self, name: str, new: Record, ttl_ms: int) -> None:
        if new.expiry_timestamp < 2**40:
            super().write(name, new, ttl_ms)


class WritesWhatTheProtocolWrites(TwoMethods):
    """A table with constraints that follow from the transition and the clauses about time."""

    def write(self, name: str, new: Record, ttl_ms: int) -> None:
        lease = new.in_progress_expiry_timestamp
        if new.status == COMPLETED and lease is not None:
            raise ValueError("a result has no lease")
        if new.status == INPROGRESS and new.response_data:
            raise ValueError("a claim has no response")
        if lease is not None and expiry_ms(new) < lease:
            raise ValueError("an expiry is not before the lease")
        super().write(name, new, ttl_ms)


@pytest.mark.parametrize(
    "layer",
    [
        ForgetsWhatHasExpired,
        KnowsNoYearOfFiveDigits,
        ForgetsWhatIsTooFarAway,
        WritesWhatTheProtocolWrites,
    ],
)
def test_the_checks_require_no_more_than_the_protocol(layer: Any) -> None:
    assert check(layer, profile="quick", tiers=("contract",), capabilities=OFFERED, seed=1).findings == ()


def test_the_largest_response_is_the_claimed_one() -> None:
    class Refuses(TwoMethods):
        def write(self, name: str, new: Record, ttl_ms: int) -> None:
            if len((new.response_data or "").encode()) > 5000:
                raise ValueError("too large")
            super().write(name, new, ttl_ms)

    def findings(largest: int) -> list[str]:
        capabilities = OFFERED.__class__(largest_response=largest)
        report = check(Refuses, profile="quick", tiers=("contract",), capabilities=capabilities, seed=1)
        return [finding.why for finding in report.findings]

    assert findings(5000) == []
    assert findings(5001) == ["Storing a response of 5,001 bytes raised ValueError: too large."]


def test_every_check_of_these_modules_fails_for_some_layer() -> None:
    mine = {module.__name__ for module in (contract, round_trips, swaps)}
    assert {each.name for each in checks() if each.run.__module__ in mine} == {name for _, name, _ in BROKEN}
