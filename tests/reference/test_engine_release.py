"""The release of a claim whose body raised an error."""

from typing import Any

import pytest

from idemproof import errors
from idemproof.conformance.calls import SimulatedCall
from idemproof.conformance.renewals import Fate, StoreDown
from idemproof.conformance.simulator import World
from idemproof.errors import IdempotencyPersistenceLayerError
from idemproof.reference.changes import TRIES
from idemproof.reference.engine import Engine
from idemproof.spec.commands import Sleep

IDEMPOTENCY_ERRORS = [
    getattr(errors, name) for name in errors.__all__ if issubclass(getattr(errors, name), Exception)
]


def failed(world: World, engine: Engine, error: BaseException) -> SimulatedCall:
    call = world.call(engine).until_running()
    call.fail(error)
    return call


@pytest.mark.clause("ROW-10", "ENG-11")
@pytest.mark.parametrize(
    "error",
    [
        ValueError("declined"),
        KeyboardInterrupt(),
        SystemExit(1),
        StopIteration(),
        *(kind("the body's own") for kind in IDEMPOTENCY_ERRORS),
    ],
    ids=repr,
)
def test_whatever_the_body_raises_is_raised_and_the_next_attempt_begins_at_once(
    world: World, engine: Engine, error: BaseException
) -> None:
    assert failed(world, engine, error).run().value is error
    assert world.record is None
    assert world.call(engine).run("next").value == "next"


@pytest.mark.parametrize("fate", ["reply lost", "refused"])
def test_a_release_whose_request_fails_is_retried(world: World, engine: Engine, fate: Fate) -> None:
    error = ValueError("declined")
    call = failed(world, engine, error)
    call.step(fate)
    assert call.run().value is error
    assert world.record is None


def test_a_release_that_fails_names_the_store_and_keeps_the_business_exception_in_its_chain(
    world: World, engine: Engine
) -> None:
    error = ValueError("declined")
    call = failed(world, engine, error)
    for _ in range(TRIES):
        call.step("refused")
        if call.ended is None:
            call.step()
    assert type(call.value) is IdempotencyPersistenceLayerError
    assert world.KEY in str(call.value)
    assert "raised ValueError" in str(call.value)
    chain: list[Any] = [call.value]
    while chain[-1] is not None:
        chain.append(chain[-1].__cause__ or chain[-1].__context__)
    assert isinstance(chain[1], StoreDown)
    assert error in chain


def test_a_release_that_fails_never_hides_an_interrupt(world: World, engine: Engine) -> None:
    error = KeyboardInterrupt()
    call = failed(world, engine, error)
    while call.ended is None:
        call.step("refused")
    assert call.value is error
    assert any("may stand until its lease ends" in note for note in error.__notes__)


@pytest.mark.clause("ROW-11", "INV-3")
def test_a_release_does_not_touch_the_claim_of_the_worker_that_took_over(
    world: World, engine: Engine
) -> None:
    slow = world.call(engine).until_running()
    world.now += 10_000
    taker = world.call(engine).until_running()
    claim = world.record
    slow.fail(ValueError("too late"))
    slow.run()
    assert world.record == claim
    taker.finish("kept")
    assert taker.run().value == "kept"


@pytest.mark.clause("ENG-12")
@pytest.mark.parametrize("applied", [True, False])
def test_an_interrupt_during_the_release_is_raised_after_it(
    world: World, engine: Engine, applied: bool
) -> None:
    error = ValueError("declined")
    call = failed(world, engine, error)
    if applied:
        world.swap(call.command)
    call.interrupt(KeyboardInterrupt())
    call.run()
    assert isinstance(call.value, KeyboardInterrupt)
    assert call.value.__context__ is error
    assert world.record is None


@pytest.mark.clause("ENG-4")
def test_a_claim_that_stands_with_earlier_deadlines_is_released_too(world: World, engine: Engine) -> None:
    call = world.call(engine)
    for _ in range(TRIES):
        call.step("reply lost")  # the first is applied; those after it have later deadlines
        world.now += 5
        if isinstance(call.command, Sleep):
            call.step()
    assert world.record is not None
    while call.ended is None:
        call.step()
    assert call.ended == "raised"
    assert world.record is None
