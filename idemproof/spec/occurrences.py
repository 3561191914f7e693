"""What can happen to a call, as observers see it (OBS-1)."""

from enum import StrEnum
from typing import NamedTuple

from .events import Outcome
from .record import Record


class Kind(StrEnum):
    """Every kind of occurrence. The list is closed: nothing else is ever reported."""

    CLAIMED = "claimed"
    TOOK_OVER = "took over"
    NO_LEASE = "no lease"
    WAITING = "waiting"
    REPLAYED = "replayed"
    REPLAY_FAILED = "replay failed"
    RESULT_UNAVAILABLE = "result unavailable"
    IN_PROGRESS = "in progress"
    PAYLOAD_MISMATCH = "payload mismatch"
    CLAIM_FAILED = "claim failed"
    COMPLETED = "completed"
    RESULT_NOT_STORED = "result not stored"
    SUPERSEDED = "superseded"
    LEASE_LOST = "lease lost"
    OUTCOME_UNKNOWN = "outcome unknown"
    RENEWED = "renewed"
    RENEWAL_REFUSED = "renewal refused"
    RENEWAL_FAILED = "renewal failed"
    RELEASED = "released"
    NOT_HELD = "not held"
    RELEASE_FAILED = "release failed"
    SUSPENDED = "suspended"
    FORGOTTEN = "forgotten"
    RESOLVED = "resolved"
    PARKED = "parked"
    ABANDONED = "abandoned"


OF_RENEWAL = frozenset({Kind.RENEWED, Kind.RENEWAL_REFUSED, Kind.RENEWAL_FAILED})
"""The kinds that are reported while a body runs. None of them says how a run begins or ends."""


class Occurrence(NamedTuple):
    """One thing that has happened.

    Parameters
    ----------
    kind
        What happened.
    key
        Names the operation.
    owner
        The attempt's token; None if there is no attempt: an answer from a local cache, or an operator's act.
    row
        The row of the table that decided, such as ``ROW-1``; None if the table was not asked.
    outcome
        What the table said; None if it was not asked.
    record
        The stored record, as far as the attempt knows; None if there is none, or it is not known.
    ran
        Whether the function has run, in this attempt and by now.
    error
        What the function or the store raised, if that is why it happened.
    duration_ms
        Milliseconds since the call began, by the configured clock, and never negative; None if the call
        was not observed then.
    function
        The qualified name of the function, with its module; None for an operator's act.
    """

    kind: Kind
    key: str
    owner: str | None = None
    row: str | None = None
    outcome: Outcome | None = None
    record: Record | None = None
    ran: bool = False
    error: BaseException | None = None
    duration_ms: int | None = None
    function: str | None = None

    @property
    def replayed(self) -> bool:
        """Whether the caller gets the stored answer of another attempt."""
        return self.kind in (Kind.REPLAYED, Kind.SUPERSEDED)
