"""Many calls at once: 16 threads, or 100 tasks of one event loop."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from idemproof.errors import IdempotencyAlreadyInProgressError


def at_once(
    store: Any, calls: Sequence[Any], orders: Sequence[Any], ended: Callable[[], object] = lambda: None
) -> list[Any]:
    """Call with all ``orders`` at the same time; return the result or the error of each call."""
    barrier = threading.Barrier(len(orders))
    pairs = list(zip(itertools.cycle(calls), orders, strict=False))

    def one(pair: tuple[Any, Any]) -> Any:
        call, order = pair
        barrier.wait(60)
        try:
            return call(order)
        except Exception as error:
            return error
        finally:
            ended()

    async def async_one(call: Any, order: Any) -> Any:
        try:
            return await call.function(order=order)
        except Exception as error:
            return error
        finally:
            ended()

    async def async_all() -> list[Any]:
        return await asyncio.gather(*itertools.starmap(async_one, pairs))

    return store.wait(async_all()) if store.asynchronous else list(store.threads.map(one, pairs))


def stress(store: Any) -> int:
    return 100 if store.asynchronous else 16


def refusals(outcomes: Sequence[Any]) -> int:
    return sum(isinstance(outcome, IdempotencyAlreadyInProgressError) for outcome in outcomes)


@pytest.mark.clause("INV-1", "CAS-4")
@pytest.mark.parametrize("processes", [1, 2])
def test_one_of_many_runs_and_the_others_are_refused(store: Any, processes: int) -> None:
    others_ended = threading.Semaphore(0)

    def body(order: Any) -> str:
        for _ in range(stress(store) - 1):
            assert others_ended.acquire(timeout=600)
        return "done"

    calls = [store.protect(body, store.layer()) for _ in range(processes)]
    outcomes = at_once(store, calls, [1] * stress(store), others_ended.release)
    assert outcomes.count("done") == 1
    assert refusals(outcomes) == stress(store) - 1
    assert sum(call.runs for call in calls) == 1
    assert calls[0](1) == "done"


@pytest.mark.clause("INV-5", "CAS-4")
@pytest.mark.parametrize("abandoned", [False, True], ids=["fresh", "taken over"])
def test_one_of_many_runs_and_the_others_are_refused_or_answered_alike(store: Any, abandoned: bool) -> None:
    if abandoned:
        store.abandon()
    calls = [store.protect("done", store.layer()) for _ in range(2)]
    outcomes = at_once(store, calls, [{"id": 1, "amount": 120}] * stress(store))
    assert store.record()["status"] == "COMPLETED"
    assert outcomes.count("done") >= 1
    assert outcomes.count("done") + refusals(outcomes) == stress(store)
    assert sum(call.runs for call in calls) == 1


def test_all_of_many_with_keys_of_their_own_run(store: Any) -> None:
    call = store.protect(lambda order: order)
    orders = list(range(1, stress(store) + 1))
    assert at_once(store, [call], orders) == orders
    assert call.runs == len(store.records()) == stress(store)
