"""End-to-end calls of the engine over a layer, in the fencing and faults tiers."""

import math

import pytest

from broken_layers.foundations import Dictionary, FourMethods
from idemproof.conformance import Capabilities, check
from idemproof.conformance.harness.end_to_end import Bounds, paths, without_late_requests
from idemproof.conformance.suite.profiles import PROFILES

pytestmark = pytest.mark.once

TIERS = ("fencing", "faults")
# Limited by the bounds of the paths, not by time.
UNHURRIED = PROFILES["quick"]._replace(tour_seconds=600, total_seconds=math.inf)


OUTLIVED = "calls-that-outlive-their-leases-change-nothing"
LOST = "a-lost-request-or-reply-costs-a-retry-only"
LATE = "a-late-request-changes-nothing"
DEATH = "a-death-costs-a-lease-only"


def test_a_correct_layer_passes() -> None:
    report = check(Dictionary, profile=UNHURRIED, tiers=TIERS)
    assert report.findings == ()
    assert {report.tiers[tier] for tier in TIERS} == {"kept"}
    assert all(each.histories for each in report.checks if each.tier in TIERS)


def test_a_trace_ends_at_the_broken_rule() -> None:
    claims = Capabilities(fenced=True)
    report = check(FourMethods, profile=UNHURRIED, tiers=("faults",), capabilities=claims)
    [finding] = [each for each in report.findings if (each.check, each.clauses) == (LOST, ("INV-6",))]
    assert finding.why == "A caller was locked out by its own claim, whose reply was lost."
    assert [(line.at_ms, line.who, line.what) for line in finding.lines[:3]] == [
        (0, "client 1", "calls with payload a"),
        (0, "client 1", "reply lost: a claim"),
        (0, "client 1", "waits: sleep"),
    ]
    assert finding.lines[-1].what.startswith(
        "answered: a claim, and the call raised: IdempotencyAlreadyInProgress"
    )
    assert [getattr(line.current, "status", None) for line in finding.lines] == [
        None,
        *["INPROGRESS"] * (len(finding.lines) - 1),
    ]


def test_fencing_is_checked_only_if_it_is_claimed() -> None:
    report = check(FourMethods, profile=UNHURRIED, tiers=TIERS, capabilities=Capabilities(fenced=False))
    assert report.findings == ()
    assert report.tiers["fencing"] == "not offered"
    assert report.tiers["faults"] == "kept"


def test_a_layer_with_a_clock_that_may_not_be_moved_is_not_checked_over_time() -> None:
    claims = Capabilities(fenced=False, movable_clock=False)
    report = check(FourMethods, profile=UNHURRIED, tiers=("faults",), capabilities=claims)
    verdicts = {each.name: each.verdict for each in report.checks}
    assert [verdicts[each] for each in (LOST, LATE, DEATH)] == ["not offered"] * 3


def test_paths_are_sorted_by_length_and_end_in_different_steps() -> None:
    found = paths(Bounds(ticks=1))
    assert [len(path) for path in found] == sorted(len(path) for path in found)
    assert len(set(found)) == len(found)


def test_paths_with_late_requests_can_be_filtered_out() -> None:
    late = [path for path in paths(Bounds(faults=1)) if not without_late_requests(path)]
    assert late
    assert all(any(choice.what == "delayed" for choice in path) for path in late)


def test_an_incomplete_walk_is_reported() -> None:
    hasty = check(Dictionary, profile=UNHURRIED._replace(tour_seconds=0), tiers=("fencing",))
    assert OUTLIVED in hasty.notes[0]
    assert "a more thorough profile" in hasty.notes[0]
    assert check(Dictionary, profile=UNHURRIED, tiers=("fencing",)).notes == ()
