"""Interrupts of requests, and event loops: broken layers are found, and the layers of this library pass."""

from collections.abc import Callable
from typing import Any

import pytest

from broken_layers import raises
from idemproof import (
    AsyncInMemoryPersistenceLayer,
    InMemoryPersistenceLayer,
)
from idemproof.conformance import Capabilities, Report, check

pytestmark = pytest.mark.once

INTERRUPTS = "an-interrupt-ends-a-request-as-what-it-is"
LOOPS = "one-event-loop-after-the-other-may-use-a-layer"


def judged(factory: Callable[[], Any], tier: str, **claims: Any) -> Report:
    return check(factory, profile="quick", seed=1, capabilities=Capabilities(**claims), tiers=[tier])


def verdict(report: Report, name: str) -> str:
    return next(each.verdict for each in report.checks if each.name == name)


def findings(report: Report, name: str) -> list[str]:
    return [each.why for each in report.findings if each.check == name]


@pytest.mark.clause("CAS-10")
@pytest.mark.parametrize(
    "kind", [InMemoryPersistenceLayer, AsyncInMemoryPersistenceLayer, raises.TurnsErrorsIntoErrors]
)
def test_a_layer_in_memory_leaves_interrupts_as_they_are(kind: Callable[[], Any]) -> None:
    assert findings(judged(kind, "faults"), INTERRUPTS) == []


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (raises.TurnsInterruptsIntoErrors, "came out as an error"),
        (raises.RetriesWhateverHappens, "swallowed it"),
        (raises.FindsNothingWhenItIsToEnd, "SystemExit interrupted"),
        (raises.SwallowsCancellations, "CancelledError interrupted"),
    ],
)
def test_a_layer_that_hides_an_interrupt_is_found(kind: Callable[[], Any], name: str) -> None:
    (why,) = findings(judged(kind, "faults"), INTERRUPTS)
    assert name in why


def test_a_layer_of_one_event_loop_is_found_unless_it_claims_no_more() -> None:
    (why,) = findings(judged(raises.BelongsToItsFirstLoop, "concurrency"), LOOPS)
    assert "loops = False" in why
    report = judged(raises.BelongsToItsFirstLoop, "concurrency", loops=False)
    assert verdict(report, LOOPS) == "not offered"
    assert report.keeps()


def test_a_layer_with_a_lock_for_each_loop_passes() -> None:
    assert findings(judged(raises.ByALockForEachLoop, "concurrency"), LOOPS) == []
    assert verdict(judged(InMemoryPersistenceLayer, "concurrency"), LOOPS) == "not offered"


def test_what_blocks_the_event_loop_is_noted() -> None:
    report = judged(raises.SleepsInTheLoop, "concurrency")
    assert verdict(report, LOOPS) == "kept"
    assert any("block the event loop (time.sleep)" in note for note in report.notes)
    assert not any("block" in note for note in judged(raises.ByALockForEachLoop, "concurrency").notes)
