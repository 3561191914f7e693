"""Cancelling an ``async def`` call anywhere: nothing is left half done, and the cancellation arrives."""

import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Literal

import pytest

from idemproof import (
    AsyncCompareAndSwapLayer,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    Record,
    idempotent_function,
)
from idemproof.errors import IdempotencyAlreadyInProgressError, IdempotencyPersistenceLayerError
from idemproof.spec.record import COMPLETED, INPROGRESS

Operation = Literal["claim", "completion", "release", "body"]
Function = Callable[..., Coroutine[Any, Any, Any]]


class Gate:
    """Blocks one caller once."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def passed(self) -> None:
        if not self.reached.is_set():
            self.reached.set()
            await self.opened.wait()


class Gated(AsyncCompareAndSwapLayer):
    """An in-memory layer with a gate before or after the request is applied."""

    def __init__(self, operation: Operation, *, applied: bool = False) -> None:
        self.store = InMemoryPersistenceLayer()
        self.operation = operation
        self.applied = applied
        self.gate = Gate()
        self.failure: Exception | None = None

    async def _load(self, key: str) -> Record | None:
        return self.store._load(key)

    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, ttl_ms: int
    ) -> Record | None:
        named = {None: "release", INPROGRESS: "claim", COMPLETED: "completion"}
        gated = self.operation == named[None if new is None else new.status]
        if gated and not self.applied:
            await self.gate.passed()
        if gated and self.failure is not None:
            raise self.failure
        current = self.store._swap(key, expected, new, ttl_ms)
        if gated and self.applied:
            await self.gate.passed()
        return current

    @property
    def record(self) -> Record | None:
        return next(iter(self.store._records.values()), None)


class Pay:
    """A body that waits at the gate if it is the body's, and may fail the first time."""

    def __init__(self, layer: Gated, failure: BaseException | None = None) -> None:
        self.runs = 0
        self.layer = layer
        self.failure = failure
        self.protected: Function = idempotent_function(
            self.run,
            data_keyword_argument="data",
            persistence_store=layer,
            config=IdempotencyConfig(in_progress_expires_after_seconds=600),
        )

    async def run(self, data: int) -> str:
        self.runs += 1
        if self.layer.operation == "body":
            await self.layer.gate.passed()
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        return f"run {self.runs}"

    async def __call__(self) -> Any:
        return await self.protected(1)


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


async def cancelled_at_gate(pay: Pay, times: int) -> asyncio.CancelledError:
    """Start a call, cancel it at the gate so many times, open the gate, and return what the call raised."""
    call = asyncio.create_task(pay())
    await pay.layer.gate.reached.wait()
    for _ in range(times):
        call.cancel()
        await settle()
    pay.layer.gate.opened.set()
    with pytest.raises(asyncio.CancelledError) as caught:
        await call
    assert call.cancelled()
    return caught.value


both_sides = pytest.mark.parametrize("applied", [False, True], ids=["on the way", "on the way back"])
once_or_more = pytest.mark.parametrize("times", [1, 2, 3])


@both_sides
@once_or_more
def test_during_the_claim_it_is_taken_back_and_nothing_runs(applied: bool, times: int) -> None:
    async def main() -> None:
        pay = Pay(Gated("claim", applied=applied))
        await cancelled_at_gate(pay, times)
        assert (pay.runs, pay.layer.record) == (0, None)
        assert await pay() == "run 1"

    asyncio.run(main())


def test_during_the_body_the_key_is_free_again() -> None:
    async def main() -> None:
        pay = Pay(Gated("body"))
        await cancelled_at_gate(pay, 1)
        assert (pay.runs, pay.layer.record) == (1, None)
        assert await pay() == "run 2"

    asyncio.run(main())


@pytest.mark.clause("ENG-12")
@both_sides
@once_or_more
def test_during_the_completion_the_result_is_stored_and_replayed(applied: bool, times: int) -> None:
    async def main() -> None:
        pay = Pay(Gated("completion", applied=applied))
        await cancelled_at_gate(pay, times)
        assert pay.layer.record is not None
        assert pay.layer.record.status == COMPLETED
        assert [await pay(), await pay()] == ["run 1", "run 1"]

    asyncio.run(main())


@pytest.mark.clause("ENG-12")
@both_sides
@once_or_more
def test_during_the_release_after_a_failure_the_key_is_free_again(applied: bool, times: int) -> None:
    async def main() -> None:
        failure = ValueError("of the body")
        pay = Pay(Gated("release", applied=applied), failure)
        cancellation = await cancelled_at_gate(pay, times)
        assert cancellation.__cause__ is failure
        assert (pay.runs, pay.layer.record) == (1, None)
        assert await pay() == "run 2"

    asyncio.run(main())


@both_sides
def test_during_the_release_after_a_cancellation_the_key_is_free_again(applied: bool) -> None:
    async def main() -> None:
        pay = Pay(Gated("release", applied=applied), asyncio.CancelledError("of the body"))
        cancellation = await cancelled_at_gate(pay, 2)
        assert str(cancellation) == "of the body"
        assert pay.layer.record is None

    asyncio.run(main())


def test_an_exit_of_the_body_is_not_hidden_by_a_cancellation() -> None:
    class Exit(BaseException):
        pass

    async def main() -> None:
        pay = Pay(Gated("release"), Exit())
        call = asyncio.create_task(pay())
        await pay.layer.gate.reached.wait()
        call.cancel()
        await settle()
        pay.layer.gate.opened.set()
        with pytest.raises(Exit):
            await call
        assert pay.layer.record is None

    asyncio.run(main())


