"""Whether what a call reported is what happened to it (OBS-1)."""

from collections.abc import Set as AbstractSet

from ...spec.commands import RunBody
from ...spec.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyLeaseLostError,
    IdempotencyResultUnavailableError,
    IdempotencyValidationError,
)
from ...spec.occurrences import Kind
from ..simulator import SimulatedCall

BEGINNINGS = frozenset({Kind.CLAIMED, Kind.TOOK_OVER})
_ANSWERED = frozenset({Kind.COMPLETED, Kind.SUPERSEDED})
_GIVEN_BACK = frozenset({Kind.RELEASED, Kind.NOT_HELD, Kind.RELEASE_FAILED})
_REFUSED = {
    IdempotencyAlreadyInProgressError: Kind.IN_PROGRESS,
    IdempotencyValidationError: Kind.PAYLOAD_MISMATCH,
    IdempotencyResultUnavailableError: Kind.RESULT_UNAVAILABLE,
}
_ROWS = {
    Kind.CLAIMED: {"ROW-1", "ROW-2"},
    Kind.TOOK_OVER: {"ROW-1"},
    Kind.REPLAYED: {"ROW-5"},
    Kind.RESULT_UNAVAILABLE: {"ROW-5"},
    Kind.IN_PROGRESS: {"ROW-4"},
    Kind.PAYLOAD_MISMATCH: {"ROW-3"},
    Kind.COMPLETED: {"ROW-6", "ROW-7"},
    Kind.RESULT_NOT_STORED: {"ROW-6", "ROW-7"},
    Kind.SUPERSEDED: {"ROW-8"},
    Kind.LEASE_LOST: {"ROW-9"},
    Kind.RELEASED: {"ROW-10"},
    Kind.NOT_HELD: {"ROW-11"},
}


class FinallyDeclined(Exception):  # noqa: N818 - it reads as what happened
    """A final error that a body raises."""


def misreported(call: SimulatedCall) -> bool:
    """Return whether a call that has ended reported something else, or by another row."""
    if call.ended not in ("returned", "raised"):
        return False
    rows_fit = all(each.row in _ROWS.get(each.kind, {None}) for each in call.occurrences)
    kinds: list[Kind] = [each.kind for each in call.occurrences if each.kind is not Kind.NO_LEASE]
    begun = sum(kind in BEGINNINGS for kind in kinds)
    expected = _without_a_run(call, kinds) if call.body is None else _after_a_run(call, call.body)
    if call.body is not None and begun != 1:
        return True
    return not (rows_fit and kinds and kinds[-1] in expected)


def _without_a_run(call: SimulatedCall, kinds: list[Kind]) -> AbstractSet[Kind]:
    """Return what the last report may be if no body began."""
    if call.ended == "returned" or isinstance(call.value, FinallyDeclined):
        return {Kind.REPLAYED}
    refusal = _REFUSED.get(type(call.value))
    if refusal is not None:
        return {refusal}
    # Its claim failed, or it was interrupted between the claim and the body.
    failed = Kind.CLAIM_FAILED in kinds or not BEGINNINGS.isdisjoint(kinds)
    return {*_GIVEN_BACK, Kind.CLAIM_FAILED} if failed else set()


def _after_a_run(call: SimulatedCall, body: RunBody) -> AbstractSet[Kind]:
    """Return what the last report may be once a body has begun."""
    if body.failure is not None and not isinstance(body.failure, FinallyDeclined):
        return _GIVEN_BACK
    if call.ended == "returned" or isinstance(call.value, FinallyDeclined):
        return _ANSWERED
    if isinstance(call.value, IdempotencyLeaseLostError):
        return {Kind.LEASE_LOST}
    unsettled = {Kind.RESULT_NOT_STORED, Kind.OUTCOME_UNKNOWN}
    return {*unsettled, *_ANSWERED, Kind.LEASE_LOST} if call.interrupted else unsettled
