"""The predicates of the induction, by example. ``tests/proof`` proves that they are preserved and enough."""

from typing import Any

import pytest

from idemproof.spec.events import (
    Claim,
    Claimed,
    Complete,
    Completed,
    Evict,
    InProgress,
    Kept,
    LeaseLost,
    Release,
    Renew,
)
from idemproof.spec.happenings import Step, step_of
from idemproof.spec.inductive import (
    Answer,
    Body,
    absent_token_holds_nothing,
    after_swap,
    answered,
    continued,
    ended_before_release,
    grant_is_live,
    granted,
    has_its_own_payload,
    has_no_empty_text,
    is_current,
    is_of,
    is_protected,
    is_well_formed,
    waiting_ends,
)
from idemproof.spec.record import COMPLETED, INPROGRESS, Record

pytestmark = pytest.mark.once

CLAIM = Record("key", INPROGRESS, 60, 5_000, None, "hash", "a")
RESULT = Record("key", COMPLETED, 60, None, '"done"', "hash", "a")
BODY = Body("a", 5_000)


@pytest.mark.parametrize(
    ("body", "record", "now", "protected"),
    [
        (BODY, CLAIM, 4_999, True),
        (BODY, RESULT, 4_999, True),
        (BODY, None, 4_999, False),
        (BODY, None, 5_000, True),
        (BODY, CLAIM._replace(owner="b"), 4_999, False),
        (BODY, CLAIM._replace(owner=None), 4_999, False),
        (BODY, CLAIM._replace(in_progress_expiry_timestamp=4_999), 0, False),
        (Body("a", 60_001), RESULT, 59_999, False),
        (Body("durable:x/1", 5_000), CLAIM._replace(owner="durable:x/2"), 0, True),
        (Body("durable:x/1", 5_000), CLAIM._replace(owner="durable:y/2"), 0, False),
    ],
)
def test_a_body_is_protected_by_a_live_record_of_its_attempt(
    body: Body, record: Record | None, now: int, protected: bool
) -> None:
    assert is_protected(body, record, now) is protected


def test_a_body_may_begin_only_after_a_grant_to_an_owner() -> None:
    assert granted(step_of(None, Claim("a", 5_000, 60), 0)) == BODY
    assert granted(step_of(None, Claim(None, 5_000, 60), 0)) is None
    assert granted(step_of(CLAIM, Claim("b", 9_000, 60), 0)) is None
    assert granted(step_of(None, Evict(), 0)) is None


@pytest.mark.parametrize(
    ("record", "event", "after"),
    [
        (CLAIM, Complete("a", '"done"', None, 70), Body("a", 70_000)),
        (CLAIM._replace(owner="b"), Complete("a", '"done"', None, 70), BODY),
        (CLAIM._replace(owner="b"), Complete("b", '"done"', None, 70), BODY),
        (RESULT, Complete("a", '"done"', "hash", 70), BODY),  # stored before
        (CLAIM, Renew("a", 9_000), Body("a", 9_000)),
        (CLAIM._replace(in_progress_expiry_timestamp=100), Renew("a", 200), BODY),
        (CLAIM._replace(owner="b"), Renew("b", 9_000), BODY),
        (CLAIM._replace(owner="b"), Release("b"), BODY),
        (CLAIM._replace(owner="b"), Release("a"), BODY),
        (CLAIM, Claim("b", 9_000, 60), BODY),
        (CLAIM, Evict(), BODY),
    ],
)
def test_a_body_continues_as_its_own_attempt_changes_it(record: Record, event: Any, after: Body) -> None:
    assert continued(BODY, step_of(record, event, 0)) == after


def test_a_result_of_an_execution_is_that_of_all_its_invocations() -> None:
    step = step_of(CLAIM._replace(owner="durable:x/2"), Complete("durable:x/2", "1", None, 7), 0)
    assert continued(Body("durable:x/1", 5_000), step) == Body("durable:x/1", 7_000)
    renewed = step_of(CLAIM._replace(owner="durable:x/2"), Renew("durable:x/2", 9_000), 0)
    assert continued(Body("durable:x/1", 5_000), renewed) == Body("durable:x/1", 5_000)
    assert is_of("durable:x/2", Body("durable:x/1", 0))
    assert not is_of("durable:y/2", Body("durable:x/1", 0))
    assert not is_of(None, BODY)


def test_only_another_attempt_releases_while_a_body_may_run() -> None:
    assert ended_before_release(BODY, Release("b"))
    assert ended_before_release(BODY, Complete("a", None, None, 60))
    assert not ended_before_release(BODY, Release("a"))
    assert not ended_before_release(Body("durable:x/1", 0), Release("durable:x/2"))


