"""Tests that overlap, in threads, in tasks and in no order, do not disturb each other."""

import asyncio
import threading
from contextlib import ExitStack
from typing import Any

import pytest

from idemproof import IdempotencyConfig, InMemoryPersistenceLayer, idempotent_function
from idemproof.reference.core import Core
from idemproof.testing import MovableClock, count_runs, use_clock, use_layer

PATIENCE = 60


def protect(layer: InMemoryPersistenceLayer, *, cached: bool = False) -> Any:
    return idempotent_function(
        lambda p: p,
        data_keyword_argument="p",
        persistence_store=layer,
        key_prefix="overlapping",
        config=IdempotencyConfig(in_progress_expires_after_seconds=3000, use_local_cache=cached),
    )


@pytest.fixture(autouse=True)
def nothing_is_left() -> Any:
    yield
    assert Core.stand_in is None


def test_contexts_that_end_in_the_order_in_which_they_began() -> None:
    own, first, second = InMemoryPersistenceLayer(), InMemoryPersistenceLayer(), InMemoryPersistenceLayer()
    pay = protect(own)
    one, other = ExitStack(), ExitStack()
    one.enter_context(use_layer(first))
    other.enter_context(use_layer(second))
    pay(p=1)
    one.close()
    pay(p=2)
    other.close()
    pay(p=3)
    assert (len(own), len(first), len(second)) == (1, 0, 2)


@pytest.mark.parametrize("first_to_end", [0, 1])
def test_threads_each_have_their_own_layer_and_clock_and_count(first_to_end: int) -> None:
    own = InMemoryPersistenceLayer()
    pay = protect(own, cached=True)
    layers = [InMemoryPersistenceLayer() for _ in range(2)]
    clocks = [MovableClock(10**12), MovableClock(2 * 10**12)]
    counts: list[dict[str, int]] = [{}, {}]
    both_in, called, ended = threading.Barrier(2), threading.Barrier(2), threading.Event()

    def test(number: int) -> None:
        with use_layer(layers[number]), use_clock(clocks[number]), count_runs(pay) as runs:
            both_in.wait(PATIENCE)
            pay(p=number)
            called.wait(PATIENCE)
            if number != first_to_end:
                assert ended.wait(PATIENCE)
                clocks[number].advance(3601)
                pay(p=number)  # runs again, by its own clock
            counts[number] = runs.by_key
        ended.set()

    threads = [threading.Thread(target=test, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert [len(layer) for layer in layers] == [1, 1]
    for layer, clock in zip(layers, clocks, strict=True):
        (record,) = layer._records.values()
        assert record.expiry_timestamp * 1000 == clock() + 3_600_000
    # Those who watch see all threads: a test may start some.
    assert sum(counts[1 - first_to_end].values()) == 3
    pay(p=9)
    assert len(own) == 1


def test_a_thread_that_a_test_starts_is_in_it() -> None:
    own, layer = InMemoryPersistenceLayer(), InMemoryPersistenceLayer()
    pay = protect(own)
    with use_layer(layer):
        thread = threading.Thread(target=pay, kwargs={"p": 1})
        thread.start()
        thread.join(PATIENCE)
    assert (len(own), len(layer)) == (0, 1)


def test_tasks_each_have_their_own() -> None:
    pay = protect(InMemoryPersistenceLayer())

    async def test(layer: InMemoryPersistenceLayer, mine: asyncio.Event, others: asyncio.Event) -> None:
        with use_layer(layer):
            mine.set()
            await others.wait()
            pay(p=1)

    async def main() -> list[int]:
        layers = [InMemoryPersistenceLayer() for _ in range(2)]
        entered = [asyncio.Event() for _ in range(2)]
        await asyncio.gather(test(layers[0], *entered), test(layers[1], *reversed(entered)))
        return [len(layer) for layer in layers]

    assert asyncio.run(main()) == [1, 1]


def test_a_context_that_is_left_elsewhere_than_it_was_entered() -> None:
    pay = protect(InMemoryPersistenceLayer())
    layer = InMemoryPersistenceLayer()

    async def enter(stack: ExitStack) -> None:
        stack.enter_context(use_layer(layer))

    stack = ExitStack()
    asyncio.run(enter(stack))
    pay(p=1)  # in another context than it was entered in
    asyncio.run(asyncio.to_thread(stack.close))  # type: ignore[arg-type]
    pay(p=2)
    assert len(layer) == 1
