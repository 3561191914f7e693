"""The moves of several clients of one key, which the explorer searches.

Each client calls again and again. It claims, runs its body, completes or releases. It may lose replies, send
requests that arrive late, outlive its lease, raise or die. The shipped
:func:`~idemproof.spec.transition.transition` answers every request.
"""

from collections.abc import Iterator
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
from .happenings import Step
from .invariants import broken_by_step
from .record import Record, deadline_ms
from .states import (
    CLAIMING,
    COMPLETING,
    GONE,
    GONE_OWNER,
    GRANTED,
    HELD,
    IDLE,
    ME,
    RAN,
    RELEASING,
    RUNNING,
    Client,
    State,
    owner_named,
    remembering,
    renamed,
)
from .transition import deciding_row, transition

LEASE = 2
"""Seconds of a lease."""

WINDOW = 3
"""Seconds for which a result is kept. The record of a claim is kept as long."""

FAULTS = ("lost", "crash", "raise", "renew", "evict")
"""Faults and other events that may happen: replies of applied requests are lost, workers die, bodies raise,
leases are renewed, the store deletes expired records. A request that is lost itself changes nothing, so it
needs no fault. Late requests are counted separately, and an attempt may always outlive its lease."""


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
        owner = self._token(HELD if self._client.owns else ME)
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
            owns = record is not None and record.owner == self._token(HELD if owns else ME)
            if owns:
                record = renamed(record, HELD)
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
        return owner_named(name, durable=self._client.durable)


def forget(state: State) -> tuple[State, _Asked]:
    """Return the state after the store has deleted the record, if it may, and the answer that decided."""
    asked = ask(state.record, Evict())
    if asked.after is state.record:
        return state, asked
    clients = tuple(client._replace(owns=False) for client in state.clients)
    return state._replace(record=asked.after, clients=clients), asked
