"""Each invariant at its boundary, and on steps that the table never takes."""

from typing import Any

import pytest

from idemproof.spec import events as e
from idemproof.spec import happenings as h
from idemproof.spec import invariants as i
from idemproof.spec.events import Claim, Complete, Evict, Release
from idemproof.spec.record import COMPLETED, INPROGRESS, Record
from idemproof.spec.transition import transition

pytestmark = pytest.mark.once


def running(owner: str = "a", until: int | None = 5_000, expiry: int = 60) -> Record:
    return Record("k", INPROGRESS, expiry, until, None, "h", owner)


def done(response: str = '"1"') -> Record:
    return Record("k", COMPLETED, 60, None, response, "h", "a")


THEIRS = running("x", until=90_000, expiry=90)
COMPLETE = Complete("a", '"1"', "h", 60, "k")


@pytest.mark.clause("INV-1", "INV-5")
def test_an_attempt_that_ends_without_having_begun_blocks_no_other() -> None:
    history = [h.Ended("a", 0, "raised"), h.Began("b", 0, 10)]
    assert i.broken_by_history(history) == []


@pytest.mark.clause("INV-4")
@pytest.mark.parametrize(
    ("event", "after", "reported"),
    [
        (COMPLETE, done('"2"'), done('"2"')),
        (COMPLETE, done(), done('"2"')),
        (COMPLETE, done('"2"'), done()),
        (COMPLETE, running()._replace(response_data='"1"'), running()._replace(response_data='"1"')),
        (Release("a"), done(), done()),
    ],
)
def test_an_attempt_that_completes_gets_its_result(event: e.Event, after: Record, reported: Record) -> None:
    assert not i.answer_is_the_record(h.Step(running(), event, 0, after, e.Completed(reported)))
    assert i.answer_is_the_record(h.Step(running(), COMPLETE, 0, done(), e.Completed(done())))


@pytest.mark.clause("INV-4")
def test_who_names_no_payload_has_no_other_payload() -> None:
    assert i.answer_is_the_record(h.Step(done(), Release("a"), 0, done(), e.Replay(done())))


@pytest.mark.clause("INV-6")
@pytest.mark.parametrize(
    ("event", "deadline", "outcome"),
    [
        (Claim("b", 5_000, 60, "h", "k"), 5_000, e.Claimed(THEIRS)),
        (Claim("b", None, 60, "h", "k"), 60_000, e.Claimed(THEIRS)),
        (Complete("b", '"1"', "h", 60, "k"), 60_000, e.Completed(THEIRS)),
    ],
)
def test_a_repeated_event_is_checked_until_its_deadline(
    event: e.Event, deadline: int, outcome: e.Outcome
) -> None:
    assert not i.retry_changes_nothing(h.Step(None, event, deadline - 1, THEIRS, outcome))
    assert i.retry_changes_nothing(h.Step(None, event, deadline, THEIRS, outcome))


@pytest.mark.clause("INV-6")
def test_housekeeping_that_is_repeated_changes_nothing_either() -> None:
    assert not i.retry_changes_nothing(h.Step(done(), Evict(), 60_000, done(), e.Kept()))
    assert i.retry_changes_nothing(h.Step(done(), Evict(), 59_999, done(), e.Kept()))


@pytest.mark.clause("INV-7")
def test_a_live_claim_is_owed_even_after_its_expiry() -> None:
    late = running(until=70_000, expiry=60)
    assert not i.eviction_owes_nothing(h.Step(late, Evict(), 69_999, None, e.Evicted()))
    assert i.eviction_owes_nothing(h.Step(late, Evict(), 70_000, None, e.Evicted()))


# From every state some client can finish: judged by the outcome of a new client.


