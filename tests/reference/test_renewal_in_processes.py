"""Renewal, and what happens to processes: forks, gevent, and the end of the interpreter."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from heartbeat_time import WATCHDOG_SECONDS

PROGRAM = Path(__file__).with_name("renewing_program.py")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no forks")
needs_gevent = pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="needs gevent")


@pytest.mark.clause("REN-6", "REN-9")
@pytest.mark.parametrize(
    ("program", "code", "printed"),
    [
        pytest.param("fork", 0, "[0, 0]", marks=needs_fork),
        pytest.param("fork in flight", 0, "[41] 1", marks=needs_fork),
        pytest.param("gevent", 0, "True 20", marks=needs_gevent),
        ("late def", 0, "[True, True] None"),
        ("late async", 0, "[True, True] None"),
        ("exit", 0, "leaves"),
        ("exit while it hangs", 7, "leaves"),
    ],
)
def test_a_process_neither_hangs_nor_complains(program: str, code: int, printed: str) -> None:
    arguments = program.split() if program.startswith("late") else [program]
    run = subprocess.run(
        # Python 3.12 and newer warn of forks beside threads, which is what is tested.
        [sys.executable, "-W", "ignore::DeprecationWarning", str(PROGRAM), *arguments],
        capture_output=True,
        text=True,
        timeout=WATCHDOG_SECONDS,
        check=False,
    )
    assert (run.stdout.strip(), run.returncode, run.stderr) == (printed, code, "")
