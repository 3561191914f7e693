"""Lets TLC follow recorded runs of the production engine, and compare the table with its translation."""

from collections.abc import Mapping, Sequence
from typing import Any

from idemproof.spec.record import Record

from .configurations import INVARIANTS
from .module import MODULE, table_module
from .recorded import Applied, Entry, owners_of
from .tlc import Result, run

ROOT = "IdemproofTrace"
RUNS = "RecordedRuns"
MILLISECONDS = {"lease", "in_progress_expiry_timestamp", "until", "at"}
SECONDS = {"expiry", "expiry_timestamp"}
Trace = tuple[int, Sequence[Entry]]
"""When a run began (epoch milliseconds), and its entries."""


def literal(value: Any, began: int = 0) -> str:
    """Return ``value`` in TLA+. Times are counted from ``began``, because TLC's numbers have 32 bits."""
    if value is None:
        return "None"
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    fields = {name: _since(name, each, began) for name, each in value._asdict().items()}
    if isinstance(value, Entry):
        fields.setdefault("kind", "store")
    elif not isinstance(value, Record):
        fields = {"kind": type(value).__name__} | fields
    return f"[{', '.join(f'{name} |-> {literal(each, began)}' for name, each in fields.items())}]"


def _since(name: str, value: Any, began: int) -> Any:
    if value is not None and name in MILLISECONDS:
        return value - began
    return value - began // 1000 if name in SECONDS else value


def runs_module(traces: Sequence[Trace]) -> str:
    """Return the text of the module that has recorded runs."""
    runs = (",\n        ".join(literal(entry, began) for entry in entries) for began, entries in traces)
    owners = sorted({owner for _, entries in traces for owner in owners_of(entries)})
    return "\n".join(
        [
            f"---------------------------- MODULE {RUNS} ----------------------------",
            "(* Recorded by tools/tla/recorded.py. *)",
            f"EXTENDS {MODULE}",
            "",
            f"Owners == {{{', '.join(map(literal, owners))}}}",
            "",
            "Traces ==",
            "    <<  <<" + ">>,\n        <<".join(runs) + ">>  >>",
            "=" * 78,
            "",
        ]
    )


def follow(
    traces: Sequence[Trace], *, rejected: bool = False, texts: Mapping[str, str] | None = None
) -> Result:
    """Let TLC follow recorded runs.

    Parameters
    ----------
    traces
        The runs.
    rejected
        Whether TLC must follow none of them to its end. If it follows one, "IsRejected" is violated. By
        default it must follow all, and reports a deadlock at an entry that is no step of the model.
    texts
        Modules to replace; the table from the specification by default.
    """
    configuration = [
        "SPECIFICATION TraceSpec",
        "CONSTANTS",
        "    None = None",
        "    ExecutionOf <- RecordedExecution",
        "    Attempt <- RecordedAttempt",
        "    Newcomer <- RecordedNewcomer",
        "    Clients <- Owners",
        "    Durable = {}",
        "    Calls = 1",
        "    Tokenless = {}",
        "    Hashes = {}",
        "    Leases = {}",
        "    Windows = {}",
        "    Late = 0",
        "    Moments = {}",
        f"INVARIANTS {'IsRejected' if rejected else ' '.join(INVARIANTS)}",
    ]
    return run(
        ROOT,
        {MODULE: table_module(), RUNS: runs_module(traces), **(texts or {})},
        "\n".join(configuration) + "\n",
        options=["-deadlock"] if rejected else [],
    )


def outcomes(traces: Sequence[Trace]) -> dict[str, int]:
    """Return how often each kind of outcome occurs."""
    counts: dict[str, int] = {}
    for _, entries in traces:
        for entry in entries:
            if isinstance(entry, Applied):
                name = type(entry.outcome).__name__
                counts[name] = counts.get(name, 0) + 1
    return counts
