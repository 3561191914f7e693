"""What can happen to a record, and what the one who asked is told.

All of these are tuples, for they are made on every call; two of different kinds are never equal.
"""

from typing import NamedTuple, TypeVar

from .record import Record

T = TypeVar("T", bound=type)
_Items = tuple[object, ...]


def _distinct(kind: T) -> T:
    """Let only tuples of the same kind be equal."""

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
        The attempt's token; None for software that has none.
    lease
        Epoch milliseconds until which the claim is exclusive; None for as long as the record lives.
    expiry
        Epoch seconds at which the record is over.
    payload_hash
        Hash of the validated part of the payload, or None.
    idempotency_key
        Names the operation.
    """

    owner: str | None
    lease: int | None
    expiry: int
    payload_hash: str | None = None
    idempotency_key: str = ""


@_distinct
class Complete(NamedTuple):
    """An attempt has its result.

    Parameters
    ----------
    owner
        The attempt's token.
    response
        The result as JSON text, or ``RESULT_UNAVAILABLE``.
    payload_hash
        Hash of the validated part of the payload, or None.
    expiry
        Epoch seconds at which the record is over.
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
    """An attempt gives its claim back: it failed, or it never began."""

    owner: str | None


@_distinct
class Renew(NamedTuple):
    """A running attempt asks for a longer lease (epoch milliseconds)."""

    owner: str | None
    lease: int


@_distinct
class Evict(NamedTuple):
    """The store's own housekeeping wants to forget the record."""


Event = Claim | Complete | Release | Renew | Evict


@_distinct
class Claimed(NamedTuple):
    """The attempt may run, for as long as the lease in ``record`` lasts.

    Parameters
    ----------
    record
        The claim as it stands.
    took_over
        The record that had to yield, or None.
    """

    record: Record
    took_over: Record | None = None


@_distinct
class PayloadMismatch(NamedTuple):
    """The key is in use with another payload."""

    record: Record


@_distinct
class InProgress(NamedTuple):
    """Another attempt is running; it may be asked again in ``retry_after`` milliseconds."""

    record: Record
    retry_after: int


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
    """Another attempt completed first; ``record`` has the result that counts."""

    record: Record


@_distinct
class LeaseLost(NamedTuple):
    """The claim is no longer the attempt's; ``record`` stands there instead, or nothing."""

    record: Record | None


@_distinct
class Released(NamedTuple):
    """The claim is gone; anyone may begin."""


@_distinct
class NotHeld(NamedTuple):
    """There was no claim of this owner to give back."""


@_distinct
class Renewed(NamedTuple):
    """The lease now ends as ``record`` says."""

    record: Record


@_distinct
class Evicted(NamedTuple):
    """The record is forgotten."""


@_distinct
class Kept(NamedTuple):
    """The record may still be owed to somebody."""


Outcome = (
    Claimed
    | PayloadMismatch
    | InProgress
    | Replay
    | Completed
    | Superseded
    | LeaseLost
    | Released
    | NotHeld
    | Renewed
    | Evicted
    | Kept
)
