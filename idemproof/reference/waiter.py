"""How far one call has waited for another attempt, and how long it waits next."""

import time
from collections.abc import Callable

from ..spec.errors import IdempotencyAlreadyInProgressError
from ..spec.record import Record
from ..spec.waiting import SHORTEST_POLL_MS, pause_ms, poll_ms

ANSWER_MS = 1000
"""How much time of a Lambda context is left for the refusal, in milliseconds."""


def monotonic_ms() -> int:
    """Return milliseconds of a clock that never steps back."""
    return time.monotonic_ns() // 1_000_000


class Waiter:
    """The progress of one call that waits, or that may have to release a claim that was not answered."""

    __slots__ = (
        "_began",
        "_clock",
        "_jitter",
        "_lambda_left",
        "_pause",
        "_polls",
        "_since",
        "_unspent_ms",
        "_until",
        "listens",
        "outlived",
        "trouble",
        "unanswered",
        "waited_ms",
    )

    def __init__(self) -> None:
        self.unanswered: Record | None = None
        """A claim of this call that was sent and not answered. It may be stored, or arrive."""
        self.waited_ms = 0
        """For how long the call has waited."""
        self.trouble: BaseException | None = None
        """Why the claim could not be released when the call stopped waiting."""
        self.listens = True
        """Whether a signal may end the next pause early (WAIT-2)."""
        self.outlived = False
        """Whether the answer has expired before the call could give it."""
        self._clock: Callable[[], int] | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the call has begun to wait."""
        return self._clock is not None

    def begin(
        self, waiting_ms: int, lambda_left: int | None, clock: Callable[[], int], jitter: Callable[[], float]
    ) -> None:
        """Begin to wait.

        Parameters
        ----------
        waiting_ms
            For how many milliseconds the call may wait.
        lambda_left
            How many milliseconds its Lambda context has left, or None.
        clock
            Returns milliseconds, and never steps back.
        jitter
            Returns a number from 0 to 1.
        """
        self._lambda_left = None
        if lambda_left is not None and lambda_left - ANSWER_MS < waiting_ms:
            waiting_ms, self._lambda_left = max(0, lambda_left - ANSWER_MS), lambda_left
        self._clock, self._jitter = clock, jitter
        self._began = self._since = clock()
        self._until = self._began + waiting_ms
        # A second limit, so that the call ends even if the clock stands still.
        self._unspent_ms = waiting_ms
        self._polls = self._pause = 0

    def next_pause(self, retry_after: int) -> int:
        """Return for how long to wait now, in milliseconds; 0 if the time is over.

        Parameters
        ----------
        retry_after
            Milliseconds until the lease of the claim that was found ends.
        """
        now = self._now()
        self.waited_ms = max(0, now - self._began)
        left = min(self._until - now, self._unspent_ms)
        due = poll_ms(self._polls, self._jitter()) if self.listens else SHORTEST_POLL_MS
        self._pause, self._since = pause_ms(due, retry_after, left), now
        return self._pause

    def paused(self, *, signalled: bool) -> None:
        """Note that a pause is over: because its time was over, or because of a signal."""
        if not signalled:
            self._unspent_ms -= self._pause
            self._polls += self.listens
            self.listens = True
            return
        lasted = min(max(0, self._now() - self._since), self._pause)
        self._unspent_ms -= lasted
        self.listens = lasted >= SHORTEST_POLL_MS

    def _now(self) -> int:
        assert self._clock is not None  # it has begun
        return self._clock()

    @property
    def told(self) -> str:
        """What the refusal says about the wait."""
        if not self.has_begun:
            return ""
        waited = f" This call waited for {self.waited_ms / 1000:.2f} s."
        if self._lambda_left is None:
            return waited
        return f"{waited[:-1]}: its Lambda context had {self._lambda_left} ms left."

    def refusal_of(self, error: IdempotencyAlreadyInProgressError) -> IdempotencyAlreadyInProgressError:
        """Return the refusal of a call that found the record locked when its time was over."""
        refusal = IdempotencyAlreadyInProgressError(
            f"{error}{self.told} Nothing ran.", retry_after_ms=error.retry_after_ms, waited_ms=self.waited_ms
        )
        if self.trouble is not None:
            refusal.add_note(f"A claim of this call may stand until its lease ends: {self.trouble!r}")
        return refusal
