"""Events that can happen to a record, and their outcomes.

They are tuples, because every call creates several. Tuples of different classes are never equal.
"""

from typing import NamedTuple, TypeVar

from .record import Record

T = TypeVar("T", bound=type)
_Items = tuple[object, ...]

RUN, REFUSE, ASK = "run", "refuse", "ask"
"""The policies of a claim that meets a claim whose lease has ended (TAKE-1)."""


def _distinct(kind: T) -> T:
    """Make only tuples of the same class equal."""

    def __eq__(self: _Items, other: object) -> bool:  # noqa: N807
        return type(self) is type(other) and tuple.__eq__(self, other)

    def __ne__(self: _Items, other: object) -> bool:  # noqa: N807
        return not __eq__(self, other)

    def __hash__(self: _Items) -> int:  # noqa: N807
        return hash((kind.__name__, *self))

    for method in (__eq__, __ne__, __hash__):
        setattr(kind, method.__name__, method)
    return kind


@_distinct
class Claim(NamedTuple):
    """An attempt wants to run.

    Parameters
    ----------
    owner
        The owner token of the attempt; None for software without tokens.
    lease
        Epoch milliseconds until which the claim is exclusive; None for the lifetime of the record.
    expiry
        Epoch seconds at which the record expires.
    payload_hash
        Hash of the validated part of the payload, or None.
    idempotency_key
        Names the operation.
    policy
        What to do about another's claim whose lease has ended: "run", "refuse" or "ask".
    """

    owner: str | None
    lease: int | None
    expiry: int
    payload_hash: str | None = None
    idempotency_key: str = ""
    policy: str = RUN


@_distinct
class Complete(NamedTuple):
    """An attempt has its result.

    Parameters
    ----------
    owner
        The owner token of the attempt.
    response
        The result as JSON text, a final error, or a marker. See :class:`Record`.
    payload_hash
        Hash of the validated part of the payload, or None.
    expiry
        Epoch seconds at which the record expires.
    idempotency_key
        Names the operation.
    """

    owner: str | None
    response: str | None
    payload_hash: str | None
    expiry: int
    idempotency_key: str = ""


@_distinct
class CompleteWithin(NamedTuple):
    """An attempt stores its result in a transaction of its own, which also contains its effect (TXN-1).

    Parameters
    ----------
    owner
        The owner token of the attempt.
    response
        The result as JSON text.
    payload_hash
        Hash of the validated part of the payload, or None.
    expiry
        Epoch seconds at which the record expires.
    idempotency_key
        Names the operation.
    """

    owner: str | None
    response: str | None
    payload_hash: str | None
    expiry: int
    idempotency_key: str = ""


@_distinct
class Release(NamedTuple):
    """An attempt releases its claim, because it failed or never began."""

    owner: str | None


@_distinct
class Abandon(NamedTuple):
    """An attempt ends its claim, and cannot exclude that the operation has happened (TAKE-4)."""

    owner: str | None


@_distinct
class Renew(NamedTuple):
    """A running attempt extends its lease (epoch milliseconds)."""

    owner: str | None
    lease: int


@_distinct
class Evict(NamedTuple):
    """The store wants to delete an expired record."""


Event = Claim | Complete | CompleteWithin | Release | Renew | Evict | Abandon


@_distinct
class Claimed(NamedTuple):
    """The attempt may run until the lease in ``record`` ends.

    Parameters
    ----------
    record
        The stored claim.
    took_over
        The record that the claim replaced, or None.
    asks
        Whether it must be asked first whether the operation has happened already (TAKE-3).
    """

    record: Record
    took_over: Record | None = None
    asks: bool = False


@_distinct
class PayloadMismatch(NamedTuple):
    """The key is in use with a different payload."""

    record: Record


@_distinct
class InProgress(NamedTuple):
    """Another attempt is running. Its lease ends in ``retry_after`` milliseconds."""

    record: Record
    retry_after: int


@_distinct
class UnknownOutcome(NamedTuple):
    """The lease of another attempt has ended, and it is not known what that attempt did."""

    record: Record


@_distinct
class Replay(NamedTuple):
    """The operation is done; ``record`` has its result."""

    record: Record


@_distinct
class Completed(NamedTuple):
    """The result is stored."""

    record: Record


@_distinct
class Superseded(NamedTuple):
    """Another attempt completed first; ``record`` has its result, which is the valid one."""

    record: Record


@_distinct
class LeaseLost(NamedTuple):
    """The attempt no longer holds the claim; ``record`` is stored instead, or None."""

    record: Record | None


@_distinct
class Released(NamedTuple):
    """The claim is deleted, so any attempt may begin."""


@_distinct
class Abandoned(NamedTuple):
    """The lease of the claim has ended, and the claim remains, so the next attempt knows of it."""

    record: Record


@_distinct
class NotHeld(NamedTuple):
    """There was no claim of this owner to release or abandon."""


@_distinct
class Renewed(NamedTuple):
    """The lease now ends as ``record`` says."""

    record: Record


@_distinct
class Evicted(NamedTuple):
    """The record is deleted."""


@_distinct
class Kept(NamedTuple):
    """The record is kept, because a caller may still need it."""


Outcome = (
    Claimed
    | PayloadMismatch
    | InProgress
    | UnknownOutcome
    | Replay
    | Completed
    | Superseded
    | LeaseLost
    | Released
    | Abandoned
    | NotHeld
    | Renewed
    | Evicted
    | Kept
)
