"""Evidence: the smallest part of a history that is not linearizable, as lines of a trace."""

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
"""The maximal number of search steps for one check while a history is shortened."""

_SECONDS = 3.0
"""The time for shortening a history, in seconds."""


def unexplained(operations: Sequence[Operation], *, swaps: bool, fenced: bool) -> History | None:
    """Return operations that are not linearizable, without irrelevant ones; None if all are.

    Each step removes a constraint and never an explanation, so the rest stays impossible.
    """
    deadline = time.perf_counter() + _SECONDS

    def impossible(history: History) -> bool:
        if time.perf_counter() > deadline:
            return False
        try:
            return linearization(history, swaps=swaps, fenced=fenced, patience=_PATIENCE) is None
        except Undecided:
            return False

    if is_explained(operations, swaps=swaps, fenced=fenced):
        return None
    history = _shortest_impossible_prefix(operations, impossible)
    for each in [each for each in history if changes_nothing(each)]:
        without = [other for other in history if other is not each]
        if impossible(without):
            history = without
    weaker = list(history)
    for position, each in enumerate(history):
        trial = [*weaker[:position], each._replace(end=None), *weaker[position + 1 :]]
        if each.end is not None and impossible(trial):
            weaker = trial
    relevant = [each for each in weaker if each.end is not None]
    mentioned = [record for each in relevant for record in _mentioned_records(each)]
    return [
        each
        for each, kept in zip(history, weaker, strict=True)
        if kept.end is not None or any(_may_be_same(_written(each.request), record) for record in mentioned)
    ]


def is_explained(operations: Sequence[Operation], *, swaps: bool, fenced: bool) -> bool:
    """Return whether the history is linearizable, or the search for an order takes too long."""
    try:
        return linearization(operations, swaps=swaps, fenced=fenced) is not None
    except Undecided:
        return True


def lines_of(history: Sequence[Operation]) -> list[Line]:
    """Return a history as lines, in the order of the requests."""
    reported = sorted(history, key=lambda each: each.start)
    began = reported[0].now if reported else 0
    lines = (
        [Line(reported[0].now - began, reported[0].who, _operation_in_words(reported[0]), NOT_LOOKED_AT)]
        if reported
        else []
    )
    for before, each in pairwise(reported):
        meanwhile = before.who != each.who and (before.end is None or before.end > each.start)
        words = f"meanwhile, {_operation_in_words(each)}" if meanwhile else _operation_in_words(each)
        lines.append(Line(each.now - began, each.who, words, NOT_LOOKED_AT))
    return lines


def _shortest_impossible_prefix(
    operations: Sequence[Operation], impossible: Callable[[History], bool]
) -> History:
    """Return the shortest prefix that is impossible."""
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
    """Return the history as known at the last of ``ends``: later answers are left out."""
    last = ends[-1] if ends else 0
    return [
        each if each.end is not None and each.end <= last else each._replace(end=None, answer=None)
        for each in operations
        if each.start <= last
    ]


def _may_be_same(record: object, other: object) -> bool:
    """Return whether two values may be the same record, whatever fields the layer stores."""
    if not isinstance(record, Record) or not isinstance(other, Record):
        return False
    record, other = plain(record), plain(other)
    owners = {record.owner, other.owner} - {None}
    return len(owners) <= 1 and (record[1], record[2], record[4]) == (other[1], other[2], other[4])


def _written(request: Request) -> Record | None:
    if isinstance(request, Swap):
        return request.new
    return request.record if isinstance(request, Put | Update) else None


def _mentioned_records(operation: Operation) -> list[object]:
    """Return the records in a line of the trace; a reader needs to see where they come from."""
    request, answer = operation.request, operation.answer
    expected = request.expected if isinstance(request, Swap) else None
    return [answer.record if isinstance(answer, Refused) else answer, expected]


def _operation_in_words(operation: Operation) -> str:
    request, answer = operation.request, operation.answer
    if operation.end is None:
        reported = "and has no answer yet"
    elif isinstance(answer, Refused):
        reported = "and is refused" + (
            f" because of {_record_in_words(answer.record)}" if answer.record else ""
        )
    elif isinstance(request, Load | Get):
        reported = f"and finds {_record_in_words(answer)}"
    elif isinstance(request, Swap) and not changes_nothing(operation):
        reported = "and succeeds"
    elif isinstance(request, Swap):
        reported = f"and gets back {_record_in_words(answer)}"
    else:
        reported = "and succeeds"
    return f"{_request_in_words(request)}, {reported}"


def _request_in_words(request: Request) -> str:
    if isinstance(request, Load | Get):
        return "reads"
    if isinstance(request, Swap):
        return f"swaps {_record_in_words(request.expected)} for {_record_in_words(request.new)}"
    if isinstance(request, Put):
        return f"puts {_record_in_words(request.record)}"
    return f"{'completes' if isinstance(request, Update) else 'deletes'} {_record_in_words(request.record)}"


def _record_in_words(record: Record | None) -> str:
    if record is None:
        return "nothing"
    words = in_words(plain(record))
    return words if record.owner or record[1] != INPROGRESS else f"{words} until {record[2]}"
