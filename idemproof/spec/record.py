"""The record of one idempotent operation, and predicates about it at a given time.

It is pure data. Times are integers, and "now" is always an argument.
"""

from typing import Any, NamedTuple

from .errors import IdempotencyInvalidStatusError

INPROGRESS = "INPROGRESS"
COMPLETED = "COMPLETED"
EXPIRED = "EXPIRED"
"""The status of a record that is no longer live. It is derived and never stored (REC-2)."""

RESULT_UNAVAILABLE = "idemproof:result-unavailable"
"""The ``response_data`` of an operation that completed without a result that can be stored (REC-6).

It is deliberately not JSON, so that software that does not know it fails instead of returning no result.
"""

FINAL_ERROR = "idemproof:error:"
"""The start of the ``response_data`` of an operation that ended with a final error. JSON follows (FIN-2)."""

ERROR_UNAVAILABLE = "idemproof:error-unavailable"
"""The ``response_data`` of an operation that ended with a final error that cannot be stored (REC-6)."""

UNAVAILABLE = frozenset((RESULT_UNAVAILABLE, ERROR_UNAVAILABLE))
"""The responses that only say that there is none."""


class Record(NamedTuple):
    """The stored record of one idempotency key.

    Parameters
    ----------
    idempotency_key
        Names the operation.
    status
        ``INPROGRESS`` or ``COMPLETED``.
    expiry_timestamp
        Epoch seconds at which the record expires.
    in_progress_expiry_timestamp
        Epoch milliseconds at which the lease of a claim ends, or None.
    response_data
        The result as JSON text, a final error (``FINAL_ERROR``), one of ``UNAVAILABLE``, or None.
    payload_hash
        Hash of the validated part of the payload, or None.
    owner
        The owner token of the attempt that wrote the record; None if other software wrote it.
    """

    idempotency_key: str
    status: str
    expiry_timestamp: int
    in_progress_expiry_timestamp: int | None = None
    response_data: str | None = None
    payload_hash: str | None = None
    owner: str | None = None


DURABLE = "durable:"
"""The prefix of owner tokens of durable executions: ``durable:EXECUTION/POSITION/RANDOM`` (DUR-1)."""


def is_result(response: str | None) -> bool:
    """Return whether a response is a result as JSON text, and neither a final error nor a marker."""
    return response is None or not response.startswith("idemproof:")


def deadline_ms(record: Record) -> int:
    """Return the epoch milliseconds at which ``record`` stops being live (TIME-3, TIME-4)."""
    lease = record.in_progress_expiry_timestamp
    if lease is not None and record.status == INPROGRESS:
        return lease
    return record.expiry_timestamp * 1000


def expiry_ms(record: Record) -> int:
    """Return the epoch milliseconds at which ``record`` expires."""
    return record.expiry_timestamp * 1000


def live(record: Record, now: int) -> bool:
    """Return whether ``record`` is live at ``now`` (epoch milliseconds) (TIME-2)."""
    return now < deadline_ms(record)


def claimable(record: Record | None, now: int) -> bool:
    """Return whether a new attempt may begin, because there is no record or it is not live."""
    return record is None or now >= deadline_ms(record)


def holds(record: Record | None, owner: str | None) -> bool:
    """Return whether ``owner`` holds the claim. Always False if ``owner`` is None (REC-5)."""
    return record is not None and owner is not None and record.status == INPROGRESS and record.owner == owner


def execution_of(owner: str | None) -> str | None:
    """Return the durable execution and the position in it that ``owner`` names, or None (DUR-1).

    Tokens of invocations of one execution differ only after their last slash.
    """
    if owner is None or not owner.startswith(DURABLE):
        return None
    execution, _, token = owner[len(DURABLE) :].rpartition("/")
    return execution if execution and token else None


def same_execution(record: Record, owner: str | None) -> bool:
    """Return whether ``record`` is a claim of the durable execution that ``owner`` belongs to (DUR-1)."""
    if record.status != INPROGRESS:
        return False
    execution = execution_of(owner)
    return execution is not None and execution_of(record.owner) == execution


