"""What is true of every state that any number of clients can reach, after a history of any length.

The predicates are about one arbitrary body, or one arbitrary answer, and the stored record. Each is true when
the body is granted or the answer is given, and every step of any client preserves it, so it is always true.
Because the body and the answer are arbitrary, this holds for all of them at once. ``idemproof prove`` proves
that, and that the invariants of histories follow.
"""

from collections.abc import Iterator
from typing import NamedTuple

from .events import (
    Abandon,
    Claim,
    Claimed,
    Complete,
    Completed,
    CompleteWithin,
    Event,
    InProgress,
    Release,
    Released,
    Renew,
    Renewed,
    Replay,
    Superseded,
)
from .happenings import Began, Ended, Happening, Step
from .invariants import are_one_execution
from .record import COMPLETED, INPROGRESS, Record, claimable, deadline_ms, expiry_ms, live, same_version


def is_well_formed(record: Record | None) -> bool:
    """Return whether a record has a known status and no empty text (REC-1, REC-2, REC-4).

    That the times are whole numbers (REC-1, REC-3) is a matter of types.
    """
    if record is None:
        return True
    texts = (record.response_data, record.payload_hash, record.owner)
    return record.status in (INPROGRESS, COMPLETED) and "" not in texts


def has_no_empty_text(event: Event) -> bool:
    """Return whether an event has no empty text (REC-4)."""
    names = ("owner", "payload_hash", "response")
    return "" not in [getattr(event, name, None) for name in names]


class Body(NamedTuple):
    """One body that has begun, or may begin because its attempt was granted the claim.

    Parameters
    ----------
    owner
        The owner token of its attempt.
    until
        Epoch milliseconds until which others must not begin: the end of its lease or, once its result is
        stored, the expiry of the result.
    """

    owner: str
    until: int


def is_protected(body: Body, record: Record | None, now: int) -> bool:
    """Return whether the stored record keeps others from beginning, as long as ``body`` requires.

    Either its time is over, or the stored record is of its attempt and remains live for as long.
    """
    if now >= body.until:
        return True
    return record is not None and is_of(record.owner, body) and deadline_ms(record) >= body.until


def is_of(owner: str | None, body: Body) -> bool:
    """Return whether ``owner`` names the attempt of ``body``, or an invocation of its execution (DUR-2)."""
    return owner == body.owner or are_one_execution(owner, body.owner)


def granted(step: Step) -> Body | None:
    """Return the body that may begin after ``step``, or None."""
    owner = getattr(step.event, "owner", None)
    if owner is None or not isinstance(step.outcome, Claimed):
        return None
    return Body(owner, deadline_ms(step.outcome.record))


def continued(body: Body, step: Step) -> Body:
    """Return ``body`` after a step of any client. A body that raises is none any more (INV-5)."""
    event, outcome = step.event, step.outcome
    if (
        isinstance(event, Complete | CompleteWithin)
        and isinstance(outcome, Completed)
        and is_of(event.owner, body)
    ):
        # If nothing changed, the result was stored by an earlier request, with the same expiry (ENG-6).
        return body if step.after is step.before else body._replace(until=event.expiry * 1000)
    if isinstance(outcome, Renewed) and isinstance(event, Renew) and event.owner == body.owner:
        return body._replace(until=max(body.until, deadline_ms(outcome.record)))
    return body


def ended_before_release(body: Body, event: Event) -> bool:
    """Return whether ``event`` does not end the claim of ``body`` while that may begin or run.

    An attempt releases or abandons only if its body has raised, or will not begin (ENG-4, ENG-5), and a
    durable execution only if it has ended (DUR-4).
    """
    return not (isinstance(event, Release | Abandon) and is_of(event.owner, body))


def histories(body: Body, earlier: Began, newcomer: Began) -> Iterator[list[Happening]]:
    """Yield every history of ``body`` in which it keeps ``newcomer`` from beginning.

    Parameters
    ----------
    body
        The body.
    earlier
        An earlier invocation of the same durable execution, with any lease; or the same attempt, with the
        lease that it had before its result was stored.
    newcomer
        The beginning of another attempt.
    """
    began = Began(body.owner, earlier.now, body.until)
    yield [began, newcomer]
    yield [began, Ended(body.owner, began.now, "crashed"), newcomer]
    yield [began, Ended(body.owner, began.now, "lost"), newcomer]
    yield [began, Ended(body.owner, began.now, "suspended"), newcomer]
    stored = Ended(body.owner, began.now, "stored", body.until)
    if earlier.owner == body.owner:
        yield [earlier, stored, newcomer]
    elif are_one_execution(earlier.owner, body.owner):
        suspended = Ended(earlier.owner, earlier.now, "suspended")
        yield [earlier, suspended, began, stored, newcomer]


