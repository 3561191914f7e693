"""Whether some order of what clients asked at once explains every answer that they got.

A history is judged one key at a time, against the protocol itself: what one request does, when it is alone,
is taken from :mod:`idemproof.spec`.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...backends.records import DataRecord
from ...spec.commands import Load, Swap
from ...spec.events import Claim, Claimed, Complete, Completed, Event, Release
from ...spec.record import (
    COMPLETED,
    INPROGRESS,
    Record,
    expiry_ms,
    holds,
    same_record,
    same_version,
)
from ...spec.transition import transition


class Get(NamedTuple):
    """``_get_record``; answered with the record, or None if there was none."""

    key: str


class Put(NamedTuple):
    """``_put_record``; answered with None, or :class:`Refused`."""

    record: Record


class Update(NamedTuple):
    """``_update_record``; answered as a put is."""

    record: Record


class Delete(NamedTuple):
    """``_delete_record``; answered as a put is."""

    record: Record


class Refused(NamedTuple):
    """The answer to a request that was not done: ``record`` stands instead, None if it was not told."""

    record: Record | None = None


Request = Load | Swap | Get | Put | Update | Delete
Answer = Record | Refused | None


class Operation(NamedTuple):
    """One request, and how it was answered.

    Parameters
    ----------
    who
        The client.
    start, end
        Order numbers of asking and of being answered, of one counter for all clients. ``end`` is None if it
        was never answered: it may have taken effect at any time since, or not at all.
    now
        Epoch milliseconds of the client's clock when it asked. The clock must not move while a documented
        request is under way, for then nobody can tell by which time it was decided.
    request, answer
        What was asked, and what was told.
    """

    who: str
    start: int
    end: int | None
    now: int
    request: Request
    answer: Answer = None


class Undecided(Exception):  # noqa: N818 - it is no error
    """The search for an order takes too long, as it may if most requests were never answered."""


def linearization(
    operations: Sequence[Operation],
    current: Record | None = None,
    *,
    swaps: bool = True,
    fenced: bool = True,
    patience: int = 20_000,
) -> list[Operation] | None:
    """Return an order of ``operations`` that explains all answers, or None if there is none.

    What stands in the end is asserted by one more :class:`Load` or :class:`Get` that starts after all others.

    Parameters
    ----------
    operations
        Requests for one key, in any order.
    standing
        What stood at first.
    swaps
        Whether the layer has the two methods. Of a layer that has only the four documented ones it is
        unknown which fields it keeps and whether it knows owners, so either is right.
    fenced
        Whether a layer by four methods refuses updates and deletions of those that hold no claim.
    patience
        How many steps the search may take.

    Raises
    ------
    Undecided
        They are not enough.
    """
    model = _Model(swaps, fenced)
    summary = [each for each in operations if each.end is not None or not changes_nothing(each)]
    asked = sorted(summary, key=lambda each: (each.end is None, each.end or each.start))
    latest = [_latest_by_the_end(each, operations) for each in asked]
    wanted = sum(1 << number for number, each in enumerate(asked) if each.end is not None)
    failed: set[tuple[int, Record | None]] = set()
    order: list[Operation] = []

    def explain(done: int, current: Record | None) -> bool:
        if done & wanted == wanted:
            return True
        if (done, current) in failed:
            return False
        if len(failed) >= patience:
            raise Undecided
        pending = [(number, each) for number, each in enumerate(asked) if not done >> number & 1]
        first_end = min(each.end for _, each in pending if each.end is not None)
        possible = [(number, each) for number, each in pending if each.start <= first_end]
        # What changes nothing wherever it stands may as well come first, if it is explained there.
        harmless = [
            (number, each)
            for number, each in possible
            if changes_nothing(each) and current in model.explaining(current, each)
        ]
        for number, each in harmless[:1] or possible:
            order.append(each)
            for before in _kept_or_forgotten(current, latest[number]):
                for after in model.explaining(before, each):
                    useless = each.end is None and after == current
                    if not useless and explain(done | 1 << number, after):
                        return True
            order.pop()
        failed.add((done, current))
        return False

    return order if explain(0, None if current is None else plain(current)) else None


def plain(record: Record | DataRecord) -> Record:
    """Return ``record`` without its sort key, which is the store's own affair, and without empty texts."""
    key, status, expiry, lease, response, payload_hash, owner = record
    return Record(key, status, expiry, lease, response or None, payload_hash or None, owner or None)


def changes_nothing(operation: Operation) -> bool:
    """Tell whether, by its answer, the operation has changed nothing."""
    request, answer = operation.request, operation.answer
    if isinstance(request, Load | Get):
        return True
    if isinstance(request, Swap):
        return operation.end is not None and not _same_or_nothing(answer, request.new)
    return isinstance(answer, Refused)


def _same_or_nothing(answer: Answer, new: Record | None) -> bool:
    if isinstance(answer, Record) and new is not None:
        return plain(answer) == plain(new)
    return answer is new


