"""Transfers happen exactly once although their workers are killed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "complete-in-a-transaction.md"


def run(dsn: str, transfers: int, workers: int, seconds: int) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "tools" / "transfers.py"), "--dsn", dsn]
    command += ["--transfers", str(transfers), "--workers", str(workers)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def judge(found: dict[str, Any], transfers: int) -> None:
    within = found["within"]
    assert within["happened once"] == within["records completed"] == transfers
    assert (
        within["happened again"] == within["never happened"] == within["accounts with a wrong balance"] == 0
    )
    assert within["money"] == within["money expected"]
    assert sum(within["deaths"].values()) > 0


@pytest.mark.clause("INV-11", "TXN-1", "TXN-6")
def test_few_transfers_happen_exactly_once(dsn: str) -> None:
    judge(run(dsn, 120, 3, 240), 120)


@pytest.mark.nightly
@pytest.mark.clause("INV-11", "TXN-1", "TXN-6", "OUT-4")
def test_five_thousand_transfers_happen_exactly_once_and_without_it_some_twice(dsn: str) -> None:
    found = run(dsn, 5000, 8, 3000)
    judge(found, 5000)
    assert all(found["within"]["deaths"].values())
    assert found["without"]["happened again"] > 0


def test_the_page_has_the_counts_of_a_run_with_a_death_in_every_phase() -> None:
    rows = re.findall(
        r"^\| ([a-z ]+) \| ([\d,]+) \| ([\d,]+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    counts = {name: (within.replace(",", ""), without.replace(",", "")) for name, within, without in rows}
    assert counts["transfers that happened once"][0] == "5000"
    assert counts["transfers that happened again"][0] == "0"
    assert int(counts["transfers that happened again"][1]) > 0
