"""The states of a search of the engine: their contents, and when two of them are equal.

A call is a generator, which cannot be copied. So a state has, for each running call, a log of the replies it
got and their times. To continue from the state, a new call is started and gets the same replies.

Two states with the same key have the same futures, because the key contains all that the future depends on:

- the stored record, the delayed requests, the cached records, and what may still happen (the faults, crashes,
  calls and seconds that are left);
- for each call, the positions of its generator and of those it delegates to, and their locals, without those
  that no instruction can read before they are written again. Beyond its locals, a frame has the iterators of
  its loops, whose position follows from the loop variable, and the exception that is being handled, which is
  a local too. A local of an unknown type is an error, so that nothing is left out silently. Only the type of
  an exception counts, because the engine uses nothing else;
- what the invariants on histories still need: the leases of runs and the expiries of results that have not
  passed yet. Those that have passed forbid nothing any more, and past events have been checked already.

The key leaves out what makes no difference to any future:

- Absolute time. The engine only adds to the current time and compares times. Rounding to seconds depends on
  the fraction of the second, so the fraction is in the key. A future time is in the key as the time that
  remains. Past times are only compared, with each other or with a later one, so their order is in the key.
- The names of owners and results. They are only compared and stored, so the order of their first appearance
  is enough; a new name differs from all others.
- The identity of clients: all run the same engine.
"""

from collections.abc import Sequence
from types import FunctionType, GeneratorType, MethodType
from typing import Any, NamedTuple

from ...reference.attempt import Attempt
from ...reference.cache import LocalCache
from ...reference.engine import Engine
from ...reference.observers import Report
from ...reference.renewal import Renewal
from ...reference.waiter import Waiter
from ...spec.commands import RunBody, Sleep, StopRenewal, Swap, Wait
from ...spec.events import ASK, Abandon, Claim, Complete, Outcome, Release, Renew
from ...spec.invariants import Began, Ended, Happening
from ...spec.record import FINAL_ERROR, Record
from ...spec.settle import Change
from ..calls import SimulatedCall
from ..simulator import World
from .frames import readable

OWN = object()
"""In a log: the swap returned the same record object that it proposed."""


class LogEntry(NamedTuple):
    """One entry of a call's log: the time (epoch milliseconds), the event, and the store's answer."""

    now: int
    what: str
    answer: Any


class Frozen(NamedTuple):
    """A decomposed value: its shape, and the times (epoch milliseconds) and names in it."""

    shape: int
    times: tuple[int, ...]
    names: tuple[str, ...]


_IDLE = Frozen(-1, (), ())


class Pending(NamedTuple):
    """A running call.

    Parameters
    ----------
    number
        The number of the call among all calls; the name of its body's result contains it.
    start
        The time of its start (epoch milliseconds), the number of earlier owner tokens, its payload hash, and
        the cached record.
    log
        The events since then.
    waits_for
        The type of the command that it waits for.
    owner
        The owner token of its attempt.
    expiry
        The expiry of the first completion that it sent, or None.
    position
        The position of its generator, with all locals.
    stores_result
        Whether its next command stores a result.
    stage
        Where it stands if bodies have an effect: "asking", "running" or "acted"; empty if they have none.
    beat
        The type of the command that its renewal waits for, or None.
    """

    number: int
    start: tuple[int, int, str | None, Record | None]
    log: tuple[LogEntry, ...]
    waits_for: type[Swap] | type[Sleep] | type[Wait] | type[RunBody] | type[StopRenewal]
    owner: str
    expiry: int | None
    position: Frozen
    stores_result: bool
    stage: str = ""
    beat: type[Swap] | type[Sleep] | None = None


class ProcessState(NamedTuple):
    """A process that makes one call after the other."""

    call: Pending | None
    cached: Record | None
    calls_left: int | None


class SearchState(NamedTuple):
    """All that the future depends on, and how to restore it. A limit of None means no limit."""

    now: int
    record: Record | None
    delayed: tuple[Swap, ...]
    clients: tuple[ProcessState, ...]
    history: tuple[Happening, ...]
    faults_left: int
    crashes_left: int
    ticks_left: int | None
    started: int
    owners_made: int
    interrupts_left: int = 0
    outages_left: int = 0
    down: str | None = None
    effect_until: int = 0


def result_of(number: int) -> str:
    """Return the result of the body in the call with this number."""
    return f"result {number}"


def remembered(history: Sequence[Happening], now: int) -> tuple[dict[str, int], dict[str, int]]:
    """Return the leases of runs, and the ends of their claims on the key, that invariants still need."""
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
    """Return the part of ``history`` that later checks may need."""
    running, barred = remembered(history, now)
    return tuple(
        item
        for item in history
        if isinstance(item, Began | Ended) and (item.owner in running or item.owner in barred)
    )


