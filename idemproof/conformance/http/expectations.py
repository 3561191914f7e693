"""What the judge expects of a service, taken from its profile."""

from typing import Literal, NamedTuple


class Expectations(NamedTuple):
    """What a profile requires.

    Parameters
    ----------
    profile
        Its name.
    header
        The name of the header with the key.
    quoted
        Whether a key is a quoted string.
    refuses_malformed
        Whether a malformed key must be refused.
    longest_key
        The largest allowed number of characters in a key, or None if it is not limited.
    requires_key
        The methods that must be refused without a key.
    binds_payload
        Whether a key must be refused with another payload.
    marker
        The header that must mark a replayed answer, or None.
    in_progress
        The status of an answer while the first request runs, or None if any is fine.
    retry_after
        Whether that answer must have the header Retry-After.
    server_errors
        What happens to a 5xx answer: it is ``released``, so that a retry runs again, or ``kept``.
    crash_runs_once
        Whether an effect that a crash has interrupted must not happen again.
    """

    profile: str = "ietf"
    header: str = "Idempotency-Key"
    quoted: bool = True
    refuses_malformed: bool = True
    longest_key: int | None = None
    requires_key: frozenset[str] = frozenset({"POST", "PATCH"})
    binds_payload: bool = True
    marker: str | None = None
    in_progress: int | None = None
    retry_after: bool = False
    server_errors: Literal["released", "kept", "any"] = "any"
    crash_runs_once: bool = False


def expectations_of(profile: str) -> Expectations:
    """Return what a profile requires, or raise ``ValueError``."""
    return Expectations(profile)
