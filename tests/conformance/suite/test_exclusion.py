"""Races: each fault is found, with a story that shows it; and no right layer is ever told broken."""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis

import racing_layers as layers
import servers
from idemproof import (
    AsyncInMemoryPersistenceLayer,
    AsyncRedisCachePersistenceLayer,
    AsyncSQLitePersistenceLayer,
    InMemoryPersistenceLayer,
    RedisCachePersistenceLayer,
    SQLitePersistenceLayer,
)
from idemproof.conformance import Capabilities, Report, check
from idemproof.conformance.suite.profiles import PROFILES
from idemproof.spec.record import COMPLETED, INPROGRESS, Record

pytestmark = pytest.mark.once

UNHURRIED = PROFILES["quick"]._replace(race_seconds=60)
"""So that what is found does not depend on how fast the machine is."""

TWO_CLAIMS = "two-claims-of-an-unused-key-have-one-winner"
OVERWRITES = "a-takeover-never-overwrites-a-result-stored-meanwhile"


def judged(factory: Callable[[], Any], profile: Any = UNHURRIED, **claims: Any) -> Report:
    return check(factory, profile=profile, seed=1, capabilities=Capabilities(**claims), tiers=["exclusion"])


def broken(report: Report) -> set[str]:
    return {each.name for each in report.checks if each.verdict == "broken"}


def finding(report: Report, name: str) -> Any:
    return next(each for each in report.findings if each.check == name)


def over_fakeredis(kind: Callable[..., Any], client: Any = fakeredis.FakeRedis) -> Callable[[], Any]:
    server = fakeredis.FakeServer(version=(7,))
    return lambda: kind(client=client(server=server))


def right(name: str, path: Path) -> Callable[[], Any]:
    file = path / "records.db"
    makers: dict[str, Callable[[], Any]] = {
        "memory": InMemoryPersistenceLayer,
        "memory-async": AsyncInMemoryPersistenceLayer,
        "sqlite": lambda: SQLitePersistenceLayer(file, durable=False),
        "sqlite-async": lambda: AsyncSQLitePersistenceLayer(file, durable=False),
        "fakeredis": over_fakeredis(RedisCachePersistenceLayer),
        "fakeredis-async": over_fakeredis(AsyncRedisCachePersistenceLayer, fakeredis.FakeAsyncRedis),
        "locked": layers.LockedDictionary,
        "locked-reentrantly": lambda: layers.LockedDictionary(threading.RLock()),
        "locked-by-condition": lambda: layers.LockedDictionary(threading.Condition()),
        "locked-globally": layers.GloballyLockedDictionary,
        "slotted": layers.Slotted,
        "async-locked": layers.AsyncLocked,
        "watching": over_fakeredis(layers.OverRedisWatching),
        "by-script": over_fakeredis(layers.OverRedisByScript),
        "locking-in-redis": over_fakeredis(layers.OverRedisLocking),
        "sql-by-condition": lambda: layers.OverSQLiteByCondition(file),
        "sql-in-one-transaction": lambda: layers.OverSQLiteInOneTransaction(file),
    }
    return makers[name]


@pytest.mark.parametrize(
    "name",
    [
        "memory",
        "memory-async",
        "sqlite",
        "sqlite-async",
        "fakeredis",
        "fakeredis-async",
        "locked",
        "locked-reentrantly",
        "locked-by-condition",
        "locked-globally",
        "slotted",
        "async-locked",
        "watching",
        "by-script",
        "locking-in-redis",
        "sql-by-condition",
        "sql-in-one-transaction",
    ],
)
def test_right_layers_are_never_told_broken(name: str, tmp_path: Path) -> None:
    report = judged(right(name, tmp_path), "quick")
    assert [each.why for each in report.findings] == []
    assert {each.verdict for each in report.checks} == {"kept"}
    assert all(each.schedules > 2 for each in report.checks)


