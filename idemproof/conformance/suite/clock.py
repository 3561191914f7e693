"""The wall clock of this process, moved by a check instead of waited for."""

import datetime as dt
from types import TracebackType
from typing import Any, Self

import time_machine

BEGIN_MS = 1_900_000_000_000
"""When the first trace begins. Later than any real write, so that no store takes its records for old."""


class MovedClock:
    """A wall clock that stands still unless told.

    Inside its ``with`` block, everything in this process that asks for the time of day is told this clock's.
    Timers, which measure how long something takes, are not touched. The block may be entered again: the time
    is then what it was.

    Parameters
    ----------
    moves_the_process
        Whether to tell the process; otherwise only who asks :meth:`ms` is told.
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
        """Return the epoch milliseconds that it is."""
        return self._now

    def move_to(self, ms: int) -> None:
        """Let it be ``ms`` (epoch milliseconds); never earlier than it was."""
        if ms < self._now:
            raise ValueError(f"The clock cannot go back by {self._now - ms} ms.")
        self._now = ms
        if self._coordinates is not None:
            self._coordinates.move_to(_moment(ms))

    def advance(self, ms: int) -> None:
        """Let so many milliseconds pass."""
        self.move_to(self._now + ms)


def _moment(ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(milliseconds=ms)
