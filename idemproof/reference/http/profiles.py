"""Profiles: published rules of the ``Idempotency-Key`` as data.

Each profile says how it answers the questions that the draft of the IETF leaves open, by the clause that a
middleware keeps.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from .canonical import Numbers
from .decisions import RELEASED
from .fingerprint import ALL_PARTS, Part
from .header import KeyForm
from .problems import PROBLEM_JSON, ErrorFormat

DAY = 24 * 3600

QUESTIONS = MappingProxyType(
    {
        "refuse-or-wait": "Refuse or wait?",
        "crashes": "What if the server dies?",
        "errors": "Which errors are final?",
        "replays": "What does a replay return?",
        "expiry": "When does a key expire?",
        "scope": "Whose key is it?",
        "payloads": "What if the payload differs?",
    }
)
"""The questions that the draft leaves open, by the page that discusses each."""


@dataclass(frozen=True, slots=True)
class PublishedAnswer:
    """How a profile answers an open question.

    Parameters
    ----------
    says
        What the published text says, in our words. "It says nothing" is an answer too.
    does
        What the middleware does with this profile.
    clauses
        The clauses of the protocol that it keeps there.
    """

    says: str
    does: str
    clauses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """The rules of an API.

    Parameters
    ----------
    name, title
        The short name, and the name of the published text.
    source, version
        Where that text is, and which edition of it was read.
    required, optional
        The methods that need a key, and those that may have one. ``"*"`` is every method that is not named
        and not safe. Others ignore the header.
    header
        The name of the request header.
    key_form, longest_key, key_pattern
        The form of a key, its largest number of characters, and a regular expression for its text, or None.
    window_seconds
        How long an answer is replayed (seconds).
    path_in_key
        Whether a key on another path is another key. If not, it is refused there.
    parts, numbers
        What is compared of a request, and how numbers in its JSON are.
    released, kept
        The statuses after which a repeat runs again, and those that are final even with ``Retry-After``.
    marker, echoes_key
        The header and value that mark a replay, or None; and whether answers repeat the key's header.
    errors
        How refusals are written.
    after_a_crash
        What a crash of the server may do, if the middleware is configured as by default.
    answers
        The answers to the open questions, by :data:`QUESTIONS`.
    """

    name: str
    title: str
    source: str
    version: str
    required: frozenset[str]
    optional: frozenset[str]
    key_form: KeyForm
    window_seconds: float
    after_a_crash: str
    answers: Mapping[str, PublishedAnswer]
    header: str = "Idempotency-Key"
    longest_key: int = 255
    key_pattern: "re.Pattern[str] | None" = None
    path_in_key: bool = False
    parts: tuple[Part, ...] = ALL_PARTS
    numbers: Numbers = "literal"
    released: frozenset[int] = RELEASED
    kept: frozenset[int] = frozenset()
    marker: tuple[str, str] | None = ("Idempotency-Replayed", "true")
    echoes_key: bool = False
    errors: ErrorFormat = field(default=PROBLEM_JSON)


_PARKED = (
    "A server that dies before it has stored the answer leaves the key parked: each repeat gets 409 "
    "unknown-outcome until an operator resolves or forgets the key, or its window ends. Nothing runs twice."
)
_MIDDLEWARE_CRASH = PublishedAnswer(
    "It says nothing.",
    "The key is parked: 409 without Retry-After, until it is resolved, forgotten or expires.",
    ("TAKE-2", "HTTP-24", "OUT-7"),
)
_REFUSE = "409 with an estimate in Retry-After; waiting is an option of the configuration."

IETF = Profile(
    name="ietf",
    title="The Idempotency-Key HTTP Header Field",
    source="https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/",
    version="draft-ietf-httpapi-idempotency-key-header-07",
    required=frozenset({"POST", "PATCH", "*"}),
    optional=frozenset({"PUT", "DELETE"}),
    key_form="quoted",
    window_seconds=DAY,
    after_a_crash=_PARKED,
    answers=MappingProxyType(
        {
            "refuse-or-wait": PublishedAnswer(
                "A conflict error, 409, as a SHOULD; nothing about waiting.", _REFUSE, ("ROW-4", "HTTP-23")
            ),
            "crashes": _MIDDLEWARE_CRASH,
            "errors": PublishedAnswer(
                "The result of the first request, success or an error, as a SHOULD; not which errors.",
                "2xx, 3xx and 4xx are final. 5xx, 307, 308, 401, 407, 408, 421, 425, 429 and any error with "
                "Retry-After release the key.",
                ("HTTP-21",),
            ),
            "replays": PublishedAnswer(
                "The result of the completed operation, as a SHOULD; no marker.",
                "The same status and body, the headers that belong to the answer, and "
                "Idempotency-Replayed: true.",
                ("HTTP-22", "RES-1"),
            ),
            "expiry": PublishedAnswer(
                "The resource publishes its policy; it names no time.",
                "24 hours after the answer was stored.",
                ("TIME-3", "HTTP-26"),
            ),
            "scope": PublishedAnswer(
                "Uniqueness is the owner's to define; it recommends a lookup key with something of the "
                "client.",
                "The key belongs to the service and the caller. On another path it is refused.",
                ("HTTP-1", "HTTP-2"),
            ),
            "payloads": PublishedAnswer(
                "422, as a SHOULD; comparing a hash of the payload is a MAY.",
                "422. Method, path, query, media type, preconditions and body are compared, JSON by its "
                "meaning.",
                ("ROW-3", "HTTP-10", "HTTP-11"),
            ),
        }
    ),
)
"""The draft of the IETF, with our answers to its open questions. The default."""

STRIPE = Profile(
    name="stripe",
    title="Stripe API v1: idempotent requests",
    source="https://docs.stripe.com/api/idempotent_requests",
    version="read in 2026",
    required=frozenset(),
    optional=frozenset({"POST"}),
    key_form="bare",
    window_seconds=DAY,
    released=frozenset({401, 409, 429}),
    kept=frozenset(range(500, 600)),
    marker=("Idempotent-Replayed", "true"),
    errors=ErrorFormat(
        "application/json",
        {"error": {"type": "idempotency_error", "code": "$code", "message": "$detail"}},
        {"in-progress": "idempotency_key_in_use", "lease-lost": "idempotency_key_in_use"},
        {"payload-mismatch": 400},
    ),
    after_a_crash=_PARKED,
    answers=MappingProxyType(
        {
            "refuse-or-wait": PublishedAnswer(
                "409 while the first request runs.", _REFUSE, ("ROW-4", "HTTP-23")
            ),
            "crashes": _MIDDLEWARE_CRASH,
            "errors": PublishedAnswer(
                "Each answer of an endpoint that began, also a 500. Refused parameters, 401, conflicts "
                "and 429 "
                "are not kept.",
                "All answers but 401, 409 and 429 are final, also 5xx. An exception without an answer is "
                "not.",
                ("HTTP-21",),
            ),
            "replays": PublishedAnswer(
                "The same status and body, and a header that says so.",
                "The same status and body, and Idempotent-Replayed: true.",
                ("HTTP-22", "RES-1"),
            ),
            "expiry": PublishedAnswer(
                "Keys can be removed once they are at least 24 hours old; then a request is a new one.",
                "24 hours after the answer was stored.",
                ("TIME-3", "HTTP-26"),
            ),
            "scope": PublishedAnswer(
                "It says nothing about the scope; requests are made with the key of an account.",
                "The key belongs to the service and the caller. On another path it is refused.",
                ("HTTP-1", "HTTP-2"),
            ),
            "payloads": PublishedAnswer(
                "An error, if the parameters are not those of the first request.",
                "400 with the type idempotency_error.",
                ("ROW-3", "HTTP-10"),
            ),
        }
    ),
)
"""Stripe's API v1, in which even a 500 is replayed."""

