"""Calls whose body ends before its function does, as those of the ASGI middleware."""

import asyncio
from typing import Any

import pytest

from idemproof import (
    AsyncInMemoryPersistenceLayer,
    Idempotency,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    Kind,
)
from idemproof.errors import IdempotencyLeaseLostError
from idemproof.reference.early import BodyEndedError, EarlyEnd
from idemproof.testing import MovableClock

pytestmark = pytest.mark.once


def records(layer: Any) -> list[Any]:
    return list(getattr(layer, "_layer", layer)._records.values())


class Function:
    """Ends its body with ``result``, and fails with ``late`` after that, if there is one."""

    def __init__(self, result: Any = "done", late: BaseException | None = None) -> None:
        self.early = EarlyEnd()
        self.late = late
        self.result = result
        self.found: Any = None
        self.before: Any = None

    def body(self) -> Any:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    async def __call__(self) -> Any:
        self.early.begin()
        if self.before is not None:
            self.before()
        try:
            self.found = await self.early.end(self.body)
        except Exception as error:
            self.found = error
        if self.early.cancellation or self.late:
            raise self.early.cancellation or self.late
        return self.early.ended()


class Slow(AsyncInMemoryPersistenceLayer):
    """Stores a result only once it is allowed to."""

    blocks = True

    def __init__(self) -> None:
        super().__init__()
        self.completing, self.may_complete = asyncio.Event(), asyncio.Event()

    async def _swap(self, key: str, expected: Any, new: Any, ttl_ms: int) -> Any:
        if new.response_data is not None:
            self.completing.set()
            await self.may_complete.wait()
        return await super()._swap(key, expected, new, ttl_ms)


def called(layer: Any, function: Function, config: IdempotencyConfig | None = None) -> Any:
    calls = Idempotency(layer, config)
    return asyncio.run(calls.arun("a", function, early=function.early))


@pytest.mark.clause("HTTP-15")
@pytest.mark.parametrize("layer", [InMemoryPersistenceLayer, AsyncInMemoryPersistenceLayer])
def test_the_answer_is_stored_while_the_function_goes_on(layer: Any) -> None:
    store, first, second = layer(), Function(), Function()
    assert called(store, first).value == "done"
    assert (first.found.value, first.found.replayed, first.found.record) == ("done", False, records(store)[0])
    repeat = called(store, second)
    assert (repeat.value, repeat.replayed, second.found) == ("done", True, None)


def test_a_body_that_returns_nothing_has_ended_and_is_observed() -> None:
    seen: list[tuple[Kind, bool]] = []
    config = IdempotencyConfig(
        in_progress_expires_after_seconds=9, observers=[lambda each: seen.append((each.kind, each.ran))]
    )
    store, function = InMemoryPersistenceLayer(), Function(None)
    assert called(store, function, config).value is None
    assert (function.found.value, records(store)[0].response_data) == (None, "null")
    assert seen == [(Kind.CLAIMED, False), (Kind.COMPLETED, True)]


def test_a_body_that_fails_gives_its_claim_back() -> None:
    failure = ValueError("refused")
    store, function = InMemoryPersistenceLayer(), Function(failure)
    with pytest.raises(BodyEndedError):
        called(store, function)
    assert (function.found, records(store)) == (failure, [])


@pytest.mark.parametrize("late", [ValueError("late"), asyncio.CancelledError()])
def test_what_the_function_raises_later_changes_nothing(late: BaseException) -> None:
    store, function = InMemoryPersistenceLayer(), Function(late=late)
    with pytest.raises(type(late)) as raised:
        called(store, function)
    assert raised.value is late
    assert (function.found.value, records(store)[0].status) == ("done", "COMPLETED")


def test_a_result_that_comes_too_late_is_not_stored() -> None:
    store, function = InMemoryPersistenceLayer(), Function()

    def take_over() -> None:
        ((key, record),) = store._records.items()
        store._records[key] = record._replace(owner="another")

    function.before = take_over
    with pytest.raises(BodyEndedError):
        called(store, function)
    assert isinstance(function.found, IdempotencyLeaseLostError)
    assert [record.owner for record in records(store)] == ["another"]


def test_a_lease_is_renewed_until_the_body_ends() -> None:
    left: list[str] = []

    class Leaving(Function):
        async def __call__(self) -> Any:
            try:
                await super().__call__()
            finally:
                left.extend(task.get_name() for task in asyncio.all_tasks())

    function = Leaving()
    config = IdempotencyConfig(clock=MovableClock(), in_progress_expires_after_seconds=9, renew_lease=True)
    assert called(AsyncInMemoryPersistenceLayer(), function, config).value == "done"
    assert function.found.value == "done"
    assert "idemproof-renewal" not in left


def test_a_cancellation_does_not_interrupt_the_end() -> None:
    async def scenario() -> None:
        layer, function = Slow(), Function()
        call = asyncio.ensure_future(Idempotency(layer).arun("a", function, early=function.early))
        await layer.completing.wait()
        call.cancel()
        layer.may_complete.set()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (function.found.value, records(layer)[0].status) == ("done", "COMPLETED")

    asyncio.run(scenario())


def test_nothing_ends_if_idempotency_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_IDEMPOTENCY_DISABLED", "true")
    store, function = InMemoryPersistenceLayer(), Function()
    with pytest.warns(UserWarning, match="switched off"):
        assert called(store, function).value == "done"
    assert (function.found.value, records(store)) == ("done", [])
    assert (function.found.replayed, function.found.record) == (False, None)
