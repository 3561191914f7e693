"""Requests that are interrupted between the calls of the layer's client: what is seen of a layer, and how."""

import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import fakeredis
import pytest
import redis

from idemproof import (
    AsyncRedisCachePersistenceLayer,
    InMemoryPersistenceLayer,
    Record,
    RedisCachePersistenceLayer,
    SQLitePersistenceLayer,
)
from idemproof.conformance import check
from idemproof.conformance.harness.interruptions import WAYS, Died, Saboteur
from idemproof.conformance.suite.report import CheckResult, Report

pytestmark = pytest.mark.once

FAILURE = "a-failure-of-the-client-is-no-answer"
DEATH = "a-death-between-two-calls-keeps-nobody-out"


class Redis(RedisCachePersistenceLayer):
    """A right layer, whose own client is at hand."""

    def __init__(self, client: Any) -> None:
        super().__init__(client=client)
        self.own = client


class TakesAnOutageForAbsence(Redis):
    def _load(self, key: str) -> Record | None:
        try:
            return super()._load(key)
        except Exception:
            return None


class ClaimsWhateverHappens(Redis):
    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        try:
            return super()._swap(key, expected, new, keep_ms)
        except Exception:
            return new


class LeavesALockBehind(Redis):
    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        if not self.own.set(f"{key}:lock", "1", nx=True, px=60_000):
            return self._load(key)
        try:
            return super()._swap(key, expected, new, keep_ms)
        finally:
            self.own.delete(f"{key}:lock")


class LocksForAMoment(Redis):
    """What a dead worker has locked is free after less than a second."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        if not self.own.set(f"{key}:lock", "1", nx=True, px=900):
            return self._load(key)
        try:
            return super()._swap(key, expected, new, keep_ms)
        finally:
            self.own.delete(f"{key}:lock")


class OverAPool(Redis):
    """A death leaves it with one connection less."""

    def __init__(self, client: Any) -> None:
        super().__init__(client=client)
        self.left = 2

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        if self.left == 0:
            raise TimeoutError("no connection was given back")
        self.left -= 1
        try:
            found = super()._swap(key, expected, new, keep_ms)
        except Exception:
            self.left += 1
            raise
        self.left += 1
        return found


class DeletesAndWrites(Redis):
    """What it replaces is gone for a moment: a death in between loses it."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        if expected is not None and new is not None and self._load(key) == expected:
            self.own.delete(key)
            return super()._swap(key, None, new, keep_ms)
        return super()._swap(key, expected, new, keep_ms)


def over_redis(kind: type[Redis]) -> Callable[[], Redis]:
    server = fakeredis.FakeServer()
    return lambda: kind(fakeredis.FakeRedis(server=server))


def judged(factory: Callable[[], Any]) -> Report:
    return check(factory, profile="quick", tiers=["faults"], seed=1)


def results(report: Report) -> dict[str, CheckResult]:
    return {each.name: each for each in report.checks}


@pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "async"])
def test_a_right_layer_over_redis_keeps_both(asynchronous: bool) -> None:
    server = fakeredis.FakeServer()
    if asynchronous:
        found = results(
            judged(lambda: AsyncRedisCachePersistenceLayer(client=fakeredis.FakeAsyncRedis(server=server)))
        )
    else:
        found = results(judged(over_redis(Redis)))
    assert {found[name].verdict for name in (FAILURE, DEATH)} == {"kept"}
    # Seven requests, some of two calls, each call interrupted in two ways; and each request once without.
    # Whoever takes the place of a dead worker makes it once more.
    assert {name: found[name].histories for name in (FAILURE, DEATH)} == {FAILURE: 21, DEATH: 21 + 13}


@pytest.mark.parametrize("kind", [OverAPool, LocksForAMoment])
def test_what_the_dead_leave_undone_for_themselves_or_for_a_moment_is_no_fault(kind: type[Redis]) -> None:
    assert results(judged(over_redis(kind)))[DEATH].findings == ()


