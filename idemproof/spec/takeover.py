"""The moves of clients whose claims refuse or ask, and of an operator, which the explorer searches (INV-10).

The body has one effect, which happens only while its attempt holds the claim. The question is answered
truthfully, or not at all. The operator knows whether the effect has happened.
"""

from collections.abc import Iterator
from functools import cache

from .events import (
    ASK,
    REFUSE,
    Claimed,
    Complete,
    Evict,
    Outcome,
    Renewed,
    Replay,
)
from .happenings import Acted
from .invariants import broken_by_history
from .moves import LEASE, WINDOW, Attempt, Move, ask
from .record import COMPLETED, INPROGRESS, Record, claimable, deadline_ms
from .states import (
    ABANDONING,
    ACTED,
    ASKING,
    CLAIMING,
    COMPLETING,
    GONE_OWNER,
    GRANTED,
    RELEASING,
    RUNNING,
    Client,
    State,
    remembering,
    renamed,
)

POLICIES = (REFUSE, ASK)
"""The policies of these clients."""


class CautiousAttempt(Attempt):
    """The possible moves of one client whose policy is "refuse" or "ask".

    Parameters
    ----------
    client, record, hashes, faults, may_be_late
        See :class:`~idemproof.spec.moves.Attempt`.
    policy
        The policy of its claims.
    effect
        Remaining seconds for which an effect that has happened must not happen again.
    """

    def __init__(
        self,
        client: Client,
        record: Record | None,
        hashes: tuple[str, ...],
        faults: frozenset[str],
        *,
        may_be_late: bool,
        policy: str,
        effect: int,
    ) -> None:
        super().__init__(client, record, hashes, faults, may_be_late=may_be_late)
        self._policy = policy
        self._effect = effect

    def _claiming(self) -> Iterator[Move]:
        asked = self._ask("claim", LEASE, WINDOW)
        if isinstance(asked.outcome, Claimed):
            lease = deadline_ms(asked.outcome.record) // 1000
            asks = self._client.asks or _asks(asked.outcome)  # TAKE-3
            yield self._then("claims", GRANTED, asked, lease=lease, asks=asks)
        else:
            yield self._answered(asked, finishes=isinstance(asked.outcome, Replay))
        for move in self._sends_late("claim", LEASE, WINDOW):
            sent = move.client._replace(asks=self._client.asks or _asks(asked.outcome))
            yield move._replace(client=sent)
        if "raise" in self._faults:
            yield self._then("gives up", self._unanswered(), faultless=False)

    def _unanswered(self) -> str:
        """Return the phase of an attempt that ends before its body (TAKE-4)."""
        return ABANDONING if self._client.asks else RELEASING

    def _granted(self) -> Iterator[Move]:
        if self._client.lease <= 0:  # ENG-3
            yield self._then("finds that its lease has ended", CLAIMING)
        elif self._client.asks:
            yield self._then("asks", ASKING)
        else:
            yield self._then("begins its body", RUNNING)
        if "lost" in self._faults:
            yield self._loses_its_claim()

    def _loses_its_claim(self) -> Move:
        return self._then("loses the reply to its claim", CLAIMING, lease=0, faultless=False)

    def _asking(self) -> Iterator[Move]:
        if self._effect:
            yield self._then("finds it done", COMPLETING, expiry=WINDOW)
        else:
            yield self._finds_it_not_done()
        if "raise" in self._faults:
            yield self._then("cannot tell", self._unanswered(), lease=0, faultless=False)
        yield from self._renewals()

    def _finds_it_not_done(self) -> Move:
        if self._client.lease > 0:  # ENG-3, TAKE-5
            return self._then("finds it not done", RUNNING, asks=False)
        return self._then("finds it not done, and its lease ended", CLAIMING)

    def _running(self) -> Iterator[Move]:
        if self._client.owns and self._record is not None and self._record.status == INPROGRESS:
            move = self._then("acts", ACTED)
            yield move._replace(acts=True, broken=_broken_by_acting(self._effect))
        else:
            yield self._then("is kept from acting", self._raised(), lease=0)
        if "raise" in self._faults:
            yield self._then("raises", self._raised(), lease=0, faultless=False)
            yield self._then("raises what was declared", RELEASING, lease=0, faultless=False)
        yield from self._renewals()

    def _raised(self) -> str:
        """Return the phase of an attempt whose body has raised (TAKE-6)."""
        return ABANDONING

    def _acted(self) -> Iterator[Move]:
        yield self._then("returns", COMPLETING, expiry=WINDOW)
        if "raise" in self._faults:
            yield self._then("raises after its effect", self._raised(), lease=0, faultless=False)
        yield from self._renewals()

    def _abandoning(self) -> Iterator[Move]:
        asked = self._ask("abandon", 0, 0)
        yield self._answered(asked)
        if "lost" in self._faults:
            yield self._then("loses the reply to its abandonment", ABANDONING, asked, faultless=False)
        yield from self._sends_late("abandon", 0, 0)

    def _renewals(self) -> Iterator[Move]:
        if "renew" in self._faults:
            asked = self._ask("renew", LEASE, 0)
            lease = LEASE if isinstance(asked.outcome, Renewed) else self._client.lease
            yield self._then("renews its lease", self._client.phase, asked, lease=lease, faultless=False)

    def _arrives(self, kind: str, lease: int, expiry: int) -> Move:
        move = super()._arrives(kind, lease, expiry)
        if move.asks and not self._client.asks:
            # It was not sent as a takeover: a compare-and-swap expects what it replaces.
            return self._then("has its late claim refused", self._client.phase, late=())
        return move


def _asks(outcome: Outcome | None) -> bool:
    return isinstance(outcome, Claimed) and outcome.asks


@cache
def _broken_by_acting(effect: int) -> tuple[str, ...]:
    earlier = [Acted("other", -1, effect * 1000)] if effect else []
    return tuple(broken_by_history([*earlier, Acted("me", 0, 1000)]))


def operated(state: State) -> Iterator[tuple[str, State, str, tuple[str, ...]]]:
    """Yield what an operator does about a claim whose lease has ended, who knows whether the effect happened.

    Each is the move in words, the state after it, the row that decided, and the broken invariants.
    """
    record = state.record
    if record is None or record.status == COMPLETED or not claimable(record, 0):
        return
    clients = tuple(client._replace(owns=False) for client in state.clients)
    if state.effect:
        asked = ask(record, Complete(record.owner, "resolved", record.payload_hash, WINDOW))  # OPS-3
        # Its response is nobody's own, as if an attempt that has ended had stored it.
        after = state._replace(record=renamed(asked.after, GONE_OWNER), clients=clients, stored=WINDOW)
        yield "an operator resolves it", remembering(after), asked.row, asked.broken
        return
    asked = ask(record._replace(expiry_timestamp=0, in_progress_expiry_timestamp=None), Evict())  # OPS-1
    yield "an operator forgets it", state._replace(record=None, clients=clients), asked.row, asked.broken
