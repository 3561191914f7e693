"""Compares the table with its translation: TLC and Python must decide every case alike."""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from idemproof.spec.events import (
    ASK,
    REFUSE,
    Abandon,
    Claim,
    Complete,
    CompleteWithin,
    Event,
    Evict,
    Outcome,
    Release,
    Renew,
)
from idemproof.spec.record import COMPLETED, INPROGRESS, Record, execution_of
from idemproof.spec.transition import deciding_row, transition

from .module import MODULE, table_module
from .tlc import Result, run
from .traces import literal

ROOT = "Cases"
OWNERS = (None, "a", "b", "durable:e/1/x", "durable:e/1/y", "durable:f/1/x")
HASHES = (None, "x", "y")
MOMENTS = (-1, 0, 1999, 2000, 2001, 2500, 3000)
RECORDS: tuple[Record | None, ...] = (
    None,
    *(
        Record("key", INPROGRESS, expiry, lease, None, payload_hash, owner)
        for expiry, lease in ((3, 2000), (3, None), (2, 2500), (3, 0))
        for payload_hash, owner in product(HASHES[:2], OWNERS[:4])
    ),
    *(
        Record("key", COMPLETED, 2, None, response, payload_hash, owner)
        for response, payload_hash, owner in product((None, "1", "2"), HASHES[:2], OWNERS[:4])
    ),
)


class Case(NamedTuple):
    """What the table decides about one record and one event.

    Parameters
    ----------
    record, event, now
        What it is asked.
    row, after, outcome
        What it decides.
    """

    record: Record | None
    event: Event
    now: int
    row: str
    after: Record | None
    outcome: Outcome


def events() -> Iterator[Event]:
    """Yield events of each kind, which are owned or not, and fit a record or not."""
    for owner in OWNERS:
        for payload_hash in HASHES:
            yield Claim(owner, 4001, 3, payload_hash, "key")
            yield from (Claim(owner, 4001, 2, payload_hash, "key", policy) for policy in (REFUSE, ASK))
        yield Claim(owner, None, 5, "x", "key")
        yield from (Complete(owner, response, "x", 5, "key") for response in ("1", None))
        yield Complete(owner, "1", "y", 5, "key")
        yield from (CompleteWithin(owner, response, "x", 5, "key") for response in ("1", None))
        yield Release(owner)
        yield Abandon(owner)
        yield from (Renew(owner, lease) for lease in (1000, 4001))
    yield Evict()


def cases() -> Iterator[Case]:
    """Yield what the table decides about each record and event, at one of the moments in turn."""
    for number, (record, event) in enumerate(product(RECORDS, events())):
        now = MOMENTS[number % len(MOMENTS)]
        after, outcome = transition(record, event, now)
        yield Case(record, event, now, deciding_row(record, event, now).clause, after, outcome)


def compare(each: list[Case], table: str | None = None) -> Result:
    """Let TLC decide ``cases``. The invariant "Same" is violated at one that it decides otherwise.

    Parameters
    ----------
    each
        The cases.
    table
        The text of the translated table; None for that of the specification.
    """
    executions = {owner: execution_of(owner) for owner in OWNERS}
    named = " [] ".join(
        f"owner = {literal(owner)} -> {literal(execution)}" for owner, execution in executions.items()
    )
    listed = ",\n    ".join(_case(case) for case in each)
    text = f"""---- MODULE {ROOT} ----
EXTENDS {MODULE}, Sequences
VARIABLE place
ExecutionOfOwner(owner) == CASE {named}
All ==
  <<{listed}>>
Same ==
    LET case == All[place]
    IN  Decide(case.record, case.event, case.now) =
            [row |-> case.row, after |-> case.after, outcome |-> case.outcome]
Init == place \\in 1..Len(All)
Next == UNCHANGED place
====
"""
    configuration = "INIT Init\nNEXT Next\nINVARIANT Same\nCONSTANTS\n    None = None\n"
    return run(
        ROOT,
        {MODULE: table or table_module(), ROOT: text},
        f"{configuration}    ExecutionOf <- ExecutionOfOwner\n",
        brief=True,
    )


def _case(case: Case) -> str:
    fields = case._asdict().items()
    return f"[{', '.join(f'{name} |-> {literal(value)}' for name, value in fields)}]"
