"""What is asked of DynamoDB, and what its replies mean. No client, no clock, no decision."""

import os
import zlib
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ..spec.errors import (
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceLayerError,
    IdempotencyRecordTooLargeError,
)
from ..spec.record import Record
from .exchanges import Ask, Exchange, kinds
from .names import check_attributes, check_names, check_whole

Item = dict[str, dict[str, Any]]

LARGEST_ITEM = 400 * 1024
"""Bytes that an item may have at most, its attributes' names included."""

_REFUSED = "ConditionalCheckFailedException"
_TOO_LARGE = ("Item size", "exceeded the maximum size limit", "exceeded the size limit")
"""How a ``ValidationException`` says that the record is too large: for an item, or for an index."""

_TOO_MUCH = "ItemCollectionSizeLimitExceededException"
"""What a partition says that has a local secondary index, and is full."""

_LARGEST_PARTITION_KEY = 2048
_LARGEST_SORT_KEY = 1024
_CLOCK = ("Signature expired", "Signature not yet current", "RequestTimeTooSkewed", "RequestExpired")
_MISCONFIGURED_CODES = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "OptInRequired",
        "ResourceNotFoundException",
        "SerializationException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
        "ValidationException",
    }
)
_MISCONFIGURED_KINDS = frozenset(
    {
        "EndpointProviderError",
        "InvalidRegionError",
        "LoginError",
        "NoCredentialsError",
        "NoRegionError",
        "ParamValidationError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "RefreshWithMFAUnsupportedError",
        "SSOError",
    }
)


@dataclass
class DynamoDBTable:
    """A table and the names of its attributes, as both persistence layers use them.

    Parameters
    ----------
    table_name
        The table.
    key_attr, sort_key_attr, expiry_attr, in_progress_expiry_attr, status_attr, data_attr
        Names of attributes; ``sort_key_attr`` is None for a table whose key is simple.
    validation_key_attr, owner_attr
        Same.
    static_pk_value
        The partition of a table with composite keys, None for one named after the Lambda function.
    static_pk_shards
        Over how many such partitions the records are spread.

    Raises
    ------
    IdempotencyPersistenceConfigError
        A name is missing or used twice, or the number of partitions cannot be.
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
        attributes = {name: value for name, value in vars(self).items() if name.endswith("_attr")}
        if self.sort_key_attr is None:
            del attributes["sort_key_attr"]
        check_names({"table_name": self.table_name, "static_pk_value": self.static_pk_value})
        check_attributes(attributes)
        check_whole("static_pk_shards", self.static_pk_shards, 1)
        if self.static_pk_shards > 1 and self.sort_key_attr is None:
            raise IdempotencyPersistenceConfigError(
                "static_pk_shards spreads what sort_key_attr puts into one partition: set both, or neither."
            )

    def load(self, key: str) -> Exchange:
        """Read what stands for ``key``."""
        request = {"TableName": self.table_name, "Key": self._key(key), "ConsistentRead": True}
        try:
            reply = yield Ask("get_item", kwargs=request)
        except Exception as error:
            raise self.explained(error, key) from error
        item = reply.get("Item")
        return None if item is None else self._record(key, item)

    def swap(self, key: str, expected: Record | None, new: Record | None, *, tells_holder: bool) -> Exchange:
        """Put ``new`` where ``expected`` stands, or delete it.

        ``tells_holder`` is whether the client's SDK can pass on which item was in the way; otherwise it is
        read.
        """
        if new is not None:
            ask = Ask("put_item", kwargs=self._put(key, expected, new))
        elif expected is not None:
            ask = Ask("delete_item", kwargs=self._request(expected, {"Key": self._key(key)}))
        else:
            return (yield from self.load(key))
        if tells_holder:
            ask.kwargs["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"  # type: ignore[index]
        try:
            yield ask
        except Exception as error:
            if error_code(error) != _REFUSED:
                raise self.explained(error, key) from error
            item = error.response.get("Item")  # type: ignore[attr-defined]  # only they have a code
        else:
            return new
        # Without one, nothing stands, or the SDK or the server keeps quiet about it.
        return (yield from self.load(key)) if item is None else self._record(key, item)

    def explained(self, error: Exception, key: str | None = None) -> IdempotencyPersistenceLayerError:
        """Return ``error`` under its documented name."""
        code = error_code(error)
        table, whose = self._where(key)
        told = str(error).removesuffix(".")
        too_large = code == "ValidationException" and any(text in told for text in _TOO_LARGE)
        if too_large or code == _TOO_MUCH:
            return IdempotencyRecordTooLargeError(f"{table} refuses a record{whose}: {told}.")
        if any(text in told for text in _CLOCK):
            return IdempotencyPersistenceConfigError(
                f"{table} cannot be used{whose}: {told}. The clock of this machine is wrong, or a request "
                "took minutes: requests are signed with the time."
            )
        if code in _MISCONFIGURED_CODES or kinds(error) & _MISCONFIGURED_KINDS:
            return self.unusable(told, key)
        return IdempotencyPersistenceConnectionError(
            f"{table} did not serve a request{whose}: {type(error).__name__}: {told}. Retry."
        )

    def unusable(self, why: object, key: str | None = None) -> IdempotencyPersistenceConfigError:
        """Return the error for what will not pass by itself."""
        table, whose = self._where(key)
        return IdempotencyPersistenceConfigError(
            f"{table} cannot be used{whose}: {why}. Check the table's name, region and key schema, the "
            "attributes' names, and the credentials and what they allow."
        )

    def _where(self, key: str | None) -> tuple[str, str]:
        return f"DynamoDB table {self.table_name!r}", "" if key is None else f" for {key!r}"

    def _key(self, key: str) -> Item:
        try:
            encoded = key.encode()
        except UnicodeEncodeError as error:
            raise IdempotencyPersistenceConfigError(f"The key {key!r} is no valid text: {error}.") from error
        largest = _LARGEST_PARTITION_KEY if self.sort_key_attr is None else _LARGEST_SORT_KEY
        if len(encoded) > largest:
            raise IdempotencyPersistenceConfigError(
                f"The key {key!r} has {len(encoded)} bytes; in DynamoDB table {self.table_name!r} it may "
                f"have {largest}. Nothing was sent. Give a shorter key_prefix."
            )
        if self.sort_key_attr is None:
            return {self.key_attr: {"S": key}}
        partition = self.static_pk_value
        if self.static_pk_shards > 1:
            partition = f"{partition}#{zlib.crc32(encoded) % self.static_pk_shards}"
        return {self.key_attr: {"S": partition}, self.sort_key_attr: {"S": key}}

    def _put(self, key: str, expected: Record | None, new: Record) -> dict[str, Any]:
        if new.response_data is not None and len(new.response_data) > LARGEST_ITEM:
            raise IdempotencyRecordTooLargeError(
                f"The result for {key!r} has {len(new.response_data)} characters; a DynamoDB item may have "
                f"{LARGEST_ITEM} bytes."
            )
        item = self._key(key)
        for name, value in self._fields(new):
            if isinstance(value, int):
                item[name] = {"N": str(value)}
            elif value is not None:  # an attribute of the type NULL would exist
                item[name] = {"S": value}
        return self._request(expected, {"Item": item})

    def _request(self, expected: Record | None, what: dict[str, Any]) -> dict[str, Any]:
        """Make a conditional request of ``what`` is to be written."""
        return {"TableName": self.table_name, **what, **self._condition(expected)}

    def _condition(self, expected: Record | None) -> dict[str, Any]:
        """Return the parameters that let a write happen only where ``expected`` stands (CAS-2)."""
        if expected is None:
            return {
                "ConditionExpression": "attribute_not_exists(#key)",
                "ExpressionAttributeNames": {"#key": self.key_attr},
            }
        values: Item = {":status": {"S": expected.status}, ":expiry": {"N": str(expected.expiry_timestamp)}}
        lease, owner = expected.in_progress_expiry_timestamp, expected.owner
        if lease is not None:
            values[":lease"] = {"N": str(lease)}
        if owner:
            values[":owner"] = {"S": owner}
        else:
            values[":empty"] = {"S": ""}  # which means none (REC-4)
        if lease is None or not owner:
            values[":null"] = {"NULL": True}  # other software may write that for an absent attribute
        return {
            "ConditionExpression": "#status = :status AND #expiry = :expiry "
            f"AND {_NO_LEASE if lease is None else '#lease = :lease'} "
            f"AND {'#owner = :owner' if owner else _NO_OWNER}",
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

    def _record(self, key: str, item: Item) -> Record:
        """Return what an item says, well-formed or not: the specification judges that (REC-7)."""
        return Record(
            key,
            _value(item, self.status_attr),
            _value(item, self.expiry_attr),
            _value(item, self.in_progress_expiry_attr),
            _value(item, self.data_attr),
            _value(item, self.validation_key_attr),
            None if self.sort_key_attr is None else key,
            _value(item, self.owner_attr),
        )


_NO_LEASE = "(attribute_not_exists(#lease) OR #lease = :null)"
_NO_OWNER = "(attribute_not_exists(#owner) OR #owner = :null OR #owner = :empty)"


def error_code(error: Exception) -> str | None:
    """Return the code that DynamoDB gave an error, None if it is not DynamoDB's."""
    response = getattr(error, "response", None)
    return response.get("Error", {}).get("Code") if isinstance(response, dict) else None


