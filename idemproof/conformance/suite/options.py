"""What a user asks for, looked at before anything runs; a refusal is a sentence that says what is allowed."""

from collections.abc import Mapping, Sequence
from typing import Any

from .capabilities import Capabilities, is_whole
from .checks import TIERS
from .profiles import PROFILES, Profile

_TIERS = ", ".join(TIERS)


def tiers_named(tiers: Any) -> tuple[str, ...]:
    """Return tiers as they were given, or raise ``ValueError`` with the names of all tiers."""
    if isinstance(tiers, str) or not isinstance(tiers, Sequence | set | frozenset):
        raise _refusal(f"The tiers are to be a list of names, not {tiers!r}. There are: {_TIERS}.")
    if not tiers:
        raise _refusal(f"No tier is asked about: the list of tiers is empty. There are: {_TIERS}.")
    if unknown := [tier for tier in tiers if tier not in TIERS]:
        raise _refusal(f"There is no tier {unknown[0]!r}. There are: {_TIERS}.")
    return tuple(tiers)


def profile_named(profile: Any) -> Profile:
    """Return the profile of that name, or bounds as they were given; else raise ``ValueError``."""
    names = ", ".join(PROFILES)
    if isinstance(profile, Profile):
        _refuse_bounds_of_nothing(profile)
        return profile
    if not isinstance(profile, str):
        raise _refusal(f"The profile is to be one of {names}, or a Profile, not {profile!r}.")
    if profile not in PROFILES:
        raise _refusal(f"There is no profile {profile!r}. There are: {names}.")
    return PROFILES[profile]


def seed_given(seed: Any) -> int | None:
    """Return a seed as it was given, or raise ``ValueError``."""
    if seed is not None and not is_whole(seed):
        raise _refusal(f"The seed is to be a whole number, or None to draw one, not {seed!r}.")
    return seed


def claimed(capabilities: Any) -> Capabilities:
    """Return what is claimed, by default what is assumed; or raise ``ValueError``."""
    if capabilities is None:
        return Capabilities()
    if not isinstance(capabilities, Capabilities):
        raise _refusal(f"The capabilities are to be a Capabilities(…), not {capabilities!r}.")
    return capabilities


def refuse_what_cannot_be_told(progress: Any) -> None:
    """Raise ``ValueError`` if ``progress`` can neither be called nor is None."""
    if progress is not None and not callable(progress):
        raise _refusal(f"The progress is to be a function of three arguments, or None, not {progress!r}.")


def refuse_expectations_without_reasons(expected: Any) -> None:
    """Raise ``ValueError`` unless each failure that is expected has a reason."""
    if not isinstance(expected, Mapping) or not all(
        isinstance(text, str) for each in expected.items() for text in each
    ):
        raise _refusal(
            "The expected_failures are to be a dict from checks or clauses to reasons, such as "
            f'{{"CAS-4": "the store has no transactions"}}, not {expected!r}.'
        )


def _refuse_bounds_of_nothing(profile: Profile) -> None:
    for name, bound in profile._asdict().items():
        if name == "name":
            allowed, what = isinstance(bound, str), "a text"
        elif name in ("examples", "steps", "schedules", "crowds"):
            allowed, what = is_whole(bound) and bound > 0, "a whole number above 0"
        elif name in ("preemptions", "depth"):
            allowed, what = is_whole(bound) and bound >= 0, "a whole number, 0 or more"
        else:
            number = is_whole(bound) or isinstance(bound, float)
            least = name != "patience"
            allowed = number and (bound >= 0 if least else bound > 0)
            what = "a number of seconds, 0 or more" if least else "a number of seconds above 0"
        if not allowed:
            raise _refusal(f"The profile's {name} is to be {what}, not {bound!r}.")


def _refusal(sentence: str) -> ValueError:
    return ValueError(sentence)
