"""What the tests of the exclusion tier judge by, and what they read in its reports."""

from collections.abc import Callable
from typing import Any

import fakeredis

from idemproof.conformance import Capabilities, Report, check
from idemproof.conformance.suite.runner import checks
from profiles import UNHURRIED

TWO_CLAIMS = "two-claims-of-an-unused-key-have-one-winner"
OVERWRITES = "a-takeover-never-overwrites-a-result-stored-meanwhile"


def judged(factory: Callable[[], Any], profile: Any = UNHURRIED, **claims: Any) -> Report:
    return check(factory, profile=profile, seed=1, capabilities=Capabilities(**claims), tiers=["exclusion"])


def of_one_key(report: Report) -> set[str]:
    """Return the races for one key, without those of different keys."""
    of_several = {each.name for each in checks() if each.run.__module__.endswith(".several_keys")}
    return {each.name for each in report.checks} - of_several


def broken(report: Report) -> set[str]:
    return {each.name for each in report.checks if each.verdict == "broken"}


def finding(report: Report, name: str) -> Any:
    return next(each for each in report.findings if each.check == name)


def over_fakeredis(kind: Callable[..., Any], client: Any = fakeredis.FakeRedis) -> Callable[[], Any]:
    server = fakeredis.FakeServer(version=(7,))
    return lambda: kind(client=client(server=server))
