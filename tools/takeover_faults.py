"""Faults of clients whose effects are searched, injected one at a time. The search must find each.

Each leaves out one rule of the families TAKE or TXN, by changing one kind of move.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

from idemproof.spec.events import ASK, REFUSE, RUN
from idemproof.spec.explorer import Explorer, Trace
from idemproof.spec.moves import WINDOW, Attempt, Move
from idemproof.spec.states import COMPLETING, RELEASING, RUNNING, WRITTEN
from idemproof.spec.takeover import CautiousAttempt
from idemproof.spec.transactions import TransactionalAttempt

LIMIT = 50_000


class ClientFault(NamedTuple):
    """One fault.

    Parameters
    ----------
    clause
        The clause that is left out.
    what
        A description of the fault.
    phase, move
        The phase of the client and the move in words that are changed.
    changes
        The changes of the client after the move.
    policy
        The policy of the clients.
    transactions
        Whether they complete within transactions.
    """

    clause: str
    what: str
    phase: str
    move: str
    changes: dict[str, Any]
    policy: str = ASK
    transactions: bool = False


CLIENT_FAULTS = (
    ClientFault("TAKE-3", "a claim that asks begins its body", "claiming", "claims", {"asks": False}),
    ClientFault(
        "TAKE-3",
        "a takeover is forgotten when its reply is lost",
        "granted",
        "loses the reply to its claim",
        {"asks": False},
    ),
    ClientFault(
        "TAKE-3",
        "a takeover is forgotten when its lease ends before it asks",
        "granted",
        "finds that its lease has ended",
        {"asks": False},
    ),
    ClientFault(
        "TAKE-4",
        "an attempt that gives up before it asks releases",
        "claiming",
        "gives up",
        {"phase": RELEASING},
    ),
    ClientFault(
        "TAKE-4",
        "an attempt that cannot tell releases",
        "asking",
        "cannot tell",
        {"phase": RELEASING},
    ),
    ClientFault(
        "TAKE-5",
        "an exception counts as the answer that nothing was done",
        "asking",
        "cannot tell",
        {"phase": RUNNING, "asks": False},
    ),
    ClientFault(
        "TAKE-5",
        "the lease is not checked again after the answer",
        "asking",
        "finds it not done, and its lease ended",
        {"phase": RUNNING, "asks": False},
    ),
    ClientFault(
        "TAKE-6",
        "an attempt that asks releases whatever its body raises",
        "acted",
        "raises after its effect",
        {"phase": RELEASING},
    ),
    ClientFault(
        "TAKE-6",
        "an attempt that refuses releases whatever its body raises",
        "acted",
        "raises after its effect",
        {"phase": RELEASING},
        REFUSE,
    ),
    ClientFault(
        "TXN-2",
        "an attempt whose transaction was rolled back completes by itself",
        "written",
        "rolls back",
        {"phase": COMPLETING},
        RUN,
        transactions=True,
    ),
    ClientFault(
        "TXN-6",
        "an attempt whose claim is lost commits its effect",
        "running",
        "is refused, and cannot commit",
        {"phase": WRITTEN, "expiry": WINDOW},
        RUN,
        transactions=True,
    ),
)


@contextmanager
def injected_into_clients(fault: ClientFault) -> Iterator[None]:
    """Inject ``fault`` into the clients that the explorer searches."""
    name = f"_{fault.phase}"
    kind: type[Attempt] = TransactionalAttempt if fault.transactions else CautiousAttempt
    original = getattr(kind, name)

    def changed(attempt: Attempt) -> Iterator[Move]:
        for move in original(attempt):
            # What begins after its lease breaks ENG-3 already, where that is not the fault.
            if move.what == fault.move and (attempt._client.lease or fault.move != "cannot tell"):
                changes = fault.changes
                if changes.get("phase") == RUNNING:
                    changes = changes | {"lease": attempt._client.lease}
                yield move._replace(client=move.client._replace(**changes))
            else:
                yield move

    with patch.object(kind, name, changed):
        yield


def found_in_clients(fault: ClientFault) -> Trace | None:
    """Return the shortest trace by which the explorer finds ``fault``, None if it finds none."""
    with injected_into_clients(fault):
        return (
            Explorer(2, policy=fault.policy, transactions=fault.transactions)
            .search(limit=LIMIT)
            .counterexample
        )
