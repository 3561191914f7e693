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
from collections.abc import Set as AbstractSet
from types import GeneratorType
from typing import Any, NamedTuple

from ...spec.commands import Command, Sleep, Swap
from ...spec.happenings import Began, Committed, Ended, Happening, Within
from ...spec.record import Record
from ..calls import SimulatedCall
from ..simulator import Written
from .parts import Parts

OWN = object()
"""In a log: the swap returned the same record object that it proposed."""


class LogEntry(NamedTuple):
    """One entry of a call's log: the time (epoch milliseconds), the event, and the store's answers."""

    now: int
    what: str
    answers: tuple[Any, ...]


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
        With transactions: "running", "open", "over", or "interrupted" while it completed.
    beat
        The type of the command that its renewal waits for, or None.
    """

    number: int
    start: tuple[int, int, str | None, Record | None]
    log: tuple[LogEntry, ...]
    waits_for: type[Command]
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
    transaction: Written | None = None


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


def without_the_forgotten(
    history: Sequence[Happening], now: int, open_now: AbstractSet[str]
) -> tuple[Happening, ...]:
    """Return the part of ``history`` that later checks may need.

    A completion within a transaction matters until it is committed, while its call or it is ``open_now``.
    """
    running, barred = remembered(history, now)
    within = within_transactions(history) & open_now
    return tuple(
        item
        for item in history
        if (isinstance(item, Began | Ended) and (item.owner in running or item.owner in barred))
        or (isinstance(item, Within) and item.owner in within)
    )


def within_transactions(history: Sequence[Happening]) -> set[str]:
    """Return the owners of attempts that completed within transactions which were not committed."""
    found: set[str] = set()
    for item in history:
        if isinstance(item, Within):
            found.add(item.owner)
        elif isinstance(item, Committed):
            found.discard(item.owner)
    return found


class Keys:
    """Computes the keys of states; keys of the same instance can be compared."""

    def __init__(self) -> None:
        self._shapes: dict[Any, int] = {}
        self._known: dict[Any, Frozen] = {}

    def of(self, state: SearchState) -> tuple[Any, ...]:
        """Return the key of ``state``."""
        now = state.now
        running, barred = remembered(state.history, now)
        within = within_transactions(state.history)
        transaction = state.transaction
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
        written = [] if transaction is None else [self._value(transaction.new)]
        parts = [current, *written, *delayed, *(part for client in clients for part in client[1:])]
        names = list(dict.fromkeys(name for part in parts for name in part.names))
        return (
            now % 1000,
            (
                *(state.faults_left, state.crashes_left, state.ticks_left),
                *(state.interrupts_left, state.outages_left, state.down),
                max(0, state.effect_until - now),
                transaction and transaction.is_left,
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
                        owner in within,
                    )
                    for owner in running.keys() | barred.keys() | within
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
        parts = Parts()
        frames = []
        steps: Any = call.steps
        while steps is not None:
            assert isinstance(steps, GeneratorType)
            frames.append(parts.frame(steps))
            steps = steps.gi_yieldfrom
        for beside in (call.completing, None if call.beat is None else call.renewal.steps):
            steps = beside
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
            parts.connection(call),
        )
        return self._frozen(shape, parts)

    def _value(self, value: Record | Swap | None) -> Frozen:
        known = self._known.get(value)
        if known is None:
            parts = Parts()
            known = self._known[value] = self._frozen(parts.shape(value), parts)
        return known

    def _frozen(self, shape: Any, parts: Parts) -> Frozen:
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
