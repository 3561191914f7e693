"""Retries of a completion until its deadline: their cost, their end, and their outcome."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from idemproof.conformance.calls import SimulatedCall
from idemproof.conformance.renewals import Fate, StoreDown
from idemproof.conformance.simulator import World
from idemproof.errors import (
    IdempotencyInvalidStatusError,
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceLayerError,
    IdempotencyRecordTooLargeError,
    IdempotencyResultUnavailableError,
)
from idemproof.reference.changes import LONGEST_PAUSE_MS, PAUSE_MS, TRIES
from idemproof.reference.engine import Engine
from idemproof.spec.commands import Sleep, Swap
from idemproof.spec.invariants import OPERATIONS_PER_CALL
from idemproof.spec.record import COMPLETED, INPROGRESS, RESULT_UNAVAILABLE

EngineFactory = Callable[..., Engine]
Reply = Callable[[SimulatedCall], Fate | Exception]

TIMEOUT_MS = 10_000


def returned(world: World, engine: Engine, result: Any = "result") -> SimulatedCall:
    call = world.call(engine).until_running()
    call.finish(result)
    return call


def go_on(world: World, call: SimulatedCall, reply: Reply, request_ms: int = 0) -> list[tuple[int, str]]:
    """Run ``call`` to its end while time passes in its waits; return the time and text of each try."""
    began, tried = world.now, []
    while call.ended is None:
        if isinstance(call.command, Sleep):
            world.now += call.command.milliseconds
            call.step()
            continue
        assert isinstance(call.command, Swap)
        assert call.command.new is not None
        tried.append((world.now - began, str(call.command.new.response_data)))
        answer = reply(call)
        world.now += request_ms
        if isinstance(answer, Exception):
            call.interrupt(answer)
        else:
            call.step(answer)
    return tried


def away_until(world: World, moment: int) -> Reply:
    return lambda _: "refused" if world.now < moment else "answered"


def refuses_results(call: SimulatedCall) -> Fate:
    return "answered" if call.command.new.response_data == RESULT_UNAVAILABLE else "refused"


@pytest.mark.clause("ENG-6")
@pytest.mark.parametrize("away_ms", [1, 400, 3000, 8500])
def test_a_store_that_is_away_for_a_while_gets_the_result(
    world: World, make_engine: EngineFactory, away_ms: int
) -> None:
    engine = make_engine(in_progress_expires_after_seconds=60)
    call = returned(world, engine)
    tried = go_on(world, call, away_until(world, world.now + away_ms))
    assert call.value == "result"
    assert tried[-1][0] <= away_ms + LONGEST_PAUSE_MS
    assert world.call(engine).run("again").value == "result"


@pytest.mark.clause("ENG-6", "INV-8")
def test_its_waits_grow_and_end_with_the_completion_timeout(world: World, make_engine: EngineFactory) -> None:
    call = returned(world, make_engine(in_progress_expires_after_seconds=60))
    tried = go_on(world, call, lambda _: "refused")
    moments = [after for after, text in tried if text != RESULT_UNAVAILABLE]
    waits = [later - earlier for earlier, later in pairwise(moments)]
    assert waits[:5] == [PAUSE_MS << place for place in range(5)]
    assert max(waits) == LONGEST_PAUSE_MS
    assert moments[-1] == TIMEOUT_MS * 9 // 10  # the rest is left for the mark
    assert tried[-1] == (TIMEOUT_MS, RESULT_UNAVAILABLE)
    assert len(tried) < OPERATIONS_PER_CALL // 2


@pytest.mark.clause("ENG-6", "ENG-7")
@pytest.mark.parametrize("lease", [0.5, 2, 5])
def test_it_ends_with_the_lease_and_soon(world: World, make_engine: EngineFactory, lease: float) -> None:
    call = returned(world, make_engine(in_progress_expires_after_seconds=lease))
    tried = go_on(world, call, lambda _: "refused")
    assert tried[-1] == (lease * 1000, RESULT_UNAVAILABLE)
    assert type(call.value) is IdempotencyPersistenceLayerError
    assert call.value.result == "result"


@pytest.mark.clause("ENG-6")
def test_without_a_lease_the_window_ends_it(world: World, make_engine: EngineFactory) -> None:
    engine = make_engine(
        in_progress_expires_after_seconds=None, expires_after_seconds=4, completion_timeout_seconds=100
    )
    call = returned(world, engine)
    tried = go_on(world, call, lambda _: "refused")
    assert 3000 < tried[-1][0] <= 4000


@pytest.mark.clause("ENG-6")
@pytest.mark.parametrize("timeout", [0, 0.001])
@pytest.mark.parametrize("lapsed", [False, True])
def test_it_is_tried_three_times_whatever_time_is_left(
    world: World, make_engine: EngineFactory, timeout: float, lapsed: bool
) -> None:
    call = world.call(make_engine(completion_timeout_seconds=timeout)).until_running()
    if lapsed:
        world.now += 10_000
    call.finish("result")
    tried = go_on(world, call, lambda _: "refused")
    assert [text for _, text in tried] == ['"result"'] * TRIES + [RESULT_UNAVAILABLE]


@pytest.mark.clause("ENG-6")
def test_requests_that_take_long_count_as_waits_do(world: World, make_engine: EngineFactory) -> None:
    call = returned(world, make_engine(in_progress_expires_after_seconds=60))
    tried = go_on(world, call, lambda _: "refused", request_ms=2500)
    assert tried[-1][0] <= TIMEOUT_MS + 2500


@pytest.mark.clause("INV-8")
@pytest.mark.parametrize("timeout", [0, 1, 10, 600, 10**6])
def test_a_clock_that_does_not_move_ends_it_all_the_same(
    world: World, make_engine: EngineFactory, timeout: float
) -> None:
    """And so does any timeout, after a bounded number of requests."""
    engine = make_engine(expires_after_seconds=10**7, completion_timeout_seconds=timeout)
    call = returned(world, engine)
    waited = 0
    while call.ended is None:
        if isinstance(call.command, Sleep):
            waited += call.command.milliseconds
        call.step("refused")
    assert waited <= max(timeout * 1000, 3 * PAUSE_MS)
    asked = next(item for item in world.history if hasattr(item, "operations"))
    assert asked.operations <= OPERATIONS_PER_CALL


class LambdaContext:
    def __init__(self, world: World, ends_after_ms: int) -> None:
        self._world = world
        self._ends = world.now + ends_after_ms

    def get_remaining_time_in_millis(self) -> int:
        return self._ends - self._world.now


@pytest.mark.clause("ENG-6")
def test_the_remaining_time_of_a_lambda_invocation_counts(world: World, make_engine: EngineFactory) -> None:
    context = LambdaContext(world, 60_000)
    call = world.call(make_engine(in_progress_expires_after_seconds=60, lambda_context=context))
    call.until_running()
    context._ends = world.now + 1000
    call.finish("result")
    tried = go_on(world, call, lambda _: "refused")
    assert 900 <= tried[-1][0] <= 1000


class UnknownError(Exception):
    """An error of an unknown class."""


class UsersError(IdempotencyPersistenceLayerError):
    """A user's own error, of the documented base class."""


