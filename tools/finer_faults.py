"""More faults for the specification: in milliseconds, in rare records, in the order of the rows.

The clients that the explorer searches show few of them (``Fault.coarse``), because their clock advances by
whole seconds, all leases have the same length and so have all windows, and all clients have owner tokens. The
proof finds all of them.
"""

from collections.abc import Callable
from typing import Any

from idemproof.spec import transition as rules
from idemproof.spec.events import (
    ASK,
    REFUSE,
    RUN,
    Abandoned,
    Claimed,
    Completed,
    InProgress,
    Outcome,
    Renewed,
)
from idemproof.spec.record import (
    COMPLETED,
    INPROGRESS,
    Record,
    ceil_seconds,
    claimable,
    deadline_ms,
    execution_of,
    expiry_ms,
    holds,
)
from injected_faults import Fault, Guard, Step

Answer = tuple[Record | None, Outcome]


def _is(status: str) -> Guard:
    return lambda record, _event, _now: record is not None and record.status == status


def _ends(record: Record | None) -> int:
    return 0 if record is None else deadline_ms(record)


def _claim_until_rounded_down(record: Record | None, event: Any, _now: int) -> Answer:
    expiry = event.expiry if event.lease is None else max(event.expiry, event.lease // 1000)
    claimed = rules._claim(record, event._replace(lease=None, expiry=expiry), _now)[0]
    assert claimed is not None
    claimed = claimed._replace(in_progress_expiry_timestamp=event.lease)
    return claimed, Claimed(claimed, record)


def _claim_as_requested(record: Record | None, event: Any, _now: int) -> Answer:
    claimed = Record(
        event.idempotency_key, INPROGRESS, event.expiry, event.lease, None, event.payload_hash, event.owner
    )
    return claimed, Claimed(claimed, record)


def _complete_with(**changes: Callable[[Record], Any]) -> Step:
    def step(record: Record | None, event: Any, now: int) -> Answer:
        completed = rules._complete(record, event, now)[0]
        assert completed is not None
        completed = completed._replace(**{name: change(completed) for name, change in changes.items()})
        return completed, Completed(completed)

    return step


def _renew_until_rounded_down(record: Record, event: Any, _now: int) -> Answer:
    lease = max(deadline_ms(record), event.lease)
    renewed = record._replace(
        in_progress_expiry_timestamp=lease, expiry_timestamp=max(record.expiry_timestamp, lease // 1000)
    )
    return renewed, Renewed(renewed)


def _renew_as_requested(record: Record, event: Any, _now: int) -> Answer:
    renewed = record._replace(
        in_progress_expiry_timestamp=event.lease,
        expiry_timestamp=max(record.expiry_timestamp, ceil_seconds(event.lease)),
    )
    return renewed, Renewed(renewed)


def _take_over_as_requested(record: Record | None, event: Any, now: int) -> Answer:
    claimed = rules._claim(None, event, now)[0]
    assert claimed is not None
    return claimed, Claimed(claimed, record, True)


def _abandon_now(record: Record, _event: Any, now: int) -> Answer:
    abandoned = record._replace(in_progress_expiry_timestamp=now)
    return abandoned, Abandoned(abandoned)


def _owner_alone(record: Record | None, event: Any, _now: int = 0) -> bool:
    return record is not None and record.status == INPROGRESS and record.owner == event.owner


def _own_of_any_status(record: Record | None, event: Any, _now: int = 0) -> bool:
    return record is not None and event.owner is not None and record.owner == event.owner


def _of_equal_execution(record: Record, event: Any, _now: int) -> bool:
    return record.status == INPROGRESS and execution_of(record.owner) == execution_of(event.owner)


def _of_execution_in_any_status(record: Record, event: Any, _now: int) -> bool:
    execution = execution_of(event.owner)
    return execution is not None and execution_of(record.owner) == execution


def _lease_zero_is_none(record: Record | None, _event: Any, now: int) -> bool:
    if record is None or record.status == COMPLETED:
        return claimable(record, now)
    return now >= (record.in_progress_expiry_timestamp or expiry_ms(record))


FINER_FAULTS = (
    Fault(
        "ROW-1",
        "a record can be claimed a millisecond before its deadline",
        lambda r, _e, now: r is None or now >= _ends(r) - 1,
        coarse=False,
    ),
    Fault(
        "ROW-1",
        "a record cannot be claimed at its deadline",
        lambda r, _e, now: r is None or now > _ends(r),
    ),
    Fault(
        "ROW-1",
        "a record can be claimed when its expiry has passed, whatever its lease",
        lambda r, _e, now: r is None or now >= expiry_ms(r) or claimable(r, now),
        coarse=False,
    ),
    Fault("ROW-1", "a lease that ends at 0 counts as absent", _lease_zero_is_none),
    Fault(
        "ROW-1",
        "any record can be claimed while the clock is 0",
        lambda r, _e, now: not now or claimable(r, now),
    ),
    Fault(
        "ROW-1",
        "any record can be claimed while the clock is negative",
        lambda r, _e, now: now < 0 or claimable(r, now),
        coarse=False,
    ),
    Fault("ROW-1", "a claim's expiry is rounded down", step=_claim_until_rounded_down, coarse=False),
    Fault("ROW-1", "a claim's expiry ignores its lease", step=_claim_as_requested, coarse=False),
    Fault(
        "ROW-1",
        "a claim without a lease is granted without being stored",
        step=lambda r, e, now: (
            rules._claim(r, e, now) if e.lease is not None else (r, rules._claim(r, e, now)[1])
        ),
        coarse=False,
    ),
    Fault("ROW-2", "an absent owner holds a claim that names none", _owner_alone, coarse=False),
    Fault(
        "ROW-2",
        "an attempt's own claim is recognised before its lease is checked",
        before="ROW-1",
        coarse=False,
    ),
    Fault(
        "ROW-3",
        "a different payload is detected only in a claim",
        lambda r, e, now: r.status == INPROGRESS and rules._hashes_differ(r, e, now),
        payload_hashes=2,
    ),
    Fault(
        "ROW-3",
        "a different payload is not detected in a record without an owner",
        lambda r, e, now: r.owner is not None and rules._hashes_differ(r, e, now),
        coarse=False,
    ),
    Fault(
        "ROW-1",
        "an attempt's own lapsed claim is not claimed again",
        lambda r, e, now: (
            claimable(r, now)
            and (r is None or e.policy == RUN or r.status == COMPLETED or now >= expiry_ms(r))
        ),
        coarse=False,
        policy=ASK,
    ),
    Fault(
        "ROW-18",
        "a takeover expires before the claim that it replaces",
        step=_take_over_as_requested,
        coarse=False,
        policy=ASK,
    ),
    Fault(
        "ROW-19",
        "an abandonment prolongs a lease that has ended",
        step=_abandon_now,
        coarse=False,
        policy=REFUSE,
    ),
    Fault("ROW-16", "owners without an execution count as one execution", _of_equal_execution),
    Fault(
        "ROW-16",
        "a durable execution resumes its own result as a claim",
        _of_execution_in_any_status,
        invocations=1,
        before="ROW-5",
    ),
    Fault(
        "ROW-4",
        "a caller has to wait until the record expires, and not until its lease ends",
        step=lambda r, _e, now: (r, InProgress(r, expiry_ms(r) - now)),
        coarse=False,
    ),
    Fault("ROW-4", "a claim is in progress even after its lease", _is(INPROGRESS), before="ROW-1"),
    Fault(
        "ROW-5",
        "a result is replayed before its payload is compared",
        _is(COMPLETED),
        before="ROW-3",
        payload_hashes=2,
    ),
    Fault(
        "ROW-6",
        "an attempt accepts any result next to its owner token",
        lambda r, e, _now: _own_of_any_status(r, e) and r.status == COMPLETED,
        coarse=False,
    ),
    Fault(
        "ROW-7",
        "a completion is accepted a millisecond before another's deadline",
        lambda r, e, now: r is None or holds(r, e.owner) or now >= _ends(r) - 1,
        coarse=False,
    ),
    Fault(
        "ROW-7",
        "an attempt may complete its own result again",
        lambda r, e, now: r is None or _own_of_any_status(r, e) or claimable(r, now),
        coarse=False,
    ),
    Fault(
        "ROW-7",
        "an absent owner completes a claim that names none",
        lambda r, e, now: r is None or _owner_alone(r, e) or claimable(r, now),
        coarse=False,
    ),
    Fault(
        "ROW-7",
        "a result expires a second too early",
        step=_complete_with(expiry_timestamp=lambda c: c.expiry_timestamp - 1),
    ),
    Fault(
        "ROW-7",
        "a result is stored without its payload hash",
        step=_complete_with(payload_hash=lambda _c: None),
        payload_hashes=2,
    ),
    Fault("ROW-9", "every completion loses its lease", before="ROW-6"),
    Fault("ROW-10", "an absent owner releases a claim that names none", _owner_alone, coarse=False),
    Fault("ROW-10", "an attempt releases its own result", _own_of_any_status, coarse=False),
    Fault("ROW-12", "a renewal's expiry is rounded down", step=_renew_until_rounded_down, coarse=False),
    Fault("ROW-12", "a renewal may shorten the lease", step=_renew_as_requested, coarse=False),
    Fault(
        "ROW-14",
        "a record is evicted a millisecond before its expiry",
        lambda r, _e, now: r is not None and claimable(r, now) and now >= expiry_ms(r) - 1,
        coarse=False,
    ),
    Fault(
        "ROW-14",
        "a record that has expired is evicted, although its lease is live",
        lambda r, _e, now: r is not None and now >= expiry_ms(r),
        coarse=False,
    ),
)
