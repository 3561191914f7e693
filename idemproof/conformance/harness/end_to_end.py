"""End-to-end calls of the production engine over a layer under test, in every order that a search has found.

A search of the engine over a correct store (:mod:`~idemproof.conformance.search.engine_explorer`) returns the
shortest path to every state that its calls can reach. This module takes the same paths over the layer. The
layer's answers decide what the calls do, and the rules of the search check each step.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

from ...spec.commands import RunBody, Sleep, Swap
from ...spec.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyError,
    IdempotencyInvalidStatusError,
    IdempotencyLeaseLostError,
    IdempotencyPersistenceLayerError,
)
from ...spec.happenings import Ended
from ...spec.invariants import OPERATIONS_PER_CALL
from ...spec.record import COMPLETED, Record, checked, deadline_ms, expiry_ms, same_record, same_version
from ..calls import SimulatedCall
from ..renewals import StoreDown
from ..search.choices import ARRIVES, CALLS_WITH, EVICTS, FATES, TIME_PASSES, Choice
from ..search.engine_explorer import Interleaving
from ..search.states import Keys
from ..search.steps import Steps, engine_in
from ..simulator import World
from ..suite.checks import Broken, Case
from ..suite.subjects import as_a_sentence, came_from_the_layer
from ..suite.trace import Line
from . import requests

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
"""The meaning of a broken rule for users of the layer."""

_WAITS_FOR = {"crashes": object, "returns": RunBody, "raises": RunBody, "waits": Sleep}
"""The command that a call must be waiting for; every other choice is the fate of a request."""


_PATHS = 10
"""How many paths a check takes at least, if the plan of a run on a slow store shortens it."""


class Bounds(NamedTuple):
    """The bounds of a path: the number of clients, which call once each, and the total number of faults."""

    clients: int = 2
    faults: int = 0
    crashes: int = 0
    ticks: int = 0
    payloads: int = 1


class ShortWorld(World):
    """A world with leases and windows so short that both end within a few steps of the clock."""

    LEASE_MS = World.TICK
    WINDOW_MS = 2 * World.TICK


@cache
def paths(bounds: Bounds) -> tuple[tuple[Choice, ...], ...]:
    """Return shortest paths that together take every possible step within ``bounds``, short ones first."""
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
    """A world whose store is the layer under test, with the clock of the case.

    Parameters
    ----------
    case
        The case of the check, with the workers and the clock.
    """

    # So long that a store with its own clock evicts no record during a path. A tick is a little longer than a
    # lease, because some layers notice a deadline late.
    LEASE_MS = 1_000_000
    WINDOW_MS = 2 * LEASE_MS
    TICK = LEASE_MS + 1000

    def __init__(self, case: Case) -> None:
        self.KEY = case.new_key()  # unique to each world
        self.acting = 0
        self.written: Record | None = None
        self.raised: Exception | None = None
        self._case = case
        self._read: list[Record | None] = []
        case.clock.move_to(-(-case.now // 1000) * 1000)  # whole seconds, as in the search
        super().__init__(case.now)

    @property
    def now(self) -> int:
        """The current time in epoch milliseconds."""
        return self._case.now

    @now.setter
    def now(self, now: int) -> None:
        self._case.clock.move_to(now)
        self._read.clear()

    @property
    def record(self) -> Record | None:
        """The stored record. No other client uses the key, so it is read once after each change.

        If the layer stores no owners, the owner of the last written record is added.
        """
        if not self._read:
            try:
                found = self._case.layer.load(self.KEY)
                found = None if found is None else checked(found, self.KEY)
            except IdempotencyInvalidStatusError as corrupt:
                raise Broken(str(corrupt), ("REC-1",)) from corrupt
            if found is not None and found.owner is None and self.written is not None:
                owned = found._replace(owner=self.written.owner)
                found = owned if owned == self.written else found
            self._read.append(found)
        return self._read[0]

    @record.setter
    def record(self, record: Record | None) -> None:
        current = self.record
        if record is None and current is not None:  # an eviction by the store
            self._case.layer.swap(self.KEY, current, None, 0)
            self._read.clear()

    def swap(self, command: Swap) -> Record | None:
        """Swap with the layer of the acting client."""
        worker = self._case.workers[self.acting % len(self._case.workers)]
        before = self.record
        self._read.clear()
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
        answer = requests.plain(found, command.key, swaps=worker.swaps)
        if worker.swaps:
            self._judge(command, before, answer)
        new = command.new
        if new is not None and answer is not None and (answer is new or same_record(answer, new)):
            self.written = new
            if new.status == COMPLETED:
                self.history.append(Ended(str(new.owner), self.now, "stored", expiry_ms(new)))
        return found

    def deliver(self, place: int = 0) -> None:
        """Let a delayed request arrive; ignore a refusal, because its sender has given up."""
        with suppress(IdempotencyError, StoreDown):
            super().deliver(place)

    def _judge(self, command: Swap, before: Record | None, found: Record | None) -> None:
        """Check the effect and the answer of a swap against the contract (CAS-2, CAS-3)."""
        after = self.record
        possible = [before]
        if before is not None and self.now >= expiry_ms(before):
            possible.append(None)  # the store may have evicted it
        allowed = [command.new if same_version(each, command.expected) else each for each in possible]
        if after not in allowed:
            did = "did not replace" if after == before else "replaced"
            raise Broken(
                f"A swap {did} the stored record, contrary to the expected record that it was given.",
                ("CAS-2",),
            )
        if found != after:
            raise Broken("A swap did not return the record that is stored afterwards.", ("CAS-3",))


class LayerRun(Interleaving):
    """Runs the choices of a path over a layer."""

    def __init__(self, case: Case, clients: int) -> None:
        super().__init__(clients, world=lambda: LayerWorld(case))
        self._fenced = case.fenced
        self._had_faults = False

    def allows(self, choice: Choice) -> bool:
        """Return whether ``choice`` is possible; it depends on the layer's earlier answers."""
        world = self.world
        if choice.what == EVICTS:
            return world.record is not None and world.now >= expiry_ms(world.record)
        if choice.what == ARRIVES:
            return choice.who is not None and choice.who < len(world.delayed)
        if choice.who is None:
            return True
        running = self._calls[choice.who]
        if choice.what.startswith(CALLS_WITH) or running is None:
            return choice.what.startswith(CALLS_WITH) and running is None
        wanted = _WAITS_FOR.get(choice.what, Swap)
        return isinstance(running[1].command, wanted)

    def take(self, choice: Choice) -> list[str]:
        """Take a step; return the names of the rules that it breaks."""
        world: Any = self.world
        world.acting = choice.who or 0
        running = None if choice.who is None else self._calls[choice.who]
        broken = super().take(choice)
        if running is not None and not self._had_faults:
            self._require_cause(running[1])
        self._had_faults = self._had_faults or choice.what in FATES
        if self._fenced and running is not None and choice.what != ARRIVES:
            call = running[1]
            locked_out = isinstance(call.value, IdempotencyAlreadyInProgressError)
            if locked_out and world.written is not None and world.written.owner == call.owner:
                broken = [*broken, "INV-6 a lost reply locks no caller out"]
        return broken

    def remaining_choices(self) -> Iterator[Choice]:
        """Yield the choices that end every running call without a fault."""
        for who in range(len(self._calls)):
            for _ in range(OPERATIONS_PER_CALL):
                running = self._calls[who]
                if running is None:
                    break
                command = running[1].command
                what = (
                    "returns"
                    if isinstance(command, RunBody)
                    else "waits"
                    if isinstance(command, Sleep)
                    else "answered"
                )
                yield Choice(what, who)

    def _require_cause(self, call: SimulatedCall) -> None:
        """Raise :class:`Broken` if the layer lets a call fail although no fault was injected."""
        raised = self.world.raised  # type: ignore[attr-defined]  # a LayerWorld
        failed = call.ended == "raised" and isinstance(call.value, IdempotencyPersistenceLayerError)
        if failed and raised is not None and not isinstance(raised, IdempotencyLeaseLostError):
            raise Broken(as_a_sentence(raised), ("CAS-3",))

    def newcomer_fails(self) -> bool:
        """Return whether a new caller, after all deadlines, cannot run its body (INV-9)."""
        world: Any = self.world
        record = world.record
        if record is not None:
            world.now = max(world.now, deadline_ms(record), expiry_ms(record)) + world.TICK
        last = world.call(engine_in(world, self._kind, cached=False)).run("last")
        self._log("a newcomer", f"calls, and the call {last.ended}: {last.value!r}")
        return (last.ended, last.value) != ("returned", "last")

    def log_choice(self, choice: Choice) -> None:
        """Log a choice that the layer has answered wrongly."""
        self._log("the store" if choice.who is None else f"client {choice.who + 1}", choice.what)

    def lines(self) -> list[Line]:
        """Return the trace."""
        passes = f"{self.world.TICK // 1000:,} s pass"
        return [
            Line(*each._replace(what=passes if each.what == TIME_PASSES else each.what))
            for each in self.timeline
        ]


