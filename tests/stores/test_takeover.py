"""A takeover from a dead attempt is one conditional write, without a lock and without an outage."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from idemproof.errors import IdempotencyAlreadyInProgressError, IdempotencyPersistenceLayerError
from places import recent_sdk
from proxy import Proxy

pytestmark = pytest.mark.once

TAKEOVER = 2
"""The second swap of a call that finds an abandoned claim; the third completes."""


def before_swap(store: Any, layer: Any, number: int, action: Callable[[], object]) -> None:
    """Run ``action`` just before the swap with this ``number``."""
    swap, numbers = layer._swap, itertools.count(1)

    def hooked(*args: Any) -> Any:
        if next(numbers) == number:
            action()
        return swap(*args)

    async def async_hooked(*args: Any) -> Any:
        # In a thread, where it may wait for other calls.
        return await (await asyncio.to_thread(hooked, *args))

    layer._swap = async_hooked if store.asynchronous else hooked


def test_the_record_is_the_only_one_in_the_store(store: Any) -> None:
    store.abandon()

    def body(order: Any) -> str:
        assert store.record()["status"] == "INPROGRESS"  # which also finds nothing else
        return "done"

    call = store.protect(body)
    assert call() == "done"
    assert store.record()["status"] == "COMPLETED"
    assert call.runs == 1


def test_a_claim_is_taken_over_when_its_lease_is_over_and_not_before(store: Any) -> None:
    store.abandon()
    store.clock.now -= 1
    call = store.protect("done")
    with pytest.raises(IdempotencyAlreadyInProgressError) as raised:
        call()
    assert raised.value.retry_after_ms == 1
    store.clock.now += 1
    assert call() == "done"
    assert call.runs == 1


def test_a_result_that_comes_before_the_takeover_is_kept(store: Any) -> None:
    slow = store.begin("late")
    store.outlast_lease()
    layer = store.layer()
    before_swap(store, layer, TAKEOVER, slow.finish)
    call = store.protect("again", layer)
    assert call() == "late"
    assert call.runs == 0
    assert store.protect("again")() == "late"


def test_one_of_two_takes_over(store: Any) -> None:
    store.abandon()
    others: list[Any] = []
    layer = store.layer()
    before_swap(store, layer, TAKEOVER, lambda: others.append(store.begin("first")))
    second = store.protect("second", layer)
    with pytest.raises(IdempotencyAlreadyInProgressError):
        second()
    assert others[0].finish() == "first"
    assert second() == "first"
    assert second.runs == 0


@pytest.mark.parametrize("fault", [Proxy.lose_reply, Proxy.lose_request], ids=["reply", "request"])
def test_after_a_failed_takeover_the_next_caller_takes_over_at_once(
    store: Any, proxy: Proxy, fault: Any
) -> None:
    store.abandon()
    unlucky = store.protect("never", store.layer(proxy))
    fault(proxy, store.markers["swap"], times=3)
    with pytest.raises(IdempotencyPersistenceLayerError):
        unlucky()
    call = store.protect("done")
    assert call() == "done"
    assert (unlucky.runs, call.runs) == (0, 1)


@pytest.mark.parametrize("swap", [TAKEOVER, 3], ids=["before the takeover", "before the completion"])
@pytest.mark.parametrize("abandoned", [True, False], ids=["taken over", "fresh"])
def test_a_record_that_goes_on_the_way_is_no_outage(store: Any, abandoned: bool, swap: int) -> None:
    layer = store.layer()
    if abandoned:
        store.abandon()
    before_swap(store, layer, swap if abandoned else swap - 1, store.clear)
    call = store.protect("done", layer)
    assert call() == "done"
    other = store.protect("again")
    assert other() == "done"
    assert (call.runs, other.runs) == (1, 0)


@recent_sdk
@pytest.mark.parametrize(
    "rewrite",
    [
        lambda store: store.amend(owner="another"),
        lambda store: store.amend(in_progress_expiration=store.clock.now - 1),
        lambda store: store.amend(expiration=store.clock.now // 1000 + 60),
    ],
    ids=["owner", "lease", "expiry"],
)
def test_a_takeover_of_another_version_looks_again(store: Any, rewrite: Callable[[Any], None]) -> None:
    store.abandon(owner="dead")
    layer = store.layer()
    before_swap(store, layer, TAKEOVER, lambda: rewrite(store))
    call = store.protect("done", layer)
    store.sent.clear()
    assert call() == "done"
    assert store.sent == store.costs("claim", "refused", "swap", "complete")
    assert call.runs == 1
