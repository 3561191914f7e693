"""Blocking layers under ``async def``: their requests use no resource of the application."""

import asyncio
import contextvars
import gc
import itertools
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from idemproof import (
    BasePersistenceLayer,
    DataRecord,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    Record,
    SQLitePersistenceLayer,
    idempotent_function,
)
from idemproof.backends.base import async_compare_and_swap
from idemproof.drivers import threads
from idemproof.errors import IdempotencyPersistenceLayerError

PATIENCE = 30
WAITING = {"in_progress_expires_after_seconds": 3000}


class Blocking(InMemoryPersistenceLayer):
    """An in-memory layer whose requests can be delayed, and which counts the running ones."""

    blocks = True

    def __init__(self) -> None:
        super().__init__()
        self.requests = 0
        self.entered = threading.Event()
        self.open = threading.Event()
        self.open.set()
        self.failure: BaseException | None = None

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        self.requests += 1
        self.entered.set()
        assert self.open.wait(PATIENCE)
        if self.failure is not None:
            raise self.failure
        return super()._swap(key, expected, new, ttl_ms)


def protect(layer: BasePersistenceLayer) -> Any:
    runs: list[int] = []

    @idempotent_function(
        data_keyword_argument="p", persistence_store=layer, config=IdempotencyConfig(**WAITING)
    )
    async def body(p: int) -> int:
        runs.append(p)
        return p

    body.runs = runs
    return body


def test_a_call_does_not_wait_for_what_the_application_does_in_its_executor(tmp_path: Path) -> None:
    free = threading.Event()

    async def main() -> int:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(2))
        busy = [loop.run_in_executor(None, free.wait, PATIENCE) for _ in range(2)]
        try:
            return int(await body(p=7))
        finally:
            free.set()
            await asyncio.gather(*busy)

    body = protect(SQLitePersistenceLayer(tmp_path / "records"))
    assert asyncio.run(main()) == 7


def test_threads_of_the_default_executor_may_wait_for_the_loop(tmp_path: Path) -> None:
    body = protect(SQLitePersistenceLayer(tmp_path / "records"))

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(2))
        return await asyncio.gather(
            *(
                loop.run_in_executor(
                    None, lambda p: asyncio.run_coroutine_threadsafe(body(p=p), loop).result(PATIENCE), i
                )
                for i in range(6)
            )
        )

    assert asyncio.run(main()) == list(range(6))


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "THREADS_PER_LAYER", 1)


@pytest.mark.usefixtures("one_thread")
def test_a_request_that_has_not_begun_is_given_up_at_once() -> None:
    layer = Blocking()
    store = async_compare_and_swap(layer)

    async def main() -> None:
        layer.open.clear()
        first = asyncio.create_task(store._swap("k", None, None, 0))
        assert await asyncio.to_thread(layer.entered.wait, PATIENCE)
        second = asyncio.create_task(store._swap("k", None, None, 0))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second  # though the only thread is busy
        assert not first.done()
        layer.open.set()
        await first

    asyncio.run(main())
    assert layer.requests == 1


@pytest.mark.usefixtures("one_thread")
def test_a_call_that_is_cancelled_before_its_claim_has_begun_ends_at_once_and_asks_nothing() -> None:
    layer = Blocking()
    body = protect(layer)

    async def main() -> None:
        layer.open.clear()
        first = asyncio.create_task(body(p=1))
        assert await asyncio.to_thread(layer.entered.wait, PATIENCE)
        second = asyncio.create_task(body(p=2))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert not first.done()
        layer.open.set()
        assert await first == 1

    asyncio.run(main())
    assert layer.requests == 2
    assert body.runs == [1]
    assert asyncio.run(body(p=2)) == 2


def test_a_cancellation_that_comes_together_with_the_reply_is_not_lost() -> None:
    layer = Blocking()
    store = async_compare_and_swap(layer)

    async def main() -> None:
        request = asyncio.create_task(store._load("k"))
        await asyncio.sleep(0)
        if request.cancel():  # it has not ended, as far as the loop knows
            with pytest.raises(asyncio.CancelledError):
                await request

    for _ in range(500):
        asyncio.run(main())


def test_a_request_under_way_is_awaited_however_often_it_is_cancelled() -> None:
    layer = Blocking()
    store = async_compare_and_swap(layer)

    async def main() -> None:
        layer.open.clear()
        request = asyncio.create_task(store._swap("k", None, Record("k", "INPROGRESS", 10), 1000))
        assert await asyncio.to_thread(layer.entered.wait, PATIENCE)
        for _ in range(3):
            request.cancel()
            await asyncio.sleep(0)
            assert not request.done()
        layer.open.set()
        with pytest.raises(asyncio.CancelledError):
            await request

    asyncio.run(main())
    assert layer.requests == 1
    assert layer._load("k") is not None


@pytest.mark.usefixtures("one_thread")
def test_a_store_that_hangs_does_not_hold_up_another() -> None:
    hanging = Blocking()

    async def main() -> None:
        hanging.open.clear()
        held = asyncio.create_task(protect(hanging)(p=1))
        assert await asyncio.to_thread(hanging.entered.wait, PATIENCE)
        assert await protect(Blocking())(p=2) == 2
        hanging.open.set()
        assert await held == 1

    asyncio.run(main())


@pytest.mark.parametrize("kind", [ValueError, StopIteration, SystemExit, GeneratorExit, KeyboardInterrupt])
def test_what_a_layer_raises_in_its_thread_reaches_the_caller(kind: type[BaseException]) -> None:
    layer = Blocking()
    layer.failure = kind("no")
    store = async_compare_and_swap(layer)

    async def main() -> BaseException:
        try:
            await store._swap("k", None, None, 0)
        except BaseException as error:
            return error
        raise AssertionError

    error = asyncio.run(main())
    assert layer.failure in (error, error.__cause__)


