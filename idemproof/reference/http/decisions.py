"""What becomes of a response: final or released (HTTP-21), the headers of a replay (HTTP-22), Retry-After."""

import threading
from collections.abc import Collection

from .messages import Headers, Response

RELEASED = frozenset({307, 308, 401, 407, 408, 421, 425, 429, *range(500, 600)})
"""The statuses that say that nothing final has happened: a repeat runs again."""

NOT_REPLAYED = frozenset(
    name.encode()
    for name in (
        *("set-cookie", "set-cookie2", "date", "server", "age", "via"),
        # of one connection
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authentication-info", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade", "content-length"),
        # of one request, and of its traces
        *("request-id", "x-request-id", "x-correlation-id", "correlation-id", "x-trace-id", "traceparent"),
        *("tracestate", "traceresponse", "baggage", "server-timing", "x-amzn-trace-id", "x-amzn-requestid"),
        *("x-cloud-trace-context", "x-b3-traceid", "x-b3-spanid", "x-runtime", "x-process-time"),
    )
)
"""The headers that belong to one answer, and not to its replays."""

_NOT_REPLAYED_FAMILIES = (b"access-control-", b"ratelimit", b"x-ratelimit-", b"x-rate-limit-")

FIRST_ESTIMATE_SECONDS = 1.0
SHORTEST_RETRY_SECONDS = 1
LONGEST_RETRY_SECONDS = 60


def is_released(response: Response, released: Collection[int], kept: Collection[int]) -> bool:
    """Return whether the key is released after this response, so that a repeat runs again.

    Parameters
    ----------
    response
        The response of the application.
    released
        The statuses after which the key is released.
    kept
        The statuses that are final even with ``Retry-After``.
    """
    if response.status in kept:
        return False
    if response.status in released:
        return True
    # Not with 202 or 303: they tell when to look at what has been done.
    return response.status >= 400 and response.has(b"retry-after")  # noqa: PLR2004 - the first error


def replayed_headers(headers: Headers, dropped: Collection[bytes], kept: Collection[bytes]) -> Headers:
    """Return the headers that a replay repeats.

    Parameters
    ----------
    headers
        The headers of the first answer.
    dropped, kept
        Lower-case names that are left out, or that are repeated nevertheless.
    """
    named = {
        token.strip().lower()
        for name, value in headers
        if name == b"connection"
        for token in value.split(b",")
    }
    return tuple(
        [
            (name, value)
            for name, value in headers
            if name in kept
            or not (name in dropped or name in named or name.startswith(_NOT_REPLAYED_FAMILIES))
        ]
    )


class Durations:
    """How long the application typically takes, to estimate when a repeat finds an answer (HTTP-23)."""

    __slots__ = ("_lock", "_typical")

    def __init__(self) -> None:
        self._typical: float | None = None
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        """Count a run that took so many seconds."""
        with self._lock:
            known = self._typical
            self._typical = seconds if known is None else known + (seconds - known) / 8

    def retry_after(self, passed_seconds: float = 0.0) -> int:
        """Return in how many whole seconds a run is probably over that began so long ago: 1 to 60."""
        typical = FIRST_ESTIMATE_SECONDS if self._typical is None else self._typical
        left = -int(-max(0.0, typical - max(0.0, passed_seconds)) // 1)
        return min(max(left, SHORTEST_RETRY_SECONDS), LONGEST_RETRY_SECONDS)
