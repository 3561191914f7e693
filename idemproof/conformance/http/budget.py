"""The bounds of a run: how many requests it may send, and until when."""

import threading
import time
from collections import Counter

from .target import Limits


class Spent(Exception):  # noqa: N818 - an outcome, not an error
    """The requests or the time of the target are spent; the message says which."""


class Budget:
    """Counts what a run sends, and ends it at its bounds. Threads may share it.

    Parameters
    ----------
    limits
        The bounds.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.sent: Counter[str] = Counter()
        """The number of requests, by the origin that they were sent to."""
        self._ends = time.monotonic() + limits.seconds
        self._lock = threading.Lock()

    @property
    def total(self) -> int:
        """How many requests were sent."""
        return sum(self.sent.values())

    @property
    def seconds_left(self) -> float:
        """How much of the time is left (seconds)."""
        return self._ends - time.monotonic()

    def spend(self, origin: str) -> None:
        """Count a request to ``origin`` before it is sent; raise :class:`Spent` if it may not be sent."""
        with self._lock:
            self.require_time()
            if self.total >= self.limits.requests:
                raise Spent(f"the {self.limits.requests} requests of the target are spent")
            self.sent[origin] += 1

    def require_time(self) -> None:
        """Raise :class:`Spent` if the time is over."""
        if self.seconds_left <= 0:
            raise Spent(f"the {self.limits.seconds:g} seconds of the target are over")

    def wait(self, seconds: float) -> None:
        """Wait, but not longer than the run may take."""
        self.require_time()
        time.sleep(max(0.0, min(seconds, self.seconds_left)))
