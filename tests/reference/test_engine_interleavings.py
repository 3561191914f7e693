"""Whole calls of the production engine, interleaved and failing at will, against the invariants.

Every trace is drawn from a seed, so a failure names the seed that replays it and shows the trace.
"""

import random

import pytest

from idemproof import IdempotencyConfig
from idemproof.conformance.calls import SimulatedCall
from idemproof.conformance.renewals import Fate
from idemproof.conformance.simulator import World
from idemproof.errors import IdempotencyError
from idemproof.reference.engine import Engine
from idemproof.spec.invariants import broken_by_history
from idemproof.spec.record import COMPLETED, deadline_ms, expiry_ms, live

pytestmark = pytest.mark.once

TRACES = 2500
LENGTH = 40
DEADLINE_OFFSETS = (-1, 0, 0, 1)
FATES: tuple[Fate, ...] = ("answered", "answered", "answered", "reply lost", "refused", "delayed")
HASHES = ("a", "a", "a", None, "b")
ACTIONS = (
    ("start", 3),
    ("step", 12),
    ("finish", 4),
    ("fail", 1),
    ("crash", 1),
    ("deliver", 1),
    ("evict", 1),
    ("to the lease's end", 3),
    ("to the expiry", 1),
    ("a moment", 1),
)


class Trace:
    """Several workers, each with its own engine and cache, call with one key over one store."""

    def __init__(self, seed: int, *, lease: float | None, cached: bool) -> None:
        self.draw = random.Random(seed)
        self.lines: list[str] = []
        self.world = World()
        self.calls: list[SimulatedCall] = []
        self.results = 0
        config = IdempotencyConfig(
            expires_after_seconds=60,
            in_progress_expires_after_seconds=lease,
            use_local_cache=cached,
            clock=self.world.clock,
        )
        self.engines = [Engine(config, next_owner=self.world.next_owner) for _ in range(2)]

    def run(self) -> None:
        names, weights = zip(*ACTIONS, strict=True)
        for action in self.draw.choices(names, weights, k=LENGTH):
            final = self.world.record
            self.act(action)
            self.check(final if final is not None and final.status == COMPLETED else None)
        self.assert_a_call_can_finish()

    def act(self, action: str) -> None:
        world, record = self.world, self.world.record
        pending = [call for call in self.calls if call.ended is None]
        running = [call for call in pending if call.running]
        asking = [call for call in pending if not call.running]
        if action == "start" and len(pending) < 3:
            payload_hash = self.draw.choice(HASHES)
            self.calls.append(world.call(self.draw.choice(self.engines), payload_hash))
            self.record(action, self.calls[-1], payload_hash)
        elif action == "step" and asking:
            call, fate = self.draw.choice(asking), self.draw.choice(FATES)
            self.record(f"{fate}: {call.command}", call)
            call.step(fate)
        elif action == "finish" and running:
            call = self.draw.choice(running)
            self.results += 1
            self.record(action, call, self.results)
            call.finish({"result": self.results})
        elif action == "fail" and running:
            call = self.draw.choice(running)
            self.record(action, call)
            call.fail(self.draw.choice((ValueError("declined"), KeyboardInterrupt())))
        elif action == "crash" and pending:
            call = self.draw.choice(pending)
            self.record(action, call)
            call.crash()
        elif action == "deliver" and world.delayed:
            self.record(action)
            world.deliver()
        elif action == "evict":
            world.evict()
            self.record(action, world.record)
        elif action.startswith("to ") and record is not None:
            deadline = deadline_ms(record) if "lease" in action else expiry_ms(record)
            world.now = max(world.now, deadline + self.draw.choice(DEADLINE_OFFSETS))
            self.record(action, world.now)
        elif action == "a moment":
            world.now += self.draw.randint(1, 3000)
            self.record(action, world.now)

    def record(self, *what: object) -> None:
        named = (f"call {self.calls.index(x)}" if isinstance(x, SimulatedCall) else str(x) for x in what)
        self.lines.append(" ".join(named))

    def check(self, final: object) -> None:
        trace = "\n".join(self.lines)
        assert broken_by_history(self.world.history) == [], trace
        if final is not None and live(final, self.world.now):  # type: ignore[arg-type]
            assert self.world.record == final, trace
        for call in self.calls:
            if call.ended == "raised":
                assert isinstance(call.value, IdempotencyError | ValueError | KeyboardInterrupt), trace

    def assert_a_call_can_finish(self) -> None:
        world = self.world
        if world.record is not None:
            world.now = max(world.now, deadline_ms(world.record))
        config = IdempotencyConfig(in_progress_expires_after_seconds=5, clock=world.clock)
        last = world.call(Engine(config, next_owner=world.next_owner)).run("last")
        assert (last.ended, last.value) == ("returned", "last"), "\n".join(self.lines)


@pytest.mark.clause("INV-1", "INV-2", "INV-4", "INV-5", "INV-8", "INV-9", "ENG-3")
@pytest.mark.parametrize("cached", [False, True], ids=["no cache", "local cache"])
@pytest.mark.parametrize(
    "lease",
    [
        pytest.param(2, id="lease"),
        pytest.param(90, id="lease beyond the window", marks=pytest.mark.nightly),
        pytest.param(None, id="no lease", marks=pytest.mark.nightly),
    ],
)
def test_no_interleaving_breaks_an_invariant(lease: float | None, cached: bool) -> None:
    for seed in range(TRACES):
        try:
            Trace(seed, lease=lease, cached=cached).run()
        except AssertionError as broken:
            broken.add_note(f"seed {seed}")
            raise
