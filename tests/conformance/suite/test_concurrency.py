"""Real threads and processes on one key: broken layers are caught, and correct ones pass."""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakeredis
import pytest

import stress_layers as layers
from idemproof import AsyncInMemoryPersistenceLayer, InMemoryPersistenceLayer, RedisCachePersistenceLayer
from idemproof.conformance import Capabilities, Report, check

pytestmark = pytest.mark.once

AT_ONCE = "many-requests-at-once-are-all-answered"
THREADS = "many-threads-may-share-a-layer"
OBJECTS = "many-threads-may-share-a-store"
PROCESSES = "many-processes-may-share-a-store"


def judged(factory: Callable[[], Any], **claims: Any) -> Report:
    return check(factory, profile="quick", seed=7, capabilities=Capabilities(**claims), tiers=["concurrency"])


def verdicts(report: Report) -> dict[str, str]:
    """Return the verdicts of the stress tests with each kind of client."""
    return {each.name: each.verdict for each in report.checks if each.name in (THREADS, OBJECTS, PROCESSES)}


def verdict(report: Report, name: str) -> str:
    return next(each.verdict for each in report.checks if each.name == name)


def why_not(report: Report, name: str) -> str:
    return next(each.why_not or "" for each in report.checks if each.name == name)


@pytest.fixture(autouse=True)
def _records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECORDS", str(tmp_path / "records.db"))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECORDS", str(tmp_path))
    monkeypatch.setenv("ALIVE", str(os.getpid()))


def test_a_layer_that_processes_share_passes() -> None:
    report = judged(layers.sqlite)
    assert verdicts(report) == {THREADS: "kept", OBJECTS: "kept", PROCESSES: "kept"}
    assert all(each.histories >= 4 for each in report.checks if each.name in verdicts(report))


@pytest.mark.parametrize("make", [InMemoryPersistenceLayer, AsyncInMemoryPersistenceLayer, layers.LockedRows])
def test_a_layer_that_threads_share_passes(make: Any) -> None:
    report = judged(make)
    assert verdicts(report) == {
        THREADS: "kept",
        OBJECTS: "not offered",
        PROCESSES: "not offered",
    }


def test_a_layer_with_four_methods_passes() -> None:
    report = judged(layers.FourMethods, fenced=False)
    assert verdicts(report)[THREADS] == "kept"


def test_a_pair_of_layers_passes() -> None:
    report = judged(layers.pair_of_sqlite)
    assert verdicts(report) == {THREADS: "kept", OBJECTS: "kept", PROCESSES: "kept"}


def test_a_factory_that_other_processes_cannot_import_is_checked_by_threads_only() -> None:
    server = fakeredis.FakeServer(version=(7,))
    report = judged(lambda: RedisCachePersistenceLayer(client=fakeredis.FakeRedis(server=server)))
    assert verdicts(report) == {THREADS: "kept", OBJECTS: "kept", PROCESSES: "not offered"}
    assert "at the top of a module" in why_not(report, PROCESSES)


def test_a_store_in_process_memory_is_not_reported_broken() -> None:
    report = judged(layers.rows_in_process_memory)
    assert verdicts(report) == {THREADS: "kept", OBJECTS: "kept", PROCESSES: "not offered"}
    assert "does not see the records of this process" in why_not(report, PROCESSES)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (layers.exiting_factory, "ended unexpectedly: exit status 3"),
        (layers.failing_factory, "no store here"),
    ],
)
def test_a_factory_that_fails_in_other_processes_is_reported(make: Any, said: str) -> None:
    report = judged(make)
    assert verdicts(report)[PROCESSES] == "not judged"
    assert said in why_not(report, PROCESSES)


@pytest.mark.parametrize(
    ("make", "fenced"),
    [
        (layers.Rows, True),
        (layers.AsyncRows, True),
        (layers.SharedResult, True),
        (layers.RacingFourMethods, False),
    ],
)
def test_a_layer_that_reads_then_writes_is_caught_by_threads(make: Any, fenced: bool) -> None:
    report = judged(make, fenced=fenced)
    assert verdicts(report)[THREADS] == "broken"
    broken = {clause for finding in report.findings for clause in finding.clauses}
    assert "CAS-4" in broken
    first = report.findings[0]
    assert first.clauses == ("CAS-4",)
    assert 1 <= len(first.lines) <= 8


def test_concurrent_bodies_are_reported() -> None:
    report = judged(layers.Rows)
    assert {"CAS-4", "INV-1", "INV-5"} <= {clause for each in report.findings for clause in each.clauses}
    assert "Two clients got the key at once: two bodies ran." in [each.why for each in report.findings]


def test_objects_that_race_for_one_store_are_caught() -> None:
    rows: dict[str, Any] = {}
    report = judged(lambda: layers.Rows(rows))
    assert verdicts(report)[OBJECTS] == "broken"
    rows.clear()
    alone = judged(lambda: layers.Rows(rows), threads=False)
    assert {verdicts(alone)[name] for name in (THREADS, OBJECTS)} == {"not offered"}
    assert why_not(alone, OBJECTS) == "only the thread that made the layer may use it"
    shared: dict[str, Any] = {}
    tasks = judged(lambda: layers.AsyncRows(shared), threads=False)
    assert verdicts(tasks)[OBJECTS] == "broken"


def test_a_layer_that_is_bound_to_a_thread_is_checked_by_processes() -> None:
    report = judged(layers.thread_bound_sqlite, threads=False)
    assert verdicts(report) == {
        THREADS: "not offered",
        OBJECTS: "not offered",
        PROCESSES: "kept",
    }


def test_a_layer_that_says_that_it_is_busy_is_not_broken() -> None:
    assert [each.why for each in judged(layers.RefusesToWait).findings] == []


def test_a_layer_that_raises_because_others_are_at_work_is_reported() -> None:
    report = judged(layers.RefusesWithoutSayingSo)
    assert verdict(report, AT_ONCE) == "broken"
    assert any("RuntimeError: the store is busy" in each.why for each in report.findings)


def test_an_error_of_a_layer_that_is_not_thread_safe_is_reported() -> None:
    report = judged(layers.NotThreadSafe)
    assert any("the layer raised IndexError" in each.why for each in report.findings)


@pytest.mark.usefixtures("files")
def test_processes_that_race_for_files_are_caught() -> None:
    report = judged(layers.files)
    assert verdicts(report) == {THREADS: "kept", OBJECTS: "kept", PROCESSES: "broken"}
    assert "CAS-4" in {clause for each in report.findings for clause in each.clauses}


@pytest.mark.usefixtures("files")
def test_records_that_other_objects_do_not_see_are_caught() -> None:
    report = judged(layers.own_buffer)
    assert verdicts(report)[OBJECTS] == "broken"


def test_no_thread_or_process_is_left() -> None:
    interval, before = sys.getswitchinterval(), set(threading.enumerate())
    judged(layers.sqlite)
    assert sys.getswitchinterval() == interval
    assert not set(threading.enumerate()) - before
