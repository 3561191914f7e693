"""Records runs of the production engine in the simulator, as entries that TLC can follow."""

import random
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, NamedTuple
from unittest.mock import patch

from idemproof.conformance.calls import SimulatedCall
from idemproof.conformance.renewals import Fate
from idemproof.conformance.simulator import World
from idemproof.reference.config import IdempotencyConfig
from idemproof.reference.engine import Engine
from idemproof.reference.observers import Report
from idemproof.spec.commands import Swap
from idemproof.spec.events import Event, Evict, Outcome
from idemproof.spec.happenings import Began, Ended, Happening
from idemproof.spec.record import Record, deadline_ms, expiry_ms
from idemproof.spec.transition import Next, transition

LENGTH = 60
DEADLINE_OFFSETS = (-1, 0, 0, 1)
FATES: tuple[Fate, ...] = ("answered", "answered", "answered", "reply lost", "refused", "delayed")
HASHES = ("a", "a", "a", None, "b")
ACTIONS = {
    "start": 3,
    "step": 12,
    "finish": 4,
    "fail": 1,
    "crash": 1,
    "deliver": 1,
    "evict": 1,
    "to the lease's end": 3,
    "to the expiry": 1,
    "a moment": 1,
}


class Applied(NamedTuple):
    """A request that the store applied, or the decision of a call about the stored record.

    Parameters
    ----------
    at
        Epoch milliseconds.
    before, after
        The stored record before and afterwards.
    event
        The event.
    outcome
        The outcome that the call got from the table.
    answered
        Whether the call got the reply.
    """

    at: int
    before: Record | None
    event: Event
    after: Record | None
    outcome: Outcome
    answered: bool


class OfBody(NamedTuple):
    """A body began ("granted", then "began"), raised, or its worker died ("crashed").

    Parameters
    ----------
    kind
        What happened.
    at
        Epoch milliseconds.
    client
        The owner token of the call.
    until
        When its lease ends, if it was granted.
    """

    kind: str
    at: int
    client: str
    until: int | None = None


Entry = Applied | OfBody


class _Proposal(NamedTuple):
    expected: Record | None
    new: Record | None
    event: Event
    outcome: Outcome


class _History(list[Happening]):
    """The simulator's history, which writes the bodies into the entries."""

    def __init__(self, entries: list[Entry]) -> None:
        super().__init__()
        self._entries = entries

    def append(self, item: Happening) -> None:
        """Keep ``item``, and what it says of a body."""
        super().append(item)
        if isinstance(item, Began):
            self._entries.append(OfBody("granted", item.now, item.owner, item.until))
            self._entries.append(OfBody("began", item.now, item.owner))
        elif isinstance(item, Ended) and item.how in ("raised", "crashed"):
            self._entries.append(OfBody(item.how, item.now, item.owner))


class RecordedWorld(World):
    """A simulated world that records what the store applies, and what calls decide."""

    def __init__(self) -> None:
        super().__init__()
        self.began = self.now
        self.entries: list[Entry] = []
        self.history = _History(self.entries)
        self.answered = False
        """Whether the reply to the next request reaches its call."""
        self._proposals: list[_Proposal] = []

    def decide(self, record: Record | None, event: Event, now: int) -> tuple[Record | None, Outcome]:
        """Decide as the table does, for a call. A decision without a change is what the call gets."""
        new, outcome = transition(record, event, now)
        if new is record:
            self.entries.append(Applied(now, record, event, new, outcome, answered=True))
        else:
            self._proposals.append(_Proposal(record, new, event, outcome))
        return new, outcome

    def swap(self, command: Swap) -> Record | None:
        """Apply a request, and record it if the record has changed."""
        before, now = self.record, self.now
        (*_, proposal) = (
            each for each in self._proposals if each.new is command.new and each.expected is command.expected
        )
        found = super().swap(command)
        if self.record is not before:
            self._applied(before, proposal.event, proposal.outcome, now)
        return found

    def deliver(self, place: int = 0) -> None:
        """Let a delayed request arrive, whose call no longer waits."""
        self.answered = False
        super().deliver(place)

    def evict(self) -> None:
        """Let the store evict the record if it may."""
        before = self.record
        self.record, outcome = transition(before, Evict(), self.now)
        self.answered = False
        self._applied(before, Evict(), outcome, self.now)

    def _applied(self, before: Record | None, event: Event, outcome: Outcome, now: int) -> None:
        self.entries.append(Applied(now, before, event, self.record, outcome, self.answered))


def record(seed: int, length: int = LENGTH) -> tuple[int, list[Entry]]:
    """Return when a run began (epoch milliseconds), and its entries.

    Several calls of one key run, fail and die in an order that is drawn from ``seed``.
    """
    world = RecordedWorld()
    noted = Report.decide

    def decide(report: Report, record: Record | None, event: Event, now: int) -> Next:
        noted(report, record, event, now)
        return world.decide(record, event, now)

    # The loop that settles each change asks the table; for an observed call, its report does.
    settle = import_module("idemproof.spec.settle")
    with patch.object(settle, "transition", world.decide), patch.object(Report, "decide", decide):
        for _ in _run(world, random.Random(seed), length):  # noqa: S311 - drawn to be repeated
            pass
    return world.began, world.entries


def _run(world: RecordedWorld, draw: random.Random, length: int) -> Iterator[None]:
    config = IdempotencyConfig(
        expires_after_seconds=world.WINDOW_MS // 1000,
        in_progress_expires_after_seconds=world.LEASE_MS // 1000,
        clock=world.clock,
    )
    engine = Engine(config, next_owner=world.next_owner)
    calls: list[SimulatedCall] = []
    for action in draw.choices(list(ACTIONS), list(ACTIONS.values()), k=length):
        pending = [call for call in calls if call.ended is None]
        if action == "start" and len(pending) < 3:  # noqa: PLR2004 - as many clients as TLC checks
            calls.append(world.call(engine, draw.choice(HASHES)))
        elif action in ("step", "finish", "fail", "crash"):
            running = action in ("finish", "fail")
            able = [call for call in pending if action == "crash" or call.running is running]
            if able:
                _act(world, action, draw.choice(able), draw)
        elif action == "deliver" and world.delayed:
            world.deliver()
        elif action == "evict":
            world.evict()
        else:
            _wait(world, action, draw)
        yield


def _act(world: RecordedWorld, action: str, call: SimulatedCall, draw: random.Random) -> None:
    if action == "step":
        fate = draw.choice(FATES)
        world.answered = fate == "answered"
        call.step(fate)
    elif action == "finish":
        call.finish({"result": len(world.entries)})
    elif action == "fail":
        call.fail(ValueError("declined"))
    else:
        call.crash()


def _wait(world: RecordedWorld, action: str, draw: random.Random) -> None:
    record = world.record
    if action == "a moment":
        world.now += draw.randint(1, 3000)
    elif action.startswith("to ") and record is not None:
        deadline = deadline_ms(record) if "lease" in action else expiry_ms(record)
        world.now = max(world.now, deadline + draw.choice(DEADLINE_OFFSETS))


def owners_of(entries: Sequence[Entry]) -> set[str]:
    """Return the owner tokens in ``entries``."""
    owners = {entry.client for entry in entries if isinstance(entry, OfBody)}
    events: list[Any] = [entry.event for entry in entries if isinstance(entry, Applied)]
    return owners | {event.owner for event in events if getattr(event, "owner", None)}