def test_of_a_death_it_is_not_asked_if_no_other_object_sees_what_it_left() -> None:
    found = results(judged(lambda: OverAPool(fakeredis.FakeRedis(server=fakeredis.FakeServer()))))
    assert found[FAILURE].verdict == "kept"
    assert (found[DEATH].verdict, found[DEATH].why_not) == (
        "not offered",
        "another layer from the factory does not see what a dead one has left behind",
    )


def test_a_right_layer_over_sqlite_keeps_both(tmp_path: Path) -> None:
    found = results(judged(partial(SQLitePersistenceLayer, tmp_path / "records.db", durable=False)))
    assert {found[name].verdict for name in (FAILURE, DEATH)} == {"kept"}


def test_of_a_layer_without_a_client_it_is_not_asked() -> None:
    found = results(judged(InMemoryPersistenceLayer))
    for name in (FAILURE, DEATH):
        assert (found[name].verdict, found[name].why_not) == (
            "not offered",
            "the layer has no client whose calls could be interrupted",
        )


@pytest.mark.parametrize(
    ("kind", "name", "clauses"),
    [
        (TakesAnOutageForAbsence, FAILURE, ("CAS-1",)),
        (ClaimsWhateverHappens, FAILURE, ("CAS-3", "CAS-4")),
        (LeavesALockBehind, DEATH, ("CAS-2",)),
        (DeletesAndWrites, DEATH, ("CAS-3", "CAS-4")),
    ],
)
def test_a_broken_layer_is_seen(kind: type[Redis], name: str, clauses: tuple[str, ...]) -> None:
    [finding] = results(judged(over_redis(kind)))[name].findings
    assert finding.clauses == clauses


def test_the_trace_says_where_it_was_interrupted() -> None:
    [finding] = results(judged(over_redis(LeavesALockBehind)))[DEATH].findings
    reported = [(line.who, line.what.split(" conformance-")[0]) for line in finding.lines]
    assert reported == [
        ("client 2", "claims the key as bob, and dies after SET"),
        ("client 1", "then reads nothing"),
        ("the clock", "1,000 ms pass"),
        ("client 1", "claims the key, and is refused"),
    ]


def interrupted(saboteur: Saboteur, client: Any) -> list[str]:
    """Let three calls be told of; return how each fared."""
    fared = []
    for number in range(3):
        saboteur.calling = client
        try:
            saboteur.pause(f"call {number + 1}", "call")
            saboteur.pause(f"has done call {number + 1}", "reply")
        except (Exception, Died) as failure:
            fared.append(type(failure).__name__)
        else:
            fared.append("passes")
    return fared


@pytest.mark.parametrize(
    ("way", "fares"),
    [
        ("fails before", ["passes", "ConnectionError", "passes"]),
        ("fails after", ["passes", "ConnectionError", "passes"]),
        ("dies before", ["passes", "Died", "Died"]),
        ("dies after", ["passes", "Died", "Died"]),
    ],
)
def test_one_call_is_interrupted_and_the_dead_make_no_other(way: Any, fares: list[str]) -> None:
    saboteur = Saboteur(2, way)
    assert interrupted(saboteur, redis.Redis()) == fares
    assert saboteur.happened is not None
    assert saboteur.happened.endswith(f"{way.split()[1]} call 2")


@pytest.mark.parametrize("way", WAYS)
def test_of_sqlite_no_reply_is_lost_and_no_thread_dies_alone(way: Any) -> None:
    fares = ["OperationalError" if way == "fails before" else "passes", "passes", "passes"]
    assert interrupted(Saboteur(1, way), sqlite3) == fares


def test_each_client_fails_as_its_library_does() -> None:
    client = boto3.Session("testing", "testing", region_name="eu-west-1").client("dynamodb")
    failures = [interrupted(Saboteur(1), each)[0] for each in (redis.Redis(), client, object())]
    assert failures == ["ConnectionError", "ReadTimeoutError", "ConnectionError"]
    client.close()
