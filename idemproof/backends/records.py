"""The record that the four documented methods and hooks get: the specification's record, with a clock."""

import datetime as dt
import json
import os
from collections.abc import Iterator
from typing import Any

from ..spec.errors import IdempotencyInvalidStatusError
from ..spec.record import COMPLETED, EXPIRED, INPROGRESS, Record, checked
from .clock import wall_clock_ms


class DataRecord:
    """The record of one idempotency key, as the four documented methods and hooks get it.

    It has the fields of :class:`~idemproof.spec.record.Record`, but is mutable, as in Powertools for AWS
    Lambda. You can set other attributes too. ``vars(record)`` has all of them except ``owner``. ``status``
    and ``is_expired`` read the wall clock. ``_load`` and ``_swap`` must not read it, so they use the plain
    record, which :meth:`as_record` returns.

    Parameters
    ----------
    idempotency_key
        Names the operation.
    status
        ``INPROGRESS`` or ``COMPLETED``. Stored as ``_status``.
    expiry_timestamp
        Epoch seconds at which the record expires.
    in_progress_expiry_timestamp
        Epoch milliseconds at which the lease of a claim ends, or None.
    response_data
        The result as JSON text. The empty string means the same as None.
    payload_hash
        Hash of the validated part of the payload. The empty string means the same as None.
    sort_key
        The sort key, for stores with composite keys.
    owner
        The owner token of the attempt that wrote the record, or None.
    """

    # The owner is not in vars(record), because layers for Powertools write all of it to their stores.
    __slots__ = ("__dict__", "__weakref__", "owner")

    def __init__(
        self,
        idempotency_key: str,
        status: str = "",
        expiry_timestamp: int | None = None,
        in_progress_expiry_timestamp: int | None = None,
        response_data: str | None = "",
        payload_hash: str | None = "",
        sort_key: str | None = None,
        owner: str | None = None,
    ) -> None:
        self.idempotency_key = idempotency_key
        self.payload_hash = payload_hash
        self.expiry_timestamp = expiry_timestamp
        self.in_progress_expiry_timestamp = in_progress_expiry_timestamp
        self._status = status
        self.response_data = response_data
        self.sort_key = sort_key
        self.owner = owner

    @classmethod
    def of(cls, record: "Record | DataRecord") -> "DataRecord":
        """Return ``record`` as code for Powertools expects it, with ``""`` instead of None."""
        if isinstance(record, DataRecord):
            sort_key, record = record.sort_key, record.as_record()
        else:
            sort_key = None
        key, status, expiry, lease, response, payload_hash, owner = record
        return cls(key, status, expiry, lease, response or "", payload_hash or "", sort_key, owner)

    def as_record(self) -> Record:
        """Return the fields as the specification's record, without checking them."""
        return Record(
            self.idempotency_key,
            self._status,
            self.expiry_timestamp,  # type: ignore[arg-type]  # None is malformed, which the reader checks
            self.in_progress_expiry_timestamp,
            self.response_data,
            self.payload_hash,
            self.owner,
        )

    def _asdict(self) -> dict[str, Any]:
        """Return the fields by name, in the order of the parameters, with the stored status."""
        fields = self.as_record()._asdict()
        owner = fields.pop("owner")
        return {**fields, "sort_key": self.sort_key, "owner": owner}

    def __iter__(self) -> Iterator[Any]:
        """Yield the fields in the order of the parameters, with the stored status."""
        return iter(self._asdict().values())

    def __getitem__(self, place: int) -> Any:
        """Return a field by its position among the parameters."""
        return tuple(self)[place]

    def _replace(self, **changes: Any) -> "DataRecord":
        """Return a copy with these fields changed."""
        return type(self)(**{**self._asdict(), **changes})

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DataRecord):
            return self._asdict() == other._asdict()
        return self.as_record() == other if isinstance(other, Record) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.idempotency_key)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
        return f"{type(self).__name__}({fields})"

    @property
    def is_expired(self) -> bool:
        """Whether the record is past its expiry by the wall clock."""
        expiry = self.expiry_timestamp
        return bool(expiry) and wall_clock_ms() >= expiry * 1000  # type: ignore[operator]  # it is not None

    @property
    def status(self) -> str:
        """``EXPIRED`` once the record is past its expiry by the wall clock, else the stored status.

        Raises
        ------
        IdempotencyInvalidStatusError
            The stored status is unknown.
        """
        if self.is_expired:
            return EXPIRED
        stored = self._status
        if stored not in (INPROGRESS, COMPLETED, EXPIRED):
            raise IdempotencyInvalidStatusError(
                f"The record of {self.idempotency_key!r} has the unknown status {stored!r}."
            )
        return stored

    def response_json_as_dict(self) -> Any:
        """Return the decoded result, or None if there is no result."""
        return json.loads(self.response_data) if self.response_data else None

    def get_expiration_datetime(self) -> dt.datetime | None:
        """Return the expiry in local time without a time zone, or None if there is no expiry."""
        if not self.expiry_timestamp:
            return None
        return dt.datetime.fromtimestamp(self.expiry_timestamp)  # noqa: DTZ006 - documented as naive


class ByHand(DataRecord):
    """A record that is written outside of a call, so that only the caller can report a refusal."""

    __slots__ = ()


def new_owner() -> str:
    """Return a token that no other attempt has: 128 random bits (ENG-1).

    It is generated on each call. Tokens generated in advance would be the same in each clone of a process,
    such as a fork or a restored snapshot.
    """
    return os.urandom(16).hex()


def checked_legacy(raw: Any, key: str) -> Record:
    """Return the record that a four-method layer returned for ``key`` as a plain, well-formed record.

    Such a layer may report the key as its store keeps it, such as a partition or a hash. It is replaced by
    ``key``.
    """
    if isinstance(raw, DataRecord):
        raw = raw.as_record()
    if isinstance(raw, Record) and raw.idempotency_key != key:
        raw = raw._replace(idempotency_key=key)
    return checked(raw, key)
