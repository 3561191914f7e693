"""Waits for another attempt that is in progress with the key of a call (WAIT-1 to WAIT-7)."""

from collections.abc import Callable
from typing import NamedTuple

from ..spec.commands import Sleep, Steps, Wait
from ..spec.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyConfigError,
    IdempotencyInconsistentStateError,
)
from ..spec.events import Claimed, InProgress, Replay
from ..spec.occurrences import Kind
from ..spec.record import Record, live
from ..spec.waiting import LONGEST_POLL_MS
from .attempt import Attempt
from .changes import Releasing, milliseconds
from .config import IdempotencyConfig, remaining_ms
from .finishing import Finishing
from .waiter import Waiter


class _Locked(NamedTuple):
    """Instead of the outcome of a claim: its layer reports that the record is locked (WAIT-4)."""

    error: IdempotencyAlreadyInProgressError
    retry_after: int = LONGEST_POLL_MS
    record: Record | None = None


class Waiting(Finishing):
    """The part of an engine that waits, and then claims again. Only another claim gives an answer."""

    _config: IdempotencyConfig
    _jitter: Callable[[], float]
    _monotonic: Callable[[], int]
    _claim: Callable[[Attempt], Steps]
    _release: Callable[..., Steps]
    _releasing: Releasing
    _report_before: Callable[..., Steps]
    _ending_before_the_body: Callable[..., Releasing | None]

    def _claim_or_wait(self, attempt: Attempt) -> Steps:
        """Claim until the outcome is not InProgress any more, or the time is over; return the outcome."""
        outcome = yield from self._claim_or_find_locked(attempt)
        while isinstance(outcome, InProgress | _Locked):
            waiter = attempt.waiter
            if waiter is None:
                waiter = attempt.waiter = Waiter()
            attempt.held = waiter.unanswered  # what an interrupt has to release
            if not waiter.has_begun:
                yield from self._begin_to_wait(attempt, waiter, outcome)
            pause = waiter.next_pause(outcome.retry_after)
            if not pause:
                break
            yield from self._pause(waiter, attempt.key, outcome.record, pause)
            if attempt.interrupt is not None:  # it struck after a question, and was noted
                raise attempt.interrupt
            outcome = yield from self._claim_or_find_locked(attempt)
        if attempt.waiter is not None and not isinstance(outcome, Claimed):
            released = attempt.waiter.unanswered is not None
            yield from self._stop_waiting(attempt, attempt.waiter)
            if released and isinstance(outcome, Replay) and not live(outcome.record, self._clock()):
                return (yield from self._claim_after_expiry(attempt, attempt.waiter))  # INV-4
        if isinstance(outcome, _Locked):
            assert attempt.waiter is not None  # it has waited
            raise attempt.waiter.refusal_of(outcome.error) from outcome.error
        return outcome

    def _claim_after_expiry(self, attempt: Attempt, waiter: Waiter) -> Steps:
        """Claim again, because the answer expired while an earlier claim was released."""
        if waiter.outlived:
            raise IdempotencyInconsistentStateError(
                f"The stored answer for {attempt.key!r} expired twice while an earlier claim of this call "
                "was released. The function did not run. Retry."
            )
        waiter.outlived = True
        return (yield from self._claim_or_wait(attempt))

    def _claim_or_find_locked(self, attempt: Attempt) -> Steps:
        try:
            return (yield from self._claim(attempt))
        except IdempotencyAlreadyInProgressError as error:
            return _Locked(error)

    def _begin_to_wait(self, attempt: Attempt, waiter: Waiter, outcome: InProgress | _Locked) -> Steps:
        config = self._config
        context = config.lambda_context if attempt.context is None else attempt.context
        waiting_ms = milliseconds(config.wait_for_in_progress_seconds)
        waiter.begin(waiting_ms, remaining_ms(context), self._monotonic, self._jitter)
        if attempt.report is not None:
            if isinstance(outcome, _Locked):
                yield from self._report_before(attempt, Kind.WAITING, None, outcome.error)
            else:
                yield from self._report_before(attempt, Kind.WAITING, outcome)

    def _pause(self, waiter: Waiter, key: str, seen: Record | None, pause: int) -> Steps:
        """Wait until the pause is over, or until a signal ends it."""
        failure: Exception | None = None
        signalled = False
        listens = waiter.listens and seen is not None
        if listens:
            assert seen is not None  # or there is nothing that may change
            try:
                signalled = (yield Wait(key, seen, pause)) is True
            except Exception as error:  # noqa: BLE001 - judged below, where nothing is being handled
                failure = error
        if failure is not None:
            interrupt = self._interrupts.behind(failure)
            if interrupt is not None:
                raise interrupt
            if isinstance(failure, IdempotencyConfigError):
                raise failure
        if failure is not None or not listens:
            yield Sleep(pause)
        waiter.paused(signalled=signalled)

    def _stop_waiting(self, attempt: Attempt, waiter: Waiter) -> Steps:
        """Release or abandon a claim that was sent and not answered (WAIT-5, TAKE-4).

        This is the one place that decides what becomes of such a claim.
        """
        attempt.held, waiter.unanswered = waiter.unanswered, None
        if attempt.held is None or attempt.resumed:
            return
        report = attempt.report
        row = None if report is None else report._row
        try:
            ending = self._ending_before_the_body(attempt, stopped=False)
            yield from self._release(attempt, TimeoutError("the call stopped waiting"), ending)
        except GeneratorExit:
            raise
        except Exception as error:
            if self._interrupts.includes(error):
                raise
            waiter.trouble = error
            if report is not None:
                yield from self._report(attempt, Kind.RELEASE_FAILED, None, error)
        attempt.held = None
        if report is not None:
            report._row = row  # of the claim, whose outcome is the answer
        if attempt.interrupt is not None:
            raise attempt.interrupt
