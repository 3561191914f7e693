"""Changes after each failure of the store: how long they wait, and when they stop."""

from collections.abc import Callable
from typing import Any

import pytest

from idemproof import IdempotencyConfig
from idemproof.conformance.simulator import World
from idemproof.drivers.interrupts import Interrupts
from idemproof.errors import (
    IdempotencyInconsistentStateError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceLayerError,
)
from idemproof.reference.attempt import Attempt
from idemproof.reference.changes import (
    PAUSE_MS,
    Claiming,
    Completing,
    GivenUp,
    Releasing,
    Resuming,
    milliseconds,
    pause_ms,
)
from idemproof.reference.durable import Execution
from idemproof.reference.engine import Engine
from idemproof.spec.record import COMPLETED, INPROGRESS, RESULT_UNAVAILABLE, Record
from idemproof.spec.settle import settle

NOW = 1_700_000_000_000
INTERRUPTS = Interrupts()
AWAY = ConnectionError("away")


class Limit(Exception):  # noqa: N818 - as those of job queues
    """A time limit."""


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


class Context:
    """A Lambda context."""

    def __init__(self, left: int) -> None:
        self._left = left

    def get_remaining_time_in_millis(self) -> int:
        return self._left


def attempt_of(owner: str = "owner", context: Any = None) -> Attempt:
    return Attempt("key", None, owner, context)


def busy() -> Exception:
    error = IdempotencyPersistenceConnectionError("busy")
    error.nothing_written = True  # type: ignore[attr-defined]  # as layers say that have waited by themselves
    return error


def completion(clock: Clock, context: Any = None, **settings: Any) -> tuple[Completing, Attempt]:
    """Return a completion that has been sent once, without a lease."""
    config = IdempotencyConfig(**settings)
    completing, attempt = Completing(config, INTERRUPTS), attempt_of(context=context)
    attempt.text = '"result"'
    completing.event(attempt, clock())
    return completing, attempt


def fails(
    change: Completing, attempt: Attempt, clock: Clock, error: BaseException = AWAY, request_ms: int = 0
) -> list[Any]:
    """Return the waits of a change whose requests all fail after the given time."""
    pauses: list[Any] = []
    while len(pauses) < 1000:
        clock.now += request_ms
        try:
            pauses.append(change.failed(attempt, error, len(pauses) + 1, clock))
        except GivenUp:
            return pauses
        clock.now += pauses[-1]
    raise AssertionError("it does not end")


@pytest.mark.parametrize(
    ("seconds", "expected"), [(1, 1000), (0.0001, 1), (0.0015, 2), (2.0000001, 2001), (0.25, 250), (0, 0)]
)
def test_seconds_are_rounded_up_to_milliseconds(seconds: float, expected: int) -> None:
    assert milliseconds(seconds) == expected
    assert type(milliseconds(seconds)) is int


def test_waits_double_up_to_a_limit() -> None:
    assert [pause_ms(failures) for failures in range(1, 8)] == [25, 50, 100, 200, 400, 500, 500]
    assert [pause_ms(failures, 10**9) for failures in (20, 21, 22, 10**6)] == [
        PAUSE_MS << power for power in (19, 20, 20, 20)
    ]


@pytest.mark.clause("ENG-6")
@pytest.mark.parametrize(("timeout", "longest"), [(10, 500), (10.02, 501), (10.03, 501), (100, 5000)])
def test_of_a_longer_time_the_waits_are_longer_too(timeout: float, longest: int) -> None:
    clock = Clock()
    pauses = fails(*completion(clock, completion_timeout_seconds=timeout), clock)
    assert max(pauses) == longest
    assert {type(pause) for pause in pauses} == {int}


@pytest.mark.clause("ENG-6")
@pytest.mark.parametrize(
    ("timeout", "pauses"),
    [(0.1, [25, 50, 15]), (0.084, [25, 50, 1]), (0.083, [25, 50]), (0.01, [25, 50]), (0, [25, 50])],
)
def test_the_last_wait_is_what_is_left_of_nine_tenths(timeout: float, pauses: list[int]) -> None:
    clock = Clock()
    waits = fails(*completion(clock, completion_timeout_seconds=timeout), clock)
    assert waits == pauses
    assert {type(pause) for pause in waits} == {int}


@pytest.mark.clause("ENG-6")
def test_the_context_of_the_call_counts_and_not_that_of_the_configuration() -> None:
    clock = Clock()
    calls = completion(clock, Context(0), completion_timeout_seconds=10, lambda_context=Context(10_000))
    assert fails(*calls, clock) == [25, 50]
    clock = Clock()
    calls = completion(clock, None, completion_timeout_seconds=10, lambda_context=Context(0))
    assert fails(*calls, clock) == [25, 50]


@pytest.mark.clause("ENG-6", "ENG-12")
@pytest.mark.parametrize("failure", [ValueError("no clock"), Limit("time is up")], ids=repr)
def test_a_clock_that_fails_leaves_three_tries(failure: Exception) -> None:
    def no_clock() -> int:
        raise failure

    config = IdempotencyConfig(interrupts=(Limit,))
    completing, attempt = Completing(config, config.interruptions), attempt_of()
    completing.event(attempt, NOW)
    assert [completing.failed(attempt, AWAY, failures, no_clock) for failures in (1, 2)] == [25, 50]
    with pytest.raises(GivenUp):
        completing.failed(attempt, AWAY, 3, no_clock)
    assert attempt.interrupt is (failure if isinstance(failure, Limit) else None)


