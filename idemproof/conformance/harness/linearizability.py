"""Checks whether a history of concurrent requests is linearizable.

Each key has its own history. The sequential behaviour of a request comes from :mod:`idemproof.spec`.
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
    """``_get_record``; the answer is the record, or None if there is none."""

    key: str


class Put(NamedTuple):
    """``_put_record``; the answer is None, or :class:`Refused`."""

    record: Record


class Update(NamedTuple):
    """``_update_record``; answered like a put."""

    record: Record


class Delete(NamedTuple):
    """``_delete_record``; answered like a put."""

    record: Record


class Refused(NamedTuple):
    """The answer to a refused request; ``record`` is the stored record, or None if the answer has none."""

    record: Record | None = None


Request = Load | Swap | Get | Put | Update | Delete
Answer = Record | Refused | None


class Operation(NamedTuple):
    """One request, with its answer.

    Parameters
    ----------
    who
        The client.
    start, end
        The order numbers of the request and of its answer, from one counter for all clients. ``end`` is None
        if there was no answer: the request may have taken effect at any later time, or not at all.
    now
        The time of the client's clock at the request, in epoch milliseconds. The clock must not move during a
        documented request, because then the time of its decision is unknown.
    request, answer
        The request and its answer.
    """

    who: str
    start: int
    end: int | None
    now: int
    request: Request
    answer: Answer = None


class Undecided(Exception):  # noqa: N818 - not an error
    """The search for an order takes too many steps, as it may if most requests were never answered."""


def linearization(
    operations: Sequence[Operation],
    current: Record | None = None,
    *,
    swaps: bool = True,
    fenced: bool = True,
    patience: int = 20_000,
) -> list[Operation] | None:
    """Return an order of ``operations`` that explains all answers, or None if there is none.

    To include the final record, add a :class:`Load` or :class:`Get` that starts after all other operations.

    Parameters
    ----------
    operations
        Requests for one key, in any order.
    current
        The stored record at the beginning.
    swaps
        Whether the layer has the two methods. For a layer with the four methods, it is unknown which fields
        it stores and whether it stores owners, so both are accepted.
    fenced
        Whether a layer with the four methods refuses updates and deletions by clients that hold no claim.
    patience
        The maximal number of steps of the search.

    Raises
    ------
    Undecided
        The search needs more steps.
    """
    model = _Model(swaps, fenced)
    summary = [each for each in operations if each.end is not None or not changes_nothing(each)]
    asked = sorted(summary, key=lambda each: (each.end is None, each.end or each.start))
    latest = [_latest_by_the_end(each, operations) for each in asked]
    wanted = sum(1 << number for number, each in enumerate(asked) if each.end is not None)
    failed: set[tuple[int, Record | None]] = set()
    order: list[Operation] = []

    def search(done: int, current: Record | None) -> bool:
        if done & wanted == wanted:
            return True
        if (done, current) in failed:
            return False
        if len(failed) >= patience:
            raise Undecided
        pending = [(number, each) for number, each in enumerate(asked) if not done >> number & 1]
        first_end = min(each.end for _, each in pending if each.end is not None)
        possible = [(number, each) for number, each in pending if each.start <= first_end]
        # A request that changes nothing at any position can come first, if its answer fits there.
        read_only = [
            (number, each)
            for number, each in possible
            if changes_nothing(each) and current in model.matching_states(current, each)
        ]
        for number, each in read_only[:1] or possible:
            order.append(each)
            for before in _kept_or_evicted(current, latest[number]):
                for after in model.matching_states(before, each):
                    without_effect = each.end is None and after == current
                    if not without_effect and search(done | 1 << number, after):
                        return True
            order.pop()
        failed.add((done, current))
        return False

    return order if search(0, None if current is None else plain(current)) else None


def plain(record: Record | DataRecord) -> Record:
    """Return ``record`` without its sort key, which only the store uses, and with None for empty texts."""
    if isinstance(record, DataRecord):
        record = record.as_record()
    key, status, expiry, lease, response, payload_hash, owner = record
    return Record(key, status, expiry, lease, response or None, payload_hash or None, owner or None)


def changes_nothing(operation: Operation) -> bool:
    """Return whether, according to its answer, the operation has changed nothing."""
    request, answer = operation.request, operation.answer
    if isinstance(request, Load | Get):
        return True
    if isinstance(request, Swap):
        return operation.end is not None and not _same_record_or_none(answer, request.new)
    return isinstance(answer, Refused)


def _same_record_or_none(answer: Answer, new: Record | None) -> bool:
    if isinstance(answer, Record) and new is not None:
        return plain(answer) == plain(new)
    return answer is new


def _latest_by_the_end(operation: Operation, operations: Sequence[Operation]) -> int:
    """Return the latest time at which the operation may have taken effect, in epoch milliseconds."""
    end = operation.end
    return max(each.now for each in operations if end is None or each.start < end)


def _kept_or_evicted(current: Record | None, latest: int) -> Iterator[Record | None]:
    """Yield the possible records when an operation takes effect: a store may evict expired ones (CAS-6)."""
    yield current
    if current is not None and expiry_ms(current) <= latest:
        yield None


_GENERATED = "generated #"
"""Prefix of the model's owner token for a put without an owner: the layer generates an unknown one."""
_HOLDER = "the holder of the claim"


class _Model:
    """The sequential specification: the effect of one request on the stored record, and its answer."""

    def __init__(self, swaps: bool, fenced: bool) -> None:
        self._swaps = swaps
        self._fenced = fenced

    def matching_states(self, current: Record | None, operation: Operation) -> Iterator[Record | None]:
        """Yield the possible records after the operation, if it takes effect now with its recorded answer."""
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
            wanted = wanted._replace(owner=f"{_GENERATED}{operation.start}")
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
        if not held or after == current:  # a layer may ignore it, with or without an error
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
            generated = wanted.owner is not None and wanted.owner.startswith(_GENERATED)
            return reported == (wanted._replace(owner=reported.owner) if generated else wanted)
        leases = {reported.in_progress_expiry_timestamp, wanted.in_progress_expiry_timestamp} - {None}
        return (
            reported.status == wanted.status
            and reported.expiry_timestamp == wanted.expiry_timestamp
            and reported.response_data == wanted.response_data
            and (reported.status != INPROGRESS or len(leases) <= 1)
        )


def _change(current: Record | None, wanted: Record, operation: Operation) -> tuple[Record | None, Answer]:
    """Complete or release; without an owner, act for the holder of the claim (CAS-8, CAS-9)."""
    owner = wanted.owner or _HOLDER
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
        acting = current._replace(owner=_HOLDER)
    new, outcome = transition(acting, event, operation.now)
    if new == acting:
        reported = wanted.owner is None or current is None or isinstance(outcome, Completed)
        return current, None if reported else Refused()
    return None if new is None else new._replace(owner=wanted.owner), None
