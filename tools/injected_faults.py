"""Faults for the specification, injected one at a time, to test whether the explorer and the proof find them.

Each fault changes one row of the table: its condition, its step, or its place.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple
from unittest.mock import patch

from idemproof.spec import transition as rules
from idemproof.spec.events import (
    ASK,
    REFUSE,
    RUN,
    Abandoned,
    Claimed,
    Completed,
    Kept,
    LeaseLost,
    NotHeld,
    Outcome,
    Renewed,
    Replay,
    Superseded,
)
from idemproof.spec.record import (
    COMPLETED,
    INPROGRESS,
    Record,
    claimable,
    deadline_ms,
    execution_of,
    holds,
    same_execution,
)

Guard = Callable[[Any, Any, int], bool]
Step = Callable[[Any, Any, int], tuple[Record | None, Outcome]]


class Fault(NamedTuple):
    """One fault.

    Parameters
    ----------
    row
        The id of the changed row.
    what
        A description of the fault.
    guard, step
        The replacements of the row's condition and step; None to keep the original.
    payload_hashes
        How many payload hashes the search needs to find it.
    invocations
        How many of the two clients must be invocations of one durable execution.
    before
        The id of the row that the changed row is moved in front of; None if it keeps its place.
    coarse
        Whether clients whose clock advances by whole seconds, and whose leases and windows all have the same
        length, can show the fault. Only such clients are searched.
    policy
        The policy of the clients' claims.
    transactions
        Whether the clients complete within transactions.
    """

    row: str
    what: str
    guard: Guard | None = None
    step: Step | None = None
    payload_hashes: int = 1
    invocations: int = 0
    before: str | None = None
    coarse: bool = True
    policy: str = RUN
    transactions: bool = False


def _never(*_: Any) -> bool:
    return False


def _always(*_: Any) -> bool:
    return True


def _in_progress(record: Record | None, *_: Any) -> bool:
    return record is not None and record.status == INPROGRESS


def _held_by_its_execution(record: Record | None, event: Any, *_: Any) -> bool:
    return record is not None and (holds(record, event.owner) or same_execution(record, event.owner))


def _exists(record: Record | None, *_: Any) -> bool:
    return record is not None


def _claimed(change: Callable[[Record], Record]) -> Step:
    def step(record: Record | None, event: Any, now: int) -> tuple[Record | None, Outcome]:
        after, _ = rules._claim(record, event, now)
        assert after is not None
        after = change(after)
        return after, Claimed(after, record)

    return step


def _completed(change: Callable[[Record | None, Record], Record]) -> Step:
    def step(record: Record | None, event: Any, now: int) -> tuple[Record | None, Outcome]:
        after, _ = rules._complete(record, event, now)
        assert after is not None
        after = change(record, after)
        return after, Completed(after)

    return step


def _overwrite(outcome: Callable[[Any], Outcome]) -> Step:
    def step(record: Record | None, event: Any, now: int) -> tuple[Record | None, Outcome]:
        return rules._complete(record, event, now)[0], outcome(record)

    return step


def _deletes(outcome: Callable[[Any], Outcome]) -> Step:
    return lambda record, _event, _now: (None, outcome(record))


def _not_held(_record: Any) -> Outcome:
    return NotHeld()


def _kept(_record: Any) -> Outcome:
    return Kept()


def _abandoned(record: Any) -> Outcome:
    return Abandoned(record)


def _abandon_unheld(record: Record | None, event: Any, now: int) -> tuple[Record | None, Outcome]:
    if record is None or record.status == COMPLETED:
        return record, NotHeld()
    return rules._abandon(record, event, now)[0], NotHeld()


def _renew_without_writing(record: Record, event: Any, now: int) -> tuple[Record | None, Outcome]:
    return record, Renewed(rules._renew(record, event, now)[0])  # type: ignore[arg-type]


def _renew_unheld(record: Record | None, event: Any, now: int) -> tuple[Record | None, Outcome]:
    if record is None or record.status == COMPLETED:
        return record, LeaseLost(record)
    return rules._renew(record, event, now)[0], LeaseLost(record)


FAULTS = (
    Fault("ROW-1", "a live claim can be taken over", lambda r, _e, now: _in_progress(r) or claimable(r, now)),
    Fault(
        "ROW-1",
        "a live result can be claimed",
        lambda r, _e, now: not _in_progress(r) or claimable(r, now),
    ),
    Fault(
        "ROW-1",
        "a record can be claimed a second before its deadline",
        lambda r, _e, now: r is None or deadline_ms(r) - 1000 <= now,
    ),
    Fault("ROW-1", "only an absent record can be claimed", lambda r, _e, _now: r is None),
    Fault(
        "ROW-1", "a claim is granted but not written", step=lambda r, e, now: (r, rules._claim(r, e, now)[1])
    ),
    Fault("ROW-1", "a claim does not name its owner", step=_claimed(lambda c: c._replace(owner=None))),
    Fault(
        "ROW-1",
        "a claim's record expires before its lease",
        step=_claimed(lambda c: c._replace(expiry_timestamp=1)),
    ),
    Fault(
        "ROW-1",
        "a claim ends at once",
        step=_claimed(lambda c: c._replace(in_progress_expiry_timestamp=0)),
    ),
    Fault("ROW-2", "an attempt does not recognise its own claim", _never),
    Fault("ROW-2", "an attempt accepts any claim as its own", _in_progress),
    Fault("ROW-3", "a different payload is not detected", _never, payload_hashes=2),
    Fault(
        "ROW-16",
        "a durable execution resumes any claim",
        lambda r, e, _now: _in_progress(r) and execution_of(e.owner) is not None,
        invocations=1,
    ),
    Fault("ROW-16", "a resumed claim gets a new lease", step=rules._claim, invocations=1),
    Fault("ROW-17", "a claim that refuses takes over", step=rules._claim, policy=REFUSE),
    Fault("ROW-17", "a claim that refuses gets a lapsed claim as one in progress", _never, policy=REFUSE),
    Fault("ROW-18", "a claim that asks takes over without a question", step=rules._claim, policy=ASK),
    Fault(
        "ROW-18",
        "a claim that asks takes over what has another payload",
        before="ROW-3",
        payload_hashes=2,
        policy=ASK,
    ),
    Fault("ROW-1", "a parked claim can be taken over", lambda r, _e, now: claimable(r, now), policy=REFUSE),
    Fault(
        "ROW-1",
        "a parked claim stays after its expiry",
        lambda r, e, now: claimable(r, now) and (not _in_progress(r) or holds(r, e.owner)),
        policy=REFUSE,
    ),
    Fault("ROW-4", "a claim is treated as a result", step=lambda r, _e, _now: (r, Replay(r))),
    Fault("ROW-5", "a call that finds a result may run again", step=lambda r, _e, _now: (r, Claimed(r))),
    Fault("ROW-5", "a result is replayed only once", step=_deletes(Replay)),
    Fault("ROW-6", "an attempt does not recognise its own result", _never),
    Fault(
        "ROW-6",
        "an attempt accepts any result as its own",
        lambda r, _e, _now: r is not None and r.status == COMPLETED,
    ),
    Fault(
        "ROW-7",
        "any attempt may complete a claim",
        lambda r, _e, now: r is None or _in_progress(r) or claimable(r, now),
    ),
    Fault(
        "ROW-7",
        "an invocation completes a claim that a newer one has resumed",
        lambda r, e, now: r is None or _held_by_its_execution(r, e) or claimable(r, now),
        invocations=2,
    ),
    Fault("ROW-7", "any attempt may complete any record", _always),
    Fault("ROW-7", "no attempt may complete", _never),
    Fault("ROW-7", "only a record that is not live may be completed", lambda r, _e, now: claimable(r, now)),
    Fault(
        "ROW-7", "a result stays in progress", step=_completed(lambda _r, c: c._replace(status=INPROGRESS))
    ),
    Fault(
        "ROW-7",
        "a result expires with its claim",
        step=_completed(lambda r, c: c if r is None else c._replace(expiry_timestamp=r.expiry_timestamp)),
    ),
    Fault("ROW-7", "a result does not name its owner", step=_completed(lambda _r, c: c._replace(owner=None))),
    Fault("ROW-8", "a superseded attempt overwrites the result", step=_overwrite(Superseded)),
    Fault("ROW-8", "a superseded attempt deletes the result", step=_deletes(Superseded)),
    Fault(
        "ROW-8",
        "a late attempt with a different payload gets the result",
        lambda r, _e, _now: r is not None and r.status == COMPLETED,
        payload_hashes=2,
    ),
    Fault("ROW-8", "a late attempt gets a claim as a result", _exists),
    Fault("ROW-9", "an attempt that lost its lease overwrites the record", step=_overwrite(LeaseLost)),
    Fault("ROW-9", "an attempt that lost its lease deletes the record", step=_deletes(LeaseLost)),
    Fault(
        "ROW-22",
        "a completion within a transaction takes what is merely claimable",
        lambda r, e, now: r is None or holds(r, e.owner) or claimable(r, now),
        transactions=True,
    ),
    Fault(
        "ROW-22", "any attempt may complete a claim within its transaction", _in_progress, transactions=True
    ),
    Fault(
        "ROW-23",
        "an attempt that lost its lease overwrites the record in its transaction",
        step=_overwrite(LeaseLost),
        transactions=True,
    ),
    Fault("ROW-10", "any attempt may release a claim", _in_progress),
    Fault(
        "ROW-10",
        "an invocation releases a claim that a newer one has resumed",
        _held_by_its_execution,
        invocations=2,
    ),
    Fault("ROW-10", "any attempt may release any record", _exists),
    Fault("ROW-11", "an attempt that holds no claim deletes the record", step=_deletes(_not_held)),
    Fault("ROW-19", "any attempt may abandon a claim", _in_progress, policy=REFUSE),
    Fault("ROW-19", "an abandonment deletes the claim", step=_deletes(_abandoned), policy=REFUSE),
    Fault(
        "ROW-19",
        "an abandoned claim keeps its lease",
        step=lambda r, _e, _now: (r, Abandoned(r)),
        policy=REFUSE,
    ),
    Fault("ROW-20", "an attempt that holds no claim abandons it", step=_abandon_unheld, policy=REFUSE),
    Fault("ROW-12", "any attempt may renew a claim", _in_progress),
    Fault("ROW-12", "a renewal is granted but not written", step=_renew_without_writing),
    Fault("ROW-13", "an attempt that lost its lease renews it", step=_renew_unheld),
    Fault(
        "ROW-14",
        "a record that is not live is evicted before its expiry",
        lambda r, _e, now: r is not None and claimable(r, now),
    ),
    Fault("ROW-14", "any record is evicted", _exists),
    Fault("ROW-15", "an eviction reports a record as kept, but deletes it", step=_deletes(_kept)),
)


@contextmanager
def injected(fault: Fault) -> Iterator[None]:
    """Inject ``fault`` into the specification."""
    rows = {row.clause: row for row in rules.TABLE}
    original = rows.pop(fault.row)
    changed = replace(original, guard=fault.guard or original.guard, step=fault.step or original.step)
    order = [row.clause for row in rules.TABLE if row is not original]
    place = rules.TABLE.index(original) if fault.before is None else order.index(fault.before)
    order.insert(place, fault.row)
    with patch.object(rules, "TABLE", tuple(rows.get(clause, changed) for clause in order)):
        yield
