"""Races: each fault is found, with a trace that shows it."""

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

import racing_layers as layers
import racing_stores as stores
import servers
from idemproof import InMemoryPersistenceLayer
from idemproof.conformance import Report, check
from idemproof.spec.record import COMPLETED, INPROGRESS, Record
from profiles import UNHURRIED
from race_reports import (
    OVERWRITES,
    TWO_CLAIMS,
    broken,
    finding,
    judged,
    of_one_key,
    over_fakeredis,
)

pytestmark = pytest.mark.once


def test_read_then_write_is_found_over_a_real_server(valkey_server: servers.Server) -> None:
    with redis.Redis(**servers.redis_kwargs(valkey_server)) as client:
        report = judged(lambda: stores.OverRedis(client))
    assert broken(report) == of_one_key(report)


CLAIMS = {
    TWO_CLAIMS,
    "two-takeovers-of-a-lapsed-claim-have-one-winner",
    "two-claims-of-an-expired-result-have-one-winner",
}


@pytest.mark.parametrize(
    ("make", "how"),
    [
        (lambda _: layers.UnlockedDictionary, "the lines of the layer's source"),
        (lambda _: layers.AsyncReadThenWrite, "the awaits of the layer"),
        (lambda _: over_fakeredis(stores.OverRedis), "the calls of the layer's client"),
        (lambda path: lambda: stores.OverSQLite(path / "a.db"), "the calls of the layer's client"),
        (
            lambda path: lambda: stores.OverSQLite(path / "a.db", each_thread=True),
            "the calls of the layer's client",
        ),
    ],
    ids=["dictionary", "async", "redis", "sqlite", "sqlite-each-thread"],
)
def test_read_then_write_is_found_in_every_race(
    make: Callable[[Path], Callable[[], Any]], how: str, tmp_path: Path
) -> None:
    report = judged(make(tmp_path))
    assert broken(report) == of_one_key(report)
    reported = finding(report, TWO_CLAIMS)
    assert "client 1 and client 2 requested one key at the same time, and each of them got it" in reported.why
    assert how in reported.why
    assert reported.clauses == ("CAS-4", "INV-1")


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


def test_the_trace_shows_each_step_and_the_record_after_it() -> None:
    lines = finding(judged(over_fakeredis(stores.OverRedis)), TWO_CLAIMS).lines
    said = [(line.who, line.what.split()[0]) for line in lines]
    assert said == [
        ("the store", "before"),
        ("client 1", "claims"),
        ("client 1", "GET"),
        ("client 2", "claims"),
        ("client 2", "GET"),
        ("client 2", "SET"),
        ("client 2", "gets"),
        ("client 1", "SET"),
        ("client 1", "gets"),
        ("the store", "in"),
    ]
    owners = [line.current.owner if isinstance(line.current, Record) else line.current for line in lines]
    assert owners == [None, None, None, None, None, "bob", "bob", "alice", "alice", "alice"]


def test_many_successive_lines_of_one_client_are_one_line_until_the_record_changes() -> None:
    lines = finding(judged(layers.UnlockedDictionary), TWO_CLAIMS).lines
    said = [(line.who, line.what) for line in lines if line.what.startswith("line ")]
    assert [(who, re.findall(r"line \d+: (.{6})", what)) for who, what in said] == [
        ("client 1", ["curren"]),
        ("client 2", ["curren", "if new"]),
        ("client 2", ["self.r"]),
        ("client 2", ["return"]),
        ("client 1", ["if not"]),
        ("client 1", ["if new"]),
        ("client 1", ["self.r"]),
        ("client 1", ["return"]),
    ]
    assert " … line " in said[1][1]


def test_a_result_that_is_stored_without_the_lock_gets_lost() -> None:
    report = judged(layers.FourMethodsLockedForPuts, fenced=False)
    assert broken(report) == {OVERWRITES}
    reported = finding(report, OVERWRITES)
    assert reported.clauses == ("CAS-4", "INV-2")
    assert "The result of alice was acknowledged as stored" in reported.why
    statuses = [line.current.status for line in reported.lines if isinstance(line.current, Record)]
    assert COMPLETED in statuses
    assert statuses[-1] == INPROGRESS


