"""Validates the options of a run before anything runs. Each error says which values are allowed."""

from collections.abc import Mapping, Sequence
from typing import Any

from .capabilities import Capabilities, is_whole
from .checks import TIERS
from .profiles import PROFILES, Profile


def tiers_named(tiers: Any, known: Sequence[str] = TIERS) -> tuple[str, ...]:
    """Return ``tiers``, or raise ``ValueError`` with the names of all ``known`` tiers."""
    names = ", ".join(known)
    if isinstance(tiers, str) or not isinstance(tiers, Sequence | set | frozenset):
        raise _refusal(f"The tiers must be a list of names, not {tiers!r}. There are: {names}.")
    if not tiers:
        raise _refusal(f"The list of tiers is empty. There are: {names}.")
    if unknown := [tier for tier in tiers if tier not in known]:
        raise _refusal(f"There is no tier {unknown[0]!r}. There are: {names}.")
    return tuple(tiers)


def profile_named(profile: Any) -> Profile:
    """Return the profile of that name, or a valid :class:`Profile` unchanged; else raise ``ValueError``."""
    names = ", ".join(PROFILES)
    if isinstance(profile, Profile):
        _refuse_invalid_bounds(profile)
        return profile
    if not isinstance(profile, str):
        raise _refusal(f"The profile must be one of {names}, or a Profile, not {profile!r}.")
    if profile not in PROFILES:
        raise _refusal(f"There is no profile {profile!r}. There are: {names}.")
    return PROFILES[profile]


def seed_given(seed: Any) -> int | None:
    """Return ``seed``, or raise ``ValueError``."""
    if seed is not None and not is_whole(seed):
        raise _refusal(f"The seed must be a whole number, or None for a random one, not {seed!r}.")
    return seed


def claimed(capabilities: Any) -> Capabilities:
    """Return ``capabilities``, or the defaults if it is None; or raise ``ValueError``."""
    if capabilities is None:
        return Capabilities()
    if not isinstance(capabilities, Capabilities):
        raise _refusal(f"The capabilities must be a Capabilities(…), not {capabilities!r}.")
    return capabilities


def require_callable_progress(progress: Any) -> None:
    """Raise ``ValueError`` unless ``progress`` is callable or None."""
    if progress is not None and not callable(progress):
        raise _refusal(f"The progress must be a function of three arguments, or None, not {progress!r}.")


def refuse_expectations_without_reasons(expected: Any) -> None:
    """Raise ``ValueError`` unless each expected failure has a reason."""
    if not isinstance(expected, Mapping) or not all(
        isinstance(text, str) for each in expected.items() for text in each
    ):
        raise _refusal(
            "The expected_failures must be a dict from checks or clauses to reasons, such as "
            f'{{"CAS-4": "the store has no transactions"}}, not {expected!r}.'
        )


def _refuse_invalid_bounds(profile: Profile) -> None:
    for name, bound in profile._asdict().items():
        if name == "name":
            allowed, what = isinstance(bound, str), "a string"
        elif name in ("examples", "steps", "schedules", "stress", "records"):
            allowed, what = is_whole(bound) and bound > 0, "a whole number above 0"
        elif name in ("preemptions", "depth"):
            allowed, what = is_whole(bound) and bound >= 0, "a whole number, 0 or more"
        else:
            number = is_whole(bound) or isinstance(bound, float)
            least = name not in ("patience", "total_seconds")
            allowed = number and (bound >= 0 if least else bound > 0)
            what = "a number of seconds, 0 or more" if least else "a number of seconds above 0"
        if not allowed:
            raise _refusal(f"The profile's {name} must be {what}, not {bound!r}.")


def _refusal(sentence: str) -> ValueError:
    return ValueError(sentence)
