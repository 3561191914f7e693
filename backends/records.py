"""The record as the four documented methods and hooks see it: the specification's, with a clock."""

import datetime as dt
import json
import os
from typing import Any, Self, cast

from ..spec.errors import IdempotencyInvalidStatusError
from ..spec.record import COMPLETED, EXPIRED, INPROGRESS, Record, checked, expiry_ms
from .clock import wall_clock_ms


class DataRecord(Record):
    """What a store holds for one idempotency key.

    The same fields as :class:`~idemproof.spec.record.Record`, and like it immutable: ``record._replace(...)``
    gives a changed copy. ``status`` and ``is_expired`` read the wall
    clock; code that must not, such as ``_load`` and ``_swap``, gets and may return the plain record.

    Parameters
    ----------
    idempotency_key
        Names the operation.
    status
        ``INPROGRESS`` or ``COMPLETED``.
    expiry_timestamp
        Epoch seconds at which the record is over.
    in_progress_expiry_timestamp
        Epoch milliseconds at which a claim may be taken over, or None.
    response_data
        The result as JSON text. The empty string means the same as None.
    payload_hash
        Hash of the validated part of the payload. The empty string means the same as None.
    sort_key
        The sort key, for stores with composite keys.
    owner
        The token of the attempt that wrote the record, or None.
    """

    __slots__ = ()

    def __new__(  # noqa: D102 - documented on the class
        cls,
        idempotency_key: str,
        status: str = "",
        expiry_timestamp: int | None = None,
        in_progress_expiry_timestamp: int | None = None,
        response_data: str | None = "",
        payload_hash: str | None = "",
        sort_key: str | None = None,
        owner: str | None = None,
    ) -> Self:
        return super().__new__(
            cls,
            idempotency_key,
            status,
            cast("int", expiry_timestamp),  # a record to be deleted has none
            in_progress_expiry_timestamp,
            response_data,
            payload_hash,
            sort_key,
            owner,
        )

    @classmethod
    def of(cls, record: Record) -> "DataRecord":
        """Return ``record`` as old code expects it, with ``""`` where the specification says None."""
        key, status, expiry, lease, response, payload_hash, sort_key, owner = record
        return cls(key, status, expiry, lease, response or "", payload_hash or "", sort_key, owner)

    @property
    def is_expired(self) -> bool:
        """Whether the record is past its expiry by the wall clock."""
        return bool(self.expiry_timestamp) and wall_clock_ms() >= expiry_ms(self)

    @property
    def status(self) -> str:  # derived here, stored in the parent
        """``EXPIRED`` once the record is past its expiry by the wall clock, else what is stored.

        Raises
        ------
        IdempotencyInvalidStatusError
            The stored status is unknown.
        """
        if self.is_expired:
            return EXPIRED
        stored = self[1]
        if stored not in (INPROGRESS, COMPLETED, EXPIRED):
            raise IdempotencyInvalidStatusError(
                f"The record of {self.idempotency_key!r} has the unknown status {stored!r}."
            )
        return stored

    def response_json_as_dict(self) -> Any:
        """Return the decoded result, None if there is none."""
        return json.loads(self.response_data) if self.response_data else None

    def get_expiration_datetime(self) -> dt.datetime | None:
        """Return the expiry in local time without a time zone, as documented; None if there is none."""
        if not self.expiry_timestamp:
            return None
        return dt.datetime.fromtimestamp(self.expiry_timestamp)  # noqa: DTZ006 - documented as naive


def new_owner() -> str:
    """Return a token that no other attempt has: 128 random bits (ENG-1).

    Drawn anew each time: tokens kept ready would be the same in each clone of a process, after a fork or in
    a restored snapshot.
    """
    return os.urandom(16).hex()


def checked_legacy(raw: Any, key: str) -> Record:
    """Return what a four-method layer gave for ``key`` as a plain, well-formed record.

    Such layers may report the key as their store keeps it (a partition, a hash): what was asked counts.
    """
    return checked(raw._replace(idempotency_key=key) if isinstance(raw, Record) else raw, key)
