"""The search finds engines that wait wrongly."""

from typing import Any

import pytest

from idemproof.conformance.search.engine_explorer import search_engine
from idemproof.reference import waiter as waiters
from idemproof.reference.attempt import Attempt
from idemproof.reference.engine import Engine
from idemproof.reference.waiter import Waiter
from idemproof.spec.commands import Wait
from idemproof.spec.events import InProgress, Outcome, PayloadMismatch

pytestmark = pytest.mark.once


class WaitsPastAMismatch(Engine):
    """A call with another payload waits until the key is free (WAIT-4)."""

    def _claim(self, attempt: Attempt) -> Any:
        outcome: Outcome = yield from super()._claim(attempt)
        return InProgress(outcome.record, 1000) if isinstance(outcome, PayloadMismatch) else outcome


class KeepsItsUnansweredClaim(Engine):
    """A call that stops waiting leaves behind what it has sent (WAIT-5)."""

    def _stop_waiting(self, attempt: Attempt, waiter: Waiter) -> Any:
        attempt.held = waiter.unanswered = None
        return
        yield


class ClaimsUnderANewToken(Engine):
    """Each claim of a waiting call has a token of its own (WAIT-1)."""

    def _pause(self, *args: Any) -> Any:
        self._renewed = self._next_owner()
        yield from super()._pause(*args)

    def _claim(self, attempt: Attempt) -> Any:
        attempt.owner = vars(self).pop("_renewed", attempt.owner)
        return super()._claim(attempt)


class AlwaysListens(Engine):
    """Signals end one pause after the other (WAIT-2)."""

    def _pause(self, waiter: Waiter, *args: Any) -> Any:
        waiter.listens = True
        yield from super()._pause(waiter, *args)


class GivesUpEarly(Engine):
    """A call waits once only (WAIT-3)."""

    def _pause(self, waiter: Waiter, *args: Any) -> Any:
        yield from super()._pause(waiter, *args)
        waiter._unspent_ms = 0


class NeverGivesUp(Engine):
    """A call waits for as long as it takes (WAIT-3, INV-8)."""

    def _pause(self, waiter: Waiter, key: str, seen: Any, pause: int) -> Any:
        yield Wait(key, seen, 1000)


TWICE = {"clients": 2, "crashes": 0, "calls": 1, "ticks": 0, "waiting_ms": 60}


@pytest.mark.parametrize(
    ("wrong", "bounds", "clause", "length"),
    [
        (WaitsPastAMismatch, {"faults": 0, "payloads": 2}, "WAIT-4", 4),
        (KeepsItsUnansweredClaim, {"faults": 1, "waiting_ms": 20}, "WAIT-5", 8),
        (ClaimsUnderANewToken, {"faults": 0}, "WAIT-1", 5),
        (AlwaysListens, {"faults": 0}, "WAIT-2", 6),
        (GivesUpEarly, {"faults": 0}, "WAIT-3", 6),
        (NeverGivesUp, {"faults": 0}, "WAIT-3", 4),
    ],
)
def test_an_engine_that_waits_wrongly_is_found(
    wrong: type[Engine], bounds: dict[str, Any], clause: str, length: int
) -> None:
    found = search_engine(**(TWICE | bounds), engine=wrong).counterexample
    assert found is not None
    assert clause in [name.split()[0] for name in found.broken]
    assert len(found.timeline) == length


def test_a_poll_that_ignores_the_minimum_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiters, "pause_ms", lambda poll, retry_after, left: min(1, left))
    found = search_engine(**TWICE, faults=0).counterexample
    assert found is not None
    assert found.broken == ("WAIT-2 a pause is not shorter than the shortest, unless less time is left",)
    assert len(found.timeline) == 4


def test_what_was_not_answered_is_found_even_behind_an_interrupt() -> None:
    bounds = {"faults": 1, "interrupts": 1, "ticks": 0, "waiting_ms": 20}
    assert search_engine(**(TWICE | bounds)).counterexample is None
