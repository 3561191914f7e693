"""Injects the faults of ``injected_faults.py`` into the TLA+ model, one at a time, and lets TLC find them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from injected_faults import FAULTS, Fault

from .configurations import Configuration
from .module import MODULE, Change, table_module
from .tlc import Result, run

REPORT = "faults.md"
CLIENTS = "IdemproofClients"

_HEAD = """\
# Faults that TLC finds

The faults are those of [the other search](../seeded-faults.md). Each of them is translated from its Python source to TLA+,
and injected into [the table](IdemproofTable.tla) for one run of TLC with two clients. "Breaks" is the first invariant that TLC
found violated, "steps" the length of the trace, which is a shortest one. TLC finds {found} of {count} faults. The program that
runs TLC writes this page.

| fault in | fault | breaks | steps |
|---|---|---|---|
"""


class Found(NamedTuple):
    """What TLC found about one fault.

    Parameters
    ----------
    row, what
        The fault.
    result
        TLC's result.
    """

    row: str
    what: str
    result: Result

    @property
    def clause(self) -> str:
        """The clause that the fault breaks, or "not found"."""
        return (self.result.violated or "**not found**").replace("_", "-")


def configuration(fault: Fault) -> Configuration:
    """Return the smallest bounds within which TLC finds ``fault``."""
    return Configuration(
        "fault",
        f"{fault.row}: {fault.what}",
        clients=2,
        calls=2,
        late=0,
        horizon=5,
        hashes=fault.payload_hashes,
        invocations=fault.invocations,
    )


def found(fault: Fault) -> Found:
    """Let TLC search the model with ``fault``."""
    table = table_module(Change(fault.row, fault.guard, fault.step))
    return Found(fault.row, fault.what, run(CLIENTS, {MODULE: table}, configuration(fault).text()))


def found_beginning_late() -> Found:
    """Let TLC search the model with a client that begins its body without checking its lease (ENG-3)."""
    bounds = Configuration("fault", "A body begins although its lease is over", 2, 2, 0, 5)
    client = f"---- MODULE Late ----\nEXTENDS {CLIENTS}\nAlways(client) == TRUE\n====\n"
    result = run("Late", {MODULE: table_module(), "Late": client}, bounds.text(MayBegin="Always"))
    return Found("ENG-3", "a body begins although its lease is over", result)


def all_found() -> Iterator[Found]:
    """Let TLC search for every fault."""
    yield from map(found, FAULTS)
    yield found_beginning_late()


def files(root: Path) -> dict[str, str]:  # noqa: ARG001 - it comes from the code
    """Return the report by its file name."""
    each = list(all_found())
    lines = [f"| {one.row} | {one.what} | {one.clause} | {len(one.result.trace)} |" for one in each]
    head = _HEAD.format(found=sum(one.result.violated is not None for one in each), count=len(each))
    return {REPORT: head + "\n".join(lines) + "\n"}