def test_a_layer_sees_the_context_variables_of_its_caller() -> None:
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")
    seen: list[str] = []

    class Looking(Blocking):
        def _swap(self, *args: Any) -> Record | None:
            seen.append(tenant.get())
            tenant.set("changed by the layer")
            return super()._swap(*args)

    async def main() -> str:
        tenant.set("ours")
        await protect(Looking())(p=1)
        return tenant.get()

    assert asyncio.run(main()) == "ours"
    assert seen == ["ours", "ours"]


def test_loops_share_threads_and_a_layer_takes_its_own_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "THREADS_PER_LAYER", 3)
    layer = Blocking()
    body = protect(layer)
    for p in range(40):
        assert asyncio.run(body(p=p)) == p
    started = set(threads._threads[id(layer)]._pool._threads)
    assert 1 <= len(started) <= 3
    del body, layer
    gc.collect()
    for thread in started:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_many_loops_in_many_threads() -> None:
    layer = Blocking()
    body = protect(layer)

    async def all_of_them(first: int) -> list[int]:
        return await asyncio.gather(*(body(p=first + i) for i in range(50)))

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda n: asyncio.run(all_of_them(50 * n)), range(6)))
    assert sorted(itertools.chain.from_iterable(answers)) == sorted(body.runs) == list(range(300))
    assert len(threads._threads[id(layer)]._pool._threads) <= threads.THREADS_PER_LAYER


@pytest.mark.usefixtures("one_thread")
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # closing the loop is the point
def test_a_loop_that_is_closed_meanwhile_does_not_disturb_the_thread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    layer = Blocking()
    store = async_compare_and_swap(layer)
    loop = asyncio.new_event_loop()
    layer.open.clear()
    request = loop.create_task(store._swap("k", None, Record("k", "INPROGRESS", 10), 1000))
    loop.run_until_complete(asyncio.sleep(0))
    assert layer.entered.wait(PATIENCE)
    loop.close()
    layer.open.set()
    assert asyncio.run(store._load("k")) is not None  # in the same thread, so the first has ended
    assert not request.done()
    assert [record for record in caplog.records if record.name == "concurrent.futures"] == []


def test_where_no_thread_can_be_started_requests_are_made_all_the_same_and_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer = Blocking()
    body = protect(layer)

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert asyncio.run(body(p=1)) == 1
    assert layer.requests == 2
    assert asyncio.run(body(p=2)) == 2  # in a thread, which finds what was refused before
    assert layer.requests == 4


def test_four_methods_of_one_layer_share_its_threads() -> None:
    class Old(BasePersistenceLayer):
        def _get_record(self, idempotency_key: str) -> DataRecord:
            raise AssertionError(idempotency_key)

        def _put_record(self, data_record: DataRecord) -> None:
            pass

        def _update_record(self, data_record: DataRecord) -> None:
            pass

        def _delete_record(self, data_record: DataRecord) -> None:
            pass

    layer = Old()
    before = set(threads._threads)
    assert asyncio.run(protect(layer)(p=1)) == asyncio.run(protect(layer)(p=1)) == 1
    assert set(threads._threads) - before == {id(layer)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_forked_child_has_threads_of_its_own() -> None:
    layer = Blocking()
    body = protect(layer)
    assert asyncio.run(body(p=1)) == 1
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if asyncio.run(body(p=2)) == 2 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert asyncio.run(body(p=3)) == 3


EXIT = """
import asyncio, sys, threading
from concurrent.futures import ThreadPoolExecutor
from idemproof import AsyncSQLitePersistenceLayer, IdempotencyConfig, idempotent_function

layer = AsyncSQLitePersistenceLayer(sys.argv[1])
begun = threading.Event()
pool = ThreadPoolExecutor(1)
used_before = sys.argv[2] == "used before"

@idempotent_function(
    data_keyword_argument="p",
    persistence_store=layer,
    config=IdempotencyConfig(in_progress_expires_after_seconds=3000),
)
async def body(p):
    if p == 1:
        begun.set()
        while True:  # until the main thread has ended, and pools take no more
            try:
                pool.submit(int)
            except RuntimeError:
                break
            await asyncio.sleep(0.001)
    print("effect", p, flush=True)
    return p

if used_before:
    asyncio.run(body(p=2))
threading.Thread(target=lambda: print("answer", asyncio.run(body(p=1)), flush=True)).start()
begun.wait()
"""


@pytest.mark.parametrize("use", ["used before", "not used before"])
def test_what_ran_is_stored_though_the_interpreter_is_exiting(tmp_path: Path, use: str) -> None:
    command = [sys.executable, "-c", EXIT, str(tmp_path / "records"), use]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-2:] == ["effect 1", "answer 1"], done.stderr
    assert "shutdown" not in done.stderr
    layer = SQLitePersistenceLayer(tmp_path / "records")
    with layer._file.connection() as db:
        statuses = dict(db.execute("SELECT data, status FROM records"))
    assert statuses["1"] == "COMPLETED"


@pytest.mark.usefixtures("one_thread")
def test_a_failing_layer_in_threads_is_a_persistence_error() -> None:
    layer = Blocking()
    layer.failure = ConnectionError("gone")
    with pytest.raises(IdempotencyPersistenceLayerError):
        asyncio.run(protect(layer)(p=1))
