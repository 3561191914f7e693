"""The claim of a call: its retries, its lease, its refusals and its release."""

from collections.abc import Callable
from typing import Any

import pytest

from idemproof import IdempotencyConfig
from idemproof.conformance.calls import SimulatedCall
from idemproof.conformance.renewals import Fate
from idemproof.conformance.simulator import World
from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyConfigError,
    IdempotencyInconsistentStateError,
    IdempotencyInvalidStatusError,
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceLayerError,
    IdempotencyValidationError,
)
from idemproof.reference.changes import TRIES, Claiming
from idemproof.reference.engine import Engine
from idemproof.spec.commands import RunBody, Sleep, Swap
from idemproof.spec.record import COMPLETED, INPROGRESS, Record, ceil_seconds

LEASE_MS = 10_000
WINDOW_MS = 60_000


def other(world: World, **fields: Any) -> Record:
    """A record that another attempt left."""
    values: dict[str, Any] = {
        "status": INPROGRESS,
        "expiry_timestamp": ceil_seconds(world.now) + 60,
        "in_progress_expiry_timestamp": world.now + LEASE_MS,
        "owner": "another",
    }
    return Record(world.KEY, **(values | fields))


def test_a_fresh_call_takes_two_requests_and_a_replay_one(world: World, engine: Engine) -> None:
    first, second = world.call(engine), None
    first.run("done")
    second = world.call(engine).run()
    assert (first.value, second.value) == ("done", "done")
    assert [item.operations for item in world.history if hasattr(item, "operations")] == [2, 1]


def test_a_takeover_takes_three_requests(world: World, engine: Engine) -> None:
    world.record = other(world, in_progress_expiry_timestamp=world.now)
    world.call(engine).run()
    assert [item.operations for item in world.history if hasattr(item, "operations")] == [3]


@pytest.mark.clause("REC-3", "CAS-6", "ENG-1")
def test_the_claim_carries_owner_lease_window_and_hash(world: World, engine: Engine) -> None:
    call = world.call(engine, "hash")
    command = call.command
    assert isinstance(command, Swap)
    assert command.expected is None
    assert command.new == Record(
        world.KEY,
        INPROGRESS,
        ceil_seconds(world.now + WINDOW_MS),
        world.now + LEASE_MS,
        payload_hash="hash",
        owner="owner-1",
    )
    assert command.ttl_ms == ceil_seconds(world.now + WINDOW_MS) * 1000 - world.now


@pytest.mark.parametrize("fate", ["reply lost", "refused"])
@pytest.mark.parametrize("times", range(1, TRIES))
def test_a_claim_whose_request_fails_is_retried_and_gets_in(
    world: World, engine: Engine, fate: Fate, times: int
) -> None:
    call = world.call(engine)
    for _ in range(times):
        call.step(fate)
        assert isinstance(call.command, Sleep)
        call.step()
    assert call.run("done").value == "done"
    assert world.record is not None
    assert world.record.status == COMPLETED


def test_a_claim_whose_reply_was_lost_is_recognised_though_its_deadlines_differ(
    world: World, engine: Engine
) -> None:
    call = world.call(engine)
    call.step("reply lost")
    world.now += 5
    call.step()  # the wait; then it claims anew
    call.step()
    assert call.running
    assert world.record is not None
    assert world.record.in_progress_expiry_timestamp == world.now - 5 + LEASE_MS


@pytest.mark.clause("ENG-4")
@pytest.mark.parametrize("fate", ["reply lost", "refused"])
def test_a_store_that_stays_down_ends_the_call_before_the_body(
    world: World, engine: Engine, fate: Fate
) -> None:
    call = world.call(engine)
    for _ in range(TRIES):
        call.step(fate)
        if isinstance(call.command, Sleep):
            call.step()
    call.run()  # the attempt to take the claim back succeeds
    assert call.ended == "raised"
    assert type(call.value) is IdempotencyPersistenceLayerError
    assert world.KEY in str(call.value)
    assert call.body is None
    assert world.record is None


def test_a_claim_that_cannot_be_taken_back_is_noted_on_the_error(world: World, engine: Engine) -> None:
    call = world.call(engine)
    while call.ended is None:
        call.step("reply lost" if isinstance(call.command, Swap) and call.command.new else "refused")
    assert type(call.value) is IdempotencyPersistenceLayerError
    assert any("may stand until its lease ends" in note for note in call.value.__notes__)
    assert world.record is not None


def test_what_the_layer_says_is_wrong_with_its_setup_is_not_retried(world: World, engine: Engine) -> None:
    call = world.call(engine)
    error = IdempotencyPersistenceConfigError("not a table")
    call.interrupt(error)
    call.run()  # the claim is taken back all the same: nobody knows whether it was written
    assert call.value is error
    assert error.__cause__ is None  # the layer's own chain stays as it was
    assert call.body is None


