"""The invariants of the protocol, as predicates that explorers, simulators and tests evaluate.

Some check one step of :func:`~idemproof.spec.transition.transition`. The others check the history of one
key.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from .events import (
    ASK,
    REFUSE,
    RUN,
    Abandoned,
    Claim,
    Claimed,
    Complete,
    Completed,
    CompleteWithin,
    Evict,
    PayloadMismatch,
    Renew,
    Replay,
    Superseded,
    UnknownOutcome,
)
from .happenings import Acted, Answered, Asked, Began, Committed, Ended, Happening, Step, Within
from .record import (
    COMPLETED,
    INPROGRESS,
    Record,
    claimable,
    deadline_ms,
    execution_of,
    expiry_ms,
    holds,
    live,
    same_execution,
)
from .transition import transition
from .waiting import most_waits

OPERATIONS_PER_CALL = 64
"""The largest number of requests that a call sends to its store, if it does not wait (INV-8)."""

OPERATIONS_PER_CLAIM = 13
"""The largest number of requests of one more claim, after a wait: ten conflicts and three failures."""


def one_live_run(history: Sequence[Happening]) -> bool:
    """No two bodies run under live leases at the same time (INV-1)."""
    running: list[Began] = []
    for item in history:
        if isinstance(item, Began):
            if any(_excludes(earlier, item) for earlier in running):
                return False
            running.append(item)
        elif isinstance(item, Ended) and item.how == "raised":
            running = _without_raised(running, item.owner)
        elif isinstance(item, Ended):
            running = [each for each in running if each.owner != item.owner]
    return True


def _excludes(earlier: Began, later: Began) -> bool:
    """Return whether ``later`` must not begin yet, because of another attempt that began ``earlier``."""
    return later.now < earlier.until and not are_one_execution(earlier.owner, later.owner)


def are_one_execution(owner: str | None, other: str | None) -> bool:
    """Return whether two attempts are invocations of one durable execution, which count as one (DUR-1)."""
    execution = execution_of(owner)
    return execution is not None and execution == execution_of(other)


def _without_raised(runs: Sequence[Began], owner: str) -> list[Began]:
    """End the run of ``owner``, or all runs of a durable execution if the newest one raises."""
    invocations = [each.owner for each in runs if are_one_execution(each.owner, owner)]
    is_newest = invocations[-1:] == [owner]
    return [
        each
        for each in runs
        if each.owner != owner and not (is_newest and are_one_execution(each.owner, owner))
    ]


def begins_under_its_lease(history: Sequence[Happening]) -> bool:
    """A body begins only while its lease is live (ENG-3)."""
    return all(item.now < item.until for item in history if isinstance(item, Began))


def live_result_is_final(step: Step) -> bool:
    """A live COMPLETED record never changes (INV-2)."""
    before = step.before
    final = before is not None and before.status == COMPLETED and live(before, step.now)
    return not final or step.after == before


def others_are_untouched(step: Step) -> bool:
    """No attempt changes a live record of another owner (INV-3)."""
    before = step.before
    if before is None or not live(before, step.now):
        return True
    owner = getattr(step.event, "owner", None)
    own = before.owner == owner and owner is not None
    resumed = isinstance(step.event, Claim) and same_execution(before, owner)
    if resumed and step.after == before._replace(owner=owner):
        return True
    return own or step.after == before


def answers_agree(history: Sequence[Happening]) -> bool:
    """All calls that are answered during the life of one COMPLETED record get its response (INV-4)."""
    return all(_agrees(item, item.current) for item in history if isinstance(item, Answered))


def _agrees(answer: Answered, stored: Record | None) -> bool:
    if stored is None or stored.status != COMPLETED or not live(stored, answer.now):
        return True
    same = answer.response == stored.response_data
    return same and not _are_different(answer.payload_hash, stored.payload_hash)


def _are_different(payload_hash: str | None, other: str | None) -> bool:
    """Return whether two payload hashes are present and unequal."""
    return payload_hash is not None and other is not None and payload_hash != other


def answer_is_the_record(step: Step) -> bool:
    """An answer is the stored record, and never that of another payload (INV-4)."""
    payload_hash = getattr(step.event, "payload_hash", None)
    if isinstance(step.outcome, Completed):
        recorded, response = step.outcome.record, getattr(step.event, "response", None)
        stored = recorded == step.after and recorded.status == COMPLETED
        # A result without its payload hash would be replayed to other payloads.
        named = step.after == step.before or recorded.payload_hash == payload_hash
        return stored and recorded.response_data == response and named
    if not isinstance(step.outcome, Replay | Superseded):
        return True
    record = step.outcome.record
    stored = record == step.before == step.after and record.status == COMPLETED
    return stored and not _are_different(record.payload_hash, payload_hash)


def rerun_has_a_reason(history: Sequence[Happening]) -> bool:
    """A body runs again only after an exception, the lease, or the window of the result (INV-5)."""
    blocking: list[Began] = []  # each earlier run, with the time until which it blocks others
    for item in history:
        if isinstance(item, Began):
            if any(_excludes(earlier, item) for earlier in blocking):
                return False
            blocking.append(item)
        elif isinstance(item, Ended):
            if item.how == "stored":
                stored = Began(item.owner, item.now, item.until)
                blocking = [*_with_result(blocking, stored), stored]
            elif item.how == "raised":
                blocking = _without_raised(blocking, item.owner)
            # A run that crashed, was fenced off or suspended blocks others until its lease ends.
    return True


def _with_result(runs: Sequence[Began], stored: Began) -> list[Began]:
    """Return the other ``runs``, after a result is stored. Invocations of one execution share it (DUR-2)."""
    return [
        each._replace(until=stored.until) if are_one_execution(each.owner, stored.owner) else each
        for each in runs
        if each.owner != stored.owner
    ]


def effect_happens_once(history: Sequence[Happening]) -> bool:
    """No effect happens again before the claim of the first or its stored result expires (INV-10)."""
    until: int | None = None
    for item in history:
        if isinstance(item, Acted):
            if until is not None and item.now < until:
                return False
            until = item.until
        elif isinstance(item, Ended) and item.how == "stored" and until is not None and item.now < until:
            until = item.until
    return True


def effect_has_its_record(history: Sequence[Happening]) -> bool:
    """What is completed within a transaction is stored and answered only if it is committed (INV-11)."""
    open_now: set[str] = set()
    for item in history:
        if isinstance(item, Within):
            open_now.add(item.owner)
        elif isinstance(item, Committed):
            if not is_result_of(item.owner, item.current):
                return False
            open_now.discard(item.owner)
        elif isinstance(item, Ended):
            if item.how == "stored" and item.owner in open_now:
                return False
        elif isinstance(item, Answered) and any(is_result_of(owner, item.current) for owner in open_now):
            return False
    return True


def is_result_of(owner: str, record: Record | None) -> bool:
    """Return whether ``record`` is COMPLETED by the attempt ``owner``."""
    return record is not None and record.status == COMPLETED and record.owner == owner


def within_needs_its_claim(step: Step) -> bool:
    """A completion within a transaction replaces the attempt's own claim, or changes nothing (TXN-1)."""
    event, before, after = step.event, step.before, step.after
    if not isinstance(event, CompleteWithin):
        return True
    if not isinstance(step.outcome, Completed):
        return after == before
    if event.owner is None or not is_result_of(event.owner, after):
        return False
    return after == before or holds(before, event.owner)


