"""Whole calls of the production engine over a layer under test, in every order that a search has found.

A search of the engine over a right store (:mod:`~idemproof.conformance.search.engine_explorer`) gives
the shortest path to every state that its calls can reach. Here the same paths are walked over the layer: what
it answers decides what the calls do, and the rules of the search judge each step.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

from ...spec.commands import Call, Sleep, Swap
from ...spec.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyError,
    IdempotencyInvalidStatusError,
    IdempotencyLeaseLostError,
    IdempotencyPersistenceLayerError,
)
from ...spec.invariants import OPERATIONS_PER_CALL, Ended
from ...spec.record import COMPLETED, Record, checked, deadline_ms, expiry_ms, same_record, same_version
from ..search.engine_explorer import Interleaving
from ..search.states import Keys
from ..search.steps import (
    ARRIVES,
    CALLS_WITH,
    EVICTS,
    FATES,
    TIME_PASSES,
    Choice,
    Steps,
    engine_in,
)
from ..simulator import SimulatedCall, StoreDown, World
from ..suite.checks import Broken, Case
from ..suite.subjects import as_a_sentence, came_from_the_layer
from ..suite.trace import Line

SENTENCES = {
    "INV-1": "Two bodies ran at once, each under a lease that was live.",
    "INV-2": "A result that was live was changed or removed.",
    "INV-3": "A live record of another attempt was changed or removed.",
    "INV-4": "A caller got an answer that is not the stored result of its own payload.",
    "INV-5": "The body ran again, although no attempt had died, outlived its lease or raised.",
    "INV-6": "A caller was locked out by its own claim, whose reply was lost.",
    "INV-8": "A call sent an unbounded number of requests to the store.",
    "INV-9": "No caller can claim the key, even after every deadline has passed.",
    "ENG-3": "A body began after its lease had ended: the claim that the layer granted was already over.",
    "ENG-6": "A completion was sent again after its expiry.",
    "ENG-7": "A caller got an answer that was not stored.",
    "ENG-11": "A caller got neither the body's error nor a documented error of the library.",
}
"""What a broken rule means for users of the layer."""

_WAITS_FOR = {"crashes": object, "returns": Call, "raises": Call, "waits": Sleep}
"""What a call must be waiting for, for this to happen to it; anything else is the fate of a request."""


class Bounds(NamedTuple):
    """What may happen on a path: how many clients call once each, and what may go wrong, in all."""

    clients: int = 2
    faults: int = 0
    crashes: int = 0
    ticks: int = 0
    payloads: int = 1


class ShortWorld(World):
    """A world in which leases and windows are so short that few steps of the clock see both end."""

    LEASE_MS = World.TICK
    WINDOW_MS = 2 * World.TICK


@cache
def paths(bounds: Bounds) -> tuple[tuple[Choice, ...], ...]:
    """Return shortest paths that together take every step possible within ``bounds``, short ones first."""
    keys = Keys()
    steps = Steps(keys, world=ShortWorld, payloads=bounds.payloads)
    first = steps.first(bounds.clients, bounds.faults, bounds.crashes, 1, bounds.ticks)
    known = {keys.of(first)}
    waiting: deque[tuple[Any, tuple[Choice, ...]]] = deque([(first, ())])
    found = []
    while waiting:
        state, path = waiting.popleft()
        for choice in steps.choices(state, set()):
            after, _ = steps.take(state, choice)
            key = keys.of(after)
            if key not in known:
                known.add(key)
                waiting.append((after, (*path, choice)))
            elif choice.who is not None:
                found.append((*path, choice))
    return tuple(found)


class LayerWorld(ShortWorld):
    """A world whose store is the layer under test, and whose clock is the case's.

    Parameters
    ----------
    case
        Has the workers, and the clock.
    """

    # So long that no store which lives by a clock of its own forgets a record while a path is walked; and a
    # little longer than a lease, for not every layer takes a deadline to be over when it has just come.
    LEASE_MS = 1_000_000
    WINDOW_MS = 2 * LEASE_MS
    TICK = LEASE_MS + 1000

    def __init__(self, case: Case) -> None:
        self.KEY = case.new_key()  # each world has its own
        self.acting = 0
        self.written: Record | None = None
        self.raised: Exception | None = None
        self._case = case
        self._looked: list[Record | None] = []
        case.clock.move_to(-(-case.now // 1000) * 1000)  # whole seconds, as in the search
        super().__init__(case.now)

    @property
    def now(self) -> int:
        """The epoch milliseconds that it is."""
        return self._case.now

    @now.setter
    def now(self, now: int) -> None:
        self._case.clock.move_to(now)
        self._looked.clear()

    @property
    def record(self) -> Record | None:
        """What stands. Nobody else uses the key, so it is read once after each change.

        A layer that keeps no owners is helped out: whoever wrote what stands is known here.
        """
        if not self._looked:
            try:
                found = self._case.layer.load(self.KEY)
                found = None if found is None else checked(found, self.KEY)
            except IdempotencyInvalidStatusError as corrupt:
                raise Broken(str(corrupt), ("REC-1",)) from corrupt
            if found is not None and found.owner is None and self.written is not None:
                owned = found._replace(owner=self.written.owner)
                found = owned if owned == self.written else found
            self._looked.append(found)
        return self._looked[0]

    @record.setter
    def record(self, record: Record | None) -> None:
        current = self.record
        if record is None and current is not None:  # as the store's own housekeeping does
            self._case.layer.swap(self.KEY, current, None, 0)
            self._looked.clear()

    def swap(self, command: Swap) -> Record | None:
        """Ask the acting client's layer."""
        worker = self._case.workers[self.acting % len(self._case.workers)]
        before = self.record
        self._looked.clear()
        try:
            found = worker.swap(*command)
        except IdempotencyError as refusal:
            self.raised = refusal
            raise
        except Exception as failure:
            if not came_from_the_layer(failure):
                raise
            self.raised = failure
            raise StoreDown(str(failure)) from failure
        if worker.swaps:
            self._judge(command, before, found)
        new = command.new
        if new is not None and found is not None and (found is new or same_record(found, new)):
            self.written = new
            if new.status == COMPLETED:
                self.history.append(Ended(str(new.owner), self.now, "stored", expiry_ms(new)))
        return found

    def deliver(self, place: int = 0) -> None:
        """Let a delayed request arrive; if it is refused, nobody is there to hear it."""
        with suppress(IdempotencyError, StoreDown):
            super().deliver(place)

    def _judge(self, command: Swap, before: Record | None, found: Record | None) -> None:
        """Compare a swap with what the contract says of it, to the letter."""
        after = self.record
        possible = [before]
        if before is not None and self.now >= expiry_ms(before):
            possible.append(None)  # the store's own housekeeping may have come between
        rights = [command.new if same_version(each, command.expected) else each for each in possible]
        if after not in rights:
            did = "did not replace" if after == before else "replaced"
            raise Broken(
                f"A swap {did} the stored record, contrary to the expected record that it was given.",
                ("CAS-2",),
            )
        if found != after:
            raise Broken("A swap did not return the record that is stored afterwards.", ("CAS-3",))


