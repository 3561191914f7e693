"""Calls that wait for another attempt: in a simulated world, and through the drivers."""

import asyncio
import re
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from idemproof import (
    AsyncInMemoryPersistenceLayer,
    CompareAndSwapLayer,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    Record,
    idempotent,
    idempotent_function,
)
from idemproof.conformance.calls import SimulatedCall
from idemproof.conformance.simulator import World
from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyConfigError,
    IdempotencyPersistenceLayerError,
    IdempotencyValidationError,
)
from idemproof.reference import waiter as waiters
from idemproof.reference.changes import TRIES
from idemproof.spec.commands import Sleep, Swap, Wait
from idemproof.spec.invariants import OPERATIONS_PER_CALL, broken_by_history, operations_allowed
from idemproof.spec.occurrences import Kind
from idemproof.spec.waiting import LONGEST_POLL_MS, SHORTEST_POLL_MS, most_waits, pause_ms, poll_ms
from waiting_calls import LongWorld, claims_of_waiters, engine_of

PAGES = Path(__file__).parents[2] / "docs"


def wait(call: SimulatedCall) -> int:
    """Let a pause of a call take its time, which the world's clock shows, and the next claim be answered."""
    world, pause = call._world, call.command
    assert isinstance(pause, Wait | Sleep)
    world.now += pause.milliseconds
    call.step()
    while isinstance(call.command, Swap) and call.body is None:
        call.step()
    return int(pause.milliseconds)


def waiting(world: World, seconds: float, **settings: Any) -> tuple[SimulatedCall, SimulatedCall]:
    """Return a call whose body runs, and another that has begun to wait for it."""
    first = world.call(engine_of(world, 0, **settings), "a").until_running()
    second = world.call(engine_of(world, seconds, **settings), "a")
    while not isinstance(second.command, Wait):
        second.step()
    return first, second


@pytest.mark.clause("WAIT-1")
def test_a_waiting_call_is_answered_by_its_next_claim() -> None:
    world = LongWorld()
    first, second = waiting(world, 5)
    assert second.command == Wait("fn#key", world.record, SHORTEST_POLL_MS)
    wait(second)
    assert isinstance(second.command, Wait)
    first.finish("done")
    first.run()
    wait(second)
    assert (second.ended, second.value, second.body) == ("returned", "done", None)


@pytest.mark.clause("WAIT-1")
def test_after_a_release_it_runs_itself_under_its_own_token() -> None:
    world = LongWorld()
    first, second = waiting(world, 5)
    first.fail(ValueError())
    first.run()
    wait(second)
    assert second.running
    assert world.record is not None
    assert world.record.owner == second.owner == "owner-2"
    assert [each.kind for each in second.occurrences] == [Kind.WAITING, Kind.CLAIMED]


@pytest.mark.clause("WAIT-2")
def test_after_the_lease_it_takes_over_as_soon_as_it_ends() -> None:
    world = World()
    first, second = waiting(world, 60)
    pauses = []
    while not second.running:
        pauses.append(wait(second))
    assert sum(pauses) == world.LEASE_MS
    assert second.occurrences[-1].kind is Kind.TOOK_OVER
    second.run("taken over")
    first.finish("late")
    assert first.run().value == "taken over"


@pytest.mark.clause("WAIT-2", "WAIT-3")
def test_pauses_double_until_the_longest_and_the_last_claim_comes_at_the_end() -> None:
    world = LongWorld()
    _, second = waiting(world, 4)
    pauses = []
    while second.ended is None:
        pauses.append(wait(second))
    assert pauses == [20, 40, 80, 160, 320, 640, 1000, 1000, 740]
    assert sum(pauses) == 4000
    refusal = second.value
    assert isinstance(refusal, IdempotencyAlreadyInProgressError)
    assert refusal.waited_ms == 4000
    assert "This call waited for 4.00 s. Nothing ran." in str(refusal)
    assert refusal.retry_after_ms == world.LEASE_MS - 4000
    assert second.occurrences[-1].kind is Kind.IN_PROGRESS
    assert [each.kind for each in second.occurrences].count(Kind.WAITING) == 1