def takeover_follows_the_policy(step: Step) -> bool:
    """Only the policy run takes over another's claim without a question, before it expires (TAKE-2)."""
    before, event, outcome = step.before, step.event, step.outcome
    if not isinstance(event, Claim):
        return not isinstance(outcome, UnknownOutcome)
    parked = (
        event.policy != RUN
        and before is not None
        and before.status == INPROGRESS
        and not (before.owner == event.owner and event.owner is not None)
        and claimable(before, step.now)
        and step.now < expiry_ms(before)
    )
    if isinstance(outcome, UnknownOutcome):
        return parked and event.policy == REFUSE and step.after == before
    if isinstance(outcome, Claimed):
        asks = parked and event.policy == ASK
        same_payload = before is None or not _are_different(before.payload_hash, event.payload_hash)
        return outcome.asks == asks and (asks or not parked) and (not asks or same_payload)
    return not parked or isinstance(outcome, PayloadMismatch)


def abandoned_claim_remains(step: Step) -> bool:
    """An abandoned claim is what it was, and can be taken over at once (TAKE-4)."""
    before, after = step.before, step.after
    if not isinstance(step.outcome, Abandoned):
        return True
    if before is None or after is None or after.status != INPROGRESS or live(after, step.now):
        return False
    lease = after.in_progress_expiry_timestamp
    same = after == before._replace(in_progress_expiry_timestamp=lease)
    return same and deadline_ms(after) == min(deadline_ms(before), step.now)


