"""Whether what a call reported is what happened to it (OBS-1)."""

from collections.abc import Set as AbstractSet

from ...reference.transaction_errors import RESULT_DIFFERS
from ...spec.commands import RunBody
from ...spec.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyLeaseLostError,
    IdempotencyPersistenceLayerError,
    IdempotencyResultUnavailableError,
    IdempotencyUnknownOutcomeError,
    IdempotencyValidationError,
)
from ...spec.invariants import is_result_of
from ...spec.occurrences import OF_RENEWAL, Kind
from ..calls import SimulatedCall

_ASIDE = OF_RENEWAL | {Kind.NO_LEASE}
BEGINNINGS = frozenset({Kind.CLAIMED, Kind.TOOK_OVER})
_ANSWERED = frozenset({Kind.COMPLETED, Kind.SUPERSEDED})
_GIVEN_BACK = frozenset({Kind.RELEASED, Kind.ABANDONED, Kind.NOT_HELD, Kind.RELEASE_FAILED})
_REFUSED = {
    IdempotencyAlreadyInProgressError: Kind.IN_PROGRESS,
    IdempotencyValidationError: Kind.PAYLOAD_MISMATCH,
    IdempotencyResultUnavailableError: Kind.RESULT_UNAVAILABLE,
    IdempotencyUnknownOutcomeError: Kind.PARKED,
}
_ROWS = {
    Kind.CLAIMED: {"ROW-1", "ROW-2"},
    Kind.TOOK_OVER: {"ROW-1", "ROW-18"},
    Kind.PARKED: {"ROW-17"},
    Kind.WAITING: {"ROW-4"},
    Kind.REPLAYED: {"ROW-5"},
    Kind.RESULT_UNAVAILABLE: {"ROW-5"},
    Kind.IN_PROGRESS: {"ROW-4"},
    Kind.PAYLOAD_MISMATCH: {"ROW-3"},
    Kind.COMPLETED: {"ROW-6", "ROW-7"},
    Kind.RESULT_NOT_STORED: {"ROW-6", "ROW-7"},
    Kind.SUPERSEDED: {"ROW-8"},
    Kind.LEASE_LOST: {"ROW-9"},
    Kind.RENEWED: {"ROW-12"},
    Kind.RENEWAL_REFUSED: {"ROW-13"},
    Kind.RELEASED: {"ROW-10"},
    Kind.ABANDONED: {"ROW-19"},
    Kind.NOT_HELD: {"ROW-11", "ROW-20"},
}


_ROWS_WITHIN = _ROWS | {Kind.COMPLETED: {"ROW-22"}, Kind.LEASE_LOST: {"ROW-23"}}
"""The rows of an attempt that completes within a transaction."""


class FinallyDeclined(Exception):  # noqa: N818 - it reads as what happened
    """A final error that a body raises."""


def misreported(call: SimulatedCall) -> bool:
    """Return whether a call that has ended reported something else, or by another row."""
    if call.ended not in ("returned", "raised"):
        return False
    rows = _ROWS if call.connection is None else _ROWS_WITHIN
    rows_fit = all(each.row in rows.get(each.kind, {None}) for each in call.occurrences)
    kinds: list[Kind] = [each.kind for each in call.occurrences if each.kind not in _ASIDE]
    begun = sum(kind in BEGINNINGS for kind in kinds)
    ran = call.body is not None or call.found  # a result that was found is stored as that of a body is
    if call.connection is not None:
        expected = _after_a_transaction(call)
    else:
        expected = _after_a_run(call, call.body) if ran else _without_a_run(call, kinds)
    if ran and begun != 1:
        return True
    return not (rows_fit and kinds and kinds[-1] in expected)


def _without_a_run(call: SimulatedCall, kinds: list[Kind]) -> AbstractSet[Kind]:
    """Return what the last report may be if no body began."""
    if call.ended == "returned" or isinstance(call.value, FinallyDeclined):
        return {Kind.REPLAYED}
    if getattr(call.value, "nothing_written", False):
        return {Kind.CLAIM_FAILED, *_GIVEN_BACK}  # it found the record locked
    refusal = _REFUSED.get(type(call.value))
    if refusal is not None:
        return {refusal}
    # Its claim failed, or it was interrupted between the claim and the body.
    failed = Kind.CLAIM_FAILED in kinds or not BEGINNINGS.isdisjoint(kinds)
    return {*_GIVEN_BACK, Kind.CLAIM_FAILED} if failed else set()


def _after_a_run(call: SimulatedCall, body: RunBody | None) -> AbstractSet[Kind]:
    """Return what the last report may be once a body has begun."""
    is_final = body is not None and isinstance(body.failure, FinallyDeclined)
    if body is not None and body.failure is not None and not is_final:
        return _GIVEN_BACK
    if call.ended == "returned" or isinstance(call.value, FinallyDeclined):
        return _ANSWERED
    if isinstance(call.value, IdempotencyLeaseLostError):
        return {Kind.LEASE_LOST}
    unsettled = {Kind.RESULT_NOT_STORED, Kind.OUTCOME_UNKNOWN}
    return {*unsettled, *_ANSWERED, Kind.LEASE_LOST} if call.interrupted else unsettled


def _after_a_transaction(call: SimulatedCall) -> AbstractSet[Kind]:
    """Return what the last report may be of an attempt that completed within a transaction."""
    if isinstance(call.value, KeyboardInterrupt):
        return {Kind.COMPLETED, Kind.OUTCOME_UNKNOWN, *_GIVEN_BACK}
    if call.ended == "returned":
        return {Kind.COMPLETED}
    if getattr(call.value, "kind", None) == RESULT_DIFFERS and is_result_of(call.owner, call.reply):
        return {Kind.COMPLETED}
    unknown = isinstance(call.value, IdempotencyPersistenceLayerError)
    return {Kind.OUTCOME_UNKNOWN} if unknown else _GIVEN_BACK
