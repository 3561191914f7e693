"""What all tests share."""

import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

# CI judges a change, so it draws the same examples every time; elsewhere each run draws new ones.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "explore")


@pytest.fixture
def _hasty_switching() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)
