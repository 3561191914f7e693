"""Lambda handlers behind plain decorators, with other names, and called by keyword.

Each test also runs against Powertools, and both must give the same answer.
"""

import asyncio
import functools
import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aws_lambda_powertools.utilities import idempotency as original
from aws_lambda_powertools.utilities.idempotency.exceptions import (
    IdempotencyItemAlreadyExistsError as OriginalItemAlreadyExistsError,
)

import idemproof

EVENT = {"id": 1}
CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 30_000)


class Granting(original.BasePersistenceLayer):
    """A layer for Powertools that grants each key once."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, Any] = {}

    def _get_record(self, idempotency_key: str) -> Any:
        return self.rows[idempotency_key]

    def _put_record(self, data_record: Any) -> None:
        if data_record.idempotency_key in self.rows:
            raise OriginalItemAlreadyExistsError(old_data_record=self.rows[data_record.idempotency_key])
        self.rows[data_record.idempotency_key] = data_record

    def _update_record(self, data_record: Any) -> None:
        self.rows[data_record.idempotency_key] = data_record

    def _delete_record(self, data_record: Any) -> None:
        del self.rows[data_record.idempotency_key]


@pytest.fixture(params=["ours", "original"])
def protect(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    if request.param == "ours":
        return idemproof.idempotent(persistence_store=idemproof.InMemoryPersistenceLayer())
    return original.idempotent(persistence_store=Granting())


def plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator without ``functools.wraps``."""

    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


def with_wraps(function: Callable[..., Any]) -> Callable[..., Any]:
    return functools.wraps(function)(plainly(function))


def by_position_only(function: Callable[..., Any]) -> Callable[..., Any]:
    def inner(*args: Any) -> Any:
        return function(*args)

    return inner


runs: list[Any] = []


def documented(event: Any, context: Any) -> Any:
    runs.append((event, context))
    return event["id"]


def unnamed(event: Any, _: Any) -> Any:
    return documented(event, _)


def short(evt: Any, ctx: Any) -> Any:
    return documented(evt, ctx)


def positional(event: Any, context: Any, /) -> Any:
    return documented(event, context)


def anything(*args: Any) -> Any:
    return documented(*args)


def with_more(event: Any, context: Any = None, *, tenant: str = "a") -> Any:
    return documented(event, context)


HANDLERS = [documented, unnamed, short, positional, anything, with_more]
DECORATORS = [None, plainly, with_wraps, by_position_only]
CALLS = {
    "by position": lambda handler: handler(EVENT, CONTEXT),
    "by keyword": lambda handler: handler(event=EVENT, context=CONTEXT),
    "the other way": lambda handler: handler(context=CONTEXT, event=EVENT),
    "half": lambda handler: handler(EVENT, context=CONTEXT),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("decorator", DECORATORS, ids=lambda one: getattr(one, "__name__", "bare"))
@pytest.mark.parametrize("handler", HANDLERS, ids=lambda one: one.__name__)
def test_a_handler_gets_its_event_and_context_and_runs_once(
    protect: Any, handler: Any, decorator: Any, call: str
) -> None:
    runs.clear()
    protected = protect(handler if decorator is None else decorator(handler))
    assert [CALLS[call](protected) for _ in range(2)] == [1, 1]
    assert runs == [(EVENT, CONTEXT)]


@pytest.mark.parametrize("decorator", [None, plainly], ids=["bare", "plainly"])
def test_another_event_is_another_operation(protect: Any, decorator: Any) -> None:
    runs.clear()
    protected = protect(unnamed if decorator is None else decorator(unnamed))
    assert [protected(event={"id": number}, context=CONTEXT) for number in (1, 2, 1)] == [1, 2, 1]
    assert [event["id"] for event, _ in runs] == [1, 2]


@pytest.mark.parametrize("decorator", [None, plainly], ids=["bare", "plainly"])
def test_the_context_s_time_bounds_the_lease_however_it_is_passed(decorator: Any) -> None:
    layer = idemproof.InMemoryPersistenceLayer()
    leases = []

    def handler(event: Any, _: Any) -> None:
        (record,) = layer._records.values()
        leases.append(record.in_progress_expiry_timestamp)

    config = idemproof.IdempotencyConfig(clock=lambda: 1_700_000_000_000)
    protected = idemproof.idempotent(persistence_store=layer, config=config)(
        handler if decorator is None else decorator(handler)
    )
    protected(event=EVENT, context=CONTEXT)
    assert leases == [1_700_000_030_000]


def test_the_handler_s_own_names_still_work() -> None:
    protected = idemproof.idempotent(persistence_store=idemproof.InMemoryPersistenceLayer())(short)
    assert protected(evt=EVENT, ctx=CONTEXT) == 1


def test_a_method_is_called_by_keyword() -> None:
    class Service:
        @idemproof.idempotent(persistence_store=idemproof.InMemoryPersistenceLayer())
        def handle(self, event: Any, _: Any) -> Any:
            return event["id"]

    assert Service().handle(event=EVENT, context=CONTEXT) == 1


def test_an_async_handler_is_called_by_keyword() -> None:
    @idemproof.idempotent(persistence_store=idemproof.AsyncInMemoryPersistenceLayer())
    async def handler(event: Any, _: Any) -> Any:
        return event["id"]

    assert inspect.iscoroutinefunction(handler)

    async def calls() -> list[Any]:
        return [await handler(event=EVENT, context=CONTEXT) for _ in range(2)]

    assert asyncio.run(calls()) == [1, 1]


@pytest.mark.parametrize("side", [idemproof, original], ids=["ours", "original"])
def test_a_call_without_its_argument_is_a_runtime_error_and_nothing_ran(side: Any) -> None:
    layer = idemproof.InMemoryPersistenceLayer() if side is idemproof else Granting()

    @side.idempotent_function(data_keyword_argument="record", persistence_store=layer)
    def charge(record: Any, other: Any = None) -> None:
        pytest.fail("ran")

    with pytest.raises(RuntimeError):
        charge(other=1)
