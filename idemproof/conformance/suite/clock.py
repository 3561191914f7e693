"""The wall clock of this process, which a check moves so that it need not wait."""

import datetime as dt
from types import TracebackType
from typing import Any, Self

import time_machine

BEGIN_MS = 1_900_000_000_000
"""When the first trace begins. It is later than any real write, so that no store sees its records as old."""


class MovedClock:
    """A wall clock that changes only when it is moved.

    Inside its ``with`` block, this process reads the wall-clock time from this clock. Timers, which measure
    durations, are unaffected. The block may be entered again: the clock keeps its time.

    Parameters
    ----------
    moves_the_process
        Whether to replace the wall clock of the process. If False, only :meth:`ms` returns the moved time.
    """

    def __init__(self, *, moves_the_process: bool = True) -> None:
        self._now = BEGIN_MS
        self._traveller = time_machine.travel(_moment(self._now), tick=False) if moves_the_process else None
        self._coordinates: Any = None

    def __enter__(self) -> Self:
        if self._traveller is not None:
            self._coordinates = self._traveller.start()
            self._coordinates.move_to(_moment(self._now))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._traveller is not None:
            self._coordinates = None
            self._traveller.stop()

    def ms(self) -> int:
        """Return the current time of this clock (epoch milliseconds)."""
        return self._now

    def move_to(self, ms: int) -> None:
        """Set the clock to ``ms`` (epoch milliseconds); raise ``ValueError`` if that is in its past."""
        if ms < self._now:
            raise ValueError(f"The clock cannot go back by {self._now - ms} ms.")
        self._now = ms
        if self._coordinates is not None:
            self._coordinates.move_to(_moment(ms))

    def advance(self, ms: int) -> None:
        """Move the clock forwards by ``ms`` milliseconds."""
        self.move_to(self._now + ms)


def _moment(ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(milliseconds=ms)
