"""Either side waits for the other's claim and takes it over when its lease is over."""

from typing import Any

import pytest

pytestmark = pytest.mark.once

BOTH_WAYS = pytest.mark.parametrize(
    ("first", "second"), [("ours", "original"), ("original", "ours")], ids=["of ours", "of the original"]
)
ORDER = {"id": "o-1", "amount": 5}
IN_PROGRESS = (None, "IdempotencyAlreadyInProgressError")
LEASE_MS = 10_000


def never(order: Any) -> Any:
    pytest.fail("the body ran")


def interrupted(order: Any) -> Any:
    raise KeyboardInterrupt


def failing(order: Any) -> Any:
    raise ZeroDivisionError


def leave_claim(store: Any, **settings: Any) -> dict[str, Any]:
    """Leave a claim of the original behind, as a worker does that dies."""
    with pytest.raises(KeyboardInterrupt):
        store.call("original", interrupted, **settings)(ORDER)
    claim: dict[str, Any] = store.record(ORDER)
    assert claim["status"] == "INPROGRESS"
    return claim


@BOTH_WAYS
def test_a_claim_is_respected_until_its_lease_ends_and_then_taken_over(
    store: Any, clock: Any, first: str, second: str
) -> None:
    # The original lets the last millisecond pass on DynamoDB.
    free_at = 1 if (second, store.family) == ("original", "dynamodb") else 0

    def body(order: Any) -> str:
        lease = store.record(order)["lease"]
        assert lease == clock.now + LEASE_MS
        for offset in (-LEASE_MS, -1, free_at - 1):
            clock.set(lease + offset)
            assert store.call(second, never)(order) == IN_PROGRESS, offset
        clock.set(lease + free_at)
        assert store.call(second, lambda _: "second")(order).answer == '"second"'
        return "first"

    reply = store.call(first, body)(ORDER)
    # Too late, ours yields. The original does not look.
    assert reply.answer == ('"second"' if first == "ours" else '"first"')
    assert store.record(ORDER)["data"] == reply.answer


@BOTH_WAYS
def test_a_claim_without_a_lease_is_respected_until_it_expires(
    store: Any, clock: Any, first: str, second: str
) -> None:
    def body(order: Any) -> str:
        claim = store.record(order)
        assert "lease" not in claim
        clock.set(claim["expiry"] * 1000 - 1)
        assert store.call(second, never)(order) == IN_PROGRESS
        # The original waits for the whole second to be over.
        clock.pass_by(1 if second == "ours" else 1001)
        assert store.call(second, lambda _: "second")(order).answer == '"second"'
        return "first"

    store.call(first, body, lease_ms=None, expires_after_seconds=60)(ORDER)


@BOTH_WAYS
def test_a_result_is_answered_until_it_expires(store: Any, clock: Any, first: str, second: str) -> None:
    store.call(first, lambda _: "first", expires_after_seconds=60)(ORDER)
    expiry_ms = store.record(ORDER)["expiry"] * 1000
    # Ours keeps a result for no less than was asked for; the original's clock has whole seconds only.
    asked = clock.now + 60_000
    assert (expiry_ms >= asked) is (first == "ours")
    assert abs(expiry_ms - asked) < 1000
    clock.set(expiry_ms - 1)
    assert store.call(second, never)(ORDER).answer == '"first"'
    if second == "original":
        if store.family == "dynamodb":
            clock.set(expiry_ms + 999)
            assert store.call(second, never)(ORDER).answer == '"first"'
        clock.set(expiry_ms + 1000)
    else:
        clock.set(expiry_ms)
    assert store.call(second, lambda _: "second")(ORDER).answer == '"second"'


@BOTH_WAYS
def test_a_claim_released_after_an_error_is_free_for_the_other(store: Any, first: str, second: str) -> None:
    assert store.call(first, failing)(ORDER).refusal == "ZeroDivisionError"
    assert store.record(ORDER) is None
    assert store.call(second, lambda _: "second")(ORDER).answer == '"second"'


def test_an_interrupted_call_of_ours_is_free_for_the_original(store: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        store.call("ours", interrupted)(ORDER)
    assert store.call("original", lambda _: "second")(ORDER).answer == '"second"'


def test_fault_of_the_original_an_interrupted_call_keeps_its_claim_until_the_lease_ends(
    store: Any, clock: Any
) -> None:
    claim = leave_claim(store)
    clock.set(claim["lease"] - 1)
    assert store.call("ours", never)(ORDER) == IN_PROGRESS
    clock.set(claim["lease"])
    assert store.call("ours", lambda _: "taken over")(ORDER).answer == '"taken over"'
    assert store.call("original", never)(ORDER).answer == '"taken over"'


def test_fault_of_the_original_without_a_lambda_context_a_dead_worker_blocks_for_the_whole_window(
    store: Any, clock: Any
) -> None:
    claim = leave_claim(store, lease_ms=None)
    clock.set(claim["expiry"] * 1000 - 1)
    assert store.call("ours", never)(ORDER) == IN_PROGRESS
    clock.pass_by(1)
    assert store.call("ours", lambda _: "taken over")(ORDER).answer == '"taken over"'


@pytest.mark.parametrize("reader", ["ours", "original"])
def test_payloads_are_compared_while_the_other_has_a_claim(store: Any, reader: str) -> None:
    writer = "original" if reader == "ours" else "ours"

    def body(order: Any) -> str:
        call = store.call(reader, never, validate=True)
        assert call(order) == IN_PROGRESS
        assert call(order | {"amount": 6}).refusal == "IdempotencyValidationError"
        return "done"

    assert store.call(writer, body, validate=True)(ORDER).answer == '"done"'
