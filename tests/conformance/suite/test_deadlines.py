"""The time tier passes every correct layer, and finds deadlines that are off by a millisecond."""

import time
from pathlib import Path
from typing import Any

import pytest

from idemproof import CompareAndSwapLayer, DataRecord, Record
from idemproof.conformance import check
from idemproof.conformance.suite.profiles import PROFILES
from idemproof.conformance.suite.runner import Session, checks
from idemproof.conformance.tiers import deadlines, histories
from idemproof.spec.record import INPROGRESS, deadline_ms, expiry_ms, live
from right_layers import NOT_FENCED, OFFERED, RIGHT, FourMethods, TwoMethods, now_ms

pytestmark = pytest.mark.once

RANDOM = "a-random-history-follows-the-protocol"
ANOTHER_CLOCK = "the layer uses a clock other than this process's: claim movable_clock = False"

# Random histories have separate tests.
WITHOUT_CHANCE = PROFILES["quick"]._replace(examples=1, tour_seconds=0)


@pytest.mark.parametrize("name", RIGHT)
def test_a_correct_layer_passes(name: str, tmp_path: Path) -> None:
    factory, capabilities = RIGHT[name](tmp_path)
    report = check(factory, profile=WITHOUT_CHANCE, tiers=("time",), capabilities=capabilities, seed=1)
    assert report.findings == ()
    judged = isinstance(factory(), CompareAndSwapLayer) or capabilities.movable_clock
    assert report.tiers["time"] == ("kept" if judged or "async" in name else "not offered")


class CountsAtTheDeadline(FourMethods):
    def live(self, record: Record, now: int) -> bool:
        return now <= deadline_ms(record)


class CountsAtTheLease(FourMethods):
    def live(self, record: Record, now: int) -> bool:
        late = 1 if record[1] == INPROGRESS else 0
        return now < deadline_ms(record) + late


class EndsAMillisecondEarly(FourMethods):
    def live(self, record: Record, now: int) -> bool:
        return now + 1 < deadline_ms(record)


class CountsInSeconds(FourMethods):
    """Compares whole seconds with <."""

    def live(self, record: Record, now: int) -> bool:
        return now // 1000 <= deadline_ms(record) // 1000


