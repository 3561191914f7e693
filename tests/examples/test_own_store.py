"""Stores of one's own: what their programs print, and what the conformance suite says of them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

OWN_STORE = Path(__file__).parents[2] / "examples" / "own_store"
STORES = ["bring_your_own_store", "two_methods"]


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python as a user does."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("store", STORES)
def test_the_program_transfers_once_however_often_it_runs(store: str, tmp_path: Path) -> None:
    database = str(tmp_path / "transfers.db")
    receipts = ["{'receipt': 'R-rent-2026-11'}"] * 2
    first, second = (run(OWN_STORE, f"{store}.py", DATABASE=database) for _ in range(2))
    transfer = "transferring 950 to DE02 1203 0000 0000 2020 51"
    assert first.stdout.splitlines() == [transfer, *receipts]
    assert second.stdout.splitlines() == receipts


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Return a copy of the folder, away from the settings of this repository's tests."""
    return Path(shutil.copytree(OWN_STORE, tmp_path / "own_store"))


@pytest.mark.nightly
@pytest.mark.once
@pytest.mark.parametrize("store", STORES)
def test_its_conformance_test_passes(store: str, copied: Path) -> None:
    judged = run(copied, "-m", "pytest", "-q", f"test_{store}.py")
    assert judged.returncode == 0, judged.stdout
    assert " passed" in judged.stdout
    assert "failed" not in judged.stdout


@pytest.mark.once
@pytest.mark.parametrize(
    ("store", "claims"),
    [
        pytest.param("bring_your_own_store", ["--durable", "--not-fenced"], marks=pytest.mark.nightly),
        ("two_methods", ["--durable"]),
    ],
)
def test_the_command_keeps_it_in_several_threads_and_processes(
    store: str, claims: list[str], copied: Path
) -> None:
    tiers = ["--tier", "concurrency", "--tier", "durability"]
    arguments = ["check", f"{store}:open_store", "--profile", "quick", *tiers, *claims]
    judged = run(copied, "-m", "idemproof", *arguments, "--json", "report.json")
    assert judged.returncode == 0, judged.stdout
    report = json.loads((copied / "report.json").read_text(encoding="utf-8"))
    assert report["tiers"] == {"concurrency": "kept", "durability": "kept"}
    of_other_layers = {
        "one-event-loop-after-the-other-may-use-a-layer",  # async
        "a-closed-layer-leaves-nothing-behind",  # with a close method
        # with a signal
        "a-wait-blocks-nothing-else",
        "a-wait-ends-when-its-time-is-over",
        "a-wait-ends-when-the-record-changes",
    }
    assert {check["name"] for check in report["checks"] if check["verdict"] != "kept"} == of_other_layers