def test_a_change_arrives_only_where_the_version_is_the_expected_one() -> None:
    step = step_of(CLAIM, Release("a"), 0)
    other_response = CLAIM._replace(response_data="x")
    assert after_swap(other_response, step) is None
    for stored in (CLAIM._replace(owner="b"), CLAIM._replace(expiry_timestamp=61), RESULT, None):
        assert after_swap(stored, step) == stored
    assert after_swap(other_response, step_of(CLAIM, Evict(), 0)) == other_response


ANSWER = Answer('"done"', "hash", 60_000)


@pytest.mark.parametrize(
    ("answer", "record", "now", "current"),
    [
        (ANSWER, RESULT, 59_999, True),
        (ANSWER, None, 59_999, False),
        (ANSWER, None, 60_000, True),
        (ANSWER, CLAIM._replace(response_data='"done"'), 0, False),
        (ANSWER, RESULT._replace(response_data="other"), 0, False),
        (ANSWER, RESULT._replace(payload_hash="other"), 0, False),
        (ANSWER, RESULT._replace(payload_hash=None), 0, True),
        (ANSWER._replace(payload_hash=None), RESULT, 0, True),
        (ANSWER, RESULT._replace(expiry_timestamp=59), 0, False),
    ],
)
def test_an_answer_is_current_until_its_record_expires(
    answer: Answer, record: Record | None, now: int, current: bool
) -> None:
    assert is_current(answer, record, now) is current


def test_a_caller_is_answered_by_a_replay_or_a_completion() -> None:
    assert answered(step_of(RESULT, Claim("b", 9_000, 60, "hash"), 0)) == ANSWER
    assert answered(step_of(RESULT, Complete("b", "other", None, 70), 0)) == ANSWER._replace(
        payload_hash=None
    )
    assert answered(step_of(CLAIM, Complete("a", "x", "hash", 70), 0)) == Answer("x", "hash", 70_000)
    # The caller has its own result, whatever the record says.
    wrong = Step(CLAIM, Complete("a", "x", "hash", 70), 0, RESULT, Completed(RESULT))
    assert answered(wrong) == Answer("x", "hash", 60_000)
    assert answered(step_of(CLAIM, Claim("b", 9_000, 60), 0)) is None


def test_what_attempts_and_records_promise() -> None:
    complete = Complete("a", '"done"', "other", 60)
    assert not has_its_own_payload(RESULT, complete)
    assert has_its_own_payload(RESULT, complete._replace(payload_hash="hash"))
    for record, event in (
        (None, complete),
        (CLAIM, complete),
        (RESULT._replace(owner="b"), complete),
        (RESULT._replace(owner=None), complete._replace(owner=None)),
        (RESULT, Claim("a", 1, 1, "other")),
    ):
        assert has_its_own_payload(record, event)
    assert is_well_formed(None)
    assert is_well_formed(CLAIM)
    assert not any(
        is_well_formed(CLAIM._replace(**change))
        for change in ({"status": "EXPIRED"}, {"owner": ""}, {"payload_hash": ""}, {"response_data": ""})
    )
    assert has_no_empty_text(complete)
    assert has_no_empty_text(Evict())
    assert not any(
        map(has_no_empty_text, (Release(""), complete._replace(response=""), Claim("a", 1, 1, "")))
    )


def test_an_absent_token_gets_nothing_from_a_live_record() -> None:
    mine = CLAIM._replace(owner=None)
    assert absent_token_holds_nothing(step_of(mine, Release(None), 0))
    assert absent_token_holds_nothing(step_of(mine, Claim(None, 9_000, 60), 5_000))  # not live
    assert absent_token_holds_nothing(step_of(CLAIM, Release("a"), 0))
    assert absent_token_holds_nothing(Step(CLAIM, Evict(), 0, CLAIM, Kept()))
    result = mine._replace(status=COMPLETED)
    event = Complete(None, None, None, 60)
    assert not absent_token_holds_nothing(Step(mine, event, 0, mine, Completed(mine)))
    assert not absent_token_holds_nothing(Step(mine, event, 0, result, LeaseLost(result)))


def test_a_grant_is_live_if_that_was_asked_for_and_waiting_ends() -> None:
    step = step_of(None, Claim("a", 5_000, 60), 0)
    assert grant_is_live(step)
    assert grant_is_live(step_of(None, Claim("a", 5_000, 60), 5_000))
    ended = Claimed(CLAIM._replace(in_progress_expiry_timestamp=0))
    assert not grant_is_live(step._replace(outcome=ended))
    whole = step_of(None, Claim("a", None, 60), 0)
    assert grant_is_live(whole)
    assert not grant_is_live(whole._replace(now=59_999, outcome=Claimed(CLAIM)))
    refused = step_of(CLAIM, Claim("b", 9_000, 60), 1_000)
    assert waiting_ends(refused)
    for wait in (0, 3_999):
        assert not waiting_ends(refused._replace(outcome=InProgress(CLAIM, wait)))
    assert waiting_ends(step)
