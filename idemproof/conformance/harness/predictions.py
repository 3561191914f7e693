"""The outcomes of a request that the specification allows: each possible record, with its answer."""

from typing import Literal, NamedTuple

from ...spec.events import Claim, Claimed, Complete, Completed, Release
from ...spec.record import COMPLETED, INPROGRESS, Record, claimable, holds, live, same_version
from ...spec.transition import transition
from .requests import Answer

Method = Literal["put", "update", "delete"]

_HOLDER = "the holder of the claim"


class Outcome(NamedTuple):
    """One possible outcome of a request.

    Parameters
    ----------
    after
        The stored record afterwards.
    answer
        The required answer; None if every answer is allowed.
    """

    after: Record | None
    answer: Answer | None


def of_swap(current: Record | None, expected: Record | None, new: Record | None) -> Outcome:
    """Return the outcome of a swap (CAS-2, CAS-3)."""
    after = new if same_version(current, expected) else current
    return Outcome(after, Answer("done", after))


def of_documented(method: Method, current: Record | None, record: Record, now: int) -> Outcome:
    """Return the outcome of a documented method of a layer with the two methods (CAS-7, CAS-8, CAS-9)."""
    if method == "put":
        return _put_outcome(current, record, now)
    owner = record.owner or None
    acting, actor = current, owner or _HOLDER
    if owner is None and current is not None and current.status == INPROGRESS:
        acting = current._replace(owner=_HOLDER)
    new, outcome = transition(
        acting, _completion(actor, record) if method == "update" else Release(actor), now
    )
    if new != acting:
        return Outcome(None if new is None else new._replace(owner=owner), Answer("done"))
    refused = owner is not None and current is not None and not isinstance(outcome, Completed)
    return Outcome(current, Answer("lost" if refused else "done"))


def of_four_methods(
    method: Method, current: Record | None, record: Record, now: int, *, fenced: bool
) -> list[Outcome]:
    """Return the possible outcomes of a documented method of a layer with the four methods.

    The layer stores no owners, so only this model knows them. If the layer is not fenced, a late update or
    deletion may take effect or not.
    """
    if method == "put":
        if not claimable(current, now):
            return [Outcome(current, Answer("exists", current))]
        return [Outcome(_put_outcome(None, record, now).after, Answer("done"))]
    done = transition(None, _completion(record.owner, record), now)[0] if method == "update" else None
    without_owner = record.owner is None and current is not None and current.status == INPROGRESS
    if without_owner or holds(current, record.owner):
        return [Outcome(done, Answer("done"))]
    if fenced and current is not None and live(current, now):
        return [Outcome(current, None)]
    return [Outcome(current, None), Outcome(done, None)]


def kept_by_four(record: Record | None) -> Record | None:
    """Return what a layer with the four methods must store: a record without owner, or a result's lease."""
    if record is None:
        return None
    record = record._replace(owner=None)
    return record._replace(in_progress_expiry_timestamp=None) if record.status == COMPLETED else record


def _put_outcome(current: Record | None, record: Record, now: int) -> Outcome:
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
