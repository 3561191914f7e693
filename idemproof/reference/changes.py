"""What an attempt wants of its record, and how it copes with a store that fails: the policies of retrying."""

from collections.abc import Callable

from ..drivers.interrupts import Interrupts
from ..spec.errors import (
    IdempotencyError,
    IdempotencyInconsistentStateError,
    IdempotencyInvalidStatusError,
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceLayerError,
    IdempotencyRecordTooLargeError,
)
from ..spec.events import Claim, Complete, Release
from ..spec.record import RESULT_UNAVAILABLE, Record, ceil_seconds, deadline_ms, same_execution
from ..spec.settle import Change
from .attempt import Attempt
from .config import IdempotencyConfig, remaining_ms

TRIES = 3
"""How many requests of one change may fail, whatever the time."""

PAUSE_MS = 25
"""The wait after the first failure; each further one waits twice as long."""

LONGEST_PAUSE_MS = 500
"""No wait is longer, unless a completion may take more than twenty times as long."""

SHORTEST_LEASE_MS = 1000
"""What a Lambda context grants that has hardly any time left: a lease longer than the run is safe."""

_FINAL = (
    IdempotencyInvalidStatusError,
    IdempotencyPersistenceConfigError,
    IdempotencyRecordTooLargeError,
)


class _Patient(Change):
    """A change that is tried again after a failure, unless the failure is final."""

    tries = TRIES
    waits: bool = False
    """Whether it has the time for what may pass: a file that is busy, credentials that are being renewed."""

    def __init__(self, interrupts: Interrupts) -> None:
        self._interrupts = interrupts

    def is_final(self, error: BaseException) -> bool:
        """Return whether asking again cannot help: the layer has understood, and refuses."""
        if _nothing_written(error) or getattr(error, "may_pass", False):
            return not self.waits
        if isinstance(error, IdempotencyPersistenceLayerError):
            return isinstance(error, _FINAL)
        return isinstance(error, IdempotencyError)

    def failed(
        self,
        subject: Attempt,
        error: BaseException,
        failures: int,
        clock: Callable[[], int],  # noqa: ARG002 - of those for which time counts
    ) -> int:
        """Return the wait before the next try, or raise to give up."""
        interrupt = self._interrupts.behind(error)
        if interrupt is not None:
            subject.note_interrupt(interrupt)
        if failures >= self.tries or (interrupt is None and self.is_final(error)):
            raise error
        return pause_ms(failures)


def pause_ms(failures: int, longest: int = LONGEST_PAUSE_MS) -> int:
    """Return how long to wait after so many failures."""
    return min(PAUSE_MS << min(failures - 1, 20), longest)


class Claiming(_Patient):
    """A claim, under an attempt's token. An interrupt ends it at once."""

    claims = True

    def __init__(self, config: IdempotencyConfig, interrupts: Interrupts) -> None:
        super().__init__(interrupts)
        self._config = config
        self._window_ms = milliseconds(config.expires_after_seconds)
        lease = config.in_progress_expires_after_seconds
        self._lease_ms = None if lease is None else milliseconds(lease)
        self._told_of_missing_lease = False
        self.without_lease = False
        """Whether the first claim without a lease is yet to be reported."""

    def event(self, subject: Attempt, now: int) -> Claim:
        """Return the claim with the deadlines that it has if it is sent now (ENG-2)."""
        lease = self._lease_ms
        context = self._config.lambda_context if subject.context is None else subject.context
        if context is not None:
            left = remaining_ms(context)
            if left is not None:
                if left <= 0:
                    raise IdempotencyInconsistentStateError(
                        f"The Lambda context has no time left for {subject.key!r}. "
                        "The function did not run. Retry."
                    )
                left = max(left, SHORTEST_LEASE_MS)
                if lease is None or left < lease:
                    lease = left
        if lease is not None:
            lease += now
        elif not self._told_of_missing_lease:
            self._told_of_missing_lease = self.without_lease = True
        expiry = ceil_seconds(now + self._window_ms)
        return Claim(subject.owner, lease, expiry, subject.payload_hash, subject.key)

    def refused(self, subject: Attempt, failures: int) -> None:
        """Note that none stands, unless an earlier one was not answered: it may stand, or arrive."""
        if not failures:
            subject.held = None

    def failed(
        self,
        subject: Attempt,
        error: BaseException,
        failures: int,
        clock: Callable[[], int],  # noqa: ARG002 - as for any patient change
    ) -> int:
        """As of any patient change; but an interrupt is raised at once, and a failure is explained."""
        if failures == 1 and _nothing_written(error):
            subject.held = None  # there is nothing to take back
        interrupt = self._interrupts.behind(error)
        if interrupt is not None:
            raise interrupt
        if failures < self.tries and not self.is_final(error):
            return pause_ms(failures)
        if isinstance(error, IdempotencyError):
            raise error
        raise IdempotencyPersistenceLayerError(
            f"The persistence layer could not claim {subject.key!r}. Nothing ran. Retry.", error
        ) from error

    def restless(self, key: str, requests: int) -> Exception:
        """Return the error for a record that changes again and again."""
        return IdempotencyInconsistentStateError(
            f"The record of {key!r} could not be claimed in {requests} tries, "
            "though the protocol allows it each time: its lease is shorter than a request takes, or the "
            "persistence layer decides by other rules. The function did not run. Retry."
        )


