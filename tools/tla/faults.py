"""Injects the faults of ``injected_faults.py`` into the TLA+ model, one at a time, and lets TLC find them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fault_report import ALL_FAULTS
from idemproof.spec import transition as rules
from injected_faults import Fault, injected

from .configurations import Configuration
from .model import CLIENTS
from .module import MODULE, table_module
from .tlc import Result, run

REPORT = "faults.md"

_HEAD = """\
# Faults that TLC finds

The faults are those of [fault injection](../seeded-faults.md). Each is translated from its Python source to
TLA+, and injected into [the table](IdemproofTable.tla) for a run of TLC with two clients. "Breaks" is the
first invariant that TLC found violated, "steps" the length of a shortest trace. TLC finds {found} of {count}
faults. The others show only with a clock at zero or below, in records that such clients never write, in
requests that they never send, or in what these invariants do not mention.
`python tools/regenerate.py tla-faults` writes this page.

| fault in | fault | breaks | clients with | steps |
|---|---|---|---|---|
"""


class Found(NamedTuple):
    """What TLC found about one fault.

    Parameters
    ----------
    row, what
        The fault.
    bounds
        The name of the bounds of the last search.
    result
        TLC's result.
    """

    row: str
    what: str
    bounds: str
    result: Result

    @property
    def clause(self) -> str:
        """The clause that the fault breaks, or "not found"."""
        return (self.result.violated or "**not found**").replace("_", "-")


def bounds(fault: Fault) -> Iterator[Configuration]:
    """Yield the bounds within which TLC searches for ``fault``, until it is found."""
    whole = Configuration("whole seconds", "", clients=2, calls=2, late=0, seconds=5)
    whole = whole._replace(hashes=fault.payload_hashes, invocations=fault.invocations, policy=fault.policy)
    whole = whole._replace(transactions=fault.transactions)
    if fault.coarse:
        yield whole
        return
    moments = (1, 1499, 1500, 2999)
    finer = Configuration(
        "milliseconds", "", 2, 1, 0, 3, leases="1500, 2500", windows="1, 3", moments=moments
    )
    yield finer._replace(policy=fault.policy)
    if fault.policy == "run":
        yield Configuration(
            "no owner tokens", "", 2, 1, 0, 4, hashes=2, tokenless=2, leases="None, 2000", windows="1"
        )


def found(fault: Fault) -> Found:
    """Let TLC search the model with ``fault``."""
    with injected(fault):
        table = table_module(rules.TABLE)
    for each in bounds(fault):
        result = run(CLIENTS, {MODULE: table}, each.text(), brief=True)
        if result.violated:
            break
    return Found(fault.row, fault.what, each.name, result)


def found_beginning_late() -> Found:
    """Let TLC search the model with a client that begins its body without checking its lease (ENG-3)."""
    fault = Fault("ENG-3", "a body begins although its lease is over")
    (each,) = bounds(fault)
    client = f"---- MODULE Late ----\nEXTENDS {CLIENTS}\nAlways(client) == TRUE\n====\n"
    result = run("Late", {MODULE: table_module(), "Late": client}, each.text(MayBegin="Always"), brief=True)
    return Found(fault.row, fault.what, each.name, result)


def found_without_a_question() -> Found:
    """Let TLC search the model with a client whose takeover begins without a question (TAKE-3)."""
    fault = Fault("TAKE-3", "a claim that asks begins its body", policy="ask")
    (each,) = bounds(fault)
    client = f"---- MODULE Hasty ----\nEXTENDS {CLIENTS}\nNeverAsks(outcome) == FALSE\n====\n"
    result = run("Hasty", {MODULE: table_module(), "Hasty": client}, each.text(Asks="NeverAsks"), brief=True)
    return Found(fault.row, fault.what, each.name, result)


def found_without_a_claim() -> Found:
    """Let TLC search the model with a client that commits although its claim is lost (TXN-6)."""
    fault = Fault("TXN-6", "a transaction commits although its claim is lost", transactions=True)
    (each,) = bounds(fault)
    client = f"---- MODULE Bold ----\nEXTENDS {CLIENTS}\nAlways(outcome) == TRUE\n====\n"
    result = run("Bold", {MODULE: table_module(), "Bold": client}, each.text(CanCommit="Always"), brief=True)
    return Found(fault.row, fault.what, each.name, result)


def all_found() -> Iterator[Found]:
    """Let TLC search for every fault."""
    yield from map(found, ALL_FAULTS)
    yield found_beginning_late()


def _line(one: Found) -> str:
    steps = len(one.result.trace) if one.result.violated else ""
    return f"| {one.row} | {one.what} | {one.clause} | {one.bounds} | {steps} |"


def files(root: Path) -> dict[str, str]:  # noqa: ARG001 - it comes from the code
    """Return the report by its file name."""
    each = list(all_found())
    lines = [_line(one) for one in each]
    head = _HEAD.format(found=sum(one.result.violated is not None for one in each), count=len(each))
    return {REPORT: head + "\n".join(lines) + "\n"}
