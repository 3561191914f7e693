"""Clients for DynamoDB: how they are made, which of the users' can be used, and what they can tell."""

import os
from typing import TYPE_CHECKING, Any

from ..spec.errors import IdempotencyPersistenceConfigError
from .doubles import is_double

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

CONNECT_SECONDS = 5
READ_SECONDS = 10
"""What a client gets that is made here without a configuration: the engine retries, and nobody else."""

_DEFAULTS: dict[str, Any] = {
    "connect_timeout": CONNECT_SECONDS,
    "read_timeout": READ_SECONDS,
    "retries": {"mode": "standard", "total_max_attempts": 1},
}


def make_client(session: Any, config: Any) -> Any:
    """Make a client of boto3's, or of botocore's if there is no session."""
    if config is None:
        from botocore.config import Config  # noqa: PLC0415 - loaded when used

        config = Config(**_DEFAULTS)
    if session is not None:
        return session.client("dynamodb", config=config)
    from botocore.session import get_session  # noqa: PLC0415 - half of what all of boto3 takes

    return get_session().create_client("dynamodb", config=config)


def make_async_client(session: Any, config: Any) -> "AbstractAsyncContextManager[Any]":
    """Make a client of aiobotocore's, not yet opened."""
    if config is None:
        from aiobotocore.config import AioConfig  # noqa: PLC0415 - loaded when used

        config = AioConfig(**_DEFAULTS)
    if session is None:
        from aiobotocore.session import get_session  # noqa: PLC0415 - same

        session = get_session()
    client: AbstractAsyncContextManager[Any] = session.create_client("dynamodb", config=config)
    return client


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
    """Return whether a client's SDK can pass on which item made a condition fail.

    Its service model knows: it checks requests and reads replies by it. A stand-in without one is taken to
    be recent.
    """
    if is_double(client):
        return True  # and it is asked nothing
    try:
        parameters = frozenset(client.meta.service_model.operation_model("PutItem").input_shape.members)
    except (AttributeError, TypeError):
        return True
    return "ReturnValuesOnConditionCheckFailure" in parameters


def retries_after(config: Any, kind: type[Exception]) -> bool:
    """Return whether a client with this ``config`` of botocore's asks again when ``kind`` strikes.

    The standard and the adaptive mode do so after any exception, the legacy mode after those of connections.
    """
    retries = getattr(config, "retries", None) or {}
    if retries.get("total_max_attempts") == 1 or retries.get("max_attempts") == 0:
        return False
    mode = retries.get("mode") or os.environ.get("AWS_RETRY_MODE", "legacy")
    return mode != "legacy" or issubclass(kind, OSError)
