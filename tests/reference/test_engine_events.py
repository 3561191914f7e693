"""What the engine logs: one event for each turn that a call takes, with its key, for handlers to count."""

import logging
from collections.abc import Callable

import pytest

from idemproof import IdempotencyConfig
from idemproof.conformance.simulator import World
from idemproof.reference.engine import Engine

Told = Callable[[], list[tuple[str, str]]]


@pytest.fixture
def told(world: World, caplog: pytest.LogCaptureFixture) -> Told:
    """Return what was logged since the last time: event and level."""
    caplog.set_level(logging.DEBUG, logger="idemproof")

    def since() -> list[tuple[str, str]]:
        records = list(caplog.records)
        caplog.clear()
        for record in records:
            assert record.__dict__["idempotency_key"] == world.KEY
            assert world.KEY in record.getMessage()
        return [(record.__dict__["idempotency_event"], record.levelname) for record in records]

    return since


def test_a_run_and_its_replay(world: World, engine: Engine, told: Told) -> None:
    world.call(engine).run()
    assert told() == [("claimed", "DEBUG"), ("completed", "DEBUG")]
    world.call(engine).run()
    assert told() == [("replayed", "DEBUG")]


def test_a_failure(world: World, engine: Engine, told: Told) -> None:
    call = world.call(engine).until_running()
    told()
    call.fail(ValueError("declined"))
    call.run()
    assert told() == [("released", "DEBUG")]


def test_refusals(world: World, engine: Engine, told: Told) -> None:
    world.call(engine, "a").until_running()
    told()
    world.call(engine, "a").run()
    assert told() == [("in progress", "DEBUG")]
    world.call(engine, "b").run()
    assert told() == [("payload mismatch", "DEBUG")]


def test_a_takeover_and_who_comes_too_late(world: World, engine: Engine, told: Told) -> None:
    slow = world.call(engine).until_running()
    told()
    world.now += 10_000
    world.call(engine).run("winner's")
    assert told() == [("took over", "INFO"), ("completed", "DEBUG")]
    slow.finish("loser's")
    slow.run()
    assert told() == [("superseded", "WARNING"), ("replayed", "DEBUG")]


def test_a_missing_lease_is_warned_of_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine(IdempotencyConfig(clock=world.clock), mint=world.mint)
    for _ in range(2):
        world.record = None
        world.call(engine).run()
    (warning,) = caplog.records
    assert warning.levelname == "WARNING"
    assert "lease" in warning.getMessage()
    assert world.KEY in warning.getMessage()