@pytest.mark.clause("ENG-4")
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_before_the_body_takes_the_claim_back(
    world: World, engine: Engine, interrupt: type[BaseException]
) -> None:
    call = world.call(engine)
    world.swap(call.command)  # applied, but the reply is cut short
    call.interrupt(interrupt())
    call.run()
    assert isinstance(call.value, interrupt)
    assert call.body is None
    if interrupt is not GeneratorExit:  # then nobody is left to send anything
        assert world.record is None


@pytest.mark.clause("ENG-4")
def test_an_interrupt_between_the_claim_and_the_body_takes_the_claim_back(
    world: World, engine: Engine
) -> None:
    call = world.call(engine).until_running()
    call.interrupt(KeyboardInterrupt())
    call.run()
    assert isinstance(call.value, KeyboardInterrupt)
    assert world.record is None


def test_an_interrupt_while_a_claim_is_taken_back_is_raised_after_it(world: World, engine: Engine) -> None:
    call = world.call(engine)
    world.swap(call.command)
    call.interrupt(IdempotencyPersistenceConfigError("refused"))
    call.interrupt(KeyboardInterrupt())
    call.run()
    assert isinstance(call.value, KeyboardInterrupt)
    assert isinstance(call.value.__cause__, IdempotencyPersistenceConfigError)
    assert world.record is None


@pytest.mark.clause("ENG-2", "ENG-3")
@pytest.mark.parametrize(("late_by", "runs"), [(-1, True), (0, False), (1, False)])
def test_a_reply_that_comes_after_the_lease_it_grants_starts_no_body(
    world: World, engine: Engine, late_by: int, runs: bool
) -> None:
    call = world.call(engine)
    world.swap(call.command)
    world.now += LEASE_MS + late_by
    call.step()
    assert call.running is runs
    if not runs:
        assert isinstance(call.command, Swap)
        assert call.command.new is not None
        assert call.command.new.in_progress_expiry_timestamp == world.now + LEASE_MS
        assert call.run("done").value == "done"


@pytest.mark.clause("TIME-2", "TIME-4")
@pytest.mark.parametrize(("off", "taken"), [(-1, False), (0, True), (1, True)])
def test_a_claim_is_taken_over_from_its_lease_on(world: World, engine: Engine, off: int, taken: bool) -> None:
    world.record = other(world)
    world.now += LEASE_MS + off
    call = world.call(engine).run("done")
    if taken:
        assert call.value == "done"
    else:
        assert isinstance(call.value, IdempotencyAlreadyInProgressError)
        assert call.value.retry_after_ms == 1
        assert world.KEY in str(call.value)
        assert call.body is None


@pytest.mark.clause("TIME-4")
def test_a_claim_without_a_lease_stands_until_its_expiry(world: World, engine: Engine) -> None:
    world.record = other(world, in_progress_expiry_timestamp=None)
    deadline = world.record.expiry_timestamp * 1000
    world.now = deadline - 1
    assert isinstance(world.call(engine).run().value, IdempotencyAlreadyInProgressError)
    world.now = deadline
    assert world.call(engine).run("done").value == "done"


@pytest.mark.parametrize("status", [INPROGRESS, COMPLETED])
def test_another_payload_under_the_same_key_is_refused(world: World, engine: Engine, status: str) -> None:
    world.record = other(world, status=status, payload_hash="first", response_data="1")
    call = world.call(engine, "second").run()
    assert isinstance(call.value, IdempotencyValidationError)
    assert world.KEY in str(call.value)
    assert call.body is None


@pytest.mark.parametrize(("ours", "theirs"), [(None, "hash"), ("hash", None)])
def test_a_record_made_without_validation_replays(
    world: World, engine: Engine, ours: str | None, theirs: str | None
) -> None:
    world.record = other(world, status=COMPLETED, payload_hash=theirs, response_data="1")
    assert world.call(engine, ours).run().value == 1


@pytest.mark.clause("REC-1", "REC-2", "REC-3", "REC-7")
@pytest.mark.parametrize(
    "fields",
    [
        {"status": "FINISHED"},
        {"status": "EXPIRED"},
        {"status": ""},
        {"expiry_timestamp": None},
        {"expiry_timestamp": 12.5},
        {"expiry_timestamp": "17"},
        {"expiry_timestamp": True},
        {"in_progress_expiry_timestamp": "soon"},
        {"response_data": 7},
        {"payload_hash": b"hash"},
        {"owner": 3},
        {"idempotency_key": "fn#another"},
    ],
    ids=str,
)
def test_a_corrupt_record_is_named_and_nothing_runs(
    world: World, engine: Engine, fields: dict[str, Any]
) -> None:
    world.record = other(world)._replace(**fields)
    call = world.call(engine).run()
    assert isinstance(call.value, IdempotencyInvalidStatusError)
    assert isinstance(call.value, IdempotencyPersistenceLayerError)
    assert world.KEY in str(call.value)
    assert call.body is None


