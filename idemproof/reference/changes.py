"""The changes that an attempt makes to its record, and their retry policies when the store fails."""

from collections.abc import Callable
from typing import Any

from ..drivers.interrupts import Interrupts
from ..spec.errors import (
    IdempotencyError,
    IdempotencyInconsistentStateError,
    IdempotencyInvalidStatusError,
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceLayerError,
    IdempotencyRecordTooLargeError,
)
from ..spec.events import RUN, Claim, Complete, Event, Release, Renew
from ..spec.record import Record, ceil_seconds, deadline_ms, same_execution
from ..spec.settle import Change
from .attempt import Attempt
from .config import IdempotencyConfig, remaining_ms
from .waiter import Waiter

TRIES = 3
"""How many requests of one change may fail, regardless of the time."""

PAUSE_MS = 25
"""The wait after the first failure, in milliseconds. It doubles with each further failure."""

LONGEST_PAUSE_MS = 500
"""The longest wait, in milliseconds, unless the completion timeout is more than twenty times as long."""

SHORTEST_LEASE_MS = 1000
"""The shortest lease from a Lambda context that has little time left. A lease longer than the run is safe."""

_FINAL = (
    IdempotencyInvalidStatusError,
    IdempotencyPersistenceConfigError,
    IdempotencyRecordTooLargeError,
)


class _Patient(Change):
    """A change that is retried after a failure, unless the failure is final."""

    tries = TRIES
    waits: bool = False
    """Whether it waits for temporary failures, such as a busy file or credentials that are being renewed."""

    def __init__(self, interrupts: Interrupts) -> None:
        self._interrupts = interrupts

    def is_final(self, error: BaseException) -> bool:
        """Return whether a retry cannot help, because the layer has refused the request."""
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
        clock: Callable[[], int],  # noqa: ARG002 - used by subclasses
    ) -> int:
        """Return the wait before the next try, or raise to give up."""
        interrupt = self._interrupts.behind(error)
        if interrupt is not None:
            subject.note_interrupt(interrupt)
        if failures >= self.tries or (interrupt is None and self.is_final(error)):
            raise error
        return pause_ms(failures)


def pause_ms(failures: int, longest: int = LONGEST_PAUSE_MS) -> int:
    """Return the wait after this number of failures, in milliseconds."""
    return min(PAUSE_MS << min(failures - 1, 20), longest)


class Claiming(_Patient):
    """A claim with an attempt's owner token. An interrupt ends it immediately."""

    claims = True

    def __init__(self, config: IdempotencyConfig, interrupts: Interrupts, policy: str = RUN) -> None:
        super().__init__(interrupts)
        self._config = config
        self._policy = policy
        self._window_ms = milliseconds(config.expires_after_seconds)
        lease = config.in_progress_expires_after_seconds
        self._lease_ms = None if lease is None else milliseconds(lease)
        self._waits = config.wait_for_in_progress_seconds > 0
        self._reported_missing_lease = False
        self.without_lease = False
        """Whether the first claim without a lease has not been reported yet."""

    def event(self, subject: Attempt, now: int) -> Claim:
        """Return the claim with its deadlines, computed from the time of the request (ENG-2)."""
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
        elif not self._reported_missing_lease:
            self._reported_missing_lease = self.without_lease = True
        expiry = ceil_seconds(now + self._window_ms)
        return Claim(subject.owner, lease, expiry, subject.payload_hash, subject.key, self._policy)

    def refused(self, subject: Attempt, failures: int) -> None:
        """Record that the claim was refused. After a failed request it may still be stored, or arrive."""
        if not failures:
            subject.held = _unanswered(subject)

    def failed(
        self,
        subject: Attempt,
        error: BaseException,
        failures: int,
        clock: Callable[[], int],  # noqa: ARG002 - as for any patient change
    ) -> int:
        """Return the wait before the next try; raise an interrupt immediately, and translate other errors."""
        if failures == 1 and _nothing_written(error):
            subject.held = _unanswered(subject)  # there is no other claim to release
        elif self._waits:
            if subject.waiter is None:
                subject.waiter = Waiter()
            subject.waiter.unanswered = subject.held
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
        """Return the error for a record that keeps changing."""
        return IdempotencyInconsistentStateError(
            f"The record of {key!r} could not be claimed in {requests} tries, "
            "although the protocol allowed each claim: the lease is shorter than a request, or the "
            "persistence layer follows other rules. The function did not run. Retry."
        )


class Resuming(Claiming):
    """A claim in a durable execution: its lease spans the execution, and later invocations resume it."""

    def __init__(self, config: IdempotencyConfig, interrupts: Interrupts, policy: str = RUN) -> None:
        super().__init__(config, interrupts, policy)
        self._lease_ms: int = milliseconds(config.execution_timeout_seconds)

    def event(self, subject: Attempt, now: int) -> Claim:
        """Return the claim, regardless of the time that this invocation has left (DUR-5)."""
        expiry = ceil_seconds(now + self._window_ms)
        lease = now + self._lease_ms
        return Claim(subject.owner, lease, expiry, subject.payload_hash, subject.key, self._policy)

    def acting(self, subject: Attempt, current: Record | None) -> Record | None:
        """Record whether an earlier invocation may have begun the body. Then the claim is not released."""
        if current is not None and current.owner != subject.owner and same_execution(current, subject.owner):
            subject.resumed = True
        return current


