"""The moves of clients that complete within transactions, which the explorer searches (INV-11).

Such a transaction contains the effect of a body and its result. Once the result is written, the record is
locked until the transaction ends, and requests for it are refused (TXN-4). Others see what was stored before.
"""

from collections.abc import Iterator
from functools import cache

from .events import Completed
from .happenings import Acted, Committed, Ended, Within
from .invariants import broken_by_history
from .moves import WINDOW, Attempt, Move
from .record import COMPLETED, Record
from .states import COMMITTED, LEFT, RELEASING, WRITTEN, Client, State


def is_locked(state: State, place: int | None = None) -> bool:
    """Return whether the transaction of a client, other than the one at ``place``, has locked the record."""
    return any(
        client.phase in (WRITTEN, LEFT) for other, client in enumerate(state.clients) if other != place
    )


class TransactionalAttempt(Attempt):
    """The possible moves of one client that may complete within a transaction.

    Parameters
    ----------
    client, record, hashes, faults, may_be_late
        See :class:`~idemproof.spec.moves.Attempt`.
    effect
        Remaining seconds for which an effect that was committed must not be committed again.
    locked
        Whether the transaction of another client has locked the record.
    """

    def __init__(
        self,
        client: Client,
        record: Record | None,
        hashes: tuple[str, ...],
        faults: frozenset[str],
        *,
        may_be_late: bool,
        effect: int,
        locked: bool,
    ) -> None:
        super().__init__(client, record, hashes, faults, may_be_late=may_be_late)
        self._effect = effect
        self._locked = locked

    def _claiming(self) -> Iterator[Move]:
        if not self._locked:
            yield from super()._claiming()
            return
        yield self._over("finds the record locked")
        if "raise" in self._faults:
            yield self._then("gives up", RELEASING, faultless=False)

    def _running(self) -> Iterator[Move]:
        for move in super()._running():
            if not (self._locked and move.row):  # a renewal fails
                yield move
        asked = self._ask("within", 0, WINDOW)
        if isinstance(asked.outcome, Completed):
            move = self._then("writes its effect and its result", WRITTEN, expiry=WINDOW)
            yield move._replace(row=asked.row, broken=asked.broken)
        else:
            yield self._then("is refused, and cannot commit", RELEASING, asked, lease=0)

    def _written(self) -> Iterator[Move]:
        yield self._commits("commits", COMMITTED)
        yield self._rolls_back()
        yield self._then("ends its call before its transaction", LEFT, faultless=False)

    def _left(self) -> Iterator[Move]:
        yield self._commits("commits after its call")
        yield self._over("rolls back after its call", crashed=self._client.lease, faultless=False)

    def _rolls_back(self) -> Move:
        return self._then("rolls back", RELEASING, lease=0, within=True, faultless=False)

    def _committed(self) -> Iterator[Move]:
        yield self._over("gets its own result", finishes=True)
        if "raise" in self._faults:
            yield self._then("raises after its commit", RELEASING, lease=0, faultless=False)

    def _completing(self) -> Iterator[Move]:
        if self._locked and self._client.expiry:
            return  # it waits for its turn, at most until its window is over
        for move in super()._completing():
            if self._client.within and move.stored:
                yield move._replace(broken=(*move.broken, *_broken_by_storing()))
            else:
                yield move

    def _releasing(self) -> Iterator[Move]:
        if self._locked:
            yield self._over("leaves the rest to the lease")
        else:
            yield from super()._releasing()

    def _arrives(self, kind: str, lease: int, expiry: int) -> Move:
        if self._locked or self._client.phase in (WRITTEN, LEFT):
            return self._then("has its late request refused", self._client.phase, late=())
        return super()._arrives(kind, lease, expiry)

    def _commits(self, what: str, phase: str | None = None) -> Move:
        """Return the move that makes the effect and the result visible, together."""
        expiry = self._client.expiry
        asked = self._ask("within", 0, expiry)
        if phase is None:
            move = self._over(what, asked, stored=expiry)
        else:
            move = self._then(what, phase, asked, stored=expiry, lease=0)
        broken = _broken_by_commit(isinstance(asked.outcome, Completed), self._effect)
        return move._replace(acts=True, broken=(*move.broken, *broken))


@cache
def _broken_by_commit(stored: bool, effect: int) -> tuple[str, ...]:
    earlier = [Acted("other", -1, effect * 1000)] if effect else []
    current = Record("", COMPLETED, WINDOW, owner="me") if stored else None
    acted = Acted("me", 0, 1000)
    return tuple(broken_by_history([*earlier, Within("me", 0), Committed("me", 0, current), acted]))


@cache
def _broken_by_storing() -> tuple[str, ...]:
    return tuple(broken_by_history([Within("me", 0), Ended("me", 0, "stored", 1000)]))