def after_swap(stored: Record | None, step: Step) -> Record | None:
    """Return the stored record after the change of ``step`` has arrived as a compare-and-swap (CAS-2).

    The change was decided on a record that was loaded earlier. A step that changes nothing sends nothing.
    """
    arrives = step.after is not step.before and same_version(stored, step.before)
    return step.after if arrives else stored


class Effect(NamedTuple):
    """An effect that has happened, and until when it must not happen again (epoch milliseconds)."""

    until: int


def is_remembered(effect: Effect, record: Record | None, now: int) -> bool:
    """Return whether the stored record shows that ``effect`` may have happened, as long as it must."""
    return now >= effect.until or (record is not None and expiry_ms(record) >= effect.until)


def continued_effect(effect: Effect, step: Step) -> Effect:
    """Return ``effect`` after a step of any client. Once a result is stored, its expiry counts (INV-10)."""
    event = step.event
    if (
        isinstance(event, Complete | CompleteWithin)
        and isinstance(step.outcome, Completed)
        and step.after is not step.before
    ):
        return Effect(event.expiry * 1000)
    return effect


def is_asked(step: Step) -> bool:
    """Return whether ``step`` grants no claim without a question, except to the holder of the claim."""
    event, outcome, before = step.event, step.outcome, step.before
    if not isinstance(event, Claim) or not isinstance(outcome, Claimed) or outcome.asks:
        return True
    own = before is not None and before.owner == event.owner and event.owner is not None
    return own or (before is not None and are_one_execution(before.owner, event.owner))


def is_unrecorded(body: Body, record: Record | None) -> bool:
    """Return whether ``record`` is no result of the attempt of ``body``, whose effect is not committed."""
    return record is None or record.status != COMPLETED or record.owner != body.owner


def completes(body: Body, event: Event) -> bool:
    """Return whether ``event`` completes the attempt of ``body``: within its transaction, when it commits."""
    return isinstance(event, Complete | CompleteWithin) and event.owner == body.owner


class Answer(NamedTuple):
    """What a caller got, and until when all others must get the same.

    Parameters
    ----------
    response
        The response.
    payload_hash
        The caller's payload hash.
    until
        Epoch milliseconds at which the record of the response expires.
    """

    response: str | None
    payload_hash: str | None
    until: int


def is_current(answer: Answer, record: Record | None, now: int) -> bool:
    """Return whether the stored record still has ``answer``, as long as it must."""
    if now >= answer.until:
        return True
    if record is None or record.status != COMPLETED or deadline_ms(record) < answer.until:
        return False
    has_hashes = record.payload_hash is not None and answer.payload_hash is not None
    return record.response_data == answer.response and not (
        has_hashes and record.payload_hash != answer.payload_hash
    )


def answered(step: Step) -> Answer | None:
    """Return the answer that the caller gets from ``step``, or None."""
    event, outcome = step.event, step.outcome
    payload_hash = getattr(event, "payload_hash", None)
    if isinstance(outcome, Completed) and isinstance(event, Complete | CompleteWithin):
        return Answer(event.response, payload_hash, deadline_ms(outcome.record))
    if isinstance(outcome, Replay | Superseded):
        return Answer(outcome.record.response_data, payload_hash, deadline_ms(outcome.record))
    return None


def has_its_own_payload(record: Record | None, event: Event) -> bool:
    """Return whether a result next to the owner token of ``event`` has the payload hash of ``event``.

    An owner token belongs to one attempt (ENG-1), which has one payload.
    """
    if record is None or not isinstance(event, Complete | CompleteWithin) or event.owner is None:
        return True
    own = record.status == COMPLETED and record.owner == event.owner
    return not own or record.payload_hash == event.payload_hash


def absent_token_holds_nothing(step: Step) -> bool:
    """Return whether an event without an owner token got nothing from a live record (REC-5)."""
    if getattr(step.event, "owner", "") is not None or step.before is None or not live(step.before, step.now):
        return True
    held = isinstance(step.outcome, Claimed | Completed | Released | Renewed)
    return step.after == step.before and not held


def grant_is_live(step: Step) -> bool:
    """Return whether a granted claim is live if its attempt asked for that, so that its body may begin."""
    if not isinstance(step.event, Claim) or not isinstance(step.outcome, Claimed):
        return True
    requested = step.event.expiry * 1000 if step.event.lease is None else step.event.lease
    return requested <= step.now or live(step.outcome.record, step.now)


def waiting_ends(step: Step) -> bool:
    """Return whether a refused caller gets the time to wait until the key is claimable."""
    if not isinstance(step.outcome, InProgress):
        return True
    wait = step.outcome.retry_after
    return wait > 0 and claimable(step.after, step.now + wait) and not claimable(step.after, step.now)
