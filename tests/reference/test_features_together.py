"""What takeovers, waiting, renewal and final errors do to each other."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from four_methods import FourMethods
from heartbeat_time import (
    BEAT_SECONDS,
    LEASE_SECONDS,
    WATCHDOG_SECONDS,
    Seen,
    Time,
    Watched,
    renewing,
)
from idemproof import (
    NOT_DONE,
    CurrentAttempt,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    Kind,
    Occurrence,
    current_attempt,
    idempotent_function,
)
from idemproof.conformance.calls import SimulatedCall
from idemproof.conformance.simulator import World
from idemproof.drivers import blocking
from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyError,
    IdempotencyInconsistentStateError,
    IdempotencyLeaseLostError,
)
from idemproof.reference.engine import Engine
from idemproof.spec.commands import Sleep, Swap, Wait
from idemproof.spec.record import Record, live
from idemproof.testing import MovableClock, count_runs
from waiting_calls import LongWorld, engine_of


class Died(BaseException):
    """A worker that ends in the middle: an interrupt."""


# A layer that reports a locked record.


def locked() -> IdempotencyAlreadyInProgressError:
    """Return what a layer raises for a record that a transaction has locked."""
    error = IdempotencyAlreadyInProgressError("A transaction holds the record locked.", retry_after_ms=1000)
    error.nothing_written = True  # type: ignore[attr-defined]
    return error


@pytest.mark.clause("WAIT-4")
def test_a_locked_record_counts_as_in_progress_for_a_waiting_call() -> None:
    world = LongWorld()
    call = world.call(engine_of(world, 5), "a")
    for pause in (20, 40):
        call.interrupt(locked())
        assert isinstance(call.command, Sleep)
        assert call.command.milliseconds == pause
        call.step()
    call.until_running()
    assert [each.kind for each in call.occurrences] == [Kind.WAITING, Kind.CLAIMED]
    assert isinstance(call.occurrences[0].error, IdempotencyAlreadyInProgressError)
    assert call.run("done").value == "done"


@pytest.mark.clause("WAIT-4")
def test_a_record_that_is_locked_while_a_call_waits_does_not_end_the_wait() -> None:
    world = LongWorld()
    first = world.call(engine_of(world, 0), "a").until_running()
    second = world.call(engine_of(world, 5), "a")
    second.step()
    assert isinstance(second.command, Wait)
    second.step()
    second.interrupt(locked())
    assert isinstance(second.command, Sleep)
    first.finish("done")
    first.run()
    second.step()
    second.step()
    assert (second.ended, second.value) == ("returned", "done")


@pytest.mark.clause("WAIT-3", "WAIT-4")
def test_a_call_that_finds_the_record_locked_is_refused_when_its_time_is_over() -> None:
    world = LongWorld()
    call = world.call(engine_of(world, 0.05), "a")
    while call.ended is None:
        if isinstance(call.command, Swap):
            call.interrupt(locked())
        else:
            world.now += call.command.milliseconds
            call.step()
    assert isinstance(call.value, IdempotencyAlreadyInProgressError)
    assert (call.value.waited_ms, call.value.retry_after_ms) == (50, 1000)
    assert "locked. This call waited for 0.05 s. Nothing ran." in str(call.value)
    assert [each.kind for each in call.occurrences] == [Kind.WAITING, Kind.CLAIM_FAILED]


@pytest.mark.clause("WAIT-5")
def test_an_unanswered_claim_is_released_by_a_call_that_then_finds_the_record_locked() -> None:
    world = LongWorld()
    call = world.call(engine_of(world, 0.02), "a")
    call.step("reply lost")
    call.step()  # the pause before the next try
    call.interrupt(locked())
    while call.ended is None:
        if isinstance(call.command, Swap) and call.command.new is not None:
            call.interrupt(locked())
        else:
            world.now += getattr(call.command, "milliseconds", 0)
            call.step()
    assert isinstance(call.value, IdempotencyAlreadyInProgressError)
    assert world.record is None


@pytest.mark.clause("WAIT-5", "TAKE-4")
def test_an_unanswered_takeover_that_asks_is_abandoned_by_a_call_that_stops_waiting() -> None:
    world = World()
    world.call(engine_of(world, 0), "a").until_running().crash()
    world.now += world.LEASE_MS
    call = world.call(asking(world, 0.02, lambda: NOT_DONE), "a")
    call.step()  # another claim is stored
    call.step("reply lost")
    call.step()  # the pause before the next try
    call.interrupt(locked())
    while call.ended is None:
        command = call.command
        if isinstance(command, Swap) and command.new is not None and live(command.new, world.now):
            call.interrupt(locked())
        else:
            world.now += getattr(command, "milliseconds", 0)
            call.step()
    assert isinstance(call.value, IdempotencyAlreadyInProgressError)
    assert world.record is not None
    assert (world.record.owner, live(world.record, world.now)) == (call.owner, False)


@pytest.mark.clause("INV-4", "WAIT-5")
def test_an_answer_that_expires_while_an_unanswered_claim_is_released_is_given_to_nobody() -> None:
    world = World()
    settings = {"expires_after_seconds": world.WINDOW_MS // 1000}
    first = world.call(engine_of(world, 0, **settings), "a").until_running()
    late = world.call(engine_of(world, 5, **settings), "a")

    def find_an_answer_and_release() -> None:
        late.step("refused")
        late.step()  # the pause before the next try
        late.step()
        assert isinstance(late.command, Swap)
        assert late.command.new is None

    def expire(result: str) -> None:
        world.now += world.WINDOW_MS + 1000
        newer = world.call(engine_of(world, 0, **settings), "a").run(result)
        assert newer.value == result

    first.finish("old")
    first.run()
    find_an_answer_and_release()
    expire("new")
    late.step()
    assert late.ended is None
    find_an_answer_and_release()
    expire("newest")
    late.step()
    assert isinstance(late.value, IdempotencyInconsistentStateError)
    assert "expired twice" in str(late.value)
    assert world.record is not None
    assert world.record.response_data == '"newest"'


def test_without_waiting_a_locked_record_refuses_a_call_at_once() -> None:
    world = LongWorld()
    call = world.call(engine_of(world, 0), "a")
    error = locked()
    call.interrupt(error)
    assert (call.ended, call.value) == ("raised", error)


# A layer without owner tokens.


class Overriding(FourMethods):
    """A layer whose own ``save_inprogress`` fails as often as a test says."""

    fails = 0

    def save_inprogress(self, *args: Any, **kwargs: Any) -> None:
        if self.fails:
            self.fails -= 1
            raise ConnectionError("the store is away")
        super().save_inprogress(*args, **kwargs)


@pytest.mark.clause("INV-1", "WAIT-5")
@pytest.mark.parametrize(("fails", "seconds"), [(1, 0.05), (3, 0)])
def test_a_claim_that_no_method_confirmed_deletes_no_claim_of_another(
    fails: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking, "pause", lambda _: None)
    store, runs, clock = Overriding(), list[int](), MovableClock()

    def body(n: int) -> int:
        runs.append(n)
        if len(runs) == 1:
            store.fails = fails
            with pytest.raises(IdempotencyError):
                protected(seconds)(n=1)
            with pytest.raises(IdempotencyAlreadyInProgressError):
                protected(0)(n=1)
        return n

    def protected(seconds: float) -> Any:
        return idempotent_function(
            body,
            data_keyword_argument="n",
            persistence_store=store,
            config=IdempotencyConfig(clock=clock, wait_for_in_progress_seconds=seconds),
            key_prefix="fn",
        )

    assert protected(0)(n=1) == 1
    assert runs == [1]


# A question whose claim is gone when it is answered.


def asking(world: World, seconds: float, asked: Callable[..., Any], **settings: Any) -> Engine:
    engine = engine_of(world, seconds, **settings)
    return Engine(
        engine._config,
        next_owner=world.next_owner,
        on_takeover=asked,
        monotonic=world.clock,
        jitter=lambda: 0.0,
    )


def asked_after_a_death(world: World, seconds: float) -> SimulatedCall:
    """Return a call that asks about an attempt that has died."""
    engine = asking(world, seconds, lambda: None)
    world.call(engine, "a").until_running().crash()
    world.now += world.LEASE_MS
    call = world.call(engine, "a")
    while not call.asking:
        call.step()
    return call


@pytest.mark.clause("TAKE-5", "WAIT-1")
def test_an_answer_after_the_lease_waits_for_who_has_taken_over_meanwhile() -> None:
    world = LongWorld()
    call = asked_after_a_death(world, 5)
    world.now += world.LEASE_MS
    other = world.call(asking(world, 0, lambda: None), "a").until_running()
    call.answer()
    while not isinstance(call.command, Wait):
        call.step()
    other.run("of the other")
    call.run()
    assert (call.ended, call.value, call.body) == ("returned", "of the other", None)


def protect(time: Time, store: Any, body: Any, question: Any, *seen: Seen, **settings: Any) -> Any:
    return idempotent_function(
        body,
        data_keyword_argument="n",
        persistence_store=store,
        config=renewing(time, *seen, **settings),
        key_prefix="fn",
        on_takeover=question,
    )


def died_before(time: Time, protected: Any, ends: list[Any]) -> None:
    """Let an attempt die, and its lease end."""
    ends.append(Died())
    with pytest.raises(Died):
        protected(n=1)
    time.pass_seconds(LEASE_SECONDS)


def a_shop(
    time: Time, seen: Seen, question: Callable[[int], Any], **settings: Any
) -> tuple[Watched, Any, list[int], list[Any]]:
    """Return a store, a function, the runs of its body, and how they end."""
    store, runs, ends = Watched(), list[int](), list[Any]()

    def body(n: int) -> int:
        runs.append(n)
        if ends:
            raise ends.pop()
        return n

    return store, protect(time, store, body, question, seen, **settings), runs, ends


@pytest.mark.clause("TAKE-5", "REN-5")
def test_a_claim_that_is_lost_during_the_question_lets_no_body_begin(time: Time, seen: Seen) -> None:
    def question(n: int) -> Any:
        store.give_to("another", time.ms + 3_600_000)
        time.pass_seconds(BEAT_SECONDS)
        seen.wait_for(Kind.RENEWAL_REFUSED)
        return NOT_DONE

    store, protected, runs, ends = a_shop(time, seen, question)
    died_before(time, protected, ends)
    runs.clear()
    with pytest.raises(IdempotencyAlreadyInProgressError):
        protected(n=1)
    assert runs == []


@pytest.mark.clause("TAKE-5", "REN-5")
def test_a_record_that_is_resolved_during_the_question_is_the_answer(time: Time, seen: Seen) -> None:
    def question(n: int) -> Any:
        protected.idempotency.resolve(1, result="resolved", force=True)
        attempt = current_attempt()
        assert attempt is not None
        attempt.renew()
        return NOT_DONE

    _, protected, runs, ends = a_shop(time, seen, question)
    died_before(time, protected, ends)
    runs.clear()
    assert protected(n=1) == "resolved"
    assert runs == []


def test_an_attempt_that_was_answered_by_its_question_has_ended(time: Time, seen: Seen) -> None:
    kept: list[CurrentAttempt] = []

    def question(n: int) -> str:
        attempt = current_attempt()
        assert attempt is not None
        attempt.check()
        kept.append(attempt)
        return "found"

    _, protected, _, ends = a_shop(time, seen, question, renew_lease=False)
    died_before(time, protected, ends)
    assert protected(n=1) == "found"
    with pytest.raises(IdempotencyLeaseLostError, match="has ended"):
        kept[0].check()
    with pytest.raises(IdempotencyLeaseLostError, match="has ended"):
        kept[0].renew()


def test_a_run_counts_that_began_after_another_wait() -> None:
    """The lease ends while the claim is observed, another attempt gets the key, and the call waits."""
    clock = MovableClock()
    store = InMemoryPersistenceLayer()
    waits: list[Kind] = []

    def observe(occurrence: Occurrence) -> None:
        if occurrence.kind is Kind.CLAIMED:
            clock.advance(LEASE_SECONDS)
            record = store._records[occurrence.key]
            later = clock() + 60_000
            taken = record._replace(owner="another", in_progress_expiry_timestamp=later)
            store._records[occurrence.key] = taken
        if occurrence.kind is Kind.WAITING:
            waits.append(occurrence.kind)
            del store._records[occurrence.key]

    protected = idempotent_function(
        lambda n: n,
        data_keyword_argument="n",
        persistence_store=store,
        config=IdempotencyConfig(
            in_progress_expires_after_seconds=LEASE_SECONDS,
            wait_for_in_progress_seconds=60,
            clock=clock,
            observers=[observe],
        ),
        key_prefix="fn",
    )
    with count_runs(protected) as runs:
        assert protected(n=1) == 1
    assert waits
    runs.assert_once()


# Questions of async functions.


class Stopped(Watched):
    """A store that lets a test act in its next request, and then waits until that has been seen."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[], None] | None = None

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        before, self.before = self.before, None
        if before is not None:
            before()
        return super()._swap(key, expected, new, ttl_ms)


