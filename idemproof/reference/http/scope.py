"""Whose key it is: the caller that a request names (HTTP-1 to HTTP-3)."""

import hashlib
import logging
import re
from typing import Any

from ...backends.logs import log
from ..keys.warned import warn
from .messages import Request

SCHEMES = frozenset({b"bearer", b"basic", b"token", b"apikey"})
"""The authentication schemes whose credentials identify a caller, in each request the same way."""

_JWT = re.compile(rb"[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]*")
_AUTHORIZATION = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ ]+([^\s,][^\r\n]*)")


class NoScopeError(Exception):
    """The request names no caller. The message says why, and repeats no credentials."""


class AuthorizationScope:
    """The default scope: a hash of the credentials in the only ``Authorization`` header (HTTP-2)."""

    def __init__(self) -> None:
        self._warned = False

    def __call__(self, request: Request) -> str:
        """Return the scope of a request.

        Raises
        ------
        NoScopeError
            There is no such header, or more than one, or its scheme does not identify a caller.
        """
        lines = request.lines("authorization")
        if len(lines) != 1:
            raise NoScopeError(f"The request has {len(lines)} Authorization headers.")
        found = _AUTHORIZATION.fullmatch(lines[0].strip(b" \t"))
        scheme = b"" if found is None else found[1].lower()
        if found is None or scheme not in SCHEMES:
            raise NoScopeError(
                "The Authorization header has no credentials of the schemes Bearer, Basic, Token or ApiKey."
            )
        credentials = found[2].rstrip(b" \t")
        if scheme == b"bearer" and not self._warned and _JWT.fullmatch(credentials):
            self._warned = True
            warn(
                "The bearer tokens look like JWTs, which change while their user stays the same: a retry "
                "with a "
                "new token is a new operation, and its effect happens again. Give the middleware scope=, a "
                "function that returns the verified user. This is reported once."
            )
        return hashlib.sha256(scheme + b" " + credentials).hexdigest()


def checked_scope(found: Any) -> str | int:
    """Return what a scope function has returned.

    Raises
    ------
    NoScopeError
        It is nothing, or not a text or a whole number.
    """
    if isinstance(found, str) and found.strip():
        return found
    if isinstance(found, int) and not isinstance(found, bool):
        return found
    if found is not None and not isinstance(found, str):
        log(
            logging.WARNING,
            "The scope function returned a %s, so the request was refused. It must return a text or a whole "
            "number.",
            type(found).__name__,
        )
    raise NoScopeError("The request names no caller.")
