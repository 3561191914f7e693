"""What the original does to records on a shared store, and what both sides' callers get.

Each fault is the original's, and remains for as long as it runs beside ours.
"""

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.once

ORDER = {"id": "o-1", "amount": 5}
LEASE_MS = 10_000
IN_PROGRESS = (None, "IdempotencyAlreadyInProgressError")


def never(order: Any) -> Any:
    pytest.fail("the body ran")


def interrupted(order: Any) -> Any:
    raise KeyboardInterrupt


def leave_claim(store: Any, clock: Any, lease_ms: int = LEASE_MS) -> None:
    """Leave a claim of the original behind whose lease is over."""
    with pytest.raises(KeyboardInterrupt):
        store.call("original", interrupted, lease_ms=lease_ms)(ORDER)
    clock.pass_by(lease_ms + 1)


def outlived(store: Any, clock: Any, late: Callable[[], Any]) -> Callable[[Any], Any]:
    """Return a body that outlives its lease, while ours takes over and answers, and ends as ``late`` does."""

    def body(order: Any) -> Any:
        clock.pass_by(LEASE_MS + 1)
        assert store.call("ours", lambda _: "ours")(order).answer == '"ours"'
        return late()

    return body


def raises() -> Any:
    raise ZeroDivisionError


def test_fault_of_the_original_a_late_result_replaces_one_that_was_answered(store: Any, clock: Any) -> None:
    reply = store.call("original", outlived(store, clock, lambda: "late"))(ORDER)
    assert reply.answer == '"late"'
    assert store.call("ours", never)(ORDER).answer == '"late"'
    assert store.call("original", never)(ORDER).answer == '"late"'


def test_fault_of_the_original_a_late_error_deletes_a_result_and_the_body_runs_again(
    store: Any, clock: Any
) -> None:
    reply = store.call("original", outlived(store, clock, raises))(ORDER)
    assert reply.refusal == "ZeroDivisionError"
    assert store.record(ORDER) is None
    assert store.call("ours", lambda _: "again")(ORDER).answer == '"again"'


@pytest.mark.parametrize("late", [lambda: "late", raises], ids=["result", "error"])
def test_what_ours_brings_late_changes_nothing(store: Any, clock: Any, late: Callable[[], Any]) -> None:
    def body(order: Any) -> Any:
        clock.pass_by(LEASE_MS + 1)
        assert store.call("original", lambda _: "original")(order).answer == '"original"'
        body.stored = store.record(order)  # type: ignore[attr-defined]
        return late()

    reply = store.call("ours", body)(ORDER)
    assert reply == ((None, "ZeroDivisionError") if late is raises else ('"original"', None))
    assert store.record(ORDER) == body.stored  # type: ignore[attr-defined]
    assert store.call("original", never)(ORDER).answer == '"original"'


@pytest.mark.stores("redis")
def test_fault_of_the_original_a_takeover_on_redis_replaces_a_result_and_runs_again(
    store: Any, clock: Any
) -> None:
    leave_claim(store, clock)
    reply = []
    # It has read the claim that is over, and is about to replace it.
    store.interpose("original", "write", lambda: reply.append(store.call("ours", lambda _: "ours")(ORDER)))
    reply.append(store.call("original", lambda _: "original")(ORDER))
    assert reply == [('"ours"', None), ('"original"', None)]
    assert store.record(ORDER)["data"] == '"original"'


@pytest.mark.stores("dynamodb")
def test_a_takeover_by_the_original_on_dynamodb_yields_to_a_result(store: Any, clock: Any) -> None:
    leave_claim(store, clock)
    store.interpose("original", "claim", lambda: store.call("ours", lambda _: "ours")(ORDER))
    assert store.call("original", never)(ORDER).answer == '"ours"'


def test_a_takeover_by_ours_yields_to_a_result(store: Any, clock: Any) -> None:
    leave_claim(store, clock)
    reply = []
    store.interpose("ours", "swap", lambda: reply.append(store.call("original", lambda _: "original")(ORDER)))
    assert store.call("ours", never)(ORDER).answer == '"original"'


@pytest.mark.stores("redis")
def test_fault_of_the_original_on_redis_none_of_its_calls_takes_over_for_ten_seconds_after_a_failed_takeover(
    store: Any, clock: Any
) -> None:
    leave_claim(store, clock, lease_ms=1000)
    leave_claim(store, clock, lease_ms=1000)
    assert store.call("original", never)(ORDER).refusal == "IdempotencyInconsistentStateError"
    assert store.call("ours", lambda _: "ours")(ORDER).answer == '"ours"'


@pytest.mark.stores("redis", "imitated")
def test_after_ten_seconds_the_original_takes_over_on_redis_again(store: Any, clock: Any) -> None:
    leave_claim(store, clock, lease_ms=1000)
    leave_claim(store, clock, lease_ms=1000)
    clock.pass_by(8_000)
    assert store.call("original", never)(ORDER).refusal == "IdempotencyInconsistentStateError"
    clock.pass_by(1_000)
    assert store.call("original", lambda _: "original")(ORDER).answer == '"original"'


@pytest.mark.stores("redis")
def test_fault_of_the_original_a_record_that_goes_while_it_looks_is_an_outage_to_it(store: Any) -> None:
    assert store.call("ours", lambda _: "first")(ORDER).answer == '"first"'
    store.interpose("original", "read", lambda: store.forget(ORDER))
    assert store.call("original", never)(ORDER).refusal == "IdempotencyPersistenceLayerError"


def delivered_twice(side: str, method: str, request: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Let a reply be lost, and the client try again."""
    request(*args, **kwargs)
    return request(*args, **kwargs)


def test_fault_of_the_original_a_claim_whose_reply_is_lost_locks_all_callers_out(
    store: Any, clock: Any
) -> None:
    store.send = delivered_twice
    assert store.call("original", never)(ORDER) == IN_PROGRESS
    del store.send
    assert store.call("ours", never)(ORDER) == IN_PROGRESS
    clock.set(store.record(ORDER)["lease"])
    assert store.call("ours", lambda _: "at last")(ORDER).answer == '"at last"'


def test_ours_recognises_a_claim_whose_reply_is_lost(store: Any) -> None:
    store.send = delivered_twice
    assert store.call("ours", lambda _: "ran")(ORDER).answer == '"ran"'
    del store.send
    assert store.call("original", never)(ORDER).answer == '"ran"'


def fail() -> None:
    raise ConnectionError


def test_fault_of_the_original_one_failed_write_of_a_result_runs_the_body_again(
    store: Any, clock: Any
) -> None:
    store.interpose("original", "write", fail)
    reply = store.call("original", lambda _: "first")(ORDER)
    assert reply.refusal == "IdempotencyPersistenceLayerError"
    clock.set(store.record(ORDER)["lease"])
    assert store.call("ours", lambda _: "second")(ORDER).answer == '"second"'


def test_ours_repeats_a_failed_write_of_a_result(store: Any) -> None:
    store.interpose("ours", "swap", fail)
    assert store.call("ours", lambda _: "first")(ORDER).answer == '"first"'
    assert store.call("original", never)(ORDER).answer == '"first"'
