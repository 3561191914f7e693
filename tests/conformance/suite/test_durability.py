"""Durability: a process that is killed writes the records, and another one reads them."""

from pathlib import Path
from typing import Any

import pytest

import servers
import stress_layers as layers
from idemproof import InMemoryPersistenceLayer
from idemproof.conformance import Capabilities, Report, check

pytestmark = pytest.mark.once

OBJECT = "acknowledged-records-outlive-their-layer"
PROCESS = "acknowledged-records-outlive-a-killed-process"


def judged(factory: Any, **claims: Any) -> Report:
    capabilities = Capabilities(**{"durable": True, **claims})
    return check(factory, profile="quick", seed=7, capabilities=capabilities, tiers=["durability"])


def verdicts(report: Report) -> dict[str, str]:
    return {each.name: each.verdict for each in report.checks}


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECORDS", str(tmp_path / "records.db"))
    return tmp_path


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECORDS", str(tmp_path))


@pytest.mark.usefixtures("records")
@pytest.mark.parametrize("make", [layers.sqlite, layers.durable_sqlite, layers.async_sqlite])
def test_a_durable_layer_passes(make: Any) -> None:
    report = judged(make)
    assert verdicts(report) == {OBJECT: "kept", PROCESS: "kept"}
    assert report.checks[1].histories > 10


@pytest.mark.usefixtures("files")
def test_files_are_durable() -> None:
    assert verdicts(judged(layers.files)) == {OBJECT: "kept", PROCESS: "kept"}


def test_a_server_outlives_its_clients(
    valkey_server: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECORDS", f"redis://{valkey_server.host}:{valkey_server.port}")
    assert verdicts(judged(layers.redis_layer)) == {OBJECT: "kept", PROCESS: "kept"}


@pytest.mark.usefixtures("records")
def test_durability_is_checked_only_if_it_is_claimed() -> None:
    assert verdicts(judged(layers.sqlite, durable=False)) == {OBJECT: "not offered", PROCESS: "not offered"}


@pytest.mark.usefixtures("records")
def test_without_an_importable_factory_another_object_reads_the_records() -> None:
    report = judged(lambda: layers.sqlite())  # noqa: PLW0108 - the point
    assert verdicts(report) == {OBJECT: "kept", PROCESS: "not offered"}
    assert "at the top of a module" in (report.checks[1].why_not or "")


def test_a_layer_that_no_other_object_shares_is_not_durable() -> None:
    report = judged(InMemoryPersistenceLayer)
    assert verdicts(report) == {OBJECT: "broken", PROCESS: "broken"}
    assert {each.clauses for each in report.findings} == {("CAS-6",)}


def test_a_store_within_the_process_is_not_durable() -> None:
    report = judged(layers.rows_in_process_memory)
    assert verdicts(report) == {OBJECT: "kept", PROCESS: "broken"}
    assert "lost every acknowledged record: another process finds none" in report.findings[0].why
    assert [line.who for line in report.findings[0].lines] == ["a process", "the process", "another process"]


@pytest.mark.usefixtures("files")
def test_a_write_that_is_acknowledged_too_early_is_lost_with_its_process() -> None:
    report = judged(layers.buffered_files)
    assert verdicts(report) == {OBJECT: "kept", PROCESS: "broken"}


@pytest.mark.usefixtures("files")
def test_a_deletion_in_memory_only_is_lost_with_its_process() -> None:
    report = judged(layers.delayed_deletions)
    assert verdicts(report) == {OBJECT: "kept", PROCESS: "broken"}
    finding = report.findings[0]
    assert finding.why.startswith("The layer claims to be durable, but lost acknowledged records: ")
    assert "keys changed or missing" in finding.why
    stored = [line.current for line in finding.lines]
    assert stored[-3] is None
    assert stored[-1] is not None


@pytest.mark.usefixtures("files")
def test_a_record_in_an_object_only_is_lost_with_it() -> None:
    assert verdicts(judged(layers.own_buffer)) == {OBJECT: "broken", PROCESS: "broken"}
