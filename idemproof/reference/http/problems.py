"""The refusals of a middleware: their statuses, their stable names, and their bodies (HTTP-25)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .messages import Response

TYPE_PREFIX = "urn:idemproof:http:"
"""Begins the ``type`` of each problem. Its name follows."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A kind of refusal.

    Parameters
    ----------
    name
        The stable name, which ends its ``type``.
    status
        The status code, unless a profile has another.
    title
        What happened, the same for all occurrences.
    advice
        Whether the application ran, and what to do.
    """

    name: str
    status: int
    title: str
    advice: str


_NOTHING_RAN = "Nothing ran."

PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem(
            "key-missing",
            400,
            "Idempotency-Key is missing",
            f"{_NOTHING_RAN} This operation needs the header. Send a new key for a new operation, and the "
            "same "
            "key in each retry.",
        ),
        Problem("key-malformed", 400, "Idempotency-Key is malformed", f"{_NOTHING_RAN} Send one valid key."),
        Problem(
            "no-scope",
            400,
            "The caller is unknown",
            f"{_NOTHING_RAN} An Idempotency-Key belongs to one caller, and this request does not say "
            "which one. "
            "Send the credentials in one Authorization header.",
        ),
        Problem(
            "incomplete-body",
            400,
            "The body is incomplete",
            f"{_NOTHING_RAN} Send the whole request again, with the same key.",
        ),
        Problem(
            "not-authorized",
            403,
            "The stored answer is not for this caller",
            "The operation did not run again. Check the permissions of the caller.",
        ),
        Problem(
            "in-progress",
            409,
            "A request with this Idempotency-Key is in progress",
            f"{_NOTHING_RAN} Send the same request again after the time in Retry-After.",
        ),
        Problem(
            "lease-lost",
            409,
            "Another attempt has taken over",
            "This attempt took longer than its lease, so its answer was dropped. Send the same request "
            "again after "
            "the time in Retry-After.",
        ),
        Problem(
            "unknown-outcome",
            409,
            "It is not known how the first request ended",
            "Its server may have stopped before the effect or after it. The operation did not run again, and "
            "a retry cannot help. Find out whether the effect happened before you use a new key.",
        ),
        Problem(
            "result-unavailable",
            409,
            "The operation is done, and its answer was not kept",
            "The answer to the first request was too large, or could not be stored. The operation did "
            "not run "
            "again, and a retry cannot help. Read the state of the resource.",
        ),
        Problem(
            "length-required",
            411,
            "The length of the body is unknown",
            f"{_NOTHING_RAN} Send the body with Content-Length.",
        ),
        Problem("body-too-large", 413, "The body is too large", f"{_NOTHING_RAN} Send a smaller body."),
        Problem(
            "payload-mismatch",
            422,
            "Idempotency-Key was used for another request",
            f"{_NOTHING_RAN} Use a new key for a new operation, and the same request for a retry.",
        ),
        Problem(
            "incomplete-response",
            500,
            "The application did not finish its answer",
            "It ran, and its effect may have happened.",
        ),
        Problem(
            "answer-not-recorded",
            500,
            "The answer was not recorded with its effect",
            "The operation was rolled back, or another answer is recorded for it. Send the same request "
            "again, with the same key.",
        ),
        Problem(
            "store-failed",
            503,
            "The store of idempotency keys failed",
            f"{_NOTHING_RAN} Send the same request again later.",
        ),
    )
}
"""All refusals, by name."""


@dataclass(frozen=True, slots=True)
class ErrorFormat:
    """How a profile writes its refusals.

    Parameters
    ----------
    media_type
        The media type of their bodies.
    template
        The body. A text that begins with ``$`` is replaced: ``$type``, ``$name``, ``$code``, ``$status``,
        ``$title``, ``$detail``.
    codes
        The code of a refusal by its name; by default, the name with underscores.
    statuses
        The status of a refusal by its name, if it is not the usual one.
    """

    media_type: str
    template: Mapping[str, Any]
    codes: Mapping[str, str]
    statuses: Mapping[str, int]

    def response(
        self,
        name: str,
        detail: str = "",
        *,
        retry_after: int | None = None,
        documentation: str | None = None,
    ) -> Response:
        """Return the refusal with this name.

        Parameters
        ----------
        name
            One of :data:`PROBLEMS`.
        detail
            What happened in this request. It never repeats a key, a credential or a part of the body.
        retry_after
            The value of ``Retry-After`` in seconds, or None.
        documentation
            The address of a page for the users of the API, or None.
        """
        problem = PROBLEMS[name]
        status = self.statuses.get(name, problem.status)
        values = {
            "$type": TYPE_PREFIX + name,
            "$name": name,
            "$code": self.codes.get(name, name.replace("-", "_")),
            "$status": status,
            "$title": problem.title,
            "$detail": f"{detail} {problem.advice}".strip(),
        }
        body = json.dumps(_filled(self.template, values), separators=(",", ":")).encode("ascii")
        headers = [
            (b"content-type", self.media_type.encode("latin-1")),
            (b"content-length", str(len(body)).encode()),
            (b"content-language", b"en"),
        ]
        if retry_after is not None:
            headers.append((b"retry-after", str(retry_after).encode()))
        if documentation is not None:
            headers.append((b"link", f'<{documentation}>; rel="describedby"; type="text/html"'.encode()))
        return Response(status, tuple(headers), body)


def _filled(template: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(template, Mapping):
        return {name: _filled(value, values) for name, value in template.items()}
    return values.get(template, template) if isinstance(template, str) else template


PROBLEM_JSON = ErrorFormat(
    "application/problem+json",
    {"type": "$type", "title": "$title", "status": "$status", "detail": "$detail"},
    {},
    {},
)
"""RFC 9457."""
