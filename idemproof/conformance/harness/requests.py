"""Calls of the four documented methods at the time of the check's clock, with their answers as data."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from ...backends import powertools_methods
from ...backends.records import checked_legacy
from ...drivers.blocking import drive
from ...spec.commands import Load, Steps, Swap
from ...spec.errors import (
    IdempotencyInvalidStatusError,
    IdempotencyItemAlreadyExistsError,
    IdempotencyItemNotFoundError,
    IdempotencyLeaseLostError,
)
from ...spec.record import COMPLETED, INPROGRESS, Record, checked
from ..suite.checks import Broken, Case
from ..suite.subjects import Subject
from . import linearizability
from .linearizability import Delete, Get, Put, Refused, Request, Update


class Answer(NamedTuple):
    """The answer of a documented method.

    Parameters
    ----------
    how
        ``done``, ``exists`` (IdempotencyItemAlreadyExistsError), ``missing`` (IdempotencyItemNotFoundError)
        or ``lost`` (IdempotencyLeaseLostError).
    record
        The record that it returned, or that its exception carried.
    """

    how: Literal["done", "exists", "missing", "lost"]
    record: Record | None = None


def get(worker: Subject, key: str) -> Answer:
    """Read the record of ``key``."""
    return _answer(worker, key, lambda: worker.get(key))


def put(case: Case, worker: Subject, record: Record) -> Answer:
    """Store ``record`` unless a live record is stored."""
    return _write(case, worker, record, powertools_methods.put_record, worker.put)


def update(case: Case, worker: Subject, record: Record) -> Answer:
    """Store the result in ``record``."""
    return _write(case, worker, record, powertools_methods.update_record, worker.update)


def delete(case: Case, worker: Subject, record: Record) -> Answer:
    """Remove the claim in ``record``."""
    return _write(case, worker, record, powertools_methods.delete_record, worker.delete)


def read(worker: Subject, key: str) -> Record | None:
    """Return the stored record, by the method that the layer has."""
    return plain(worker.load(key), key, swaps=True) if worker.swaps else get(worker, key).record


def ask(case: Case, worker: Subject, request: Request) -> linearizability.Answer:
    """Send any request; return its answer as :mod:`.linearizability` needs it."""
    if isinstance(request, Swap):
        return plain(worker.swap(*request), request.key, swaps=worker.swaps)
    if isinstance(request, Load):
        return plain(worker.load(request.key), request.key, swaps=worker.swaps)
    if isinstance(request, Get):
        return get(worker, request.key).record
    do = {Put: put, Update: update, Delete: delete}[type(request)]
    answer = do(case, worker, request.record)
    return None if answer.how == "done" else Refused(answer.record)


def establish(layer: Subject, current: Record, ttl_ms: int) -> None:
    """Store ``current`` for an unused key; ``ttl_ms`` is how long the store keeps it, in milliseconds."""
    if layer.swaps:
        layer.swap(current.idempotency_key, None, current, ttl_ms)
        return
    lease = current.in_progress_expiry_timestamp or current.expiry_timestamp * 1000
    layer.put(current._replace(status=INPROGRESS, in_progress_expiry_timestamp=lease, response_data=None))
    if current.status == COMPLETED:
        layer.update(current)


def plain(found: Any, key: str, *, swaps: bool) -> Record | None:
    """Return a layer's answer for ``key`` as a well-formed record, with None for ``""``.

    Raises
    ------
    Broken
        The answer is not a well-formed record.
    """
    if found is None:
        return None
    try:
        return checked(found, key) if swaps else checked_legacy(found, key)
    except IdempotencyInvalidStatusError as fault:
        raise Broken(
            f"The layer did not return a well-formed record. {fault}", _clauses_of(found, key)
        ) from fault


def _clauses_of(malformed: Any, key: str) -> tuple[str, ...]:
    if isinstance(malformed, Record):
        if isinstance(malformed.idempotency_key, str) and malformed.idempotency_key != key:
            return ("CAS-1",)
        if malformed[1] not in (INPROGRESS, COMPLETED):
            return ("REC-1", "REC-2")
        if isinstance(malformed.expiry_timestamp, int):
            return ("REC-3",)
    return ("REC-1",)


def _write(
    case: Case,
    worker: Subject,
    record: Record,
    steps: Callable[[Record, int], Steps],
    method: Callable[[Record], None],
) -> Answer:
    """Call the method; if the process's clock may not be moved, run its steps with the time of the check."""
    if worker.swaps and not case.capabilities.movable_clock:
        return _answer(worker, record[0], lambda: drive(steps(record, case.now), _SwapAdapter(worker)))
    return _answer(worker, record[0], lambda: method(record))


class _SwapAdapter:
    def __init__(self, worker: Subject) -> None:
        self._load = worker.load
        self._swap = worker.swap


def _answer(worker: Subject, key: str, ask: Callable[[], Any]) -> Answer:
    try:
        return Answer("done", plain(ask(), key, swaps=worker.swaps))
    except IdempotencyItemNotFoundError:
        return Answer("missing")
    except IdempotencyItemAlreadyExistsError as exists:
        return Answer("exists", plain(exists.old_data_record, key, swaps=worker.swaps))
    except IdempotencyLeaseLostError:
        return Answer("lost")
    except IdempotencyInvalidStatusError as fault:
        if not worker.swaps:
            raise
        # The specification rejected it.
        raise Broken(f"The layer did not return a well-formed record. {fault}", ("REC-1",)) from fault