ACP = Profile(
    name="acp",
    title="Agentic Commerce Protocol: Agentic Checkout, section 6",
    source=(
        "https://github.com/agentic-commerce-protocol/agentic-commerce-protocol/blob/main/rfcs/"
        "rfc.agentic_checkout.md"
    ),
    version="unreleased, June 2026",
    required=frozenset({"POST"}),
    optional=frozenset(),
    key_form="bare",
    window_seconds=DAY,
    path_in_key=True,
    parts=("method", "path", "query", "body"),
    numbers="value",
    marker=("Idempotent-Replayed", "true"),
    echoes_key=True,
    errors=ErrorFormat(
        "application/json",
        {"type": "invalid_request", "code": "$code", "message": "$detail"},
        {
            "key-missing": "idempotency_key_required",
            "payload-mismatch": "idempotency_conflict",
            "in-progress": "idempotency_in_flight",
            "lease-lost": "idempotency_in_flight",
        },
        {},
    ),
    after_a_crash=_PARKED,
    answers=MappingProxyType(
        {
            "refuse-or-wait": PublishedAnswer("409 with Retry-After.", _REFUSE, ("ROW-4", "HTTP-23")),
            "crashes": PublishedAnswer(
                "The key and the effect should be committed in one transaction.",
                "The key is parked: 409 without Retry-After, until it is resolved, forgotten or expires.",
                ("TAKE-2", "HTTP-24", "OUT-7"),
            ),
            "errors": PublishedAnswer(
                "5xx is never kept, and a retry after it is a fresh request.",
                "5xx releases the key, as do 401, 408, 421, 425, 429 and any error with Retry-After.",
                ("HTTP-21",),
            ),
            "replays": PublishedAnswer(
                "The original response with its status; the marker is a SHOULD, the echo of the key is "
                "listed.",
                "The same status and body, Idempotent-Replayed: true, and Idempotency-Key.",
                ("HTTP-22", "RES-1"),
            ),
            "expiry": PublishedAnswer(
                "At least 24 hours; then a request is a new one.",
                "24 hours after the answer was stored.",
                ("TIME-3", "HTTP-26"),
            ),
            "scope": PublishedAnswer(
                "The authenticated identity and the path; on another path it is another key.",
                "The service, the caller and the path.",
                ("HTTP-1", "HTTP-2"),
            ),
            "payloads": PublishedAnswer(
                "422. The bodies are compared as JSON, 1 equals 1.0, and no headers count.",
                "422. Query and body are compared, JSON by its meaning, numbers by their value.",
                ("ROW-3", "HTTP-10", "HTTP-11"),
            ),
        }
    ),
)
"""The Agentic Commerce Protocol."""