class LayerRun(Interleaving):
    """Plays the choices of a path over a layer."""

    def __init__(self, case: Case, clients: int) -> None:
        super().__init__(clients, world=lambda: LayerWorld(case))
        self._fenced = case.capabilities.fenced
        self._disturbed = False

    def allows(self, choice: Choice) -> bool:
        """Tell whether ``choice`` can happen: after another answer than the search had it may not."""
        world = self.world
        if choice.what == EVICTS:
            return world.record is not None and world.now >= expiry_ms(world.record)
        if choice.what == ARRIVES:
            return choice.who is not None and choice.who < len(world.delayed)
        if choice.who is None:
            return True
        under_way = self._calls[choice.who]
        if choice.what.startswith(CALLS_WITH) or under_way is None:
            return choice.what.startswith(CALLS_WITH) and under_way is None
        wanted = _WAITS_FOR.get(choice.what, Swap)
        return isinstance(under_way[1].command, wanted)

    def take(self, choice: Choice) -> list[str]:
        """Let it happen; return the names of the rules that are broken by it."""
        world: Any = self.world
        world.acting = choice.who or 0
        under_way = None if choice.who is None else self._calls[choice.who]
        broken = super().take(choice)
        if under_way is not None and not self._disturbed:
            self._require_a_cause(under_way[1])
        self._disturbed = self._disturbed or choice.what in FATES
        if self._fenced and under_way is not None and choice.what != ARRIVES:
            call = under_way[1]
            locked_out = isinstance(call.value, IdempotencyAlreadyInProgressError)
            if locked_out and world.written is not None and world.written.owner == call._owner:
                broken = [*broken, "INV-6 a lost reply locks no caller out"]
        return broken

    def what_is_left(self) -> Iterator[Choice]:
        """Yield what lets every call that is under way come to its end without a fault."""
        for who in range(len(self._calls)):
            for _ in range(OPERATIONS_PER_CALL):
                under_way = self._calls[who]
                if under_way is None:
                    break
                command = under_way[1].command
                what = (
                    "returns"
                    if isinstance(command, Call)
                    else "waits"
                    if isinstance(command, Sleep)
                    else "answered"
                )
                yield Choice(what, who)

    def _require_a_cause(self, call: SimulatedCall) -> None:
        """Complain of a layer that lets a call fail though nothing has happened to it."""
        raised = self.world.raised  # type: ignore[attr-defined]  # it is a LayerWorld
        failed = call.ended == "raised" and isinstance(call.value, IdempotencyPersistenceLayerError)
        if failed and raised is not None and not isinstance(raised, IdempotencyLeaseLostError):
            raise Broken(as_a_sentence(raised), ("CAS-3",))

    def newcomer_fails(self) -> bool:
        """Tell whether a newcomer, after all deadlines, does not get its body run (INV-9)."""
        world: Any = self.world
        record = world.record
        if record is not None:
            world.now = max(world.now, deadline_ms(record), expiry_ms(record)) + world.TICK
        last = world.call(engine_in(world, self._kind, cached=False)).run("last")
        self._tell("a newcomer", f"calls, and the call {last.ended}: {last.value!r}")
        return (last.ended, last.value) != ("returned", "last")

    def tell_of(self, choice: Choice) -> None:
        """Tell of a choice that the layer has answered wrongly."""
        self._tell("the store" if choice.who is None else f"client {choice.who + 1}", choice.what)

    def lines(self) -> list[Line]:
        """Return what happened."""
        passes = f"{self.world.TICK // 1000:,} s pass"
        return [
            Line(*each._replace(what=passes if each.what == TIME_PASSES else each.what))
            for each in self.timeline
        ]


