"""Observers of a whole process and of a block of code, and observers that also get requests."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from idemproof import (
    AsyncInMemoryPersistenceLayer,
    Idempotency,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    Kind,
    Occurrence,
    StoreRequest,
    current_attempt,
    idempotent_function,
    last_call,
    set_default_observers,
)
from idemproof.errors import IdempotencyConfigError
from idemproof.reference.requests import timed
from idemproof.spec.commands import Load, Steps
from idemproof.testing import MovableClock
from observing import Requests


class Declined(Exception):  # noqa: N818 - as an application may call it
    pass


def protected(body: Callable[[int], Any] = lambda order: order, **settings: Any) -> Callable[[int], Any]:
    def pay(order: int) -> Any:
        return body(order)

    config = IdempotencyConfig(in_progress_expires_after_seconds=30, final_errors=(Declined,), **settings)
    return idempotent_function(
        pay, data_keyword_argument="order", persistence_store=InMemoryPersistenceLayer(), config=config
    )


@pytest.fixture
def defaults() -> Iterator[None]:
    yield
    set_default_observers([])


@pytest.mark.parametrize("named_by_caller", [False, True])
def test_each_renewal_is_a_request_of_its_function(named_by_caller: bool) -> None:
    def body(order: int = 0) -> int:
        attempt = current_attempt()
        assert attempt is not None
        clock.advance(1)
        attempt.renew()
        return order

    observer, clock, store = Requests(), MovableClock(), InMemoryPersistenceLayer()
    config = IdempotencyConfig(in_progress_expires_after_seconds=30, clock=clock, observers=[observer])
    if named_by_caller:
        Idempotency(store, config).run("order", body)
    else:
        idempotent_function(body, data_keyword_argument="order", persistence_store=store, config=config)(1)
    assert [request.kind for request in observer.seen] == ["claim", "renew", "complete"]
    assert {request.function for request in observer.seen} == observer.functions
    assert observer.functions == {f"{__name__}.{body.__qualname__}"}
    assert len({request.owner for request in observer.seen}) == 1
    assert observer.kinds == [Kind.CLAIMED, Kind.RENEWED, Kind.COMPLETED]


# The last call of a block.


def test_a_caller_learns_whether_its_answer_is_a_replay() -> None:
    pay = protected()
    with last_call() as call:
        assert (call.key, call.kind, call.record, call.replayed) == (None, None, None, False)
        pay(1)
        assert (call.kind, call.replayed) == (Kind.COMPLETED, False)
        pay(1)
        assert (call.kind, call.replayed) == (Kind.REPLAYED, True)
    assert call.record is not None
    assert call.record.response_data == "1"
    pay(2)
    assert call.key is not None  # of the block, and not of the call after it
    assert call.kind is Kind.REPLAYED


def test_it_does_not_keep_a_stale_answer() -> None:
    pay = protected(raise_on_no_idempotency_key=False, event_key_jmespath="id")
    pay({"id": 1})  # type: ignore[arg-type]
    with last_call() as call:
        pay({"id": 1})  # type: ignore[arg-type]
    assert call.replayed
    with (
        last_call() as call,
        pytest.warns(UserWarning, match="runs without idempotency"),
    ):
        pay({"no": "key"})  # type: ignore[arg-type]
    assert (call.kind, call.replayed) == (None, False)


def test_a_replayed_final_error_counts_as_a_replay() -> None:
    def decline(order: int) -> None:
        raise Declined(order)

    pay = protected(decline)
    replayed = []
    for _ in range(2):
        with last_call() as call, pytest.raises(Declined):
            pay(1)
        replayed.append(call.replayed)
    assert replayed == [False, True]


def test_an_inner_call_ends_before_the_outer_one() -> None:
    inner = protected()
    outer = protected(inner)
    inner(1)
    with last_call() as call:
        outer(1)
    assert (call.kind, call.replayed) == (Kind.COMPLETED, False)


def test_blocks_may_be_nested_and_entered_again() -> None:
    pay = protected()
    with last_call() as outside:
        with last_call() as inside:
            pay(1)
        with inside:
            pay(1)
    assert inside.replayed
    assert outside.replayed


def test_tasks_and_threads_are_told_apart() -> None:
    store = AsyncInMemoryPersistenceLayer()

    async def pay(order: int) -> int:
        await asyncio.sleep(0)
        return order

    work = idempotent_function(
        pay,
        data_keyword_argument="order",
        persistence_store=store,
        config=IdempotencyConfig(in_progress_expires_after_seconds=30),
    )

    async def ask(order: int) -> tuple[bool, str | None]:
        with last_call() as call:
            await work(order)
            await asyncio.sleep(0)
        return call.replayed, None if call.record is None else call.record.response_data

    async def main() -> list[tuple[bool, str | None]]:
        await work(1)
        return await asyncio.gather(ask(1), ask(2), ask(3))

    assert asyncio.run(main()) == [(True, "1"), (False, "2"), (False, "3")]

    plain = protected()
    with last_call() as call:
        thread = threading.Thread(target=contextvars.Context().run, args=(plain, 1))
        thread.start()
        thread.join()
    assert call.kind is None


def test_the_core_is_observed_too() -> None:
    core = Idempotency(InMemoryPersistenceLayer())
    with last_call() as call:
        core.run("order", lambda: 1)
    assert (call.key, call.replayed) == ("order", False)


# Observers of the process.


@pytest.mark.usefixtures("defaults")
def test_default_observers_see_every_call_once() -> None:
    seen: list[Occurrence] = []
    observe = seen.append
    before, both = protected(), protected(observers=[observe])
    set_default_observers([observe])
    before(1)
    both(1)
    assert [each.kind for each in seen] == [Kind.CLAIMED, Kind.COMPLETED] * 2
    assert all(str(each.function).endswith("protected.<locals>.pay") for each in seen)
    assert set_default_observers(()) == (observe,)
    before(1)
    assert len(seen) == 4


@pytest.mark.parametrize("wrong", [print, [None], [Kind], "print"])
def test_what_is_no_observer_is_refused(wrong: Any) -> None:
    with pytest.raises(IdempotencyConfigError, match="observers must be"):
        set_default_observers(wrong)


@pytest.mark.clause("OBS-2", "OBS-4")
@pytest.mark.usefixtures("defaults")
def test_a_failing_default_observer_changes_nothing() -> None:
    def failing(occurrence: Occurrence) -> None:
        inner(1)  # its own calls are not reported to it
        raise ValueError

    inner = protected()
    set_default_observers([failing])
    assert protected()(1) == 1


# Requests.


def test_an_observer_may_take_requests() -> None:
    requests = Requests()
    pay = protected(observers=[requests])
    pay(1)
    pay(1)
    assert [each.kind for each in requests.seen] == ["claim", "complete", "claim"]
    first, second, third = requests.seen
    assert first.key == second.key == third.key
    assert first.owner == second.owner != third.owner
    assert all(each.duration_ns >= 0 and each.error is None for each in requests.seen)
    assert requests.kinds == [Kind.CLAIMED, Kind.COMPLETED, Kind.REPLAYED]


@pytest.mark.clause("OBS-2")
def test_a_failure_to_take_a_request_changes_nothing() -> None:
    class Broken(Requests):
        def on_request(self, request: StoreRequest) -> None:
            raise ValueError

    requests = Broken()
    pay = protected(observers=[requests])
    assert [pay(1), pay(1)] == [1, 1]
    assert requests.kinds == [Kind.CLAIMED, Kind.COMPLETED, Kind.REPLAYED]


@pytest.mark.clause("OBS-2", "ENG-15")
def test_an_interrupt_while_a_request_is_observed_is_a_lost_reply() -> None:
    class Stopping(Requests):
        def on_request(self, request: StoreRequest) -> None:
            super().on_request(request)
            if request.kind == stop:
                raise KeyboardInterrupt

    runs: list[int] = []
    requests = Stopping()
    pay = protected(runs.append, observers=[requests])
    stop = "claim"
    with pytest.raises(KeyboardInterrupt):
        pay(1)
    assert runs == []
    assert [each.kind for each in requests.seen] == ["claim", "delete"]  # it has given its claim back
    stop = "complete"
    with pytest.raises(KeyboardInterrupt):
        pay(1)
    assert runs == [1]
    stop = ""
    pay(1)
    assert runs == [1]  # the result was stored


def test_operators_requests_are_observed() -> None:
    requests = Requests()
    core = Idempotency(InMemoryPersistenceLayer(), IdempotencyConfig(observers=[requests]))
    core.run("order", lambda: 1)
    core.records.inspect("order")
    core.records.forget("order")
    kinds = [(each.kind, each.function is None) for each in requests.seen]
    assert kinds == [("claim", False), ("complete", False), ("load", True), ("load", True), ("delete", True)]


def test_an_interrupt_between_two_commands_reaches_the_steps() -> None:
    caught: list[BaseException] = []

    def steps() -> Steps:
        try:
            yield Load("key")
        except KeyboardInterrupt as interrupt:
            caught.append(interrupt)
            yield Load("again")
        return "done"

    def hand(request: StoreRequest) -> None:
        if not caught:
            raise KeyboardInterrupt

    run = timed(steps(), hand, None)
    assert run.send(None) == Load("key")
    assert run.send(None) == Load("again")
    with pytest.raises(StopIteration) as done:
        run.send(None)
    assert done.value.value == "done"
    assert len(caught) == 1


def test_closing_the_steps_closes_what_is_timed() -> None:
    closed: list[bool] = []

    def steps() -> Steps:
        try:
            yield Load("key")
        finally:
            closed.append(True)

    run = timed(steps(), lambda _: None, None)
    run.send(None)
    run.close()
    assert closed == [True]
