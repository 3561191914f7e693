"""The occurrences that calls report: one for each decision, with its row."""

from typing import Any

import pytest

from idemproof import IdempotencyConfig
from idemproof.conformance.calls import SimulatedCall
from idemproof.conformance.renewals import StoreDown
from idemproof.conformance.simulator import World
from idemproof.errors import IdempotencyPersistenceLayerError
from idemproof.reference.engine import Engine
from idemproof.spec.events import Claimed, Completed, Released
from idemproof.spec.occurrences import Kind, Occurrence

pytestmark = pytest.mark.clause("OBS-1")


def reported(call: SimulatedCall) -> list[tuple[str, str | None, bool]]:
    """Return what a call reported: kind, row, and whether the body had run."""
    return [(each.kind.value, each.row, each.ran) for each in call.occurrences]


def test_a_run_and_its_replay(world: World, engine: Engine) -> None:
    call = world.call(engine).until_running()
    assert reported(call) == [("claimed", "ROW-1", False)]
    world.now += 300
    call.finish("done")
    call.run()
    assert reported(call)[1:] == [("completed", "ROW-7", True)]
    claimed, completed = call.occurrences
    assert [each.duration_ms for each in call.occurrences] == [0, 300]
    assert isinstance(claimed.outcome, Claimed)
    assert isinstance(completed.outcome, Completed)
    assert (completed.key, completed.owner, completed.record) == (world.KEY, "owner-1", world.record)
    assert completed.error is None
    again = world.call(engine).run()
    assert reported(again) == [("replayed", "ROW-5", False)]
    assert again.occurrences[0].record == world.record
    assert again.occurrences[0].owner == "owner-2"


def test_the_history_of_a_world_has_what_its_calls_report(world: World, engine: Engine) -> None:
    call = world.call(engine).run()
    assert [each for each in world.history if isinstance(each, Occurrence)] == call.occurrences


def test_a_failure(world: World, engine: Engine) -> None:
    call = world.call(engine).until_running()
    error = ValueError("declined")
    call.fail(error)
    call.run()
    assert reported(call)[1:] == [("released", "ROW-10", True)]
    assert call.occurrences[-1].error is error
    assert isinstance(call.occurrences[-1].outcome, Released)
    assert call.occurrences[-1].record is None


def test_refusals(world: World, engine: Engine) -> None:
    world.call(engine, "a").until_running()
    assert reported(world.call(engine, "a").run()) == [("in progress", "ROW-4", False)]
    assert reported(world.call(engine, "b").run()) == [("payload mismatch", "ROW-3", False)]


def test_a_takeover_and_who_comes_too_late(world: World, engine: Engine) -> None:
    slow = world.call(engine).until_running()
    world.now += 10_000
    winner = world.call(engine).run("winner's")
    assert reported(winner) == [("took over", "ROW-1", False), ("completed", "ROW-7", True)]
    slow.finish("loser's")
    slow.run()
    assert reported(slow)[1:] == [("superseded", "ROW-8", True)]
    assert slow.occurrences[-1].record == world.record


def test_a_lost_lease_and_a_claim_that_is_no_longer_there(world: World, engine: Engine) -> None:
    slow, failing = world.call(engine, "a").until_running(), None
    world.now += 10_000
    failing = world.call(engine, "b").until_running()
    slow.finish("mine")
    slow.run()
    assert reported(slow)[1:] == [("lease lost", "ROW-9", True)]
    world.now += 10_000
    world.call(engine, "c").until_running()
    failing.fail(ValueError("late"))
    failing.run()
    assert reported(failing)[1:] == [("not held", "ROW-11", True)]
    assert failing.occurrences[-1].record == world.record


