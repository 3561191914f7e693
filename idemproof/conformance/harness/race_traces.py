"""What happened in a race, in words; and looks at what stands that disturb nobody."""

import threading
from collections.abc import Sequence

from ...spec.commands import Load, Swap
from ...spec.record import COMPLETED, Record, live
from ..suite.checks import Case
from ..suite.subjects import Subject
from ..suite.trace import NOT_LOOKED_AT, Line
from ..suite.trace import in_words as standing_in_words
from .linearizability import Get, Operation, Put, Refused, Request, Update
from .scheduled_client import Client, ObservationBlocked, What, observing

_LOOK_SECONDS = 0.5
"""How long a look may take: it may have to wait for a lock that a paused client has."""


class Watch:
    """Notes what the clients of one play do.

    Parameters
    ----------
    case, key
        Where, and for which key.
    began
        The epoch milliseconds from which the trace counts.
    looks
        Whether to look at what stands after each step; only while no client runs.
    """

    def __init__(self, case: Case, key: str, began: int, *, looks: bool) -> None:
        self._key = key
        self._looks = looks
        self._looker = Subject(case.layer.layer, case.layer._loop)
        self._at_ms = case.now - began
        self._steps: list[tuple[str, What, Record | str | None]] = []
        self._standing: Record | str | None = NOT_LOOKED_AT

    @property
    def lines(self) -> list[Line]:
        """The trace."""
        return [
            Line(self._at_ms, who, what if isinstance(what, str) else what(), current)
            for who, what, current in self._steps
        ]

    def step(self, client: Client, what: What, *, reply: bool) -> None:
        """Note what a client has done since its last pause."""
        before, current = self._standing, self._look()
        if not reply or current != before:
            self._steps.append((client.name, what, current))
        for notes in client.notes:
            self._steps.append((client.name, notes, current))
        client.notes.clear()

    def tell(self, who: str, what: str, current: Record | str | None = NOT_LOOKED_AT) -> None:
        """Note what somebody else did or saw."""
        seen = self._look() if isinstance(current, str) else current
        self._steps.append((who, what, seen))

    def _look(self) -> Record | str | None:
        self._standing = NOT_LOOKED_AT
        if self._looks:
            looker = threading.Thread(target=self._see, name="conformance-look", daemon=True)
            looker.start()
            looker.join(_LOOK_SECONDS)
            self._looks = not looker.is_alive()
        return self._standing

    def _see(self) -> None:
        with observing():
            try:
                self._standing = self._looker.load(self._key)
            except ObservationBlocked:
                return
            except Exception as failure:  # noqa: BLE001 - a trace tells of what cannot be read, too
                self._standing = f"unreadable: {failure!r}"


def in_words(what: Request | Operation) -> str:
    """Return a request as what its client does; an operation as what its client was told."""
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
    """Tell whether a client was told that it has the key."""
    request, answer = operation.request, operation.answer
    if operation.end is None:
        return False
    if isinstance(request, Put):
        return answer is None
    return isinstance(request, Swap) and _is_claim(request.new) and answer == request.new


def outcome_in_words(operations: Sequence[Operation], final: Record | None) -> str:
    """Say that nothing explains what was answered."""
    asked = sorted(operations, key=lambda each: each.start)
    lapsed = _refused_for_what_had_lapsed(asked)
    if lapsed is not None:
        clients = " and ".join(dict.fromkeys(each.who for each in asked))
        return (
            f"The stored {lapsed} had expired, so one of the callers had to get its key; but {clients} were "
            f"all refused. Finally stored: {standing_in_words(final)}."
        )
    reported = "; ".join(
        f"{each.who} {in_words(each.request)}, and {_answer_in_words(each)}" for each in asked
    )
    return (
        "The answers to these concurrent requests are not linearizable: "
        f"{reported}; finally stored: {standing_in_words(final)}."
    )


def _refused_for_what_had_lapsed(operations: Sequence[Operation]) -> str | None:
    """Return what had lapsed, if several ask for a key where something lapsed stands, all in vain."""
    stood = {_lapsed_in_the_way_of(each) for each in operations}
    return stood.pop() if len(operations) > 1 and len(stood) == 1 else None


def _lapsed_in_the_way_of(operation: Operation) -> str | None:
    """Return the kind of what a claim is refused for, if it had lapsed."""
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
        return "is refused" + (f": stored is {standing_in_words(answer.record)}" if answer.record else "")
    if isinstance(request, Load | Get):
        return f"reads {standing_in_words(answer)}"
    if isinstance(request, Swap) and answer != request.new:
        return f"gets back {standing_in_words(answer)}"
    return "gets the key" if granted(operation) else "succeeds"


def _is_claim(record: Record | None) -> bool:
    return record is not None and record.status != COMPLETED


def _by(record: Record | None) -> str:
    return "" if record is None or not record.owner else f" as {record.owner}"
