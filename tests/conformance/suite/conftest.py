import math

import pytest

from idemproof.conformance.suite.profiles import PROFILES
from profiles import SMALL

WHOLE = ("test_broken_layers", "test_pace")
"""What they look for takes more than the small profile, or is the time that a profile promises."""


@pytest.fixture(autouse=True)
def small_and_unhurried(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let "quick" be the small profile, but for nightly tests. Run every check on slow machines too."""
    module = request.module.__name__.rpartition(".")[2]
    if module != "test_pace":
        for name, profile in PROFILES.items():
            monkeypatch.setitem(PROFILES, name, profile._replace(total_seconds=math.inf))
    if module not in WHOLE and request.node.get_closest_marker("nightly") is None:
        monkeypatch.setitem(PROFILES, "quick", SMALL)