ICEBERG = Profile(
    name="iceberg",
    title="Apache Iceberg REST Catalog API",
    source="https://github.com/apache/iceberg/blob/main/open-api/rest-catalog-open-api.yaml",
    version="read in 2026",
    required=frozenset(),
    optional=frozenset({"POST", "DELETE"}),
    key_form="bare",
    longest_key=36,
    key_pattern=re.compile(
        r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-7[0-9A-Fa-f]{3}-[89ABab][0-9A-Fa-f]{3}-[0-9A-Fa-f]{12}"
    ),
    window_seconds=30 * 60,
    marker=None,
    errors=ErrorFormat(
        "application/json", {"error": {"message": "$detail", "type": "$code", "code": "$status"}}, {}, {}
    ),
    after_a_crash=_PARKED,
    answers=MappingProxyType(
        {
            "refuse-or-wait": PublishedAnswer("It says nothing.", _REFUSE, ("ROW-4", "HTTP-23")),
            "crashes": _MIDDLEWARE_CRASH,
            "errors": PublishedAnswer(
                "200, 201, 204 and final 4xx, 409 among them, are kept; 5xx is not.",
                "2xx and 4xx are final but 401, 408, 421, 425 and 429; 5xx and any error with Retry-After "
                "release the key.",
                ("HTTP-21",),
            ),
            "replays": PublishedAnswer(
                "An equivalent response, which may show a newer state; no marker.",
                "The same status and body, without a marker.",
                ("HTTP-22", "RES-1"),
            ),
            "expiry": PublishedAnswer(
                "The server advertises a lifetime, counted from the first request; PT30M is its example.",
                "30 minutes after the answer was stored. Advertise no longer lifetime than the window.",
                ("TIME-3", "HTTP-26"),
            ),
            "scope": PublishedAnswer(
                "A key is globally unique, and never used for another operation.",
                "The key belongs to the service and the caller. On another path it is refused.",
                ("HTTP-1", "HTTP-2"),
            ),
            "payloads": PublishedAnswer(
                "Clients must not do that; it names no status.", "422.", ("ROW-3", "HTTP-10", "HTTP-11")
            ),
        }
    ),
)
"""The REST catalog of Apache Iceberg."""

PROFILES = MappingProxyType({profile.name: profile for profile in (IETF, STRIPE, ACP, ICEBERG)})
"""All profiles, by name."""
