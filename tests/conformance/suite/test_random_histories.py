"""Random histories: correct layers pass, broken layers are found, and traces are short."""

import math
import time
from typing import Any

import pytest

from broken_layers.exhibits import BROKEN, Sample
from broken_layers.foundations import Dictionary
from broken_layers.four_methods import UpdatesAnyRecord
from idemproof import Record
from idemproof.conformance import Capabilities
from idemproof.conformance.suite.profiles import PROFILES, Profile
from idemproof.conformance.suite.report import CheckResult
from idemproof.conformance.suite.runner import Session, checks
from idemproof.spec.record import COMPLETED

pytestmark = pytest.mark.once

# Limited by the number of histories, not by time.
UNHURRIED = PROFILES["quick"]._replace(tour_seconds=600, total_seconds=math.inf)


def judged(
    factory: Any, capabilities: Capabilities | None = None, profile: Profile = UNHURRIED, seed: int = 1
) -> CheckResult:
    (asked,) = (each for each in checks(("time",)) if each.name == "a-random-history-follows-the-protocol")
    session = Session(factory, profile, seed, capabilities)
    try:
        return session.judge(asked)
    finally:
        session.close()


# One for each kind of layer and of fault; the kill matrix has all that are found.
@pytest.mark.parametrize(
    "sample",
    [
        BROKEN[name]
        for name in (
            "says-yes-to-everybody",
            "raises-on-conflict",
            "deletes-any-record",
            "knows-no-owners",
            "lives-at-its-deadline",
            "deletes-nothing",
        )
    ],
    ids=lambda sample: sample.name,
)
def test_the_trace_of_a_broken_layer_is_short(sample: Sample) -> None:
    (finding,) = judged(sample.make(), sample.capabilities).findings
    assert 1 <= len(finding.lines) <= 10


def test_the_trace_is_the_shortest_and_shows_the_stored_record() -> None:
    (finding,) = judged(UpdatesAnyRecord).findings
    assert len(finding.lines) == 2
    assert isinstance(finding.lines[-1].current, Record)
    assert finding.lines[-1].current.status == COMPLETED


def test_the_same_seed_finds_the_same_trace() -> None:
    def trace() -> list[tuple[int, str, str]]:
        (finding,) = judged(UpdatesAnyRecord, seed=5).findings
        return [line[:3] for line in finding.lines]

    assert trace() == trace()


def test_a_slow_layer_is_checked_within_the_time_limit() -> None:
    class Slow(Dictionary):
        def _load(self, key: str) -> Record | None:
            time.sleep(0.002)
            return super()._load(key)

    result = judged(Slow, profile=PROFILES["default"]._replace(tour_seconds=0.3))
    assert result.findings == ()
    assert 0 < result.histories < PROFILES["default"].examples


def test_an_intermittent_fault_is_reported() -> None:
    class FailsOnce(Dictionary):
        left = 50

        def _load(self, key: str) -> Record | None:
            FailsOnce.left -= 1
            if FailsOnce.left == 0:
                raise ConnectionError("reset")
            return super()._load(key)

    (finding,) = judged(FailsOnce).findings
    assert finding.why == "The layer raised ConnectionError: reset"
