"""The states of a search of the engine: what is in them, and when two of them are the same.

A call is a generator, which cannot be copied. A state therefore has, for each call that is under way, the
log of what it was told and when: to go on from there, the call is started anew and told the same.

Two states with the same key have the same futures, for the key holds all that the future depends on:

- what stands, the requests that are late, what is cached, and what may still happen (faults, crashes, calls,
  seconds that are left);
- of each call the position of its generator and of those it delegates to, and their locals, without those
  that no instruction can read before they are written anew. What a frame holds beyond its locals are its
  loops' iterators, whose position the loop variable tells, and the exception that is being handled, which is
  a local too. A local of a kind that is unknown here is an error, so that nothing is left out silently. Of
  exceptions the type alone counts, for the engine looks at nothing else;
- what the invariants on histories still remember: the leases of runs and the expiries of results that have
  not yet passed. Those that have passed forbid nothing any more, and what is over was judged as it happened.

What it abstracts from, no future can tell apart:

- Absolute time. The engine adds to the time now and compares; only rounding to seconds sees more of the
  clock, so the part of a second is in the key. A time to come is in it as what remains. Times that are over
  are never computed with, only compared, with each other or with a later one: of these the order is in it.
- The names of owners and results. They are compared and stored, so their order of first appearance is
  enough; a new name is none of the old ones.
- Which client is which: all run the same engine.
"""

from collections.abc import Sequence
from types import GeneratorType, MethodType
from typing import Any, NamedTuple

from ...reference.attempt import Attempt
from ...reference.cache import LocalCache
from ...reference.engine import Engine
from ...reference.observers import Report
from ...spec.commands import Call, Sleep, Swap
from ...spec.events import Claim, Complete, Outcome, Release
from ...spec.invariants import Began, Ended, Happening
from ...spec.record import Record
from ...spec.settle import Change
from ..simulator import SimulatedCall, World
from .frames import readable

OWN = object()
"""In a log: the swap was answered with the very record that it proposed."""


class Told(NamedTuple):
    """One entry of a call's log: what happened to it, when, and what the store answered."""

    now: int
    what: str
    answer: Any


class Frozen(NamedTuple):
    """A value, taken apart: its shape, the times (epoch milliseconds) and the names in it."""

    shape: int
    times: tuple[int, ...]
    names: tuple[str, ...]


_IDLE = Frozen(-1, (), ())


class Pending(NamedTuple):
    """A call that is under way.

    Parameters
    ----------
    number
        The place of the call among all calls; its body's result is named after it.
    start
        When it began, how many owner tokens there had been, its payload hash, what was cached.
    log
        What it was told since.
    waits_for
        What its next step is about.
    owner
        Its attempt's token.
    expiry
        The expiry of the first completion that it sent.
    position
        Where its generator is, and all that it knows.
    stores_result
        Whether it is about to store a result.
    """

    number: int
    start: tuple[int, int, str | None, Record | None]
    log: tuple[Told, ...]
    waits_for: type[Swap] | type[Sleep] | type[Call]
    owner: str
    expiry: int | None
    position: Frozen
    stores_result: bool


class Client(NamedTuple):
    """A process that calls again and again, one call at a time."""

    call: Pending | None
    cached: Record | None
    calls_left: int | None


class State(NamedTuple):
    """All that the future depends on, and how to go there. None as what is left means without end."""

    now: int
    record: Record | None
    delayed: tuple[Swap, ...]
    clients: tuple[Client, ...]
    history: tuple[Happening, ...]
    faults_left: int
    crashes_left: int
    ticks_left: int | None
    started: int
    minted: int
    interrupts_left: int = 0
    outages_left: int = 0
    down: str | None = None


def result_of(number: int) -> str:
    """Return what the body of the call with this number returns."""
    return f"result {number}"


