"""Hooks and serializers are called, not awaited; a wrapper that returns a coroutine has not run it."""
# ruff: noqa: PLW0108 - functions that only call another are the subject

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest

from idemproof import IdempotencyConfig, InMemoryPersistenceLayer, idempotent_function
from idemproof.errors import (
    IdempotencyConfigError,
    IdempotencyResultUnavailableError,
    IdempotencySerializationError,
)
from idemproof.serialization import BaseIdempotencySerializer, CustomDictSerializer

CONFIG = IdempotencyConfig(in_progress_expires_after_seconds=30)


async def hook(response: Any, record: Any) -> Any:
    return response


class AsyncHook:
    async def __call__(self, response: Any, record: Any) -> Any:
        return response


@pytest.mark.parametrize("given", [hook, functools.partial(hook), AsyncHook()])
def test_an_async_hook_is_refused_when_the_configuration_is_made(given: Any) -> None:
    with pytest.raises(IdempotencyConfigError, match="response_hook must be a plain function"):
        IdempotencyConfig(response_hook=given)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_hook_that_answers_with_a_coroutine_is_reported(asynchronous: bool) -> None:
    config = IdempotencyConfig(in_progress_expires_after_seconds=30, response_hook=lambda *args: hook(*args))
    guard = idempotent_function(
        data_keyword_argument="p", persistence_store=InMemoryPersistenceLayer(), config=config
    )

    @guard
    async def body(p: int) -> int:
        return p

    call: Callable[[], Any] = (
        (lambda: asyncio.run(body(p=1))) if asynchronous else (lambda: guard(plain)(p=1))
    )

    def plain(p: int) -> int:
        return p

    assert call() == 1
    with pytest.raises(IdempotencyConfigError, match="Make the hook a plain function"):
        call()


def test_async_serializers_are_refused_at_decoration() -> None:
    async def convert(data: Any) -> Any:
        return data

    for pair in ((convert, list), (list, convert)):
        with pytest.raises(TypeError, match="must be a plain function"):
            CustomDictSerializer(*pair)

    class Converts(BaseIdempotencySerializer):
        async def to_dict(self, data: Any) -> Any:
            return data

        def from_dict(self, data: Any) -> Any:
            return data

    with pytest.raises(TypeError, match="is async"):
        idempotent_function(
            lambda p: p,
            data_keyword_argument="p",
            persistence_store=InMemoryPersistenceLayer(),
            output_serializer=Converts(),
        )


RUNS: list[int] = []


async def charge(p: int) -> int:
    RUNS.append(p)
    return p


class Service:
    async def _charge(self, p: int) -> int:
        return await charge(p)

    def charge(self, p: int) -> Any:
        return self._charge(p)

    def __call__(self, p: int) -> Any:
        return self._charge(p=p)


def one_by_one(p: int) -> Any:
    RUNS.append(p)
    yield p


async def forgets_to_await(p: int) -> Any:
    return charge(p)


HANDED_ON: dict[str, Any] = {
    "a lambda": lambda p: charge(p),
    "a method": Service().charge,
    "a callable object": Service(),
    "a partial": functools.partial(lambda p: charge(p)),
    "a generator": lambda p: one_by_one(p),
}


@pytest.mark.clause("ENG-10")
@pytest.mark.parametrize("name", HANDED_ON)
def test_what_hands_a_coroutine_on_and_wraps_nothing_may_have_done_something(name: str) -> None:
    RUNS.clear()
    layer = InMemoryPersistenceLayer()
    work = idempotent_function(
        HANDED_ON[name], data_keyword_argument="p", persistence_store=layer, config=CONFIG, key_prefix="p"
    )
    with pytest.raises(IdempotencySerializationError, match="Protect the async function itself") as caught:
        work(p=1)
    caught.value.result.close()
    with pytest.raises(IdempotencyResultUnavailableError):
        work(p=1)
    assert RUNS == []


@pytest.mark.clause("ENG-10")
def test_an_async_function_that_forgets_to_await() -> None:
    work = idempotent_function(
        forgets_to_await,
        data_keyword_argument="p",
        persistence_store=InMemoryPersistenceLayer(),
        config=CONFIG,
    )
    with pytest.raises(IdempotencySerializationError, match="Protect the async function itself") as caught:
        asyncio.run(work(p=1))
    caught.value.result.close()  # nothing is lost: the caller may await it


@pytest.mark.clause("ENG-10")
def test_what_did_something_before_it_handed_a_coroutine_on_has_run() -> None:
    RUNS.clear()

    def first_charges(p: int) -> Any:
        RUNS.append(p)
        return charge(p)

    def as_argument(p: int) -> Any:
        return charge(RUNS.append(p))  # type: ignore[func-returns-value, arg-type]

    def hands_to_what_charges(p: int) -> Any:
        return charges_for(charge, p)

    def calls_what_charges(p: int) -> Any:
        return first_charges(p)

    def charges_for(body: Any, p: int) -> Any:
        RUNS.append(p)
        return body(p)

    bodies = (first_charges, as_argument, hands_to_what_charges, calls_what_charges)
    for number, body in enumerate(bodies, 1):
        work = idempotent_function(
            body, data_keyword_argument="p", persistence_store=InMemoryPersistenceLayer(), config=CONFIG
        )
        with pytest.raises(IdempotencySerializationError) as caught:
            work(p=1)
        caught.value.result.close()  # nothing is lost: the caller may await it
        with pytest.raises(IdempotencyResultUnavailableError):
            work(p=1)
        assert len(RUNS) == number
