"""Threads of ours and of the original on the keys of one real table or server.

The store itself reports the record before each write, in the reply to that write.
"""

import random
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

pytestmark = pytest.mark.once

THREADS = 8
KEYS = 24
VISITS = 2
ROUNDS = 50
SECONDS = 60
LEASE_MS = 10_000


class Change(NamedTuple):
    """The record that a request writes under a key, and the record that it replaces."""

    key: str
    old: Any
    new: Any


class Violation(NamedTuple):
    """A write by ``side`` that changed a live record of another, or a live result."""

    side: str
    key: str
    status: str


class Mine(threading.local):
    """The last claim of a thread's call, and its run."""

    claim: Any = None
    run: Any = None


@dataclass
class Run:
    """A body that ran: whether it raised, and whether its call outlived its lease."""

    side: str
    raised: bool = True
    outlived: bool = False


def of_dynamodb(
    store: Any, method: str, request: Callable[..., Any], args: Any, kwargs: Any
) -> tuple[Any, Change | None]:
    """Send a request so that the table returns the previous item; return the reply and the change."""
    if method == "get_item":
        return request(**kwargs), None
    reply = request(**kwargs, ReturnValues="ALL_OLD")
    item = kwargs.get("Item")
    return reply, Change(store.key_of(item or kwargs["Key"]), reply.get("Attributes"), item)


def of_redis(
    store: Any, method: str, request: Callable[..., Any], args: Any, kwargs: Any
) -> tuple[Any, Change | None]:
    """Send a request so that the server returns the previous value; return the reply and the change."""
    if method == "delete":
        return 1, Change(args[0], request.__self__.getdel(args[0]), None)
    if method == "set" and not kwargs.get("nx"):
        return True, Change(kwargs["name"], request(**kwargs, get=True), kwargs["value"])
    reply = request(*args, **kwargs)
    if method == "set" and not kwargs["name"].endswith(":lock"):
        return reply, Change(kwargs["name"], None, kwargs["value"])
    if method == "execute_command":
        # SET key new NX ..., or SET key new IFEQ old ...
        return reply, Change(args[1], args[4] if args[3] == b"IFEQ" and reply else None, args[2])
    if method.startswith("eval"):
        # script, 1, key, old, new, ...
        return reply, Change(args[2], args[3] if reply == 1 else None, args[4])
    return reply, None


