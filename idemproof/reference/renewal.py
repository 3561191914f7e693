"""Renews the lease of an attempt while its body runs: a heartbeat, and renewals by the body."""

from collections.abc import Callable
from typing import Any

from ..backends.base import keeps_owners
from ..backends.called_layers import called_by_methods, calls_methods
from ..backends.doubles import is_double
from ..spec.commands import CancelBody, Sleep, StartRenewal, Steps, StopRenewal
from ..spec.errors import IdempotencyConfigError, IdempotencyLeaseLostError
from ..spec.events import Outcome, Renewed
from ..spec.occurrences import Kind
from ..spec.record import COMPLETED, Record, deadline_ms, holds
from ..spec.settle import settle
from .attempt import Attempt
from .changes import Renewing, pause_ms
from .config import IdempotencyConfig
from .functions import is_async, name_of
from .observers import Observers, Report


class Renewal:
    """The renewals of one attempt, and what they have found out.

    Parameters
    ----------
    attempt
        The attempt.
    claim
        Its claim.
    until
        Until when the lease may last at most (epoch milliseconds).
    """

    __slots__ = ("attempt", "beat", "claim", "held", "lost", "steps", "stopped", "until")

    def __init__(self, attempt: Attempt, claim: Record, until: int) -> None:
        self.attempt = attempt
        self.claim = claim
        self.until = until
        # What `settle` found last: the claim, or what is stored instead of it.
        self.held: Record | None = claim
        # Set once the body has ended. From then on nothing is proposed.
        self.stopped = False
        # Whether a renewal was refused while the body ran.
        self.lost = False
        # For the driver: what it performs beside the body, and what it performs that with.
        self.steps: Steps | None = None
        self.beat: Any = None

    def note(self, outcome: Outcome) -> bool:
        """Record the outcome of a renewal; return whether the claim is lost.

        It is not lost if the attempt itself has completed it, or has ended meanwhile.
        """
        if isinstance(outcome, Renewed):
            if deadline_ms(outcome.record) > deadline_ms(self.claim):
                self.claim = outcome.record
            return False
        current = getattr(outcome, "record", None)
        owner = self.attempt.owner
        own = current is not None and current.status == COMPLETED and current.owner == owner
        if not (own or self.stopped):
            self.lost = True
        return self.lost

    def cancelled_by(self, cancellation: BaseException) -> BaseException:
        """Return the error for a body or a question that was cancelled because the claim was lost."""
        cancelled = (
            "on_takeover was cancelled. The function did not run"
            if self.attempt.asks
            else "its function was cancelled. It may have run in part"
        )
        error = IdempotencyLeaseLostError(
            f"The attempt on {self.attempt.key!r} has lost its claim, so {cancelled}, and another attempt "
            "may run. Check the operation before repeating it."
        )
        error.__cause__ = cancellation
        return error