@pytest.mark.clause("WAIT-2")
@pytest.mark.parametrize(
    ("poll", "retry_after", "left", "pause"),
    [
        (20, 9, 900, 20),
        (1000, 9, 900, 20),
        (1000, 300, 900, 300),
        (1000, 9, 8, 8),
        (20, 9, 0, 0),
        (20, 9, -5, 0),
    ],
)
def test_a_pause_is_never_shorter_than_the_shortest_unless_less_time_is_left(
    poll: int, retry_after: int, left: int, pause: int
) -> None:
    assert pause_ms(poll, retry_after, left) == pause


def test_jitter_shortens_pauses_by_a_fifth_at_most() -> None:
    assert [poll_ms(polls) for polls in (0, 1, 5, 6, 100)] == [20, 40, 640, 1000, 1000]
    assert [poll_ms(polls, 1.0) for polls in (0, 1, 5, 6, 100)] == [20, 32, 512, 800, 800]


@pytest.mark.clause("WAIT-3")
def test_a_clock_that_stands_still_makes_no_call_wait_forever() -> None:
    world = LongWorld()
    _, second = waiting(world, 4)
    pauses = 0
    while second.ended is None:
        second.step()  # and the clock does not move
        pauses += isinstance(second.last, Wait)
    assert isinstance(second.value, IdempotencyAlreadyInProgressError)
    assert pauses == 9


@pytest.mark.clause("WAIT-3")
def test_a_wall_clock_that_steps_changes_no_wait() -> None:
    world = LongWorld()
    steady = [0]
    first = world.call(engine_of(world, 0), "a").until_running()
    engine = engine_of(world, 1)
    engine._monotonic = lambda: steady[0]
    second = world.call(engine, "a")
    second.step()
    world.now -= 50_000
    while second.ended is None:
        if isinstance(second.command, Wait):
            steady[0] += second.command.milliseconds
        second.step()
    assert steady == [1000]
    assert second.value.waited_ms == 1000
    assert first.running


@pytest.mark.clause("WAIT-4")
def test_a_payload_mismatch_surfaces_at_once() -> None:
    world = LongWorld()
    world.call(engine_of(world, 0), "a").until_running()
    second = world.call(engine_of(world, 60), "b").run()
    assert isinstance(second.value, IdempotencyValidationError)
    assert second.operations == 1


@pytest.mark.clause("WAIT-4", "INV-4")
def test_another_payload_that_takes_the_key_meanwhile_is_never_answered() -> None:
    world = LongWorld()
    first, second = waiting(world, 60)
    first.fail(ValueError())
    first.run()
    world.call(engine_of(world, 0), "b").run("of b")
    wait(second)
    assert isinstance(second.value, IdempotencyValidationError)


@pytest.mark.clause("WAIT-2", "WAIT-6", "INV-8")
def test_a_signal_that_never_stops_costs_two_claims_for_each_shortest_pause_at_most() -> None:
    world = LongWorld()
    _, second = waiting(world, 1)
    while second.ended is None:
        if isinstance(second.command, Sleep):
            wait(second)
        else:
            second.step("signalled" if isinstance(second.command, Wait) else "answered")
    assert isinstance(second.value, IdempotencyAlreadyInProgressError)
    assert second.operations <= 1 + most_waits(1000) == 101
    assert broken_by_history(world.history) == []


@pytest.mark.clause("WAIT-6")
def test_a_signal_that_comes_late_enough_may_be_followed_by_another() -> None:
    world = LongWorld()
    _, second = waiting(world, 5)
    wait(second)
    world.now += SHORTEST_POLL_MS
    second.step("signalled")
    second.step()
    assert isinstance(second.command, Wait)
    second.step("signalled")
    second.step()
    assert second.command == Sleep(SHORTEST_POLL_MS)


@pytest.mark.clause("WAIT-6")
def test_a_signal_that_fails_is_replaced_by_a_pause() -> None:
    world = LongWorld()
    first, second = waiting(world, 5)
    second.interrupt(ConnectionError("no notifications"))
    assert second.command == Sleep(SHORTEST_POLL_MS)
    second.step()
    first.finish("done")
    first.run()
    assert second.run().value == "done"


