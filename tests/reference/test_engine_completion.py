"""Results that are stored, retried, superseded, lost, or impossible to store."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from idemproof.conformance.calls import SimulatedCall
from idemproof.conformance.renewals import Fate, StoreDown
from idemproof.conformance.simulator import World
from idemproof.errors import (
    IdempotencyInvalidStatusError,
    IdempotencyLeaseLostError,
    IdempotencyPersistenceLayerError,
    IdempotencyRecordTooLargeError,
    IdempotencyResultUnavailableError,
    IdempotencySerializationError,
)
from idemproof.reference.changes import TRIES
from idemproof.reference.engine import Engine
from idemproof.serialization import CustomDictSerializer
from idemproof.spec.commands import Sleep, Swap
from idemproof.spec.occurrences import Kind
from idemproof.spec.record import COMPLETED, INPROGRESS, RESULT_UNAVAILABLE, Record, ceil_seconds, deadline_ms

EngineFactory = Callable[..., Engine]
WINDOW_MS = 60_000


def returned(world: World, engine: Engine, result: Any = "result") -> SimulatedCall:
    """A call whose body has just returned."""
    call = world.call(engine).until_running()
    call.finish(result)
    return call


def lapse(world: World) -> None:
    assert world.record is not None
    world.now = deadline_ms(world.record)


@pytest.mark.clause("ENG-6")
@pytest.mark.parametrize("fate", ["reply lost", "refused"])
@pytest.mark.parametrize("times", range(1, TRIES))
def test_a_completion_whose_request_fails_is_retried(
    world: World, engine: Engine, fate: Fate, times: int
) -> None:
    call = returned(world, engine)
    for _ in range(times):
        call.step(fate)
        assert isinstance(call.command, Sleep)
        call.step()
    assert call.run().value == "result"
    assert world.call(engine).run("again").value == "result"


@pytest.mark.clause("ENG-6")
def test_a_completion_is_retried_with_the_same_expiry(world: World, engine: Engine) -> None:
    call = returned(world, engine)
    first = call.command
    world.now += 5000
    call.step("refused")
    call.step()
    assert isinstance(first, Swap)
    assert isinstance(call.command, Swap)
    assert call.command.new == first.new


@pytest.mark.clause("ENG-5", "ENG-6", "ENG-7")
@pytest.mark.parametrize("result", [{"charge": 7}, None])
def test_after_too_many_failures_the_result_is_carried_by_the_error(
    world: World, engine: Engine, result: Any
) -> None:
    call = returned(world, engine, result)
    while call.ended is None:
        call.step("refused")
    assert type(call.value) is IdempotencyPersistenceLayerError
    assert call.value.function_returned
    assert call.value.result == result
    assert world.KEY in str(call.value)
    assert isinstance(call.value.__cause__, StoreDown)
    assert world.record is not None  # never released: the effect has happened
    assert world.record.status == INPROGRESS


@pytest.mark.clause("ENG-6", "ENG-7")
@pytest.mark.parametrize(("off", "retried"), [(-1, True), (0, False), (1000, False)])
def test_a_completion_is_not_retried_beyond_its_own_expiry(
    world: World, engine: Engine, off: int, retried: bool
) -> None:
    call = returned(world, engine)
    world.now += WINDOW_MS + off
    call.step("refused")
    call.step()
    assert isinstance(call.command, Swap) is retried
    if not retried:
        assert type(call.value) is IdempotencyPersistenceLayerError
        assert call.value.result == "result"


@pytest.mark.clause("CAS-6")
def test_the_store_is_reported_to_keep_a_result_until_its_expiry(world: World, engine: Engine) -> None:
    call = returned(world, engine)
    assert isinstance(call.command, Swap)
    assert call.command.ttl_ms == WINDOW_MS
    world.now += 1234
    call.step("refused")
    call.step()
    assert isinstance(call.command, Swap)
    assert call.command.ttl_ms == WINDOW_MS - 1234


def test_a_result_that_is_stored_as_it_expires_is_stored(world: World, engine: Engine) -> None:
    call = returned(world, engine)
    world.now += WINDOW_MS
    call.step()
    assert call.value == "result"


def test_a_run_that_lost_its_lease_and_its_record_still_completes(world: World, engine: Engine) -> None:
    call = returned(world, engine)
    lapse(world)
    world.record = None
    assert call.run().value == "result"


@pytest.mark.clause("ENG-9")
def test_a_run_that_lost_its_lease_to_a_running_one_says_so_and_carries_its_result(
    world: World, engine: Engine
) -> None:
    slow = world.call(engine).until_running()
    lapse(world)
    taker = world.call(engine).until_running()
    slow.finish({"charge": 1})
    assert isinstance(slow.run().value, IdempotencyLeaseLostError)
    assert slow.value.result == {"charge": 1}
    assert world.KEY in str(slow.value)
    taker.finish({"charge": 2})
    assert taker.run().value == {"charge": 2}


@pytest.mark.clause("ENG-8")
def test_a_superseded_run_answers_with_the_winners_response_by_the_whole_replay_path(
    world: World, make_engine: EngineFactory
) -> None:
    hooked: list[Any] = []

    def hook(response: Any, idempotent_data: Any) -> Any:
        hooked.append((response, idempotent_data.idempotency_key))
        return ("hooked", response)

    serializer = CustomDictSerializer(to_dict=lambda n: {"n": n}, from_dict=lambda stored: stored["n"])
    engine = make_engine(serializer, response_hook=hook)
    slow = world.call(engine).until_running()
    lapse(world)
    world.call(engine).run(2)
    slow.finish(1)
    assert slow.run().value == ("hooked", 2)
    assert hooked == [(2, world.KEY)]
    assert slow.occurrences[-1].kind is Kind.SUPERSEDED


@pytest.mark.clause("ENG-8")
def test_a_run_whose_claim_the_store_lost_is_superseded_too(world: World, engine: Engine) -> None:
    slow = world.call(engine).until_running()
    world.record = None  # the lease is still live
    world.call(engine).run("kept")
    slow.finish("too late")
    assert slow.run().value == "kept"
    assert slow.occurrences[-1].kind is Kind.SUPERSEDED


def test_a_late_failure_does_not_touch_the_result_that_is_stored(world: World, engine: Engine) -> None:
    slow = world.call(engine).until_running()
    lapse(world)
    world.call(engine).run("kept")
    slow.fail(ValueError("too late"))
    slow.run()
    assert str(slow.value) == "too late"
    assert world.call(engine).run("again").value == "kept"


def test_a_winner_with_another_payload_does_not_answer_for_it(world: World, engine: Engine) -> None:
    slow = world.call(engine, "a").until_running()
    lapse(world)
    world.call(engine, "b").run("other payload's")
    slow.finish("mine")
    assert isinstance(slow.run().value, IdempotencyLeaseLostError)


@pytest.mark.clause("CAS-3")
def test_our_owner_beside_another_result_is_not_our_own_write(world: World, engine: Engine) -> None:
    """Other software updates without a condition, and leaves our owner next to its own result."""
    call = returned(world, engine, "mine")
    assert world.record is not None
    world.record = world.record._replace(status=COMPLETED, response_data='"theirs"')
    assert call.run().value == "theirs"


@pytest.mark.parametrize("result", [None, False, 0, 0.0, "", [], {}, "x", [1, None], {"a": [False]}])
def test_falsy_results_replay_as_they_were(world: World, engine: Engine, result: Any) -> None:
    first, second = world.call(engine).run(result).value, world.call(engine).run("again").value
    assert (first, type(first)) == (result, type(result))
    assert (second, type(second)) == (result, type(result))


@pytest.mark.clause("REC-4")
def test_what_other_software_completed_without_a_response_replays_as_none(
    world: World, engine: Engine
) -> None:
    world.record = Record(world.KEY, COMPLETED, ceil_seconds(world.now) + 60, None, "")
    assert world.call(engine).run("again").value is None


@pytest.mark.clause("REC-6", "ENG-10")
@pytest.mark.parametrize(
    "result",
    [object(), {1, 2}, b"bytes", {(1, 2): 3}, {1: "a", "b": 2}, [[object()]], 10**5000],
    ids=["object", "set", "bytes", "tuple key", "mixed keys", "nested", "a number too long to print"],
)
def test_a_result_that_cannot_be_stored_never_runs_its_effect_twice(
    world: World, engine: Engine, result: Any
) -> None:
    call = returned(world, engine, result).run()
    assert isinstance(call.value, IdempotencySerializationError)
    assert call.value.result is result
    assert world.KEY in str(call.value)
    for _ in range(2):
        again = world.call(engine).run("again")
        assert isinstance(again.value, IdempotencyResultUnavailableError)
        assert world.KEY in str(again.value)
        assert again.body is None


@pytest.mark.clause("REC-6")
def test_without_data_is_marked_by_what_is_not_json(world: World, engine: Engine) -> None:
    """Software that does not know the mark must fail instead of returning an empty answer."""
    returned(world, engine, object()).run()
    assert world.record is not None
    assert world.record.response_data == RESULT_UNAVAILABLE
    with pytest.raises(json.JSONDecodeError):
        json.loads(RESULT_UNAVAILABLE)


def test_an_interrupt_while_encoding_does_not_undo_the_effect(
    world: World, make_engine: EngineFactory
) -> None:
    def interrupted(_: Any) -> Any:
        raise KeyboardInterrupt

    engine = make_engine(CustomDictSerializer(to_dict=interrupted, from_dict=lambda stored: stored))
    call = returned(world, engine).run()
    assert isinstance(call.value, KeyboardInterrupt)
    assert isinstance(world.call(engine).run().value, IdempotencyResultUnavailableError)


@pytest.mark.clause("ENG-10")
def test_a_result_too_large_for_the_store_never_runs_its_effect_twice(world: World, engine: Engine) -> None:
    call = returned(world, engine, "x" * 500_000)
    call.interrupt(IdempotencyRecordTooLargeError("400 KB at most"))
    call.run()
    assert type(call.value) is IdempotencyPersistenceLayerError
    assert call.value.result == "x" * 500_000
    assert isinstance(call.value.__cause__, IdempotencyRecordTooLargeError)
    again = world.call(engine).run("again")
    assert isinstance(again.value, IdempotencyResultUnavailableError)
    assert again.body is None


@pytest.mark.clause("ENG-12")
@pytest.mark.parametrize("applied", [True, False])
def test_an_interrupt_during_the_completion_is_raised_after_the_result_is_stored(
    world: World, engine: Engine, applied: bool
) -> None:
    call = returned(world, engine)
    if applied:
        world.swap(call.command)
    call.interrupt(KeyboardInterrupt())
    call.run()
    assert isinstance(call.value, KeyboardInterrupt)
    assert world.call(engine).run("again").value == "result"


@pytest.mark.clause("ENG-5")
def test_an_interrupt_just_after_the_body_returned_releases_nothing(world: World, engine: Engine) -> None:
    call = world.call(engine).until_running()
    assert call.body is not None
    call.body.result, call.body.returned = "result", True
    call.interrupt(KeyboardInterrupt())
    call.run()
    assert isinstance(call.value, KeyboardInterrupt)
    assert world.call(engine).run("again").value == "result"


def test_an_interrupt_that_the_store_answers_with_failures_is_still_raised(
    world: World, engine: Engine
) -> None:
    call = returned(world, engine, "lost?")
    call.interrupt(KeyboardInterrupt())
    while call.ended is None:
        call.step("refused")
    assert isinstance(call.value, KeyboardInterrupt)
    assert isinstance(call.value.__cause__, IdempotencyPersistenceLayerError)
    assert call.value.__cause__.result == "lost?"


def test_the_record_after_a_completion_is_checked(world: World, engine: Engine) -> None:
    call = returned(world, engine)
    assert world.record is not None
    world.record = world.record._replace(status="FINISHED")
    call.run()
    assert type(call.value) is IdempotencyPersistenceLayerError
    assert call.value.result == "result"
    assert isinstance(call.value.__cause__, IdempotencyInvalidStatusError)


@pytest.mark.parametrize("text", ["{", "nonsense", "[1,"])
def test_a_stored_response_that_is_not_json_is_named_and_nothing_runs(
    world: World, engine: Engine, text: str
) -> None:
    world.record = Record(world.KEY, COMPLETED, ceil_seconds(world.now) + 60, None, text)
    call = world.call(engine).run()
    assert isinstance(call.value, IdempotencyInvalidStatusError)
    assert world.KEY in str(call.value)
    assert call.body is None


def test_a_stored_response_that_the_serializer_refuses_is_named(
    world: World, make_engine: EngineFactory
) -> None:
    engine = make_engine(CustomDictSerializer(to_dict=dict, from_dict=lambda stored: stored["missing"]))
    world.record = Record(world.KEY, COMPLETED, ceil_seconds(world.now) + 60, None, "{}")
    call = world.call(engine).run()
    assert isinstance(call.value, IdempotencySerializationError)
    assert isinstance(call.value.__cause__, KeyError)
    assert call.body is None


def test_a_replay_is_decoded_afresh_each_time(world: World, make_engine: EngineFactory) -> None:
    engine = make_engine(use_local_cache=True)
    world.call(engine).run({"items": [1]}).value["items"].append("mutated")
    world.call(engine).run().value["items"].append("mutated")
    assert world.call(engine).run().value == {"items": [1]}


def test_first_answer_and_replay_have_the_same_types(world: World, engine: Engine) -> None:
    first = world.call(engine).run({3: (1, 2)}).value
    assert first == world.call(engine).run().value == {"3": [1, 2]}


def test_a_store_too_small_even_for_the_mark_says_that_nothing_is_known(world: World, engine: Engine) -> None:
    call = returned(world, engine, "x")
    for _ in range(2):
        call.interrupt(IdempotencyRecordTooLargeError("full"))
    assert type(call.value) is IdempotencyPersistenceLayerError
    assert call.value.result == "x"
    assert world.record is not None
    assert world.record.status == INPROGRESS


@pytest.mark.parametrize("result", ["good", None])
def test_an_attempt_superseded_by_an_unavailable_result_keeps_its_own(
    world: World, engine: Engine, result: Any
) -> None:
    slow = world.call(engine).until_running()
    lapse(world)
    world.call(engine).run(object())
    slow.finish(result)
    assert isinstance(slow.run().value, IdempotencyResultUnavailableError)
    assert slow.value.function_returned
    assert slow.value.result == result
    assert not world.call(engine).run("again").value.function_returned


def test_a_clock_that_fails_after_the_body_loses_no_result(world: World, engine: Engine) -> None:
    call = world.call(engine).until_running()

    def broken() -> int:
        raise OSError("no clock")

    engine._clock = broken
    call.finish("result")
    call.run()
    assert type(call.value) is IdempotencyPersistenceLayerError
    assert call.value.result == "result"
