"""The engine in a simulated world, and functions protected in memory."""

from collections.abc import Callable
from typing import Any

import pytest

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