@pytest.mark.clause("ENG-15")
@pytest.mark.parametrize("unanswered", [False, True])
def test_an_interrupt_ends_a_wait_at_once(unanswered: bool) -> None:
    world = LongWorld()
    first = world.call(engine_of(world, 0), "a").until_running()
    second = world.call(engine_of(world, 60), "a")
    if unanswered:
        second.step("delayed")
    while not isinstance(second.command, Wait):
        second.step()
    sent = second.operations
    second.interrupt(KeyboardInterrupt())
    while second.ended is None:
        second.step()
    assert isinstance(second.value, KeyboardInterrupt)
    assert second.operations - sent == unanswered
    assert first.run().ended == "returned"


@pytest.mark.clause("ENG-15")
def test_only_an_interrupt_or_a_wrong_configuration_behind_a_failed_wait_ends_the_call() -> None:
    interrupt, wrong = KeyboardInterrupt(), IdempotencyConfigError("no channel")
    lost, failed = OSError("lost"), OSError("failed")
    lost.__cause__ = interrupt
    for error, raised in ((lost, interrupt), (wrong, wrong), (failed, None)):
        _, second = waiting(LongWorld(), 5)
        second.interrupt(error)
        if raised is None:
            assert isinstance(second.command, Sleep)
        else:
            assert second.run().value is raised


@pytest.mark.clause("WAIT-5")
def test_a_claim_that_arrives_late_is_released_when_the_time_is_over() -> None:
    world = LongWorld()
    first = world.call(engine_of(world, 0), "a").until_running()
    second = world.call(engine_of(world, 0.02), "a")
    second.step("delayed")
    while not isinstance(second.command, Wait):
        second.step()
    wait_for = second.command.milliseconds
    world.now += wait_for
    second.step()
    second.step()  # the last claim is refused
    first.fail(ValueError())
    first.run()
    world.deliver()
    assert world.record is not None
    assert world.record.owner == second.owner
    second.run()
    assert isinstance(second.value, IdempotencyAlreadyInProgressError)
    assert world.record is None
    assert [each.kind for each in second.occurrences] == [Kind.WAITING, Kind.RELEASED, Kind.IN_PROGRESS]
    assert [each.row for each in second.occurrences] == ["ROW-4", "ROW-10", "ROW-4"]
    assert repr(second.occurrences[1].error) == "TimeoutError('the call stopped waiting')"


@pytest.mark.clause("WAIT-5")
def test_a_claim_of_an_earlier_poll_is_released_though_later_polls_were_answered() -> None:
    world = LongWorld()
    _, second = waiting(world, 0.1)
    second.step()
    second.step("delayed")  # then a pause of the store's failure
    second.step()
    second.step()
    assert isinstance(second.command, Wait)
    while second.ended is None:
        wait(second)
        while second.ended is None and isinstance(second.command, Swap):
            second.step()
    assert isinstance(second.last, Swap)
    assert second.last.new is None


@pytest.mark.clause("WAIT-5")
def test_a_release_that_fails_is_noted_on_the_refusal() -> None:
    world = LongWorld()
    world.call(engine_of(world, 0), "a").until_running()
    second = world.call(engine_of(world, 0.02), "a")
    second.step("delayed")
    releases = 0
    while second.ended is None:
        releasing = isinstance(second.command, Swap) and second.command.new is None
        releases += releasing
        second.step("refused" if releasing else "answered")
    assert releases == TRIES
    assert isinstance(second.value, IdempotencyAlreadyInProgressError)
    assert second.value.__notes__[0].startswith("A claim on 'fn#key' may stand until its lease ends")
    failed, refused = second.occurrences[-2:]
    assert (failed.kind, refused.kind) == (Kind.RELEASE_FAILED, Kind.IN_PROGRESS)
    assert isinstance(failed.error, Exception)