def remembered(history: Sequence[Happening], now: int) -> tuple[dict[str, int], dict[str, int]]:
    """Return which leases of runs, and which ends of runs' claims on the key, an invariant may yet need."""
    running: dict[str, int] = {}
    barred: dict[str, int] = {}
    for item in history:
        if isinstance(item, Began):
            running[item.owner] = barred[item.owner] = item.until
        elif isinstance(item, Ended):
            running.pop(item.owner, None)
            if item.how == "stored":
                barred[item.owner] = item.until
            elif item.how == "raised":
                barred.pop(item.owner, None)
    return (
        {owner: until for owner, until in running.items() if until > now},
        {owner: until for owner, until in barred.items() if until > now},
    )


def without_the_forgotten(history: Sequence[Happening], now: int) -> tuple[Happening, ...]:
    """Return the part of ``history`` on which a later verdict may depend."""
    running, barred = remembered(history, now)
    return tuple(
        item
        for item in history
        if isinstance(item, Began | Ended) and (item.owner in running or item.owner in barred)
    )


class Keys:
    """Takes states apart and names their shapes; keys of the same instance can be compared."""

    def __init__(self) -> None:
        self._shapes: dict[Any, int] = {}
        self._known: dict[Any, Frozen] = {}

    def of(self, state: State) -> tuple[Any, ...]:
        """Return the key of ``state``."""
        now = state.now
        running, barred = remembered(state.history, now)
        current = self._value(state.record)
        known = list(current.names)

        def order(part: Frozen) -> tuple[Any, ...]:
            names = [known.index(name) if name in known else -1 for name in part.names]
            until = [kind.get(name, 0) for name in part.names for kind in (running, barred)]
            return part.shape, part.times, names, until

        delayed = sorted(map(self._value, state.delayed), key=order)
        known += [name for part in delayed for name in part.names]
        clients = sorted(
            (
                (
                    client.calls_left,
                    self._value(client.cached),
                    client.call.position if client.call else _IDLE,
                )
                for client in state.clients
            ),
            key=lambda client: (client[0] or 0, order(client[2]), order(client[1])),
        )
        parts = [current, *delayed, *(part for client in clients for part in client[1:])]
        names = list(dict.fromkeys(name for part in parts for name in part.names))
        return (
            now % 1000,
            (
                *(state.faults_left, state.crashes_left, state.ticks_left),
                *(state.interrupts_left, state.outages_left, state.down),
                *(client[0] for client in clients),
            ),
            tuple(part.shape for part in parts),
            relative([time for part in parts for time in part.times], now),
            renamed([name for part in parts for name in part.names]),
            tuple(
                sorted(
                    (
                        max(0, running.get(owner, 0) - now),
                        max(0, barred.get(owner, 0) - now),
                        names.index(owner) if owner in names else -1,
                    )
                    for owner in running.keys() | barred.keys()
                )
            ),
        )

    def of_call(self, call: Pending, now: int) -> tuple[Any, ...]:
        """Return the key of one call alone."""
        shape, times, names = call.position
        return shape, relative(times, now), renamed(names), now % 1000

    def of_record(self, record: Record | None, now: int) -> tuple[Any, ...]:
        """Return the key of a record alone."""
        shape, times, _ = self._value(record)
        return shape, relative(times, now), now % 1000

    def position(self, call: SimulatedCall, expiry: int | None) -> Frozen:
        """Take a call apart; ``expiry`` is that of the first completion that it sent."""
        apart = _Apart()
        frames = []
        steps: Any = call._steps
        while steps is not None:
            assert isinstance(steps, GeneratorType)
            frames.append(apart.frame(steps))
            steps = steps.gi_yieldfrom
        shape = (
            tuple(frames),
            apart.shape(call.command),
            apart.shape(call._payload_hash),
            apart.name(call._owner),
            apart.time(call._until if call.body is None else None),  # read as the body begins
            call._operations,
            call.interrupted,
            apart.time(expiry),
        )
        return self._frozen(shape, apart)

    def _value(self, value: Record | Swap | None) -> Frozen:
        known = self._known.get(value)
        if known is None:
            apart = _Apart()
            known = self._known[value] = self._frozen(apart.shape(value), apart)
        return known

    def _frozen(self, shape: Any, apart: "_Apart") -> Frozen:
        number = self._shapes.setdefault(shape, len(self._shapes))
        return Frozen(number, tuple(apart.times), tuple(apart.names))


