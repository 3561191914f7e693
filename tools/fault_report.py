"""Inject each fault into the specification, and report how the explorer finds it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from finer_faults import FINER_FAULTS
from idemproof.spec.explorer import Explorer, Trace
from idemproof.spec.model import RUNNING, Attempt
from injected_faults import FAULTS, Fault, injected

REPORT = "seeded-faults.md"

ALL_FAULTS = (*FAULTS, *FINER_FAULTS)

_LIMIT = 50_000
_HEAD = """\
# Fault injection

Each line is one fault, injected into the specification for one search with two clients. The search is breadth
first, so it finds a shortest trace. "Steps" is the length of that trace; one second of waiting is one step.
The search finds {found} of {count} faults. It writes this page itself.

"""


def found(fault: Fault) -> Trace | None:
    """Return the shortest trace by which the explorer finds ``fault``, None if it finds none."""
    with injected(fault):
        explorer = Explorer(2, fault.payload_hashes, invocations=fault.invocations)
        result = explorer.search(limit=_LIMIT)
    return result.counterexample or result.stuck


def found_beginning_late() -> Trace | None:
    """Return the trace of a client that begins its body without checking its lease (ENG-3), or None."""

    def granted(attempt: Attempt) -> Iterator[Any]:
        yield attempt._then("begins its body", RUNNING)

    with patch.object(Attempt, "_granted", granted):
        return Explorer(2).search(limit=_LIMIT).counterexample


def report() -> str:
    """Return a Markdown table of the faults and the length of the trace that shows each."""
    lines = ["| fault in | fault | breaks | steps |", "|---|---|---|---|"]
    traces = [(fault.row, fault.what, found(fault)) for fault in FAULTS]
    traces.append(("ENG-3", "a body begins although its lease is over", found_beginning_late()))
    for place, what, trace in traces:
        result = "**not found** |" if trace is None else f"{', '.join(_clauses(trace))} | {len(trace.lines)}"
        lines.append(f"| {place} | {what} | {result} |")
    return (
        _HEAD.format(count=len(traces), found=sum(trace is not None for *_, trace in traces))
        + "\n".join(lines)
        + "\n"
    )


def _clauses(trace: Trace) -> list[str]:
    return sorted({name.partition(" ")[0] for name in trace.broken})


def files(root: Path) -> dict[str, str]:  # noqa: ARG001 - it comes from the code
    """Return the report by its file name."""
    return {REPORT: report()}
