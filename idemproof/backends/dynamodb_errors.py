"""What goes wrong with DynamoDB, under its documented names."""

from typing import Any

from ..drivers.exchanges import kinds
from ..spec.errors import (
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceLayerError,
    IdempotencyRecordTooLargeError,
)

_TOO_LARGE = ("Item size", "exceeded the maximum size limit", "exceeded the size limit")
"""How a ``ValidationException`` says that the record is too large: for an item, or for an index."""

_TOO_MUCH = "ItemCollectionSizeLimitExceededException"
"""What a partition says that has a local secondary index, and is full."""

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
"""What a table says that is not there, or that is being created: the latter passes."""

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
    """Return the code that DynamoDB gave an error, None if it is not DynamoDB's."""
    response = getattr(error, "response", None)
    return response.get("Error", {}).get("Code") if isinstance(response, dict) else None


def explained(table_name: str, error: Exception, key: str | None = None) -> IdempotencyPersistenceLayerError:
    """Return ``error`` under its documented name."""
    code = error_code(error)
    table, whose = _where(table_name, key)
    told = str(error).removesuffix(".")
    too_large = code == "ValidationException" and any(text in told for text in _TOO_LARGE)
    if too_large or code == _TOO_MUCH:
        return IdempotencyRecordTooLargeError(f"{table} refuses a record{whose}: {told}.").because(error)
    if any(text in told for text in _CLOCK):
        skewed = IdempotencyPersistenceConfigError(
            f"{table} cannot be used{whose}: {told}. The clock of this machine is wrong, or a request "
            "took minutes: requests are signed with the time."
        ).because(error)
        skewed.may_pass = True
        return skewed
    if code in _ACCESS_CODES or code == _NO_TABLE or kinds(error) & _ACCESS_KINDS:
        refused = unusable(table_name, told, key).because(error)
        refused.may_pass = True
        return refused
    if code in _MISCONFIGURED_CODES or kinds(error) & _MISCONFIGURED_KINDS:
        return unusable(table_name, told, key).because(error)
    return IdempotencyPersistenceConnectionError(
        f"{table} did not serve a request{whose}: {type(error).__name__}: {told}. Retry."
    ).because(error)


_SHORTEST_ITEM = len('{"Item":{}}')


def check_reply(table_name: str, key: str, reply: Any, *, reads: bool) -> None:
    """Refuse an answer that is not DynamoDB's, or half of one: SDKs take it for one that tells nothing.

    Parameters
    ----------
    table_name, key
        What was asked for.
    reply
        What the SDK has made of the answer.
    reads
        Whether half an answer loses anything. It does not tell less of a write: that has happened.

    Raises
    ------
    IdempotencyPersistenceConnectionError
        It cannot be believed.
    """
    if not isinstance(reply, dict) or reply.keys() - {"ResponseMetadata"}:
        return
    metadata = reply.get("ResponseMetadata")
    headers = metadata.get("HTTPHeaders") if isinstance(metadata, dict) else None
    if not headers:  # a stand-in's
        return
    kind, length = headers.get("content-type", ""), headers.get("content-length", "")
    size = int(length) if length.isdecimal() else None
    if (kind and "x-amz-json" not in kind) or (size is not None and size < len("{}")):
        told = f"{length or 'some'} bytes of {kind or 'no type'} are not DynamoDB's answer"
    elif reads and size is not None and size >= _SHORTEST_ITEM:
        told = f"{length} bytes were announced, and cannot be read"
    else:
        return
    table, whose = _where(table_name, key)
    raise IdempotencyPersistenceConnectionError(
        f"{table} did not serve a request{whose}: {told}. Is there a proxy in between? Retry."
    )


def unusable(table_name: str, why: object, key: str | None = None) -> IdempotencyPersistenceConfigError:
    """Return the error for what will not pass by itself."""
    table, whose = _where(table_name, key)
    return IdempotencyPersistenceConfigError(
        f"{table} cannot be used{whose}: {why}. Check the table's name, region and key schema, the "
        "attributes' names, and the credentials and what they allow."
    )


def _where(table_name: str, key: str | None) -> tuple[str, str]:
    return f"DynamoDB table {table_name!r}", "" if key is None else f" for {key!r}"