def test_a_claim_that_fails_and_what_is_taken_back(world: World, engine: Engine) -> None:
    call = world.call(engine)
    while call.ended is None:
        call.step("refused")
    assert [each[:2] for each in reported(call)] == [("claim failed", None), ("release failed", None)]
    assert isinstance(call.occurrences[0].error, IdempotencyPersistenceLayerError)
    assert isinstance(call.occurrences[1].error, StoreDown)
    assert not any(each.ran for each in call.occurrences)


def test_an_interrupted_claim_is_released_and_never_ran(world: World, engine: Engine) -> None:
    call = world.call(engine)
    call.step("interrupted after")
    call.run()
    assert reported(call) == [("claim failed", None, False), ("released", "ROW-10", False)]
    assert all(isinstance(each.error, KeyboardInterrupt) for each in call.occurrences)


def test_an_outcome_that_nobody_knows(world: World, engine: Engine) -> None:
    call = world.call(engine).until_running()
    call.finish("done")
    while call.ended is None:
        call.step("refused")
    assert reported(call)[1:] == [("outcome unknown", None, True)]
    assert isinstance(call.occurrences[-1].error, StoreDown)
    assert call.occurrences[-1].record is None


def test_a_result_that_cannot_be_stored_and_what_its_repeats_meet(world: World, engine: Engine) -> None:
    call = world.call(engine).until_running()
    call.finish({1, 2})
    call.run()
    assert reported(call)[1:] == [("result not stored", "ROW-7", True)]
    assert isinstance(call.occurrences[-1].error, TypeError)
    assert reported(world.call(engine).run()) == [("result unavailable", "ROW-5", False)]


def test_a_record_that_cannot_be_read_back(world: World, engine: Engine) -> None:
    world.call(engine).run()
    assert world.record is not None
    world.record = world.record._replace(response_data="no JSON")
    call = world.call(engine).run()
    assert reported(call) == [("replay failed", "ROW-5", False)]
    assert call.occurrences[0].error is call.value


def test_a_lost_reply_is_reported_once_and_by_the_row_that_recognizes_it(
    world: World, engine: Engine
) -> None:
    call = world.call(engine)
    call.step("reply lost")
    world.now += 1
    call.until_running()
    assert reported(call) == [("claimed", "ROW-2", False)]
    call.finish("done")
    call.step("reply lost")
    call.run()
    assert reported(call)[1:] == [("completed", "ROW-7", True)]  # the same record was sent again


def test_an_answer_from_the_local_cache_names_no_attempt(world: World) -> None:
    engine = Engine(
        IdempotencyConfig(clock=world.clock, use_local_cache=True, in_progress_expires_after_seconds=5),
        next_owner=world.next_owner,
    )
    world.call(engine).run()
    again = world.call(engine).run()
    assert reported(again) == [("replayed", "ROW-5", False)]
    assert again.occurrences[0].owner is None


def test_a_missing_lease_is_reported_once(world: World) -> None:
    engine = Engine(IdempotencyConfig(clock=world.clock), next_owner=world.next_owner)
    kinds: list[Any] = []
    for _ in range(2):
        world.record = None
        kinds += [each.kind for each in world.call(engine).run().occurrences]
    assert kinds == [Kind.NO_LEASE, Kind.CLAIMED, Kind.COMPLETED, Kind.CLAIMED, Kind.COMPLETED]


def test_a_clock_that_steps_back_gives_no_negative_duration(world: World, engine: Engine) -> None:
    call = world.call(engine).until_running()
    world.now -= 500
    call.finish("done")
    call.run()
    assert [each.duration_ms for each in call.occurrences] == [0, 0]


def test_a_clock_that_fails_leaves_the_duration_out(world: World, engine: Engine) -> None:
    call = world.call(engine).until_running()

    def broken() -> int:
        raise OSError("no clock")

    assert call.occurrences[0].duration_ms == 0
    call.body.report._clock = broken  # type: ignore[union-attr]  # an attempt
    call.finish("done")
    call.run()
    assert reported(call)[-1] == ("completed", "ROW-7", True)
    assert call.occurrences[-1].duration_ms is None
