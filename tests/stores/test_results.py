"""Callers get the unchanged result for the whole window, whatever its size or type."""

from typing import Any

import pytest

from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyConfigError,
    IdempotencyInconsistentStateError,
    IdempotencyItemNotFoundError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceLayerError,
    IdempotencyResultUnavailableError,
    IdempotencyValidationError,
)

pytestmark = pytest.mark.once

DYNAMODB = ("dynamodb", "dynamodb-composite", "dynamodb-async")
REDIS = ("valkey", "valkey-async", "redis")
LIMIT = 400 * 1024
MOTOS_LIMIT = 405_000
"""DynamoDB takes a little more."""


def test_an_empty_result_replays_as_it_was(store: Any) -> None:
    results: list[Any] = [None, False, 0, 0.0, "", [], {}]
    call = store.protect(lambda order: results[order["number"]])
    for number, result in enumerate(results):
        for _ in range(2):
            answer = call({"number": number})
            assert answer == result
            assert type(answer) is type(result)
    assert call.runs == len(results)


@pytest.mark.clause("INV-4")
def test_a_result_is_checked_against_the_payload_that_it_belongs_to(store: Any) -> None:
    settings = {"event_key_jmespath": "id", "payload_validation_jmespath": "amount"}
    call = store.protect("done", **settings)
    order = {"id": 1, "amount": 120}
    assert call(order) == call(order) == "done"
    elsewhere = store.protect("again", store.layer(), **settings)
    assert elsewhere(order) == "done"
    with pytest.raises(IdempotencyValidationError):
        elsewhere(order | {"amount": 121})
    assert (call.runs, elsewhere.runs) == (1, 0)


@pytest.mark.stores("dynamodb", "valkey")
@pytest.mark.parametrize("name", ["expires_after_seconds", "in_progress_expires_after_seconds"])
@pytest.mark.parametrize("window", [0, -1])
def test_a_window_of_nothing_is_refused_before_anything_is_sent(store: Any, name: str, window: Any) -> None:
    store.sent.clear()
    with pytest.raises(IdempotencyConfigError, match=name):
        store.protect("never", **{name: window})
    assert store.sent == []


def keep_for_long(layer: Any) -> list[int]:
    """Make the store keep records for one more hour; return the list of requested times."""
    swap, asked = layer._swap, []

    def hooked(key: str, expected: Any, new: Any, ttl_ms: int) -> Any:
        asked.append(ttl_ms)
        return swap(key, expected, new, ttl_ms + 3_600_000)

    layer._swap = hooked
    return asked


@pytest.mark.clause("TIME-3", "TIME-5")
@pytest.mark.parametrize("window", [1, 0.001])
def test_a_short_window_is_kept(store: Any, window: float) -> None:
    layer = store.layer()
    asked = keep_for_long(layer)
    call = store.protect("done", layer, expires_after_seconds=window)
    begun = store.clock.now
    assert call() == "done"
    until = store.record()["expiration"] * 1000
    assert begun + window * 1000 <= until < begun + window * 1000 + 1000
    assert asked[-1] == until - begun
    store.clock.now = until - 1
    assert call() == "done"
    assert call.runs == 1
    store.clock.now = until
    assert call() == "done"
    assert call.runs == 2


@pytest.mark.parametrize("window", [1, 0.001])
def test_a_store_takes_records_of_a_short_window(store: Any, window: float) -> None:
    call = store.protect("done", expires_after_seconds=window, in_progress_expires_after_seconds=window)
    store.sent.clear()
    assert call() == "done"
    assert store.sent == store.costs("claim", "complete")
    assert call.runs == 1


@pytest.mark.clause("ENG-11")
@pytest.mark.parametrize(
    "error",
    [
        IdempotencyAlreadyInProgressError("mine"),
        IdempotencyInconsistentStateError("mine"),
        IdempotencyItemNotFoundError("mine"),
        IdempotencyPersistenceConnectionError("mine"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_function_that_raises_the_librarys_own_errors_runs_once(store: Any, error: Exception) -> None:
    call = store.protect(error)
    with pytest.raises(type(error)) as raised:
        call()
    assert raised.value is error
    assert call.runs == 1
    assert store.records() == {}


@pytest.mark.stores(*DYNAMODB)
def test_a_result_that_dynamodb_cannot_hold_has_one_effect(store: Any) -> None:
    result = "x" * (2 * LIMIT)
    call = store.protect(result)
    with pytest.raises(IdempotencyPersistenceLayerError) as raised:
        call()
    assert raised.value.result == result
    for again in (call, store.protect("again"), store.protect("again", store.layer())):
        with pytest.raises(IdempotencyResultUnavailableError):
            again()
        assert again.runs == (again is call)
    store.outlast_lease()
    with pytest.raises(IdempotencyResultUnavailableError):
        call()
    assert call.runs == 1


@pytest.mark.stores(*DYNAMODB)
def test_a_result_that_just_fits_into_dynamodb_replays(store: Any) -> None:
    call = store.protect("x" * (MOTOS_LIMIT - 500))
    assert call() == call()
    assert call.runs == 1


@pytest.mark.stores(*REDIS)
def test_a_result_that_dynamodb_could_not_hold_replays_from_redis(store: Any) -> None:
    call = store.protect("x" * (2 * LIMIT))
    assert call() == call() == "x" * (2 * LIMIT)
    assert call.runs == 1
