"""The number of tries of a claim, a completion and a release: it is bounded, and all tries are used."""

from collections.abc import Callable
from itertools import chain, repeat

import pytest

from idemproof.conformance.calls import SimulatedCall
from idemproof.conformance.renewals import StoreDown
from idemproof.conformance.simulator import World
from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceConsistencyError,
    IdempotencyPersistenceLayerError,
)
from idemproof.reference.changes import PAUSE_MS, TRIES, Claiming
from idemproof.reference.engine import Engine
from idemproof.spec.commands import Sleep, Swap
from idemproof.spec.record import COMPLETED, INPROGRESS, Record, ceil_seconds

CONFLICTS = Claiming.conflicts
LEASE_MS = 10_000

Begin = Callable[[World, Engine], SimulatedCall]


def claiming(world: World, engine: Engine) -> SimulatedCall:
    return world.call(engine)


def completing(world: World, engine: Engine) -> SimulatedCall:
    call = world.call(engine).until_running()
    call.finish("result")
    return call


def releasing(world: World, engine: Engine) -> SimulatedCall:
    call = world.call(engine).until_running()
    call.fail(ValueError("declined"))
    return call


each_step = pytest.mark.parametrize("begin", [claiming, completing, releasing])


def claim_of(world: World, owner: str, lease: int) -> Record:
    return Record(world.KEY, INPROGRESS, ceil_seconds(world.now) + 60, lease, owner=owner)


def lapsed(world: World, number: int) -> Record:
    """The record that a claim finds: another claim whose lease has ended."""
    return claim_of(world, "another", world.now - number)


def renewed(world: World, number: int) -> Record:
    """The record that a completion or release finds: the attempt's own claim, with another lease."""
    return claim_of(world, "owner-1", world.now + LEASE_MS + number)


def changing(world: World, times: int, found: Callable[[World, int], Record]) -> list[Swap]:
    """Let so many requests find that the record has changed; return all requests, as they come."""
    swaps: list[Swap] = []
    usual = world.swap

    def swap(command: Swap) -> Record | None:
        swaps.append(command)
        if len(swaps) <= times:
            world.record = found(world, len(swaps))
        return usual(command)

    world.swap = swap  # type: ignore[method-assign]
    return swaps


@each_step
def test_a_step_succeeds_after_all_changes_and_failures_but_one(
    world: World, engine: Engine, begin: Begin
) -> None:
    call = begin(world, engine)
    swaps = changing(world, CONFLICTS - 1, lapsed if begin is claiming else renewed)
    for _ in range(CONFLICTS - 1):
        call.step()
    for _ in range(TRIES - 1):
        call.step("refused")
        call.step()  # the wait
    assert isinstance(call.command, Swap)
    call.step()
    assert len(swaps) == CONFLICTS
    if begin is claiming:
        assert call.running
    elif begin is completing:
        assert call.value == "result"
    else:
        assert world.record is None


@pytest.mark.clause("INV-8")
@each_step
def test_a_record_that_keeps_changing_ends_every_step(world: World, engine: Engine, begin: Begin) -> None:
    call = begin(world, engine)
    swaps = changing(world, 10 * CONFLICTS, lapsed if begin is claiming else renewed)
    call.run()
    assert call.ended == "raised"
    assert (
        CONFLICTS <= len(swaps) <= (CONFLICTS if begin is not completing else 2 * CONFLICTS)
    )  # with the mark


@pytest.mark.clause("ENG-7")
def test_a_record_that_keeps_changing_under_a_completion_costs_no_result(
    world: World, engine: Engine
) -> None:
    call = completing(world, engine)
    changing(world, 10 * CONFLICTS, renewed)
    call.run()
    assert type(call.value) is IdempotencyPersistenceLayerError
    assert call.value.result == "result"
    assert call.value.__cause__ is None
    assert "kept changing" in str(call.value)


def test_a_record_that_keeps_changing_under_a_release_is_reported(world: World, engine: Engine) -> None:
    call = releasing(world, engine)
    changing(world, 10 * CONFLICTS, renewed)
    call.run()
    assert type(call.value) is IdempotencyPersistenceLayerError
    assert f"changed during each of {CONFLICTS} tries to release it" in str(call.value)


def test_a_claim_says_how_often_it_tried(world: World, engine: Engine) -> None:
    call = claiming(world, engine)
    swaps = changing(world, 10 * CONFLICTS, lapsed)
    call.run()
    assert f"in {len(swaps)} tries" in str(call.value)


def test_a_result_that_the_last_try_of_a_claim_finds_is_the_answer(world: World, engine: Engine) -> None:
    call = claiming(world, engine)

    def found(world: World, number: int) -> Record:
        record = lapsed(world, number)
        return record if number < CONFLICTS else record._replace(status=COMPLETED, response_data='"found"')

    swaps = changing(world, CONFLICTS, found)
    assert call.run().value == "found"
    assert len(swaps) == CONFLICTS


@pytest.mark.clause("INV-3")
def test_a_clock_that_goes_back_lets_no_claim_through(world: World, engine: Engine) -> None:
    world.record = claim = claim_of(world, "another", world.now + LEASE_MS)
    moments = chain([world.now, world.now + LEASE_MS], repeat(world.now))
    engine._clock = lambda: next(moments)
    call = world.call(engine).run()
    assert isinstance(call.value, IdempotencyAlreadyInProgressError)
    assert world.record is claim


@pytest.mark.parametrize("begin", [claiming, releasing])
def test_the_second_wait_is_twice_the_first(world: World, engine: Engine, begin: Begin) -> None:
    call = begin(world, engine)
    waits: list[int] = []
    while call.ended is None:
        if isinstance(call.command, Sleep):
            waits.append(call.command.milliseconds)
        call.step("refused")
    steps = 2 if begin is claiming else 1  # a claim that fails is taken back
    assert waits == [PAUSE_MS, 2 * PAUSE_MS] * steps


@each_step
def test_an_error_repeats_what_the_store_said(world: World, engine: Engine, begin: Begin) -> None:
    call = begin(world, engine)
    while call.ended is None:
        call.step("refused")
    assert type(call.value) is IdempotencyPersistenceLayerError
    assert isinstance(call.value.__cause__, StoreDown)
    assert str(call.value).endswith("(request refused)")
    assert world.KEY in str(call.value)


@pytest.mark.parametrize(
    "kind", [IdempotencyPersistenceConnectionError, IdempotencyPersistenceConsistencyError]
)
def test_a_layer_s_error_that_may_pass_is_retried_and_if_it_stays_raised_as_it_is(
    world: World, engine: Engine, kind: type[Exception]
) -> None:
    patient, hopeless = claiming(world, engine), claiming(world, engine)
    for _ in range(TRIES - 1):
        patient.interrupt(kind("try again"))
        patient.step()
    assert patient.run("done").value == "done"
    world.record = None
    errors = [kind("try again") for _ in range(TRIES)]
    for error in errors:
        if isinstance(hopeless.command, Sleep):
            hopeless.step()
        hopeless.interrupt(error)
    assert hopeless.run().value is errors[-1]
    assert hopeless.body is None


def test_what_the_layer_says_for_good_is_not_asked_again(world: World, engine: Engine) -> None:
    call = releasing(world, engine)
    error = IdempotencyPersistenceConfigError("not a table")
    call.interrupt(error)
    assert type(call.value) is IdempotencyPersistenceLayerError
    assert call.value.__cause__ is error


def test_a_release_expects_the_claim_and_puts_nothing_in_its_place(world: World, engine: Engine) -> None:
    call = releasing(world, engine)
    assert call.command == Swap(world.KEY, world.record, None, 0)
