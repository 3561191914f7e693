"""What either side has completed is answered by the other, from one table or one server."""

import json
import uuid
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.once

BOTH_WAYS = pytest.mark.parametrize(
    ("first", "second"), [("ours", "original"), ("original", "ours")], ids=["from ours", "from the original"]
)
ORDER = {"id": "o-1", "amount": 5}
FALSY = [{}, [], "", 0, 0.0, -0.0, False]
TRUTHY = [
    None,  # both sides answer None for None
    True,
    1,
    -1.5,
    2**70,
    1e300,
    float("nan"),
    float("-inf"),
    "text",
    "null",
    '"quoted" \\ \n \x00',
    "ключ \U0001f511 \u2028",
    "\ud800 lone surrogate",
    [0],
    [None],
    {"": None},
    {"ключ": ["ü", {"deep": [[[{"er": False}]]]}]},
    {"b": 1, "a": {"d": 2, "c": 3}},
    {"price": Decimal("12.50")},
    {"large": "ü" * 30_000, "and": list(range(10_000))},
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=10,
)


def never(order: Any) -> Any:
    pytest.fail("the body ran again")


def as_json(result: Any) -> str:
    return json.dumps(result, sort_keys=True, default=str)


@BOTH_WAYS
def test_results_of_every_shape_are_answered_by_the_other(store: Any, first: str, second: str) -> None:
    for number, result in enumerate(TRUTHY):
        order = {"id": number}
        assert store.call(first, lambda _, result=result: result)(order).answer == as_json(result), result
        assert store.call(second, never)(order) == (as_json(result), None), result


@pytest.mark.stores("imitated")
@BOTH_WAYS
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(results=st.lists(JSON.filter(lambda result: result is None or bool(result)), min_size=3, max_size=3))
def test_any_result_is_answered_by_the_other(store: Any, first: str, second: str, results: list[Any]) -> None:
    store.prefix = uuid.uuid4().hex
    for number, result in enumerate(results):
        reply = store.call(first, lambda _, result=result: result)({"id": number})
        assert reply == store.call(second, never)({"id": number}) == (as_json(result), None)


def test_falsy_results_of_the_original_are_answered_as_they_were(store: Any) -> None:
    for number, result in enumerate(FALSY):
        assert store.call("original", lambda _, result=result: result)({"id": number}).answer == as_json(
            result
        )
        assert store.call("ours", never)({"id": number}) == (as_json(result), None), result


@pytest.mark.parametrize("writer", ["ours", "original"])
def test_fault_of_the_original_falsy_results_are_answered_as_none(store: Any, writer: str) -> None:
    for number, result in enumerate(FALSY):
        store.call(writer, lambda _, result=result: result)({"id": number})
        assert store.call("original", never)({"id": number}) == ("null", None), result


@BOTH_WAYS
def test_hooks_of_either_side_see_what_the_other_stored(store: Any, first: str, second: str) -> None:
    seen = []

    def hook(response: Any, record: Any) -> Any:
        seen.append((record.idempotency_key, record.status, record.response_data))
        return {"hooked": response}

    store.call(first, lambda _: {"n": 1})(ORDER)
    reply = store.call(second, never, response_hook=hook)(ORDER)
    assert reply.answer == '{"hooked": {"n": 1}}'
    ((key, status, data),) = seen
    assert (status, data) == ("COMPLETED", '{"n": 1}')
    # The original calls a record of a composite key by its partition.
    partitioned = store.kind.sort_key is not None and second == "original"
    assert key == ("partition" if partitioned else store.key(ORDER))


def test_a_result_that_ours_could_not_store_makes_the_original_fail_closed(store: Any) -> None:
    reply = store.call("ours", lambda _: object())(ORDER)
    assert reply.refusal == "IdempotencySerializationError"
    assert store.record(ORDER)["status"] == "COMPLETED"
    assert store.call("original", never)(ORDER).refusal == "JSONDecodeError"
    assert (
        store.call("original", never, response_hook=lambda *_: never(_))(ORDER).refusal == "JSONDecodeError"
    )
    assert store.call("ours", never)(ORDER).refusal == "IdempotencyResultUnavailableError"


@pytest.mark.stores("dynamodb")
def test_a_result_too_large_for_the_table_makes_the_original_fail_closed(store: Any) -> None:
    reply = store.call("ours", lambda _: "x" * 400 * 1024)(ORDER)
    assert reply.refusal == "IdempotencyPersistenceLayerError"
    assert store.call("original", never)(ORDER).refusal == "JSONDecodeError"


