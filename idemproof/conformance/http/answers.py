"""Compares the answer to a repeated request with the first answer, without what may differ."""

import json
import re
import zlib
from collections.abc import Sequence
from typing import Any

from .wire import Answer

BUSY = frozenset({409, 423, 425, 429, 503})
"""The statuses of a service that asks to try again later."""

_MAY_DIFFER = re.compile(
    r"date|set-cookie|server|age|expires|via|connection|keep-alive|transfer-encoding|content-length|vary"
    r"|content-encoding|trailer|upgrade|alt-svc|access-control-.*|(x-)?rate-?limit.*|retry-after|.*-policy"
    r"|.*(request|trace|correlation|span|transaction)-?id.*|traceparent|tracestate|server-timing"
    r"|x-(runtime|response-time|process-time|served-by|cache.*|powered-by)|.*(idempoten|replay).*|cf-.*|report-to|nel"
)
"""Headers that may be missing from a repeated answer, or differ in it."""

_MUST_BE_EQUAL = frozenset({"location", "content-type", "etag", "content-location", "link", "last-modified"})
_SHORT = 60
_LARGEST = 64 << 20
"""How much of a compressed body is compared (bytes): a small body may stand for gigabytes."""


def is_busy(answer: Answer) -> bool:
    """Return whether a complete answer asks to try again later."""
    return answer.failure is None and answer.status in BUSY


def difference(first: Answer, repeat: Answer, ignore: Sequence[str] = ()) -> str | None:
    """Return how a repeated answer differs in status or body, as part of a sentence; None if it does not.

    Parameters
    ----------
    first, repeat
        The complete answers.
    ignore
        Names of JSON fields that may differ.
    """
    if first.status != repeat.status:
        return f"the status is {repeat.status} instead of {first.status}"
    if not is_equal(first, repeat, ignore):
        return f"the body is {_short(repeat.body)} instead of {_short(first.body)}"
    return None


def difference_of_headers(first: Answer, repeat: Answer) -> str | None:
    """Return which header is missing or different in a repeated answer; None if there is none."""
    for name, value in first.headers:
        if _MAY_DIFFER.fullmatch(name):
            continue
        again = repeat.header(name)
        if again is None:
            return f"the header {name} is missing"
        if name in _MUST_BE_EQUAL and again != value:
            return f"the header {name} is {again!r} instead of {value!r}"
    return None


def is_equal(one: Answer, other: Answer, ignore: Sequence[str] = ()) -> bool:
    """Return whether two bodies say the same; see :func:`content`."""
    # The same bytes first: JSON of Python may contain NaN, which does not equal itself.
    return decoded(one) == decoded(other) or content(one, ignore) == content(other, ignore)


def content(answer: Answer, ignore: Sequence[str] = ()) -> Any:
    """Return what a body says: JSON data without the fields to ignore, else its bytes, not compressed."""
    body = decoded(answer)
    if body is None:
        return answer.body
    try:
        return _without(json.loads(body), ignore)
    except (ValueError, RecursionError):
        return body


def decoded(answer: Answer) -> bytes | None:
    """Return a body without gzip or deflate, up to a limit; None if it does not have that encoding."""
    encoding = (answer.header("content-encoding") or "identity").lower()
    window = {"gzip": 31, "x-gzip": 31, "deflate": 15}.get(encoding)
    if window is None:
        return answer.body
    inflated, rest = b"", answer.body
    try:
        while rest and len(inflated) < _LARGEST:  # gzip may consist of several members
            member = zlib.decompressobj(window)
            inflated += member.decompress(rest, _LARGEST - len(inflated))
            if not member.eof and len(inflated) < _LARGEST:
                return None
            rest = member.unused_data
    except zlib.error:
        return None
    return inflated


def marker_of(answer: Answer) -> str | None:
    """Return the header that marks an answer as a replay, or None."""
    for name, value in answer.headers:
        if re.fullmatch(r".*(idempoten\w*-replay|replayed|idempotency-(status|result|hit|cache)).*", name):
            return f"{name}: {value}"
    return None


def _without(value: Any, ignore: Sequence[str]) -> Any:
    if isinstance(value, dict):
        return {name: _without(each, ignore) for name, each in value.items() if name not in ignore}
    if isinstance(value, list):
        return [_without(each, ignore) for each in value]
    return value


def _short(body: bytes) -> str:
    text = body.decode("utf-8", "backslashreplace")
    return repr(text) if len(text) <= _SHORT else f"{text[:_SHORT]!r}… ({len(body):,} bytes)"