class GivenUp(Exception):  # noqa: N818 - what happened
    """A completion was abandoned. Its attempt's ``trouble`` is the last error of the store."""

    def __str__(self) -> str:
        return "the record kept changing, or its window is over"


class Completing(_Patient):
    """A completion. It is retried until its attempt's deadline, and an interrupt does not abandon it.

    Parameters
    ----------
    response
        The text to store. None for the attempt's own text.
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
        """Return the completion, with the same expiry in every try (ENG-6)."""
        expiry = subject.expiry
        if expiry is None:
            expiry = subject.expiry = ceil_seconds(now + self._window_ms)
            subject.until = now + self._patience_ms
        elif now >= expiry * 1000:
            raise GivenUp
        text = subject.text if self._response is None else self._response
        return Complete(subject.owner, text, subject.payload_hash, expiry, subject.key)

    def failed(self, subject: Attempt, error: BaseException, failures: int, clock: Callable[[], int]) -> int:
        """Return the wait before the next try; raise if the time is over or the error is final."""
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
        """Return the time left to store this response, in milliseconds."""
        until = subject.until
        if subject.held is not None:
            until = min(until, deadline_ms(subject.held))
        if self._response is None:
            # The last tenth is reserved for storing that the result is unavailable.
            until -= max(0, until - subject.until + self._patience_ms) // 10
        context = self._config.lambda_context if subject.context is None else subject.context
        try:
            left = until - clock()
            remaining = remaining_ms(context)
        except Exception as error:  # noqa: BLE001 - without a clock, no time is left
            if self._interrupts.includes(error):
                subject.note_interrupt(error)
            return 0
        return left if remaining is None else min(left, remaining)

    def restless(self, key: str, requests: int) -> Exception:  # noqa: ARG002 - as the base says
        """Return the error for a record that keeps changing."""
        return GivenUp()


class Releasing(_Patient):
    """A release. An interrupt does not abandon it, but is recorded."""

    def __init__(self, interrupts: Interrupts, tries: int = TRIES, requests: int = Change.requests) -> None:
        super().__init__(interrupts)
        self.tries = tries
        self.requests = requests

    def event(self, subject: Attempt, now: int) -> Event:  # noqa: ARG002 - a release has no deadline
        """Return the release."""
        return Release(subject.owner)

    def restless(self, key: str, requests: int) -> Exception:
        """Return the error for a record that keeps changing."""
        return IdempotencyInconsistentStateError(
            f"The record of {key!r} changed during each of {requests} tries to release it: "
            "its claim may stay until its lease ends."
        )


def _unanswered(subject: Attempt) -> Record | None:
    """Return the claim of an earlier poll that was not answered, if there is one."""
    return None if subject.waiter is None else subject.waiter.unanswered


class RunEndedError(Exception):
    """A renewal is not sent, because the body has ended."""


class Renewing(Change):
    """A renewal. The heartbeat tries again what fails, so that a body may end in between."""

    requests = 10

    def __init__(self, config: IdempotencyConfig) -> None:
        self._config = config
        lease = config.in_progress_expires_after_seconds
        self._lease_ms = milliseconds(config.expires_after_seconds if lease is None else lease)
        self.longest_run_ms = milliseconds(config.max_run_seconds)
        self.interval_ms = max(1, self._lease_ms // 3)
        self.patience_ms = self._lease_ms // 10

    def ends_at_most(self, subject: Any, now: int) -> int:
        """Return until when the lease may be renewed at most (epoch milliseconds)."""
        context = subject.attempt.context
        left = remaining_ms(self._config.lambda_context if context is None else context)
        latest: int = subject.until
        return latest if left is None else min(latest, now + left)

    def event(self, subject: Any, now: int) -> Renew:
        """Return the renewal, unless the body has ended."""
        if subject.stopped:
            raise RunEndedError
        lease = min(now + self._lease_ms, self.ends_at_most(subject, now))
        return Renew(subject.attempt.owner, lease)

    def restless(self, key: str, requests: int) -> Exception:
        """Return the error for a record that keeps changing."""
        return IdempotencyInconsistentStateError(
            f"The record of {key!r} changed during each of {requests} tries to renew its lease."
        )


def _nothing_written(error: BaseException) -> bool:
    """Return whether the layer reports that it waited until its timeout and wrote nothing."""
    return getattr(error, "nothing_written", False) is True


def milliseconds(seconds: float) -> int:
    """Return milliseconds, rounded up so that no window or lease is shorter than configured."""
    return -int(-seconds * 1000 // 1)