@pytest.mark.clause("INV-9")
@pytest.mark.parametrize(
    ("after", "now"), [(None, 1_999_500), (running(until=1_999_500, expiry=2_000), 7), (done(), 1_999_500)]
)
def test_a_newcomer_claims_for_a_second_once_nothing_is_live_and_completes(
    monkeypatch: pytest.MonkeyPatch, after: Record | None, now: int
) -> None:
    asked: list[tuple[Any, ...]] = []

    def recording(record: Record | None, event: e.Event, at: int) -> Any:
        asked.append((record, event, at))
        return transition(record, event, at)

    monkeypatch.setattr(i, "transition", recording)
    assert i.somebody_can_finish(h.Step(after, Evict(), now, after, e.Kept()))
    claim, complete, refusing = asked
    assert claim == (after, Claim("a newcomer", 2_000_500, 2_059), 1_999_500)
    claimed = Record("", INPROGRESS, 2_059, 2_000_500, owner="a newcomer")
    assert complete == (claimed, Complete("a newcomer", '"done"', None, 2_059), 1_999_500)
    over = 2_000_000 if after is not None and after.status == INPROGRESS else 1_999_500
    assert refusing == (
        after,
        Claim("a newcomer", over + 1000, over // 1000 + 60, policy=e.REFUSE),
        over,
    )


WRONG_ENDS: list[tuple[Record | None, e.Outcome]] = [
    (done(), e.Completed(done())),
    (None, e.Completed(done('"done"'))),
    (done('"done"'), e.Superseded(done('"done"'))),
]


@pytest.mark.clause("INV-9")
@pytest.mark.parametrize(("completed", "outcome"), WRONG_ENDS)
def test_an_attempt_that_cannot_store_its_own_result_has_not_finished(
    monkeypatch: pytest.MonkeyPatch, completed: Record | None, outcome: e.Outcome
) -> None:
    def wrong(record: Record | None, event: e.Event, now: int) -> Any:
        return (completed, outcome) if isinstance(event, Complete) else transition(record, event, now)

    monkeypatch.setattr(i, "transition", wrong)
    assert not i.somebody_can_finish(h.Step(None, Evict(), 0, None, e.Kept()))


@pytest.mark.clause("INV-9")
def test_a_record_that_can_never_be_claimed_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    def stubborn(record: Record | None, event: e.Event, now: int) -> Any:
        return transition(record, event, now) if record is None else (record, e.Kept())

    monkeypatch.setattr(i, "transition", stubborn)
    assert not i.somebody_can_finish(h.Step(None, Evict(), 0, done(), e.Kept()))


@pytest.mark.clause("DUR-2", "INV-5")
def test_the_invocations_of_an_execution_have_one_result() -> None:
    first, second = h.Began("durable:x/1", 0, 900), h.Began("durable:x/2", 1, 900)
    begun = [first, h.Ended(first.owner, 0, "suspended"), second]
    stored = h.Ended(second.owner, 2, "stored", 50)
    other = h.Began("b", 50, 99)
    assert i.rerun_has_a_reason(
        [*begun, stored, other]
    )  # the result has expired, and with it the first claim
    assert not i.rerun_has_a_reason([*begun, stored, other._replace(now=49)])
    assert not i.rerun_has_a_reason([*begun, other])
    plain = h.Began("a", 0, 900)
    assert not i.rerun_has_a_reason([plain, *begun[:1], stored, other])  # a result of another attempt


@pytest.mark.clause("INV-5")
def test_a_result_that_is_stored_again_blocks_until_its_new_expiry() -> None:
    history = [h.Ended("a", 0, "stored", 50), h.Ended("a", 0, "stored", 20)]
    assert i.rerun_has_a_reason([*history, h.Began("b", 20, 99)])
    assert not i.rerun_has_a_reason([*history, h.Began("b", 19, 99)])


@pytest.mark.clause("INV-4")
@pytest.mark.parametrize(("payload_hash", "known"), [("h", True), (None, False), ("other", False)])
def test_a_result_is_stored_with_its_payload_hash(payload_hash: str | None, known: bool) -> None:
    stored = done()._replace(payload_hash=payload_hash)
    assert i.answer_is_the_record(h.Step(running(), COMPLETE, 0, stored, e.Completed(stored))) is known
    # What was stored before, by the same attempt, changes nothing.
    assert i.answer_is_the_record(h.Step(stored, COMPLETE, 0, stored, e.Completed(stored)))


@pytest.mark.clause("TIME-6")
def test_a_renewed_claim_does_not_expire_before_its_lease() -> None:
    event = e.Renew("a", 61_000)
    for expiry, right in ((60, False), (61, True)):
        renewed = running(until=61_000, expiry=expiry)
        assert i.claim_outlives_its_lease(h.Step(running(), event, 0, renewed, e.Renewed(renewed))) is right


@pytest.mark.clause("INV-9", "ENG-3")
def test_nobody_can_finish_if_a_grant_is_not_live(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(record: Record | None, event: e.Event, now: int) -> Any:
        after, outcome = transition(record, event, now)
        if isinstance(event, Claim) and after is not None:
            after = after._replace(in_progress_expiry_timestamp=now)
            outcome = e.Claimed(after)
        return after, outcome

    monkeypatch.setattr(i, "transition", ended)
    assert not i.somebody_can_finish(h.Step(None, Evict(), 0, None, e.Kept()))
