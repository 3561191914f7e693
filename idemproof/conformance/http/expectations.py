"""What the judge expects of a service: what the published text of its profile requires."""

import re
from typing import Literal, NamedTuple

from ...reference.http.profiles import PROFILES, Profile

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY"})

ServerErrors = Literal["released", "kept", "any"]


class Demands(NamedTuple):
    """What a published text requires where :class:`Profile` only says what our middleware does.

    Parameters
    ----------
    marker
        Whether a repeated answer must be marked.
    in_progress
        The status of a request that is refused because the first one runs, or None if it names none.
    retry_after
        Whether that answer must have the header Retry-After.
    server_errors
        What happens to a 5xx: the key is ``released``, the answer is ``kept``, or ``any`` of them.
    """

    marker: bool = False
    in_progress: int | None = None
    retry_after: bool = False
    server_errors: ServerErrors = "any"


DEMANDS = {
    "ietf": Demands(in_progress=409),
    "stripe": Demands(marker=True, in_progress=409, server_errors="kept"),
    "acp": Demands(in_progress=409, retry_after=True, server_errors="released"),
    "iceberg": Demands(server_errors="released"),
}
"""The demands by profile. A profile that is not named demands nothing of these."""


class Expectations(NamedTuple):
    """What the judge expects.

    Parameters
    ----------
    profile, demands
        The profile, and what else its text requires.
    requires_key
        Whether a request without a key must be refused; None if the profile decides by the method.
    """

    profile: Profile
    demands: Demands
    requires_key: bool | None = None

    @property
    def name(self) -> str:
        """The name of the profile."""
        return self.profile.name

    @property
    def header(self) -> str:
        """The name of the header with the key."""
        return self.profile.header

    @property
    def quoted(self) -> bool:
        """Whether a key is a quoted string."""
        return self.profile.key_form != "bare"

    @property
    def key_pattern(self) -> "re.Pattern[str] | None":
        """The pattern of a key, or None if any text is one."""
        return self.profile.key_pattern

    @property
    def longest_key(self) -> int:
        """The largest allowed number of characters in a key."""
        return self.profile.longest_key

    @property
    def marker(self) -> str | None:
        """The header that must mark a repeated answer, or None."""
        named = self.profile.marker
        return named[0] if named is not None and self.demands.marker else None

    def must_have_key(self, method: str) -> bool:
        """Return whether a request with this method must be refused without a key."""
        if self.requires_key is not None:
            return self.requires_key
        profile = self.profile
        named = method in profile.required
        return named or ("*" in profile.required and method not in profile.optional | _SAFE)


def expectations_of(profile: str, *, requires_key: bool | None = None) -> Expectations:
    """Return what a profile requires, or raise ``ValueError``.

    Parameters
    ----------
    profile
        The name of the profile.
    requires_key
        What the owner says instead of the profile.
    """
    if profile not in PROFILES:
        raise ValueError(f"There is no profile {profile!r}. There are: {', '.join(PROFILES)}.")
    return Expectations(PROFILES[profile], DEMANDS.get(profile, Demands()), requires_key)
