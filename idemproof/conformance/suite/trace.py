"""The trace of one key, line by line: the evidence for a finding."""

from collections.abc import Callable
from typing import NamedTuple

from ...spec.record import Record
from .subjects import error_text

CLOCK = "the clock"
STORE = "the store"
COUNTER = "the counter"
OWNER = "the owner"
"""Actors that are not clients: their lines reach across all lanes of a trace."""

NOT_LOOKED_AT = "not looked at"
"""The placeholder for a stored record that was not read, because reading would have changed the trace."""


class Line(NamedTuple):
    """One line of a trace.

    Parameters
    ----------
    at_ms
        The time since the start of the trace, by its clock (milliseconds).
    who
        ``client 1``, ``client 2`` …, :data:`CLOCK`, :data:`STORE`, :data:`COUNTER` or :data:`OWNER`.
    what
        What it did, and the outcome, in words.
    current
        The stored record of the key afterwards; :data:`NOT_LOOKED_AT` if it was not read.
    """

    at_ms: int
    who: str
    what: str
    current: "Record | str | None"


class Trace:
    """Collects the lines of a trace.

    Parameters
    ----------
    clock
        Returns the current time (epoch milliseconds).
    look
        Returns the stored record; if it is None, the trace does not read the store.
    """

    def __init__(self, clock: Callable[[], int], look: Callable[[], Record | None] | None = None) -> None:
        self._clock = clock
        self._began = clock()
        self._look = look
        self.lines: list[Line] = []

    def log(self, who: str, what: str) -> None:
        """Add a line with the record that is stored now."""
        current: Record | str | None = NOT_LOOKED_AT
        if self._look is not None:
            try:
                current = self._look()
            except Exception as failure:  # noqa: BLE001 - a trace also shows that a record is unreadable
                current = f"unreadable: {error_text(failure)}"
        self.lines.append(Line(self._clock() - self._began, who, what, current))


def in_words(record: Record | str | None) -> str:
    """Return a short description of a stored record."""
    if record is None:
        return "nothing"
    if isinstance(record, str):
        return record
    whose = f" of {record.owner}" if record.owner else ""
    if record[1] == "COMPLETED":
        response = record.response_data or "nothing"
        return f"COMPLETED{whose}: {response if len(response) <= _WIDEST else response[:_WIDEST] + '…'}"
    return f"{record[1]}{whose}"


_WIDEST = 40
"""How many characters of a response are shown."""
