"""The protocol: one total, pure function, written as a table of rows.

The engine, the layers, the simulator and the documentation use this table. Nothing else decides.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .events import (
    ASK,
    REFUSE,
    RUN,
    Abandon,
    Abandoned,
    Claim,
    Claimed,
    Complete,
    Completed,
    CompleteWithin,
    Event,
    Evict,
    Evicted,
    InProgress,
    Kept,
    LeaseLost,
    NotHeld,
    Outcome,
    PayloadMismatch,
    Release,
    Released,
    Renew,
    Renewed,
    Replay,
    Superseded,
    UnknownOutcome,
)
from .record import (
    COMPLETED,
    INPROGRESS,
    Record,
    ceil_seconds,
    claimable,
    deadline_ms,
    expiry_ms,
    holds,
    same_execution,
)

Next = tuple[Record | None, Outcome]


@dataclass(frozen=True, slots=True)
class Row:
    """One rule of the protocol.

    Parameters
    ----------
    clause
        The id of the rule in ``protocol.md``.
    event
        The class of the event that the rule is about.
    when, then, outcome
        The rule in words, as the documentation shows it.
    guard
        Returns whether the rule applies to (record, event, now).
    step
        Returns the next record and the outcome for (record, event, now).
    """

    clause: str
    event: type[Event]
    when: str
    then: str
    outcome: str
    guard: Callable[[Any, Any, int], bool]
    step: Callable[[Any, Any, int], Next]


def _always(_record: Record | None, _event: Event, _now: int) -> bool:
    return True


def _free(record: Record | None, event: Claim, now: int) -> bool:
    # Under another policy than "run", a claim of another attempt is remembered until it expires (TAKE-2).
    return record is None or (
        claimable(record, now)
        and (
            event.policy == RUN
            or record.status == COMPLETED
            or now >= expiry_ms(record)
            or holds(record, event.owner)
        )
    )


def _refuses_lapsed(record: Record, event: Claim, now: int) -> bool:
    return event.policy == REFUSE and claimable(record, now)


def _asks_about_lapsed(record: Record, event: Claim, now: int) -> bool:
    return event.policy == ASK and claimable(record, now)


def _held(
    record: Record | None, event: Claim | CompleteWithin | Release | Renew | Abandon, _now: int
) -> bool:
    return holds(record, event.owner)


def _hashes_differ(record: Record, event: Claim | Complete, _now: int = 0) -> bool:
    return (
        record.payload_hash is not None
        and event.payload_hash is not None
        and record.payload_hash != event.payload_hash
    )


def _of_own_execution(record: Record, event: Claim, _now: int) -> bool:
    return record.status == INPROGRESS and same_execution(record, event.owner)


def _completed(record: Record, _event: Claim, _now: int) -> bool:
    return record.status == COMPLETED


def _own_result(record: Record | None, event: Complete | CompleteWithin, _now: int) -> bool:
    # The owner alone proves nothing, because other software may update the result without checking, and leave
    # our owner token next to its own result.
    return (
        record is not None
        and record.status == COMPLETED
        and event.owner is not None
        and record.owner == event.owner
        and record.response_data == event.response
    )


def _may_complete(record: Record | None, event: Complete, now: int) -> bool:
    return record is None or holds(record, event.owner) or claimable(record, now)


def _completed_alike(record: Record, event: Complete, _now: int) -> bool:
    return record.status == COMPLETED and not _hashes_differ(record, event)


def _evictable(record: Record | None, _event: Evict, now: int) -> bool:
    return record is not None and not _is_owed(record, now)


def _is_owed(record: Record, now: int) -> bool:
    return not claimable(record, now) or now < expiry_ms(record)


def _new_claim(record: Record | None, event: Claim) -> Record:
    expiry, lease = event.expiry, event.lease
    if record is not None and event.policy != RUN and record.status == INPROGRESS:
        expiry = max(expiry, record.expiry_timestamp)
    if lease is not None and lease > expiry * 1000:
        expiry = ceil_seconds(lease)
    return Record(event.idempotency_key, INPROGRESS, expiry, lease, None, event.payload_hash, event.owner)


def _claim(record: Record | None, event: Claim, _now: int) -> Next:
    claimed = _new_claim(record, event)
    return claimed, Claimed(claimed, record)


def _park(record: Record, _event: Claim, _now: int) -> Next:
    return record, UnknownOutcome(record)


def _take_over(record: Record, event: Claim, _now: int) -> Next:
    claimed = _new_claim(record, event)
    return claimed, Claimed(claimed, record, True)


def _recognise_claim(record: Record, _event: Claim, _now: int) -> Next:
    return record, Claimed(record)


def _resume(record: Record, event: Claim, _now: int) -> Next:
    resumed = record._replace(owner=event.owner)
    return resumed, Claimed(resumed)


def _refuse_payload(record: Record, _event: Claim, _now: int) -> Next:
    return record, PayloadMismatch(record)


def _refuse_running(record: Record, _event: Claim, now: int) -> Next:
    return record, InProgress(record, deadline_ms(record) - now)


def _replay(record: Record, _event: Claim, _now: int) -> Next:
    return record, Replay(record)


def _recognise_completion(record: Record, _event: Complete | CompleteWithin, _now: int) -> Next:
    return record, Completed(record)


def _complete(_record: Record | None, event: Complete | CompleteWithin, _now: int) -> Next:
    key, response, payload_hash = event.idempotency_key, event.response, event.payload_hash
    completed = Record(key, COMPLETED, event.expiry, None, response, payload_hash, event.owner)
    return completed, Completed(completed)


def _supersede(record: Record, _event: Complete, _now: int) -> Next:
    return record, Superseded(record)


def _lose(record: Record | None, _event: Complete | CompleteWithin | Renew, _now: int) -> Next:
    return record, LeaseLost(record)


def _release(_record: Record, _event: Release, _now: int) -> Next:
    return None, Released()


def _abandon(record: Record, _event: Abandon, now: int) -> Next:
    if now >= deadline_ms(record):
        return record, Abandoned(record)
    abandoned = record._replace(in_progress_expiry_timestamp=now)
    return abandoned, Abandoned(abandoned)


def _not_held(record: Record | None, _event: Release | Abandon, _now: int) -> Next:
    return record, NotHeld()


def _renew(record: Record, event: Renew, _now: int) -> Next:
    lease = max(deadline_ms(record), event.lease)
    renewed = record._replace(
        in_progress_expiry_timestamp=lease,
        expiry_timestamp=max(record.expiry_timestamp, ceil_seconds(lease)),
    )
    return renewed, Renewed(renewed)


def _evict(_record: Record, _event: Evict, _now: int) -> Next:
    return None, Evicted()


def _keep(record: Record | None, _event: Evict, _now: int) -> Next:
    return record, Kept()


_SAME = "unchanged"

TABLE: tuple[Row, ...] = (
    Row(
        "ROW-1",
        Claim,
        "claimable, and policy run, or absent, COMPLETED, past its expiry, or held by the owner",
        "INPROGRESS of the owner, expiry not before the lease",
        "Claimed, with the record it took over",
        _free,
        _claim,
    ),
    Row("ROW-2", Claim, "held by the owner", _SAME, "Claimed (own write)", _held, _recognise_claim),
    Row(
        "ROW-3",
        Claim,
        "both payload hashes present and different",
        _SAME,
        "PayloadMismatch",
        _hashes_differ,
        _refuse_payload,
    ),
    Row("ROW-5", Claim, "COMPLETED", _SAME, "Replay", _completed, _replay),
    Row("ROW-17", Claim, "claimable, policy refuse", _SAME, "UnknownOutcome", _refuses_lapsed, _park),
    Row(
        "ROW-18",
        Claim,
        "claimable, policy ask",
        "INPROGRESS of the owner, expiry not before the lease or the earlier expiry",
        "Claimed, with the record it took over, and asks",
        _asks_about_lapsed,
        _take_over,
    ),
    Row(
        "ROW-16",
        Claim,
        "INPROGRESS of the owner's durable execution",
        "the owner replaced, all else as it was",
        "Claimed",
        _of_own_execution,
        _resume,
    ),
    Row("ROW-4", Claim, "else (INPROGRESS)", _SAME, "InProgress", _always, _refuse_running),
    Row(
        "ROW-6",
        Complete,
        "COMPLETED of the same owner with the same response",
        _SAME,
        "Completed (own write)",
        _own_result,
        _recognise_completion,
    ),
    Row(
        "ROW-7",
        Complete,
        "held by the owner, or claimable",
        "COMPLETED of the owner, no lease",
        "Completed",
        _may_complete,
        _complete,
    ),
    Row(
        "ROW-8",
        Complete,
        "COMPLETED, payload hashes not different",
        _SAME,
        "Superseded",
        _completed_alike,
        _supersede,
    ),
    Row("ROW-9", Complete, "else", _SAME, "LeaseLost", _always, _lose),
    Row(
        "ROW-21",
        CompleteWithin,
        "COMPLETED of the same owner with the same response",
        _SAME,
        "Completed (own write)",
        _own_result,
        _recognise_completion,
    ),
    Row(
        "ROW-22",
        CompleteWithin,
        "held by the owner",
        "COMPLETED of the owner, no lease",
        "Completed",
        _held,
        _complete,
    ),
    Row("ROW-23", CompleteWithin, "else", _SAME, "LeaseLost", _always, _lose),
    Row("ROW-10", Release, "held by the owner", "absent", "Released", _held, _release),
    Row("ROW-11", Release, "else", _SAME, "NotHeld", _always, _not_held),
    Row(
        "ROW-19",
        Abandon,
        "held by the owner",
        "lease the earlier of its deadline and now",
        "Abandoned",
        _held,
        _abandon,
    ),
    Row("ROW-20", Abandon, "else", _SAME, "NotHeld", _always, _not_held),
    Row(
        "ROW-12",
        Renew,
        "held by the owner",
        "lease the later of old and new, expiry not before it",
        "Renewed",
        _held,
        _renew,
    ),
    Row("ROW-13", Renew, "else", _SAME, "LeaseLost", _always, _lose),
    Row("ROW-14", Evict, "not live and past its expiry", "absent", "Evicted", _evictable, _evict),
    Row("ROW-15", Evict, "else", _SAME, "Kept", _always, _keep),
)
"""The first row of the event's kind whose guard holds decides (ROW-0)."""


def transition(record: Record | None, event: Event, now: int) -> Next:
    """Return the record after ``event``, and the outcome for the caller.

    The function is pure, and total: it is defined for every well-formed record, event and time.

    Parameters
    ----------
    record
        The stored record, or None.
    event
        The event.
    now
        Epoch milliseconds.
    """
    kind = type(event)
    for row in TABLE:
        if row.event is kind and row.guard(record, event, now):
            return row.step(record, event, now)
    raise AssertionError(f"the last row of {kind.__name__} has a condition")  # pragma: no cover


def deciding_row(record: Record | None, event: Event, now: int) -> Row:
    """Return the row of the table by which :func:`transition` decides."""
    kind = type(event)
    for row in TABLE:
        if row.event is kind and row.guard(record, event, now):
            return row
    raise AssertionError(f"the last row of {kind.__name__} has a condition")  # pragma: no cover
