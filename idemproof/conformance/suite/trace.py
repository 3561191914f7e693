"""What happened to one key, told line by line: the evidence for a verdict."""

from collections.abc import Callable
from typing import NamedTuple

from ...spec.record import Record

CLOCK = "the clock"
STORE = "the store"

NOT_LOOKED_AT = "not looked at"
"""Stands for what was stored where nobody looked, for a look would have disturbed what was shown."""


class Line(NamedTuple):
    """One line of a trace.

    Parameters
    ----------
    at_ms
        Milliseconds since the trace's beginning, by its clock.
    who
        ``client 1``, ``client 2`` …, :data:`CLOCK` or :data:`STORE`.
    what
        What it did, and how it fared, in words.
    standing
        What was stored for the key afterwards; :data:`NOT_LOOKED_AT` if nobody looked.
    """

    at_ms: int
    who: str
    what: str
    current: "Record | str | None"


class Trace:
    """Collects lines.

    Parameters
    ----------
    clock
        Gives the epoch milliseconds that it is.
    look
        Returns what stands, or None for a trace that is told without looking.
    """

    def __init__(self, clock: Callable[[], int], look: Callable[[], Record | None] | None = None) -> None:
        self._clock = clock
        self._began = clock()
        self._look = look
        self.lines: list[Line] = []

    def tell(self, who: str, what: str) -> None:
        """Add a line, with what stands now."""
        current: Record | str | None = NOT_LOOKED_AT
        if self._look is not None:
            try:
                current = self._look()
            except Exception as failure:  # noqa: BLE001 - a trace tells of what cannot be read, too
                current = f"unreadable: {failure!r}"
        self.lines.append(Line(self._clock() - self._began, who, what, current))


def in_words(record: Record | str | None) -> str:
    """Return what stands as a few words."""
    if record is None:
        return "nothing"
    if isinstance(record, str):
        return record
    whose = f" of {record.owner}" if record.owner else ""
    if record[1] == "COMPLETED":
        said = record.response_data or "nothing"
        return f"COMPLETED{whose}: {said if len(said) <= _WIDEST else said[:_WIDEST] + '…'}"
    return f"{record[1]}{whose}"


_WIDEST = 40
"""How many characters of a response are shown."""