@pytest.mark.parametrize("kind", [RedisCachePersistenceLayer, AsyncRedisCachePersistenceLayer])
def test_right_layers_over_a_real_server_are_never_told_broken(
    kind: Callable[..., Any], valkey_server: servers.Server
) -> None:
    report = judged(lambda: kind(host=valkey_server.host, port=valkey_server.port, ssl=False), "quick")
    assert [each.why for each in report.findings] == []
    assert {each.verdict for each in report.checks} == {"kept"}
    assert all(each.schedules > 2 for each in report.checks)


def test_looking_before_writing_is_found_over_a_real_server(valkey_server: servers.Server) -> None:
    with redis.Redis(**servers.redis_kwargs(valkey_server)) as client:
        report = judged(lambda: layers.OverRedis(client))
    assert broken(report) == {each.name for each in report.checks}


def test_a_right_layer_by_four_methods_is_never_told_broken() -> None:
    report = judged(layers.FourLocked, fenced=False)
    assert [each.why for each in report.findings] == []
    assert {each.verdict for each in report.checks} == {"kept", "not offered"}


CLAIMS = {
    TWO_CLAIMS,
    "three-claims-of-an-unused-key-have-one-winner",
    "two-takeovers-of-a-lapsed-claim-have-one-winner",
    "two-claims-of-an-expired-result-have-one-winner",
}


@pytest.mark.parametrize(
    ("make", "how"),
    [
        (lambda _: layers.UnlockedDictionary, "the lines of the layer's source"),
        (lambda _: layers.AsyncWithAPause, "the awaits of the layer"),
        (lambda _: over_fakeredis(layers.OverRedis), "the calls of the layer's client"),
        (lambda path: lambda: layers.OverSQLite(path / "a.db"), "the calls of the layer's client"),
        (
            lambda path: lambda: layers.OverSQLite(path / "a.db", each_thread=True),
            "the calls of the layer's client",
        ),
    ],
    ids=["dictionary", "async", "redis", "sqlite", "sqlite-each-thread"],
)
def test_looking_before_writing_is_found_in_every_race(
    make: Callable[[Path], Callable[[], Any]], how: str, tmp_path: Path
) -> None:
    report = judged(make(tmp_path))
    assert broken(report) == {each.name for each in report.checks}
    told = finding(report, TWO_CLAIMS)
    assert "client 1 and client 2 asked for one key at once, and each was told that it has it" in told.why
    assert how in told.why
    assert told.clauses == ("CAS-4", "INV-1")


@pytest.mark.parametrize("seed", [0, 2, 99])
def test_the_verdict_and_the_schedule_do_not_depend_on_the_seed(seed: int) -> None:
    def without_keys(report: Report) -> list[Any]:
        return [
            (each.name, each.verdict, each.schedules, [line.who for f in each.findings for line in f.lines])
            for each in report.checks
        ]

    first = judged(layers.UnlockedDictionary)
    again = check(layers.UnlockedDictionary, profile=UNHURRIED, seed=seed, tiers=["exclusion"])
    assert without_keys(first) == without_keys(again)


def test_the_story_tells_each_step_and_what_stood_after_it() -> None:
    lines = finding(judged(over_fakeredis(layers.OverRedis)), TWO_CLAIMS).lines
    said = [(line.who, line.what.split()[0]) for line in lines]
    assert said == [
        ("the store", "before"),
        ("client 1", "claims"),
        ("client 1", "GET"),
        ("client 2", "claims"),
        ("client 2", "GET"),
        ("client 2", "SET"),
        ("client 2", "is"),
        ("client 1", "SET"),
        ("client 1", "is"),
        ("the store", "in"),
    ]
    owners = [line.standing.owner if isinstance(line.standing, Record) else line.standing for line in lines]
    assert owners == [None, None, None, None, None, "bob", "bob", "alice", "alice", "alice"]


def test_a_result_that_is_stored_without_the_lock_is_lost() -> None:
    report = judged(layers.FourLockedForPuts, fenced=False)
    assert broken(report) == {OVERWRITES}
    told = finding(report, OVERWRITES)
    assert told.clauses == ("CAS-4", "INV-2")
    assert "The result of alice was stored" in told.why
    statuses = [line.standing.status for line in told.lines if isinstance(line.standing, Record)]
    assert COMPLETED in statuses
    assert statuses[-1] == INPROGRESS