@pytest.mark.clause("TAKE-4", "REN-5")
def test_a_question_is_cancelled_when_its_claim_is_lost(time: Time, seen: Seen) -> None:
    store, runs, ends = Watched(), list[int](), list[Any]()

    async def body(n: int) -> int:
        runs.append(n)
        if ends:
            raise ends.pop()
        return n

    async def question(n: int) -> Any:
        store.give_to("another", time.ms + 3_600_000)
        await asyncio.sleep(0)  # the heartbeat begins to wait
        assert time._sleepers
        time.pass_seconds(BEAT_SECONDS)
        await asyncio.get_running_loop().create_future()

    protected = protect(time, store, body, question, seen, cancel_when_lost=True)

    async def main() -> None:
        ends.append(Died())
        with pytest.raises(Died):
            await protected(n=1)
        runs.clear()
        time.pass_seconds(LEASE_SECONDS)
        with pytest.raises(IdempotencyLeaseLostError):
            await protected(n=1)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    asyncio.run(main())
    assert runs == []
    assert [record.owner for record in store._records.values()] == ["another"]


@pytest.mark.clause("ENG-15", "TAKE-5")
@pytest.mark.parametrize("seconds", [0, 60])
def test_a_cancellation_after_the_question_ends_the_call(time: Time, seconds: int) -> None:
    store, runs, ends = Stopped(), list[int](), list[Any]()
    tasks: list[asyncio.Task[Any]] = []

    async def body(n: int) -> int:
        runs.append(n)
        if ends:
            raise ends.pop()
        return n

    def cancel() -> None:
        cancelled = threading.Event()
        loop.call_soon_threadsafe(lambda: (tasks[0].cancel(), cancelled.set()))
        assert cancelled.wait(WATCHDOG_SECONDS)

    async def question(n: int) -> Any:
        time.pass_seconds(LEASE_SECONDS)
        store.give_to("another", time.ms + 3_600_000)
        store.before = cancel
        return NOT_DONE

    protected = protect(time, store, body, question, renew_lease=False, wait_for_in_progress_seconds=seconds)

    async def main() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        ends.append(Died())
        with pytest.raises(Died):
            await protected(n=1)
        runs.clear()
        time.pass_seconds(LEASE_SECONDS)
        tasks.append(asyncio.create_task(protected(n=1)))
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]

    loop: Any = None
    asyncio.run(main())
    assert runs == []