def walk(case: Case, bounds: Bounds, suits: Callable[[Sequence[Choice]], bool] = lambda _: True) -> None:
    """Take all paths within ``bounds`` over the case's layer, and report broken clauses.

    For each broken clause, the first trace is reported, which is a shortest one. The walk ends early when the
    profile's time is over.

    Parameters
    ----------
    case
        The case of the check, which collects the findings.
    bounds
        The bounds of the paths.
    suits
        Selects among the paths.
    """
    known: set[str] = set()
    candidates = paths(bounds)
    limit = case.limit(case.profile.tour_seconds)
    for path in filter(suits, candidates):
        if limit.over and not (case.is_shortened and case.histories < _PATHS):
            case.cut_short = True
            return
        case.histories += 1
        interleaving = LayerRun(case, bounds.clients)
        for clause, sentence in _broken_on(path, interleaving):
            if clause not in known:
                known.add(clause)
                case.suspected = Broken(sentence, (clause,), interleaving.lines())
                why, lines = _shortest(case, bounds, path, clause)
                case.found(why, lines, (clause,))


def _shortest(case: Case, bounds: Bounds, path: Sequence[Choice], clause: str) -> tuple[str, list[Line]]:
    """Shorten ``path`` one step at a time while ``clause`` still breaks; return the reason and the trace."""

    def repeat(choices: Sequence[Choice]) -> tuple[str | None, list[Line]]:
        case.histories += 1
        interleaving = LayerRun(case, bounds.clients)
        broken = dict(_broken_on(choices, interleaving))
        return broken.get(clause), interleaving.lines()

    limit = case.limit(case.profile.tour_seconds)
    why, lines = repeat(path)
    kept = list(path)
    for place in reversed(range(len(path))):
        if case.is_shortened and limit.over:
            break
        shortened = kept[:place] + kept[place + 1 :]
        again, lines_again = repeat(shortened)
        if again is not None:
            kept, why, lines = shortened, again, lines_again
    return (
        why or f"It happened once, and not again when it was repeated: {SENTENCES.get(clause, clause)}",
        lines,
    )


def _broken_on(path: Sequence[Choice], interleaving: LayerRun) -> Iterator[tuple[str, str]]:
    """Take one path; yield the clauses that break first, each with a sentence."""
    for choice in itertools.chain(path, interleaving.remaining_choices()):
        if not interleaving.allows(choice):
            continue  # a layer with its own methods may need fewer requests than the search
        try:
            broken = interleaving.take(choice)
        except Broken as contract:
            interleaving.log_choice(choice)
            yield from ((clause, contract.why) for clause in contract.clauses)
            return
        except Exception as failure:  # no injected fault explains an error of the layer
            if not came_from_the_layer(failure):
                raise
            interleaving.log_choice(choice)
            yield "CAS-3", as_a_sentence(failure)
            return
        if broken:
            clauses = dict.fromkeys(name.split()[0] for name in broken)
            yield from ((clause, SENTENCES[clause]) for clause in clauses)
            return
    if interleaving.newcomer_fails():
        yield "INV-9", SENTENCES["INV-9"]


def without_late_requests(path: Sequence[Choice]) -> bool:
    """Return whether no request on this path arrives after its sender has given up."""
    return all(choice.what != FATES[-1] for choice in path)
