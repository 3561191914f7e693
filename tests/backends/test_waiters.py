"""The signal of the in-memory layers: who is woken, when, and what stays behind."""

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable

import pytest

from forks import FORKING
from idemproof import AsyncInMemoryPersistenceLayer, InMemoryPersistenceLayer, Record
from idemproof.backends.waiters import Waiters
from idemproof.spec.record import COMPLETED, INPROGRESS

FOREVER = 600  # seconds, for what must happen


def claim(key: str, owner: str = "owner") -> Record:
    return Record(key, INPROGRESS, 2**40, 2**45, None, None, owner)


def result(key: str) -> Record:
    return Record(key, COMPLETED, 2**40, None, '"done"', None, "owner")


def store(layer: InMemoryPersistenceLayer, new: Record | None, key: str = "key") -> None:
    current = layer._load(key)
    assert layer._swap(key, current, new, 1) is new


def in_thread(wait: Callable[[], bool]) -> tuple[threading.Thread, list[bool]]:
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(wait()))
    thread.start()
    return thread, answers


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        threading.Event().wait(0.001)


@pytest.mark.clause("CAS-14")
@pytest.mark.parametrize("change", [result("key"), None, claim("key", "another")], ids=repr)
def test_a_thread_is_woken_by_any_change(change: Record | None) -> None:
    layer, seen = InMemoryPersistenceLayer(), claim("key")
    store(layer, seen)
    thread, answers = in_thread(lambda: layer._wait_for_change("key", seen, FOREVER))
    until(lambda: bool(layer._waiters))
    store(layer, change)
    thread.join(FOREVER)
    assert answers == [True]
    assert len(layer._waiters) == 0


@pytest.mark.clause("CAS-14")
def test_a_change_before_the_wait_ends_it_at_once() -> None:
    layer = InMemoryPersistenceLayer()
    store(layer, result("key"))
    assert layer._wait_for_change("key", claim("key"), FOREVER)
    assert AsyncInMemoryPersistenceLayer()._layer._wait_for_change("key", claim("key"), FOREVER)
    assert len(layer._waiters) == 0


@pytest.mark.clause("CAS-14")
def test_another_key_and_a_refused_swap_wake_nobody() -> None:
    layer, seen = InMemoryPersistenceLayer(), claim("key")
    store(layer, seen)
    thread, answers = in_thread(lambda: layer._wait_for_change("key", seen, FOREVER))
    until(lambda: bool(layer._waiters))
    store(layer, claim("other"), "other")
    assert layer._swap("key", None, claim("key", "late"), 1) == seen
    assert len(layer._waiters) == 1
    store(layer, None)
    thread.join(FOREVER)
    assert answers == [True]


@pytest.mark.clause("CAS-14")
def test_a_wait_ends_when_its_time_is_over() -> None:
    layer, seen = InMemoryPersistenceLayer(), claim("key")
    store(layer, seen)
    assert not layer._wait_for_change("key", seen, 0.001)
    assert not asyncio.run(layer._wait_for_change_async("key", seen, 0.001))
    assert len(layer._waiters) == 0


@pytest.mark.clause("CAS-14")
@pytest.mark.usefixtures("_hasty_switching")
def test_no_wake_up_is_lost_between_threads() -> None:
    """Two threads take turns; each waits without a limit for the other's change."""
    layer = InMemoryPersistenceLayer()
    store(layer, claim("key", "0"))

    def play(me: int) -> bool:
        for turn in range(me, 600, 2):
            while (seen := layer._load("key")) is not None and seen.owner != str(turn):
                assert layer._wait_for_change("key", seen, FOREVER)
            store(layer, claim("key", str(turn + 1)))
        return True

    played = [in_thread(lambda me=me: play(me)) for me in (0, 1)]  # type: ignore[misc]
    for thread, answers in played:
        thread.join(FOREVER)
        assert answers == [True]
    assert len(layer._waiters) == 0


@pytest.mark.clause("CAS-14")
def test_tasks_and_threads_wait_for_the_same_change() -> None:
    layer, seen = InMemoryPersistenceLayer(), claim("key")
    store(layer, seen)

    async def main() -> list[bool]:
        tasks = [asyncio.ensure_future(layer._wait_for_change_async("key", seen, FOREVER)) for _ in range(20)]
        await asyncio.sleep(0)
        assert len(layer._waiters) == 21
        threading.Thread(target=store, args=(layer, result("key"))).start()
        return await asyncio.gather(*tasks)

    thread, answers = in_thread(lambda: layer._wait_for_change("key", seen, FOREVER))
    until(lambda: bool(layer._waiters))
    assert asyncio.run(main()) == [True] * 20
    thread.join(FOREVER)
    assert answers == [True]
    assert len(layer._waiters) == 0


def test_a_cancelled_task_leaves_nothing_behind() -> None:
    layer, seen = InMemoryPersistenceLayer(), claim("key")
    store(layer, seen)

    async def main() -> None:
        task = asyncio.ensure_future(layer._wait_for_change_async("key", seen, FOREVER))
        await asyncio.sleep(0)
        assert len(layer._waiters) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(layer._waiters) == 0

    asyncio.run(main())
    store(layer, None)


def test_a_loop_that_is_gone_harms_no_writer() -> None:
    waiters = Waiters()
    loop = asyncio.new_event_loop()
    waiting = waiters.wait_async("key", lambda: False, FOREVER)
    task = loop.create_task(waiting)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert len(waiters) == 1
    loop.close()
    waiters.wake("key")
    assert len(waiters) == 0
    task._log_destroy_pending = False  # type: ignore[attr-defined]


@pytest.mark.clause("CAS-14")
def test_a_forked_child_wakes_none_of_its_parent_and_can_wait_itself() -> None:
    script = FORKING + textwrap.dedent("""
        import threading
        from idemproof import InMemoryPersistenceLayer, Record
        layer = InMemoryPersistenceLayer()
        seen = Record("key", "INPROGRESS", 2**40, 2**45, None, None, "owner")
        layer._swap("key", None, seen, 1)
        answers = []
        def wait(): answers.append(layer._wait_for_change("key", seen, 600))
        thread = threading.Thread(target=wait)
        thread.start()
        while not layer._waiters: pass
        def in_child():
            mine = threading.Thread(target=wait)
            mine.start()
            while len(layer._waiters) < 2: pass
            assert layer._swap("key", seen, None, 0) is None
            mine.join(40)
            assert answers == [True] and not layer._waiters
        join(fork(in_child))
        assert not answers and len(layer._waiters) == 1
        layer._swap("key", seen, None, 0)
        thread.join(600)
        assert answers == [True]
    """)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=FOREVER, check=False
    )
    assert done.returncode == 0, done.stderr
