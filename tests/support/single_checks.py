"""Judges a layer by single checks: a test that asks about one of them need not wait for the others."""

from collections.abc import Callable, Iterable
from typing import Any

from idemproof.conformance import Capabilities, Profile
from idemproof.conformance.suite.profiles import PROFILES
from idemproof.conformance.suite.report import CheckResult
from idemproof.conformance.suite.runner import Session, checks

__all__ = ["results"]


def results(
    factory: Callable[[], Any],
    names: Iterable[str],
    capabilities: Capabilities | None = None,
    profile: Profile | None = None,
) -> dict[str, CheckResult]:
    """Return the result of each named check on the layers of one factory."""
    by_name = {each.name: each for each in checks()}
    session = Session(factory, profile or PROFILES["quick"], 1, capabilities)
    try:
        return {name: session.judge(by_name[name]) for name in names}
    finally:
        session.close()
