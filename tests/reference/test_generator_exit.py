"""``GeneratorExit`` that a body, a serializer or a layer raises, or that ends a coroutine."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from idemproof import IdempotencyConfig, InMemoryPersistenceLayer, Record, idempotent_function
from idemproof.errors import IdempotencyPersistenceLayerError, IdempotencyResultUnavailableError
from idemproof.serialization import CustomDictSerializer
from protection import Protection

CONFIG = IdempotencyConfig(in_progress_expires_after_seconds=3000)


class Blocking(InMemoryPersistenceLayer):
    blocks = True


def protect(body: Callable[..., Coroutine[Any, Any, Any]], layer: InMemoryPersistenceLayer) -> Any:
    return idempotent_function(body, data_keyword_argument="p", persistence_store=layer, config=CONFIG)


@pytest.mark.clause("ENG-11")
@pytest.mark.parametrize("suspended", [False, True])
@pytest.mark.parametrize("kind", [InMemoryPersistenceLayer, Blocking])
def test_a_body_that_raises_it_frees_its_key_at_once(kind: Any, suspended: bool) -> None:
    layer = kind()
    raised = GeneratorExit("mine")

    async def body(p: int) -> None:
        if suspended:
            await asyncio.sleep(0)
        raise raised

    pay = protect(body, layer)
    for _ in range(2):
        with pytest.raises(GeneratorExit) as caught:
            asyncio.run(pay(p=1))
        assert caught.value is raised
    assert len(layer) == 0


@pytest.mark.parametrize("kind", [InMemoryPersistenceLayer, Blocking])
@pytest.mark.parametrize("unwilling", [False, True])
def test_a_coroutine_that_is_closed_from_outside_asks_nothing_more(kind: Any, unwilling: bool) -> None:
    layer = kind()

    async def body(p: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            if unwilling:
                raise ValueError("while it is closed")

    async def main() -> None:
        call = protect(body, layer)(p=1)
        task = asyncio.current_task()
        assert task is not None
        waiting = call.send(None)
        while len(layer) == 0:  # until the claim stands, by hand
            waiting._asyncio_future_blocking = False
            await waiting
            waiting = call.send(None)
        call.close()

    asyncio.run(main())
    (record,) = layer._records.values()
    assert record.status == "INPROGRESS"  # nobody could be asked to release it


def test_what_is_thrown_into_a_body_reaches_it_and_what_it_makes_of_it_counts() -> None:
    async def body(p: int) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            return "cleaned up"
        raise AssertionError

    async def main() -> Any:
        task = asyncio.ensure_future(protect(body, layer)(p=1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        return await task

    layer = InMemoryPersistenceLayer()
    assert asyncio.run(main()) == "cleaned up"
    assert asyncio.run(protect(body, layer)(p=1)) == "cleaned up"


def test_a_body_that_is_awaitable_and_no_coroutine() -> None:
    class Lazy:
        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            return "done"

    async def marked(p: int) -> Any:
        return await Lazy()

    assert asyncio.run(protect(marked, InMemoryPersistenceLayer())(p=1)) == "done"


def test_what_a_body_raised_is_not_kept_by_a_cycle() -> None:
    class LargeError(Exception):
        pass

    async def body(p: int) -> None:
        raise LargeError

    async def main() -> "weakref.ref[LargeError]":
        try:
            await protect(body, InMemoryPersistenceLayer())(p=1)
        except LargeError as large:
            return weakref.ref(large)
        raise AssertionError

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(main())() is None
    finally:
        gc.enable()


@pytest.mark.clause("ENG-10")
def test_a_serializer_that_raises_it_does_not_lose_the_operation(protect: Protection) -> None:
    runs: list[int] = []

    def to_dict(_: Any) -> Any:
        raise GeneratorExit

    def body(data: Any) -> int:
        runs.append(1)
        return 1

    pay = protect(body, CustomDictSerializer(to_dict=to_dict, from_dict=lambda d: d))
    with pytest.raises(GeneratorExit):
        pay(data=1)
    with pytest.raises(IdempotencyResultUnavailableError):
        pay(data=1)
    assert runs == [1]


@pytest.mark.clause("ENG-7")
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_layer_that_raises_it_has_failed(asynchronous: bool) -> None:
    class Failing(Blocking):
        def _swap(self, key: str, expected: Any, new: Any, ttl_ms: int) -> Record | None:
            if new is not None and new.status == "COMPLETED":
                raise GeneratorExit
            return super()._swap(key, expected, new, ttl_ms)

    config = IdempotencyConfig(in_progress_expires_after_seconds=3000, completion_timeout_seconds=0)
    guard = idempotent_function(data_keyword_argument="p", persistence_store=Failing(), config=config)

    @guard
    async def body(p: int) -> int:
        return p

    def call() -> Any:
        return asyncio.run(body(p=1)) if asynchronous else guard(lambda p: p)(p=1)

    with pytest.raises(IdempotencyPersistenceLayerError) as caught:
        call()
    assert (caught.value.function_returned, caught.value.result) == (True, 1)
