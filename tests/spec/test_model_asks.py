"""How the model calls the transition function and the invariants: with the current time and record."""

from typing import Any

import pytest

from idemproof.spec import moves, states
from idemproof.spec.events import Claim, InProgress, Renew, Replay
from idemproof.spec.happenings import Began, Ended
from idemproof.spec.moves import Attempt, ask
from idemproof.spec.record import COMPLETED, INPROGRESS, Record
from idemproof.spec.states import Client, State, broken_by_beginning

pytestmark = pytest.mark.once

CLAIMED = Record("", INPROGRESS, 3, 2000, None, "a", "held")
STORED = Record("", COMPLETED, 3, None, "held", "a", "held")
ENDS_SOON = CLAIMED._replace(in_progress_expiry_timestamp=1)
CLAIM = Claim("me", 2000, 3, "a")


def test_the_transition_gets_the_current_time() -> None:
    asked = ask(ENDS_SOON, CLAIM)
    assert (asked.outcome, asked.row) == (InProgress(ENDS_SOON, 1), "ROW-4")


def test_invariants_get_the_current_time_and_the_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "transition", lambda *_: (None, InProgress(ENDS_SOON, 1)))
    assert "INV-3 others_are_untouched" in ask(ENDS_SOON, CLAIM).broken
    reported = Replay(STORED._replace(response_data="another"))
    monkeypatch.setattr(moves, "transition", lambda *_: (STORED, reported))
    assert "INV-4 answer_is_the_record" in ask(STORED, CLAIM).broken


def test_an_equal_record_is_the_record_that_stood() -> None:
    asked = ask(CLAIMED, Renew("held", 2000))
    assert asked.row == "ROW-12"
    assert asked.after is CLAIMED


def test_a_lease_is_kept_in_whole_seconds() -> None:
    claimed = next(Attempt(Client("claiming", "a"), None, ("a",), frozenset(), may_be_late=False).moves())
    assert (claimed.what, type(claimed.client.lease)) == ("claims", int)


def test_a_late_request_alone_is_left_of_an_attempt_that_is_over() -> None:
    late = ("release", 0, 0)
    at = Client("completing", "a", 2, 2, owns=True, late=late)
    attempt = Attempt(at, CLAIMED, ("a",), frozenset(), may_be_late=False)
    reported = next(move for move in attempt.moves() if move.what == "gets Completed")
    assert reported.left == Client("gone", "a", owns=True, late=late)


@pytest.mark.parametrize(
    ("other", "crashed", "stored", "history"),
    [
        (Client("running", "a", 11), 0, 0, [Began("other", -1, 11_000)]),
        (Client("completing", "a", 12), 0, 0, [Began("other", -1, 12_000), Ended("other", -1, "lost")]),
        (Client(), 13, 0, [Began("crashed", -1, 13_000), Ended("crashed", -1, "crashed")]),
        (Client(), 0, 14, [Began("stored", -1, 1), Ended("stored", -1, "stored", 14_000)]),
    ],
)
def test_a_beginning_is_judged_alone_and_after_each_run_that_may_stand_in_its_way(
    monkeypatch: pytest.MonkeyPatch, other: Client, crashed: int, stored: int, history: list[Any]
) -> None:
    judged: list[list[Any]] = []

    def judging(history: list[Any]) -> list[str]:
        judged.append(history)
        return [f"broken {len(history)}"]

    monkeypatch.setattr(states, "broken_by_history", judging)
    # No search has a lease of 17 seconds, so no other test uses the cache entry of this one.
    me, begins = Client("granted", "a", 17, owns=True), Began("me", 0, 17_000)
    broken = broken_by_beginning(State(None, (me, other), crashed, stored), 0)
    assert judged == [[begins], [*history, begins]]
    assert broken == tuple(sorted({"broken 1", f"broken {len(history) + 1}"}))


def test_invocations_of_the_execution_are_judged_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[list[Any]] = []
    monkeypatch.setattr(states, "broken_by_history", lambda history: judged.append(history) or [])
    me = Client("granted", "a", 17, owns=True, durable=True)
    other = Client("running", "a", 11, durable=True)
    broken_by_beginning(State(None, (me, other), suspended=13, done=14), 0)
    name = "durable:execution/"
    begins, crashed, stored = Began(f"{name}me", 0, 17_000), f"{name}crashed", f"{name}stored"
    assert judged == [
        [begins],
        [Began(f"{name}other", -1, 11_000), begins],
        [Began(crashed, -1, 13_000), Ended(crashed, -1, "crashed"), begins],
        [Began(stored, -1, 1), Ended(stored, -1, "stored", 14_000), begins],
    ]