class Resuming(Claiming):
    """A claim in a durable execution: for as long as that may last, and resumed by its later invocations."""

    def __init__(self, config: IdempotencyConfig, interrupts: Interrupts) -> None:
        super().__init__(config, interrupts)
        self._lease_ms: int = milliseconds(config.execution_timeout_seconds)

    def event(self, subject: Attempt, now: int) -> Claim:
        """Return the claim; how much time is left to this invocation does not matter (DUR-5)."""
        expiry = ceil_seconds(now + self._window_ms)
        return Claim(subject.owner, now + self._lease_ms, expiry, subject.payload_hash, subject.key)

    def acting(self, subject: Attempt, standing: Record | None) -> Record | None:
        """Note whether an earlier invocation may have begun the body: then its claim is not given back."""
        if (
            standing is not None
            and standing.owner != subject.owner
            and same_execution(standing, subject.owner)
        ):
            subject.resumed = True
        return standing


class GivenUp(Exception):  # noqa: N818 - what happened
    """A completion was given up. What the store said last is its attempt's ``trouble``."""

    def __str__(self) -> str:
        return "the record kept changing, or its window is over"


class Completing(_Patient):
    """A completion: tried again for as long as its attempt may, and never abandoned for an interrupt.

    Parameters
    ----------
    response
        What is stored; None for the attempt's own text.
    """

    waits = True
    requests = 40

    def __init__(
        self, config: IdempotencyConfig, interrupts: Interrupts, response: str | None = None
    ) -> None:
        super().__init__(interrupts)
        self._config = config
        self._response = response
        self._window_ms = milliseconds(config.expires_after_seconds)
        self._patience_ms = milliseconds(config.completion_timeout_seconds)
        self._longest_pause_ms = max(LONGEST_PAUSE_MS, self._patience_ms // 20)
        if response is not None:
            self.tries, self.requests = 1, 8

    def event(self, subject: Attempt, now: int) -> Complete:
        """Return the completion, always with the same expiry (ENG-6)."""
        expiry = subject.expiry
        if expiry is None:
            expiry = subject.expiry = ceil_seconds(now + self._window_ms)
            subject.until = now + self._patience_ms
        elif now >= expiry * 1000:
            raise GivenUp
        text = subject.text if self._response is None else self._response
        return Complete(subject.owner, text, subject.payload_hash, expiry, subject.key)

    def failed(self, subject: Attempt, error: BaseException, failures: int, clock: Callable[[], int]) -> int:
        """Return the wait before the next try; raise once the time is over, or the error is final."""
        if isinstance(error, GivenUp):
            raise error
        interrupt = self._interrupts.behind(error)
        if interrupt is not None:
            subject.note_interrupt(interrupt)
        elif isinstance(error, Exception):
            subject.trouble = error
            if self.is_final(error):
                raise GivenUp
        left = min(self._left(subject, clock), self._patience_ms - subject.waited_ms)
        if failures >= self.tries and left <= 0:
            raise GivenUp
        pause = pause_ms(failures, self._longest_pause_ms)
        if failures >= self.tries:
            pause = min(pause, left)
        subject.waited_ms += pause
        return pause

    def _left(self, subject: Attempt, clock: Callable[[], int]) -> int:
        """Return how much time there is for this response."""
        until = subject.until
        if subject.held is not None:
            until = min(until, deadline_ms(subject.held))
        if self._response != RESULT_UNAVAILABLE:
            # The last tenth is kept for what is stored if the result cannot be.
            until -= max(0, until - subject.until + self._patience_ms) // 10
        context = self._config.lambda_context if subject.context is None else subject.context
        try:
            left = until - clock()
            remaining = remaining_ms(context)
        except Exception as error:  # noqa: BLE001 - without a clock there is no telling
            if self._interrupts.includes(error):
                subject.note_interrupt(error)
            return 0
        return left if remaining is None else min(left, remaining)

    def restless(self, key: str, requests: int) -> Exception:  # noqa: ARG002 - as the base says
        """Return the error for a record that changes again and again."""
        return GivenUp()


class Releasing(_Patient):
    """A release. An interrupt does not abandon it: it is noted."""

    def __init__(self, interrupts: Interrupts, tries: int = TRIES, requests: int = Change.requests) -> None:
        super().__init__(interrupts)
        self.tries = tries
        self.requests = requests

    def event(self, subject: Attempt, now: int) -> Release:  # noqa: ARG002 - a release has no deadline
        """Return the release."""
        return Release(subject.owner)

    def restless(self, key: str, requests: int) -> Exception:
        """Return the error for a record that changes again and again."""
        return IdempotencyInconsistentStateError(
            f"The record of {key!r} changed under {requests} tries to release it: "
            "its claim may stand until its lease ends."
        )


def _nothing_written(error: BaseException) -> bool:
    """Return whether the layer says that it waited as long as it may, and that nothing was written."""
    return getattr(error, "nothing_written", False) is True


def milliseconds(seconds: float) -> int:
    """Round up: no window or lease is shorter than asked for."""
    return -int(-seconds * 1000 // 1)
