"""What an error must not be quoted with: what clients were given to prove who they are.

Servers and proxies repeat what they were sent, and SDKs what they were about to send.
"""

import os
import re
from collections.abc import Collection, Iterator
from typing import Any

from ..spec.errors import IdempotencyPersistenceConfigError, IdempotencyPersistenceLayerError

HIDDEN = "***"

_TELLING_NAME = re.compile("pass|secret|token|credential", re.IGNORECASE)
_AWS_VARIABLES = ("AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_SECRET_ACCESS_KEY")
_AWS_QUOTED = re.compile(
    r"((?:x-amz-security-token|sessiontoken|session_token|secretaccesskey|secret_access_key)"
    r"[\"']?\s*[:=]\s*[\"']?)[^\s\"'&,;]+",
    re.IGNORECASE,
)


def secrets_in(holder: Any) -> list[str]:
    """Return the texts that an object keeps under telling names. Asks it nothing: it might ask a network."""
    attributes = getattr(holder, "__dict__", None)
    fields = getattr(holder, "_asdict", None)  # a named tuple of credentials
    found: dict[str, Any] = dict(attributes) if isinstance(attributes, dict) else {}
    if isinstance(holder, tuple) and callable(fields):
        found |= fields()
    secrets = []
    for name, value in found.items():
        if _TELLING_NAME.search(name):
            secrets += [value] if isinstance(value, str) else secrets_in(value)
    return [secret for secret in secrets if secret]


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield ``error`` and all that is behind it."""
    waiting, seen = [error], set()
    while waiting:
        link = waiting.pop()
        if id(link) not in seen:
            seen.add(id(link))
            yield link
            waiting += [behind for behind in (link.__cause__, link.__context__) if behind is not None]


def texts(error: BaseException) -> Iterator[str]:
    """Yield all that is said by an error and by what is behind it."""
    for link in chain(error):
        yield str(link)
        yield repr(link.args)
        yield from getattr(link, "__notes__", ())


def without_aws_secrets(
    error: IdempotencyPersistenceLayerError, client: Any = None
) -> IdempotencyPersistenceLayerError:
    """Return ``error``, or one of its kind that says the same without credentials and what is behind it.

    Parameters
    ----------
    error
        What a request to AWS ended with.
    client
        The SDK's client that made it, if there is one.
    """
    signer = getattr(client, "_request_signer", None)
    known = [os.environ.get(name, "") for name in _AWS_VARIABLES]
    known += secrets_in(getattr(signer, "_credentials", None))
    secrets = sorted({secret for secret in known if secret}, key=len, reverse=True)
    if not any(_tells_aws(text, secrets) for text in texts(error)):
        return error
    text = str(error)
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    told = type(error)(_AWS_QUOTED.sub(rf"\g<1>{HIDDEN}", text))
    if isinstance(told, IdempotencyPersistenceConfigError) and isinstance(error, type(told)):
        told.may_pass = error.may_pass
    return told


def _tells_aws(text: str, secrets: Collection[str]) -> bool:
    return _AWS_QUOTED.search(text) is not None or any(secret in text for secret in secrets)
