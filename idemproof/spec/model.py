"""The states and moves of several clients of one key, which the explorer searches.

Each client calls again and again. It claims, runs its body, completes or releases. It may lose replies, send
requests that arrive late, outlive its lease, raise or die. The shipped
:func:`~idemproof.spec.transition.transition` answers every request.

Times are the remaining seconds, so that the number of states is finite. For the same reason there are only
two kinds of owners: the owner of the stored record, and all others.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from .events import (
    RUN,
    Abandon,
    Claim,
    Claimed,
    Complete,
    Completed,
    CompleteWithin,
    Event,
    Evict,
    Release,
    Released,
    Renew,
    Renewed,
    Replay,
    Superseded,
)
from .happenings import Began, Ended, Happening, Step
from .invariants import broken_by_history, broken_by_step
from .record import COMPLETED, DURABLE, Record, deadline_ms, execution_of
from .transition import deciding_row, transition

LEASE = 2
"""Seconds of a lease."""

WINDOW = 3
"""Seconds for which a result is kept. The record of a claim is kept as long."""

FAULTS = ("lost", "crash", "raise", "renew", "evict")
"""Faults and other events that may happen: replies of applied requests are lost, workers die, bodies raise,
leases are renewed, the store deletes expired records. A request that is lost itself changes nothing, so it
needs no fault. Late requests are counted separately, and an attempt may always outlive its lease."""

IDLE, CLAIMING, GRANTED, RUNNING, COMPLETING, RELEASING, GONE = (
    "idle",
    "claiming",
    "granted",
    "running",
    "completing",
    "releasing",
    "gone",
)
ASKING, ACTED, ABANDONING = "asking", "acted", "abandoning"
"""Further phases under the policies refuse and ask: ``acted`` is running, after the effect."""

WRITTEN, LEFT, COMMITTED = "written", "left", "committed"
"""Further phases of a completion within a transaction: open, open after the body has ended, committed."""

RAN = (RUNNING, ACTED, COMPLETING, WRITTEN, LEFT)
"""The phases of an attempt that has begun its body, and of which nothing is stored yet."""

_ME, _HELD, GONE_OWNER = "me", "held", "gone"
"""Owner tokens: of a client that does not own the record, of the client that does, of ended attempts."""

_EXECUTION = f"{DURABLE}execution/"
"""The prefix of the tokens of invocations of the durable execution."""


class Client(NamedTuple):
    """One client, or an ended attempt with a delayed request (``gone``).

    Parameters
    ----------
    phase
        What the client is doing.
    payload_hash
        The payload hash of its current attempt; empty for none.
    lease
        Remaining seconds of its lease.
    expiry
        Remaining seconds until the result expires that it is storing.
    owns
        Whether its attempt owns the stored record.
    late
        A delayed request of its attempt, (kind, lease, expiry); empty if there is none.
    durable
        Whether its attempts are invocations of the durable execution.
    asks
        Whether its attempt has to ask whether the operation has happened.
    within
        Whether its attempt has completed within a transaction that did not commit.
    """

    phase: str = IDLE
    payload_hash: str = ""
    lease: int = 0
    expiry: int = 0
    owns: bool = False
    late: tuple[str, int, int] | tuple[()] = ()
    durable: bool = False
    asks: bool = False
    within: bool = False


class State(NamedTuple):
    """The stored record, the clients, and for how many seconds no body may begin.

    Parameters
    ----------
    record
        The stored record, with its deadlines as remaining times.
    clients
        The clients, sorted, because equal clients are interchangeable.
    crashed
        Remaining seconds of the lease of a run that will never end.
    stored
        Remaining seconds of a stored result.
    suspended, done
        The same for the durable execution, whose own invocations they do not block.
    effect
        Remaining seconds for which an effect that has happened must not happen again.
    """

    record: Record | None
    clients: tuple[Client, ...]
    crashed: int = 0
    stored: int = 0
    suspended: int = 0
    done: int = 0
    effect: int = 0


class Move(NamedTuple):
    """One possible next step of a client, independent of the other clients.

    Parameters
    ----------
    what
        The move in words.
    client
        The client after the move.
    record
        The stored record after the move.
    left
        The ended attempt with its delayed request, or None.
    crashed, stored
        As in :class:`State`, for the run of this client.
    faultless
        Whether the move happens without a fault.
    finishes
        Whether a caller gets a result.
    row
        The row of the table that decided, or "".
    broken
        The invariants that the move breaks.
    replaced
        Whether the stored record was replaced, so that no other client owns it any more.
    released
        Whether the claim was released. This ends a durable execution with all its invocations.
    acts
        Whether the effect of the body happens.
    asks
        Whether the table answered that a claim has to ask.
    """

    what: str
    client: Client
    record: Record | None
    left: Client | None = None
    crashed: int = 0
    stored: int = 0
    faultless: bool = True
    finishes: bool = False
    row: str = ""
    broken: tuple[str, ...] = ()
    replaced: bool = False
    released: bool = False
    acts: bool = False
    asks: bool = False

    def applied_to(self, state: State, place: int) -> State:
        """Return the state after the move of the client at ``place``. Clients keep their positions."""
        clients = list(state.clients)
        if self.replaced:
            clients = [each._replace(owns=False) if each.owns else each for each in clients]
        clients[place] = self.client
        if self.left is not None:
            clients.append(self.left)
        after = remembering(state._replace(record=self.record, clients=tuple(clients)), acts=self.acts)
        if not self.client.durable:
            return after._replace(
                crashed=max(state.crashed, self.crashed), stored=max(state.stored, self.stored)
            )
        if self.released:
            strays = (each._replace(lease=0) if each.durable else each for each in after.clients)
            return after._replace(clients=tuple(strays), suspended=0)
        return after._replace(suspended=max(state.suspended, self.crashed), done=max(state.done, self.stored))


def remembering(state: State, *, acts: bool = False) -> State:
    """Return ``state``, in which an effect counts until the record of it expires."""
    record, effect = state.record, state.effect
    if record is None or not (effect or acts):
        return state
    expiry = record.expiry_timestamp
    return state._replace(effect=expiry if record.status == COMPLETED else max(effect, expiry))


class _Asked(NamedTuple):
    """The answer of the transition function."""

    after: Record | None
    outcome: Any
    row: str
    broken: tuple[str, ...]


def ask(record: Record | None, event: Event) -> _Asked:
    """Apply ``event`` now; return the answer, the row that decided, and the broken invariants."""
    after, outcome = transition(record, event, 0)
    broken = tuple(broken_by_step(Step(record, event, 0, after, outcome)))
    # The same object if nothing changed, because callers detect a change by identity.
    return _Asked(
        record if after == record else after, outcome, deciding_row(record, event, 0).clause, broken
    )


class Attempt:
    """The possible moves of one client, which depend only on the client and the stored record.

    Its policy is "run". See ``takeover.py`` for the others.

    Parameters
    ----------
    client, record
        The client, and the stored record.
    hashes
        The payload hashes that its calls may have.
    faults
        The faults that may happen, out of :data:`FAULTS`.
    may_be_late
        Whether a request may be delayed.
    """

    _policy = RUN

    def __init__(
        self,
        client: Client,
        record: Record | None,
        hashes: tuple[str, ...],
        faults: frozenset[str],
        *,
        may_be_late: bool,
    ) -> None:
        self._client = client
        self._record = record
        self._hashes = hashes
        self._faults = faults
        self._may_be_late = may_be_late and not client.late

    def moves(self) -> Iterator[Move]:
        """Yield the moves of the client."""
        client = self._client
        if client.late:
            yield self._arrives(*client.late)
        if client.phase != GONE:
            yield from getattr(self, f"_{client.phase}")()
            if "crash" in self._faults and client.phase != IDLE:
                ran = client.phase in RAN
                yield self._over("dies", crashed=client.lease if ran else 0, faultless=False)

    def _idle(self) -> Iterator[Move]:
        for payload_hash in self._hashes:
            # Different words for different moves, because a trace finds its moves by their words.
            which = f" with payload {payload_hash}" if payload_hash else " without a payload hash"
            what = "calls" + which * (len(self._hashes) > 1)
            yield self._then(what, CLAIMING, payload_hash=payload_hash)

    def _claiming(self) -> Iterator[Move]:
        asked = self._ask("claim", LEASE, WINDOW)
        if isinstance(asked.outcome, Claimed):
            lease = deadline_ms(asked.outcome.record) // 1000
            yield self._then("claims", GRANTED, asked, lease=lease)
        else:
            yield self._answered(asked, finishes=isinstance(asked.outcome, Replay))
        yield from self._sends_late("claim", LEASE, WINDOW)
        if "raise" in self._faults:
            yield self._then("gives up", RELEASING, faultless=False)

    def _granted(self) -> Iterator[Move]:
        if self._client.lease > 0:  # ENG-3
            yield self._then("begins its body", RUNNING)
        else:
            yield self._then("finds that its lease has ended", CLAIMING)
        if "lost" in self._faults:
            yield self._then("loses the reply to its claim", CLAIMING, lease=0, faultless=False)

    def _running(self) -> Iterator[Move]:
        yield self._then("returns", COMPLETING, expiry=WINDOW)
        if self._client.durable:
            yield self._over("is suspended", crashed=self._client.lease, faultless=False)
        if "raise" in self._faults:
            yield self._then("raises", RELEASING, lease=0, faultless=False)
        if "renew" in self._faults:
            asked = self._ask("renew", LEASE, 0)
            lease = LEASE if isinstance(asked.outcome, Renewed) else self._client.lease
            yield self._then("renews its lease", RUNNING, asked, lease=lease, faultless=False)

    def _completing(self) -> Iterator[Move]:
        client = self._client
        # A run whose result is not stored blocks others until its lease ends.
        if client.expiry == 0:
            yield self._over("cannot store its result in time", crashed=client.lease)
            return
        asked = self._ask("complete", 0, client.expiry)
        if isinstance(asked.outcome, Completed):
            yield self._answered(asked, stored=client.expiry, finishes=True)
            if "lost" in self._faults:
                what = "loses the reply to its completion"
                yield self._then(what, COMPLETING, asked, stored=client.expiry, faultless=False)
        else:
            finishes = isinstance(asked.outcome, Superseded)
            yield self._answered(asked, crashed=client.lease, finishes=finishes)
        yield from self._sends_late("complete", 0, client.expiry)

    def _releasing(self) -> Iterator[Move]:
        asked = self._ask("release", 0, 0)
        yield self._answered(asked)
        if "lost" in self._faults:
            yield self._then("loses the reply to its release", RELEASING, asked, faultless=False)
        yield from self._sends_late("release", 0, 0)

    def _sends_late(self, kind: str, lease: int, expiry: int) -> Iterator[Move]:
        if self._may_be_late:
            late = (kind, lease, expiry)
            yield self._then(f"sends a late {kind}", self._client.phase, late=late, faultless=False)

    def _arrives(self, kind: str, lease: int, expiry: int) -> Move:
        asked = self._ask(kind, lease, expiry)
        stored = expiry if isinstance(asked.outcome, Completed) else 0
        return self._then(f"has its late {kind} arrive", self._client.phase, asked, stored=stored, late=())

    def _ask(self, kind: str, lease: int, expiry: int) -> _Asked:
        owner = self._token(_HELD if self._client.owns else _ME)
        payload_hash = self._client.payload_hash or None
        event: Event
        if kind == "claim":
            event = Claim(owner, lease * 1000, expiry, payload_hash, policy=self._policy)
        elif kind == "complete":
            event = Complete(owner, owner, payload_hash, expiry)
        elif kind == "within":
            event = CompleteWithin(owner, owner, payload_hash, expiry)
        else:
            ending: dict[str, Event] = {"release": Release(owner), "abandon": Abandon(owner)}
            event = ending.get(kind, Renew(owner, lease * 1000))
        return ask(self._record, event)

    def _then(
        self,
        what: str,
        phase: str,
        asked: _Asked | None = None,
        *,
        crashed: int = 0,
        stored: int = 0,
        faultless: bool = True,
        finishes: bool = False,
        **changes: Any,
    ) -> Move:
        """Return the move after which the attempt continues in ``phase``."""
        record, owns = self._record, self._client.owns
        replaced = asked is not None and asked.after is not record
        if asked is not None and replaced:
            record = asked.after
            owns = record is not None and record.owner == self._token(_HELD if owns else _ME)
            if owns:
                record = renamed(record, _HELD)
        client = self._client._replace(phase=phase, owns=owns, **changes)
        row, broken = ("", ()) if asked is None else (asked.row, asked.broken)
        released = asked is not None and isinstance(asked.outcome, Released) and self._client.owns
        asks = asked is not None and isinstance(asked.outcome, Claimed) and asked.outcome.asks
        move = Move(what, client, record, None, crashed, stored, faultless, finishes, row, broken, replaced)
        return move._replace(released=released, asks=asks)

    def _answered(self, asked: _Asked, **more: Any) -> Move:
        return self._over(f"gets {type(asked.outcome).__name__}", asked, **more)

    def _over(self, what: str, asked: _Asked | None = None, **more: Any) -> Move:
        """Return the move that ends the attempt. A delayed request of it may remain."""
        move = self._then(what, GONE, asked, **more)
        gone = move.client._replace(lease=0, expiry=0)
        fresh = Client(durable=gone.durable)
        if gone.late:
            return move._replace(client=fresh, left=gone)
        record = renamed(move.record, GONE_OWNER) if gone.owns else move.record
        return move._replace(client=fresh, record=record)

    def _token(self, name: str) -> str:
        return _named(name, durable=self._client.durable)


def renamed(record: Record | None, name: str) -> Record | None:
    """Return ``record`` with another owner. The result has the same name as its owner."""
    if record is None:
        return None
    owner = _named(name, durable=execution_of(record.owner) is not None)
    return record._replace(owner=owner, response_data=record.response_data and owner)


def tick(state: State) -> State:
    """Return the state one second later."""
    record = state.record
    if record is not None:
        lease = record.in_progress_expiry_timestamp
        record = record._replace(
            expiry_timestamp=_less(record.expiry_timestamp),
            in_progress_expiry_timestamp=lease and lease - 1000,
        )
    return State(record, tuple(map(_older, state.clients)), *map(_less, state[2:]))


def forget(state: State) -> tuple[State, _Asked]:
    """Return the state after the store has deleted the record, if it may, and the answer that decided."""
    asked = ask(state.record, Evict())
    if asked.after is state.record:
        return state, asked
    clients = tuple(client._replace(owns=False) for client in state.clients)
    return state._replace(record=asked.after, clients=clients), asked


def canonical(state: State) -> State:
    """Return the same state for all states that differ only in the order of equal clients."""
    clients = tuple(sorted(client for client in state.clients if client.phase != GONE or client.late))
    record = state.record
    held = record is not None and record.owner in (_HELD, _EXECUTION + _HELD)
    if held and not any(client.owns for client in clients):
        record = renamed(record, GONE_OWNER)
    return state._replace(record=record, clients=clients)


def _less(seconds: int) -> int:
    return seconds - 1 if seconds else 0


@cache
def _older(client: Client) -> Client:
    late = client.late and (client.late[0], _less(client.late[1]), _less(client.late[2]))
    return client._replace(lease=_less(client.lease), expiry=_less(client.expiry), late=late)


def broken_by_beginning(state: State, place: int) -> tuple[str, ...]:
    """Return the invariants that the client at ``place`` breaks by beginning its body now."""
    me = state.clients[place]
    others = frozenset(
        (other.phase != COMPLETING, other.lease, other.durable)
        for other in state.clients
        if other.phase in RAN
    )
    return _broken_by_beginning(_named("me", durable=me.durable), me.lease, others, *state[2:6])


@cache
def _broken_by_beginning(
    name: str,
    lease: int,
    others: frozenset[tuple[bool, int, bool]],
    crashed: int,
    stored: int,
    suspended: int,
    done: int,
) -> tuple[str, ...]:
    me = Began(name, 0, lease * 1000)
    histories: list[list[Happening]] = [[me]]
    for running, until, of_execution in others:
        other = _named("other", durable=of_execution)
        ended: list[Happening] = [] if running else [Ended(other, -1, "lost")]
        histories.append([Began(other, -1, until * 1000), *ended, me])
    for durable, until in ((False, crashed), (True, suspended)):
        if until:
            run = _named("crashed", durable=durable)
            histories.append([Began(run, -1, until * 1000), Ended(run, -1, "crashed"), me])
    for durable, until in ((False, stored), (True, done)):
        if until:
            run = _named("stored", durable=durable)
            histories.append([Began(run, -1, 1), Ended(run, -1, "stored", until * 1000), me])
    return tuple(sorted({rule for history in histories for rule in broken_by_history(history)}))


def _named(name: str, *, durable: bool) -> str:
    return _EXECUTION + name if durable else name
