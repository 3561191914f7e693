"""An exhaustive search of the production engine: all interleavings of several clients' calls, with faults.

The clients run the engine's generators over the compare-and-swap store of
:class:`~idemproof.conformance.simulator.World`. Each call may take its next step at any time. Its requests
may be lost, refused or late; its body may return or raise; its worker may die. Time passes in seconds, and a
lease and a window take a few seconds, so that calls both meet and miss every deadline.

The search is breadth first, so a counterexample is as short as possible. ``states.py`` defines when two
states are equal, and explains why it is enough to visit one of them.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from ...reference.engine import Engine
from ...spec.commands import AskWithin, Swap
from ...spec.events import RUN
from ...spec.record import Record, deadline_ms
from ..calls import SimulatedCall
from ..simulator import World
from .choices import ARRIVES, CALLS_WITH, RENEWAL, TIME_PASSES, Choice, act, act_on
from .rules import broken_by_change, broken_by_step_of, completion_of
from .states import Keys, SearchState
from .steps import Steps, engine_in

_NOT_CLAIMABLE = "INV-9 a newcomer finishes once the deadline has passed"
_NEVER_ENDS = "INV-8 a call ends though every request is refused"


class Happened(NamedTuple):
    """One line of a timeline: milliseconds since its start, actor, event, and the record afterwards."""

    after_ms: int
    who: str
    what: str
    current: Record | None


class EngineCounterexample(NamedTuple):
    """The shortest path to a step that breaks a rule.

    Parameters
    ----------
    broken
        The rules that the step breaks.
    timeline
        The events.
    path
        The choices that lead to the step.
    """

    broken: tuple[str, ...]
    timeline: tuple[Happened, ...]
    path: tuple[Choice, ...]


class EngineResult(NamedTuple):
    """The result of a search.

    Parameters
    ----------
    states, edges
        The numbers of visited states and edges.
    complete
        Whether all states within the bounds were visited.
    bounds
        The extent of the search in words: "complete", "complete within: ..." with each bound that excluded
        a step, or "stopped at ... states".
    counterexample
        The shortest counterexample, if a rule breaks.
    """

    states: int
    edges: int
    complete: bool
    bounds: str
    counterexample: EngineCounterexample | None = None


def search_engine(
    clients: int = 2,
    faults: int = 1,
    crashes: int = 1,
    cached: bool = False,
    budget_states: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    calls: int | None = None,
    ticks: int | None = None,
    payloads: int = 1,
    interrupts: int = 0,
    outages: int = 0,
    waiting_ms: int = 0,
    renews: bool = False,
    final_errors: bool = False,
    transactions: str = "",
    engine: type[Engine] = Engine,
    world: type[World] = World,
    policy: str = RUN,
) -> EngineResult:
    """Visit every state that calls of the engine can reach, breadth first, and check every step.

    Parameters
    ----------
    clients
        The number of processes; each makes one call at a time.
    faults
        The total number of requests that may be lost, refused or late.
    crashes
        The total number of workers that may die.
    cached
        Whether each client has a local cache.
    budget_states
        The number of states at which to stop; None for no limit.
    progress
        Called from time to time with the number of known states and of those still to visit.
    calls
        The number of calls of each client; None for no limit.
    ticks
        The number of seconds that may pass; None for no limit.
    payloads
        The number of different payload hashes, at most 2.
    interrupts
        The total number of interrupts: at a request, in a wait, or in a body.
    outages
        The number of outages, in which the store fails, or refuses results, until it is back.
    final_errors
        Whether a body, and what answers the question, may also raise a final error.
    waiting_ms
        For how many milliseconds each call waits for another attempt. A pause may end at any time, whatever
        the clock shows; a signal may end it too.
    renews
        Whether leases are renewed while bodies run, at any time.
    transactions
        The database in whose transactions bodies may complete, "postgresql" or "mysql"; empty for none.
        SQLite behaves as MySQL does.
    engine, world
        The engine and the store to search. Broken ones test the search itself.
    policy
        The policy of all claims. If it is not "run", each body has an effect, which must not happen twice.
    """
    if transactions and (policy != RUN or waiting_ms or outages):
        raise ValueError("transactions are searched with the policy run, and without waiting and outages")
    search = _Search(
        engine,
        world,
        transactions=transactions,
        cached=cached,
        payloads=payloads,
        policy=policy,
        final_errors=final_errors,
        waiting_ms=waiting_ms,
        renews=renews,
    )
    allowed = {
        "faults": faults,
        "crashes": crashes,
        "calls": calls,
        "ticks": ticks,
    }
    # Listed only if there are any, because most searches do not use them.
    allowed |= {name: most for name, most in (("interrupts", interrupts), ("outages", outages)) if most}
    first = search.steps.first(clients, faults, crashes, calls, ticks, interrupts=interrupts, outages=outages)
    return search.run(first, allowed, budget_states, progress)


class _Search:
    def __init__(
        self,
        engine: type[Engine],
        world: type[World],
        *,
        payloads: int,
        final_errors: bool,
        **setup: Any,
    ) -> None:
        self._engine, self._world_kind, self._setup = engine, world, setup
        self._keys = Keys()
        self.steps = Steps(
            self._keys,
            engine,
            world,
            payloads=payloads,
            final_errors=final_errors,
            **setup,
        )
        self._judged: set[Any] = set()
        self._clients = 0

    def run(
        self,
        first: SearchState,
        allowed: dict[str, int | None],
        budget: int | None,
        progress: Callable[[int, int], None] | None,
    ) -> EngineResult:
        self._clients = len(first.clients)
        # For each state, the number of the previous state on its shortest path, and the choice.
        reached: list[tuple[int, Choice | None]] = [(0, None)]
        known = {self._keys.of(first)}
        waiting = deque([(0, first)])
        withheld: set[str] = set()
        edges = 0
        while waiting:
            number, state = waiting.popleft()
            for choice in self.steps.choices(state, withheld):
                edges += 1
                after, broken = self.steps.take(state, choice)
                if not broken:
                    key = self._keys.of(after)
                    if key in known:
                        continue
                    known.add(key)
                    reached.append((number, choice))
                    waiting.append((len(reached) - 1, after))
                    broken = self._broken_by_future(after)
                    if progress is not None and len(reached) % 1000 == 0:
                        progress(len(reached), len(waiting))
                if broken:
                    path = [*_path(reached, number), choice]
                    counterexample = self._counterexample(path, tuple(broken))
                    bounds = f"stopped at {len(reached)} states: a rule is broken"
                    return EngineResult(len(reached), edges, False, bounds, counterexample)
            if budget is not None and len(reached) >= budget and waiting:
                return EngineResult(len(reached), edges, False, f"stopped at {len(reached)} states")
        bounds = ", ".join(f"{limit} {name}" for name, limit in allowed.items() if name in withheld)
        bounds = f"complete within: {bounds}" if bounds else "complete"
        return EngineResult(len(reached), edges, True, bounds)

    def _broken_by_future(self, state: SearchState) -> list[str]:
        """Return the rules that break if ``state`` continues without faults."""
        broken = []
        key: Any = self._keys.of_record(state.record, state.now)
        if key not in self._judged:
            self._judged.add(key)
            if self.steps.nobody_can_finish(state):
                broken.append(_NOT_CLAIMABLE)
        for client in state.clients:
            if client.call is not None:
                key = self._keys.of_call(client.call, state.now)
                if key not in self._judged:
                    self._judged.add(key)
                    if self.steps.does_not_end(state, client.call):
                        broken.append(_NEVER_ENDS)
        return broken

    def _counterexample(self, path: Sequence[Choice], broken: tuple[str, ...]) -> EngineCounterexample:
        """Replay ``path`` in one world, from the start, and record the timeline."""
        interleaving = Interleaving(self._clients, self._engine, self._world_kind, **self._setup)
        found: list[str] = []
        for choice in path:
            found = interleaving.take(choice)
        if not set(broken) <= {*found, _NOT_CLAIMABLE, _NEVER_ENDS}:
            raise AssertionError(f"the search found {broken}, its replay {found}")
        return EngineCounterexample(broken, tuple(interleaving.timeline), tuple(path))


class Interleaving:
    """Takes choices one after the other in one world; no state is restored, and no history is dropped.

    Parameters
    ----------
    clients, engine, world, cached, policy, waiting_ms, renews, transactions
        As for :func:`search_engine`.
    """

    def __init__(
        self,
        clients: int,
        engine: type[Engine] = Engine,
        world: Callable[[], World] = World,
        *,
        cached: bool = False,
        waiting_ms: int = 0,
        renews: bool = False,
        policy: str = RUN,
        transactions: str = "",
    ) -> None:
        self.world = world()
        self.world.dialect = transactions
        self.timeline: list[Happened] = []
        self._began = self.world.now
        self._kind = engine
        self._make = partial(
            engine_in, self.world, engine, cached=cached, policy=policy, waiting_ms=waiting_ms, renews=renews
        )
        self._engines = [self._make() for _ in range(clients)]
        self._calls: list[tuple[int, SimulatedCall, int | None] | None] = [None] * clients
        self._started = 0

    def take(self, choice: Choice) -> list[str]:
        """Take a step; return the names of the rules that it breaks."""
        world, what, who = self.world, choice.what, choice.who
        before, occurrences = world.record, len(world.history)
        broken: list[str] = []
        if who is None or what == ARRIVES:
            actor = act_on(world, choice)
            self._log("the clock" if what == TIME_PASSES else "the store", what)
        else:
            actor, broken = self._client_step(what, who)
        if world.record is not before or len(world.history) > occurrences:
            broken = broken_by_change(world, before, actor) + broken
        return broken

    def _client_step(self, what: str, who: int) -> tuple[str, list[str]]:
        running = self._calls[who]
        expiry = before = None
        if running is None:
            self._started += 1
            number = self._started
            call = self.world.call(self._engines[who], what.removeprefix(CALLS_WITH))
            self._log(f"client {who + 1}", what)
        else:
            number, call, expiry = running
            before = call.command
            spoken = call.running or call.asking or what.startswith(RENEWAL)
            command = "" if spoken else f": {_in_words(call.command)}"
            act(call, what, number)
            ended = (
                f", and the call {call.ended}: {call.value!r}" if call.ended in ("returned", "raised") else ""
            )
            self._log(f"client {who + 1}", what + command + ended)
        broken = broken_by_step_of(call, before, self.world, expiry)
        expiry = completion_of(call.command) if expiry is None else expiry
        self._calls[who] = None if call.ended is not None else (number, call, expiry)
        if call.ended == "crashed":
            self._engines[who] = self._make()
        return call.owner, broken

    def _log(self, who: str, what: str) -> None:
        self.timeline.append(Happened(self.world.now - self._began, who, what, self.world.record))


def _in_words(command: Any) -> str:
    if isinstance(command, AskWithin):
        return f"its transaction is asked to {command.exchange.__name__.replace('_', ' ')}"
    if not isinstance(command, Swap):
        return type(command).__name__.lower()
    expected, new = command.expected, command.new
    if expected is not None and new is not None and expected[1:2] + expected[6:] == new[1:2] + new[6:]:
        return "an abandonment" if deadline_ms(new) < deadline_ms(expected) else "a claim"
    return "a release" if new is None else "a claim" if new.response_data is None else "a completion"


def _path(reached: Sequence[tuple[int, Choice | None]], number: int) -> Iterator[Choice]:
    """Return the choices that lead to the state with this number."""
    path = []
    while (step := reached[number])[1] is not None:
        path.append(step[1])
        number = step[0]
    return reversed(path)
