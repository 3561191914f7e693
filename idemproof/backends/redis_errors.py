"""Translates errors of Redis and Valkey clients into the documented ones, without secrets."""

import re
from collections.abc import Collection

from ..drivers.exchanges import class_names
from ..spec.errors import (
    IdempotencyInvalidStatusError,
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceLayerError,
)
from .credentials import texts

_ACCESS = frozenset(
    {
        "AuthenticationError",
        "AuthenticationWrongNumberOfArgsError",
        "AuthorizationError",
        "NoPermissionError",
    }
)
_MISCONFIGURED = frozenset(
    {
        *_ACCESS,
        "DataError",
        "MovedError",  # from a cluster node to a client without cluster support
        "UnicodeEncodeError",
    }
)
_ECHO = re.compile(r"with args beginning with|unknown command\W+(auth|hello)\b", re.IGNORECASE)
"""How a server starts to repeat a command that it does not know, such as AUTH."""

_CREDENTIALS_SENT = re.compile(r"\b(?:AUTH|HELLO)\b", re.IGNORECASE)
CREDENTIAL_PROVIDER = "\0 credential provider"
"""Marks, among the secrets of a client, that it gets more of them from a provider when it connects."""

NO_CLUSTER = "Cluster mode is not enabled"
_MISCONFIGURED_TEXTS = (NO_CLUSTER, "DB index is out of range", "unexpected keyword argument")
"""Texts of errors whose classes have many other meanings."""


_MOVED = frozenset(
    {
        "AskError",  # and MovedError
        "BusyLoadingError",
        "ClusterDownError",  # and MasterDownError
        "ConnectionError",
        "ReadOnlyError",
        "TimeoutError",
        "TryAgainError",
    }
)
_MOVED_TEXTS = ("CLUSTERDOWN", "LOADING", "MASTERDOWN", "NOREPLICAS", "READONLY")
"""Codes in the texts of errors from some libraries and scripts, whose classes have many other meanings."""


def may_have_moved(error: BaseException) -> bool:
    """Return whether the store may have moved to another address, for example after a failover."""
    return bool(class_names(error) & _MOVED) or any(code in str(error) for code in _MOVED_TEXTS)


def refuses_writes_only(error: Exception) -> bool:
    """Return whether a primary serves reads but refuses writes, because its memory is full."""
    return "OutOfMemoryError" in class_names(error) or any(
        text in str(error) for text in ("OOM command not allowed", "> 'maxmemory'", "MISCONF")
    )


def translate_error(error: Exception, key: str, secrets: Collection[str]) -> IdempotencyPersistenceLayerError:
    """Return the documented error for ``error``, which becomes its cause unless it contains a secret."""
    known = class_names(error)
    secret = contains_secret(error, secrets)
    message = type(error).__name__
    message += " (its text would show the password)" if secret else f": {error}".removesuffix(".")
    named: IdempotencyPersistenceLayerError
    if "UnicodeDecodeError" in known or "WRONGTYPE" in message:
        named = corrupt(key, f"it is not a record ({message})")
    elif known & _MISCONFIGURED or any(text in message for text in _MISCONFIGURED_TEXTS):
        refused = IdempotencyPersistenceConfigError(
            f"The store cannot be used for {key!r}: {message}. Check the client, its credentials and their "
            "permissions, which must include GET, SET, DEL, EVAL and EVALSHA."
        )
        refused.may_pass = bool(known & _ACCESS)
        named = refused
    else:
        named = IdempotencyPersistenceConnectionError(
            f"The store did not serve a request for {key!r}: {message}. Retry."
        )
    if not secret:
        named.__cause__ = error
    return named


def corrupt(key: str, why: str) -> IdempotencyInvalidStatusError:
    """Return the error for a stored value that is not a record (REC-7)."""
    return IdempotencyInvalidStatusError(
        f"The value stored under {key!r} is corrupt: {why}. Inspect it, and delete it if the operation may "
        "run again."
    )


def contains_secret(error: BaseException, secrets: Collection[str]) -> bool:
    """Return whether an error, a cause or a context quotes a secret, or a command that may contain one."""
    provided = CREDENTIAL_PROVIDER in secrets
    return any(
        _ECHO.search(text) is not None
        or (provided and _CREDENTIALS_SENT.search(text) is not None)
        or any(secret in text for secret in secrets)
        for text in texts(error)
    )
