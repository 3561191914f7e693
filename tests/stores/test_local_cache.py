"""The local cache in front of a real store saves requests, and decides nothing."""

import threading
from typing import Any

import pytest

from idemproof.errors import IdempotencyValidationError
from places import recent_sdk

caching = {"use_local_cache": True}
composite_key = {"event_key_jmespath": "[tenant, id]", "payload_validation_jmespath": "amount"}
ORDER = {"tenant": "a", "id": 1, "amount": 120}


@pytest.mark.parametrize("key", [{}, composite_key], ids=["whole payload", "composite key"])
def test_a_result_of_this_process_replays_without_a_request(store: Any, key: dict[str, Any]) -> None:
    call = store.protect("done", **caching, **key)
    assert call(ORDER) == "done"
    store.sent.clear()
    assert call(ORDER) == "done"
    assert store.sent == []
    assert call.runs == 1


@recent_sdk
def test_a_result_of_another_process_is_read_once(store: Any) -> None:
    assert store.protect("done", **composite_key)(ORDER) == "done"
    call = store.protect("never", store.layer(), **caching, **composite_key)
    store.sent.clear()
    assert [call(ORDER) for _ in range(3)] == ["done"] * 3
    assert store.sent == store.costs("claim")
    assert call.runs == 0


def test_the_payload_is_checked_on_a_hit(store: Any) -> None:
    call = store.protect("done", **caching, **composite_key)
    assert call(ORDER) == "done"
    store.sent.clear()
    with pytest.raises(IdempotencyValidationError):
        call(ORDER | {"amount": 121})
    assert store.sent == []
    assert call.runs == 1


def test_a_cached_result_ends_with_its_window(store: Any) -> None:
    call = store.protect("done", expires_after_seconds=60, **caching)
    assert call() == "done"
    store.clock.advance(seconds=59)
    store.sent.clear()
    assert call() == "done"
    assert store.sent == []
    store.clock.advance(seconds=2)
    assert call() == "done"
    assert call.runs == 2


@pytest.mark.usefixtures("_hasty_switching")
@pytest.mark.parametrize("size", [1, 256], ids=["with room for one", "with room for all"])
def test_threads_share_a_cache(store: Any, size: int) -> None:
    call = store.protect(lambda order: order, local_cache_max_items=size, **caching)
    orders = [1, 2]
    assert [call(order) for order in orders] == orders
    barrier = threading.Barrier(16)

    def work(number: int) -> list[Any]:
        barrier.wait(60)
        # Runs of one order hit; the change to the other makes room.
        wanted = [orders[(number + step // 5) % 2] for step in range(30)]
        return [(order, call(order)) for order in wanted]

    answers = [pair for pairs in store.threads.map(work, range(16)) for pair in pairs]
    assert len(answers) == 16 * 30
    assert all(answer == order for order, answer in answers)
    assert call.runs == 2