def _latest_by_the_end(operation: Operation, operations: Sequence[Operation]) -> int:
    """Return how late it may have been, at most, when the operation took effect."""
    end = operation.end
    return max(each.now for each in operations if end is None or each.start < end)


def _kept_or_forgotten(current: Record | None, latest: int) -> Iterator[Record | None]:
    """Give what may stand as an operation takes effect: a store may forget what has expired (CAS-6)."""
    yield current
    if current is not None and expiry_ms(current) <= latest:
        yield None


_NAMELESS = "nameless #"
"""Begins the model's token of a put that named no owner: the layer mints one that nobody can foresee."""
_WHOEVER_HOLDS = "whoever holds the claim"


class _Model:
    """What one request does to what stands, and what it is answered."""

    def __init__(self, swaps: bool, fenced: bool) -> None:
        self._swaps = swaps
        self._fenced = fenced

    def explaining(self, current: Record | None, operation: Operation) -> Iterator[Record | None]:
        """Give what may stand after the operation, if it took effect now and was answered as it was."""
        for after, answer in self._outcomes(current, operation):
            if operation.end is None or self._same_answer(operation.answer, answer):
                yield after

    def _outcomes(
        self, current: Record | None, operation: Operation
    ) -> Iterator[tuple[Record | None, Answer]]:
        request = operation.request
        if isinstance(request, Load | Get):
            yield current, current
        elif isinstance(request, Swap):
            if same_version(current, request.expected):
                current = None if request.new is None else plain(request.new)
            yield current, current
        else:
            wanted = plain(request.record)
            if isinstance(request, Put):
                yield from self._put(current, wanted, operation)
            elif self._swaps:
                yield _change(current, wanted, operation)
            else:
                yield from self._change_by_four_methods(current, wanted, operation)

    def _put(
        self, current: Record | None, wanted: Record, operation: Operation
    ) -> Iterator[tuple[Record | None, Answer]]:
        if wanted.owner is None:
            wanted = wanted._replace(owner=f"{_NAMELESS}{operation.start}")
        claim = Claim(
            wanted.owner,
            wanted.in_progress_expiry_timestamp,
            wanted.expiry_timestamp,
            wanted.payload_hash,
            wanted.idempotency_key,
        )
        new, outcome = transition(current, claim, operation.now)
        accepted = isinstance(outcome, Claimed) and not (new is current and wanted.status == COMPLETED)
        if new is not current and (wanted.status == COMPLETED or not self._swaps):
            new = wanted
        if accepted or same_record(current, wanted):
            yield new, None
        if not accepted or (new is current and not self._swaps):
            yield current, Refused(current)

    def _change_by_four_methods(
        self, current: Record | None, wanted: Record, operation: Operation
    ) -> Iterator[tuple[Record | None, Answer]]:
        after, _ = _change(current, wanted, operation)
        if after != current or not self._fenced:
            yield None if isinstance(operation.request, Delete) else wanted, None
        held = current is not None and (wanted.owner is None or holds(current, wanted.owner))
        if not held or after == current:  # not the holder's: a layer may ignore it, and may or may not tell
            yield current, None
            yield current, Refused()

    def _same_answer(self, reported: Answer, answer: Answer) -> bool:
        if isinstance(reported, Refused) or isinstance(answer, Refused):
            if not (isinstance(reported, Refused) and isinstance(answer, Refused)):
                return False
            return reported.record is None or self._same(reported.record, answer.record)
        return self._same(reported, answer)

    def _same(self, reported: Record | None, wanted: Record | None) -> bool:
        if reported is None or wanted is None:
            return reported is wanted
        reported = plain(reported)
        if self._swaps:
            nameless = wanted.owner is not None and wanted.owner.startswith(_NAMELESS)
            return reported == (wanted._replace(owner=reported.owner) if nameless else wanted)
        leases = {reported.in_progress_expiry_timestamp, wanted.in_progress_expiry_timestamp} - {None}
        return (
            reported.status == wanted.status
            and reported.expiry_timestamp == wanted.expiry_timestamp
            and reported.response_data == wanted.response_data
            and (reported.status != INPROGRESS or len(leases) <= 1)
        )


def _change(current: Record | None, wanted: Record, operation: Operation) -> tuple[Record | None, Answer]:
    """Complete or release, on behalf of whoever holds the claim if no owner is named (CAS-8, CAS-9)."""
    owner = wanted.owner or _WHOEVER_HOLDS
    event: Event = Release(owner)
    if isinstance(operation.request, Update):
        event = Complete(
            owner,
            wanted.response_data,
            wanted.payload_hash,
            wanted.expiry_timestamp,
            wanted.idempotency_key,
        )
    acting = current
    if wanted.owner is None and current is not None and current.status == INPROGRESS:
        acting = current._replace(owner=_WHOEVER_HOLDS)
    new, outcome = transition(acting, event, operation.now)
    if new == acting:
        reported = wanted.owner is None or current is None or isinstance(outcome, Completed)
        return current, None if reported else Refused()
    return None if new is None else new._replace(owner=wanted.owner), None