def test_failures_of_the_store_are_counted_in_each_poll() -> None:
    world = LongWorld()
    first, second = waiting(world, 60)
    for _ in range(5):
        second.step()
        for fate in ("refused", "answered", "refused", "answered", "answered"):
            second.step(fate)  # type: ignore[arg-type]  # two failures, each with its pause
        assert isinstance(second.command, Wait)
    second.step()
    while second.ended is None:
        second.step("refused")
    assert isinstance(second.value, IdempotencyPersistenceLayerError)
    assert first.running


@pytest.mark.clause("INV-8")
def test_the_bound_on_requests_follows_from_the_configured_time() -> None:
    assert operations_allowed(0) == OPERATIONS_PER_CALL
    assert operations_allowed(60_000) > operations_allowed(1000) > OPERATIONS_PER_CALL
    assert [most_waits(time) for time in (0, 1, 20, 21)] == [0, 2, 2, 4]


# A Lambda context.


class Context:
    """A Lambda context that has so many milliseconds left."""

    def __init__(self, left: int) -> None:
        self.left = left

    def get_remaining_time_in_millis(self) -> int:
        return self.left


@pytest.mark.clause("WAIT-7")
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(("left", "waits"), [(3000, 2000), (1000, 0), (10, 0), (9000, 4000)])
def test_it_stops_waiting_while_the_context_can_still_answer(left: int, waits: int, own: bool) -> None:
    world = LongWorld()
    world.call(engine_of(world, 0), "a").until_running()
    engine = engine_of(world, 4)
    engine._config.register_lambda_context(Context(50_000 if own else left))
    if own:  # else that of the configuration counts
        engine.steps = partial(engine.steps, lambda_context=Context(left))  # type: ignore[method-assign]
    second = world.call(engine, "a")
    begun = world.now
    second.step()
    while second.ended is None:
        wait(second)
    assert world.now - begun == waits
    told = f"waited for {waits / 1000:.2f} s: its Lambda context had {left} ms left."
    assert (told in str(second.value)) == (left < 5000)


@pytest.mark.clause("WAIT-7")
def test_a_wait_longer_than_a_known_context_has_left_is_refused_when_configured() -> None:
    with pytest.raises(IdempotencyConfigError, match="longer than the lambda_context has left, 900"):
        IdempotencyConfig(lambda_context=Context(900), wait_for_in_progress_seconds=1)
    for context in (Context(1000), SimpleNamespace(), None):
        IdempotencyConfig(lambda_context=context, wait_for_in_progress_seconds=1)


@pytest.mark.clause("WAIT-7")
def test_a_handler_waits_for_as_long_as_its_own_context_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, now = InMemoryPersistenceLayer(), [0]
    monkeypatch.setattr(layer, "_wait_for_change", None)
    monkeypatch.setattr("idemproof.drivers.blocking.pause", lambda seconds: now.append(round(seconds * 1000)))
    config = IdempotencyConfig(wait_for_in_progress_seconds=60)

    @idempotent(persistence_store=layer, config=config)
    def handler(event: Any, context: Any) -> Any:
        with pytest.raises(IdempotencyAlreadyInProgressError, match="its Lambda context had 3000 ms left"):
            handler(event, context)
        return "done"

    assert handler({"id": 1}, Context(3000)) == "done"
    assert sum(now) == 2000


# What it costs.


def in_the_first_second() -> int:
    """Return the most claims of one waiter in its first second: its first one, and its shortest polls."""
    passed, polls = 0, 0
    while passed < 1000:
        passed += poll_ms(polls, 1.0)
        polls += 1
    return polls


def bounds_on_the_page() -> tuple[int, int, float]:
    text = re.sub(r"\s+", " ", (PAGES / "how-to" / "wait-for-results.md").read_text(encoding="utf-8"))
    [(first, later, average)] = re.findall(
        r"at most (\d+) claims in its first second, (\d+) in any later one, and ([\d.]+) a second on average",
        text,
    )
    return int(first), int(later), float(average)