def check_client(client: Any, *, asynchronous: bool) -> None:
    """Refuse what is no client of DynamoDB's, such as a resource, and a client of the other side.

    Raises
    ------
    IdempotencyPersistenceConfigError
        It is one of these.
    """
    missing = [
        name for name in ("get_item", "put_item", "delete_item") if not callable(getattr(client, name, None))
    ]
    # A resource's Table has all of them, and takes items of another form.
    if missing or type(client).__module__.startswith("boto3.resources."):
        why = f"has no {', '.join(missing)}" if missing else "is a resource"
        raise IdempotencyPersistenceConfigError(
            f"{type(client).__name__} {why}. Give an open DynamoDB client, as boto3.client('dynamodb') is."
        )
    # Stand-ins are taken as they are: only the SDKs' own clients tell which side they are of.
    if hasattr(type(client), "_make_api_call") and hasattr(type(client), "__aenter__") is not asynchronous:
        raise IdempotencyPersistenceConfigError(
            "The client is a blocking one. Use DynamoDBPersistenceLayer, or give one of aiobotocore."
            if asynchronous
            else "The client is an async one. Use AsyncDynamoDBPersistenceLayer, or give one of boto3."
        )


def tells_holder(client: Any) -> bool:
    """Tell whether a client's SDK can pass on which item made a condition fail.

    Its service model knows: it checks requests and reads replies by it. A stand-in without one is taken to
    be recent.
    """
    try:
        parameters = frozenset(client.meta.service_model.operation_model("PutItem").input_shape.members)
    except (AttributeError, TypeError):
        return True
    return "ReturnValuesOnConditionCheckFailure" in parameters


def _value(item: Item, name: str) -> Any:
    """Return an attribute as Python knows it, None if there is none."""
    for kind, value in item.get(name, {}).items():
        if kind == "N":
            return int(value) if value.removeprefix("-").isdecimal() else Decimal(value)
        if kind != "NULL":
            return value
    return None
