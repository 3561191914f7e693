"""What is proved: each property holds for every step, or for every state."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ..spec.events import (
    RUN,
    Abandon,
    Claim,
    Complete,
    CompleteWithin,
    Event,
    Evict,
    Release,
    Renew,
    Renewed,
)
from ..spec.happenings import Answered, Step
from ..spec.inductive import (
    Body,
    absent_token_holds_nothing,
    after_swap,
    answered,
    completes,
    continued,
    continued_effect,
    ended_before_release,
    grant_is_live,
    granted,
    has_its_own_payload,
    has_no_empty_text,
    histories,
    is_asked,
    is_current,
    is_protected,
    is_remembered,
    is_unrecorded,
    is_well_formed,
    waiting_ends,
)
from ..spec.invariants import (
    INVARIANTS,
    answers_agree,
    begins_under_its_lease,
    one_live_run,
    rerun_has_a_reason,
    retry_changes_nothing,
)
from ..spec.record import live
from .cases import EVENTS, Situation

ATTEMPTS = (Claim, Complete, CompleteWithin, Release, Abandon, Renew)
"""The events that an attempt retries if a reply is lost."""

LEAVING_EFFECTS = (Claim, Complete, CompleteWithin, Abandon, Renew, Evict)
"""The events that keep the memory of an effect. An attempt releases only if nothing has happened (TAKE-4)."""

ASSUMPTIONS = {
    "REC-1": "statuses are known, times are whole numbers, and a record is of the key of its event",
    "REC-4": "no text of a request is empty",
    "CAS-2": "a change is applied only to a record with the owner, status and deadlines that it expects",
    "CAS-4": "changes of one key are applied one after the other",
    "CAS-6": "the store deletes no record by itself before its expiry",
    "ENG-1": "no two attempts have the same owner token, and an attempt has one payload and begins once",
    "ENG-3": "a body begins only while its lease is live",
    "ENG-4": "an attempt releases only if its body has raised or will not begin (with ENG-5 and DUR-4)",
    "ENG-6": "a completion is sent again with the same expiry",
    "TAKE-4": "an attempt releases only if nothing has happened (with TAKE-3 and TAKE-6)",
    "TXN-2": "an attempt that completes within a transaction is completed by its commit alone",
    "DUR-2": "invocations of one execution count as one attempt, and do not run at once",
    "OUT-1": "clocks agree: a request never arrives before the time at which it was decided",
}
"""What the proof assumes of the store, the engine and the clocks, by clause."""

OF_THE_MODEL = ("REC-1", "CAS-2", "CAS-4", "CAS-6", "ENG-6", "TAKE-4", "DUR-2")
"""Assumptions that are not conditions of a property, but the way in which all of them are stated."""


class Property(NamedTuple):
    """One property.

    Parameters
    ----------
    clause
        The clause that states it.
    name
        The name of the predicate, or what is proved in words.
    holds
        Returns whether it holds in a situation.
    about
        What it is about: a "step", the "induction" over steps, or a "state", whatever the next event.
    events
        The kinds of events that it is about.
    """

    clause: str
    name: str
    holds: Callable[[Situation], bool]
    about: str
    events: tuple[type[Event], ...] = EVENTS


def _of_step(predicate: Callable[[Step], bool]) -> Callable[[Situation], bool]:
    return lambda case: predicate(case.step)


def _stays_well_formed(case: Situation) -> bool:
    case.assume("REC-4", has_no_empty_text(case.step.event))
    case.suppose(is_well_formed(case.step.before))
    return is_well_formed(case.step.after)


def _grant_protects(case: Situation) -> bool:
    body = granted(case.step)
    return body is None or is_protected(body, case.step.after, case.step.now)


def _body_stays_protected(case: Situation) -> bool:
    step, body = case.step, case.body
    # Otherwise nothing is sent, and the body is as it was.
    case.suppose(step.after is not step.before or isinstance(step.outcome, Renewed))
    case.suppose(is_protected(body, case.stored, case.later))
    case.assume("ENG-4", ended_before_release(body, step.event))
    case.assume("OUT-1", step.now <= case.later)
    return is_protected(continued(body, step), after_swap(case.stored, step), case.later)


def _answer_is_current(case: Situation) -> bool:
    case.assume("ENG-1", has_its_own_payload(case.step.before, case.step.event))
    answer = answered(case.step)
    return answer is None or is_current(answer, case.step.after, case.step.now)


def _answer_stays_current(case: Situation) -> bool:
    case.suppose(case.step.after is not case.step.before)  # or nothing is sent
    case.suppose(is_current(case.answer, case.stored_result, case.later))
    case.assume("OUT-1", case.step.now <= case.later)
    return is_current(case.answer, after_swap(case.stored_result, case.step), case.later)


def _effect_stays_remembered(case: Situation) -> bool:
    step = case.step
    case.suppose(getattr(step.event, "policy", None) != RUN and step.after is not step.before)
    case.suppose(is_remembered(case.effect, case.stored, case.later))
    case.assume("OUT-1", step.now <= case.later)
    return is_remembered(continued_effect(case.effect, step), after_swap(case.stored, step), case.later)


def _effect_is_asked_about(case: Situation) -> bool:
    step, effect = case.step, case.effect
    case.suppose(getattr(step.event, "policy", None) != RUN)
    case.suppose(step.now < effect.until and is_remembered(effect, step.before, step.now))
    return is_asked(step)


def _uncommitted_effect_has_no_record(case: Situation) -> bool:
    step, body = case.step, case.body
    case.suppose(step.after is not step.before)
    case.suppose(is_unrecorded(body, case.stored))
    case.assume("TXN-2", not completes(body, step.event))
    return is_unrecorded(body, after_swap(case.stored, step))


def _time_keeps_effects(case: Situation) -> bool:
    record, now = case.step.before, case.step.now
    case.suppose(now <= case.later)
    case.suppose(is_remembered(case.effect, record, now))
    return is_remembered(case.effect, record, case.later)


def _later_retry_changes_nothing(case: Situation) -> bool:
    step = case.step
    case.suppose(step.after is not step.before)  # what was refused may be granted later
    is_abandoned = isinstance(step.event, Abandon)  # and so not live, but nobody else has taken over
    case.suppose(is_abandoned or step.after is None or live(step.after, case.later))
    case.assume("OUT-1", step.now <= case.later)
    return retry_changes_nothing(case.step._replace(now=case.later))


def _time_protects(case: Situation) -> bool:
    record, now = case.step.before, case.step.now
    case.suppose(now <= case.later)
    case.suppose(is_protected(case.body, record, now))
    return is_protected(case.body, record, case.later)


def _time_keeps_answers(case: Situation) -> bool:
    record, now = case.step.before, case.step.now
    case.suppose(now <= case.later)
    case.suppose(is_current(case.answer, record, now))
    return is_current(case.answer, record, case.later)


def _nobody_else_begins(predicate: Callable[[Any], bool]) -> Callable[[Situation], bool]:
    """Return the property that no history of a protected body, up to another beginning, breaks a rule."""

    def holds(case: Situation) -> bool:
        record, body, newcomer = case.step.before, case.body, case.newcomer
        case.assume("ENG-1", newcomer.owner != body.owner)
        case.suppose(is_protected(body, record, newcomer.now))
        case.suppose(is_protected(Body(newcomer.owner, newcomer.until), record, newcomer.now))
        case.assume("ENG-3", begins_under_its_lease([newcomer]))
        return all(predicate(history) for history in histories(body, case.earlier, newcomer))

    return holds


def _answers_agree(case: Situation) -> bool:
    record, answer = case.step.before, case.answer
    case.suppose(is_current(answer, record, case.later) and case.later < answer.until)
    return answers_agree([Answered(case.later, answer.response, answer.payload_hash, record)])


def _all_answers_are_one(case: Situation) -> bool:
    record, one, other = case.step.before, case.answer, case.other_answer
    case.suppose(case.later < one.until and is_current(one, record, case.later))
    case.suppose(case.later < other.until and is_current(other, record, case.later))
    return one.response == other.response


def _of_invariants() -> list[Property]:
    return [
        Property(rule.clause, rule.predicate.__name__, _of_step(rule.predicate), "step")
        for rule in INVARIANTS
        if rule.of == "step"
    ]


def properties() -> tuple[Property, ...]:
    """Return all properties, in the order in which they are shown."""
    return (
        *_of_invariants(),
        Property("INV-9", "grant_is_live", _of_step(grant_is_live), "step"),
        Property("INV-9", "waiting_ends", _of_step(waiting_ends), "step"),
        Property("REC-5", "absent_token_holds_nothing", _of_step(absent_token_holds_nothing), "step"),
        Property("REC-4", "record stays well-formed", _stays_well_formed, "step"),
        Property("INV-1", "a granted body is protected", _grant_protects, "induction"),
        Property("INV-1", "a protected body stays protected", _body_stays_protected, "induction"),
        Property("INV-4", "an answer is current", _answer_is_current, "induction"),
        Property("INV-4", "a current answer stays current", _answer_stays_current, "induction"),
        Property(
            "INV-6", "a later retry changes nothing", _later_retry_changes_nothing, "induction", ATTEMPTS
        ),
        Property(
            "INV-10", "an effect stays remembered", _effect_stays_remembered, "induction", LEAVING_EFFECTS
        ),
        Property(
            "INV-10", "a remembered effect is asked about", _effect_is_asked_about, "induction", (Claim,)
        ),
        Property(
            "INV-11",
            "an effect that is not committed has no record",
            _uncommitted_effect_has_no_record,
            "induction",
        ),
        Property("INV-1", "time leaves a body protected", _time_protects, "state"),
        Property("INV-10", "time leaves an effect remembered", _time_keeps_effects, "state"),
        Property("INV-4", "time leaves an answer current", _time_keeps_answers, "state"),
        Property("INV-1", "one_live_run", _nobody_else_begins(one_live_run), "state"),
        Property("INV-5", "rerun_has_a_reason", _nobody_else_begins(rerun_has_a_reason), "state"),
        Property("INV-4", "answers_agree", _answers_agree, "state"),
        Property("INV-4", "all answers are the same", _all_answers_are_one, "state"),
    )


TOTAL = Property("ROW-0", "transition is total", lambda _: True, "step")
"""That no record, event and time makes the transition function raise an error."""


def clauses() -> list[str]:
    """Return the clauses whose properties can be proved."""
    return sorted({rule.clause for rule in (TOTAL, *properties())})


ANY_EVENT: Event = Evict()
"""The event of a state, where none is asked for."""
