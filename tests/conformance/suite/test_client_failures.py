"""Interrupted requests: correct layers pass, broken ones are found, and the trace shows the call."""

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
from idemproof.conformance.harness.client_failures import WAYS, Died, Saboteur
from idemproof.conformance.suite.report import CheckResult, Report

pytestmark = pytest.mark.once

FAILURE = "a-failure-of-the-client-is-no-answer"
DEATH = "a-death-between-two-calls-blocks-no-caller"


class Redis(RedisCachePersistenceLayer):
    """A correct layer that keeps its client in an attribute."""

    def __init__(self, client: Any) -> None:
        super().__init__(client=client)
        self.own = client


class TreatsAnOutageAsAbsence(Redis):
    def _load(self, key: str) -> Record | None:
        try:
            return super()._load(key)
        except Exception:
            return None


class ClaimsWhateverHappens(Redis):
    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        try:
            return super()._swap(key, expected, new, ttl_ms)
        except Exception:
            return new


class LeavesALock(Redis):
    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        if not self.own.set(f"{key}:lock", "1", nx=True, px=60_000):
            return self._load(key)
        try:
            return super()._swap(key, expected, new, ttl_ms)
        finally:
            self.own.delete(f"{key}:lock")


class LocksBriefly(Redis):
    """The lock of a dead worker expires in less than a second."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        if not self.own.set(f"{key}:lock", "1", nx=True, px=900):
            return self._load(key)
        try:
            return super()._swap(key, expected, new, ttl_ms)
        finally:
            self.own.delete(f"{key}:lock")


class OverAPool(Redis):
    """A death leaves one connection less in its pool."""

    def __init__(self, client: Any) -> None:
        super().__init__(client=client)
        self.left = 2

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        if self.left == 0:
            raise TimeoutError("no connection was given back")
        self.left -= 1
        try:
            found = super()._swap(key, expected, new, ttl_ms)
        except Exception:
            self.left += 1
            raise
        self.left += 1
        return found


class DeletesAndWrites(Redis):
    """Deletes a record before it writes the new one: a death in between loses it."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        if expected is not None and new is not None and self._load(key) == expected:
            self.own.delete(key)
            return super()._swap(key, None, new, ttl_ms)
        return super()._swap(key, expected, new, ttl_ms)


def over_redis(kind: type[Redis]) -> Callable[[], Redis]:
    server = fakeredis.FakeServer()
    return lambda: kind(fakeredis.FakeRedis(server=server))


def judged(factory: Callable[[], Any]) -> Report:
    return check(factory, profile="quick", tiers=["faults"], seed=1)


def results(report: Report) -> dict[str, CheckResult]:
    return {each.name: each for each in report.checks}


@pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "async"])
def test_a_correct_layer_over_redis_passes(asynchronous: bool) -> None:
    server = fakeredis.FakeServer()
    if asynchronous:
        found = results(
            judged(lambda: AsyncRedisCachePersistenceLayer(client=fakeredis.FakeAsyncRedis(server=server)))
        )
    else:
        found = results(judged(over_redis(Redis)))
    assert {found[name].verdict for name in (FAILURE, DEATH)} == {"kept"}
    # Seven requests, some with two calls; each call is interrupted in two ways, and each request runs once
    # without interruption. A replacement of a dead worker repeats it.
    assert {name: found[name].histories for name in (FAILURE, DEATH)} == {FAILURE: 21, DEATH: 21 + 13}


@pytest.mark.parametrize("kind", [OverAPool, LocksBriefly])
def test_harmless_leftovers_of_a_dead_worker_are_no_fault(kind: type[Redis]) -> None:
    assert results(judged(over_redis(kind)))[DEATH].findings == ()


def test_deaths_are_not_checked_if_no_other_object_shares_the_store() -> None:
    found = results(judged(lambda: OverAPool(fakeredis.FakeRedis(server=fakeredis.FakeServer()))))
    assert found[FAILURE].verdict == "kept"
    assert (found[DEATH].verdict, found[DEATH].why_not) == (
        "not offered",
        "another layer from the factory does not see what a dead one has left behind",
    )


def test_a_correct_layer_over_sqlite_passes(tmp_path: Path) -> None:
    found = results(judged(partial(SQLitePersistenceLayer, tmp_path / "records.db", durable=False)))
    assert {found[name].verdict for name in (FAILURE, DEATH)} == {"kept"}


def test_a_layer_without_a_client_is_not_checked() -> None:
    found = results(judged(InMemoryPersistenceLayer))
    for name in (FAILURE, DEATH):
        assert (found[name].verdict, found[name].why_not) == (
            "not offered",
            "the layer has no client whose calls could be interrupted",
        )


@pytest.mark.parametrize(
    ("kind", "name", "clauses"),
    [
        (TreatsAnOutageAsAbsence, FAILURE, ("CAS-1",)),
        (ClaimsWhateverHappens, FAILURE, ("CAS-3", "CAS-4")),
        (LeavesALock, DEATH, ("CAS-2",)),
        (DeletesAndWrites, DEATH, ("CAS-3", "CAS-4")),
    ],
)
def test_a_broken_layer_is_found(kind: type[Redis], name: str, clauses: tuple[str, ...]) -> None:
    [finding] = results(judged(over_redis(kind)))[name].findings
    assert finding.clauses == clauses


def test_the_trace_shows_the_interrupted_call() -> None:
    [finding] = results(judged(over_redis(LeavesALock)))[DEATH].findings
    reported = [(line.who, line.what.split(" conformance-")[0]) for line in finding.lines]
    assert reported == [
        ("client 2", "claims the key as bob, and dies after SET"),
        ("client 1", "then reads nothing"),
        ("the clock", "1,000 ms pass"),
        ("client 1", "claims the key, and is refused"),
    ]


def run_calls(saboteur: Saboteur, client: Any) -> list[str]:
    """Report three calls to the saboteur; return the outcome of each."""
    outcomes = []
    for number in range(3):
        saboteur.calling = client
        try:
            saboteur.pause(f"call {number + 1}", "call")
            saboteur.pause(f"has done call {number + 1}", "reply")
        except (Exception, Died) as failure:
            outcomes.append(type(failure).__name__)
        else:
            outcomes.append("passes")
    return outcomes


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("fails before", ["passes", "ConnectionError", "passes"]),
        ("fails after", ["passes", "ConnectionError", "passes"]),
        ("dies before", ["passes", "Died", "Died"]),
        ("dies after", ["passes", "Died", "Died"]),
    ],
)
def test_one_call_is_interrupted_and_a_dead_worker_makes_no_other(way: Any, expected: list[str]) -> None:
    saboteur = Saboteur(2, way)
    assert run_calls(saboteur, redis.Redis()) == expected
    assert saboteur.happened is not None
    assert saboteur.happened.endswith(f"{way.split()[1]} call 2")


@pytest.mark.parametrize("way", WAYS)
def test_sqlite_loses_no_reply_and_no_thread_dies_alone(way: Any) -> None:
    expected = ["OperationalError" if way == "fails before" else "passes", "passes", "passes"]
    assert run_calls(Saboteur(1, way), sqlite3) == expected


def test_each_client_raises_its_librarys_error() -> None:
    client = boto3.Session("testing", "testing", region_name="eu-west-1").client("dynamodb")
    failures = [run_calls(Saboteur(1), each)[0] for each in (redis.Redis(), client, object())]
    assert failures == ["ConnectionError", "ReadTimeoutError", "ConnectionError"]
    client.close()