def test_four_methods_that_read_then_write_are_found() -> None:
    report = judged(layers.FourMethodsUnlocked, fenced=False)
    assert broken(report) == {*CLAIMS, OVERWRITES}
    assert finding(report, TWO_CLAIMS).clauses == ("CAS-4", "CAS-7", "INV-1")


def test_a_deadlock_is_found_and_does_not_disturb_later_checks() -> None:
    report = judged(layers.LocksInOppositeOrder)
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
    # A claim that meets a release raises what only a read may raise.
    raises = {
        "a-release-never-removes-the-claim-that-took-over",
        "a-late-release-never-removes-its-successors-result",
    }
    assert broken(report) == {OVERWRITES, *raises}
    reported = finding(report, OVERWRITES)
    assert reported.seen_in is not None
    assert "Powertools" in reported.seen_in
    result = next(each for each in report.checks if each.name == OVERWRITES)
    assert result.schedules <= 20
    said = [
        (line.who, line.what.split()[0], line.what.partition(":lock")[1])
        for line in reported.lines
        if line.what.split()[0] in ("GET", "SET")
    ]
    assert said == [
        ("client 1", "SET", ""),
        ("client 1", "GET", ""),
        ("client 2", "SET", ""),
        ("client 1", "SET", ":lock"),
        ("client 1", "SET", ""),
    ]


def test_named_clients_pause() -> None:
    rows = layers.UnlockedDictionary()

    methods = ("store.fetch", "store.store", "store.drop")
    report = judged(lambda: stores.OverUnknown(rows), client_methods=methods)
    assert broken(report) == of_one_key(report)
    reported = finding(report, TWO_CLAIMS)
    assert "the calls of the layer's client" in reported.why
    assert any(line.what.startswith("fetch('conformance-") for line in reported.lines)


def test_an_object_that_threads_may_not_share_is_not_raced() -> None:
    report = judged(layers.UnlockedDictionary, threads=False)
    assert {(each.verdict, each.why_not) for each in report.checks} == {
        ("not offered", "only the thread that made the layer may use it")
    }


def test_two_async_objects_are_raced_even_if_tasks_may_not_share_one() -> None:
    rows: dict[str, Any] = {}

    report = judged(lambda: layers.AsyncReadThenWrite(rows), threads=False)
    verdicts = {each.name: each.verdict for each in report.checks}
    assert verdicts[TWO_CLAIMS] == "broken"
    assert verdicts["an-eviction-never-removes-the-claim-that-came-first"] == "not offered"


def test_an_error_that_only_shared_data_explains_is_reported() -> None:
    class Searching(layers.UnlockedDictionary):
        def _swap(self, key: str, expected: Any, new: Any, ttl_ms: int) -> Any:
            for other in itertools.islice(self.rows, 3):
                if other == key:
                    break
            return super()._swap(key, expected, new, ttl_ms)

    searching = Searching()
    searching._swap("another", None, Record("another", INPROGRESS, 4_000_000_000), 1)
    report = judged(lambda: searching)
    reported = [each for each in report.findings if "RuntimeError: dictionary changed size" in each.why]
    assert {each.clauses for each in reported} == {("CAS-4",)}


def test_a_fault_without_interleaving_is_reported_as_such() -> None:
    class Generous(layers.LockedDictionary):
        def _swap(self, key: str, expected: Any, new: Any, ttl_ms: int) -> Any:
            with self.lock:
                self.rows[key] = new
                return new

    reported = finding(judged(Generous), TWO_CLAIMS)
    assert "No interleaving is needed" in reported.why
    assert reported.clauses == ("CAS-2", "CAS-3", "INV-1")


def test_a_fault_that_depends_on_chance_is_reported_as_such() -> None:
    class Moody(layers.LockedDictionary):
        moods = iter([*[False] * 12, True])

        def _swap(self, key: str, expected: Any, new: Any, ttl_ms: int) -> Any:
            found = super()._swap(key, expected, new, ttl_ms)
            return new if found != new and next(self.moods, False) else found

    report = judged(Moody, profile=UNHURRIED)
    assert any("it did not happen again" in each.why for each in report.findings)


def test_a_layer_with_its_own_clock_is_raced_too() -> None:
    report = judged(InMemoryPersistenceLayer, movable_clock=False)
    assert report.keeps("exclusion")
    assert broken(judged(layers.UnlockedDictionary, movable_clock=False))