class RoundsLeasesUp(FourMethods):
    def live(self, record: Record, now: int) -> bool:
        return now < -(-deadline_ms(record) // 1000) * 1000


class RoundsLeasesDown(FourMethods):
    def live(self, record: Record, now: int) -> bool:
        return now < deadline_ms(record) // 1000 * 1000


class TakesLeasesForSeconds(FourMethods):
    def live(self, record: Record, now: int) -> bool:
        lease = record.in_progress_expiry_timestamp
        if record[1] == INPROGRESS and lease is not None:
            return now // 1000 < lease
        return now < expiry_ms(record)


class TakesExpiriesForMilliseconds(FourMethods):
    def live(self, record: Record, now: int) -> bool:
        lease = record.in_progress_expiry_timestamp
        return now < (lease if record[1] == INPROGRESS and lease else record.expiry_timestamp)


class KnowsNoLease(FourMethods):
    def live(self, record: Record, now: int) -> bool:
        return now < expiry_ms(record)


class NeedsALease(FourMethods):
    def live(self, record: Record, now: int) -> bool:
        if record[1] == INPROGRESS:
            return now < (record.in_progress_expiry_timestamp or 0)
        return now < expiry_ms(record)


class NeverEndsWithoutALease(FourMethods):
    def live(self, record: Record, now: int) -> bool:
        if record[1] == INPROGRESS:
            return now < (record.in_progress_expiry_timestamp or 2**53)
        return now < expiry_ms(record)


class EndsResultsWithTheirLease(FourMethods):
    """The lease of the claim is kept, and still used."""

    def write(self, record: Record) -> None:
        before = self.rows.get(record.idempotency_key)
        if record[1] != INPROGRESS and before is not None:
            record = record._replace(in_progress_expiry_timestamp=before.in_progress_expiry_timestamp)
        super().write(record)

    def live(self, record: Record, now: int) -> bool:
        return now < (record.in_progress_expiry_timestamp or expiry_ms(record))


class NeverForgets(FourMethods):
    def live(self, record: Record, now: int) -> bool:
        return record[1] != INPROGRESS or now < deadline_ms(record)


class LetsInAndKeepsTheOld(FourMethods):
    def write(self, record: Record) -> None:
        self.rows.setdefault(self.name(record.idempotency_key), Record(*record[:7]))


class KeepsTheOldResult(FourMethods):
    def write(self, record: Record) -> None:
        before = self.rows.get(record.idempotency_key)
        if before is not None and before.response_data:
            record = record._replace(response_data=before.response_data)
        super().write(record)


class KeepsTheFirstLease(FourMethods):
    def __init__(self) -> None:
        super().__init__()
        self.first: dict[str, int] = {}

    def write(self, record: Record) -> None:
        super().write(record)
        self.first.setdefault(record.idempotency_key, deadline_ms(record))

    def live(self, record: Record, now: int) -> bool:
        return now < self.first[record.idempotency_key]


class OverflowsIn2038(FourMethods):
    def live(self, record: Record, now: int) -> bool:
        return super().live(record, now) and now < 2**31 * 1000


class ForgetsASecondEarly(TwoMethods):
    """Its time to live is rounded down to seconds, and begins with the second."""

    def _load(self, key: str) -> Record | None:
        found = super()._load(key)
        return None if found is not None and now_ms() >= expiry_ms(found) - 999 else found


BROKEN: list[tuple[Any, str, str]] = [
    (CountsAtTheDeadline, "a-claim-is-over-at-its-deadline", "TIME-2"),
    (CountsAtTheDeadline, "a-result-is-over-at-its-expiry", "TIME-2"),
    (CountsAtTheLease, "a-claim-is-over-at-its-deadline", "TIME-2"),
    (EndsAMillisecondEarly, "a-claim-counts-until-its-last-millisecond", "TIME-4"),
    (EndsAMillisecondEarly, "a-result-counts-until-its-last-millisecond", "TIME-3"),
    (CountsInSeconds, "a-result-is-over-at-its-expiry", "TIME-2"),
    (CountsInSeconds, "a-millisecond-after-its-lease-a-claim-is-over", "TIME-4"),
    (RoundsLeasesUp, "a-claim-is-over-at-its-deadline", "TIME-4"),
    (RoundsLeasesDown, "a-claim-counts-until-its-last-millisecond", "TIME-4"),
    (TakesLeasesForSeconds, "a-claim-is-over-after-its-deadline", "ROW-1"),
    (TakesExpiriesForMilliseconds, "a-result-counts-until-its-last-millisecond", "TIME-3"),
    (KnowsNoLease, "a-claim-is-over-after-its-deadline", "TIME-4"),
    (NeedsALease, "a-claim-counts-until-its-last-millisecond", "TIME-4"),
    (NeverEndsWithoutALease, "a-claim-is-over-after-its-deadline", "INV-9"),
    (EndsResultsWithTheirLease, "a-result-counts-until-its-last-millisecond", "TIME-3"),
    (NeverForgets, "a-result-is-over-after-its-expiry", "TIME-3"),
    (LetsInAndKeepsTheOld, "a-claim-is-over-at-its-deadline", "ROW-1"),
    (KeepsTheOldResult, "a-result-is-over-after-its-expiry", "ROW-1"),
    (KeepsTheFirstLease, "a-claim-that-took-over-counts-anew", "TIME-4"),
    (OverflowsIn2038, "deadlines-are-kept-in-the-year-2100", "TIME-4"),
    (ForgetsASecondEarly, "a-result-counts-until-its-last-millisecond", "INV-7"),
]


@pytest.mark.parametrize(("layer", "name", "clause"), BROKEN)
def test_a_broken_layer_is_found(layer: Any, name: str, clause: str) -> None:
    capabilities = NOT_FENCED if issubclass(layer, FourMethods) else OFFERED
    report = check(layer, profile=WITHOUT_CHANCE, tiers=("time",), capabilities=capabilities, seed=1)
    broken = {finding.check: set(finding.clauses) for finding in report.findings}
    assert clause in broken[name]


def test_a_fault_at_one_boundary_is_one_finding() -> None:
    report = check(
        CountsAtTheDeadline, profile=WITHOUT_CHANCE, tiers=("time",), capabilities=NOT_FENCED, seed=1
    )
    assert {finding.check for finding in report.findings} - {RANDOM} == {
        "a-claim-is-over-at-its-deadline",
        "a-result-is-over-at-its-expiry",
    }
    finding = report.findings[0]
    assert finding.why == "A claim with a lease of 1 ms was still live at its deadline: a put was refused."
    assert [line.who for line in finding.lines] == ["client 1", "the clock", "client 2"]


class LetsItsStoreDecide(FourMethods):
    """SET NX with a time to live, in a store whose clock is not moved."""

    def __init__(self) -> None:
        super().__init__()
        self.until: dict[str, float] = {}

    def live(self, record: Record, _now: int) -> bool:
        return time.perf_counter() < self.until[record.idempotency_key]

    def write(self, record: Record) -> None:
        super().write(record)
        kept_ms = deadline_ms(record) - now_ms()
        self.until[record.idempotency_key] = time.perf_counter() + kept_ms / 1000


class AsksItsServer(FourMethods):
    """WHERE lease <= now(), on a server in 2026, whatever the clock of this process says."""

    def live(self, record: Record, _now: int) -> bool:
        return super().live(record, 1_767_225_600_000)


class MistakesItsTimeZone(FourMethods):
    def live(self, record: Record, now: int) -> bool:
        return super().live(record, now - 12 * 3_600_000)


class NeverAllowsATakeover(FourMethods):
    def live(self, _record: Record, _now: int) -> bool:
        return True


class TakesNothingThatIsOver(NeverAllowsATakeover):
    """Rejects a negative time to live, as some servers do."""

    def _put_record(self, data_record: DataRecord) -> None:
        if not live(data_record, now_ms()):
            raise ConnectionError("an invalid time to live")
        super()._put_record(data_record)


def verdicts(layer: Any) -> set[tuple[str, str | None]]:
    """Return the verdicts of the checks that move the clock, with the reasons why they did not run."""
    session = Session(layer, WITHOUT_CHANCE, 1)
    try:
        asked = [each for each in checks() if "time" in each.needs and "swaps" not in each.needs]
        assert {each.tier for each in asked} == {"time", "exclusion", "fencing", "faults"}
        results = [session.judge(each) for each in asked]
        return {(each.verdict, each.why_not) for each in results}
    finally:
        session.close()


@pytest.mark.parametrize("layer", [LetsItsStoreDecide, AsksItsServer])
def test_a_store_with_its_own_clock_is_not_offered_checks_that_move_the_clock(layer: Any) -> None:
    assert verdicts(layer) == {("not offered", ANOTHER_CLOCK)}


@pytest.mark.parametrize("layer", [FourMethods, MistakesItsTimeZone, NeverAllowsATakeover])
def test_a_layer_that_uses_the_moved_clock_is_judged_in_every_tier(layer: Any) -> None:
    assert ANOTHER_CLOCK not in {why for _, why in verdicts(layer)}


@pytest.mark.parametrize("layer", [NeverAllowsATakeover, TakesNothingThatIsOver])
def test_a_layer_that_never_allows_a_takeover_is_not_treated_as_having_its_own_clock(layer: Any) -> None:
    report = check(layer, profile=WITHOUT_CHANCE, tiers=("time",), capabilities=NOT_FENCED, seed=1)
    assert {"TIME-3", "TIME-4", "INV-9"} <= {each for found in report.findings for each in found.clauses}


def test_every_check_of_these_modules_fails_for_some_layer() -> None:
    mine = {module.__name__ for module in (deadlines, histories)}
    assert {each.name for each in checks() if each.run.__module__ in mine} == {
        name for _, name, _ in BROKEN
    } | {RANDOM}