def test_a_cancelled_completion_that_fails_shows_both(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []

    async def no_pause(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("idemproof.drivers.asynchronous.pause_async", no_pause)

    async def main() -> None:
        pay = Pay(Gated("completion"))
        pay.layer.failure = OSError("down")
        cancellation = await cancelled_at_gate(pay, 1)
        assert isinstance(cancellation.__cause__, IdempotencyPersistenceLayerError)
        assert cancellation.__cause__.result == "run 1"
        pay.layer.failure = None
        with pytest.raises(IdempotencyAlreadyInProgressError):
            await pay()

    asyncio.run(main())
    assert sum(waits) == pytest.approx(10)  # the completion goes on as long as any other


def test_a_refusal_gives_way_to_a_cancellation() -> None:
    async def main() -> None:
        layer = Gated("body")
        running, duplicate = Pay(layer), Pay(layer)
        first = asyncio.create_task(running())
        await layer.gate.reached.wait()
        layer.operation, layer.gate = "claim", Gate()
        cancellation = await cancelled_at_gate(duplicate, 1)
        assert cancellation.__cause__ is None
        assert duplicate.runs == 0
        assert layer.record is not None
        first.cancel()
        await asyncio.wait((first,))
        assert layer.record is None

    asyncio.run(main())


@pytest.mark.parametrize(
    ("operation", "runs", "stored"), [("claim", 0, False), ("body", 1, False), ("completion", 1, True)]
)
def test_a_timeout_around_a_call_is_a_timeout(operation: Operation, runs: int, stored: bool) -> None:
    async def main() -> None:
        pay = Pay(Gated(operation))

        async def expire(limit: asyncio.Timeout) -> None:
            await pay.layer.gate.reached.wait()
            limit.reschedule(asyncio.get_running_loop().time())
            await settle()
            pay.layer.gate.opened.set()

        async def limited() -> None:
            async with asyncio.timeout(None) as limit:
                tasks.append(asyncio.create_task(expire(limit)))
                await pay()

        tasks: list[asyncio.Task[None]] = []
        with pytest.raises(TimeoutError):
            await limited()
        await asyncio.gather(*tasks)
        assert (pay.runs, pay.layer.record is not None) == (runs, stored)
        assert await pay() == ("run 1" if stored else f"run {runs + 1}")

    asyncio.run(main())


@pytest.mark.parametrize("operation", ["claim", "body", "completion", "release"])
def test_a_call_whose_loop_is_gone_goes_silently(
    operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    gc.collect()  # reports what other tests have left
    noise: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", noise.append)
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, report: noise.append(report["message"]))

    async def begin() -> None:
        pay = Pay(Gated(operation), ValueError() if operation == "release" else None)
        background.add(asyncio.create_task(pay()))
        await pay.layer.gate.reached.wait()

    background: set[Any] = set()
    loop.run_until_complete(begin())
    loop.close()
    background.clear()
    gc.collect()
    assert set(noise) == {"Task was destroyed but it is pending!"}


# How soon it takes effect.


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until a condition is true."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not come to that")


class Slow(AsyncCompareAndSwapLayer):
    """A store whose requests take time on the test's clock."""

    operation = "none"

    def __init__(self, failure: Exception | None = None) -> None:
        self.store = InMemoryPersistenceLayer()
        self.failure = failure
        self.asked: list[Record | None] = []
        self.broken_off = 0

    async def _load(self, key: str) -> Record | None:
        return self.store._load(key)

    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, ttl_ms: int
    ) -> Record | None:
        self.asked.append(new)
        try:
            await settle()
        except asyncio.CancelledError:
            self.broken_off += 1
            raise
        if self.failure is not None:
            raise self.failure
        return self.store._swap(key, expected, new, ttl_ms)


@pytest.mark.clause("ENG-4", "ENG-15")
@pytest.mark.parametrize("failure", [None, ConnectionError("down")], ids=["slow", "down"])
@pytest.mark.parametrize("lease", [0.001, 600])
def test_a_cancelled_claim_is_broken_off_and_taken_back_by_two_requests_at_most(
    failure: Exception | None, lease: float
) -> None:
    async def main() -> None:
        layer = Slow(failure)
        pay = Pay(layer)  # type: ignore[arg-type]  # a body that does not wait
        pay.protected = idempotent_function(
            pay.run,
            data_keyword_argument="data",
            persistence_store=layer,
            config=IdempotencyConfig(in_progress_expires_after_seconds=lease),
        )
        call = asyncio.create_task(pay())
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert layer.broken_off == 1
        assert 1 <= len(layer.asked[1:]) <= 2
        assert all(new is None for new in layer.asked[1:])
        assert (pay.runs, len(layer.store)) == (0, 0)

    asyncio.run(main())


@pytest.mark.clause("ENG-12")
def test_repeated_cancellation_does_not_keep_a_result_from_being_stored() -> None:
    """As cancel scopes do, until they are left."""

    async def main() -> None:
        layer = Slow()
        pay = Pay(layer)  # type: ignore[arg-type]
        call = asyncio.create_task(pay())
        await until(lambda: pay.runs == 1)
        while not call.done():
            call.cancel()
            await asyncio.sleep(0)
        assert call.cancelled()
        assert layer.broken_off == 0
        assert await pay() == "run 1"

    asyncio.run(main())


@pytest.mark.clause("ENG-6", "ENG-12")
def test_a_cancelled_completion_outlasts_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_pause(seconds: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr("idemproof.drivers.asynchronous.pause_async", no_pause)

    async def main() -> None:
        layer = Slow()
        pay = Pay(layer)  # type: ignore[arg-type]
        call = asyncio.create_task(pay())
        await until(lambda: pay.runs == 1)
        layer.failure = ConnectionError("away")
        call.cancel()
        await until(lambda: len(layer.asked) == 6)
        layer.failure = None
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await pay() == "run 1"

    asyncio.run(main())