@pytest.mark.clause("ENG-6")
@pytest.mark.parametrize(
    "failure",
    [
        IdempotencyPersistenceLayerError("one hiccup"),
        UsersError("one hiccup"),
        IdempotencyPersistenceConnectionError("away"),
        UnknownError(),
        RuntimeError("cannot schedule new futures"),
        AssertionError(),
        KeyError("x"),
    ],
    ids=repr,
)
def test_a_failure_that_is_not_known_to_be_final_is_tried_again(
    world: World, engine: Engine, failure: Exception
) -> None:
    call = returned(world, engine)
    call.interrupt(failure)
    assert call.run().value == "result"
    assert world.call(engine).run("again").value == "result"


@pytest.mark.clause("ENG-6")
def test_refused_credentials_may_pass_after_the_body_and_not_before(world: World, engine: Engine) -> None:
    refused = IdempotencyPersistenceConfigError("the token has expired")
    refused.may_pass = True
    claiming = world.call(engine)
    claiming.interrupt(refused)
    assert claiming.run().value is refused
    assert claiming.body is None
    call = returned(world, engine)
    call.interrupt(refused)
    assert isinstance(call.command, Sleep)
    assert call.run().value == "result"


@pytest.mark.clause("ENG-10")
@pytest.mark.parametrize(
    "refusal",
    [
        IdempotencyRecordTooLargeError("400 KB at most"),
        IdempotencyPersistenceConfigError("ValidationException"),
        IdempotencyInvalidStatusError("no record"),
    ],
    ids=repr,
)
def test_a_final_refusal_is_marked_at_once(world: World, engine: Engine, refusal: Exception) -> None:
    call = returned(world, engine)
    tried = go_on(world, call, lambda call: "answered" if refuses_results(call) == "answered" else refusal)
    assert [text for _, text in tried] == ['"result"', RESULT_UNAVAILABLE]
    assert tried[-1][0] == 0
    assert type(call.value) is IdempotencyPersistenceLayerError
    assert call.value.__cause__ is refusal
    assert call.value.result == "result"


