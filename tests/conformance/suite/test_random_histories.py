"""Random histories: correct layers pass, broken layers are found, and traces are short."""

import time
from pathlib import Path
from typing import Any

import pytest

from faulty_layers import (
    DeletesWithoutLooking,
    ForgetsTheLease,
    ForgetsTheOwner,
    NeedsAnOwner,
    UpdatesWithoutLooking,
)
from idemproof import DataRecord, Record
from idemproof.conformance import Capabilities
from idemproof.conformance.suite.profiles import PROFILES, Profile
from idemproof.conformance.suite.report import CheckResult
from idemproof.conformance.suite.runner import Session, checks
from idemproof.spec.record import COMPLETED, INPROGRESS, deadline_ms, live
from right_layers import NOT_FENCED, OFFERED, RIGHT, FourMethods, TwoMethods, now_ms

pytestmark = pytest.mark.once

# Limited by the number of histories, not by time.
UNHURRIED = PROFILES["default"]._replace(tour_seconds=600)


def judged(
    factory: Any, capabilities: Capabilities = OFFERED, profile: Profile = UNHURRIED, seed: int = 1
) -> CheckResult:
    (asked,) = (each for each in checks(("time",)) if each.name == "a-random-history-follows-the-protocol")
    session = Session(factory, profile, seed, capabilities)
    try:
        return session.judge(asked)
    finally:
        session.close()


@pytest.mark.parametrize("name", [name for name in RIGHT if name != "four-methods-with-the-real-clock"])
def test_a_correct_layer_passes(name: str, tmp_path: Path) -> None:
    factory, capabilities = RIGHT[name](tmp_path)
    result = judged(factory, capabilities, UNHURRIED._replace(examples=60), seed=len(name))
    assert result.findings == ()
    assert result.histories >= 60


class AlwaysReturnsTheNewRecord(TwoMethods):
    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        super()._swap(key, expected, new, ttl_ms)
        return new


class OmitsTheHashInRefusals(TwoMethods):
    def refusal(self, current: Record | None) -> Record | None:
        return current and current._replace(payload_hash=None)


class SwapsExpiredRecordsUnconditionally(TwoMethods):
    def matches(self, current: Record | None, expected: Record | None) -> bool:
        return super().matches(current, expected) or (current is not None and not live(current, now_ms()))


class EvictsAtTheEndOfLeases(TwoMethods):
    def _load(self, key: str) -> Record | None:
        found = super()._load(key)
        return found if found is not None and live(found, now_ms()) else None


class RaisesOnRefusal(TwoMethods):
    def refusal(self, current: Record | None) -> Record | None:
        raise RuntimeError("conflict")


class LivesAtTheDeadline(FourMethods):
    def live(self, record: Record, now: int) -> bool:
        return now <= deadline_ms(record)


class LivesAtTheExpiryOfResults(FourMethods):
    def live(self, record: Record, now: int) -> bool:
        return now < deadline_ms(record) + (1 if record[1] == COMPLETED else 0)


class EndsAMillisecondEarly(FourMethods):
    def live(self, record: Record, now: int) -> bool:
        return now + 1 < deadline_ms(record)


class ClaimsOverResults(FourMethods):
    def live(self, record: Record, now: int) -> bool:
        return record[1] == INPROGRESS and live(record, now)


class LosesTheHash(FourMethods):
    def _update_record(self, data_record: DataRecord) -> None:
        self.write(data_record._replace(payload_hash=None))


class NeverDeletes(FourMethods):
    def _delete_record(self, data_record: DataRecord) -> None:
        pass


BROKEN: list[tuple[Any, Capabilities, set[str]]] = [
    (ForgetsTheOwner, OFFERED, {"CAS-2"}),
    (ForgetsTheLease, OFFERED, {"CAS-2"}),
    (AlwaysReturnsTheNewRecord, OFFERED, {"CAS-2", "CAS-3", "CAS-7"}),
    (OmitsTheHashInRefusals, OFFERED, {"CAS-3", "CAS-7"}),
    (SwapsExpiredRecordsUnconditionally, OFFERED, {"CAS-5"}),
    (EvictsAtTheEndOfLeases, OFFERED, {"CAS-2", "CAS-3", "CAS-6", "CAS-8"}),
    (UpdatesWithoutLooking, OFFERED, {"CAS-8", "CAS-9"}),
    (DeletesWithoutLooking, OFFERED, {"CAS-8", "CAS-9"}),
    (NeedsAnOwner, OFFERED, {"CAS-9"}),
    (RaisesOnRefusal, OFFERED, {"CAS-3", "CAS-7", "CAS-8", "CAS-9"}),
    (LivesAtTheDeadline, NOT_FENCED, {"TIME-2"}),
    (LivesAtTheExpiryOfResults, NOT_FENCED, {"TIME-2"}),
    (EndsAMillisecondEarly, NOT_FENCED, {"TIME-2"}),
    (ClaimsOverResults, NOT_FENCED, {"CAS-7"}),
    (LosesTheHash, NOT_FENCED, {"CAS-7", "CAS-8"}),
    (NeverDeletes, NOT_FENCED, {"CAS-7", "CAS-8"}),
    # Correct without fencing, but broken for a layer that claims to be fenced.
    (FourMethods, OFFERED, {"CAS-8"}),
]


@pytest.mark.parametrize(("layer", "capabilities", "clauses"), BROKEN)
def test_a_broken_layer_is_found(layer: Any, capabilities: Capabilities, clauses: set[str]) -> None:
    (finding,) = judged(layer, capabilities).findings
    assert set(finding.clauses) & clauses
    assert 1 <= len(finding.lines) <= 9


def test_the_trace_is_the_shortest_and_shows_the_stored_record() -> None:
    (finding,) = judged(UpdatesWithoutLooking).findings
    assert len(finding.lines) == 2
    assert isinstance(finding.lines[-1].current, Record)
    assert finding.lines[-1].current.status == COMPLETED


def test_the_same_seed_finds_the_same_trace() -> None:
    def trace() -> list[tuple[int, str, str]]:
        (finding,) = judged(ForgetsTheOwner, seed=5).findings
        return [line[:3] for line in finding.lines]

    assert trace() == trace()


def test_a_slow_layer_is_checked_within_the_time_limit() -> None:
    class Slow(TwoMethods):
        def _load(self, key: str) -> Record | None:
            time.sleep(0.002)
            return super()._load(key)

    result = judged(Slow, profile=PROFILES["default"]._replace(tour_seconds=0.3))
    assert result.findings == ()
    assert 0 < result.histories < PROFILES["default"].examples


def test_an_intermittent_fault_is_reported() -> None:
    class FailsOnce(TwoMethods):
        left = 50

        def _load(self, key: str) -> Record | None:
            FailsOnce.left -= 1
            if FailsOnce.left == 0:
                raise ConnectionError("reset")
            return super()._load(key)

    (finding,) = judged(FailsOnce).findings
    assert finding.why == "The layer raised ConnectionError: reset"
