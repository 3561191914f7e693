"""Reading vectors: what a store may return for a key, and the record that is read, or that it is corrupt."""

from typing import Any, NamedTuple

from idemproof.spec.errors import IdempotencyInvalidStatusError
from idemproof.spec.record import (
    COMPLETED,
    ERROR_UNAVAILABLE,
    EXPIRED,
    INPROGRESS,
    RESULT_UNAVAILABLE,
    Record,
    checked,
)

from .transition import START

KEY = "k"
"""The requested key of every reading."""

_EXPIRY = START // 1000
_CLAIM: dict[str, Any] = {
    "idempotency_key": KEY,
    "status": INPROGRESS,
    "expiry_timestamp": _EXPIRY,
    "in_progress_expiry_timestamp": START,
    "response_data": None,
    "payload_hash": "a",
    "owner": "w1",
}
_RESULT = _CLAIM | {"status": COMPLETED, "in_progress_expiry_timestamp": None, "response_data": '"x"'}


class Reading(NamedTuple):
    """The stored fields, and the record that is read; None if they are corrupt."""

    clauses: tuple[str, ...]
    why: str
    stored: dict[str, Any]
    record: Record | None


def readings() -> list[Reading]:
    """Return the vectors."""
    return [Reading(clauses, why, stored, _read(stored)) for clauses, why, stored in _STORED]


def _read(stored: dict[str, Any]) -> Record | None:
    try:
        return checked(Record(**stored), KEY)
    except IdempotencyInvalidStatusError:
        return None


_CORRUPT_STATUS = "A status of {} is corrupt."
_CORRUPT_EXPIRY = "An expiry of {} is corrupt."
_CORRUPT_LEASE = "A lease of {} is corrupt."

_TEXTS = {
    "response_data": "the response",
    "payload_hash": "the payload hash",
    "owner": "the owner",
}

_STORED: list[tuple[tuple[str, ...], str, dict[str, Any]]] = [
    (("REC-1", "REC-3"), "A claim is read unchanged.", _CLAIM),
    (("REC-1", "REC-3"), "A result is read unchanged.", _RESULT),
    (("REC-3",), "A lease may be absent.", _CLAIM | {"in_progress_expiry_timestamp": None}),
    (("REC-3",), "A lease of 0 is a lease.", _CLAIM | {"in_progress_expiry_timestamp": 0}),
    (("REC-1",), "An expiry of 0 is an expiry.", _CLAIM | {"expiry_timestamp": 0}),
    (
        ("REC-6",),
        "The marker of a result that could not be stored is read like any response.",
        _RESULT | {"response_data": RESULT_UNAVAILABLE},
    ),
    *(
        (("REC-4",), f"Empty text in {name} means that it is absent.", _RESULT | {field: ""})
        for field, name in _TEXTS.items()
    ),
    *(
        (clauses, _CORRUPT_STATUS.format(said), _CLAIM | {"status": status})
        for clauses, said, status in (
            (("REC-2", "REC-7"), EXPIRED, EXPIRED),
            (("REC-1", "REC-7"), "empty text", ""),
            (("REC-1", "REC-7"), "null", None),
            (("REC-1", "REC-7"), "another spelling", "inprogress"),
        )
    ),
    *(
        (("REC-1", "REC-7"), _CORRUPT_EXPIRY.format(said), _RESULT | {"expiry_timestamp": expiry})
        for said, expiry in (("null", None), ("a fraction", 1.5), ("text", "1"), ("true", True))
    ),
    *(
        (("REC-3", "REC-7"), _CORRUPT_LEASE.format(said), _CLAIM | {"in_progress_expiry_timestamp": lease})
        for said, lease in (("a fraction", 1.5), ("text", "1"), ("true", True))
    ),
    *(
        (("REC-7",), f"A number in {name} is corrupt.", _RESULT | {field: 0})
        for field, name in _TEXTS.items()
    ),
    (("REC-7",), "The record of another key is corrupt.", _RESULT | {"idempotency_key": "K"}),
    (
        ("REC-6",),
        "The marker of a final error that could not be stored is read like any response.",
        _RESULT | {"response_data": ERROR_UNAVAILABLE},
    ),
    (
        ("REC-1",),
        "A final error is read like any response.",
        _RESULT | {"response_data": 'idemproof:error:{"arguments": ["no", 5], "type": "shop.Declined"}'},
    ),
]