@pytest.mark.clause("ENG-10", "REC-6")
@pytest.mark.parametrize("lease", [2, 60])
def test_a_store_that_takes_no_result_under_an_unknown_name_is_marked_before_the_lease_ends(
    world: World, make_engine: EngineFactory, lease: float
) -> None:
    engine = make_engine(in_progress_expires_after_seconds=lease, expires_after_seconds=600)
    call = returned(world, engine)
    go_on(world, call, refuses_results)
    assert type(call.value) is IdempotencyPersistenceLayerError
    assert "will not run again" in str(call.value)
    assert call.value.result == "result"
    assert isinstance(call.value.__cause__, StoreDown)
    world.now += int(lease * 1000)
    again = world.call(engine).run("again")
    assert isinstance(again.value, IdempotencyResultUnavailableError)
    assert again.body is None


@pytest.mark.clause("ENG-7", "ENG-10")
def test_a_try_that_arrived_late_is_found_by_the_mark_and_counts(world: World, engine: Engine) -> None:
    call = returned(world, engine)
    late: list[Swap] = []

    def reply(call: SimulatedCall) -> Fate:
        late.append(call.command)
        if call.command.new.response_data == RESULT_UNAVAILABLE:
            world.swap(late[0])  # it arrives now
            return "answered"
        return "refused"

    go_on(world, call, reply)
    assert call.value == "result"
    assert world.record is not None
    assert world.record.response_data == '"result"'


@pytest.mark.clause("ENG-7")
def test_a_mark_whose_reply_is_lost_leaves_its_caller_in_doubt(world: World, engine: Engine) -> None:
    call = returned(world, engine)
    go_on(world, call, lambda call: "refused" if refuses_results(call) == "refused" else "reply lost")
    assert type(call.value) is IdempotencyPersistenceLayerError
    assert "not known" in str(call.value)
    assert call.value.result == "result"
    assert world.record is not None
    assert (world.record.status, world.record.response_data) == (COMPLETED, RESULT_UNAVAILABLE)


@pytest.mark.clause("ENG-9", "ENG-10")
def test_a_mark_that_finds_another_s_claim_is_a_lost_lease(world: World, make_engine: EngineFactory) -> None:
    engine = make_engine(in_progress_expires_after_seconds=1)
    call = world.call(engine).until_running()
    world.now += 1000
    other = world.call(engine).until_running()
    call.finish("result")
    go_on(world, call, refuses_results)
    assert call.value.result == "result"
    assert "another attempt took over" in str(call.value)
    assert other.running
    assert world.record is not None
    assert world.record.status == INPROGRESS


@pytest.mark.clause("ENG-12")
def test_an_interrupt_while_it_waits_is_raised_once_the_result_is_stored(
    world: World, make_engine: EngineFactory
) -> None:
    engine = make_engine(in_progress_expires_after_seconds=60)
    call = returned(world, engine)
    back = world.now + 400
    call.step("refused")
    assert isinstance(call.command, Sleep)
    interrupt = KeyboardInterrupt()
    call.interrupt(interrupt)
    go_on(world, call, away_until(world, back))
    assert call.value is interrupt
    assert world.call(engine).run("again").value == "result"


@pytest.mark.clause("ENG-10", "ENG-12")
def test_an_interrupt_while_a_refused_result_is_marked_carries_it(world: World, engine: Engine) -> None:
    call = returned(world, engine)
    interrupt = KeyboardInterrupt()
    call.interrupt(IdempotencyRecordTooLargeError("400 KB at most"))
    call.interrupt(interrupt)
    call.run()
    assert call.value is interrupt
    assert isinstance(interrupt.__cause__, IdempotencyPersistenceLayerError)
    assert interrupt.__cause__.result == "result"
    assert isinstance(world.call(engine).run("again").value, IdempotencyResultUnavailableError)
