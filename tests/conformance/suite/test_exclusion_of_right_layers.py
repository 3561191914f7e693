"""Races: no correct layer is reported broken, whatever mechanism it uses, and however long it waits."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from typing import Any

import fakeredis
import pytest

import racing_layers as layers
import racing_stores as stores
import servers
from idemproof import (
    AsyncInMemoryPersistenceLayer,
    AsyncRedisCachePersistenceLayer,
    AsyncSQLitePersistenceLayer,
    InMemoryPersistenceLayer,
    RedisCachePersistenceLayer,
    SQLitePersistenceLayer,
)
from idemproof.spec.record import Record
from race_reports import UNHURRIED, judged, over_fakeredis

pytestmark = pytest.mark.once


def in_a_file(make: Callable[[Path], Any]) -> Callable[[Path], Callable[[], Any]]:
    return lambda folder: lambda: make(folder / "records.db")


def in_fakeredis(
    kind: Callable[..., Any], client: Any = fakeredis.FakeRedis
) -> Callable[[Path], Callable[[], Any]]:
    return lambda _: over_fakeredis(kind, client)


RIGHT: dict[str, Callable[[Path], Callable[[], Any]]] = {
    "memory": lambda _: InMemoryPersistenceLayer,
    "memory-async": lambda _: AsyncInMemoryPersistenceLayer,
    "sqlite": in_a_file(lambda path: SQLitePersistenceLayer(path, durable=False)),
    "sqlite-async": in_a_file(lambda path: AsyncSQLitePersistenceLayer(path, durable=False)),
    "fakeredis": in_fakeredis(RedisCachePersistenceLayer),
    "fakeredis-async": in_fakeredis(AsyncRedisCachePersistenceLayer, fakeredis.FakeAsyncRedis),
    "locked": lambda _: layers.LockedDictionary,
    "locked-reentrantly": lambda _: lambda: layers.LockedDictionary(threading.RLock()),
    "locked-by-condition": lambda _: lambda: layers.LockedDictionary(threading.Condition()),
    "locked-globally": lambda _: layers.GloballyLockedDictionary,
    "slotted": lambda _: layers.Slotted,
    "async-locked": lambda _: layers.AsyncLocked,
    "watching": in_fakeredis(stores.OverRedisWatching),
    "by-script": in_fakeredis(stores.OverRedisByScript),
    "locking-in-redis": in_fakeredis(stores.OverRedisLocking),
    "sql-by-condition": in_a_file(stores.OverSQLiteByCondition),
    "sql-in-one-transaction": in_a_file(stores.OverSQLiteInOneTransaction),
}


@pytest.mark.parametrize("name", RIGHT)
def test_correct_layers_are_never_reported_broken(name: str, tmp_path: Path) -> None:
    report = judged(RIGHT[name](tmp_path))
    assert [each.why for each in report.findings] == []
    assert {each.verdict for each in report.checks} == {"kept"}
    assert all(each.schedules > 2 for each in report.checks)


@pytest.mark.parametrize("kind", [RedisCachePersistenceLayer, AsyncRedisCachePersistenceLayer])
def test_correct_layers_over_a_real_server_are_never_reported_broken(
    kind: Callable[..., Any], valkey_server: servers.Server
) -> None:
    report = judged(lambda: kind(host=valkey_server.host, port=valkey_server.port, ssl=False))
    assert [each.why for each in report.findings] == []
    assert {each.verdict for each in report.checks} == {"kept"}
    assert all(each.schedules > 2 for each in report.checks)


def test_a_correct_layer_with_four_methods_is_never_reported_broken() -> None:
    report = judged(layers.FourMethodsLocked, fenced=False)
    assert [each.why for each in report.findings] == []
    assert {each.verdict for each in report.checks} == {"kept", "not offered"}


@pytest.mark.parametrize("error", [RuntimeError, KeyError, TypeError])
def test_a_layer_that_raises_instead_of_waiting_is_not_broken(error: type[Exception]) -> None:
    class RefusesToWait(layers.LockedDictionary):
        def _swap(self, key: str, expected: Any, new: Any, ttl_ms: int) -> Any:
            if not self.lock.acquire(blocking=False):
                raise error("the store is busy")
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
