"""Records in the store, also those of other software."""

import contextlib
import json
from typing import Any

import pytest

from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyInvalidStatusError,
    IdempotencyValidationError,
)

pytestmark = pytest.mark.once

# Elsewhere columns have types and names of their own.
any_attributes = pytest.mark.stores(
    "dynamodb", "dynamodb-composite", "dynamodb-async", "valkey", "valkey-async", "redis"
)

ATTRIBUTES = {
    "expiry_attr": "expiration",
    "in_progress_expiry_attr": "in_progress_expiration",
    "status_attr": "status",
    "data_attr": "data",
    "validation_key_attr": "validation",
    "owner_attr": "owner",
}
RENAMED = {parameter: f"our_{name}" for parameter, name in ATTRIBUTES.items()}

validating = {"event_key_jmespath": "id", "payload_validation_jmespath": "amount"}


@pytest.fixture
def completed(store: Any) -> Any:
    """Store the record of the call as COMPLETED."""
    assert store.protect("stored")() == "stored"
    return store


def assert_refused_as_corrupt(store: Any) -> None:
    call = store.protect("never")
    for _ in range(2):
        with pytest.raises(IdempotencyInvalidStatusError):
            call()
    store.clock.advance(seconds=10_000)
    with pytest.raises(IdempotencyInvalidStatusError):
        call()
    assert call.runs == 0


@any_attributes
@pytest.mark.parametrize(
    "changes",
    [
        {"status": "DONE"},
        {"status": None},
        {"status": 7},
        {"expiration": None},
        {"expiration": "soon"},
        {"expiration": 32503680000.5},
        {"status": "INPROGRESS", "in_progress_expiration": "soon"},
        {"data": 7},
        {"owner": 7},
        {"validation": 7},
    ],
    ids=str,
)
def test_a_corrupt_record_never_runs_the_effect(completed: Any, changes: dict[str, Any]) -> None:
    completed.amend(**changes)
    assert_refused_as_corrupt(completed)


@pytest.mark.parametrize("data", ["{", "nothing", "idemproof:"], ids=repr)
def test_a_response_that_is_not_json_never_runs_the_effect(completed: Any, data: str) -> None:
    completed.amend(data=data)
    call = completed.protect("never")
    with pytest.raises(IdempotencyInvalidStatusError):
        call()
    assert call.runs == 0


@pytest.mark.stores("valkey", "valkey-async", "redis")
@pytest.mark.parametrize(
    "value",
    [b"", b"42", b"null", b'"text"', b"[]", b"no JSON", b'{"status"', b"\xff\xfe", ["a list"]],
    ids=repr,
)
def test_a_value_that_is_no_record_never_runs_the_effect(store: Any, value: Any) -> None:
    if isinstance(value, bytes):
        store.raw.set(store.key, value)
    else:
        store.raw.rpush(store.key, *value)
    assert_refused_as_corrupt(store)


@any_attributes
def test_renamed_attributes_are_written(store: Any) -> None:
    call = store.protect("done", store.layer(**RENAMED), **validating)
    assert call({"id": 1, "amount": 120}) == "done"
    (fields,) = store.records().values()
    lease = RENAMED["in_progress_expiry_attr"]
    assert set(fields) == set(RENAMED.values()) - {lease}  # a result has none


@any_attributes
@pytest.mark.parametrize(("off", "replays"), [(-1, True), (0, False)], ids=["live", "over"])
def test_a_renamed_expiry_is_honoured_when_it_is_read(store: Any, off: int, replays: bool) -> None:
    second = store.clock.now // 1000
    store.clock.now = second * 1000 + off
    store.write(
        {
            RENAMED["status_attr"]: "COMPLETED",
            RENAMED["expiry_attr"]: second,
            RENAMED["data_attr"]: json.dumps("stored"),
            "expiration": second + 1000 * (-1 if replays else 1),
        }
    )
    call = store.protect("new", store.layer(**RENAMED))
    assert call() == ("stored" if replays else "new")
    assert call.runs == (not replays)


@any_attributes
@pytest.mark.parametrize(("off", "refuses"), [(-1, True), (0, False)], ids=["live", "over"])
def test_a_renamed_lease_is_honoured_when_it_is_read(store: Any, off: int, refuses: bool) -> None:
    now = store.clock.now
    store.write(
        {
            RENAMED["status_attr"]: "INPROGRESS",
            RENAMED["expiry_attr"]: now // 1000 + 60,
            RENAMED["in_progress_expiry_attr"]: now - off,
            "in_progress_expiration": now + 1000 * (-1 if refuses else 1),
        }
    )
    call = store.protect("new", store.layer(**RENAMED))
    refusal = pytest.raises(IdempotencyAlreadyInProgressError) if refuses else contextlib.nullcontext()
    with refusal:
        assert call() == "new"
    assert call.runs == (not refuses)


def test_validation_that_is_turned_on_accepts_older_records(store: Any) -> None:
    older = store.protect("older", event_key_jmespath="id")
    order = {"id": 1, "amount": 120}
    assert older(order) == "older"
    (fields,) = store.records().values()
    assert "validation" not in fields
    call = store.protect("never", **validating)
    assert call(order) == call(order | {"amount": 121}) == "older"
    assert call.runs == 0


def test_a_completion_keeps_the_payload_hash_of_its_claim(store: Any) -> None:
    hashes = []

    def body(order: Any) -> str:
        hashes.extend(fields["validation"] for fields in store.records().values())
        return "done"

    call = store.protect(body, **validating)
    assert call({"id": 1, "amount": 120}) == "done"
    hashes.extend(fields["validation"] for fields in store.records().values())
    assert len(hashes) == 2
    assert hashes[0] == hashes[1]
    with pytest.raises(IdempotencyValidationError):
        call({"id": 1, "amount": 121})
