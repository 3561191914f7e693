"""The third driver: it steps the production engine through chosen interleavings, without threads or time.

The driver moves the clock of a :class:`World`, and makes its store fail. The calls are the engine's own
generators. The driver decides which of them takes its next step, what happens to its request, and how its
body ends. The world records what happened, so that the specification's invariants can be checked.
"""

from ..reference.engine import Engine
from ..spec.commands import Swap
from ..spec.events import Evict
from ..spec.invariants import Acted, Ended, Happening
from ..spec.record import COMPLETED, Record, expiry_ms, holds, same_version
from ..spec.transition import transition
from .calls import SimulatedCall


class World:
    """One key's store and clock, and all that happens to it.

    Parameters
    ----------
    now
        Epoch milliseconds at which the world begins.
    """

    KEY = "fn#key"

    TICK = 1000
    """How many milliseconds pass at a time, where time passes step by step."""

    LEASE_MS = 2000
    """For how long a claim is granted there."""

    WINDOW_MS = 3000
    """For how long a claim and a result are kept there."""

    COMPLETION_MS = 100
    """For how long storing a result is tried again there."""

    LONGEST_RUN_MS = 3000
    """For how long a lease is renewed there, from when its body begins."""

    def __init__(self, now: int = 1_700_000_000_000) -> None:
        self.now = now
        self.record: Record | None = None
        self.history: list[Happening] = []
        self.delayed: list[Swap] = []
        self.owners_made = 0
        self.effect_until = 0
        """Until when the effect that has happened must not happen again (epoch milliseconds)."""

    def clock(self) -> int:
        """Return the epoch milliseconds that it is in this world."""
        return self.now

    def next_owner(self) -> str:
        """Return the next owner token."""
        self.owners_made += 1
        return f"owner-{self.owners_made}"

    def swap(self, command: Swap) -> Record | None:
        """Do what a compare-and-swap layer does."""
        if not same_version(self.record, command.expected):
            return self.record
        self.record = command.new
        if command.new is not None and self.now < self.effect_until:
            expiry = expiry_ms(command.new)
            completed = command.new.status == COMPLETED
            self.effect_until = expiry if completed else max(self.effect_until, expiry)
        if command.new is not None and command.new.status == COMPLETED:
            self.history.append(Ended(str(command.new.owner), self.now, "stored", expiry_ms(command.new)))
        return command.new

    def act(self, owner: str) -> None:
        """Let the effect of a body happen, whose attempt holds the claim."""
        assert self.record is not None and holds(self.record, owner)  # noqa: PT018 - it is one condition
        if self.now < self.effect_until:
            self.history.append(Acted("an earlier attempt", self.now, self.effect_until))
        self.effect_until = expiry_ms(self.record)
        self.history.append(Acted(owner, self.now, self.effect_until))

    def deliver(self, place: int = 0) -> None:
        """Let a delayed request arrive: the oldest, or the one at ``place``."""
        self.swap(self.delayed.pop(place))

    def evict(self) -> None:
        """Let the store do its housekeeping."""
        self.record, _ = transition(self.record, Evict(), self.now)

    def call(self, engine: Engine, payload_hash: str | None = None) -> SimulatedCall:
        """Start one call of an idempotent function."""
        return SimulatedCall(self, engine, payload_hash)
