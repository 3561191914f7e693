"""The third driver: it steps the production engine through chosen interleavings, without threads or time.

The driver moves the clock of a :class:`World`, and makes its store fail. The calls are the engine's own
generators. The driver decides which of them takes its next step, what happens to its request, and how its
body ends. The world records what happened, so that the specification's invariants can be checked.
"""

from typing import NamedTuple

from ..reference.engine import Engine
from ..spec.commands import Swap
from ..spec.errors import IdempotencyAlreadyInProgressError
from ..spec.events import Evict
from ..spec.happenings import Acted, Committed, Ended, Happening
from ..spec.record import COMPLETED, Record, expiry_ms, holds, same_version
from ..spec.transition import transition
from .calls import SimulatedCall


class Written(NamedTuple):
    """A transaction that has written the result ``new`` and locked its record, and may commit.

    ``is_left`` is whether no call acts on it any more, so that it ends by itself.
    """

    new: Record
    is_left: bool = False


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

    dialect = "postgresql"
    """The database in whose transactions bodies complete there."""

    LONGEST_RUN_MS = 3000
    """For how long a lease is renewed there, from when its body begins."""

    def __init__(self, now: int = 1_700_000_000_000) -> None:
        self.now = now
        self.record: Record | None = None
        self.history: list[Happening] = []
        self.transaction: Written | None = None
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
        if self.transaction is not None:
            raise _locked()
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
        assert holds(self.record, owner)
        self._note_effect(owner)

    def load(self) -> Record | None:
        """Return what is stored and committed."""
        return self.record

    def seen_by(self, owner: str) -> Record | None:
        """Return what the transaction of this attempt sees."""
        transaction = self.transaction
        return self.record if transaction is None or transaction.new.owner != owner else transaction.new

    def write(self, new: Record) -> bool:
        """Store the result ``new`` in the transaction of its attempt, if that still holds the claim."""
        if self.transaction is not None or not holds(self.record, new.owner):
            return False
        self.transaction = Written(new)
        return True

    def commit(self, owner: str) -> None:
        """Commit the transaction of an attempt, with the effect that it contains."""
        stored = self.seen_by(owner)
        if stored is not self.record:
            self.record, self.transaction = stored, None
        self.history.append(Committed(owner, self.now, self.record))
        self._note_effect(owner)
        if stored is not None and stored.owner == owner:
            self.history.append(Ended(owner, self.now, "stored", expiry_ms(stored)))

    def roll_back(self, owner: str) -> None:
        """Roll the transaction of an attempt back."""
        if self.transaction is not None and self.transaction.new.owner == owner:
            self.transaction = None

    def leave(self, owner: str) -> None:
        """Let the transaction of an attempt, if it has written, end by itself from now on."""
        if self.transaction is not None and self.transaction.new.owner == owner:
            self.transaction = self.transaction._replace(is_left=True)

    def _note_effect(self, owner: str) -> None:
        if self.now < self.effect_until:
            self.history.append(Acted("an earlier attempt", self.now, self.effect_until))
        self.effect_until = self.now if self.record is None else expiry_ms(self.record)
        self.history.append(Acted(owner, self.now, self.effect_until))

    def deliver(self, place: int = 0) -> None:
        """Let a delayed request arrive: the oldest, or the one at ``place``."""
        late = self.delayed.pop(place)
        if self.transaction is None:  # else it finds the record locked
            self.swap(late)

    def evict(self) -> None:
        """Let the store do its housekeeping, which skips what is locked."""
        if self.transaction is not None:
            return
        self.record, _ = transition(self.record, Evict(), self.now)

    def call(self, engine: Engine, payload_hash: str | None = None) -> SimulatedCall:
        """Start one call of an idempotent function."""
        return SimulatedCall(self, engine, payload_hash)


def _locked() -> Exception:
    """Return what a layer raises for a record that a transaction has locked (TXN-4)."""
    error = IdempotencyAlreadyInProgressError("A transaction has locked the record. Nothing was written.")
    error.nothing_written = True  # type: ignore[attr-defined]  # as the layers mark it
    return error
