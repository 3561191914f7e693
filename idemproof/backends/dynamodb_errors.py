"""Translates errors of DynamoDB and its SDKs into the documented ones."""

from typing import Any

from ..drivers.exchanges import class_names
from ..spec.errors import (
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceLayerError,
    IdempotencyRecordTooLargeError,
)

_TOO_LARGE = ("Item size", "exceeded the maximum size limit", "exceeded the size limit")
"""Texts of a ``ValidationException`` for a record that is too large for an item or for an index."""

_PARTITION_FULL = "ItemCollectionSizeLimitExceededException"
"""The error of a full partition of a table with a local secondary index."""

_CLOCK = ("Signature expired", "Signature not yet current", "RequestTimeTooSkewed", "RequestExpired")
_ACCESS_CODES = frozenset(
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
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_ACCESS_KINDS = frozenset(
    {
        "LoginError",
        "NoCredentialsError",
        "PartialCredentialsError",
        "RefreshWithMFAUnsupportedError",
        "SSOError",
    }
)
_NO_TABLE = "ResourceNotFoundException"
"""The error of a table that does not exist or that is being created. The latter is temporary."""

_MISCONFIGURED_CODES = frozenset({"SerializationException", "ValidationException"})
_MISCONFIGURED_KINDS = frozenset(
    {
        "EndpointProviderError",
        "InvalidRegionError",
        "NoRegionError",
        "ParamValidationError",
        "ProfileNotFound",
    }
)


def error_code(error: Exception) -> str | None:
    """Return DynamoDB's code of an error, or None if the error is not from DynamoDB."""
    response = getattr(error, "response", None)
    return response.get("Error", {}).get("Code") if isinstance(response, dict) else None


def translate_error(
    table_name: str, error: Exception, key: str | None = None
) -> IdempotencyPersistenceLayerError:
    """Return the documented error for ``error`` of a client."""
    code = error_code(error)
    table, whose = _where(table_name, key)
    message = str(error).removesuffix(".")
    too_large = code == "ValidationException" and any(text in message for text in _TOO_LARGE)
    if too_large or code == _PARTITION_FULL:
        return IdempotencyRecordTooLargeError(f"{table} refuses a record{whose}: {message}.").because(error)
    if any(text in message for text in _CLOCK):
        skewed = IdempotencyPersistenceConfigError(
            f"{table} cannot be used{whose}: {message}. Requests are signed with the time. Check the "
            "clock of this machine, and whether requests take minutes."
        ).because(error)
        skewed.may_pass = True
        return skewed
    if code in _ACCESS_CODES or code == _NO_TABLE or class_names(error) & _ACCESS_KINDS:
        refused = unusable(table_name, message, key).because(error)
        refused.may_pass = True
        return refused
    if code in _MISCONFIGURED_CODES or class_names(error) & _MISCONFIGURED_KINDS:
        return unusable(table_name, message, key).because(error)
    return IdempotencyPersistenceConnectionError(
        f"{table} did not serve a request{whose}: {type(error).__name__}: {message}. Retry."
    ).because(error)


_SHORTEST_ITEM = len('{"Item":{}}')


def check_reply(table_name: str, key: str, reply: Any, *, reads: bool) -> None:
    """Refuse a reply that is not from DynamoDB or incomplete, which SDKs would treat as an empty reply.

    Parameters
    ----------
    table_name, key
        The record that was requested.
    reply
        The reply as the SDK has parsed it.
    reads
        Whether the request was a read. An incomplete reply to a write is harmless, because the write has
        happened.

    Raises
    ------
    IdempotencyPersistenceConnectionError
        The reply is not from DynamoDB, or is incomplete.
    """
    if not isinstance(reply, dict) or reply.keys() - {"ResponseMetadata"}:
        return
    metadata = reply.get("ResponseMetadata")
    headers = metadata.get("HTTPHeaders") if isinstance(metadata, dict) else None
    if not headers:  # from a fake
        return
    kind, length = headers.get("content-type", ""), headers.get("content-length", "")
    size = int(length) if length.isdecimal() else None
    if (kind and "x-amz-json" not in kind) or (size is not None and size < len("{}")):
        problem = f"the reply is not from DynamoDB ({length or 'some'} bytes of {kind or 'no type'})"
    elif reads and size is not None and size >= _SHORTEST_ITEM:
        problem = f"the reply of {length} bytes cannot be read"
    else:
        return
    table, whose = _where(table_name, key)
    raise IdempotencyPersistenceConnectionError(
        f"{table} did not serve a request{whose}: {problem}. Check for a proxy in between, and retry."
    )


def unusable(table_name: str, why: object, key: str | None = None) -> IdempotencyPersistenceConfigError:
    """Return the error for a table that cannot be used until something is fixed."""
    table, whose = _where(table_name, key)
    return IdempotencyPersistenceConfigError(
        f"{table} cannot be used{whose}: {why}. Check the table's name, region and key schema, the names of "
        "the attributes, and the credentials and their permissions."
    )


def _where(table_name: str, key: str | None) -> tuple[str, str]:
    return f"DynamoDB table {table_name!r}", "" if key is None else f" for {key!r}"
