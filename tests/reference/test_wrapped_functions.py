"""Functions behind other decorators: unstarted coroutines are refused, and arguments are not confused."""

import asyncio
import functools
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from idemproof import IdempotencyConfig, InMemoryPersistenceLayer, idempotent, idempotent_function
from idemproof.errors import IdempotencyResultUnavailableError, IdempotencySerializationError

CONFIG = IdempotencyConfig(in_progress_expires_after_seconds=30)


@pytest.fixture
def layer() -> InMemoryPersistenceLayer:
    return InMemoryPersistenceLayer()


def passing_on(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap as a tracer does."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def with_connection(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap as what injects a first argument does."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function("connection", *args, **kwargs)

    return wrapper


async def later(data: int) -> int:
    return data


def one_by_one(data: int) -> Generator[int, None, None]:
    yield data


async def one_by_one_later(data: int) -> Any:
    yield data


@pytest.mark.clause("ENG-14")
@pytest.mark.parametrize("hidden", [later, one_by_one, one_by_one_later])
def test_the_coroutine_or_generator_that_a_plain_wrapper_hides_has_not_run_and_frees_its_key(
    layer: InMemoryPersistenceLayer, hidden: Callable[..., Any]
) -> None:
    work = idempotent_function(
        passing_on(hidden), data_keyword_argument="data", persistence_store=layer, config=CONFIG
    )
    for _ in range(2):
        with pytest.raises(TypeError, match=r"has not run\. The key is released"):
            work(data=1)
    assert len(layer) == 0


CHARGES: list[int] = []


def charge_one_by_one(data: int) -> Iterator[int]:
    CHARGES.append(data)
    yield data


def charging(charges: list[int]) -> Callable[[int], Iterator[int]]:
    def charge(data: int) -> Iterator[int]:
        charges.append(data)
        yield data

    return charge


@pytest.mark.clause("ENG-10", "ENG-14")
@pytest.mark.parametrize("steps", [1, 2], ids=["started", "exhausted"])
@pytest.mark.parametrize("charge", [charge_one_by_one, charging(CHARGES)], ids=["a function", "a closure"])
def test_a_hidden_generator_that_its_wrapper_has_started_does_not_run_again(
    layer: InMemoryPersistenceLayer, charge: Callable[[int], Iterator[int]], steps: int
) -> None:
    @functools.wraps(charge)
    def started(data: int) -> Any:
        generator = charge(data)
        for _ in range(steps):
            next(generator, None)
        return generator

    CHARGES.clear()
    work = idempotent_function(started, data_keyword_argument="data", persistence_store=layer, config=CONFIG)
    with pytest.raises(IdempotencySerializationError):
        work(data=1)
    with pytest.raises(IdempotencyResultUnavailableError):
        work(data=1)
    assert CHARGES == [1]


def test_what_a_wrapper_of_a_generator_raises_reaches_the_caller(layer: InMemoryPersistenceLayer) -> None:
    @functools.wraps(one_by_one)
    def declines(data: int) -> Any:
        raise ValueError(data)

    work = idempotent_function(declines, data_keyword_argument="data", persistence_store=layer, config=CONFIG)
    with pytest.raises(ValueError, match="1"):
        work(data=1)
    assert len(layer) == 0


def test_a_function_that_ran_before_it_returned_a_generator_does_not_run_again(
    layer: InMemoryPersistenceLayer,
) -> None:
    charges: list[int] = []

    @idempotent_function(data_keyword_argument="data", persistence_store=layer, config=CONFIG)
    @passing_on
    def charge(data: int) -> Any:
        charges.append(data)
        return (number for number in charges)

    with pytest.raises(IdempotencySerializationError):
        charge(data=1)
    with pytest.raises(IdempotencyResultUnavailableError):
        charge(data=1)
    assert charges == [1]


def test_behind_a_wrapper_that_names_nothing_the_data_is_found_by_keyword_only(
    layer: InMemoryPersistenceLayer,
) -> None:
    @idempotent_function(data_keyword_argument="payment", persistence_store=layer, config=CONFIG)
    @with_connection
    def charge(connection: str, payment: dict[str, int], note: str = "") -> list[Any]:
        return [connection, payment["id"], note]

    with pytest.raises(TypeError, match="by keyword"):
        charge({"id": 1}, "gift")
    assert len(layer) == 0
    assert charge(payment={"id": 1}, note="gift") == ["connection", 1, "gift"]
    assert charge(payment={"id": 2}, note="gift") == ["connection", 2, "gift"]


def test_a_misspelt_name_is_refused_behind_a_wrapper_too(layer: InMemoryPersistenceLayer) -> None:
    @passing_on
    def charge(payment: int) -> int:
        return payment

    with pytest.raises(TypeError, match="paiment"):
        idempotent_function(charge, data_keyword_argument="paiment", persistence_store=layer)


def test_a_wrapped_lambda_handler_is_called_with_event_and_context(layer: InMemoryPersistenceLayer) -> None:
    runs: list[int] = []

    class Context:
        def get_remaining_time_in_millis(self) -> int:
            return 3000

    @idempotent(persistence_store=layer)
    @passing_on
    def handler(event: dict[str, int], context: Context) -> int:
        runs.append(event["id"])
        return len(runs)

    assert [handler({"id": number}, Context()) for number in (1, 2, 1)] == [1, 2, 1]
    assert handler(event={"id": 2}, context=Context()) == 2


def test_a_wrapped_handler_that_is_a_method_finds_its_event_behind_self(
    layer: InMemoryPersistenceLayer,
) -> None:
    class Shop:
        @idempotent(persistence_store=layer, config=CONFIG)
        @passing_on
        def handler(self, event: dict[str, int], context: None) -> int:
            return event["id"]

    assert [Shop().handler({"id": number}, None) for number in (1, 2, 1)] == [1, 2, 1]
    assert len(layer) == 2


def test_a_plain_wrapper_that_runs_what_it_hides_is_a_plain_function(layer: InMemoryPersistenceLayer) -> None:
    runs: list[int] = []

    async def hidden(data: int) -> int:
        runs.append(data)
        return data

    @functools.wraps(hidden)
    def work(data: int) -> int:
        return asyncio.run(hidden(data))

    protected = idempotent_function(
        work, data_keyword_argument="data", persistence_store=layer, config=CONFIG
    )
    assert [protected(data=7), protected(data=7)] == [7, 7]
    assert runs == [7]
