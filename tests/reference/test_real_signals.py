"""Real signals at any point of a call: no result is lost, no body runs again, and no claim stays."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("real_signals.py")


@pytest.mark.clause("ENG-4", "ENG-5", "ENG-12", "ENG-15", "OUT-5")
def test_a_signal_at_any_time_stops_its_call_and_neither_loses_nor_repeats_an_effect() -> None:
    run = subprocess.run(
        [sys.executable, str(PROGRAM)], capture_output=True, text=True, timeout=1800, check=False
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert {how: each["wrong"] for how, each in found.items()} == {how: [] for how in found}
    assert len(found) == 5
