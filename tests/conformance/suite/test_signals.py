"""Whether a layer waits for a change of a record as it offers."""

from collections.abc import Callable
from typing import Any

import pytest

from broken_layers.foundations import Dictionary
from broken_layers.signals import SignalsByACondition
from idemproof import AsyncInMemoryPersistenceLayer, InMemoryPersistenceLayer, Record
from idemproof.conformance import Capabilities
from idemproof.conformance.suite.profiles import PROFILES
from idemproof.conformance.suite.runner import Session, checks

pytestmark = pytest.mark.once

CHANGES = "a-wait-ends-when-the-record-changes"
TIME = "a-wait-ends-when-its-time-is-over"
OTHERS = "a-wait-blocks-nothing-else"


def judged(factory: Callable[[], Any], **claims: Any) -> dict[str, Any]:
    session = Session(factory, PROFILES["quick"], 1, Capabilities(**claims))
    try:
        return {
            each.name: session.judge(each)
            for each in checks(["concurrency"])
            if each.name in (CHANGES, TIME, OTHERS)
        }
    finally:
        session.close()


@pytest.mark.clause("CAS-14")
@pytest.mark.parametrize("kind", [InMemoryPersistenceLayer, AsyncInMemoryPersistenceLayer])
def test_a_layer_in_memory_waits_as_it_offers(kind: Callable[[], Any]) -> None:
    found = judged(kind)
    assert {each.verdict for each in found.values()} == {"kept"}
    assert len(found) == 3


def test_a_layer_that_does_not_offer_to_wait_is_not_tested() -> None:
    for each in judged(Dictionary).values():
        assert (each.verdict, each.why_not) == (
            "not offered",
            "the layer does not offer to wait for a change",
        )


def test_a_layer_for_one_thread_is_not_tested() -> None:
    verdicts = {each.verdict for each in judged(SignalsByACondition, threads=False).values()}
    assert verdicts == {"not offered"}


class WithdrawsItsOffer(Dictionary):
    """The first wait finds out that there are no signals, as through a pooler of connections."""

    withdrawn = False

    @property
    def _wait_for_change(self) -> Any:
        return None if self.withdrawn else self._withdraw

    def _withdraw(self, *_: object) -> bool:
        self.withdrawn = True
        raise OSError


def test_an_offer_may_be_withdrawn() -> None:
    assert {each.verdict for each in judged(WithdrawsItsOffer).values()} == {"not offered"}


class Raises(SignalsByACondition):
    def _wait_for_change(self, key: str, seen: Record, seconds: float) -> bool:
        raise OSError("no route to the host")


@pytest.mark.clause("CAS-14")
def test_a_wait_that_raises_is_reported_with_its_error() -> None:
    found = judged(Raises)
    assert found[CHANGES].verdict == found[TIME].verdict == "broken"
    assert "no route to the host" in found[CHANGES].findings[0].why


class AlwaysSignals(Dictionary):
    def _wait_for_change(self, key: str, seen: Record, seconds: float) -> bool:
        return True


@pytest.mark.clause("WAIT-6")
def test_a_signal_without_a_change_is_no_fault() -> None:
    assert {each.verdict for each in judged(AlwaysSignals).values()} == {"kept"}