def retry_changes_nothing(step: Step) -> bool:
    """Sending an event again, because the reply was lost, changes nothing before its deadline (INV-6)."""
    event = step.event
    deadlines = []
    if isinstance(event, Claim):
        deadlines = [event.expiry * 1000 if event.lease is None else event.lease]
    elif isinstance(event, Complete | CompleteWithin):
        deadlines = [event.expiry * 1000]
    if any(step.now >= deadline for deadline in deadlines):
        return True
    if getattr(event, "owner", "") is None:
        return True  # without an owner, nothing shows which attempt wrote the record
    again, outcome = transition(step.after, event, step.now)
    if isinstance(step.outcome, Claimed | Completed) and type(outcome) is not type(step.outcome):
        return False
    return again == step.after


def eviction_owes_nothing(step: Step) -> bool:
    """Eviction deletes only what is not live and past its expiry (INV-7)."""
    if not isinstance(step.event, Evict) or step.after == step.before:
        return True
    return claimable(step.before, step.now) and step.before is not None and step.now >= expiry_ms(step.before)


def bounded(history: Sequence[Happening]) -> bool:
    """Every call sends a number of requests that its configured times bound, whatever is stored (INV-8)."""
    return all(
        item.operations <= operations_allowed(item.waiting_ms) for item in history if isinstance(item, Asked)
    )


def operations_allowed(waiting_ms: int) -> int:
    """Return the largest number of requests of a call that may wait for so many milliseconds (INV-8)."""
    return OPERATIONS_PER_CALL + OPERATIONS_PER_CLAIM * most_waits(waiting_ms)


def somebody_can_finish(step: Step) -> bool:
    """From the deadline of the record on, a new attempt can claim the key and complete it (INV-9)."""
    record = step.after
    now = step.now if record is None else max(step.now, deadline_ms(record))
    claimed, outcome = transition(record, Claim("a newcomer", now + 1000, now // 1000 + 60), now)
    if not isinstance(outcome, Claimed) or not live(outcome.record, now):
        return False  # a body begins only while its lease is live (ENG-3)
    completed, outcome = transition(claimed, Complete("a newcomer", '"done"', None, now // 1000 + 60), now)
    if not isinstance(outcome, Completed) or completed is None or completed.response_data != '"done"':
        return False
    over = now if record is None else max(now, expiry_ms(record))
    refuses = Claim("a newcomer", over + 1000, over // 1000 + 60, policy=REFUSE)
    return isinstance(transition(record, refuses, over)[1], Claimed)


def claim_outlives_its_lease(step: Step) -> bool:
    """A claim's expiry is never before its lease (TIME-6)."""
    if not isinstance(step.event, Claim | Renew) or step.after == step.before or step.after is None:
        return True
    if step.before is not None and step.after == step.before._replace(owner=step.after.owner):
        return True  # a resumed claim keeps the deadlines of the earlier one
    lease = step.after.in_progress_expiry_timestamp
    return step.after.status == INPROGRESS and (lease is None or expiry_ms(step.after) >= lease)


class Invariant(NamedTuple):
    """A named predicate and the clause of ``protocol.md`` that states it."""

    clause: str
    predicate: Callable[[Any], bool]
    of: Literal["step", "history"]


INVARIANTS: tuple[Invariant, ...] = (
    Invariant("INV-1", one_live_run, "history"),
    Invariant("INV-2", live_result_is_final, "step"),
    Invariant("INV-3", others_are_untouched, "step"),
    Invariant("INV-4", answers_agree, "history"),
    Invariant("INV-4", answer_is_the_record, "step"),
    Invariant("INV-5", rerun_has_a_reason, "history"),
    Invariant("INV-6", retry_changes_nothing, "step"),
    Invariant("INV-7", eviction_owes_nothing, "step"),
    Invariant("INV-8", bounded, "history"),
    Invariant("INV-9", somebody_can_finish, "step"),
    Invariant("INV-10", effect_happens_once, "history"),
    Invariant("INV-11", effect_has_its_record, "history"),
    Invariant("TXN-1", within_needs_its_claim, "step"),
    Invariant("TAKE-2", takeover_follows_the_policy, "step"),
    Invariant("TAKE-4", abandoned_claim_remains, "step"),
    Invariant("ENG-3", begins_under_its_lease, "history"),
    Invariant("TIME-6", claim_outlives_its_lease, "step"),
)


def broken_by_step(step: Step) -> list[str]:
    """Return the names of the invariants that ``step`` breaks."""
    return [
        f"{rule.clause} {rule.predicate.__name__}"
        for rule in INVARIANTS
        if rule.of == "step" and not rule.predicate(step)
    ]


def broken_by_history(history: Sequence[Happening]) -> list[str]:
    """Return the names of the invariants that ``history`` breaks."""
    return [
        f"{rule.clause} {rule.predicate.__name__}"
        for rule in INVARIANTS
        if rule.of == "history" and not rule.predicate(history)
    ]
