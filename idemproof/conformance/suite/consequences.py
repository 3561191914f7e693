"""What the user of a layer or a service suffers from a broken clause: the severity of a finding."""

from collections.abc import Sequence
from typing import NamedTuple


class Consequence(NamedTuple):
    """A consequence of a fault, and how it is called in a few words."""

    name: str
    says: str


TWICE = Consequence("effect twice", "The effect can happen twice: a customer is charged twice.")
LEAKED = Consequence("another client's answer", "A client can read an answer that belongs to another client.")
WRONG = Consequence("wrong result", "A caller can get another call's result, or an outdated one.")
LOST = Consequence("lost result", "A stored result can get lost, and its function runs again.")
DIFFERS = Consequence("answers differ", "A repeated request can get another answer than the first one got.")
LOCKED_OUT = Consequence("locked out", "Callers can be locked out until the lease ends, or wait without end.")
EXHAUSTED = Consequence("resource leak", "The process can run out of files, connections or threads.")
UNPROTECTED = Consequence(
    "no protection", "A request can run without protection, or under another key than the client means."
)
UNCLEAR = Consequence("unclear answer", "A client cannot learn from the answer what to do next.")
REFUSED = Consequence("wrong refusal", "A call can fail with an error although it could have an answer.")

CONSEQUENCES = (TWICE, LEAKED, WRONG, LOST, DIFFERS, LOCKED_OUT, UNPROTECTED, EXHAUSTED, REFUSED, UNCLEAR)
"""All consequences, the most severe first."""

_CLAUSES = {
    TWICE: (
        "INV-1 INV-3 INV-5 INV-6 CAS-2 CAS-3 CAS-4 CAS-5 CAS-7 REC-5 REC-6 TIME-1 TIME-2 TIME-4 TIME-6 "
        "ROW-0 ROW-1 ROW-2 ROW-4 ROW-16 ROW-12 ROW-13"
    ),
    WRONG: "INV-4 CAS-1 ROW-3 ROW-5",
    LOST: "INV-2 INV-7 CAS-6 CAS-8 CAS-9 TIME-3 TIME-5 ROW-6 ROW-7 ROW-8 ROW-9 ROW-14 ROW-15",
    LOCKED_OUT: "INV-8 INV-9 CAS-10 CAS-13 CAS-14 ROW-10 ROW-11",
    EXHAUSTED: "CAS-12",
    REFUSED: "CAS-11 REC-1 REC-2 REC-3 REC-4 REC-7",
}
_OF_CLAUSE = {clause: each for each, clauses in _CLAUSES.items() for clause in clauses.split()}


def consequence_of(clauses: Sequence[str], *, raised: bool = False) -> Consequence:
    """Return the most severe consequence of breaking the clauses.

    Parameters
    ----------
    clauses
        The ids of the broken clauses.
    raised
        Whether the layer has only raised an error instead of answering.
    """
    if raised:
        return REFUSED
    known = [_OF_CLAUSE[each] for each in clauses if each in _OF_CLAUSE]
    return min(known, key=CONSEQUENCES.index, default=REFUSED)
