"""What the specification lets a request do: every state it may leave, with the answer that goes with it."""

from typing import Literal, NamedTuple

from ...spec.events import Claim, Claimed, Complete, Completed, Release
from ...spec.record import COMPLETED, INPROGRESS, Record, claimable, holds, live, same_version
from ...spec.transition import transition
from .requests import Answer

Asked = Literal["put", "update", "delete"]

_WHOEVER_HOLDS = "whoever holds the claim"


class Outcome(NamedTuple):
    """One thing that may happen.

    Parameters
    ----------
    after
        What stands then.
    answer
        What the asker is told; None for whatever.
    """

    after: Record | None
    answer: Answer | None


def of_swap(current: Record | None, expected: Record | None, new: Record | None) -> Outcome:
    """Return what a swap does (CAS-2, CAS-3)."""
    after = new if same_version(current, expected) else current
    return Outcome(after, Answer("done", after))


def of_documented(asked: Asked, current: Record | None, record: Record, now: int) -> Outcome:
    """Return what a documented method of a layer by the two methods does (CAS-7, CAS-8, CAS-9)."""
    if asked == "put":
        return _of_put(current, record, now)
    owner = record.owner or None
    acting, actor = current, owner or _WHOEVER_HOLDS
    if owner is None and current is not None and current.status == INPROGRESS:
        acting = current._replace(owner=_WHOEVER_HOLDS)
    new, outcome = transition(
        acting, _completion(actor, record) if asked == "update" else Release(actor), now
    )
    if new != acting:
        return Outcome(None if new is None else new._replace(owner=owner), Answer("done"))
    reported = owner is not None and current is not None and not isinstance(outcome, Completed)
    return Outcome(current, Answer("lost" if reported else "done"))


def of_four_methods(
    asked: Asked, current: Record | None, record: Record, now: int, *, fenced: bool
) -> list[Outcome]:
    """Return what a documented method of a layer by the four methods may do.

    It knows no owner, so that owners are what this model knows. Of a layer that is not fenced, a late update
    or deletion may be done or not.
    """
    if asked == "put":
        if not claimable(current, now):
            return [Outcome(current, Answer("exists", current))]
        return [Outcome(_of_put(None, record, now).after, Answer("done"))]
    done = transition(None, _completion(record.owner, record), now)[0] if asked == "update" else None
    nameless = record.owner is None and current is not None and current.status == INPROGRESS
    if nameless or holds(current, record.owner):
        return [Outcome(done, Answer("done"))]
    if fenced and current is not None and live(current, now):
        return [Outcome(current, None)]
    return [Outcome(current, None), Outcome(done, None)]


def kept_by_four(record: Record | None) -> Record | None:
    """Return of a record what a layer by the four methods must keep: no owner, no lease of a result."""
    if record is None:
        return None
    record = record._replace(owner=None)
    return record._replace(in_progress_expiry_timestamp=None) if record.status == COMPLETED else record


def _of_put(current: Record | None, record: Record, now: int) -> Outcome:
    claim = Claim(
        record.owner,
        record.in_progress_expiry_timestamp,
        record.expiry_timestamp,
        record.payload_hash,
        record.idempotency_key,
    )
    after, outcome = transition(current, claim, now)
    if isinstance(outcome, Claimed):
        return Outcome(after, Answer("done"))
    return Outcome(current, Answer("exists", current))


def _completion(owner: str | None, record: Record) -> Complete:
    return Complete(
        owner, record.response_data, record.payload_hash, record.expiry_timestamp, record.idempotency_key
    )
