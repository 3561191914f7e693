"""Errors of Redis and Valkey clients, under their documented names and without secrets."""

import re
from collections.abc import Collection

from ..drivers.exchanges import kinds
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
        "MovedError",  # a cluster's node, asked by a client that knows no clusters
        "UnicodeEncodeError",
    }
)
_ECHO = re.compile(r"with args beginning with|unknown command\W+(auth|hello)\b", re.IGNORECASE)
"""How a server begins to repeat a command that it does not know, such as AUTH."""

_CREDENTIALS_SENT = re.compile(r"\b(?:AUTH|HELLO)\b", re.IGNORECASE)
PROVIDED = "\0 what a credential provider gives"
"""Among the secrets of a client: it gets them when it connects, and they are not known here."""

NO_CLUSTER = "Cluster mode is not enabled"
_MISCONFIGURED_TEXTS = (NO_CLUSTER, "DB index is out of range", "unexpected keyword argument")
"""Servers and clients say these under names that are for much else."""


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
"""Some libraries, and scripts, pass these codes on under names that are for much else."""


def may_have_moved(error: BaseException) -> bool:
    """Return whether the store may be elsewhere by now: after a failover, say."""
    return bool(kinds(error) & _MOVED) or any(code in str(error) for code in _MOVED_TEXTS)


def refuses_writes_only(error: Exception) -> bool:
    """Return whether a primary can be read, and has no room to write."""
    return "OutOfMemoryError" in kinds(error) or any(
        text in str(error) for text in ("OOM command not allowed", "> 'maxmemory'", "MISCONF")
    )


def interrupt_behind(error: BaseException, before: BaseException | None) -> BaseException | None:
    """Return the interrupt that a client's clean-up has covered with ``error``, if there is one.

    Parameters
    ----------
    error
        What the client raised.
    before
        The exception that was being handled before the client was asked: it is not this request's.
    """
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and link is not before and id(link) not in seen:
        if not isinstance(link, Exception):
            return link
        seen.add(id(link))
        link = link.__context__
    return None


def explained(error: Exception, key: str, secrets: Collection[str]) -> IdempotencyPersistenceLayerError:
    """Return a client's error under its documented name, as its cause unless it would tell a secret."""
    known = kinds(error)
    secret = tells_secret(error, secrets)
    told = type(error).__name__
    told += " (its text would show the password)" if secret else f": {error}".removesuffix(".")
    named: IdempotencyPersistenceLayerError
    if "UnicodeDecodeError" in known or "WRONGTYPE" in told:
        named = corrupt(key, f"it is no record ({told})")
    elif known & _MISCONFIGURED or any(text in told for text in _MISCONFIGURED_TEXTS):
        refused = IdempotencyPersistenceConfigError(
            f"The store cannot be used for {key!r}: {told}. Check the client, its credentials and what they "
            "allow: GET, SET, DEL, EVAL and EVALSHA."
        )
        refused.may_pass = bool(known & _ACCESS)
        named = refused
    else:
        named = IdempotencyPersistenceConnectionError(
            f"The store did not serve a request for {key!r}: {told}. Retry."
        )
    if not secret:
        named.__cause__ = error
    return named


def corrupt(key: str, why: str) -> IdempotencyInvalidStatusError:
    """Return the error for what is no record (REC-7)."""
    return IdempotencyInvalidStatusError(
        f"What is stored under {key!r} is corrupt: {why}. Inspect it, and delete it if the operation may run "
        "again."
    )


def tells_secret(error: BaseException, secrets: Collection[str]) -> bool:
    """Return whether an error, or one behind it, quotes a secret, or a command that may have had one."""
    provided = PROVIDED in secrets
    return any(
        _ECHO.search(text) is not None
        or (provided and _CREDENTIALS_SENT.search(text) is not None)
        or any(secret in text for secret in secrets)
        for text in texts(error)
    )