def walk(case: Case, bounds: Bounds, suits: Callable[[Sequence[Choice]], bool] = lambda _: True) -> None:
    """Walk all paths within ``bounds`` over the case's layer, and note what breaks.

    Of each clause that breaks, the first trace is told, which is a shortest one. The walk ends early once
    the profile's time is over.

    Parameters
    ----------
    case
        Where the findings go.
    bounds
        What may happen on the paths.
    suits
        Chooses among the paths.
    """
    reported: set[str] = set()
    known = paths(bounds)
    ends = time.perf_counter() + case.profile.tour_seconds
    for path in filter(suits, known):
        if time.perf_counter() > ends:
            case.cut_short = True
            return
        case.histories += 1
        interleaving = LayerRun(case, bounds.clients)
        for clause, _ in _broken_on(path, interleaving):
            if clause not in reported:
                reported.add(clause)
                why, lines = _shortest(case, bounds, path, clause)
                case.found(why, lines, (clause,))


def _shortest(case: Case, bounds: Bounds, path: Sequence[Choice], clause: str) -> tuple[str, list[Line]]:
    """Leave out of ``path`` what ``clause`` breaks without, one step at a time; tell the rest."""

    def played(choices: Sequence[Choice]) -> tuple[str | None, list[Line]]:
        case.histories += 1
        interleaving = LayerRun(case, bounds.clients)
        broken = dict(_broken_on(choices, interleaving))
        return broken.get(clause), interleaving.lines()

    why, lines = played(path)
    left = list(path)
    for place in reversed(range(len(path))):
        without = left[:place] + left[place + 1 :]
        said, reported = played(without)
        if said is not None:
            left, why, lines = without, said, reported
    return (
        why or f"It happened once, and not again when it was repeated: {SENTENCES.get(clause, clause)}",
        lines,
    )


def _broken_on(path: Sequence[Choice], interleaving: LayerRun) -> Iterator[tuple[str, str]]:
    """Walk one path; give the clauses that break first, with a sentence."""
    for choice in itertools.chain(path, interleaving.what_is_left()):
        if not interleaving.allows(choice):
            continue  # a layer that decides for itself needs fewer requests than the search's
        try:
            broken = interleaving.take(choice)
        except Broken as contract:
            interleaving.tell_of(choice)
            yield from ((clause, contract.why) for clause in contract.clauses)
            return
        except Exception as failure:  # whatever it is, the layer raised it without a cause
            if not came_from_the_layer(failure):
                raise
            interleaving.tell_of(choice)
            yield "CAS-3", as_a_sentence(failure)
            return
        if broken:
            clauses = dict.fromkeys(name.split()[0] for name in broken)
            yield from ((clause, SENTENCES[clause]) for clause in clauses)
            return
    if interleaving.newcomer_fails():
        yield "INV-9", SENTENCES["INV-9"]


def without_late_requests(path: Sequence[Choice]) -> bool:
    """Tell whether no request on this path arrives after its sender gave up."""
    return all(choice.what != FATES[-1] for choice in path)