@pytest.mark.clause("WAIT-2")
def test_a_thousand_waiters_cost_what_the_page_says() -> None:
    first, later, average = bounds_on_the_page()
    shortest = poll_ms(1000, 1.0)
    assert first == in_the_first_second()
    assert later == 1 + LONGEST_POLL_MS // shortest
    assert average == 1000 / shortest
    claims = claims_of_waiters(1000, 30, InMemoryPersistenceLayer())
    assert claims[0] <= first * 1000
    assert all(claims[second] <= later * 1000 for second in range(1, 30))
    assert sum(claims[second] for second in range(1, 30)) <= average * 29 * 1000
    assert sum(claims.values()) > 1000 * 30  # or they would learn late


# Through the drivers. Threads and tasks are ordered by what they do, not by time.


class Silent(CompareAndSwapLayer):
    """A layer without signals."""

    def __init__(self) -> None:
        self.store = InMemoryPersistenceLayer()

    def _load(self, key: str) -> Record | None:
        return self.store._load(key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        return self.store._swap(key, expected, new, ttl_ms)


LONG = IdempotencyConfig(in_progress_expires_after_seconds=3600, wait_for_in_progress_seconds=3600)


@pytest.mark.parametrize("layer", [InMemoryPersistenceLayer, Silent])
def test_a_thread_waits_for_the_result_of_another(layer: type[CompareAndSwapLayer]) -> None:
    store = layer()
    running, proceed = threading.Event(), threading.Event()
    runs: list[int] = []

    @idempotent_function(data_keyword_argument="data", persistence_store=store, config=LONG)
    def work(data: int) -> str:
        runs.append(data)
        running.set()
        assert proceed.wait(600)
        return "done"

    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(work(data=1))) for _ in range(5)]
    threads[0].start()
    assert running.wait(600)
    for thread in threads[1:]:
        thread.start()
    proceed.set()
    for thread in threads:
        thread.join(600)
    assert (answers, runs) == (["done"] * 5, [1])


@pytest.mark.parametrize("layer", [AsyncInMemoryPersistenceLayer, InMemoryPersistenceLayer, Silent])
def test_tasks_wait_for_the_result_of_another(layer: Any) -> None:
    async def main() -> None:
        store, proceed = layer(), asyncio.Event()

        @idempotent_function(data_keyword_argument="data", persistence_store=store, config=LONG)
        async def work(data: int) -> str:
            await proceed.wait()
            return "done"

        tasks = [asyncio.ensure_future(work(data=1)) for _ in range(50)]
        await asyncio.sleep(0)
        proceed.set()
        assert await asyncio.gather(*tasks) == ["done"] * 50

    asyncio.run(main())


@pytest.mark.clause("ENG-15")
@pytest.mark.parametrize("layer", [AsyncInMemoryPersistenceLayer, InMemoryPersistenceLayer, Silent])
def test_a_waiting_task_is_cancelled_at_once(layer: Any) -> None:
    async def main() -> None:
        store, running, proceed = layer(), asyncio.Event(), asyncio.Event()

        @idempotent_function(data_keyword_argument="data", persistence_store=store, config=LONG)
        async def work(data: int) -> str:
            running.set()
            await proceed.wait()
            return "done"

        first = asyncio.ensure_future(work(data=1))
        await running.wait()
        second = asyncio.ensure_future(work(data=1))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        proceed.set()
        assert await first == "done"
        assert await work(data=1) == "done"

    asyncio.run(main())


@pytest.mark.parametrize(
    "seconds", [-1, -0.001, float("nan"), float("inf"), True, False, "5", None, [1], 86_401, 1e9]
)
def test_a_time_that_no_call_can_wait_is_refused(seconds: Any) -> None:
    with pytest.raises(
        IdempotencyConfigError, match=r"^wait_for_in_progress_seconds must be a number of seconds"
    ):
        IdempotencyConfig(wait_for_in_progress_seconds=seconds)


@pytest.mark.parametrize("seconds", [0, 0.0, 0.001, 1, 86_400])
def test_other_times_are_accepted(seconds: float) -> None:
    assert IdempotencyConfig(wait_for_in_progress_seconds=seconds).wait_for_in_progress_seconds == seconds


def test_a_clock_of_its_own_measures_waits() -> None:
    assert 0 <= waiters.monotonic_ms() <= waiters.monotonic_ms()
