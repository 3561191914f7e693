"""Races: no correct layer is reported broken, whatever mechanism it uses, and however long it waits."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any

import pytest

import racing_layers as layers
import racing_stores as stores
from idemproof.spec.record import Record
from profiles import UNHURRIED
from race_reports import judged, over_fakeredis

pytestmark = pytest.mark.once


RIGHT: dict[str, Callable[[], Callable[[], Any]]] = {
    "locked-reentrantly": lambda: lambda: layers.LockedDictionary(threading.RLock()),
    "locked-by-condition": lambda: lambda: layers.LockedDictionary(threading.Condition()),
    "locked-globally": lambda: layers.GloballyLockedDictionary,
    "slotted": lambda: layers.Slotted,
    "locking-in-redis": lambda: over_fakeredis(stores.OverRedisLocking),
}
"""Other ways to wait than the correct layers of the kill matrix and the layers of this library have."""


@pytest.mark.parametrize("name", RIGHT)
def test_correct_layers_are_never_reported_broken(name: str) -> None:
    report = judged(RIGHT[name]())
    assert [each.why for each in report.findings] == []
    assert {each.verdict for each in report.checks} == {"kept"}
    assert all(each.schedules > 2 for each in report.checks)


@pytest.mark.parametrize("error", [RuntimeError, KeyError, TypeError])
def test_a_layer_that_raises_instead_of_waiting_is_not_broken_if_it_says_so(error: type[Exception]) -> None:
    class RefusesToWait(layers.LockedDictionary):
        def _swap(self, key: str, expected: Any, new: Any, ttl_ms: int) -> Any:
            if not self.lock.acquire(blocking=False):
                busy: Any = error("the store is busy")
                busy.nothing_written = True
                raise busy
            self.lock.release()
            return super()._swap(key, expected, new, ttl_ms)

    assert [each.why for each in judged(RefusesToWait).findings] == []


def test_a_lock_that_a_thread_of_the_layer_holds_for_a_while_is_not_a_deadlock() -> None:
    class Cleaned(layers.LockedDictionary):
        def __init__(self) -> None:
            super().__init__()
            self.asked, self.held, self.ended = (threading.Event() for _ in range(3))
            threading.Thread(target=self.clean, daemon=True).start()

        def clean(self) -> None:
            while self.asked.wait() and not self.ended.is_set():
                self.asked.clear()
                with self.lock:
                    self.held.set()
                    time.sleep(0.01)

        def _swap(self, key: str, expected: Any, new: Any, ttl_ms: int) -> Any:
            self.held.clear()
            self.asked.set()
            self.held.wait(0.05)
            return super()._swap(key, expected, new, ttl_ms)

        def close(self) -> None:
            self.ended.set()
            self.asked.set()

    assert judged(Cleaned, UNHURRIED._replace(schedules=4)).findings == ()


def test_a_lock_that_a_task_of_the_layer_holds_for_a_while_is_not_a_deadlock() -> None:
    class Cleaned(layers.AsyncLocked):
        cleaning: Any = None

        async def clean(self, begun: asyncio.Event) -> None:
            async with self.lock:
                begun.set()
                await asyncio.sleep(0.01)

        async def _swap(self, key: str, expected: Any, new: Any, ttl_ms: int) -> Any:
            begun = asyncio.Event()
            cleaning = asyncio.get_running_loop().create_task(self.clean(begun), context=Context())
            await begun.wait()
            found = await super()._swap(key, expected, new, ttl_ms)
            await cleaning
            return found

    assert judged(Cleaned, UNHURRIED._replace(schedules=4)).findings == ()


def test_an_error_that_sequential_requests_raise_too_is_no_fault() -> None:
    class Strict(layers.FourMethodsLocked):
        def _update_record(self, data_record: Any) -> None:
            with self.lock:
                current = self.rows[data_record.idempotency_key]
                self.rows[data_record.idempotency_key] = Record(*data_record[:7])
                assert current is not None

    report = judged(Strict, fenced=False)
    assert [each.why for each in report.findings] == []


def test_a_lock_that_cannot_be_found_costs_time_only() -> None:
    few = UNHURRIED._replace(schedules=4)
    assert [each.why for each in judged(layers.ClosedOverLock, few).findings] == []
