"""A signal may strike anywhere: after any call, jump or resumption of the library's own code."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SWEEP = Path(__file__).with_name("interrupt_sweep.py")


@pytest.fixture(scope="module")
def swept() -> Any:
    run = subprocess.run(
        [sys.executable, str(SWEEP)], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.clause("ENG-4", "ENG-5")
def test_an_interrupt_anywhere_neither_loses_a_result_nor_leaves_a_claim(swept: Any) -> None:
    assert swept["returns"]["wrong"] == []
    assert swept["returns"]["points"] > 40  # otherwise nothing was interrupted


def test_an_interrupt_anywhere_leaves_no_claim_of_a_body_that_raised(swept: Any) -> None:
    assert swept["raises"]["wrong"] == []
    assert swept["raises"]["points"] > 40