def test_four_methods_that_look_before_they_write_are_found() -> None:
    report = judged(layers.FourUnlocked, fenced=False)
    assert broken(report) == {*CLAIMS, OVERWRITES}
    assert finding(report, TWO_CLAIMS).clauses == ("CAS-4", "CAS-7", "INV-1")


def test_a_deadlock_is_found_and_does_no_harm_to_what_follows() -> None:
    report = judged(layers.LockedTheWrongWayRound)
    found = broken(report)
    assert "a-release-never-removes-the-claim-that-took-over" in found
    assert TWO_CLAIMS not in found
    assert "each waited for another" in report.findings[0].why
    assert {each.clauses for each in report.findings} == {("CAS-4",)}
    assert all(each.verdict in ("kept", "broken") for each in report.checks)


@pytest.mark.filterwarnings("ignore:RedisCachePersistenceLayer will be removed")
def test_powertools_redis_layer_overwrites_a_result_between_its_get_and_its_set() -> None:
    from aws_lambda_powertools.utilities.idempotency.persistence.redis import (  # noqa: PLC0415
        RedisCachePersistenceLayer as Original,
    )

    report = judged(over_fakeredis(Original), fenced=False)
    assert broken(report) == {OVERWRITES}
    told = finding(report, OVERWRITES)
    assert told.seen_in is not None
    assert "Powertools" in told.seen_in
    result = next(each for each in report.checks if each.name == OVERWRITES)
    assert result.schedules <= 20
    said = [
        (line.who, line.what.split()[0], line.what.partition(":lock")[1])
        for line in told.lines
        if line.what.split()[0] in ("GET", "SET")
    ]
    assert said == [
        ("client 1", "SET", ""),
        ("client 1", "GET", ""),
        ("client 2", "SET", ""),
        ("client 1", "SET", ":lock"),
        ("client 1", "SET", ""),
    ]


def test_clients_that_are_named_are_paused_at() -> None:
    rows = layers.UnlockedDictionary()

    def make() -> layers.OverUnknown:
        return layers.OverUnknown(rows)

    report = judged(make, client_methods=("store.fetch", "store.store", "store.drop"))
    assert broken(report) == {each.name for each in report.checks}
    told = finding(report, TWO_CLAIMS)
    assert "the calls of the layer's client" in told.why
    assert any(line.what.startswith("fetch('conformance-") for line in told.lines)


def test_one_object_that_threads_may_not_share_is_not_raced() -> None:
    report = judged(layers.UnlockedDictionary, threads=False)
    assert {(each.verdict, each.why_not) for each in report.checks} == {
        ("not offered", "the layer may not be used by other threads than its own")
    }


def test_two_async_objects_are_raced_even_if_tasks_may_not_share_one() -> None:
    rows: dict[str, Any] = {}

    def make() -> layers.AsyncWithAPause:
        made = layers.AsyncWithAPause()
        made.rows = rows
        return made

    report = judged(make, threads=False)
    verdicts = {each.name: each.verdict for each in report.checks}
    assert verdicts[TWO_CLAIMS] == "broken"
    assert verdicts["three-claims-of-an-unused-key-have-one-winner"] == "not offered"


def test_an_error_that_only_sharing_explains_is_told() -> None:
    class Searching(layers.UnlockedDictionary):
        def _swap(self, key: str, expected: Any, new: Any, keep_ms: int) -> Any:
            for other in itertools.islice(self.rows, 3):
                if other == key:
                    break
            return super()._swap(key, expected, new, keep_ms)

    searching = Searching()
    searching._swap("another", None, Record("another", INPROGRESS, 4_000_000_000), 1)
    report = judged(lambda: searching)
    told = [each for each in report.findings if "RuntimeError: dictionary changed size" in each.why]
    assert {each.clauses for each in told} == {("CAS-4",)}