def test_what_is_no_record_at_all_is_named_too(world: World, engine: Engine) -> None:
    world.record = {"status": "COMPLETED"}  # type: ignore[assignment]  # a layer's mistake
    world.swap = lambda command: world.record  # type: ignore[method-assign]
    call = world.call(engine).run()
    assert isinstance(call.value, IdempotencyInvalidStatusError)
    assert "dict" in str(call.value)


@pytest.mark.clause("INV-8")
def test_a_store_that_refuses_what_the_protocol_allows_ends_in_a_bounded_number_of_tries(
    world: World, engine: Engine
) -> None:
    lapsed = other(world, in_progress_expiry_timestamp=world.now)
    swaps: list[Swap] = []

    def refuse(command: Swap) -> Record:
        swaps.append(command)
        return lapsed

    world.swap = refuse  # type: ignore[method-assign]
    call = world.call(engine).run()
    assert isinstance(call.value, IdempotencyInconsistentStateError)
    assert world.KEY in str(call.value)
    assert call.body is None
    assert len(swaps) <= Claiming.conflicts


class LambdaContext:
    """An AWS Lambda context that knows its remaining milliseconds."""

    def __init__(self, *remaining: Any) -> None:
        self.answers = list(remaining)

    def get_remaining_time_in_millis(self) -> Any:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def lease_of(call: SimulatedCall, world: World) -> int | None:
    assert isinstance(call.command, Swap)
    assert call.command.new is not None
    lease = call.command.new.in_progress_expiry_timestamp
    return None if lease is None else lease - world.now


@pytest.mark.parametrize(
    ("remaining", "configured", "lease"),
    [
        (3000, None, 3000),
        (3000, 10, 3000),
        (1, 10, 1000),  # a floor: a lease longer than the run is safe
        (1, None, 1000),
        (999, 0.5, 500),
        (30_000, 10, 10_000),
        (None, 10, 10_000),
        (None, None, None),
    ],
)
def test_the_lease_is_the_shorter_of_remaining_time_and_configuration(
    world: World, remaining: int | None, configured: float | None, lease: int | None
) -> None:
    config = IdempotencyConfig(
        clock=world.clock,
        in_progress_expires_after_seconds=configured,
        lambda_context=None if remaining is None else LambdaContext(remaining),
    )
    assert lease_of(world.call(Engine(config, next_owner=world.next_owner)), world) == lease


@pytest.mark.clause("ENG-2")
def test_deadlines_are_computed_again_for_each_request(
    world: World, make_engine: Callable[..., Engine]
) -> None:
    engine = make_engine(in_progress_expires_after_seconds=None, lambda_context=LambdaContext(3000, 2500))
    call = world.call(engine)
    assert lease_of(call, world) == 3000
    call.step("refused")
    call.step()
    world.now += 1000
    call.step("refused")
    call.step()
    assert lease_of(call, world) == 2500


@pytest.mark.parametrize("remaining", [0, -5])
def test_without_time_left_nothing_is_asked(
    world: World, make_engine: Callable[..., Engine], remaining: int
) -> None:
    call = world.call(make_engine(lambda_context=LambdaContext(remaining)))
    assert isinstance(call.value, IdempotencyInconsistentStateError)
    assert "no time left" in str(call.value)
    assert world.record is None


def test_an_attempt_that_found_another_s_claim_has_none_to_take_back(
    world: World, make_engine: Callable[..., Engine]
) -> None:
    world.record = lapsed = other(world, in_progress_expiry_timestamp=world.now)
    call = world.call(make_engine(lambda_context=LambdaContext(3000, 0)))
    call.step()  # the claim finds the other, and there is no time left for the next
    assert isinstance(call.value, IdempotencyInconsistentStateError)
    assert not hasattr(call.value, "__notes__")
    assert world.record is lapsed


def test_a_context_that_answers_nonsense_is_named(world: World, make_engine: Callable[..., Engine]) -> None:
    call = world.call(make_engine(lambda_context=LambdaContext("soon")))
    assert isinstance(call.value, IdempotencyConfigError)


def test_the_body_is_asked_for_exactly_once(world: World, engine: Engine) -> None:
    call = world.call(engine).until_running()
    assert isinstance(call.command, RunBody)
    call.finish("done")
    assert not isinstance(call.command, RunBody)
