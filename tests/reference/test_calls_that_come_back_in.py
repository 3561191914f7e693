"""Reentrant calls: a signal's handler or a finalizer makes a protected call at any point of another call."""

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from idemproof import IdempotencyConfig, InMemoryPersistenceLayer, idempotent_function
from idemproof.errors import IdempotencyAlreadyInProgressError
from idemproof.testing import MovableClock

PATIENCE = 60


class Till:
    """A protected function in memory that counts its runs, whose purges and evictions come at every write."""

    def __init__(self, *, cached: bool) -> None:
        self.clock = MovableClock()
        self.layer = InMemoryPersistenceLayer()
        self.runs: list[str] = []
        self.pay = idempotent_function(
            self._pay,
            data_keyword_argument="order",
            persistence_store=self.layer,
            config=IdempotencyConfig(
                in_progress_expires_after_seconds=3000,
                use_local_cache=cached,
                local_cache_max_items=1,
                clock=self.clock,
            ),
        )

    def _pay(self, order: str) -> str:
        self.layer._writes_until_purge = 0
        self.runs.append(order)
        return f"{order} paid"


def at_moment(number: int, act: Callable[[], None], call: Callable[[], Any]) -> tuple[Any, bool]:
    """Return what ``call`` gives, with ``act`` at its moment of that number; and whether there was one.

    The moments are those at which CPython runs the handlers of signals: calls, and returns from C.
    """
    left = number
    came = False

    def watch(frame: FrameType, event: str, _: Any) -> None:
        nonlocal left, came
        if event not in ("call", "c_return") or not frame.f_globals["__name__"].startswith("idemproof."):
            return
        left -= 1
        if left == 0:
            came = True
            sys.setprofile(None)
            act()

    sys.setprofile(watch)
    try:
        return call(), came
    finally:
        sys.setprofile(None)


def in_time(work: Callable[[], None]) -> None:
    """Do ``work`` in a thread, so that a deadlock is a failure and not the end."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "the thread waits for itself"
    if failures:
        raise failures[0]


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("order", ["its own", "the same"])
@pytest.mark.parametrize("before", [0, 1])
def test_a_handler_makes_a_call_at_every_moment(cached: bool, order: str, before: int) -> None:
    def work() -> None:
        for number in range(1, 2000):
            till = Till(cached=cached)
            answers: list[Any] = []

            def handle(till: Till = till, answers: list[Any] = answers) -> None:
                try:
                    answers.append(till.pay(order=order))
                except IdempotencyAlreadyInProgressError as refusal:
                    answers.append(refusal)

            def call(till: Till = till) -> Any:
                try:
                    return till.pay(order="the same")
                except IdempotencyAlreadyInProgressError as refusal:
                    return refusal

            for _ in range(before):
                assert till.pay(order="the same") == "the same paid"
            answer, came = at_moment(number, handle, call)
            if not came:
                assert number > 20
                return
            assert till.runs.count("the same") == 1
            assert till.pay(order="the same") == "the same paid"
            if order == "its own":
                assert (answer, answers) == ("the same paid", ["its own paid"])
                assert till.pay(order=order) == "its own paid"
                assert till.runs.count(order) == 1
            else:
                assert "the same paid" in (answer, *answers)
        raise AssertionError("there were always more moments")

    in_time(work)


def test_what_is_purged_is_what_was_judged() -> None:
    def work() -> None:
        for number in range(1, 2000):
            till = Till(cached=False)
            till.pay(order="old")
            till.clock.advance(3601)

            def handle(till: Till = till) -> None:
                till.pay(order="old")  # claims anew what the purge is about to forget

            _, came = at_moment(number, handle, lambda till=till: till.layer.purge(till.clock()))
            if not came:
                assert number > 3
                return
            till.pay(order="old")
            assert till.runs == ["old", "old"]
        raise AssertionError("there were always more moments")

    in_time(work)
