"""Calls that wait in a simulated world, and how many claims they send."""

import heapq
import random
from collections import Counter
from typing import Any

from idemproof import CompareAndSwapLayer, IdempotencyConfig
from idemproof.conformance.simulator import World
from idemproof.errors import IdempotencyAlreadyInProgressError
from idemproof.reference.engine import Engine
from idemproof.spec.commands import Swap, Wait


class LongWorld(World):
    """A world with leases that outlast the waits."""

    LEASE_MS = 600_000


def engine_of(world: World, seconds: float, **settings: Any) -> Engine:
    """Return an engine whose calls wait so long, by the world's clock and without jitter."""
    settings = {"in_progress_expires_after_seconds": world.LEASE_MS / 1000} | settings
    jitter = settings.pop("jitter", lambda: 0.0)
    config = IdempotencyConfig(clock=world.clock, wait_for_in_progress_seconds=seconds, **settings)
    return Engine(config, next_owner=world.next_owner, monotonic=world.clock, jitter=jitter)


def claims_of_waiters(
    count: int, seconds: int, store: CompareAndSwapLayer | None = None, seed: int = 0
) -> Counter[int]:
    """Return how many claims so many waiters send in each second of the clock."""
    world = LongWorld()
    if store is not None:
        world.swap = lambda command: store._swap(*command)  # type: ignore[method-assign]
    world.call(engine_of(world, 0), "a").until_running()
    engine = engine_of(world, seconds, jitter=random.Random(seed).random)
    begun, claims = world.now, Counter[int]()
    calls = [world.call(engine, "a") for _ in range(count)]
    due = [(begun, number) for number in range(count)]
    while due:
        world.now, number = heapq.heappop(due)
        call = calls[number]
        if isinstance(call.command, Wait):
            call.step()
        while isinstance(call.command, Swap):
            call.step()
            claims[(world.now - begun) // 1000] += 1
        if call.ended is None:
            heapq.heappush(due, (world.now + call.command.milliseconds, number))
    assert all(isinstance(call.value, IdempotencyAlreadyInProgressError) for call in calls)
    return claims
