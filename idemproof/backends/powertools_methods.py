"""Implements each of the two contracts by the other, as generators for both drivers."""

from typing import Any

from ..spec.commands import CallMethod, Load, Steps
from ..spec.errors import (
    IdempotencyInconsistentStateError,
    IdempotencyItemAlreadyExistsError,
    IdempotencyItemNotFoundError,
    IdempotencyLeaseLostError,
)
from ..spec.events import Claim, Claimed, Complete, Completed, Event, Release, Released
from ..spec.record import COMPLETED, INPROGRESS, Record, checked, live
from ..spec.settle import Change, Granted, settle
from ..spec.transition import transition
from .records import ByHand, DataRecord, checked_legacy, new_owner

SWAPS_PER_CALL = 16
"""How many conflicting changes one documented method may encounter (INV-8)."""

_CURRENT_HOLDER = "the holder of the claim"
"""Owner token for changes without an owner. It is never stored."""


# The four documented methods, over a compare-and-swap layer.


def get_record(key: str) -> Steps:
    """Return the record of ``key``, or raise ``IdempotencyItemNotFoundError``."""
    found = yield Load(key)
    if found is None:
        raise IdempotencyItemNotFoundError(f"No record has the key {key!r}.")
    return DataRecord.of(checked(found, key))


def put_record(record: Record | DataRecord, now: int) -> Steps:
    """Store ``record`` unless a live record is stored, by the rules of a claim (CAS-7)."""
    wanted = _plain(record)
    if wanted.owner is None:
        # Two writes of the same record without an owner must not mistake each other for their own.
        wanted = wanted._replace(owner=new_owner())
    subject = _Subject(wanted)
    outcome = yield from settle(_PUT, subject, wanted.idempotency_key, None, lambda: now)
    current = subject.held
    # A result cannot replace the owner's own claim here.
    if not isinstance(outcome, Claimed) or (current is not None and current.status != wanted.status):
        raise IdempotencyItemAlreadyExistsError(
            f"A live record has the key {wanted.idempotency_key!r}.",
            old_data_record=None if current is None else DataRecord.of(current),
        )


def update_record(record: Record | DataRecord, now: int) -> Steps:
    """Store the result in ``record``, by the rules of a completion (CAS-8)."""
    wanted = _plain(record)
    key, owner = wanted.idempotency_key, wanted.owner
    completion = Complete(
        _CURRENT_HOLDER if owner is None else owner,
        wanted.response_data,
        wanted.payload_hash,
        wanted.expiry_timestamp,
        key,
    )
    yield from _change(key, owner, completion, now, by_hand=isinstance(record, ByHand))


def delete_record(record: Record | DataRecord, now: int) -> Steps:
    """Remove the claim of ``record``'s owner, by the rules of a release (CAS-8)."""
    owner = record.owner or None
    release = Release(_CURRENT_HOLDER if owner is None else owner)
    yield from _change(record.idempotency_key, owner, release, now, by_hand=isinstance(record, ByHand))


def _change(key: str, owner: str | None, event: Event, now: int, *, by_hand: bool) -> Steps:
    """Apply the event of an owner to the stored record; without an owner, for its current holder (CAS-9)."""
    found = yield Load(key)
    current = None if found is None else checked(found, key)
    change = _FOR_CURRENT_HOLDER if owner is None else _FOR_OWNER
    subject = _Subject(event)
    outcome = yield from settle(change, subject, key, current, lambda: now)
    refused = not isinstance(outcome, Completed | Released)
    if refused and owner is not None and subject.held is not None:
        raise IdempotencyLeaseLostError(
            f"The record of {key!r} is not the claim of this attempt. Another attempt has taken over or "
            "completed it. Nothing changed."
        )
    if refused and by_hand and subject.held is not None and live(subject.held, now):
        raise IdempotencyLeaseLostError(
            f"The record of {key!r} is a result, which cannot be replaced or deleted before it expires. "
            "Nothing changed. Delete it in the store if the operation may run again."
        )


class _Subject:
    """What a documented method wants to write, and the record that is stored in the end."""

    __slots__ = ("held", "wanted")

    def __init__(self, wanted: Any) -> None:
        self.wanted = wanted
        self.held: Record | None = None


