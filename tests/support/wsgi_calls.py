"""Calls of WSGI applications, as a server makes them."""

import io
import json
from collections.abc import Iterable
from typing import Any
from wsgiref.util import setup_testing_defaults

from raw_http import Reply


def environ_of(
    key: str | None = "k",
    body: bytes = b"{}",
    *,
    method: str = "POST",
    path: str = "/orders",
    token: str | None = "Bearer ada",
    **more: Any,
) -> dict[str, Any]:
    """Return the environ of a request; ``more`` replaces its variables, and None removes one."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    if key is not None:
        environ["HTTP_IDEMPOTENCY_KEY"] = f'"{key}"'
    if token is not None:
        environ["HTTP_AUTHORIZATION"] = token
    for name, value in more.items():
        if value is None:
            environ.pop(name, None)
        else:
            environ[name] = value
    setup_testing_defaults(environ)
    return environ


def call(app: Any, environ: dict[str, Any] | None = None, **request: Any) -> Reply:
    """Return the response of ``app``, whose iterable is closed."""
    started: list[tuple[int, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: Iterable[tuple[str, str]], exc_info: Any = None) -> Any:
        started.append((int(status[:3]), [(name.lower(), value) for name, value in headers]))
        return NotImplemented

    found = app(environ_of(**request) if environ is None else environ, start_response)
    try:
        body = b"".join(found)
    finally:
        close = getattr(found, "close", None)
        if close is not None:
            close()
    (status, headers) = started[-1]
    return Reply(status, headers, body)


def problem(reply: Reply) -> tuple[int, str]:
    """Return the status and the name of a refusal."""
    assert reply.header("content-type") == "application/problem+json", reply
    found = json.loads(reply.body)
    assert found["status"] == reply.status
    return reply.status, found["type"].rpartition(":")[2]