def ceil_seconds(milliseconds: int) -> int:
    """Round milliseconds up to seconds, so that no window is shorter than requested (TIME-5)."""
    return -(-milliseconds // 1000)


def same_version(current: Record | None, expected: Record | None) -> bool:
    """Return whether the stored record is the one that a compare-and-swap expects (CAS-2).

    Owner, status and both deadlines are compared. None means no record, and an empty owner means no owner
    (REC-4).
    """
    if current is None or expected is None:
        return current is expected
    return (
        (current.owner == expected.owner or not (current.owner or expected.owner))
        # The stored status, by position: the attribute of a mutable record follows the clock.
        and current[1] == expected[1]
        and current.expiry_timestamp == expected.expiry_timestamp
        and current.in_progress_expiry_timestamp == expected.in_progress_expiry_timestamp
    )


def same_record(stored: Record | None, written: Record) -> bool:
    """Return whether the stored record equals ``written`` in every field (CAS-3)."""
    return stored is written or (stored is not None and stored == written)


_CORRUPT = (
    "The stored record of {!r} is corrupt: {}. Inspect it, and delete it if the operation may run again."
)


_TEXT_OR_NONE = frozenset((str, type(None)))


def _whole(value: Any, field: str, key: str) -> int:
    """Return a number from a store (int, integral float or Decimal) as an int."""
    if not isinstance(value, str | bytes | bool):
        try:
            whole = int(value)
        except (TypeError, ValueError, ArithmeticError):
            whole = None
        if whole is not None and whole == value:
            return whole
    raise IdempotencyInvalidStatusError(_CORRUPT.format(key, f"{field} is {value!r}, not a whole number"))


def _text(value: Any, field: str, key: str) -> str | None:
    """Return a text from a store. The empty string means the same as None (REC-4)."""
    if isinstance(value, str):
        return value or None
    raise IdempotencyInvalidStatusError(
        _CORRUPT.format(key, f"{field} is of type {type(value).__name__}, not text")
    )


def checked(raw: Any, key: str) -> Record:
    """Return the record that a store returned for ``key`` as a plain, well-formed record.

    The clauses are REC-1, REC-3 and REC-4.

    Raises
    ------
    IdempotencyInvalidStatusError
        The record is corrupt: an unknown status, a missing or fractional deadline, a field that is not text,
        or another key.
    """
    if not isinstance(raw, Record):
        # Other types of records, such as the mutable one, have a method that returns the plain record.
        as_record = getattr(type(raw), "as_record", None)
        raw = raw if as_record is None else as_record(raw)
        if not isinstance(raw, Record):
            raise IdempotencyInvalidStatusError(
                f"The persistence layer returned a {type(raw).__name__} for {key!r} instead of a record or "
                "None. Fix the layer."
            )
    # By position, because a subclass may compute an attribute from a clock.
    found, status, expiry, lease, response, payload_hash, owner = raw
    if status not in (INPROGRESS, COMPLETED):
        raise IdempotencyInvalidStatusError(_CORRUPT.format(key, f"its status is {status!r}"))
    if found != key:
        raise IdempotencyInvalidStatusError(
            f"The persistence layer returned the record of {found!r} for {key!r}. Check whether keys collide "
            "in its store."
        )
    if (
        type(raw) is Record
        and type(found) is str
        and type(expiry) is int
        and (lease is None or type(lease) is int)
        and _TEXT_OR_NONE.issuperset(map(type, raw[4:]))
        and "" not in raw
    ):
        return raw  # the usual case
    return Record(
        key,
        status,
        expiry if type(expiry) is int else _whole(expiry, "the expiry", key),
        lease if lease is None or type(lease) is int else _whole(lease, "the lease", key),
        None if response is None else _text(response, "the response", key),
        None if payload_hash is None else _text(payload_hash, "the payload hash", key),
        None if owner is None else _text(owner, "the owner", key),
    )
