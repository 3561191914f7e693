"""The concurrency tier: a layer that offers to wait for a change of a record does so (CAS-14)."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from ...spec.commands import Load, Swap
from ...spec.record import Record
from ..harness.other_loops import BlockingCalls
from ..suite.checks import Case, NotOffered, check
from ..suite.subjects import Subject, error_text
from ..suite.trace import NOT_LOOKED_AT, Line
from .contract import claim_of, result_of

_CALLS = 40
"""How many calls wait for one record: more than a pool has connections."""

_SHORT = 0.2
"""The time of a wait for a change that does not come (seconds)."""

_PART_OF_PATIENCE = 0.2
"""How late a change may be signalled, and how late a wait may end, in parts of the profile's patience."""

_EARLY = 0.9
"""When a wait may end at the earliest without a change, in parts of its time: clocks are coarse."""


class _Kind(NamedTuple):
    """A change of a claim, in words, and the record that it stores."""

    what: str
    new: Callable[[Record], Record | None]


_CHANGES = (
    _Kind("completes it", result_of),
    _Kind("releases it", lambda _: None),
    _Kind("renews it", lambda claim: claim._replace(in_progress_expiry_timestamp=_later(claim))),
    _Kind(
        "takes it over", lambda claim: claim._replace(owner="bob", in_progress_expiry_timestamp=_later(claim))
    ),
)


def _later(claim: Record) -> int:
    assert claim.in_progress_expiry_timestamp is not None  # it has a lease
    return claim.in_progress_expiry_timestamp + 1


