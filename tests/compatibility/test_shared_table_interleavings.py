"""One call of ours and one of the original on one key, in every order of their requests.

Both run in threads of which exactly one moves at a time; in between, time may pass once, so that the leases
of all stored claims are over.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

pytestmark = pytest.mark.once
SIDES = ("ours", "original")
LEASE_MS = 10_000
MOST_INTERLEAVINGS = 2000
SECONDS = 30


class Write(NamedTuple):
    """A request that changed the stored record."""

    side: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    was_live: bool
    was_own: bool

    @property
    def is_violation(self) -> bool:
        """Whether it changed a live record of another, or a live result."""
        return self.was_live and not (self.was_own and self.before["status"] == "INPROGRESS")


class Interleaving:
    """One order of the requests, with the reply to each side."""

    def __init__(self, store: Any, clock: Any, order: Any, lives: Callable[..., bool]) -> None:
        self.replies: dict[str, Any] = {}
        self.runs: list[str] = []
        self.writes: list[Write] = []
        self.final: Any = None
        self._store = store
        self._clock = clock
        self._order = order
        self._live = lives
        self._mine: dict[str, Any] = {}
        self._current: dict[str, Any] | None = None
        self._moves = {side: threading.Semaphore(0) for side in SIDES}
        self._moved = threading.Semaphore(0)
        self._waiting: set[str] = set()
        self._names = threading.local()

    def run(self, ends: dict[str, Any], choose: Callable[[list[str]], str], *, passes: bool) -> None:
        clock, store = self._clock, self._store
        threads = [threading.Thread(target=self._call, args=(side, ends[side])) for side in SIDES]
        store.before = lambda side, what: self._pause()
        store.after = self._note
        for thread, side in zip(threads, SIDES, strict=True):
            thread.start()
            self._let(side)
        enabled = [*SIDES, "time"] if passes else [*SIDES]
        while set(enabled) - {"time"}:
            move = choose(enabled)
            if move == "time":
                enabled.remove("time")
                clock.pass_by(LEASE_MS + 1)
            else:
                self._let(move)
            enabled = [side for side in enabled if side in self._waiting or side == "time"]
        for thread in threads:
            thread.join(SECONDS)
            assert not thread.is_alive()
        del store.before, store.after
        self.final = store.record(self._order)

    def _let(self, side: str) -> None:
        self._moves[side].release()
        assert self._moved.acquire(timeout=SECONDS), side

    def _pause(self) -> None:
        side = self._names.side
        self._waiting.add(side)
        self._moved.release()
        assert self._moves[side].acquire(timeout=SECONDS), side

    def _call(self, side: str, end: Any) -> None:
        self._names.side = side
        assert self._moves[side].acquire(timeout=SECONDS), side

        def body(order: Any) -> Any:
            self.runs.append(side)
            self._pause()
            if isinstance(end, Exception):
                raise end
            return end

        try:
            self.replies[side] = self._store.call(side, body)(self._order)
        finally:
            self._waiting.discard(side)
            self._moved.release()

    def _note(self, side: str, what: str) -> None:
        if what in ("read", "lock"):
            return
        found = self._store.record(self._order)
        before = self._current
        if found == before:
            return
        own = before is not None and before == self._mine.get(side)
        self.writes.append(Write(side, before, found, self._live(before, self._clock.now), own))
        self._current = self._mine[side] = found


def interleavings(
    store: Any, clock: Any, lives: Any, ends: dict[str, Any], *, passes: bool
) -> Iterator[Interleaving]:
    """Yield every possible interleaving of the two calls."""
    # By its first calls ours learns what the store understands, which takes requests of its own.
    store.call("ours")({"id": "first"})
    pending: list[list[int]] = [[]]
    number = 0
    while pending:
        number += 1
        assert number < MOST_INTERLEAVINGS
        prefix = pending.pop()
        taken: list[int] = []

        def choose(enabled: list[str], prefix: list[int] = prefix, taken: list[int] = taken) -> str:
            if len(taken) < len(prefix):
                choice = prefix[len(taken)]
            else:
                choice = 0
                pending.extend([*taken, other] for other in range(1, len(enabled)))
            taken.append(choice)
            return enabled[choice]

        interleaving = Interleaving(store, clock, {"id": number}, lives)
        interleaving.run(ends, choose, passes=passes)
        yield interleaving


WAYS = pytest.mark.parametrize(
    "raising",
    [(), ("ours",), ("original",), SIDES],
    ids=["both return", "ours raises", "original raises", "both raise"],
)


def ends(raising: tuple[str, ...]) -> dict[str, Any]:
    return {side: ZeroDivisionError() if side in raising else side for side in SIDES}


def answers(interleaving: Interleaving) -> set[str]:
    return {reply.answer for reply in interleaving.replies.values()} - {None}


def refusals(interleaving: Interleaving, side: str) -> set[str]:
    return {interleaving.replies[side].refusal} - {None}


@pytest.mark.stores("imitated", "usual")
@WAYS
def test_in_every_order_within_the_leases_one_body_runs_unless_it_raises(
    store: Any, clock: Any, lives: Any, raising: tuple[str, ...]
) -> None:
    orders = 0
    for interleaving in interleavings(store, clock, lives, ends(raising), passes=False):
        orders += 1
        assert not any(write.is_violation for write in interleaving.writes)
        assert set(interleaving.runs[:-1]) <= set(raising)
        # The original calls it an outage if a record goes between its SET and its GET.
        outage = {"IdempotencyPersistenceLayerError"} if "ours" in raising else set()
        for side in SIDES:
            raised = {"ZeroDivisionError"} if side in raising else set()
            may = {"IdempotencyAlreadyInProgressError"} | raised | (outage if side == "original" else set())
            assert refusals(interleaving, side) <= may
        stored = {interleaving.final["data"]} if interleaving.final else set()
        assert answers(interleaving) == stored
        assert stored == {f'"{side}"' for side in interleaving.runs if side not in raising}
    assert orders >= 6


@pytest.mark.stores("imitated", "usual")
@pytest.mark.parametrize(
    "raising",
    [
        pytest.param((), id="both return"),
        pytest.param(("ours",), id="ours raises", marks=pytest.mark.nightly),
        pytest.param(("original",), id="original raises", marks=pytest.mark.nightly),
    ],
)
def test_in_every_order_with_leases_outlived_only_the_original_changes_what_is_not_its_own(
    store: Any, clock: Any, lives: Any, raising: tuple[str, ...]
) -> None:
    seen, refused = set(), set()
    for interleaving in interleavings(store, clock, lives, ends(raising), passes=True):
        faults = [write for write in interleaving.writes if write.is_violation]
        assert {write.side for write in faults} <= {"original"}
        seen |= {(write.before["status"], write.after and write.after["status"]) for write in faults}
        lost_result = any(write.before["status"] == "COMPLETED" for write in faults)
        stored = {interleaving.final["data"]} if interleaving.final else set()
        # Apart from that fault, every answer is the stored result.
        assert answers(interleaving) == stored or lost_result
        assert len(answers(interleaving)) <= 1 or lost_result
        refused |= refusals(interleaving, "ours")
    late = None if "original" in raising else "COMPLETED"
    expected = {("INPROGRESS", late)}
    if "ours" not in raising:
        expected.add(("COMPLETED", late))
    if store.family == "redis":
        expected |= {(before, "INPROGRESS") for before, _ in expected}
    assert seen == expected
    ending = "ZeroDivisionError" if "ours" in raising else "IdempotencyLeaseLostError"
    assert refused == {"IdempotencyAlreadyInProgressError", ending}
