"""Ends an attempt after its body has returned: stores the result, and reports what happened to it."""

from collections.abc import Callable
from typing import Any

from ..drivers.interrupts import Interrupts
from ..spec.commands import Steps
from ..spec.errors import IdempotencyError, IdempotencyLeaseLostError, IdempotencyPersistenceLayerError
from ..spec.events import Complete, Completed, LeaseLost, Outcome, Superseded
from ..spec.occurrences import Kind
from ..spec.record import ERROR_UNAVAILABLE, RESULT_UNAVAILABLE
from ..spec.settle import settle
from ..spec.transition import transition
from .answers import Answers, not_stored
from .attempt import Attempt, append_context
from .cache import LocalCache
from .changes import Completing, GivenUp
from .final_errors import FinalErrors
from .observers import Observers, Report

INTERRUPTS = range(3)
"""How often work that is interrupted between two requests is tried again."""


class Finishing:
    """The part of an engine that runs after a body has returned. The claim is never released then."""

    finals: FinalErrors
    _name: str | None
    observers: Observers
    _answers: Answers
    _cache: LocalCache | None
    _clock: Callable[[], int]
    _completing: Completing
    _interrupts: Interrupts
    _marking: Completing
    _marking_error: Completing

    def _is_final(self, attempt: Attempt) -> bool:
        """Return whether an exception is the answer of the operation (FIN-1, FIN-6)."""
        failure = attempt.failure
        return (
            failure is not None
            and self.finals.include(failure)
            and not attempt.completing  # TXN-9
            and not attempt.never_ran  # or it is the engine's own failure
            and not attempt.goes_on_after(failure)
        )

    def _finish(self, attempt: Attempt) -> Steps:  # noqa: C901, PLR0912 - what may become of a result, in its order
        """Store the result or the final error. Return the answer; the driver raises the final error."""
        refused, trouble = False, None
        try:
            text, answer = self._encode(attempt)
        except BaseException as error:  # noqa: BLE001 - an interrupt among others
            trouble = error
        if trouble is not None:
            text, answer, trouble = self._encode_again(attempt, trouble)
        given_up: GivenUp | None = None
        try:
            outcome = yield from self._complete(attempt, text)
        except GivenUp as error:
            given_up = error
        except Exception as error:
            if self._interrupts.includes(error):
                raise  # and begin again
            given_up = GivenUp()  # nothing may keep a result from its caller
            attempt.trouble = error
        if given_up is not None:
            outcome, trouble = yield from self._mark(attempt, text, given_up)
            refused = True
        attempt.settled = True
        attempt.trouble = None  # its traceback refers to this attempt
        attempt.outcome = outcome
        if attempt.report is not None or isinstance(outcome, Superseded):
            cause = attempt.failure if trouble is None else trouble
            yield from self._report(attempt, _kind_of_end(outcome, trouble), outcome, cause)
        if trouble is None and attempt.interrupt is None and isinstance(outcome, Completed):
            if self._cache is not None:
                self._cache.put(outcome.record)
            return answer
        if isinstance(outcome, LeaseLost):
            lost = IdempotencyLeaseLostError(
                f"The attempt on {attempt.key!r} no longer holds its claim: its lease ended, or the store "
                f"lost it, and another attempt took over. {_what_ran(attempt)}; its "
                f"{_name_of_end(attempt)}, carried by this error, was not stored. Use a longer lease; if the "
                "lease had not ended, check the store and the clocks.",
                **_ended_with(attempt),
            )
            raise self._stopped(attempt, lost, attempt.failure)
        if isinstance(outcome, Superseded) and attempt.interrupt is None:
            raised = attempt.failure
            try:
                if raised is None:
                    return self._answers.instead_of(attempt.result, outcome.record)
                attempt.failure, attempt.result, attempt.returned = (
                    None,
                    None,
                    True,
                )  # the driver raises nothing
                return self._answers.instead_of(None, outcome.record, raised=raised)
            except IdempotencyError as error:
                refusal = error
            raise self._interrupts.behind(refusal) or refusal
        if trouble is not None:
            result = None if attempt.failure is not None else attempt.result
            unstored = not_stored(
                attempt.key, result, trouble, refused=refused, raised=attempt.failure, answers=attempt.asks
            )
            raise self._stopped(attempt, unstored, attempt.failure or trouble)
        assert attempt.interrupt is not None  # else it has completed, and nothing was wrong
        if attempt.failure is not None:
            append_context(attempt.interrupt, attempt.failure)
        raise attempt.interrupt

    def _encode(self, attempt: Attempt) -> tuple[str, Any]:
        """Return the text of the result or the final error, and the answer."""
        if attempt.failure is not None:
            return self.finals.encode(attempt.failure), None
        return self._answers.encode(attempt.result)

    def _encode_again(
        self, attempt: Attempt, trouble: BaseException
    ) -> tuple[str, Any, BaseException | None]:
        """Encode again after an interrupt; return the text to store, the answer, and any last error."""
        for _ in INTERRUPTS:
            interrupt = self._interrupts.behind(trouble)
            if interrupt is None:
                break
            attempt.note_interrupt(interrupt)
            try:
                return (*self._encode(attempt), None)
            except BaseException as error:  # noqa: BLE001 - judged above
                trouble = error
        return RESULT_UNAVAILABLE if attempt.failure is None else ERROR_UNAVAILABLE, None, trouble

    def _complete(self, attempt: Attempt, text: str) -> Steps:
        """Store ``text``, and return the outcome. Raise :class:`GivenUp` if the store did not take it."""
        attempt.text = text
        return settle(self._completing, attempt, attempt.key, attempt.held, self._clock, attempt.decide)

    def _mark(self, attempt: Attempt, text: str, given_up: GivenUp) -> Steps:
        """Store a marker instead of the result; return the outcome, and the error that led to it.

        A store may refuse only this record, for example because it is too large. The marker is small.
        """
        failure = attempt.trouble
        marking, marker = self._marking, RESULT_UNAVAILABLE
        if attempt.failure is not None:
            marking, marker = self._marking_error, ERROR_UNAVAILABLE
        if text != marker:
            try:
                outcome = yield from settle(
                    marking, attempt, attempt.key, attempt.held, self._clock, attempt.decide
                )
            except GivenUp:
                failure = failure or attempt.trouble
            else:
                record = getattr(outcome, "record", None)
                if record is not None and (record.owner, record.response_data) == (attempt.owner, text):
                    # An earlier request arrived. The table recognizes its completion.
                    now, hashed = self._clock(), attempt.payload_hash
                    own = Complete(attempt.owner, text, hashed, record.expiry_timestamp, attempt.key)
                    return (attempt.decide or transition)(record, own, now)[1], None
                return outcome, failure or given_up
        attempt.settled = True
        yield from self._report(attempt, Kind.OUTCOME_UNKNOWN, None, failure or given_up)
        unknown = IdempotencyPersistenceLayerError(
            f"{_what_ran(attempt)} for {attempt.key!r}, and it is not known whether its "
            f"{_name_of_end(attempt)}, carried by this error, was stored. Check the operation before "
            "repeating it.",
            failure or given_up,
            **_ended_with(attempt),
        )
        raise self._stopped(attempt, unknown, attempt.failure or failure)

    def _stopped(
        self, attempt: Attempt, error: IdempotencyError, cause: BaseException | None = None
    ) -> BaseException:
        """Return the exception to raise: an earlier interrupt, with ``error`` as its cause, or ``error``."""
        if cause is not attempt.interrupt:
            error.__cause__ = cause
        attempt.trouble = None
        if attempt.interrupt is None:
            return error
        attempt.interrupt.__cause__ = error
        return attempt.interrupt

    def _report(
        self,
        attempt: Attempt,
        kind: Kind,
        outcome: Outcome | None = None,
        error: BaseException | None = None,
    ) -> Steps:
        """Report an occurrence of an attempt. An interrupt by an observer is noted."""
        report = attempt.report
        if report is None:
            if not self.observers.wants(kind):
                return
            report = Report(attempt.key, None, attempt.owner, self._name)
        record = None if outcome is None and kind is not Kind.RELEASE_FAILED else attempt.held
        try:
            yield report.of(kind, outcome, record=record, ran=attempt.ran, error=error)
        except GeneratorExit:
            raise
        except BaseException as interrupt:  # noqa: BLE001 - nothing else comes of observers
            attempt.note_interrupt(interrupt)


def _what_ran(attempt: Attempt) -> str:
    return "on_takeover answered" if attempt.asks else "The function ran"


def _ended_with(attempt: Attempt) -> dict[str, Any]:
    """Return how the body ended, as arguments of an error that carries it."""
    return {"result": attempt.result} if attempt.failure is None else {"raised": attempt.failure}


def _name_of_end(attempt: Attempt) -> str:
    return "result" if attempt.failure is None else "final error"


def _kind_of_end(outcome: Outcome, trouble: BaseException | None) -> Kind:
    """Return the kind of occurrence that reports the outcome of a completion."""
    if isinstance(outcome, LeaseLost):
        return Kind.LEASE_LOST
    if isinstance(outcome, Superseded):
        return Kind.SUPERSEDED
    return Kind.COMPLETED if trouble is None else Kind.RESULT_NOT_STORED
