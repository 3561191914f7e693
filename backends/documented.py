"""The two contracts, each in terms of the other, as generators for both drivers."""

from collections.abc import Generator
from typing import Any

from ..spec.errors import (
    IdempotencyInconsistentStateError,
    IdempotencyItemAlreadyExistsError,
    IdempotencyItemNotFoundError,
    IdempotencyLeaseLostError,
)
from ..spec.events import Claim, Claimed, Complete, Completed, Event, Release
from ..spec.record import COMPLETED, INPROGRESS, Record, checked, expiry_ms, same_record
from ..spec.transition import transition
from .commands import Command, Invoke, Load, Swap
from .records import DataRecord, checked_legacy, new_owner

SWAPS_PER_CALL = 16
"""How often one documented method may find that the record has changed under it (INV-8)."""

_WHOEVER_HOLDS = "whoever holds the claim"

Steps = Generator[Command, Any, Any]


# The four documented methods, over a compare-and-swap layer.


def get_record(key: str) -> Steps:
    """Return the record of ``key``, or raise that there is none."""
    found = yield Load(key)
    if found is None:
        raise IdempotencyItemNotFoundError(f"No record has the key {key!r}.")
    return DataRecord.of(checked(found, key))


def put_record(record: Record | DataRecord, now: int) -> Steps:
    """Store ``record`` unless a live one stands, by the rules of a claim (CAS-7)."""
    wanted = _plain(record)
    if wanted.owner is None:
        # Two nameless writes of the same record must not take each other for their own.
        wanted = wanted._replace(owner=new_owner())
    key = wanted.idempotency_key
    claim = Claim(
        wanted.owner,
        wanted.in_progress_expiry_timestamp,
        wanted.expiry_timestamp,
        wanted.payload_hash,
        key,
    )
    standing: Record | None = None
    for _ in range(SWAPS_PER_CALL):
        new, outcome = transition(standing, claim, now)
        own = new is standing
        if not isinstance(outcome, Claimed) or new is None or (own and wanted.status == COMPLETED):
            raise IdempotencyItemAlreadyExistsError(
                f"A live record has the key {key!r}.",
                old_data_record=None if standing is None else DataRecord.of(standing),
            )
        if own:
            return
        if wanted.status == COMPLETED:
            new = wanted
        found = yield Swap(key, standing, new, _keep_ms(new, now))
        standing = _standing(found, key)
        if same_record(standing, new):
            return
    raise _restless(key)


def update_record(record: Record | DataRecord, now: int) -> Steps:
    """Store the result in ``record``, by the rules of a completion (CAS-8)."""
    wanted = _plain(record)
    yield from _change(
        wanted.idempotency_key,
        wanted.owner,
        lambda owner: Complete(
            owner,
            wanted.response_data,
            wanted.payload_hash,
            wanted.expiry_timestamp,
            wanted.idempotency_key,
        ),
        now,
    )


def delete_record(record: Record | DataRecord, now: int) -> Steps:
    """Remove the claim of ``record``'s owner, by the rules of a release (CAS-8)."""
    yield from _change(record.idempotency_key, record.owner or None, Release, now)


def _change(key: str, owner: str | None, event_of: Any, now: int) -> Steps:
    """Apply an owner's event to what stands; without an owner, on behalf of whoever holds it (CAS-9)."""
    event: Event = event_of(_WHOEVER_HOLDS if owner is None else owner)
    standing = _standing((yield Load(key)), key)
    for _ in range(SWAPS_PER_CALL):
        acting = standing
        if owner is None and standing is not None and standing.status == INPROGRESS:
            acting = standing._replace(owner=_WHOEVER_HOLDS)
        new, outcome = transition(acting, event, now)
        if new == acting:
            if owner is not None and standing is not None and not isinstance(outcome, Completed):
                raise IdempotencyLeaseLostError(
                    f"The record of {key!r} is not this attempt's claim: another took over, or completed it. "
                    "Nothing changed."
                )
            return
        if new is not None:
            new = new._replace(owner=owner)
        found = yield Swap(key, standing, new, 0 if new is None else _keep_ms(new, now))
        standing = _standing(found, key)
        if standing is None if new is None else same_record(standing, new):
            return
    raise _restless(key)


# The two methods, over a layer that has only the documented four. Not fenced: it knows no owner.


def load(key: str) -> Steps:
    """Return what a four-method layer has for ``key``, or None."""
    try:
        found = yield Invoke("_get_record", key)
    except IdempotencyItemNotFoundError:
        return None
    return None if found is None else checked_legacy(found, key)


def swap(
    key: str, expected: Record | None, new: Record | None, granted: dict[str | None, DataRecord]
) -> Steps:
    """Put, update or delete, whichever makes ``new`` stand; the layer decides whether it may.

    ``granted`` holds the puts that the layer has accepted and that are not done yet, by their owners: as the
    layer has left them, which may change a record.
    """
    if new is None:
        # Deleting is the one thing that cannot be taken back, so what stands is looked at first.
        found = yield from load(key)
        if not may_be_the_claim(found, expected, granted):
            return found
        assert expected is not None  # what may be the claim is one
        yield Invoke("_delete_record", DataRecord.of(granted.pop(expected.owner, expected)))
        return None
    if new.status == COMPLETED:
        yield Invoke("_update_record", DataRecord.of(new))
        granted.pop(new.owner, None)
        return new
    record = DataRecord.of(new)
    try:
        yield Invoke("_put_record", record)
    except IdempotencyItemAlreadyExistsError as exists:
        if exists.old_data_record is None:
            return (yield from load(key))
        return checked_legacy(exists.old_data_record, key)
    granted[new.owner] = record
    return new


def may_be_the_claim(
    found: Record | None, claim: Record | None, granted: dict[str | None, DataRecord]
) -> bool:
    """Tell whether ``found`` may be ``claim``, in a store that keeps no owner and perhaps no lease.

    Unless the claim was surely written, only its lease, to the millisecond, is proof enough.
    """
    if found is None or claim is None:
        return False
    known = claim.owner in granted
    if known:
        claim = granted[claim.owner].as_record()
    if found.status != claim.status or found.expiry_timestamp != claim.expiry_timestamp:
        return False
    lease = found.in_progress_expiry_timestamp
    if lease is None:
        return known
    return lease == claim.in_progress_expiry_timestamp


def _standing(found: Any, key: str) -> Record | None:
    return None if found is None else checked(found, key)


def _plain(record: Record | DataRecord) -> Record:
    return checked(record, record.idempotency_key)


def _keep_ms(record: Record, now: int) -> int:
    return max(1, expiry_ms(record) - now)


def _restless(key: str) -> IdempotencyInconsistentStateError:
    return IdempotencyInconsistentStateError(
        f"The record of {key!r} changed {SWAPS_PER_CALL} times under one request. Retry."
    )
