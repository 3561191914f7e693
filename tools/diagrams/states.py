"""The states of a record and the transitions between them, computed from the table, and drawn as Mermaid.

No edge is written by hand: :func:`~idemproof.spec.transition.transition` is applied to one representative of
each situation that the table distinguishes.
"""

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
    Release,
    Renew,
)
from idemproof.spec.record import COMPLETED, DURABLE, EXPIRED, INPROGRESS, Record, deadline_ms, live
from idemproof.spec.transition import TABLE, deciding_row, transition

ABSENT = "ABSENT"
"""The state of a key that has no record."""

STATES: dict[str, str] = {
    ABSENT: "no record",
    INPROGRESS: "claimed, and live",
    COMPLETED: "has a response, and is live",
    EXPIRED: "stored, but no longer live",
}
"""The states and their meanings."""

_TIME = "time"
_DEADLINE = "TIME-2"

_NOW = 1_000_000
_SOON, _LATER = _NOW + 5_000, _NOW + 9_000
_NOW_S, _SOON_S, _LATER_S = (moment // 1000 for moment in (_NOW, _SOON, _LATER))
_OWN, _RESUMED, _OTHER = f"{DURABLE}execution/own", f"{DURABLE}execution/earlier", "other"
_EQUAL, _DIFFERENT = "equal", "different"
_RESPONSE, _OTHER_RESPONSE = '"own"', '"other"'

EVENTS: tuple[Event, ...] = (
    Claim(_OWN, _LATER, _LATER_S, _EQUAL),
    Complete(_OWN, _RESPONSE, _EQUAL, _LATER_S),
    CompleteWithin(_OWN, _RESPONSE, _EQUAL, _LATER_S),
    Claim(_OWN, _LATER, _LATER_S, _EQUAL, policy=REFUSE),
    Claim(_OWN, _LATER, _LATER_S, _EQUAL, policy=ASK),
    Release(_OWN),
    Abandon(_OWN),
    Renew(_OWN, _LATER),
    Evict(),
)
"""One event of each kind and policy, all of one attempt and with future deadlines; only the stored "
"records differ."""


class Edge(NamedTuple):
    """A transition from one state to another, or to the same.

    Parameters
    ----------
    source, target
        Two of :data:`STATES`.
    event
        The kind of event, or "time".
    clause
        The id of the deciding row.
    outcome
        The outcome for the caller; empty for time, which has no caller.
    """

    source: str
    target: str
    event: str
    clause: str
    outcome: str


def situations() -> Iterator[Record | None]:
    """Yield one representative of every situation that the rows distinguish.

    The situations combine these variants. The owner is that of the event, another one, none, or another
    invocation of the same durable execution. The payload hash is equal, different or absent. The response is
    the same or another. The record is live, past its lease only, or past its expiry. It has a lease or not.
    """
    yield None
    for owner, payload_hash in product((_OWN, _RESUMED, _OTHER, None), (_EQUAL, _DIFFERENT, None)):
        for lease, expiry in product((_SOON, _NOW, None), (_SOON_S, _NOW_S)):
            if lease is None or lease <= expiry * 1000:  # TIME-6
                yield Record("", INPROGRESS, expiry, lease, None, payload_hash, owner)
        for response, expiry in product((_RESPONSE, _OTHER_RESPONSE), (_SOON_S, _NOW_S)):
            yield Record("", COMPLETED, expiry, None, response, payload_hash, owner)


def state_of(record: Record | None, now: int) -> str:
    """Return the state of a record at ``now`` (epoch milliseconds), one of :data:`STATES`."""
    if record is None:
        return ABSENT
    return record.status if live(record, now) else EXPIRED


def edges() -> list[Edge]:
    """Return every transition, in the order of the states and of the table."""
    found: set[Edge] = set()
    for record in situations():
        source = state_of(record, _NOW)
        for event in EVENTS:
            after, outcome = transition(record, event, _NOW)
            clause = deciding_row(record, event, _NOW).clause
            target = state_of(after, _NOW)
            found.add(Edge(source, target, type(event).__name__, clause, type(outcome).__name__))
        if record is not None and live(record, _NOW):
            found.add(Edge(source, state_of(record, deadline_ms(record)), _TIME, _DEADLINE, ""))
    states, clauses = list(STATES), [row.clause for row in TABLE] + [_DEADLINE]
    return sorted(
        found,
        key=lambda edge: (states.index(edge.source), states.index(edge.target), clauses.index(edge.clause)),
    )


def label(edge: Edge) -> str:
    """Return the label of an edge."""
    if edge.event == _TIME:
        return f"its deadline passes, {edge.clause}"
    return f"{edge.event} {edge.clause}, {edge.outcome}"


def labels_between() -> dict[tuple[str, str], list[str]]:
    """Return the labels of all edges, by source and target."""
    between: dict[tuple[str, str], list[str]] = {}
    for edge in edges():
        between.setdefault((edge.source, edge.target), []).append(label(edge))
    return between


def state_diagram() -> str:
    """Return the states and the transitions as the text of a Mermaid ``stateDiagram-v2``."""
    lines = ["stateDiagram-v2"]
    lines += [f"    {state} : {state}<br/>{meaning}" for state, meaning in STATES.items()]
    lines.append(f"    [*] --> {ABSENT}")
    lines += [
        f"    {source} --> {target} : {'<br/>'.join(labels)}"
        for (source, target), labels in labels_between().items()
    ]
    return "\n".join(lines) + "\n"
