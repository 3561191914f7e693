"""What the tests of outages share."""

import pytest

import outages


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note the waits between tries instead of waiting."""
    return outages.noted_pauses(monkeypatch)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Return the name of an operation that no other test has."""
    return str(request.node.name)
