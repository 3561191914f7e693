"""The part of a history that no order explains, as short as may be, and as lines of a trace."""

import time
from collections.abc import Callable, Sequence
from itertools import pairwise

from ...spec.commands import Load, Swap
from ...spec.record import INPROGRESS, Record
from ..suite.trace import NOT_LOOKED_AT, Line, in_words
from .linearizability import (
    Get,
    Operation,
    Put,
    Refused,
    Request,
    Undecided,
    Update,
    changes_nothing,
    linearization,
    plain,
)

History = list[Operation]

_PATIENCE = 3_000
"""How many steps one judgement may take while a history is made shorter."""

_SECONDS = 3.0
"""How long a history may be made shorter in all."""


def unexplained(operations: Sequence[Operation], *, swaps: bool, fenced: bool) -> History | None:
    """Return the operations that no order explains, without those that do not matter; None if one does.

    Each step leaves out what constrains, never what explains: what is left is as impossible as the whole.
    """
    enough = time.perf_counter() + _SECONDS

    def impossible(history: History) -> bool:
        if time.perf_counter() > enough:
            return False
        try:
            return linearization(history, swaps=swaps, fenced=fenced, patience=_PATIENCE) is None
        except Undecided:
            return False

    if is_explained(operations, swaps=swaps, fenced=fenced):
        return None
    history = _until_impossible(operations, impossible)
    for each in [each for each in history if changes_nothing(each)]:
        without = [other for other in history if other is not each]
        if impossible(without):
            history = without
    weaker = list(history)
    for place, each in enumerate(history):
        trial = [*weaker[:place], each._replace(end=None), *weaker[place + 1 :]]
        if each.end is not None and impossible(trial):
            weaker = trial
    matter = [each for each in weaker if each.end is not None]
    spoken_of = [record for each in matter for record in _spoken_of(each)]
    return [
        each
        for each, kept in zip(history, weaker, strict=True)
        if kept.end is not None or any(_alike(_written(each.request), record) for record in spoken_of)
    ]


def is_explained(operations: Sequence[Operation], *, swaps: bool, fenced: bool) -> bool:
    """Tell whether some order explains all answers, or it would take too long to tell that none does."""
    try:
        return linearization(operations, swaps=swaps, fenced=fenced) is not None
    except Undecided:
        return True


def lines_of(history: Sequence[Operation]) -> list[Line]:
    """Tell a history, in the order in which was asked."""
    reported = sorted(history, key=lambda each: each.start)
    began = reported[0].now if reported else 0
    lines = (
        [Line(reported[0].now - began, reported[0].who, _words(reported[0]), NOT_LOOKED_AT)]
        if reported
        else []
    )
    for before, each in pairwise(reported):
        meanwhile = before.who != each.who and (before.end is None or before.end > each.start)
        words = f"meanwhile, {_words(each)}" if meanwhile else _words(each)
        lines.append(Line(each.now - began, each.who, words, NOT_LOOKED_AT))
    return lines


def _until_impossible(operations: Sequence[Operation], impossible: Callable[[History], bool]) -> History:
    """Return the shortest beginning that is impossible."""
    ends = sorted(each.end for each in operations if each.end is not None)
    possible, too_long = 0, len(ends)
    while too_long - possible > 1:
        middle = (too_long + possible) // 2
        if impossible(_until(operations, ends[:middle])):
            too_long = middle
        else:
            possible = middle
    return _until(operations, ends[:too_long])


def _until(operations: Sequence[Operation], ends: Sequence[int]) -> History:
    """Return what is known when the last of ``ends`` has come: later answers are not."""
    last = ends[-1] if ends else 0
    return [
        each if each.end is not None and each.end <= last else each._replace(end=None, answer=None)
        for each in operations
        if each.start <= last
    ]


def _alike(record: object, other: object) -> bool:
    """Tell whether two may be one record, whatever fields the layer keeps."""
    if not isinstance(record, Record) or not isinstance(other, Record):
        return False
    record, other = plain(record), plain(other)
    owners = {record.owner, other.owner} - {None}
    return len(owners) <= 1 and (record[1], record[2], record[4]) == (other[1], other[2], other[4])


def _written(request: Request) -> Record | None:
    if isinstance(request, Swap):
        return request.new
    return request.record if isinstance(request, Put | Update) else None


def _spoken_of(operation: Operation) -> list[object]:
    """Return the records of which a reader will ask where they come from."""
    request, answer = operation.request, operation.answer
    expected = request.expected if isinstance(request, Swap) else None
    return [answer.record if isinstance(answer, Refused) else answer, expected]


def _words(operation: Operation) -> str:
    request, answer = operation.request, operation.answer
    if operation.end is None:
        reported = "and has no answer yet"
    elif isinstance(answer, Refused):
        reported = "and is refused" + (f", for there is {_thing(answer.record)}" if answer.record else "")
    elif isinstance(request, Load | Get):
        reported = f"and finds {_thing(answer)}"
    elif isinstance(request, Swap) and not changes_nothing(operation):
        reported = "and succeeds"
    elif isinstance(request, Swap):
        reported = f"and gets back {_thing(answer)}"
    else:
        reported = "and succeeds"
    return f"{_asked(request)}, {reported}"


def _asked(request: Request) -> str:
    if isinstance(request, Load | Get):
        return "reads"
    if isinstance(request, Swap):
        return f"swaps {_thing(request.expected)} for {_thing(request.new)}"
    if isinstance(request, Put):
        return f"puts {_thing(request.record)}"
    return f"{'completes' if isinstance(request, Update) else 'deletes'} {_thing(request.record)}"


def _thing(record: Record | None) -> str:
    if record is None:
        return "nothing"
    words = in_words(plain(record))
    return words if record.owner or record[1] != INPROGRESS else f"{words} until {record[2]}"
