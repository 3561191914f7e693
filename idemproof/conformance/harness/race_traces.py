"""The trace of a race in words, with reads of the stored record that do not disturb the clients."""

import itertools
import threading
from collections.abc import Sequence

from ...spec.commands import Load, Swap
from ...spec.record import COMPLETED, Record, live
from ..suite.checks import Case
from ..suite.subjects import Subject, error_text
from ..suite.trace import NOT_LOOKED_AT, Line
from ..suite.trace import in_words as record_in_words
from .linearizability import Get, Operation, Put, Refused, Request, Update
from .preemption import SourceLine
from .scheduled_client import Client, ObservationBlocked, What, observing

_Step = tuple[str, What, Record | str | None]
"""Who does what, and the record that is stored afterwards."""

_SHOWN_LINES = 2
"""How many successive lines of source a trace shows; of more, it shows the first and the last in one line."""

_READ_SECONDS = 0.5
"""How long a read may take; it may wait for a lock that a paused client holds."""


class Watch:
    """Records the steps of the clients of one interleaving.

    Parameters
    ----------
    case, key
        The case of the check, and the key.
    began
        The time from which the trace counts, in epoch milliseconds.
    looks
        Whether to read the stored record after each step, while no client runs.
    """

    def __init__(self, case: Case, key: str, began: int, *, looks: bool) -> None:
        self._key = key
        self._observes = looks
        self._reader = Subject(case.layer.layer, case.layer.loop)
        self._at_ms = case.now - began
        self._steps: list[_Step] = []
        self._stored: Record | str | None = NOT_LOOKED_AT

    @property
    def lines(self) -> list[Line]:
        """The trace; successive lines of source that one client runs are one line of it."""
        folded: list[Line] = []
        for (who, in_source, current), steps in itertools.groupby(self._steps, _run_of_lines):
            said = [what if isinstance(what, str) else what() for _, what, _ in steps]
            if in_source and len(said) > _SHOWN_LINES:
                said = [f"{said[0]} … {said[-1]}"]
            folded += [Line(self._at_ms, who, each, current) for each in said]
        return folded

    def step(self, client: Client, what: What, *, reply: bool) -> None:
        """Record what a client has done since its last pause."""
        before, current = self._stored, self._observe()
        if not reply or current != before:
            self._steps.append((client.name, what, current))
        for notes in client.notes:
            self._steps.append((client.name, notes, current))
        client.notes.clear()

    def log(self, who: str, what: str, current: Record | str | None = NOT_LOOKED_AT) -> None:
        """Record a line about the store, or another actor."""
        seen = self._observe() if isinstance(current, str) else current
        self._steps.append((who, what, seen))

    def _observe(self) -> Record | str | None:
        self._stored = NOT_LOOKED_AT
        if self._observes:
            reader = threading.Thread(target=self._read_stored, name="conformance-look", daemon=True)
            reader.start()
            reader.join(_READ_SECONDS)
            self._observes = not reader.is_alive()
        return self._stored

    def _read_stored(self) -> None:
        with observing():
            try:
                self._stored = self._reader.load(self._key)
            except ObservationBlocked:
                return
            except Exception as failure:  # noqa: BLE001 - a trace also shows unreadable records
                self._stored = f"unreadable: {error_text(failure)}"


def _run_of_lines(step: _Step) -> tuple[str, bool, Record | str | None]:
    who, what, current = step
    return who, isinstance(what, SourceLine), current


def in_words(what: Request | Operation) -> str:
    """Describe a request by what its client does, and an operation by its answer."""
    if isinstance(what, Operation):
        return _answer_in_words(what)
    if isinstance(what, Load | Get):
        return "reads the record"
    expected = new = None
    if isinstance(what, Swap):
        expected, new = what.expected, what.new
    elif isinstance(what, Put | Update):
        new = what.record
    else:
        expected = what.record
    if new is None:
        evicts = expected is not None and expected.status == COMPLETED
        done = "evicts the expired result" if evicts else "releases its claim"
        return f"{done}{_by(expected)}"
    if new.status == COMPLETED:
        return f"stores its result{_by(new)}"
    return f"{'claims the key' if expected is None else 'takes the key over'}{_by(new)}"


def granted(operation: Operation) -> bool:
    """Return whether the answer grants the key to the client."""
    request, answer = operation.request, operation.answer
    if operation.end is None:
        return False
    if isinstance(request, Put):
        return answer is None
    return isinstance(request, Swap) and _is_claim(request.new) and answer == request.new


def outcome_in_words(operations: Sequence[Operation], final: Record | None) -> str:
    """Describe an outcome that is not linearizable."""
    asked = sorted(operations, key=lambda each: each.start)
    lapsed = _refused_for_what_had_lapsed(asked)
    if lapsed is not None:
        clients = " and ".join(dict.fromkeys(each.who for each in asked))
        return (
            f"The stored {lapsed} had expired, so one of the callers had to get its key; but {clients} were "
            f"all refused. Finally stored: {record_in_words(final)}."
        )
    reported = "; ".join(
        f"{each.who} {in_words(each.request)}, and {_answer_in_words(each)}" for each in asked
    )
    return (
        "The answers to these concurrent requests are not linearizable: "
        f"{reported}; finally stored: {record_in_words(final)}."
    )


def _refused_for_what_had_lapsed(operations: Sequence[Operation]) -> str | None:
    """Return "claim" or "result" if several requests were all refused because of an expired record."""
    lapsed = {_lapsed_in_the_way_of(each) for each in operations}
    return lapsed.pop() if len(operations) > 1 and len(lapsed) == 1 else None


def _lapsed_in_the_way_of(operation: Operation) -> str | None:
    """Return "claim" or "result" if a claim was refused because of an expired record."""
    request, answer = operation.request, operation.answer
    current: Record | None = None
    if isinstance(request, Swap) and _is_claim(request.new) and answer == request.expected:
        current = request.expected
    elif isinstance(request, Put) and isinstance(answer, Refused):
        current = answer.record
    if operation.end is None or current is None or live(current, operation.now):
        return None
    return "result" if current.status == COMPLETED else "claim"


def _answer_in_words(operation: Operation) -> str:
    request, answer = operation.request, operation.answer
    if operation.end is None:
        return "gets no answer"
    if isinstance(answer, Refused):
        return "is refused" + (f": stored is {record_in_words(answer.record)}" if answer.record else "")
    if isinstance(request, Load | Get):
        return f"reads {record_in_words(answer)}"
    if isinstance(request, Swap) and answer != request.new:
        return f"gets back {record_in_words(answer)}"
    return "gets the key" if granted(operation) else "succeeds"


def _is_claim(record: Record | None) -> bool:
    return record is not None and record.status != COMPLETED


def _by(record: Record | None) -> str:
    return "" if record is None or not record.owner else f" as {record.owner}"
