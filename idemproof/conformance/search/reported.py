"""Whether what a call reported is what happened to it (OBS-1)."""

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


def misreported(call: SimulatedCall) -> bool:
    """Return whether a call that has ended reported something else, or by another row."""
    if call.ended not in ("returned", "raised"):
        return False
    kinds = [each.kind for each in call.occurrences if each.kind is not Kind.NO_LEASE]
    rows_fit = all(each.row in _ROWS.get(each.kind, {None}) for each in call.occurrences)
    return not (rows_fit and kinds and kinds[-1] in _expected(call, kinds))


def _expected(call: SimulatedCall, kinds: list[Kind]) -> frozenset[Kind]:
    """Return what the last report may be."""
    body, value = call.body, call.value
    if body is None:
        if call.ended == "returned":
            return frozenset({Kind.REPLAYED})
        refusal = _REFUSED.get(type(value))
        if refusal is not None:
            return frozenset({refusal})
        # Its claim failed, or it was interrupted between the claim and the body.
        failed = Kind.CLAIM_FAILED in kinds or not BEGINNINGS.isdisjoint(kinds)
        return _GIVEN_BACK | {Kind.CLAIM_FAILED} if failed else frozenset()
    if sum(kind in BEGINNINGS for kind in kinds) != 1:
        return frozenset()
    if body.failure is not None:
        return _GIVEN_BACK
    if call.ended == "returned":
        return _ANSWERED
    if isinstance(value, IdempotencyLeaseLostError):
        return frozenset({Kind.LEASE_LOST})
    unsettled = {Kind.RESULT_NOT_STORED, Kind.OUTCOME_UNKNOWN}
    return frozenset(unsettled | _ANSWERED | {Kind.LEASE_LOST} if call.interrupted else unsettled)
