"""The engine in a simulated world, functions protected in memory, and the time of renewals."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from heartbeat_time import Seen, Time, Watched, moved_time
from idemproof import IdempotencyConfig, InMemoryPersistenceLayer
from idemproof.conformance.simulator import World
from idemproof.reference.engine import Engine
from protection import Protection

EngineFactory = Callable[..., Engine]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def make_engine(world: World) -> EngineFactory:
    def make(serializer: Any = None, **settings: Any) -> Engine:
        settings.setdefault("in_progress_expires_after_seconds", 10)
        settings.setdefault("expires_after_seconds", 60)
        return Engine(
            IdempotencyConfig(clock=world.clock, **settings), serializer, next_owner=world.next_owner
        )

    return make


@pytest.fixture
def engine(make_engine: EngineFactory) -> Engine:
    return make_engine()


@pytest.fixture
def layer() -> InMemoryPersistenceLayer:
    return InMemoryPersistenceLayer()


@pytest.fixture(params=["def", "async def"])
def protect(layer: InMemoryPersistenceLayer, request: pytest.FixtureRequest) -> Protection:
    return Protection(layer, asynchronous=request.param == "async def")


@pytest.fixture
def time() -> Iterator[Time]:
    """Return the time by which leases are renewed; it passes only if a test moves it."""
    with moved_time() as moved:
        yield moved


@pytest.fixture
def seen() -> Seen:
    """Return an observer that remembers what it has seen."""
    return Seen()


@pytest.fixture
def store() -> Watched:
    """Return a store whose renewals can hang or fail."""
    return Watched()