class Renewals:
    """The part of an engine that renews leases."""

    observers: Observers
    _clock: Callable[[], int]
    _config: IdempotencyConfig
    _keeps_owners: bool
    _name: str | None
    _renewing: Renewing
    timed: Callable[..., Steps]

    def _begin_renewal(self, attempt: Attempt) -> Steps:
        """Let the lease be renewed while the body runs."""
        renewal = self.renewal_of(attempt)
        renewal.steps = self._beats(renewal)
        yield StartRenewal(renewal)

    def renewal_of(self, attempt: Attempt) -> Renewal:
        """Return the renewals of an attempt whose body runs, or is about to."""
        found: Renewal | None = attempt.renewal
        if found is None:
            claim = attempt.held
            assert claim is not None  # the body runs under it
            found = attempt.renewal = Renewal(attempt, claim, self._clock() + self._renewing.longest_run_ms)
        return found

    def _end_renewal(self, attempt: Attempt) -> Steps:
        """Stop the renewal before the claim is completed or released. An interrupt is noted."""
        renewal = attempt.renewal
        assert renewal is not None  # asked before
        renewal.stopped = True
        try:
            yield StopRenewal(renewal, self._renewing.patience_ms)
        except GeneratorExit:
            raise
        except BaseException as interrupt:  # noqa: BLE001 - nothing else comes of waiting
            attempt.note_interrupt(interrupt)
        if holds(attempt.held, attempt.owner):
            attempt.held = renewal.claim

    def _beats(self, renewal: Renewal) -> Steps:
        """Renew every third of the lease, until the body or the claim ends, or the longest run is over."""
        report = self._report_of(renewal.attempt)
        pause, failures = self._renewing.interval_ms, 0
        while True:
            yield Sleep(pause)
            outcome, failure = yield from self._try(renewal, report)
            if renewal.stopped:
                return
            failures = 0 if failure is None else failures + 1
            if failures == 1:
                yield from self._report_beat(report, Kind.RENEWAL_FAILED, None, renewal, failure)
            failure = None  # its traceback refers to this frame
            left = deadline_ms(renewal.claim) - self._now_or(renewal)
            over = outcome is None and left <= 0
            if self._config.cancel_when_lost and (renewal.lost or over):
                yield CancelBody()
                return
            if not isinstance(outcome, Renewed) and not failures and (over or outcome is not None):
                return  # nothing can be renewed any more
            pause = self._renewing.interval_ms
            if failures:
                pause = min(pause_ms(failures), pause)
            elif outcome is None:  # only the end of the lease is left to see
                pause = min(left, pause)

    def _try(self, renewal: Renewal, report: Report | None) -> Steps:
        """Renew; return the outcome and what failed, both None if the lease may not be longer."""
        try:
            return (yield from self.renew_steps(renewal, report)), None
        except Exception as error:  # noqa: BLE001 - it is tried again
            return None, error

    def _now_or(self, renewal: Renewal) -> int:
        """Return the time; the end of the lease if the clock fails, because then nothing is known."""
        try:
            return self._clock()
        except Exception:  # noqa: BLE001 - the call itself finds out what its clock raises
            return deadline_ms(renewal.claim)

    def can_renew(self, attempt: Attempt) -> bool:
        """Return whether there is a lease, and its layer can tell whose it is."""
        claim = attempt.held
        return (
            self._keeps_owners
            and claim is not None
            and claim.in_progress_expiry_timestamp is not None
            and not calls_methods(attempt.layer)
        )

    def renew_steps(self, renewal: Renewal, report: Report | None) -> Steps:
        """Renew once, and return the outcome; None if the lease may not be longer than it is."""
        attempt, change, now = renewal.attempt, self._renewing, self._clock()
        if not renewal.stopped and change.ends_at_most(renewal, now) <= max(now, deadline_ms(renewal.claim)):
            return None
        decide = None if report is None else report.decide
        settled = settle(change, renewal, attempt.key, renewal.claim, self._clock, decide)
        outcome: Outcome = yield from self.timed(settled, attempt=attempt)
        lost = renewal.note(outcome)
        if not renewal.stopped:
            kind = Kind.RENEWAL_REFUSED if lost else Kind.RENEWED
            yield from self._report_beat(report, kind, outcome, renewal)
        return outcome

    def _report_of(self, attempt: Attempt) -> Report | None:
        """Return what reports the renewals of an attempt: not its call's report, which its thread uses."""
        if attempt.report is not None:
            return attempt.report.beside()
        if self.observers.wants(Kind.RENEWAL_REFUSED):
            return Report(attempt.key, None, attempt.owner, self._name)
        return None

    def _report_beat(
        self,
        report: Report | None,
        kind: Kind,
        outcome: Outcome | None,
        renewal: Renewal,
        error: BaseException | None = None,
    ) -> Steps:
        if report is None or not (renewal.attempt.report is not None or self.observers.wants(kind)):
            return
        try:
            yield report.of(kind, outcome, record=renewal.held, error=error)
        except GeneratorExit:
            raise
        except BaseException as interrupt:
            if not isinstance(interrupt, Exception):
                raise  # the task of the renewal is cancelled


def refuse_renewal(config: IdempotencyConfig, layer: Any, function: Any = None) -> None:
    """Raise for settings of renewal that a layer or a function cannot keep."""
    if config.cancel_when_lost and function is not None and not is_async(function):
        raise IdempotencyConfigError(
            f"cancel_when_lost=True needs an async function, and {name_of(function)} is a plain one, which "
            "cannot be cancelled. Call current_attempt().check() in it instead."
        )
    if not config.renew_lease or is_double(layer):
        return
    if not keeps_owners(layer):
        raise IdempotencyConfigError(
            f"renew_lease=True needs owner tokens, and {type(layer).__name__}, a layer with four methods, "
            "stores none: an attempt could renew the claim of another. Implement _load and _swap "
            "(CompareAndSwapLayer), or use a lease that is longer than the function takes."
        )
    if called_by_methods(layer):
        raise IdempotencyConfigError(
            f"renew_lease=True does not work with {type(layer).__name__}, which overrides documented "
            "methods: there is none for a renewal. Override _load and _swap instead."
        )
