"""Clients for DynamoDB: making them, checking those of users, and finding out what they support."""

import os
from typing import TYPE_CHECKING, Any

from ..spec.errors import IdempotencyPersistenceConfigError
from .doubles import is_double

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

CONNECT_SECONDS = 5
READ_SECONDS = 10
"""Timeouts of clients that are made here without a configuration. Only the engine retries."""

_DEFAULTS: dict[str, Any] = {
    "connect_timeout": CONNECT_SECONDS,
    "read_timeout": READ_SECONDS,
    "retries": {"mode": "standard", "total_max_attempts": 1},
}


def make_client(session: Any, config: Any) -> Any:
    """Make a boto3 client, or a botocore client if there is no session."""
    if config is None:
        from botocore.config import Config  # noqa: PLC0415 - loaded when used

        config = Config(**_DEFAULTS)
    if session is not None:
        return session.client("dynamodb", config=config)
    from botocore.session import get_session  # noqa: PLC0415 - takes half as long as boto3

    return get_session().create_client("dynamodb", config=config)


def make_async_client(session: Any, config: Any) -> "AbstractAsyncContextManager[Any]":
    """Make an aiobotocore client that is not yet open."""
    if config is None:
        from aiobotocore.config import AioConfig  # noqa: PLC0415 - loaded when used

        config = AioConfig(**_DEFAULTS)
    if session is None:
        from aiobotocore.session import get_session  # noqa: PLC0415 - same

        session = get_session()
    client: AbstractAsyncContextManager[Any] = session.create_client("dynamodb", config=config)
    return client


def check_client(client: Any, *, asynchronous: bool) -> None:
    """Refuse an object that is not a DynamoDB client, such as a resource, or a client of the wrong side.

    Raises
    ------
    IdempotencyPersistenceConfigError
        The client lacks methods, is a resource, or is async where a blocking one is needed or vice versa.
    """
    missing = [
        name for name in ("get_item", "put_item", "delete_item") if not callable(getattr(client, name, None))
    ]
    # A resource's Table has all of these methods, but its items have another format.
    if missing or type(client).__module__.startswith("boto3.resources."):
        why = f"has no {', '.join(missing)}" if missing else "is a resource"
        raise IdempotencyPersistenceConfigError(
            f"{type(client).__name__} {why}. Pass an open DynamoDB client, such as boto3.client('dynamodb')."
        )
    # Fakes pass, because only the SDKs' own clients show whether they are async.
    if hasattr(type(client), "_make_api_call") and hasattr(type(client), "__aenter__") is not asynchronous:
        raise IdempotencyPersistenceConfigError(
            "The client is blocking. Use DynamoDBPersistenceLayer, or pass an aiobotocore client."
            if asynchronous
            else "The client is async. Use AsyncDynamoDBPersistenceLayer, or pass a boto3 client."
        )


def returns_conflict(client: Any) -> bool:
    """Return whether a client's SDK can return the item that made a condition fail.

    The SDK checks requests and parses replies by its service model, which shows this. A fake without a
    service model counts as recent.
    """
    if is_double(client):
        return True  # without calling the mock
    try:
        parameters = frozenset(client.meta.service_model.operation_model("PutItem").input_shape.members)
    except (AttributeError, TypeError):
        return True
    return "ReturnValuesOnConditionCheckFailure" in parameters


def retries_after(config: Any, kind: type[Exception]) -> bool:
    """Return whether a client with this botocore ``config`` retries a request after ``kind`` is raised in it.

    The standard and the adaptive mode retry after any exception, the legacy mode after connection errors.
    """
    retries = getattr(config, "retries", None) or {}
    if retries.get("total_max_attempts") == 1 or retries.get("max_attempts") == 0:
        return False
    mode = retries.get("mode") or os.environ.get("AWS_RETRY_MODE", "legacy")
    return mode != "legacy" or issubclass(kind, OSError)
