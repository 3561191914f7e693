"""The request of a WSGI environ, as plain data, and its body."""

import re
from functools import lru_cache
from io import BytesIO
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from .messages import Headers, Request

Environ = dict[str, Any]

_UNPREFIXED = ("CONTENT_TYPE", "CONTENT_LENGTH")
_ALSO_PREFIXED = tuple(f"HTTP_{name}" for name in _UNPREFIXED)
"""What some servers add, and what a client's header with an underscore becomes. It does not count."""
_BEYOND = "backslashreplace"
"""Some servers mix the process's own environment in, which may have any character."""
_KEPT_NAMES = 1024
_LENGTH = re.compile(r"[0-9]{1,18}")
_NEXT_CREDENTIALS = re.compile(r",(?=[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+ )")
_PLAIN_CREDENTIALS = ("bearer ", "basic ")


def request_of(environ: Environ, native: Any = None) -> Request:
    """Return the request without its body. Its native form is ``environ``, unless there is another one.

    A server joins the lines of a header by commas. Two lines with credentials of the schemes Bearer and
    Basic, which contain no comma, are separated here. Two keys are no valid key.
    """
    return Request(
        environ["REQUEST_METHOD"].upper(),
        raw_path(environ),
        environ.get("QUERY_STRING", "").encode("latin-1"),
        headers_of(environ),
        native=environ if native is None else native,
        root=environ.get("SCRIPT_NAME", "").encode("latin-1").decode("utf-8", "replace").rstrip("/"),
    )


def headers_of(environ: Environ) -> Headers:
    """Return the headers, with lower-case names."""
    found = []
    for variable, value in environ.items():
        name = _header_name(variable)
        if name is None or not isinstance(value, str) or (not value and variable in _UNPREFIXED):
            continue
        if name == b"authorization" and value.lower().startswith(_PLAIN_CREDENTIALS):
            found += [
                (name, line.strip().encode("latin-1", _BEYOND)) for line in _NEXT_CREDENTIALS.split(value)
            ]
        else:
            found.append((name, value.encode("latin-1", _BEYOND)))
    return tuple(found)


@lru_cache(_KEPT_NAMES)
def _header_name(variable: str) -> bytes | None:
    """Return the lower-case name of the header in a variable; None if it has none."""
    if variable.startswith("HTTP_") and variable not in _ALSO_PREFIXED:
        variable = variable[5:]
    elif variable not in _UNPREFIXED:
        return None
    return variable.replace("_", "-").lower().encode("latin-1", _BEYOND)


def raw_path(environ: Environ) -> bytes:
    """Return the path in percent-encoded form: as the client sent it, if the server keeps that.

    ``RAW_URI`` and ``REQUEST_URI`` count only if they name the path on which the application works, because
    a middleware may have changed that.
    """
    decoded = (environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1")
    for variable in ("RAW_URI", "REQUEST_URI"):
        target = environ.get(variable, "").encode("latin-1", "replace")
        if target.startswith(b"/"):
            path: bytes = target.partition(b"?")[0]
            if unquote_to_bytes(path) == decoded:
                return path
    return quote_from_bytes(decoded, safe="/:@!$&'()*+,;=-._~").encode("ascii")


def stated_length(environ: Environ) -> int | None:
    """Return the length of the body as the request states it; None for one in chunks.

    Raises
    ------
    ValueError
        ``CONTENT_LENGTH`` is not a number.
    """
    stated = environ.get("CONTENT_LENGTH") or ""
    if environ.get("HTTP_TRANSFER_ENCODING"):
        return None
    if _LENGTH.fullmatch(stated):
        return int(stated)
    if stated:
        raise ValueError("Content-Length is not a number")
    return None if environ.get("wsgi.input_terminated") else 0


def read_body(environ: Environ, most: int) -> bytes:
    """Read at most so many bytes of the body. What the server raises meanwhile is raised."""
    stream = environ["wsgi.input"]
    parts, left = [], most
    while left:
        part = stream.read(left)
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def with_body(environ: Environ, body: bytes) -> Environ:
    """Return a copy of ``environ`` for the application, with a body that was read."""
    copy = dict(environ)
    copy["wsgi.input"] = BytesIO(body)
    copy["wsgi.input_terminated"] = True
    copy["CONTENT_LENGTH"] = str(len(body))
    copy.pop("HTTP_TRANSFER_ENCODING", None)
    return copy
