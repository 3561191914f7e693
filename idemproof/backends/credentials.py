"""Removes credentials from error messages.

Servers and proxies repeat what they received, and SDKs repeat what they were about to send.
"""

import os
import re
from collections.abc import Collection, Iterator
from typing import Any

from ..spec.errors import IdempotencyPersistenceConfigError, IdempotencyPersistenceLayerError

HIDDEN = "***"

_SECRET_NAME = re.compile("pass|secret|token|credential", re.IGNORECASE)
_AWS_VARIABLES = ("AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_SECRET_ACCESS_KEY")
_AWS_QUOTED = re.compile(
    r"((?:x-amz-security-token|sessiontoken|session_token|secretaccesskey|secret_access_key)"
    r"[\"']?\s*[:=]\s*[\"']?)[^\s\"'&,;]+",
    re.IGNORECASE,
)


def secrets_in(holder: Any) -> list[str]:
    """Return the texts that an object keeps under names like ``password``.

    Reads its attributes without running its code, which might use the network.
    """
    attributes = getattr(holder, "__dict__", None)
    fields = getattr(holder, "_asdict", None)  # a named tuple of credentials
    found: dict[str, Any] = dict(attributes) if isinstance(attributes, dict) else {}
    if isinstance(holder, tuple) and callable(fields):
        found |= fields()
    secrets = []
    for name, value in found.items():
        if _SECRET_NAME.search(name):
            secrets += [value] if isinstance(value, str) else secrets_in(value)
    return [secret for secret in secrets if secret]


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield ``error``, its causes and its contexts."""
    waiting, seen = [error], set()
    while waiting:
        link = waiting.pop()
        if id(link) not in seen:
            seen.add(id(link))
            yield link
            waiting += [behind for behind in (link.__cause__, link.__context__) if behind is not None]


def texts(error: BaseException) -> Iterator[str]:
    """Yield all texts of an error, its causes and its contexts."""
    for link in chain(error):
        yield str(link)
        yield repr(link.args)
        yield from getattr(link, "__notes__", ())


def without_aws_secrets(
    error: IdempotencyPersistenceLayerError, client: Any = None
) -> IdempotencyPersistenceLayerError:
    """Return ``error``, or an error of the same class without credentials, causes and context.

    Parameters
    ----------
    error
        The error of a request to AWS.
    client
        The SDK client that made the request, if there is one.
    """
    signer = getattr(client, "_request_signer", None)
    known = [os.environ.get(name, "") for name in _AWS_VARIABLES]
    known += secrets_in(getattr(signer, "_credentials", None))
    secrets = sorted({secret for secret in known if secret}, key=len, reverse=True)
    if not any(_has_aws_secret(text, secrets) for text in texts(error)):
        return error
    text = str(error)
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    safe = type(error)(_AWS_QUOTED.sub(rf"\g<1>{HIDDEN}", text))
    if isinstance(safe, IdempotencyPersistenceConfigError) and isinstance(error, type(safe)):
        safe.may_pass = error.may_pass
    return safe


def _has_aws_secret(text: str, secrets: Collection[str]) -> bool:
    return _AWS_QUOTED.search(text) is not None or any(secret in text for secret in secrets)