class _InThread:
    """Calls a function in a thread of its own, which may never end."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.failure: BaseException | None = None
        self._call = call
        self._thread = threading.Thread(target=self._run, name="conformance-wait", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._call()
        except BaseException as error:  # noqa: BLE001 - the check reports it
            self.failure = error

    def has_ended(self, until: float) -> bool:
        """Return whether it has ended, at the latest at a time of the monotonic clock."""
        self._thread.join(max(0.0, until - time.monotonic()))
        return not self._thread.is_alive()


class _Wait(_InThread):
    """A call that waits for a change.

    Parameters
    ----------
    layer
        The layer.
    claim
        The claim that it has seen.
    seconds
        For how long it waits.
    watching
        Surrounds the wait on its event loop.
    """

    def __init__(
        self,
        layer: Subject,
        claim: Record,
        seconds: float,
        watching: AbstractContextManager[object] | None = None,
    ) -> None:
        self.signalled = False
        self.lasted = 0.0
        self._ask = (layer, claim, seconds, watching or nullcontext())
        super().__init__(self._wait)

    def _wait(self) -> None:
        layer, claim, seconds, watching = self._ask
        began = time.monotonic()
        try:
            self.signalled = layer.wait_for_change(claim.idempotency_key, claim, seconds, watching)
        finally:
            self.lasted = time.monotonic() - began

    @property
    def was_early(self) -> bool:
        """Whether it ended before its time was over."""
        return self.lasted < _EARLY * self._ask[2]


@check("concurrency", "CAS-14", needs=("swaps",))
def a_wait_ends_when_the_record_changes(case: Case) -> None:
    """All calls that wait for a record learn of each change, whichever client makes it, and however early."""
    for change in _CHANGES:
        for calls, moment in ((1, "before the wait"), (1, "meanwhile"), (_CALLS, "meanwhile")):
            _require_signals(case, change, calls, moment)


def _require_signals(case: Case, change: _Kind, calls: int, moment: str) -> None:
    layer, other = _offering(case), case.workers[-1]
    claim, seconds = _stored_claim(case), case.profile.patience * _PART_OF_PATIENCE

    def store() -> None:
        other.swap(claim.idempotency_key, claim, change.new(claim), 1)

    waits: list[_Wait] = []
    if moment == "meanwhile":
        waits = [_Wait(layer, claim, seconds) for _ in range(calls)]
        _let_begin(waits)
        store()
    else:
        store()
        waits = [_Wait(layer, claim, seconds)]
    until = time.monotonic() + 2 * seconds
    ended = [each.has_ended(until) for each in waits]
    _offering(case)
    missed = sum(not (each.signalled and each.was_early) for each in waits)
    if not missed:
        return
    begins = Line(0, "client 1", f"begins to wait for a change of {claim.idempotency_key!r}", claim)
    stores = Line(0, "client 2", change.what, change.new(claim))
    ends = "still waits" if not all(ended) else f"{missed} of {calls} waits end without a signal"
    case.fail(
        f"{_failed(waits)}{missed} of {calls} waits for {seconds:g} s missed a change: another client "
        f"{change.what} {moment}. Return True to all calls that wait as soon as the stored record is not the "
        "one that they have seen, also if it was another one before.",
        [*([begins, stores] if moment == "meanwhile" else [stores, begins]), _line(ends)],
    )


@check("concurrency", "CAS-14", needs=("swaps",))
def a_wait_ends_when_its_time_is_over(case: Case) -> None:
    """A wait for a change that does not come ends when its time is over, and not before."""
    layer, claim = _offering(case), _stored_claim(case)
    late = case.profile.patience * _PART_OF_PATIENCE
    wait = _Wait(layer, claim, _SHORT)
    ended = wait.has_ended(time.monotonic() + _SHORT + late)
    _offering(case)
    case.require(
        ended,
        f"A wait of {_SHORT:g} s without a change had not ended after {_SHORT + late:g} s.",
        [_line(f"waits for {_SHORT:g} s, and still waits")],
    )
    case.require(
        wait.failure is None,
        f"{_failed([wait])}The record did not change.",
        [_line("waits without a change")],
    )
    case.require(
        wait.signalled or not wait.was_early,
        f"A wait of {_SHORT:g} s ended after {wait.lasted:.3f} s without a change. The call then gives up "
        "too early, because it counts the whole time.",
        [_line(f"waits for {_SHORT:g} s, which end after {wait.lasted:.3f} s")],
    )
    if wait.signalled:
        case.notes.add("A wait was signalled without a change, which costs a claim.")


@check("concurrency", "CAS-14", needs=("swaps",))
def a_wait_blocks_nothing_else(case: Case) -> None:
    """While calls wait for a change, other requests are answered, and an event loop is not blocked."""
    layer, claim = _offering(case), _stored_claim(case)
    if layer.asynchronous:
        blocking = BlockingCalls()
        wait = _Wait(layer, claim, _SHORT, blocking)
        wait.has_ended(time.monotonic() + case.profile.patience)
        case.require(
            not blocking.names,
            f"A wait blocks the event loop by {', '.join(sorted(blocking.names))}. No other task runs "
            "meanwhile.",
            [_line("waits, and blocks the event loop")],
        )
    seconds = case.profile.patience * _PART_OF_PATIENCE
    waits = [_Wait(layer, claim, seconds) for _ in range(_CALLS)]
    until = time.monotonic() + seconds
    _let_begin(waits)
    client = Subject(layer.layer, layer.loop)
    another = claim_of(case, case.new_key())
    requests = _InThread(lambda: _send(client, claim, another))
    blocked = not requests.has_ended(until)
    _offering(case)
    case.require(
        not blocked,
        f"While {_CALLS} calls waited for {seconds:g} s, a request was not answered. A wait must not hold "
        "what other requests need, such as a lock, a connection of a pool, or the event loop.",
        [_line(f"{_CALLS} calls wait"), Line(0, "client 2", "reads and swaps: no answer", NOT_LOOKED_AT)],
    )
    if requests.failure is not None:
        raise requests.failure
    case.workers[-1].swap(claim.idempotency_key, claim, result_of(claim), 1)
    for each in waits:  # so that they do not disturb other checks
        each.has_ended(until + seconds)


def _offering(case: Case) -> Subject:
    """Return the layer; end the check if it does not offer to wait, or does not offer it any more."""
    if not case.layer.offers_to_wait:
        raise NotOffered("the layer does not offer to wait for a change")
    case.require_clients(2)
    return case.layer


def _stored_claim(case: Case) -> Record:
    claim = claim_of(case, case.new_key())
    case.histories += 1
    case.workers[-1].swap(claim.idempotency_key, None, claim, 2 * 3_600_000)
    return claim


def _let_begin(waits: Sequence[_Wait]) -> None:
    """Give the waits a moment to begin. Nothing depends on it: a change may also come before."""
    waits[-1].has_ended(time.monotonic() + _SHORT / 10)


def _send(layer: Subject, claim: Record, another: Record) -> None:
    """Send requests for the key that calls wait for, and for another one."""
    result = result_of(another)
    for request in (
        Load(claim.idempotency_key),
        Swap(another.idempotency_key, None, another, 2 * 3_600_000),
        Swap(another.idempotency_key, another, result, 3_600_000),
        Load(another.idempotency_key),
    ):
        if isinstance(request, Load):
            layer.load(*request)
        else:
            layer.swap(*request)


def _failed(waits: Sequence[_Wait]) -> str:
    failures = [each.failure for each in waits if each.failure is not None]
    return f"A wait raised {error_text(failures[0])}. " if failures else ""


def _line(what: str) -> Line:
    return Line(0, "client 1", what, NOT_LOOKED_AT)
