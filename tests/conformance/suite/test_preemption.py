"""Pauses inside a layer's own source, and cooperative locks."""

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import racing_layers as layers
from idemproof import InMemoryPersistenceLayer
from idemproof.conformance.harness import scheduler
from idemproof.conformance.harness.cooperative import (
    CooperativeAsyncLock,
    CooperativeCondition,
    CooperativeLock,
    CooperativeLocks,
)
from idemproof.conformance.harness.preemption import AwaitsPausing, lines_pausing, own_files
from idemproof.conformance.harness.scheduled_client import Client, ObservationBlocked, observing, reporting_to
from idemproof.conformance.harness.scheduler import Interleaving
from idemproof.conformance.harness.schedules import chooser, round_robin
from idemproof.conformance.suite.subjects import LoopThread

PATIENCE = 60


@pytest.fixture(autouse=True)
def _tolerate_slow_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not treat a client as blocked elsewhere only because the machine is slow."""
    monkeypatch.setattr(scheduler, "OUTSIDE_SECONDS", 30)


def run_interleaving(*tasks: Callable[[Client], Any], choose: Any = None) -> tuple[Interleaving, list[str]]:
    reported: list[str] = []

    def begins(work: Callable[[Client], Any]) -> Callable[[Client], None]:
        def run(client: Client) -> None:
            client.pause("begins", "request")
            work(client)

        return run

    def on_step(client: Client, what: Any, *, reply: bool) -> None:
        words = what if isinstance(what, str) else what()
        if words != "begins":
            reported.append(f"{client.number}: {words}")

    interleaving = Interleaving([begins(work) for work in tasks], choose or chooser(()), PATIENCE, on_step)
    interleaving.run()
    return interleaving, reported


def test_own_files_are_the_authors_sources() -> None:
    assert own_files([layers.LockedDictionary()]) == {layers.__file__}
    memory = own_files([InMemoryPersistenceLayer()])
    assert {name.rpartition("/")[2] for name in memory} == {"memory.py"}


def test_each_line_is_a_pause_and_tracing_ends_afterwards() -> None:
    layer = layers.UnlockedDictionary()
    before = sys.gettrace()
    after = []

    def work(_: Client) -> None:
        with lines_pausing(own_files([layer])):
            layer._swap("k", None, None, 0)
        after.append(sys.gettrace())

    _, reported = run_interleaving(work)
    assert [each.partition(": line ")[2].partition(": ")[2] for each in reported] == [
        "current = self.rows.get(key)",
        "if not same_version(current, expected):",
        "if new is None:",
        "self.rows.pop(key, None)",
        "return new",
    ]
    assert after == [before]


def test_a_line_that_repeats_at_once_pauses_rarely() -> None:
    def scan(rows: range) -> list[int]:
        return [row for row in rows if row < 0]

    def work(_: Client) -> None:
        with lines_pausing(frozenset({__file__})):
            scan(range(1000))

    _, reported = run_interleaving(work)
    assert 4 <= len(reported) <= 20


def test_a_line_that_waits_for_another_client_lets_it_go_on() -> None:
    done: list[int] = []

    def wait() -> None:
        while not done: pass  # fmt: skip  # noqa: E701 - a line that repeats at once

    def finish() -> None:
        for _ in range(10):
            abs(0)
        done.append(1)

    def tracing(work: Callable[[], None]) -> Callable[[Client], None]:
        def run(_: Client) -> None:
            with lines_pausing(frozenset({__file__})):
                work()

        return run

    interleaving, _ = run_interleaving(tracing(wait), tracing(finish), choose=round_robin)
    assert interleaving.hung is None
    assert done


def test_each_await_that_lets_others_run_is_a_pause() -> None:
    loop = LoopThread()

    async def quiet() -> str:
        return "quiet"

    async def work() -> list[str]:
        words = [await quiet()]
        await asyncio.sleep(0)
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
        except TimeoutError:
            words.append("late")
        return words

    results: list[Any] = []
    try:
        _, reported = run_interleaving(lambda _: results.append(AwaitsPausing(loop).run(work())))  # type: ignore[arg-type]
    finally:
        loop.close()
    assert results == [["quiet", "late"]]
    assert reported[0] == "0: goes on after an await"
    assert 2 <= len(reported) <= 4


@pytest.mark.parametrize(
    ("original", "kind"),
    [
        (threading.Lock(), CooperativeLock),
        (threading.RLock(), CooperativeLock),
        (threading.Condition(), CooperativeCondition),
        (asyncio.Lock(), CooperativeAsyncLock),
    ],
    ids=["lock", "rlock", "condition", "async"],
)
def test_locks_are_replaced_only_during_the_race(original: Any, kind: type) -> None:
    layer = layers.LockedDictionary(original)
    with CooperativeLocks([layer]):
        assert type(layer.lock) is kind
        assert type(layers._module_lock) is CooperativeLock
    assert layer.lock is original
    assert type(layers._module_lock) is type(threading.RLock())


def test_locks_of_classes_and_shared_locks_are_replaced_once() -> None:
    shared = threading.Lock()
    one, other = layers.LockedDictionary(shared), layers.LockedDictionary(shared)
    guard = layers.Slotted._guard
    with CooperativeLocks([one, other, layers.Slotted()]):
        assert one.lock is other.lock
        assert type(layers.Slotted._guard) is CooperativeLock
    assert one.lock is other.lock is shared
    assert layers.Slotted._guard is guard


def test_a_lock_and_a_condition_over_it_stay_one() -> None:
    layer = layers.LockedDictionary(threading.Lock())
    layer.condition = threading.Condition(layer.lock)  # type: ignore[attr-defined]
    with CooperativeLocks([layer]):
        with layer.lock:
            layer.condition.notify_all()  # type: ignore[attr-defined]
        assert layer.condition._lock is layer.lock  # type: ignore[attr-defined]
    assert layer.condition._lock is layer.lock  # type: ignore[attr-defined]


def test_a_held_lock_is_not_replaced() -> None:
    for lock in (threading.Lock(), threading.RLock()):
        layer = layers.LockedDictionary(lock)
        holding, done = threading.Event(), threading.Event()

        def hold(lock: Any = lock, holding: Any = holding, done: Any = done) -> None:
            with lock:
                holding.set()
                done.wait(10)

        holder = threading.Thread(target=hold)
        holder.start()
        holding.wait(10)
        with CooperativeLocks([layer]):
            assert layer.lock is lock
        done.set()
        holder.join(10)


@pytest.mark.parametrize("original", [threading.Lock(), threading.RLock()], ids=["lock", "rlock"])
def test_a_client_that_waits_for_a_cooperative_lock_goes_on_when_it_is_free(original: Any) -> None:
    lock = CooperativeLock(original)

    def work(client: Client) -> None:
        with lock:
            client.pause("inside", "call")

    interleaving, reported = run_interleaving(work, work, choose=chooser((0, 1)))
    assert interleaving.hung is None
    assert [each for each in reported if each != "0: begins"] == [
        "0: inside",
        "1: waits for a lock",
        "1: inside",
    ]
    assert not lock.locked()


def test_acquire_without_waiting_or_with_a_timeout_returns_false() -> None:
    lock = CooperativeLock(threading.Lock())
    words: list[bool] = []

    def holds(client: Client) -> None:
        with lock:
            client.pause("inside", "call")
            client.wait("for ever", lambda: len(words) == 2, forever=True)

    def tries(_: Client) -> None:
        words.append(lock.acquire(blocking=False))
        words.append(lock.acquire(timeout=1000))

    interleaving, _ = run_interleaving(holds, tries)
    assert interleaving.hung is None
    assert words == [False, False]


def test_a_reentrant_lock_is_acquired_twice_and_released_by_its_holder_only() -> None:
    lock = CooperativeLock(threading.RLock())
    with lock:
        assert lock.acquire()
        lock.release()
        assert lock.locked()
        failed: list[str] = []

        def other() -> None:
            try:
                lock.release()
            except RuntimeError as error:
                failed.append(str(error))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join(10)
        assert failed == ["cannot release un-acquired lock"]
    assert not lock.locked()
    with pytest.raises(RuntimeError):
        lock.release()
    with pytest.raises(RuntimeError):
        CooperativeLock(threading.Lock()).release()


def test_a_condition_releases_its_lock_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        scheduler, "OUTSIDE_SECONDS", 0.05
    )  # a wait for the notification is outside the scheduler
    condition = CooperativeCondition(threading.Condition())
    done: list[str] = []

    def waits(_: Client) -> None:
        with condition:
            condition.wait_for(lambda: bool(done), PATIENCE)
            done.append("seen")

    def notifies(_: Client) -> None:
        with condition:
            done.append("done")
            condition.notify_all()

    interleaving, _ = run_interleaving(waits, notifies)
    assert interleaving.hung is None
    assert done == ["done", "seen"]


def test_observing_never_waits() -> None:
    lock = CooperativeLock(threading.Lock())
    with lock, observing(), pytest.raises(ObservationBlocked):
        lock.acquire()
    held = CooperativeAsyncLock(asyncio.Lock())

    async def look() -> None:
        await held.acquire()
        with observing(), pytest.raises(ObservationBlocked):
            await held.acquire()

    asyncio.run(look())


def test_a_thread_outside_the_race_waits_as_usual() -> None:
    lock = CooperativeLock(threading.Lock())
    got: list[bool] = []

    def wants() -> None:
        got.append(lock.acquire(timeout=0))
        got.append(lock.acquire(timeout=30))
        lock.release()

    lock.acquire()
    thread = threading.Thread(target=wants)
    thread.start()
    while not got:
        time.sleep(0.001)
    lock.release()
    thread.join(30)
    assert got == [False, True]


def test_async_clients_wait_for_an_async_lock_in_turn() -> None:
    loop, lock = LoopThread(), CooperativeAsyncLock(asyncio.Lock())

    async def work(client: Client) -> None:
        async with lock:
            await client.pause_async("inside", "call")

    try:
        interleaving, reported = run_interleaving(
            *[lambda client: loop.run(work(client))] * 2, choose=round_robin
        )
    finally:
        loop.close()
    assert interleaving.hung is None
    assert reported == ["0: inside", "1: waits for a lock", "1: inside"]
    assert not lock.locked()
    with pytest.raises(RuntimeError):
        lock.release()


def test_an_async_lock_works_outside_races_too() -> None:
    lock = CooperativeAsyncLock(asyncio.Lock())

    async def both() -> None:
        await lock.acquire()
        waiter = asyncio.ensure_future(lock.acquire())
        await asyncio.sleep(0)
        assert not waiter.done()
        lock.release()
        assert await asyncio.wait_for(waiter, 30)

    asyncio.run(both())


def test_a_client_releases_its_lock_after_its_race_has_ended() -> None:
    lock = CooperativeLock(threading.RLock())
    client = SimpleNamespace(pauses_disabled=False)
    with reporting_to(client):
        with lock:
            client.pauses_disabled = True  # its race is over
            with lock:
                assert lock.locked()
        assert not lock.locked()