@pytest.mark.stores("dynamodb")
def test_fault_of_the_original_a_result_too_large_leaves_its_claim_and_runs_again(
    store: Any, clock: Any
) -> None:
    reply = store.call("original", lambda _: "x" * 400 * 1024)(ORDER)
    assert reply.refusal == "IdempotencyPersistenceLayerError"
    assert store.call("ours", never)(ORDER).refusal == "IdempotencyAlreadyInProgressError"
    clock.set(store.record(ORDER)["lease"])
    assert store.call("ours", lambda _: "again")(ORDER).answer == '"again"'


@pytest.mark.parametrize("writer", ["ours", "original"])
@pytest.mark.parametrize("reader", ["ours", "original"])
def test_the_same_payload_is_answered_wherever_its_hash_is_kept(store: Any, writer: str, reader: str) -> None:
    store.call(writer, validate=True)(ORDER)
    kept = store.family == "dynamodb" or writer == "ours"
    assert ("hash" in store.record(ORDER)) is kept
    reply = store.call(reader, never, validate=True)(ORDER)
    if kept or reader == "ours":
        assert reply.answer == as_json(ORDER)
    else:
        assert reply.refusal == "IdempotencyValidationError"


@pytest.mark.parametrize("writer", ["ours", "original"])
@pytest.mark.parametrize("reader", ["ours", "original"])
def test_another_payload_is_refused_wherever_its_hash_is_kept(store: Any, writer: str, reader: str) -> None:
    store.call(writer, validate=True)(ORDER)
    reply = store.call(reader, never, validate=True)(ORDER | {"amount": 6})
    if "hash" not in store.record(ORDER) and reader == "ours":
        assert reply.answer == as_json(ORDER)
    else:
        assert reply.refusal == "IdempotencyValidationError"


@pytest.mark.stores("redis")
def test_fault_of_the_original_completing_on_redis_drops_the_payload_hash(store: Any) -> None:
    store.call("original", lambda order: order, validate=True)(ORDER)
    assert set(store.record(ORDER)) == {"status", "expiry", "data"}
    # The original refuses the very payload; ours answers any, because it cannot know.
    assert store.call("original", never, validate=True)(ORDER).refusal == "IdempotencyValidationError"
    assert store.call("ours", never, validate=True)(ORDER | {"amount": 6}).answer == as_json(ORDER)


@pytest.mark.parametrize("writer", ["ours", "original"])
def test_fault_of_the_original_switching_validation_on_refuses_all_older_records(
    store: Any, writer: str
) -> None:
    store.call(writer, validate=False)(ORDER)
    assert store.call("original", never, validate=True)(ORDER).refusal == "IdempotencyValidationError"
    assert store.call("ours", never, validate=True)(ORDER).answer == as_json(ORDER)


@BOTH_WAYS
def test_a_side_that_does_not_validate_answers_any_payload(store: Any, first: str, second: str) -> None:
    store.call(first, validate=True)(ORDER)
    assert store.call(second, never)(ORDER | {"amount": 6}).answer == as_json(ORDER)


@pytest.mark.clause("ENG-1")
@pytest.mark.parametrize("validate", [False, True])
def test_both_sides_write_the_same_attributes(store: Any, clock: Any, validate: bool) -> None:
    """Ours adds its owner, and drops the lease of what it has completed."""
    stored: dict[str, Any] = {}
    for side in ("ours", "original"):
        order = {"id": side, "amount": 5}

        def body(order: Any, side: str = side) -> Any:
            stored[side] = store.record(order)
            return order

        store.call(side, body, validate=validate)(order)
        stored[f"{side} done"] = store.record(order) | {"data": "the result"}
    for stage in ("", " done"):
        ours = stored[f"ours{stage}"]
        assert len(ours.pop("owner")) == 32
        assert "lease" not in stored["ours done"]
        theirs = stored[f"original{stage}"]
        # The original's window begins in the middle of a second, and is rounded down.
        assert ours["expiry"] - theirs["expiry"] == 1
        dropped = {"lease"} | ({"hash"} if store.family == "redis" else set()) if stage else set()
        for name in (set(ours) | set(theirs)) - dropped - {"expiry"}:
            assert ours.get(name) == theirs.get(name), name


@BOTH_WAYS
def test_a_local_cache_keeps_what_the_other_stored(store: Any, first: str, second: str) -> None:
    store.call(first, lambda _: "done")(ORDER)
    cached = store.call(second, never, use_local_cache=True)
    for _ in range(3):
        assert cached(ORDER).answer == '"done"'
