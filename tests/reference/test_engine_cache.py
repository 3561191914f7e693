"""The local cache: a shortcut that decides nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from idemproof.conformance.simulator import World
from idemproof.errors import IdempotencyAlreadyInProgressError, IdempotencyValidationError
from idemproof.reference.cache import LocalCache
from idemproof.reference.engine import Engine
from idemproof.spec.record import COMPLETED, INPROGRESS, Record

EngineFactory = Callable[..., Engine]


@pytest.fixture
def caching(make_engine: EngineFactory) -> Engine:
    return make_engine(use_local_cache=True)


def requests(world: World) -> list[int]:
    return [item.operations for item in world.history if hasattr(item, "operations")]


def test_a_result_of_this_process_replays_without_a_request(world: World, caching: Engine) -> None:
    world.call(caching).run("done")
    assert world.call(caching).run("again").value == "done"
    assert requests(world) == [2, 0]


def test_a_result_of_another_process_is_cached_with_its_first_replay(
    world: World, engine: Engine, caching: Engine
) -> None:
    world.call(engine).run("done")
    for _ in range(2):
        assert world.call(caching).run("again").value == "done"
    assert requests(world) == [2, 1, 0]


def test_a_superseded_run_caches_the_winners_result(world: World, engine: Engine, caching: Engine) -> None:
    slow = world.call(caching).until_running()
    world.now += 10_000
    world.call(engine).run("winner's")
    slow.finish("loser's")
    slow.run()
    assert world.call(caching).run("again").value == "winner's"


@pytest.mark.clause("TIME-3", "ENG-13")
@pytest.mark.parametrize(("off", "replays"), [(-1, True), (0, False)])
def test_the_cache_honours_expiry_by_the_engines_clock(
    world: World, caching: Engine, off: int, replays: bool
) -> None:
    world.call(caching).run("old")
    assert world.record is not None
    world.now = world.record.expiry_timestamp * 1000 + off
    assert world.call(caching).run("new").value == ("old" if replays else "new")


@pytest.mark.clause("ENG-13")
def test_the_payload_is_checked_on_a_hit(world: World, caching: Engine) -> None:
    world.call(caching, "first").run("done")
    assert world.call(caching, "first").run("again").value == "done"
    assert isinstance(world.call(caching, "second").run().value, IdempotencyValidationError)
    assert requests(world) == [2, 0, 0]


def test_a_run_in_progress_is_never_cached(world: World, caching: Engine) -> None:
    running = world.call(caching).until_running()
    assert isinstance(world.call(caching).run().value, IdempotencyAlreadyInProgressError)
    running.finish("done")
    running.run()
    assert world.call(caching).run().value == "done"


def test_two_functions_never_share_a_cache(world: World, make_engine: EngineFactory) -> None:
    one, other = make_engine(use_local_cache=True), make_engine(use_local_cache=True)
    world.call(one).run("done")
    world.record = None
    assert world.call(other).run("its own").value == "its own"


def record(key: str, **fields: Any) -> Record:
    values: dict[str, Any] = {"status": COMPLETED, "expiry_timestamp": 1}
    return Record(key, **(values | fields))


def test_the_least_recently_used_record_makes_room() -> None:
    cache = LocalCache(2)
    cache.put(record("a"))
    cache.put(record("b"))
    cache.get("a")
    cache.put(record("c"))
    assert [cache.get(key) is not None for key in "abc"] == [True, False, True]
    assert len(cache) == 2


def test_only_completed_records_are_kept() -> None:
    cache = LocalCache(2)
    cache.put(record("a", status=INPROGRESS))
    assert cache.get("a") is None


def test_discarding_a_record_spares_a_newer_one() -> None:
    cache = LocalCache(2)
    old, new = record("a"), record("a", expiry_timestamp=2)
    cache.put(old)
    cache.put(new)
    cache.discard(old)
    assert cache.get("a") is new
    cache.discard(new)
    assert cache.get("a") is None
