"""Creates a table for development. In production, create it with your infrastructure as code."""

from typing import Any

from ..drivers.exchanges import Ask, Exchange
from ..spec.commands import Sleep
from ..spec.errors import (
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceLayerError,
)
from .dynamodb_errors import error_code, translate_error
from .dynamodb_requests import DynamoDBTable

_ATTEMPTS = 120
_PAUSE_MS = 500


def create_table(table: DynamoDBTable) -> Exchange:
    """Create ``table`` with its time to live, unless it exists, and wait until it is active."""
    name = {"TableName": table.table_name}
    key = [(table.key_attr, "HASH")]
    if table.sort_key_attr is not None:
        key.append((table.sort_key_attr, "RANGE"))
    schema = [{"AttributeName": attribute, "KeyType": kind} for attribute, kind in key]
    types = [{"AttributeName": attribute, "AttributeType": "S"} for attribute, _ in key]
    try:
        yield Ask(
            "create_table",
            kwargs=name
            | {"KeySchema": schema, "AttributeDefinitions": types, "BillingMode": "PAY_PER_REQUEST"},
        )
    except Exception as error:
        if error_code(error) != "ResourceInUseException":
            raise translate_error(table.table_name, error) from error
    try:
        actual = yield from _when_active(table)
        fits = actual["KeySchema"] == schema and all(a in actual["AttributeDefinitions"] for a in types)
        lifetime = yield from _time_to_live(table, enable=fits)
    except IdempotencyPersistenceLayerError:
        raise
    except Exception as error:
        raise translate_error(table.table_name, error) from error
    if not fits:
        raise _mismatch(table, f"its key is {actual['KeySchema']}, not {schema} of strings")
    if lifetime["TimeToLiveStatus"] not in ("ENABLED", "ENABLING"):
        raise _mismatch(table, "its time to live is being disabled")
    if lifetime["AttributeName"] != table.expiry_attr:
        raise _mismatch(
            table, f"its time to live is {lifetime['AttributeName']!r}, not {table.expiry_attr!r}"
        )


def _time_to_live(table: DynamoDBTable, *, enable: bool) -> Exchange:
    """Return the table's time to live, after enabling it if it has none."""
    name = {"TableName": table.table_name}
    found = (yield Ask("describe_time_to_live", kwargs=name))["TimeToLiveDescription"]
    if not enable or found["TimeToLiveStatus"] != "DISABLED":
        return found
    wanted = {"Enabled": True, "AttributeName": table.expiry_attr}
    try:
        yield Ask("update_time_to_live", kwargs=name | {"TimeToLiveSpecification": wanted})
    except Exception as error:
        # Another process has enabled it, or an earlier try of this request whose reply was lost.
        if error_code(error) != "ValidationException":
            raise
    return (yield Ask("describe_time_to_live", kwargs=name))["TimeToLiveDescription"]


def _when_active(table: DynamoDBTable) -> Exchange:
    for _ in range(_ATTEMPTS):
        description: dict[str, Any] = (yield Ask("describe_table", kwargs={"TableName": table.table_name}))[
            "Table"
        ]
        if description["TableStatus"] == "ACTIVE":
            return description
        yield Sleep(_PAUSE_MS)
    raise IdempotencyPersistenceConnectionError(
        f"DynamoDB table {table.table_name!r} is still not active. Retry later."
    )


def _mismatch(table: DynamoDBTable, difference: str) -> IdempotencyPersistenceConfigError:
    return IdempotencyPersistenceConfigError(
        f"DynamoDB table {table.table_name!r} already exists, but {difference}. Use another name."
    )