class Keys:
    """Computes the keys of states; keys of the same instance can be compared."""

    def __init__(self) -> None:
        self._shapes: dict[Any, int] = {}
        self._known: dict[Any, Frozen] = {}

    def of(self, state: SearchState) -> tuple[Any, ...]:
        """Return the key of ``state``."""
        now = state.now
        running, barred = remembered(state.history, now)
        current = self._value(state.record)
        known = list(current.names)

        def order(part: Frozen) -> tuple[Any, ...]:
            names = [known.index(name) if name in known else -1 for name in part.names]
            until = [times.get(name, 0) for name in part.names for times in (running, barred)]
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
                max(0, state.effect_until - now),
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
        """Decompose a call; ``expiry`` is the expiry of the first completion that it sent."""
        parts = _Parts()
        frames = []
        steps: Any = call.steps
        while steps is not None:
            assert isinstance(steps, GeneratorType)
            frames.append(parts.frame(steps))
            steps = steps.gi_yieldfrom
        if call.beat is not None:
            steps = call.renewal.steps
            while steps is not None:
                frames.append(parts.frame(steps))
                steps = steps.gi_yieldfrom
        shape = (
            tuple(frames),
            parts.renewal(call.renewal),
            parts.shape(call.beat),
            parts.shape(call.command),
            parts.shape(call.payload_hash),
            parts.name(call.owner),
            parts.time(call.until if call.body is None else None),  # read as the body begins
            call.operations,
            call.interrupted,
            call.acted,
            parts.time(expiry),
            parts.pauses(call),
        )
        return self._frozen(shape, parts)

    def _value(self, value: Record | Swap | None) -> Frozen:
        known = self._known.get(value)
        if known is None:
            parts = _Parts()
            known = self._known[value] = self._frozen(parts.shape(value), parts)
        return known

    def _frozen(self, shape: Any, parts: "_Parts") -> Frozen:
        number = self._shapes.setdefault(shape, len(self._shapes))
        return Frozen(number, tuple(parts.times), tuple(parts.names))


def relative(times: Sequence[int], now: int) -> tuple[int, ...]:
    """Return the remaining milliseconds of future times, and the order of past ones."""
    order = {time: -place for place, time in enumerate(sorted({time for time in times if time <= now}))}
    return tuple(time - now if time > now else order[time] for time in times)


def renamed(names: Sequence[str]) -> tuple[int, ...]:
    """Return ``names`` as their order of first appearance."""
    order: dict[str, int] = {}
    return tuple(order.setdefault(name, len(order)) for name in names)


_PLAIN = (bool, int, type(None))
_SHARED = (Engine, LocalCache, Report, type, MethodType, FunctionType)
"""Types whose values are the same for all calls of a client, or are in the key separately."""


class _Parts:
    """Decomposes values: its methods return shapes, and record times and names in their order."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.names: list[str] = []

    def local(self, name: str, value: Any) -> Any:
        return self.time(value) if name == "now" else self.shape(value)

    def frame(self, steps: Any) -> Any:
        """Return the position of a generator and its locals, without generators that it delegates to."""
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
        """Record a name; quotes mark the JSON text of a name. A final error differs from a result."""
        if not text:
            return text
        self.names.append(text.strip('"'))
        return "final error" if text.startswith(FINAL_ERROR) else text.startswith('"')

    def shape(self, value: Any) -> Any:  # noqa: C901 - one branch for each kind of value
        cls = type(value)
        if cls in _PLAIN:
            found: Any = (cls.__name__, value)
        elif cls is str:
            found = value if value == World.KEY or value.startswith(("payload", "ROW-")) else self.name(value)
        elif cls in (Record, Claim, Complete, Renew):
            found = self._with_deadlines(value)
        elif cls is Attempt:
            found = self._attempt(value)
        elif cls is Waiter:
            found = self._waiter(value)
        elif isinstance(value, (BaseException, Renewal, StopRenewal, *_SHARED)):  # a call has one renewal
            found = cls.__name__
        elif isinstance(value, Change):
            found = (cls.__name__, value.requests)  # distinguishes changes of the same type
        elif cls is GeneratorType:
            found = ("generator", self.frame(value))
        elif cls is Swap:  # no world uses `ttl_ms`
            found = ("Swap", self.shape(value.expected), self.shape(value.new))
        elif cls in (Sleep, Wait, Release, Abandon) or isinstance(value, Outcome):
            found = (cls.__name__, *map(self.shape, value))
        else:
            raise TypeError(f"no rule compares values of type {cls.__name__}: add one to `_Parts.shape`")
        return found

    def renewal(self, renewal: Renewal | None) -> Any:
        """Return the shape of what renews the lease of a call."""
        if renewal is None:
            return None
        known = map(self.shape, (renewal.claim, renewal.held, renewal.lost, renewal.stopped))
        return (*known, self.time(renewal.until))

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
            attempt.asks,
            attempt.asked is None,
            self.shape(attempt.waiter),
        )

    def _waiter(self, waiter: Waiter) -> Any:
        began = waiter.has_begun
        return (
            self.shape(waiter.unanswered),
            self.shape(waiter.trouble),
            waiter.listens,
            waiter.outlived,
            began
            and (
                self.time(waiter._until),
                self.time(waiter._since),
                waiter._unspent_ms,
                waiter._polls,
                waiter._pause,
            ),
        )

    def pauses(self, call: SimulatedCall) -> Any:
        pauses = call.pauses
        if not call.waiting_ms or call.body is not None:
            return None
        until = call.unanswered_until
        unanswered = until and (call.policy != ASK or self.time(until))
        if pauses is None:
            return unanswered
        return (
            unanswered,
            self.time(pauses.since),
            self.time(pauses.began),
            pauses.spent_ms,
            pauses.hurried,
        )

    def _with_deadlines(self, value: Any) -> Any:
        if isinstance(value, Claim):
            owner, lease, expiry, payload_hash, _, _ = value
            return "Claim", self.name(owner), self.time(lease), self.seconds(expiry), payload_hash
        if isinstance(value, Complete):
            owner, response, payload_hash, expiry, _ = value
            return "Complete", self.name(owner), self.name(response), payload_hash, self.seconds(expiry)
        if isinstance(value, Renew):
            return "Renew", self.name(value.owner), self.time(value.lease)
        _, status, expiry, lease, response, payload_hash, owner = value
        return (
            status,
            self.seconds(expiry),
            self.time(lease),
            self.name(response),
            payload_hash,
            self.name(owner),
        )
