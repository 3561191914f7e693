"""Inject each fault into the specification, and report how the explorer and the proof find it."""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from finer_faults import FINER_FAULTS
from idemproof.spec import transition as rules
from idemproof.spec.explorer import Explorer, Trace
from idemproof.spec.moves import Attempt
from idemproof.spec.states import RUNNING
from injected_faults import FAULTS, Fault, injected
from takeover_faults import CLIENT_FAULTS, ClientFault, found_in_clients

if TYPE_CHECKING:
    from idemproof.proof.prover import Proof

REPORT = "seeded-faults.md"

ALL_FAULTS = (*FAULTS, *FINER_FAULTS)

_LIMIT = 50_000
_HEAD = """\
# Fault injection

Each line is one fault, injected into the specification.

- The search is [`idemproof explore`](searches.md) with two clients. It is breadth first, so it finds a
  shortest trace. "Steps" is the length of that trace; one second of waiting is one step. It finds {found} of
  {count} faults. Its clients cannot show the others: their clock advances by whole seconds, all leases have
  the same length and so have all windows, and all clients have owner tokens.
- The [proof](proof.md) finds {refuted} of {count} faults. It stops at the first path of `transition` on which
  a property fails, and the column lists each property that fails there. INV-5 is proved last, from what
  is proved before, so it seldom appears. The code has been executed again with the values of each
  counterexample.
- [TLC](tla/faults.md) searches for the same faults in the TLA+ model.

`python tools/regenerate.py injected-faults` writes this page, and the tests compare each line.

"""
_CLIENTS = """
## Faults of clients

Each line leaves out one rule of the [takeovers](../idemproof/spec/protocol.md#takeovers), in the clients of
a search whose claims refuse or ask.

| fault against | fault | the search finds | steps |
|---|---|---|---:|
"""
_COLUMNS = """\
| fault in | fault | the search finds | steps | the proof finds |
|---|---|---|---:|---|
"""


def found(fault: Fault) -> Trace | None:
    """Return the shortest trace by which the explorer finds ``fault``, None if it finds none."""
    with injected(fault):
        explorer = Explorer(
            2,
            fault.payload_hashes,
            invocations=fault.invocations,
            policy=fault.policy,
            transactions=fault.transactions,
        )
        result = explorer.search(limit=_LIMIT)
    return result.counterexample or result.stuck


def found_beginning_late() -> Trace | None:
    """Return the trace of a client that begins its body without checking its lease (ENG-3), or None."""

    def granted(attempt: Attempt) -> Iterator[Any]:
        yield attempt._then("begins its body", RUNNING)

    with patch.object(Attempt, "_granted", granted):
        return Explorer(2).search(limit=_LIMIT).counterexample


def refuted(fault: Fault, only: Collection[str] | None = None) -> "Proof":
    """Return the proof that fails because of ``fault``. It stops at the first path with a counterexample.

    Parameters
    ----------
    fault
        The fault that is injected.
    only
        The clauses that are proved; None for all. If all that fail are among them, it stops at the same path.
    """
    from idemproof.proof.prover import Prover  # noqa: PLC0415 - the search needs no solver

    event = next(row.event for row in rules.TABLE if row.clause == fault.row)
    with injected(fault):
        return Prover(only, events=(event,), stop=True, policies=(fault.policy,)).prove()


def refuted_beginning_late() -> "Proof":
    """Return the proof that fails because it does not assume ENG-3."""
    from idemproof.proof.prover import Prover  # noqa: PLC0415 - as in refuted

    return Prover(events=(), without=("ENG-3",)).prove()


def searched(place: str, what: str, trace: Trace | None) -> str:
    """Return the first columns of the line for one fault."""
    result = "| | |" if trace is None else f"| {_clauses(trace.broken)} | {len(trace.lines)} |"
    return f"| {place} | {what} {result}"


def proved(proof: "Proof") -> str:
    """Return the last column."""
    broken = [name for found in proof.counterexamples for name in found.trace.broken]
    return f" {_clauses(broken) or '**nothing**'} |"


def searched_in_clients(fault: ClientFault) -> str:
    """Return the line for one fault of clients."""
    return searched(fault.clause, fault.what, found_in_clients(fault))


def _clauses(broken: Iterable[str]) -> str:
    return ", ".join(sorted({name.partition(" ")[0] for name in broken}))


LATE = ("ENG-3", "a body begins although its lease is over")


def report() -> str:
    """Return the page: the faults, the length of the trace that shows each, and what the proof finds."""
    results = [(fault.row, fault.what, found(fault), refuted(fault)) for fault in ALL_FAULTS]
    results.append((*LATE, found_beginning_late(), refuted_beginning_late()))
    head = _HEAD.format(
        count=len(results),
        found=sum(trace is not None for _, _, trace, _ in results),
        refuted=sum(bool(proof.counterexamples) for *_, proof in results),
    )
    lines = [searched(place, what, trace) + proved(proof) for place, what, trace, proof in results]
    of_clients = "\n".join(map(searched_in_clients, CLIENT_FAULTS))
    return head + _COLUMNS + "\n".join(lines) + "\n" + _CLIENTS + of_clients + "\n"


def files(root: Path) -> dict[str, str]:  # noqa: ARG001 - it comes from the code
    """Return the report by its file name."""
    return {REPORT: report()}
