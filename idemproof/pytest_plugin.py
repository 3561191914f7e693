"""Fixtures for pytest, of :mod:`idemproof.testing`.

Ask for them in your topmost ``conftest.py``: ``pytest_plugins = ["idemproof.pytest_plugin"]``. pytest does
not find them by itself: who installs a library to run it should not get other tests.
"""

from collections.abc import Iterator

import pytest

from . import testing
from .backends.memory import InMemoryPersistenceLayer

__all__ = ["idempotency_clock", "idempotency_disabled", "idempotency_in_memory"]


@pytest.fixture
def idempotency_disabled() -> Iterator[None]:
    """Let every call of an idempotent function run, as if it were not decorated."""
    with testing.disabled():
        yield


@pytest.fixture
def idempotency_in_memory() -> Iterator[InMemoryPersistenceLayer]:
    """Keep the records of all idempotent functions in memory that is empty for each test."""
    with testing.in_memory() as layer:
        yield layer


@pytest.fixture
def idempotency_clock() -> Iterator[testing.MovableClock]:
    """Let all idempotent functions go by a clock that stands still until the test moves it."""
    clock = testing.MovableClock()
    with testing.use_clock(clock):
        yield clock