class Fleet:
    """Calls of both sides, and their answers by key."""

    def __init__(self, store: Any, lives: Callable[..., bool], now: Callable[[], int]) -> None:
        self.store = store
        self.answers: dict[str, set[str]] = defaultdict(set)
        self.runs: dict[str, list[Run]] = defaultdict(list)
        self.violations: list[Violation] = []
        self._lives = lives
        self._now = now
        self._mine = Mine()
        self._send_and_compare = {"dynamodb": of_dynamodb, "redis": of_redis}[store.family]
        store.send = self._send

    def functions(self, end: Callable[[], None]) -> list[Callable[[Any], Any]]:
        """Return a function for each thread, half of them of each side; no two runs answer alike."""

        def function(side: str) -> Callable[[Any], Any]:
            def body(order: Any) -> Any:
                run = self._mine.run = Run(side)
                self.runs[self.store.key(order)].append(run)
                end()
                run.raised = False
                return f"{side} {id(run)}"

            return self.store.call(side, body)

        return [function(("ours", "original")[number % 2]) for number in range(THREADS)]

    def ask(self, call: Callable[[Any], Any], order: Any) -> Any:
        begun = self._now()
        self._mine.run = Run("none")
        reply = call(order)
        self._mine.run.outlived = self._now() - begun >= LEASE_MS
        if reply.answer is not None:
            self.answers[self.store.key(order)].add(reply.answer)
        return reply

    def _send(self, side: str, method: str, request: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        now = self._now()
        reply, change = self._send_and_compare(self.store, method, request, args, kwargs)
        if change is not None:
            old = self.store.fields(change.old)
            held = old is not None and old["status"] == "INPROGRESS" and self._is_mine(old)
            if self._lives(old, now) and not held:
                self.violations.append(Violation(side, change.key, old["status"]))
            new = self.store.fields(change.new)
            if new is not None and new["status"] == "INPROGRESS":
                self._mine.claim = new
        return reply

    def _is_mine(self, claim: Any) -> bool:
        """Return whether a claim is the last one of this thread's call, or one that it has made again since.

        Ours claims again, with the same owner token, if its lease has ended before the grant arrives (ENG-3).
        """
        mine = self._mine.claim
        return mine is not None and (
            claim == mine or ("owner" in mine and mine["owner"] == claim.get("owner"))
        )


def visit_concurrently(visit: Callable[[int, Any], None]) -> None:
    """Let all threads visit one order after the other, each at the same time."""
    together = threading.Barrier(THREADS)

    def work(number: int) -> None:
        try:
            for order in ORDERS:
                together.wait(SECONDS)
                visit(number, order)
        except BaseException:
            together.abort()
            raise

    with ThreadPoolExecutor(THREADS) as pool:
        failures = [done.exception() for done in [pool.submit(work, number) for number in range(THREADS)]]
    # A broken barrier only follows from another failure.
    for failure in sorted(
        filter(None, failures), key=lambda error: isinstance(error, threading.BrokenBarrierError)
    ):
        raise failure


ORDERS = [{"id": number} for number in range(KEYS)]


@pytest.mark.stores("real", "usual")
@pytest.mark.usefixtures("_hasty_switching")
def test_within_the_leases_each_key_has_one_answer_and_one_run(store: Any, lives: Any) -> None:
    fleet = Fleet(store, lives, lambda: 0)
    calls = fleet.functions(lambda: None)
    answered = {store.key(order): threading.Event() for order in ORDERS}

    def visit(number: int, order: Any) -> None:
        first = answered[store.key(order)]
        for _ in range(ROUNDS):
            reply = fleet.ask(calls[number], order)
            if reply.answer is not None:
                first.set()
                return
            assert reply.refusal == "IdempotencyAlreadyInProgressError"
        # The running body may be slow, but when one call is answered, all are.
        assert first.wait(SECONDS)
        assert fleet.ask(calls[number], order).answer is not None

    visit_concurrently(visit)
    assert fleet.violations == []
    for order in ORDERS:
        (run,) = fleet.runs[store.key(order)]
        assert len(fleet.answers[store.key(order)]) == 1, run


@pytest.mark.stores("real", "usual")
@pytest.mark.usefixtures("_hasty_switching")
def test_with_leases_outlived_and_errors_a_second_answer_is_always_by_a_fault_of_the_original(
    store: Any, clock: Any, lives: Any
) -> None:
    fleet = Fleet(store, lives, lambda: clock.now)
    one_by_one = threading.Lock()
    chance = random.Random(7)

    def end() -> None:
        with one_by_one:
            passes, fails = chance.random() < 0.25, chance.random() < 0.25
            if passes:
                clock.pass_by(LEASE_MS + 1)
        if fails:
            raise ZeroDivisionError

    calls = fleet.functions(end)

    def visit(number: int, order: Any) -> None:
        for _ in range(VISITS):
            fleet.ask(calls[number], order)

    visit_concurrently(visit)
    clock.pass_by(LEASE_MS + 1)
    last = store.call("ours", lambda order: "last")
    assert all(fleet.ask(last, order).answer is not None for order in ORDERS)
    assert [violation for violation in fleet.violations if violation.side != "original"] == []
    for key in map(store.key, ORDERS):
        faults = [violation for violation in fleet.violations if violation.key == key]
        lost = [fault for fault in faults if fault.status == "COMPLETED"]
        assert len(fleet.answers[key]) <= 1 + len(lost), key
        reasons = [run for run in fleet.runs[key] if run.raised or run.outlived]
        assert len(fleet.runs[key]) <= 1 + len(reasons) + len(faults), key