@pytest.mark.parametrize("error", [RuntimeError, KeyError, TypeError])
def test_a_layer_that_refuses_to_wait_makes_no_mistake(error: type[Exception]) -> None:
    class Busy(layers.LockedDictionary):
        def _swap(self, key: str, expected: Any, new: Any, keep_ms: int) -> Any:
            if not self.lock.acquire(blocking=False):
                raise error("the store is busy")
            self.lock.release()
            return super()._swap(key, expected, new, keep_ms)

    assert [each.why for each in judged(Busy).findings] == []


def test_a_lock_that_a_thread_of_the_layer_holds_for_a_while_is_no_deadlock() -> None:
    class Cleaned(layers.LockedDictionary):
        def __init__(self) -> None:
            super().__init__()
            self.asked, self.held, self.ended = (threading.Event() for _ in range(3))
            threading.Thread(target=self.clean, daemon=True).start()

        def clean(self) -> None:
            while self.asked.wait() and not self.ended.is_set():
                self.asked.clear()
                with self.lock:
                    self.held.set()
                    time.sleep(0.01)

        def _swap(self, key: str, expected: Any, new: Any, keep_ms: int) -> Any:
            self.held.clear()
            self.asked.set()
            self.held.wait(0.05)
            return super()._swap(key, expected, new, keep_ms)

        def close(self) -> None:
            self.ended.set()
            self.asked.set()

    assert judged(Cleaned, UNHURRIED._replace(schedules=4)).findings == ()


def test_a_lock_that_a_task_of_the_layer_holds_for_a_while_is_no_deadlock() -> None:
    class Cleaned(layers.AsyncLocked):
        cleaning: Any = None

        async def clean(self, begun: asyncio.Event) -> None:
            async with self.lock:
                begun.set()
                await asyncio.sleep(0.01)

        async def _swap(self, key: str, expected: Any, new: Any, keep_ms: int) -> Any:
            begun = asyncio.Event()
            cleaning = asyncio.get_running_loop().create_task(self.clean(begun), context=Context())
            await begun.wait()
            found = await super()._swap(key, expected, new, keep_ms)
            await cleaning
            return found

    assert judged(Cleaned, UNHURRIED._replace(schedules=4)).findings == ()


def test_an_error_that_a_layer_by_four_methods_raises_anyway_is_not_blamed_on_sharing() -> None:
    class Strict(layers.FourLocked):
        def _update_record(self, data_record: Any) -> None:
            with self.lock:
                standing = self.rows[data_record.idempotency_key]
                self.rows[data_record.idempotency_key] = Record(*data_record[:7])
                assert standing is not None

    report = judged(Strict, fenced=False)
    assert [each.why for each in report.findings] == []


def test_a_fault_that_needs_no_interleaving_is_told_as_such() -> None:
    class Generous(layers.LockedDictionary):
        def _swap(self, key: str, expected: Any, new: Any, keep_ms: int) -> Any:
            with self.lock:
                self.rows[key] = new
                return new

    told = finding(judged(Generous), TWO_CLAIMS)
    assert "It takes no interleaving" in told.why
    assert told.clauses == ("CAS-2", "CAS-3", "INV-1")


def test_a_lock_that_cannot_be_found_costs_time_and_no_verdict() -> None:
    few = UNHURRIED._replace(schedules=4)
    assert [each.why for each in judged(layers.ClosedOverLock, few).findings] == []


def test_what_chance_decides_is_told_as_such() -> None:
    class Moody(layers.LockedDictionary):
        moods = iter([*[False] * 12, True])

        def _swap(self, key: str, expected: Any, new: Any, keep_ms: int) -> Any:
            found = super()._swap(key, expected, new, keep_ms)
            return new if found != new and next(self.moods, False) else found

    report = judged(Moody, profile=UNHURRIED)
    assert any("it did not happen again" in each.why for each in report.findings)


def test_a_layer_without_the_moved_clock_is_raced_too() -> None:
    report = judged(InMemoryPersistenceLayer, movable_clock=False)
    assert report.keeps("exclusion")
    assert broken(judged(layers.UnlockedDictionary, movable_clock=False))
