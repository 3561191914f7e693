"""Every step of the transition keeps the invariants, and each invariant detects its violation."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idemproof.spec import events as e
from idemproof.spec import happenings as h
from idemproof.spec import invariants as i
from idemproof.spec.events import Abandon, Claim, Complete, CompleteWithin, Evict, Release, Renew
from idemproof.spec.record import COMPLETED, INPROGRESS, Record
from idemproof.spec.transition import deciding_row, transition

pytestmark = pytest.mark.once

# Small numbers, so that deadlines, leases and "now" meet often, and at the boundary.
MILLISECONDS = st.integers(0, 6).flatmap(lambda s: st.sampled_from([s * 1000 - 1, s * 1000, s * 1000 + 1]))
LEASES = st.none() | MILLISECONDS
SECONDS = st.integers(0, 6)
OWNERS = st.sampled_from(["a", "b", "durable:e/1/a", "durable:e/1/b", "durable:f/1/a", None])
HASHES = st.sampled_from(["h", "g", None])
RESPONSES = st.sampled_from(['"1"', '"2"', None])

RECORDS = st.none() | st.one_of(
    st.builds(Record, st.just("k"), st.just(INPROGRESS), SECONDS, LEASES, st.none(), HASHES, OWNERS),
    st.builds(Record, st.just("k"), st.just(COMPLETED), SECONDS, st.none(), RESPONSES, HASHES, OWNERS),
)
EVENTS = st.one_of(
    st.builds(
        Claim, OWNERS, LEASES, SECONDS, HASHES, st.just("k"), st.sampled_from(("run", "refuse", "ask"))
    ),
    st.builds(Abandon, OWNERS),
    st.builds(Complete, OWNERS, RESPONSES, HASHES, SECONDS, st.just("k")),
    st.builds(CompleteWithin, OWNERS, RESPONSES, HASHES, SECONDS, st.just("k")),
    st.builds(Release, OWNERS),
    st.builds(Renew, OWNERS, MILLISECONDS),
    st.just(Evict()),
)


@pytest.mark.once
@pytest.mark.clause("TIME-6", "INV-2", "INV-3", "INV-4", "INV-6", "INV-7", "INV-9")
@settings(max_examples=3000, deadline=None)
@given(RECORDS, EVENTS, MILLISECONDS)
def test_no_step_breaks_an_invariant(record: Record | None, event: e.Event, now: int) -> None:
    assert i.broken_by_step(h.step_of(record, event, now)) == []


@pytest.mark.once
@pytest.mark.clause("ROW-0")
@settings(max_examples=1000, deadline=None)
@given(RECORDS, EVENTS, MILLISECONDS)
def test_the_row_that_is_named_is_the_row_that_decides(
    record: Record | None, event: e.Event, now: int
) -> None:
    row = deciding_row(record, event, now)
    assert row.step(record, event, now) == transition(record, event, now)
    assert type(transition(record, event, now)[1]).__name__ in row.outcome


def running(owner: str = "a", until: int | None = 5000, expiry: int = 60) -> Record:
    return Record("k", INPROGRESS, expiry, until, None, "h", owner)


def done(owner: str = "a", response: str = '"1"', payload_hash: str | None = "h") -> Record:
    return Record("k", COMPLETED, 60, None, response, payload_hash, owner)


CLAIM = Claim("b", 9000, 90, "h", "k")
RESUME = CLAIM._replace(owner="durable:e/b")

BROKEN_STEPS: list[tuple[str, h.Step]] = [
    ("INV-2", h.Step(done(), CLAIM, 0, running("b"), e.Claimed(running("b")))),
    ("INV-2", h.Step(done(), Release("a"), 0, None, e.Released())),
    ("INV-3", h.Step(running(), CLAIM, 4999, running("b"), e.Claimed(running("b")))),
    ("INV-3", h.Step(running(), Release("b"), 4999, None, e.Released())),
    ("INV-3", h.Step(running(), Evict(), 4999, None, e.Evicted())),
    ("INV-3", h.Step(running("durable:e/a"), RESUME, 4999, running("durable:e/c"), e.Claimed(running()))),
    ("INV-3", h.Step(running("durable:f/a"), RESUME, 4999, running("durable:e/b"), e.Claimed(running()))),
    (
        "INV-3",
        h.Step(running("durable:e/a"), RESUME, 4999, running("durable:e/b", 9000), e.Claimed(running())),
    ),
    ("INV-3", h.Step(running("durable:e/a"), Release("durable:e/b"), 4999, None, e.Released())),
    ("INV-4", h.Step(done(), CLAIM, 0, done(), e.Replay(done(response='"2"')))),
    (
        "INV-4",
        h.Step(done(payload_hash="g"), CLAIM, 0, done(payload_hash="g"), e.Replay(done(payload_hash="g"))),
    ),
    ("INV-6", h.Step(None, CLAIM, 0, running("x"), e.Claimed(running("x")))),
    ("INV-6", h.Step(running("b"), Release("b"), 0, running("b"), e.Released())),
    ("INV-7", h.Step(running(until=None), Evict(), 59_999, None, e.Evicted())),
    ("INV-7", h.Step(running(), Evict(), 5_000, None, e.Evicted())),
    (
        "TIME-6",
        h.Step(None, Claim("b", 9000, 5, "h", "k"), 0, running("b", 9000, 5), e.Claimed(running("b"))),
    ),
]


@pytest.mark.parametrize(("clause", "step"), BROKEN_STEPS)
def test_an_invariant_sees_the_step_that_breaks_it(clause: str, step: h.Step) -> None:
    assert any(name.startswith(clause) for name in i.broken_by_step(step))


def test_liveness_sees_a_transition_that_never_lets_anyone_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(i, "transition", lambda record, event, now: (record, e.Kept()))
    assert "INV-9 somebody_can_finish" in i.broken_by_step(h.step_of(None, Evict(), 0))


BROKEN_HISTORIES: list[tuple[str, list[Any]]] = [
    ("INV-1", [h.Began("a", 0, 10), h.Began("b", 9, 20)]),
    ("INV-4", [h.Answered(0, '"2"', "h", done())]),
    ("INV-4", [h.Answered(0, '"1"', "g", done())]),
    ("INV-5", [h.Began("a", 0, 10), h.Ended("a", 1, "stored", 60), h.Began("b", 59, 70)]),
    ("INV-5", [h.Began("a", 0, 10), h.Ended("a", 1, "crashed"), h.Began("b", 9, 70)]),
    ("INV-1", [h.Began("durable:e/a", 0, 10), h.Began("durable:f/a", 9, 20)]),
    ("INV-1", [h.Began("durable:e/a", 0, 10), h.Began("a", 9, 20)]),
    (  # an older invocation that raises ends itself only
        "INV-1",
        [
            h.Began("durable:e/a", 0, 10),
            h.Began("durable:e/b", 1, 10),
            h.Ended("durable:e/a", 2, "raised"),
            h.Began("a", 3, 20),
        ],
    ),
    ("INV-5", [h.Began("durable:e/a", 0, 10), h.Ended("durable:e/a", 1, "suspended"), h.Began("a", 9, 70)]),
    ("INV-5", [h.Began("durable:e/a", 0, 10), h.Ended("durable:e/a", 1, "stored", 60), h.Began("a", 9, 70)]),
    ("INV-8", [h.Asked("a", 0, i.OPERATIONS_PER_CALL + 1)]),
    ("ENG-3", [h.Began("a", 10, 10)]),
]


@pytest.mark.parametrize(("clause", "history"), BROKEN_HISTORIES)
def test_an_invariant_sees_the_history_that_breaks_it(clause: str, history: list[Any]) -> None:
    assert any(name.startswith(clause) for name in i.broken_by_history(history))


KEPT_HISTORIES: list[list[Any]] = [
    [h.Began("a", 0, 10), h.Began("b", 10, 20)],
    [h.Began("a", 0, 10), h.Ended("a", 1, "raised"), h.Began("b", 1, 20)],
    [h.Began("a", 0, 10), h.Ended("a", 1, "stored", 60), h.Began("b", 60, 70)],
    [h.Began("a", 0, 10), h.Ended("a", 1, "crashed"), h.Began("b", 10, 70)],
    [h.Began("durable:e/a", 0, 10), h.Began("durable:e/b", 1, 10)],
    [h.Began("durable:e/a", 0, 10), h.Ended("durable:e/a", 1, "suspended"), h.Began("durable:e/b", 2, 10)],
    [h.Began("durable:e/a", 0, 10), h.Ended("durable:e/a", 1, "suspended"), h.Began("a", 10, 20)],
    [  # the newest invocation that raises ends the execution
        h.Began("durable:e/a", 0, 10),
        h.Ended("durable:e/a", 1, "suspended"),
        h.Began("durable:e/b", 2, 10),
        h.Ended("durable:e/b", 3, "raised"),
        h.Began("a", 4, 20),
    ],
    [
        h.Answered(0, '"1"', "h", done()),
        h.Answered(60_000, '"2"', "h", done()),
        h.Answered(0, '"2"', "h", None),
    ],
    [h.Asked("a", 0, i.OPERATIONS_PER_CALL)],
]


@pytest.mark.clause("DUR-2")
@pytest.mark.parametrize("history", KEPT_HISTORIES)
def test_what_is_allowed_is_not_reported(history: list[Any]) -> None:
    assert i.broken_by_history(history) == []
