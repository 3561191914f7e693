"""Fixtures of the tests of outages."""

import pytest

import outages


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the waits between tries instead of waiting."""
    return outages.noted_pauses(monkeypatch)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Return a unique name of an operation."""
    return str(request.node.name)
