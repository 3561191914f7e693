"""What the findings of the time tier say, and which layers have a clock that can be moved.

Which broken layers it finds is in the kill matrix.
"""

import time
from typing import Any

import pytest

from broken_layers.deadlines import LivesAtItsDeadline
from broken_layers.exhibits import UNFENCED
from broken_layers.foundations import FourMethods
from idemproof import DataRecord, Record
from idemproof.conformance import Capabilities, check
from idemproof.conformance.suite.profiles import PROFILES
from idemproof.conformance.suite.runner import Session, checks
from idemproof.spec.record import deadline_ms, live

pytestmark = pytest.mark.once

RANDOM = "a-random-history-follows-the-protocol"
ANOTHER_CLOCK = "the layer uses a clock other than this process's: claim movable_clock = False"

# Random histories have separate tests.
WITHOUT_CHANCE = PROFILES["quick"]._replace(examples=1, tour_seconds=0)


def test_a_fault_at_one_boundary_is_one_finding() -> None:
    report = check(LivesAtItsDeadline, profile=WITHOUT_CHANCE, tiers=("time",), capabilities=UNFENCED, seed=1)
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

    def live(self, record: Record) -> bool:
        return time.perf_counter() < self.until[record.idempotency_key]

    def keep(self, record: DataRecord) -> None:
        super().keep(record)
        kept_ms = deadline_ms(record.as_record()) - self.now()
        self.until[record.idempotency_key] = time.perf_counter() + kept_ms / 1000


class AsksItsServer(FourMethods):
    """WHERE lease <= now(), on a server in 2026, whatever the clock of this process says."""

    def now(self) -> int:
        return 1_767_225_600_000


class MistakesItsTimeZone(FourMethods):
    def now(self) -> int:
        return super().now() - 12 * 3_600_000


class NeverAllowsATakeover(FourMethods):
    def live(self, record: Record) -> bool:
        return True


class TakesNothingThatIsOver(NeverAllowsATakeover):
    """Rejects a negative time to live, as some servers do."""

    def _put_record(self, data_record: DataRecord) -> None:
        if not live(data_record, self.now()):
            raise ConnectionError("an invalid time to live")
        super()._put_record(data_record)


def verdicts(layer: Any) -> set[tuple[str, str | None]]:
    """Return the verdicts of the checks that move the clock, with the reasons why they did not run."""
    session = Session(layer, WITHOUT_CHANCE, 1, Capabilities(fenced=True))
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
    report = check(layer, profile=WITHOUT_CHANCE, tiers=("time",), capabilities=UNFENCED, seed=1)
    assert {"TIME-3", "TIME-4", "INV-9"} <= {each for found in report.findings for each in found.clauses}
