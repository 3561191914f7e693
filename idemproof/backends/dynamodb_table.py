"""Making a table for development. In production it belongs to the infrastructure's description."""

from typing import Any

from ..drivers.exchanges import Ask, Exchange
from ..spec.commands import Sleep
from ..spec.errors import (
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceLayerError,
)
from .dynamodb_errors import error_code, explained
from .dynamodb_requests import DynamoDBTable

_LOOKS = 120
_BETWEEN_LOOKS_MS = 500


def create_table(table: DynamoDBTable) -> Exchange:
    """Create ``table`` with its time to live, unless it is there already, and wait until it can be used."""
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
            raise explained(table.table_name, error) from error
    try:
        standing = yield from _when_active(table)
        fits = standing["KeySchema"] == schema and all(a in standing["AttributeDefinitions"] for a in types)
        lifetime = yield from _time_to_live(table, enable=fits)
    except IdempotencyPersistenceLayerError:
        raise
    except Exception as error:
        raise explained(table.table_name, error) from error
    if not fits:
        raise _other(table, f"its key is {standing['KeySchema']}, not {schema} of strings")
    if lifetime["TimeToLiveStatus"] not in ("ENABLED", "ENABLING"):
        raise _other(table, "its time to live is being disabled")
    if lifetime["AttributeName"] != table.expiry_attr:
        raise _other(table, f"its time to live is {lifetime['AttributeName']!r}, not {table.expiry_attr!r}")


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
        # Somebody was faster, or this request's own lost reply was.
        if error_code(error) != "ValidationException":
            raise
    return (yield Ask("describe_time_to_live", kwargs=name))["TimeToLiveDescription"]


def _when_active(table: DynamoDBTable) -> Exchange:
    for _ in range(_LOOKS):
        description: dict[str, Any] = (yield Ask("describe_table", kwargs={"TableName": table.table_name}))[
            "Table"
        ]
        if description["TableStatus"] == "ACTIVE":
            return description
        yield Sleep(_BETWEEN_LOOKS_MS)
    raise IdempotencyPersistenceConnectionError(
        f"DynamoDB table {table.table_name!r} is not active yet. Try again later."
    )


def _other(table: DynamoDBTable, difference: str) -> IdempotencyPersistenceConfigError:
    return IdempotencyPersistenceConfigError(
        f"There is a DynamoDB table {table.table_name!r} already, and {difference}. Use another name."
    )
