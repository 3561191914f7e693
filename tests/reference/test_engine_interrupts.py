"""Interrupts of a call: they take effect after the request in progress, and hide no error."""

from typing import Any

import pytest

from idemproof.conformance.calls import SimulatedCall
from idemproof.conformance.simulator import World
from idemproof.errors import IdempotencyPersistenceLayerError
from idemproof.reference.changes import TRIES
from idemproof.reference.engine import INTERRUPTS, Engine
from idemproof.spec.commands import Sleep
from idemproof.spec.record import INPROGRESS


def returned(world: World, engine: Engine) -> SimulatedCall:
    call = world.call(engine).until_running()
    call.finish("result")
    return call


def failed(world: World, engine: Engine, error: BaseException) -> SimulatedCall:
    call = world.call(engine).until_running()
    call.fail(error)
    return call


def behind(error: Any) -> list[BaseException]:
    """Return the cause of ``error``, and all further causes."""
    reasons: list[BaseException] = []
    while (error := error.__cause__ or error.__context__) is not None:
        reasons.append(error)
    return reasons


@pytest.mark.clause("ENG-12")
def test_it_is_raised_as_soon_as_the_result_is_stored(world: World, engine: Engine) -> None:
    call, interrupt = returned(world, engine), KeyboardInterrupt()
    call.interrupt(interrupt)
    call.step()  # the wait
    call.step()
    assert call.value is interrupt
    assert world.call(engine).run("again").value == "result"


@pytest.mark.clause("ENG-7", "ENG-12")
def test_it_is_raised_as_soon_as_the_completion_is_given_up(world: World, engine: Engine) -> None:
    call, interrupt = returned(world, engine), KeyboardInterrupt()
    call.interrupt(interrupt)
    while call.ended is None:
        call.step("refused")
    assert call.value is interrupt
    (unknown, *_) = behind(interrupt)
    assert type(unknown) is IdempotencyPersistenceLayerError
    assert unknown.result == "result"


@pytest.mark.clause("ENG-12")
def test_it_is_raised_as_soon_as_the_claim_is_released(world: World, engine: Engine) -> None:
    error, interrupt = ValueError("declined"), KeyboardInterrupt()
    call = failed(world, engine, error)
    call.interrupt(interrupt)
    call.step()
    call.step()
    assert call.value is interrupt
    assert behind(interrupt) == [error]
    assert interrupt.__cause__ is error
    assert world.record is None


@pytest.mark.clause("INV-8", "ENG-12")
def test_a_release_that_is_interrupted_again_and_again_is_given_up_and_the_first_is_raised(
    world: World, engine: Engine
) -> None:
    error = ValueError("declined")
    call = failed(world, engine, error)
    interrupts: list[BaseException] = []
    while call.ended is None:
        if isinstance(call.command, Sleep):
            call.step()
        interrupts.append(KeyboardInterrupt(len(interrupts)))
        call.interrupt(interrupts[-1])
    assert call.value is interrupts[0]
    assert behind(call.value) == [error]
    assert len(interrupts) == len(INTERRUPTS) * TRIES
    assert world.record is not None
    assert world.record.status == INPROGRESS


@pytest.mark.clause("ENG-4")
def test_one_that_strikes_just_after_the_body_raised_shows_what_it_raised(
    world: World, engine: Engine
) -> None:
    call = world.call(engine).until_running()
    assert call.body is not None
    error, interrupt = ValueError("declined"), KeyboardInterrupt()
    call.body.failure = error
    call.interrupt(interrupt)
    call.step()
    assert call.value is interrupt
    assert behind(interrupt) == [error]
    assert world.record is None


@pytest.mark.parametrize("ran", [False, True])
def test_a_claim_that_it_may_leave_is_noted_with_key_and_reason(
    world: World, engine: Engine, ran: bool
) -> None:
    interrupt = KeyboardInterrupt()
    call = world.call(engine).until_running()
    if ran:
        call.fail(interrupt)
    else:
        call.interrupt(interrupt)
    while call.ended is None:
        call.step("refused")
    assert call.value is interrupt
    (note,) = interrupt.__notes__
    assert world.KEY in note
    assert "request refused" in note
