"""What the invariants judge: a step of the transition function, and what happens in the history of a key."""

from typing import Literal, NamedTuple

from .events import Event, Outcome
from .occurrences import Occurrence
from .record import Record
from .transition import transition


class Step(NamedTuple):
    """One application of the transition function, at ``now`` (epoch milliseconds)."""

    before: Record | None
    event: Event
    now: int
    after: Record | None
    outcome: Outcome


def step_of(before: Record | None, event: Event, now: int) -> Step:
    """Apply ``event`` and return the step taken."""
    return Step(before, event, now, *transition(before, event, now))


class Began(NamedTuple):
    """A body started at ``now`` under a lease that ends at ``until`` (epoch milliseconds)."""

    owner: str
    now: int
    until: int


class Ended(NamedTuple):
    """A body, or the worker that ran it, ended.

    ``until`` is the epoch milliseconds at which the stored result expires; meaningful for "stored" only.
    """

    owner: str
    now: int
    how: Literal["stored", "raised", "crashed", "lost", "suspended"]
    until: int = 0


class Acted(NamedTuple):
    """The effect of a body happened, under a claim that expires at ``until`` (epoch milliseconds)."""

    owner: str
    now: int
    until: int


class Within(NamedTuple):
    """An attempt has completed within a transaction, which also contains its effect, and is still open."""

    owner: str
    now: int


class Committed(NamedTuple):
    """That transaction was committed; ``current`` is the record that is stored then."""

    owner: str
    now: int
    current: Record | None


class Answered(NamedTuple):
    """A caller with ``payload_hash`` got ``response`` while the record ``current`` was stored."""

    now: int
    response: str | None
    payload_hash: str | None
    current: Record | None


class Asked(NamedTuple):
    """A call that may wait for ``waiting_ms`` milliseconds ended after ``operations`` requests."""

    owner: str
    now: int
    operations: int
    waiting_ms: int = 0


Happening = Began | Ended | Acted | Within | Committed | Answered | Asked | Occurrence
"""An event of a history. The invariants use what was observed, and not what was reported."""
