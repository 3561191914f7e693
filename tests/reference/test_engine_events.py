"""The log of the engine: one event for each decision in a call, with its key."""

import logging
from collections.abc import Callable

import pytest

from idemproof import IdempotencyConfig
from idemproof.conformance.simulator import World
from idemproof.reference.engine import Engine

Logged = Callable[[], list[tuple[str, str]]]


@pytest.fixture
def logged(world: World, caplog: pytest.LogCaptureFixture) -> Logged:
    """Return a function that returns the new log records, each as event and level."""
    caplog.set_level(logging.DEBUG, logger="idemproof")

    def new_events() -> list[tuple[str, str]]:
        records = list(caplog.records)
        caplog.clear()
        for record in records:
            assert record.__dict__["idempotency_key"] == world.KEY
            assert world.KEY in record.getMessage()
        return [(record.__dict__["idempotency_event"], record.levelname) for record in records]

    return new_events


def test_a_run_and_its_replay(world: World, engine: Engine, logged: Logged) -> None:
    world.call(engine).run()
    assert logged() == [("claimed", "DEBUG"), ("completed", "DEBUG")]
    world.call(engine).run()
    assert logged() == [("replayed", "DEBUG")]


def test_a_failure(world: World, engine: Engine, logged: Logged) -> None:
    call = world.call(engine).until_running()
    logged()
    call.fail(ValueError("declined"))
    call.run()
    assert logged() == [("released", "DEBUG")]


def test_refusals(world: World, engine: Engine, logged: Logged) -> None:
    world.call(engine, "a").until_running()
    logged()
    world.call(engine, "a").run()
    assert logged() == [("in progress", "DEBUG")]
    world.call(engine, "b").run()
    assert logged() == [("payload mismatch", "DEBUG")]


def test_a_takeover_and_a_late_worker(world: World, engine: Engine, logged: Logged) -> None:
    slow = world.call(engine).until_running()
    logged()
    world.now += 10_000
    world.call(engine).run("winner's")
    assert logged() == [("took over", "INFO"), ("completed", "DEBUG")]
    slow.finish("loser's")
    slow.run()
    assert logged() == [("superseded", "WARNING"), ("replayed", "DEBUG")]


def test_a_missing_lease_is_warned_of_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine(IdempotencyConfig(clock=world.clock), mint=world.mint)
    for _ in range(2):
        world.record = None
        world.call(engine).run()
    (warning,) = caplog.records
    assert warning.levelname == "WARNING"
    assert "lease" in warning.getMessage()
    assert world.KEY in warning.getMessage()
