"""An exhaustive search of all interactions of several clients of one key. It checks every step.

The states are those of :mod:`~idemproof.spec.states`, and the moves are those of
:mod:`~idemproof.spec.moves`. The search is breadth first, so the first step that breaks an invariant ends a
shortest trace. The search is complete when no unvisited state is left.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from .events import RUN
from .moves import FAULTS, Attempt, Move, forget
from .record import Record
from .states import GONE, RUNNING, Client, State, broken_by_beginning, canonical, tick
from .takeover import POLICIES, CautiousAttempt, operated
from .transactions import TransactionalAttempt, is_locked

HASHES = ("a", "b", "")
"""The payload hashes of calls; empty for none."""

PROGRESS_EVERY = 1000


class Edge(NamedTuple):
    """One step from one state to the next. Clients keep their positions."""

    what: str
    client: int | None
    after: State
    faultless: bool
    finishes: bool
    row: str
    broken: tuple[str, ...]


class TraceLine(NamedTuple):
    """One line of a trace: what happened, to which client, and the record that is stored then."""

    what: str
    who: str
    record: Record | None


class Trace(NamedTuple):
    """The shortest trace to a fault."""

    broken: tuple[str, ...]
    lines: tuple[TraceLine, ...]


class Result(NamedTuple):
    """The result of a search.

    Parameters
    ----------
    states, edges
        The numbers of states and steps.
    complete
        Whether all states were visited.
    rows
        The rows of the table that decided a step.
    counterexample
        A shortest trace to a step that breaks an invariant, or None.
    stuck
        A trace to a state from which no client can finish without faults, or None.
    """

    states: int
    edges: int
    complete: bool
    rows: frozenset[str]
    counterexample: Trace | None = None
    stuck: Trace | None = None


class Explorer:
    """Searches the interactions of clients of one key.

    Parameters
    ----------
    clients
        The number of clients.
    payload_hashes
        The number of payload hashes that their calls use, up to three. The third is no payload hash.
    faults
        The faults that may happen, out of :data:`~idemproof.spec.moves.FAULTS`.
    late_requests
        How many requests may be delayed at the same time, to arrive after their attempt has moved on.
    invocations
        How many of the clients are invocations of one durable execution, which may be suspended and may run
        at the same time.
    policy
        The policy of all claims. If it is not "run", the bodies have an effect, which must not happen twice
        (INV-10), and an operator resolves or forgets what is parked.
    transactions
        Whether the clients complete within transactions, which commit their effect and their result together,
        are rolled back, or stay open after the call (INV-11).

    Raises
    ------
    ValueError
        A fault or a policy is unknown, or a number is out of range.
    """

    def __init__(
        self,
        clients: int = 2,
        payload_hashes: int = 1,
        faults: tuple[str, ...] = FAULTS,
        late_requests: int = 0,
        invocations: int = 0,
        policy: str = RUN,
        *,
        transactions: bool = False,
    ) -> None:
        unknown = sorted(set(faults) - set(FAULTS))
        if unknown:
            raise ValueError(f"there is no fault {', '.join(unknown)}; use {', '.join(FAULTS)}")
        if clients < 1 or not 1 <= payload_hashes <= len(HASHES):
            raise ValueError(f"clients must be 1 or more, and payload_hashes 1 to {len(HASHES)}")
        if not 0 <= invocations <= clients:
            raise ValueError(f"invocations must be 0 to {clients} of {clients} clients, not {invocations}")
        if policy not in (RUN, *POLICIES) or (policy != RUN and invocations):
            raise ValueError(
                f"policy must be {', '.join((RUN, *POLICIES))}, and run with invocations, not {policy!r}"
            )
        if transactions and (policy != RUN or invocations):
            raise ValueError("transactions need the policy run, and no invocations")
        self._policy = policy
        self._transactions = transactions
        self._hashes = HASHES[:payload_hashes]
        self._faults = frozenset(faults)
        self._late_requests = late_requests
        plain = (Client(),) * (clients - invocations)
        self._start = canonical(State(None, (*plain, *(Client(durable=True),) * invocations)))
        self._moves: dict[tuple[Client, Record | None, bool, int, bool], tuple[Move, ...]] = {}

    def search(self, progress: Callable[[int, int], None] | None = None, limit: int | None = None) -> Result:
        """Visit every state and check every step.

        Parameters
        ----------
        progress
            Called from time to time with the number of states found, and how many of them are unvisited.
        limit
            How many states to find at most; None for all.
        """
        reached_from: dict[State, tuple[State, str, int | None] | None] = {self._start: None}
        faultless_from: dict[State, list[State]] = {}
        finishing: set[State] = set()
        waiting = deque([self._start])
        rows: set[str] = set()
        edges = 0
        while waiting:
            if progress is not None and len(reached_from) % PROGRESS_EVERY == 0:
                progress(len(reached_from), len(waiting))
            if limit is not None and len(reached_from) >= limit:
                return Result(len(reached_from), edges, complete=False, rows=frozenset(rows) - {""})
            state = waiting.popleft()
            for edge in self._edges(state):
                edges += 1
                rows.add(edge.row)
                if edge.broken:
                    trace = self._trace(reached_from, state, edge.broken, (edge.what, edge.client))
                    return Result(len(reached_from), edges, False, frozenset(rows) - {""}, trace)
                after = canonical(edge.after)
                if after not in reached_from:
                    reached_from[after] = (state, edge.what, edge.client)
                    waiting.append(after)
                if edge.faultless:
                    faultless_from.setdefault(after, []).append(state)
                if edge.finishes:
                    finishing.add(state)
        stuck_states = reached_from.keys() - _reaching(finishing, faultless_from)
        stuck = next(
            (self._trace(reached_from, state, ("INV-9",)) for state in reached_from if state in stuck_states),
            None,
        )
        return Result(len(reached_from), edges, True, frozenset(rows) - {""}, None, stuck)

    def _edges(self, state: State) -> Iterator[Edge]:
        yield Edge("a second passes", None, tick(state), faultless=True, finishes=False, row="", broken=())
        if "evict" in self._faults:
            after, asked = forget(state)
            if after is not state and not is_locked(state):
                yield Edge("the store forgets", None, after, True, False, asked.row, asked.broken)
        if self._policy != RUN:
            for what, after, row, broken in operated(state):
                yield Edge(what, None, after, False, False, row, broken)
        on_their_way = sum(bool(client.late) for client in state.clients)
        may_be_late = on_their_way < self._late_requests
        previous = None
        for place, client in enumerate(state.clients):
            if client == previous:
                continue  # equal clients are interchangeable
            previous = client
            locked = is_locked(state, place)
            key = (client, state.record, may_be_late, state.effect, locked)
            moves = self._moves.get(key)
            if moves is None:
                moves = self._moves[key] = tuple(self._attempt(client, state, may_be_late, locked).moves())
            for move in moves:
                after = move.applied_to(state, place)
                broken = move.broken
                if client.phase != RUNNING and move.client.phase == RUNNING:
                    broken += broken_by_beginning(state, place)
                yield Edge(move.what, place, after, move.faultless, move.finishes, move.row, broken)

    def _attempt(self, client: Client, state: State, may_be_late: bool, locked: bool) -> Attempt:
        known = client, state.record, self._hashes, self._faults
        if self._transactions:
            return TransactionalAttempt(*known, may_be_late=may_be_late, effect=state.effect, locked=locked)
        if self._policy == RUN:
            return Attempt(*known, may_be_late=may_be_late)
        return CautiousAttempt(*known, may_be_late=may_be_late, policy=self._policy, effect=state.effect)

    def _trace(
        self,
        reached_from: dict[State, tuple[State, str, int | None] | None],
        state: State,
        broken: tuple[str, ...],
        last: tuple[str, int | None] | None = None,
    ) -> Trace:
        """Return how ``state`` is reached. Each client keeps its name."""
        taken = [] if last is None else [last]
        while (step := reached_from[state]) is not None:
            state, what, place = step
            taken.insert(0, (what, place))
        names = [f"client {number + 1}" for number in range(len(state.clients))]
        lines = []
        for what, place in taken:
            edge = next(edge for edge in self._edges(state) if (edge.what, edge.client) == (what, place))
            clients = edge.after.clients
            lines.append(TraceLine(what, "" if place is None else names[place], edge.after.record))
            names += ["an earlier attempt"] * (len(clients) - len(names))
            there = [at for at, client in enumerate(clients) if client.phase != GONE or client.late]
            names = [names[at] for at in sorted(there, key=clients.__getitem__)]
            state = canonical(edge.after)
        return Trace(broken, tuple(lines))


def _reaching(targets: set[State], before: dict[State, list[State]]) -> set[State]:
    """Return all states from which ``targets`` can be reached; ``before`` has the steps backwards."""
    found = set(targets)
    waiting = list(targets)
    while waiting:
        for state in before.get(waiting.pop(), ()):
            if state not in found:
                found.add(state)
                waiting.append(state)
    return found