class _DocumentedChange(Change):
    """A change by a documented method. The caller of the method retries it."""

    conflicts = SWAPS_PER_CALL

    def restless(self, key: str, requests: int) -> Exception:
        return IdempotencyInconsistentStateError(
            f"The record of {key!r} changed {requests} times during one request. Retry."
        )


class _PutChange(_DocumentedChange):
    """A claim for the record that is put."""

    def event(self, subject: _Subject, now: int) -> Claim:  # noqa: ARG002 - the record has deadlines
        wanted: Record = subject.wanted
        return Claim(
            wanted.owner,
            wanted.in_progress_expiry_timestamp,
            wanted.expiry_timestamp,
            wanted.payload_hash,
            wanted.idempotency_key,
        )

    @staticmethod
    def proposed(subject: _Subject, new: Record | None) -> Record | None:
        wanted: Record = subject.wanted
        if new is None or wanted.status != COMPLETED:
            return new
        completion = Complete(
            wanted.owner,
            wanted.response_data,
            wanted.payload_hash,
            wanted.expiry_timestamp,
            wanted.idempotency_key,
        )
        return transition(new, completion, 0)[0]  # its owner may complete a claim at any time


class _OwnerChange(_DocumentedChange):
    """An event of the record's owner."""

    def event(self, subject: _Subject, now: int) -> Event:  # noqa: ARG002 - the event has deadlines
        event: Event = subject.wanted
        return event


class _HolderChange(_OwnerChange):
    """An event for the current holder of the claim. No owner is written."""

    @staticmethod
    def acting(subject: _Subject, current: Record | None) -> Record | None:  # noqa: ARG004 - any event
        if current is not None and current.status == INPROGRESS:
            return current._replace(owner=_CURRENT_HOLDER)
        return current

    @staticmethod
    def proposed(subject: _Subject, new: Record | None) -> Record | None:  # noqa: ARG004 - any event
        return None if new is None else new._replace(owner=None)


_PUT, _FOR_OWNER, _FOR_CURRENT_HOLDER = _PutChange(), _OwnerChange(), _HolderChange()


# The two methods over a layer with the four documented ones. Not fenced, because it stores no owner.


def load(key: str) -> Steps:
    """Return the record that a four-method layer has for ``key``, or None."""
    try:
        found = yield CallMethod("_get_record", key)
    except IdempotencyItemNotFoundError:
        return None
    return None if found is None else checked_legacy(found, key)


def swap(key: str, expected: Record | None, new: Record | None) -> Steps:
    """Store ``new`` by a put, an update or a deletion. The layer decides whether it may."""
    if new is None:
        # A deletion cannot be undone, so read first.
        found = yield from load(key)
        if not may_be_the_claim(found, expected):
            return found
        assert expected is not None  # may_be_the_claim has checked
        claim = expected.as_left if isinstance(expected, Granted) else expected
        yield CallMethod("_delete_record", DataRecord.of(claim))
        return None
    if new.status == COMPLETED:
        yield CallMethod("_update_record", DataRecord.of(new))
        return new
    record = DataRecord.of(new)
    try:
        yield CallMethod("_put_record", record)
    except IdempotencyItemAlreadyExistsError as exists:
        if exists.old_data_record is None:
            return (yield from load(key))
        return checked_legacy(exists.old_data_record, key)
    granted = Granted(*new)
    granted.as_left = record
    return granted


def may_be_the_claim(found: Record | None, claim: Record | None) -> bool:
    """Return whether ``found`` may be ``claim``, in a store that keeps no owner and perhaps no lease.

    Unless the layer has confirmed that it wrote the claim, only the same lease, to the millisecond, is proof.
    """
    if found is None or claim is None:
        return False
    left = claim.as_left.as_record() if isinstance(claim, Granted) else claim
    if found.status != left.status or found.expiry_timestamp != left.expiry_timestamp:
        return False
    lease = found.in_progress_expiry_timestamp
    if lease is None:
        return isinstance(claim, Granted)
    return lease == left.in_progress_expiry_timestamp


def _plain(record: Record | DataRecord) -> Record:
    return checked(record, record.idempotency_key)