def test_a_mark_is_tried_once_more_only_if_time_is_left() -> None:
    clock = Clock()
    _, attempt = completion(clock, completion_timeout_seconds=0.05)
    marking = Completing(IdempotencyConfig(completion_timeout_seconds=0.05), INTERRUPTS, RESULT_UNAVAILABLE)
    assert fails(marking, attempt, clock) == [25, 25]
    assert fails(marking, attempt, clock) == []


@pytest.mark.clause("ENG-4")
@pytest.mark.parametrize("first", [True, False])
def test_a_claim_of_which_nothing_was_written_is_not_taken_back(
    world: World, engine: Engine, first: bool
) -> None:
    call = world.call(engine)
    if not first:
        call.step("refused")  # this one may have arrived
        call.step()
    call.interrupt(busy())
    if first:
        assert call.ended == "raised"
    else:
        assert call.command.new is None  # a release
        call.run()
    assert isinstance(call.value, IdempotencyPersistenceConnectionError)


def test_a_claim_is_tried_three_times_and_its_final_failures_once() -> None:
    claiming, attempt = Claiming(IdempotencyConfig(), INTERRUPTS), attempt_of()
    clock = Clock()
    for error in (busy(), may_pass()):
        with pytest.raises(IdempotencyPersistenceConnectionError) as raised:
            claiming.failed(attempt, error, 1, clock)
        assert raised.value is error
    assert [claiming.failed(attempt, AWAY, failures, clock) for failures in (1, 2)] == [25, 50]
    with pytest.raises(IdempotencyPersistenceLayerError, match="could not claim 'key'") as raised:
        claiming.failed(attempt, AWAY, 3, clock)
    assert raised.value.__cause__ is AWAY


def may_pass() -> Exception:
    error = IdempotencyPersistenceConnectionError("refused")
    error.may_pass = True
    return error


@pytest.mark.clause("INV-8")
@pytest.mark.parametrize(
    ("make", "requests", "expected"),
    [
        (lambda: Completing(IdempotencyConfig(), INTERRUPTS), 10, GivenUp),
        (lambda: Completing(IdempotencyConfig(), INTERRUPTS, RESULT_UNAVAILABLE), 8, GivenUp),
        (lambda: Releasing(INTERRUPTS), 10, IdempotencyInconsistentStateError),
        (lambda: Releasing(INTERRUPTS, tries=2, requests=2), 2, IdempotencyInconsistentStateError),
    ],
    ids=["completion", "mark", "release", "letting go"],
)
def test_a_record_that_changes_each_time_is_left_alone_soon(
    make: Callable[[], Any], requests: int, expected: type[Exception]
) -> None:
    attempt, clock = attempt_of(), Clock()
    attempt.text = '"result"'

    def stored_claim(lease: int) -> Record:
        return Record("key", INPROGRESS, NOW // 1000 + 60, NOW + lease, owner="owner")

    steps, asked, failure = settle(make(), attempt, "key", stored_claim(1), clock), 0, None
    next(steps)
    while failure is None:
        asked += 1
        try:
            steps.send(stored_claim(asked + 1))
        except Exception as error:
            failure = error
    assert (asked, type(failure)) == (requests, expected)


@pytest.mark.clause("ENG-7")
def test_a_result_whose_window_is_over_before_it_is_stored_is_reported(world: World, engine: Engine) -> None:
    call = world.call(engine).until_running()
    call.finish("result")
    call.step("refused")
    world.now += 61_000
    call.run()
    assert call.value.result == "result"
    assert "request refused" in str(call.value)
    call = world.call(engine).until_running()
    call.finish("result")
    world.now += 61_000
    other = world.call(engine).until_running()
    other.crash()
    assert call.ended is None
    call.run()
    assert call.value.function_returned


def test_what_is_said_of_a_completion_that_was_given_up() -> None:
    assert str(GivenUp()) == "the record kept changing, or its window is over"


EXECUTION = Execution("execution", "7", None, operates=False)


@pytest.mark.clause("DUR-1", "DUR-5")
def test_a_claim_in_an_execution_has_the_execution_s_time() -> None:
    config = IdempotencyConfig(
        execution_timeout_seconds=3600, expires_after_seconds=60, in_progress_expires_after_seconds=5
    )
    resuming, attempt = (
        Resuming(config, INTERRUPTS),
        Attempt("key", "hash", "random", Context(1000), EXECUTION),
    )
    claim = resuming.event(attempt, NOW)
    assert tuple(claim) == (attempt.owner, NOW + 3_600_000, NOW // 1000 + 60, "hash", "key", "run")


@pytest.mark.clause("DUR-4")
def test_a_claim_that_an_earlier_invocation_of_the_execution_made_is_resumed() -> None:
    resuming = Resuming(IdempotencyConfig(), INTERRUPTS)
    earlier = Attempt("key", None, "earlier", None, EXECUTION).owner
    expected = {None: False, earlier: True, "another": False}
    for owner, resumed in expected.items():
        attempt = Attempt("key", None, "random", None, EXECUTION)
        stored_claim = None if owner is None else Record("key", INPROGRESS, NOW // 1000 + 60, owner=owner)
        assert resuming.acting(attempt, stored_claim) is stored_claim
        assert attempt.resumed is resumed
    own = Attempt("key", None, "random", None, EXECUTION)
    resuming.acting(own, Record("key", COMPLETED, NOW // 1000 + 60, owner=own.owner))
    assert own.resumed is False


@pytest.mark.clause("ENG-15")
def test_an_interrupt_in_a_resumed_claim_is_raised() -> None:
    resuming = Resuming(IdempotencyConfig(), INTERRUPTS)
    interrupt = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt) as raised:
        resuming.failed(attempt_of(), interrupt, 1, Clock())
    assert raised.value is interrupt
