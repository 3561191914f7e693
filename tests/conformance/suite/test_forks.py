"""Layers that a fork breaks are found; layers that refuse a child by an error are not accused."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import servers
from broken_layers import forks, leftovers
from idemproof import (
    AsyncRedisCachePersistenceLayer,
    AsyncSQLitePersistenceLayer,
    InMemoryPersistenceLayer,
    Record,
    RedisCachePersistenceLayer,
    SQLitePersistenceLayer,
)
from idemproof.conformance import Capabilities
from idemproof.conformance.harness.forks import Child, Ended, Hung, can_fork, replied
from idemproof.conformance.suite.pace import Pace
from idemproof.conformance.suite.profiles import PROFILES, Profile
from idemproof.conformance.suite.runner import Session, checks

pytestmark = [pytest.mark.once, pytest.mark.skipif(not can_fork(), reason="the platform cannot fork")]

FORKS = "a-fork-leaves-both-processes-a-layer"


def judged(
    factory: Callable[[], Any], profile: Profile | None = None, pace: Pace | None = None, **claims: Any
) -> Any:
    (asked,) = [each for each in checks(["concurrency"]) if each.name == FORKS]
    session = Session(factory, profile or PROFILES["quick"], 1, Capabilities(**claims), (), pace)
    try:
        return session.judge(asked)
    finally:
        session.close()


@pytest.mark.clause("CAS-13")
@pytest.mark.parametrize("kind", [SQLitePersistenceLayer, AsyncSQLitePersistenceLayer])
def test_a_layer_in_a_file_serves_both_processes(kind: Callable[[Path], Any], tmp_path: Path) -> None:
    assert judged(lambda: kind(tmp_path / "records.db")).verdict == "kept"


@pytest.mark.clause("CAS-13")
@pytest.mark.parametrize("kind", [RedisCachePersistenceLayer, AsyncRedisCachePersistenceLayer])
def test_a_layer_over_a_server_serves_both_processes(
    kind: Callable[..., Any], valkey_server: servers.Server
) -> None:
    result = judged(lambda: kind(host=valkey_server.host, port=valkey_server.port, ssl=False))
    assert result.verdict == "kept"
    assert result.schedules > 0


@pytest.mark.parametrize(
    "kind",
    [
        forks.ByALockFile,
        forks.UnlocksByClosing,
        forks.ByALockOfEachProcess,
        forks.MarksItsProcess,
        forks.WithASocketForEachProcess,
        leftovers.ThroughAPool,
        leftovers.WithAConnectionForEachThread,
    ],
)
def test_a_child_gets_a_lock_and_a_connection_of_its_own(kind: Any) -> None:
    assert judged(kind.factory()).verdict == "kept"


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (forks.InheritsItsLockFile, "No order of the requests of a parent and its forked child"),
        (forks.RemembersItsProcess, "No order of the requests of a parent and its forked child"),
        (forks.InheritsItsSocket, "A request that was open in the parent failed"),
    ],
)
def test_what_a_fork_breaks_is_found(kind: Any, what: str) -> None:
    assert what in judged(kind.factory()).why_not  # told, but no fault: it is not claimed
    (found,) = judged(kind.factory(), forks=True).findings
    assert what in found.why
    assert "do not claim forks" in found.why


def test_it_is_not_asked_of_a_layer_that_claims_no_forks() -> None:
    assert judged(forks.InheritsItsSocket.factory(), forks=False).why_not == "it is not claimed (forks)"


def test_it_is_not_asked_of_records_in_memory() -> None:
    assert judged(InMemoryPersistenceLayer).verdict == "not offered"
    rows = InMemoryPersistenceLayer()
    assert judged(lambda: rows).verdict == "not offered"


class RefusesAChild(forks.ByALockFile):
    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.process = os.getpid()

    def read(self, key: str) -> Record | None:
        if self.process != os.getpid():
            raise RuntimeError("make a layer in each process")
        return super().read(key)


def test_a_child_may_be_refused_unless_forks_are_claimed() -> None:
    result = judged(RefusesAChild.factory())
    assert result.verdict == "not offered"
    assert "a forked child is refused" in result.why_not
    assert "make a layer in each process" in result.why_not
    (found,) = judged(RefusesAChild.factory(), forks=True).findings
    assert "claims that a child may use it (forks), but refuses it" in found.why


class KillsAChild(RefusesAChild):
    def read(self, key: str) -> Record | None:
        if self.process != os.getpid():
            os.abort()
        return super().read(key)


def test_a_claim_of_forks_is_tested_with_the_one_object_of_a_factory() -> None:
    factory = RefusesAChild.factory()
    one = factory()
    (found,) = judged(lambda: one, forks=True).findings
    assert "claims that a child may use it (forks)" in found.why


class TakesTheTime(SQLitePersistenceLayer):
    """A layer whose writes in this process move a clock, all by 1 ms and one of them by ``seconds``."""

    def __init__(self, path: Path, clock: list[float], slow: int, seconds: float) -> None:
        super().__init__(path)
        self.clock, self.slow, self.seconds = clock, slow, seconds

    def _swap(self, *request: Any) -> Any:
        if os.getpid() == _THIS_PROCESS:
            self.clock.append(self.clock[-1] + (self.seconds if len(self.clock) == self.slow else 0.001))
        return super()._swap(*request)


_THIS_PROCESS = os.getpid()


@pytest.mark.parametrize("slow", range(3, 10, 2))
def test_the_end_of_the_run_in_the_middle_is_no_finding(slow: int, tmp_path: Path) -> None:
    clock = [0.0]
    profile = PROFILES["quick"]._replace(total_seconds=5)
    result = judged(
        lambda: TakesTheTime(tmp_path / "records.db", clock, slow, profile.total_seconds),
        profile,
        Pace(profile, now=lambda: clock[-1]),
    )
    assert result.verdict == "not run"


def test_a_child_that_dies_is_found() -> None:
    (found,) = judged(KillsAChild.factory(), forks=True).findings
    assert "was killed by signal 6" in found.why


def test_a_child_replies_ends_or_hangs() -> None:
    assert replied(lambda: ["a", 1], 10) == ["a", 1]
    assert replied(lambda: os._exit(3), 10) == Ended("ended with exit status 3")
    read, write = os.pipe()
    child = Child(lambda: os.read(read, 1))
    assert isinstance(child.reply(0.05), Hung)
    os.write(write, b"x")
    assert child.reply(10) == b"x"
    child.end()
    usual = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system waits for children
    try:
        assert replied(lambda: "a", 10) == "a"
        assert isinstance(replied(lambda: os._exit(3), 10), Ended)
    finally:
        signal.signal(signal.SIGCHLD, usual)
    with pytest.raises(ChildProcessError):
        os.waitpid(child._process, 0)
    os.close(read)
    os.close(write)
