"""Builds requests to DynamoDB and parses its replies. Uses no client and no clock, and decides nothing."""

import itertools
import logging
import os
import zlib
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ..drivers.exchanges import Ask, Exchange
from ..spec.errors import IdempotencyPersistenceConfigError, IdempotencyRecordTooLargeError
from ..spec.record import COMPLETED, INPROGRESS, Record
from .dynamodb_errors import check_reply, error_code, translate_error, unusable
from .logs import log
from .names import ChangeableNames, check_attributes, check_name, missing, whole

Item = dict[str, dict[str, Any]]

LARGEST_ITEM = 400 * 1024
"""The largest size of an item in bytes, including the names of its attributes."""

_DENIED = frozenset({"AccessDenied", "AccessDeniedException"})
_REFUSED = "ConditionalCheckFailedException"
_LARGEST_PARTITION_KEY = 2048
_LARGEST_SORT_KEY = 1024

NAMES = frozenset(
    {
        *("table_name", "key_attr", "static_pk_value", "sort_key_attr", "expiry_attr"),
        *("in_progress_expiry_attr", "status_attr", "data_attr", "validation_key_attr", "owner_attr"),
    }
)
"""The fields of a table that can be read and set on its layers."""


@dataclass
class DynamoDBTable(ChangeableNames):
    """A table and the names of its attributes, as both persistence layers use them.

    Parameters
    ----------
    table_name
        The table.
    key_attr, sort_key_attr, expiry_attr, in_progress_expiry_attr, status_attr, data_attr
        Names of attributes; ``sort_key_attr`` is None for a table without a sort key.
    validation_key_attr, owner_attr
        Names of attributes.
    static_pk_value
        The partition of all records in a table with a sort key; None to name it after the Lambda function.
    static_pk_shards
        The number of such partitions over which the records are spread.

    Raises
    ------
    IdempotencyPersistenceConfigError
        A name is used twice, or the number of partitions is invalid. A missing name is an error at the first
        request.
    """

    table_name: str
    key_attr: str
    static_pk_value: str | None
    sort_key_attr: str | None
    expiry_attr: str
    in_progress_expiry_attr: str
    status_attr: str
    data_attr: str
    validation_key_attr: str
    owner_attr: str
    static_pk_shards: int

    def __post_init__(self) -> None:
        if self.static_pk_value is None:
            self.static_pk_value = f"idempotency#{os.getenv('AWS_LAMBDA_FUNCTION_NAME', '')}"
        self.static_pk_shards = whole("static_pk_shards", self.static_pk_shards, 1)
        self._check()
        self._denial_logged = False

    def _check(self) -> None:
        self.sort_key_attr = self.sort_key_attr or None
        if self.static_pk_shards > 1 and self.sort_key_attr is None:
            raise IdempotencyPersistenceConfigError(
                "static_pk_shards has no effect without sort_key_attr. Set both, or neither."
            )
        attributes = {name: value for name, value in vars(self).items() if name.endswith("_attr")}
        if self.sort_key_attr is None:
            del attributes["sort_key_attr"]
        check_attributes(attributes)
        names = {"table_name": self.table_name, **attributes}
        if self.sort_key_attr is not None:
            names["static_pk_value"] = self.static_pk_value
        for parameter in ("table_name", "static_pk_value"):
            check_name(parameter, getattr(self, parameter))
        self._missing = missing(names)
        self._update_names = {
            "#status": self.status_attr,
            "#expiry": self.expiry_attr,
            "#lease": self.in_progress_expiry_attr,
            "#data": self.data_attr,
            "#validation": self.validation_key_attr,
            "#owner": self.owner_attr,
        }

    def load(self, key: str) -> Exchange:
        """Read the stored record of ``key``."""
        self.require(key)
        request = {"TableName": self.table_name, "Key": self.key(key), "ConsistentRead": True}
        try:
            reply = yield Ask("get_item", kwargs=request)
        except Exception as error:
            raise translate_error(self.table_name, error, key) from error
        check_reply(self.table_name, key, reply, reads=True)
        item = reply.get("Item")
        return None if item is None else self.record(key, item)

    def swap(
        self,
        key: str,
        expected: Record | None,
        new: Record | None,
        *,
        returns_conflict: bool,
        updates: bool = True,
    ) -> Exchange:
        """Replace ``expected`` with ``new``, or delete it.

        Parameters
        ----------
        key, expected, new
            As for :meth:`~idemproof.backends.base.CompareAndSwapLayer._swap`.
        returns_conflict
            Whether the client's SDK returns the item that prevents a write. Otherwise the item is read.
        updates
            Whether the client has ``update_item``.
        """
        if self._missing:
            self.require(key)
        if new is not None:
            if (
                expected is not None
                and expected.status == INPROGRESS
                # This ends or renews the expected claim, and is not a takeover.
                and (new.status == COMPLETED or new.owner == expected.owner)
                and updates
            ):
                ask = Ask("update_item", kwargs=self._update(key, expected, new))
            else:
                ask = Ask("put_item", kwargs=self._put(key, expected, new))
        elif expected is not None:
            ask = Ask("delete_item", kwargs=self._request(expected, {"Key": self.key(key)}))
        else:
            return (yield from self.load(key))
        if returns_conflict:
            ask.kwargs["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"  # type: ignore[index]
        try:
            reply = yield ask
        except Exception as error:
            code = error_code(error)
            if code in _DENIED and ask.method == "update_item":
                self._log_denial(error)
                # Only for this request, because the permission may be granted later.
                return (
                    yield from self.swap(key, expected, new, returns_conflict=returns_conflict, updates=False)
                )
            if code != _REFUSED:
                raise translate_error(self.table_name, error, key) from error
            item = error.response.get("Item")  # type: ignore[attr-defined]  # errors with a code have it
        else:
            check_reply(self.table_name, key, reply, reads=False)
            return new
        # Without an item, there is no record, or the SDK or the server does not return it.
        return (yield from self.load(key)) if item is None else self.record(key, item)

    def _log_denial(self, error: Exception) -> None:
        if self._denial_logged:
            return
        self._denial_logged = True
        log(
            logging.WARNING,
            "DynamoDB table %r denies UpdateItem (%s), so completions use PutItem. Each takes one more "
            "request and loses the attributes that other software put on the item while its function ran. "
            "Allow dynamodb:UpdateItem.",
            self.table_name,
            error,
        )

    def require(self, key: str | None = None) -> None:
        """Raise an error if a name is missing. Called before a request is sent."""
        if self._missing:
            raise unusable(self.table_name, self._missing, key)

    def key(self, key: str) -> Item:
        """Return the key attributes of the item for an idempotency key."""
        try:
            encoded = key.encode()
        except UnicodeEncodeError as error:
            raise IdempotencyPersistenceConfigError(
                f"The key {key!r} is not valid text: {error}. Nothing was sent."
            ) from error
        largest = _LARGEST_PARTITION_KEY if self.sort_key_attr is None else _LARGEST_SORT_KEY
        if len(encoded) > largest:
            raise IdempotencyPersistenceConfigError(
                f"The key {key!r} has {len(encoded)} bytes, but a key in DynamoDB table {self.table_name!r} "
                f"may have at most {largest}. Nothing was sent. Use a shorter key_prefix."
            )
        if self.sort_key_attr is None:
            return {self.key_attr: {"S": key}}
        partition = self.static_pk_value
        if self.static_pk_shards > 1:
            partition = f"{partition}#{zlib.crc32(encoded) % self.static_pk_shards}"
        return {self.key_attr: {"S": partition}, self.sort_key_attr: {"S": key}}

    def _put(self, key: str, expected: Record | None, new: Record) -> dict[str, Any]:
        """Return a request that replaces the whole item, because a new claim starts from an empty item."""
        self._check_size(key, new)
        item = self.key(key)
        for name, value in self._fields(new):
            if isinstance(value, int):
                item[name] = {"N": str(value)}
            elif value is not None:  # an attribute of type NULL would count as present
                item[name] = {"S": value}
        return self._request(expected, {"Item": item})

    def _update(self, key: str, expected: Record, new: Record) -> dict[str, Any]:
        """Return a request that replaces the record and keeps the attributes of other software."""
        self._check_size(key, new)
        condition, values = _unchanged(expected)
        _, status, expiry, lease, response, payload_hash, owner = new
        values[":new_status"] = {"S": status}
        values[":new_expiry"] = {"N": str(expiry)}
        if lease is not None:
            values[":new_lease"] = {"N": str(lease)}
        if response is not None:
            values[":new_data"] = {"S": response}
        if payload_hash is not None:
            values[":new_validation"] = {"S": payload_hash}
        if owner is not None:
            values[":new_owner"] = {"S": owner}
        return {
            "TableName": self.table_name,
            "Key": self.key(key),
            "UpdateExpression": _REPLACEMENTS[
                lease is None, response is None, payload_hash is None, owner is None
            ],
            "ConditionExpression": condition,
            "ExpressionAttributeNames": self._update_names.copy(),
            "ExpressionAttributeValues": values,
        }

    def completion_item(self, new: Record) -> dict[str, Any]:
        """Return the part of a transaction that completes the attempt of ``new`` (TXN-1)."""
        self.require(new.idempotency_key)
        return {
            "Put": {
                **self._put(new.idempotency_key, None, new),
                "ConditionExpression": "#status = :in_progress AND #owner = :owner",
                "ExpressionAttributeNames": {"#status": self.status_attr, "#owner": self.owner_attr},
                "ExpressionAttributeValues": {":in_progress": {"S": INPROGRESS}, ":owner": {"S": new.owner}},
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }

    def _check_size(self, key: str, new: Record) -> None:
        if new.response_data is not None and len(new.response_data) > LARGEST_ITEM:
            raise IdempotencyRecordTooLargeError(
                f"The result for {key!r} has {len(new.response_data)} characters, but a DynamoDB item may "
                f"have at most {LARGEST_ITEM} bytes. Nothing was sent."
            )

    def _request(self, expected: Record | None, what: dict[str, Any]) -> dict[str, Any]:
        """Return a request that writes ``what`` if ``expected`` is stored."""
        return {"TableName": self.table_name, **what, **self._condition(expected)}

    def _condition(self, expected: Record | None) -> dict[str, Any]:
        """Return the parameters that make a write conditional on ``expected`` (CAS-2)."""
        if expected is None:
            return {
                "ConditionExpression": "attribute_not_exists(#key)",
                "ExpressionAttributeNames": {"#key": self.key_attr},
            }
        condition, values = _unchanged(expected)
        return {
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {
                "#status": self.status_attr,
                "#expiry": self.expiry_attr,
                "#lease": self.in_progress_expiry_attr,
                "#owner": self.owner_attr,
            },
            "ExpressionAttributeValues": values,
        }

    def _fields(self, record: Record) -> tuple[tuple[str, str | int | None], ...]:
        return (
            (self.status_attr, record.status),
            (self.expiry_attr, record.expiry_timestamp),
            (self.in_progress_expiry_attr, record.in_progress_expiry_timestamp),
            (self.data_attr, record.response_data),
            (self.validation_key_attr, record.payload_hash),
            (self.owner_attr, record.owner),
        )

    def record(self, key: str, item: Item) -> Record:
        """Return the record in an item. It may be malformed; the specification checks that (REC-7)."""
        return Record(
            key,
            _value(item, self.status_attr),
            _value(item, self.expiry_attr),
            _value(item, self.in_progress_expiry_attr),
            _value(item, self.data_attr),
            _value(item, self.validation_key_attr),
            _value(item, self.owner_attr),
        )


def _unchanged(expected: Record) -> tuple[str, Item]:
    """Return the condition that ``expected`` is stored unchanged, and its values (CAS-2)."""
    values: Item = {":status": {"S": expected.status}, ":expiry": {"N": str(expected.expiry_timestamp)}}
    lease, owner = expected.in_progress_expiry_timestamp, expected.owner
    if lease is not None:
        values[":lease"] = {"N": str(lease)}
    if owner:
        values[":owner"] = {"S": owner}
    else:
        values[":empty"] = {"S": ""}  # means no owner (REC-4)
    if lease is None or not owner:
        values[":null"] = {"NULL": True}  # other software may write this instead of leaving an attribute out
    return _UNCHANGED[lease is None, not owner], values


def _replacement(absent: dict[str, bool]) -> str:
    """Return the expression that replaces a record whose ``absent`` fields are removed."""
    placed = ["status", "expiry", *(label for label in absent if not absent[label])]
    removed = [f"#{label}" for label in absent if absent[label]]
    expression = f"SET {', '.join(f'#{label} = :new_{label}' for label in placed)}"
    return f"{expression} REMOVE {', '.join(removed)}" if removed else expression


_REPLACEMENTS = {
    absent: _replacement(dict(zip(("lease", "data", "validation", "owner"), absent, strict=True)))
    for absent in itertools.product((True, False), repeat=4)
}
"""The update expressions, by whether lease, response, payload hash and owner are absent."""

_NO_LEASE = "(attribute_not_exists(#lease) OR #lease = :null)"
_NO_OWNER = "(attribute_not_exists(#owner) OR #owner = :null OR #owner = :empty)"
_UNCHANGED = {
    (no_lease, no_owner): (
        "#status = :status AND #expiry = :expiry "
        f"AND {_NO_LEASE if no_lease else '#lease = :lease'} "
        f"AND {_NO_OWNER if no_owner else '#owner = :owner'}"
    )
    for no_lease in (True, False)
    for no_owner in (True, False)
}
"""The condition that a record is unchanged, by whether it has no lease and no owner."""


def _value(item: Item, name: str) -> Any:
    """Return an attribute as a Python value, or None if it is absent."""
    for kind, value in item.get(name, {}).items():
        if kind == "N":
            return int(value) if value.removeprefix("-").isdecimal() else Decimal(value)
        if kind != "NULL":
            return value
    return None