def relative(times: Sequence[int], now: int) -> tuple[int, ...]:
    """Return what remains of the times to come, and the order of those that are over."""
    order = {time: -place for place, time in enumerate(sorted({time for time in times if time <= now}))}
    return tuple(time - now if time > now else order[time] for time in times)


def renamed(names: Sequence[str]) -> tuple[int, ...]:
    """Return ``names`` as their order of first appearance."""
    order: dict[str, int] = {}
    return tuple(order.setdefault(name, len(order)) for name in names)


_PLAIN = (bool, int, type(None))
_OF_NO_CALL = (Engine, LocalCache, Report, type, MethodType)
"""What is the same for all calls of a client, or in the key for itself."""


class _Apart:
    """Takes values apart: what it returns are shapes; times and names are noted in their order."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.names: list[str] = []

    def local(self, name: str, value: Any) -> Any:
        return self.time(value) if name == "now" else self.shape(value)

    def frame(self, steps: Any) -> Any:
        """Note where a generator waits, and its locals; not what it delegates to."""
        frame = steps.gi_frame
        if frame is None:
            return None
        needed = readable(frame.f_code, frame.f_lasti)
        known = [(name, self.local(name, each)) for name, each in frame.f_locals.items() if name in needed]
        return frame.f_code.co_qualname, frame.f_lasti, tuple(known)

    def time(self, milliseconds: int | None) -> Any:
        if milliseconds is not None:
            self.times.append(milliseconds)
        return milliseconds is not None

    def seconds(self, seconds: int | None) -> Any:
        return self.time(None if seconds is None else seconds * 1000)

    def name(self, text: str | None) -> Any:
        """Note a name; a JSON text of a name is told by its quotes."""
        if not text:
            return text
        self.names.append(text.strip('"'))
        return text.startswith('"')

    def shape(self, value: Any) -> Any:
        kind = type(value)
        if kind in _PLAIN:
            found: Any = (kind.__name__, value)
        elif kind is str:
            found = value if value == World.KEY or value.startswith("payload") else self.name(value)
        elif kind in (Record, Claim, Complete):
            found = self._with_deadlines(value)
        elif kind is Attempt:
            found = self._attempt(value)
        elif isinstance(value, (BaseException, *_OF_NO_CALL)):
            found = kind.__name__
        elif isinstance(value, Change):
            found = (kind.__name__, value.requests)  # which tells one of a kind from another
        elif kind is GeneratorType:
            found = ("generator", self.frame(value))
        elif kind is Swap:  # how long the record is to be kept, no world asks
            found = ("Swap", self.shape(value.expected), self.shape(value.new))
        elif kind in (Sleep, Release) or isinstance(value, Outcome):
            found = (kind.__name__, *map(self.shape, value))
        else:
            raise TypeError(f"how is a {kind.__name__} compared with another? Say it here.")
        return found

    def _attempt(self, attempt: Attempt) -> Any:
        return (
            attempt.returned,
            self.shape(getattr(attempt, "result", None)),
            self.shape(attempt.failure),
            self.shape(attempt.payload_hash),
            self.name(attempt.owner),
            self.shape(attempt.held),
            self.seconds(attempt.expiry),
            self.shape(attempt.interrupt),
            self.name(attempt.text),
            self.time(attempt.until),
            attempt.waited_ms,
            self.shape(attempt.trouble),
            attempt.settled,
        )

    def _with_deadlines(self, value: Any) -> Any:
        if isinstance(value, Claim):
            owner, lease, expiry, payload_hash, _ = value
            return "Claim", self.name(owner), self.time(lease), self.seconds(expiry), payload_hash
        if isinstance(value, Complete):
            owner, response, payload_hash, expiry, _ = value
            return "Complete", self.name(owner), self.name(response), payload_hash, self.seconds(expiry)
        _, status, expiry, lease, response, payload_hash, owner = value
        return (
            status,
            self.seconds(expiry),
            self.time(lease),
            self.name(response),
            payload_hash,
            self.name(owner),
        )
