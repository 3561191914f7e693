"""Histories are judged by pairs of attempts, so a proof about any pair is one about all of them."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idemproof.spec.happenings import Began, Ended, Happening
from idemproof.spec.inductive import Body, histories, is_of
from idemproof.spec.invariants import are_one_execution, one_live_run, rerun_has_a_reason

pytestmark = pytest.mark.once

OWNERS = ("a", "b", "durable:x/1", "durable:x/2", "durable:y/1", "durable:y/2")
TIMES = st.integers(-2, 6)
HOW = ("stored", "raised", "crashed", "lost", "suspended")


@st.composite
def timelines(draw: st.DrawFn) -> list[Happening]:
    """Draw a history in which no attempt begins twice (ENG-1), and nothing ends that has not begun."""
    begun: list[str] = []
    history: list[Happening] = []
    now = -2
    for _ in range(draw(st.integers(0, 8))):
        now += draw(st.integers(0, 2))
        fresh = [owner for owner in OWNERS if owner not in begun]
        if fresh and (not begun or draw(st.booleans())):
            begun.append(draw(st.sampled_from(fresh)))
            history.append(Began(begun[-1], now, draw(TIMES)))
        elif begun:
            history.append(Ended(draw(st.sampled_from(begun)), now, draw(st.sampled_from(HOW)), draw(TIMES)))
    return history


def of_one_attempt_until(history: list[Happening], owner: str, place: int) -> list[Any]:
    """Return what happened to the attempt of ``owner`` before ``place``, and what happened there."""
    body = Body(owner, 0)
    return [item for item in history[:place] if is_of(getattr(item, "owner", None), body)] + [history[place]]


@pytest.mark.parametrize("predicate", [one_live_run, rerun_has_a_reason])
@settings(max_examples=400, deadline=None)
@given(history=timelines())
def test_a_history_is_right_if_it_is_for_each_pair_of_attempts(
    predicate: Any, history: list[Happening]
) -> None:
    pairs = [
        of_one_attempt_until(history, owner, place)
        for place, item in enumerate(history)
        if isinstance(item, Began)
        for owner in OWNERS
        if owner != item.owner and not are_one_execution(owner, item.owner)
    ]
    assert predicate(history) == all(map(predicate, pairs))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(OWNERS), TIMES, TIMES, TIMES, TIMES)
def test_what_ends_a_body_frees_others_when_its_time_is_over(
    owner: str, began: int, lease: int, until: int, now: int
) -> None:
    newcomer = Began("newcomer", now, now + 1)
    for earlier in (*OWNERS, owner):
        for history in histories(Body(owner, until), Began(earlier, began, lease), newcomer):
            assert rerun_has_a_reason(history) == (now >= until)
            assert one_live_run(history) or not rerun_has_a_reason(history)
