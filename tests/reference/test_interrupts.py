"""Interrupts of every kind at every point, in plain and async functions."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SWEEP = Path(__file__).with_name("interrupt_sweep.py")
DRIVERS = ("def", "async def", "async def that waits")
WAYS = ("ByInstruction", "ByEvent")


@pytest.fixture(scope="module")
def swept() -> Any:
    run = subprocess.run(
        [sys.executable, str(SWEEP)], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.clause("FIN-1", "ENG-12", "ENG-15")
def test_an_interrupt_anywhere_does_not_lose_a_final_error() -> None:
    run = subprocess.run(
        [sys.executable, str(SWEEP), "final"], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert {name: swept["wrong"] for name, swept in found.items()} == {name: [] for name in found}
    assert all(swept["points"] > 100 for swept in found.values())
    assert len(found) == len(DRIVERS)


@pytest.mark.clause("ENG-4", "ENG-5", "ENG-12", "ENG-15")
@pytest.mark.parametrize("body", ["returns", "declines", "waits"])
@pytest.mark.parametrize("kind", ["KeyboardInterrupt", "TimeLimit"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("driver", DRIVERS)
def test_an_interrupt_anywhere_is_raised_and_neither_loses_a_result_nor_leaves_a_claim(
    swept: Any, driver: str, way: str, kind: str, body: str
) -> None:
    found = swept.pop(f"{driver}, {way}, {kind}, {body}")
    assert found["wrong"] == []
    assert found["points"] > 50  # otherwise hardly anything was interrupted


@pytest.mark.clause("ENG-12", "ENG-15")
def test_none_is_lost_in_code_that_takes_an_exception_for_an_answer() -> None:
    pytest.importorskip("pydantic")
    program = SWEEP.with_name("model_interrupt_sweep.py")
    run = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert {name: swept["wrong"] for name, swept in found.items()} == {name: [] for name in found}
    assert all(swept["points"] > 100 for swept in found.values())
