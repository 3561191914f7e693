"""``async def`` functions over layers of every kind, with real event loops and no waiting."""

import asyncio
import contextvars
import inspect
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from idemproof import (
    AsyncBasePersistenceLayer,
    AsyncInMemoryPersistenceLayer,
    AsyncSQLitePersistenceLayer,
    BasePersistenceLayer,
    DataRecord,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    Record,
    SQLitePersistenceLayer,
    idempotent,
    idempotent_function,
)
from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyConfigError,
    IdempotencyItemAlreadyExistsError,
    IdempotencyItemNotFoundError,
)

Function = Callable[..., Coroutine[Any, Any, Any]]

PATIENCE_SECONDS = 60.0


class Documented(BasePersistenceLayer):
    """The four methods over a dictionary, for one thread at a time."""

    def __init__(self) -> None:
        self.records: dict[str, DataRecord] = {}
        self.lock = threading.Lock()

    def _get_record(self, idempotency_key: str) -> DataRecord:
        with self.lock:
            if idempotency_key not in self.records:
                raise IdempotencyItemNotFoundError
            return self.records[idempotency_key]

    def _put_record(self, data_record: DataRecord) -> None:
        with self.lock:
            if data_record.idempotency_key in self.records:
                raise IdempotencyItemAlreadyExistsError
            self.records[data_record.idempotency_key] = data_record

    def _update_record(self, data_record: DataRecord) -> None:
        with self.lock:
            self.records[data_record.idempotency_key] = data_record

    def _delete_record(self, data_record: DataRecord) -> None:
        with self.lock:
            self.records.pop(data_record.idempotency_key, None)


class AsyncDocumented(AsyncBasePersistenceLayer):
    """The same, but it yields to other tasks before each answer."""

    def __init__(self) -> None:
        self.layer = Documented()

    async def _get_record(self, idempotency_key: str) -> DataRecord:
        await asyncio.sleep(0)
        return self.layer._get_record(idempotency_key)

    async def _put_record(self, data_record: DataRecord) -> None:
        await asyncio.sleep(0)
        self.layer._put_record(data_record)

    async def _update_record(self, data_record: DataRecord) -> None:
        await asyncio.sleep(0)
        self.layer._update_record(data_record)

    async def _delete_record(self, data_record: DataRecord) -> None:
        await asyncio.sleep(0)
        self.layer._delete_record(data_record)


LAYERS: dict[str, Callable[[Path], Any]] = {
    "async memory": lambda _: AsyncInMemoryPersistenceLayer(),
    "memory": lambda _: InMemoryPersistenceLayer(),
    "sqlite in threads": lambda path: SQLitePersistenceLayer(path / "records.db", durable=False),
    "async sqlite": lambda path: AsyncSQLitePersistenceLayer(path / "records.db", durable=False),
    "four methods in threads": lambda _: Documented(),
    "async four methods": lambda _: AsyncDocumented(),
}


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made = LAYERS[request.param](tmp_path)
    yield made
    if hasattr(made, "close"):
        closing = made.close()
        if inspect.isawaitable(closing):
            asyncio.run(closing)  # type: ignore[arg-type]


def protect(layer: Any, function: Function) -> Function:
    config = IdempotencyConfig(in_progress_expires_after_seconds=600)
    return idempotent_function(function, data_keyword_argument="data", persistence_store=layer, config=config)


def test_runs_once_and_replays(layer: Any) -> None:
    runs = []

    async def pay(data: int) -> tuple[str, int]:
        await asyncio.sleep(0)
        runs.append(data)
        return "paid", data

    async def main() -> None:
        protected = protect(layer, pay)
        for data in (1, 2, 1, 2):
            assert await protected(data) == ["paid", data]

    asyncio.run(main())
    assert runs == [1, 2]


def test_a_failure_frees_the_key(layer: Any) -> None:
    runs = []

    async def pay(data: int) -> str:
        runs.append(data)
        if len(runs) == 1:
            raise ValueError(data)
        return "paid"

    async def main() -> None:
        protected = protect(layer, pay)
        with pytest.raises(ValueError, match="1"):
            await protected(1)
        assert [await protected(1), await protected(1)] == ["paid", "paid"]

    asyncio.run(main())
    assert runs == [1, 1]


def test_of_fifty_duplicates_one_runs_and_the_others_are_refused_or_answered(layer: Any) -> None:
    calls = 50
    runs = []

    async def main() -> None:
        refused, all_refused = [], asyncio.Event()

        async def pay(data: int) -> str:
            runs.append(data)
            await all_refused.wait()
            return "paid"

        protected = protect(layer, pay)

        async def call() -> str | None:
            try:
                answer: str = await protected(1)
            except IdempotencyAlreadyInProgressError as refusal:
                refused.append(refusal)
                if len(refused) == calls - 1:
                    all_refused.set()
                return None
            return answer

        answers = await asyncio.gather(*(call() for _ in range(calls)))
        assert sorted(answers, key=str) == [None] * (calls - 1) + ["paid"]
        assert await asyncio.gather(*(protected(1) for _ in range(calls))) == ["paid"] * calls

    asyncio.run(main())
    assert runs == [1]


def test_a_sibling_s_failure_in_a_task_group_cancels_the_body_and_frees_the_key(layer: Any) -> None:
    runs = []

    async def main() -> None:
        started, first = asyncio.Event(), True

        async def pay(data: int) -> str:
            nonlocal first
            runs.append(data)
            started.set()
            if first:
                first = False
                await asyncio.Event().wait()
            return "paid"

        protected = protect(layer, pay)

        async def fail() -> None:
            await started.wait()
            raise LookupError("sibling")

        async def together() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(protected(1))
                group.create_task(fail())

        with pytest.raises(ExceptionGroup) as caught:
            await together()
        assert [str(error) for error in caught.value.exceptions] == ["sibling"]
        assert await protected(1) == "paid"

    asyncio.run(main())
    assert runs == [1, 1]


def test_a_handler_s_context_bounds_the_lease() -> None:
    layer = InMemoryPersistenceLayer()

    class Context:
        def get_remaining_time_in_millis(self) -> int:
            return 5_000

    @idempotent(persistence_store=layer, config=IdempotencyConfig(clock=lambda: 1_000_000))
    async def handler(event: Any, context: Any) -> Any:
        (claim,) = layer._records.values()
        return claim.in_progress_expiry_timestamp

    assert asyncio.run(handler({"id": 1}, Context())) == 1_005_000


@pytest.mark.parametrize("operation", ["claim", "completion"])
def test_a_layer_that_waits_does_not_hold_up_the_event_loop(operation: str) -> None:
    class Waiting(InMemoryPersistenceLayer):
        blocks = True

        def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
            if (expected is None) == (operation == "claim"):
                entered.set()
                answered.append(may_answer.wait(PATIENCE_SECONDS))
            return super()._swap(key, expected, new, ttl_ms)

    entered, may_answer = threading.Event(), threading.Event()
    answered: list[bool] = []

    async def pay(data: int) -> str:
        return "paid"

    async def main() -> str:
        async def answer() -> None:
            assert await asyncio.to_thread(entered.wait, PATIENCE_SECONDS)
            may_answer.set()

        _, result = await asyncio.gather(answer(), protect(Waiting(), pay)(1))
        return str(result)

    assert asyncio.run(main()) == "paid"
    assert answered == [True]


def test_context_variables_reach_the_body_and_the_layer_and_come_back() -> None:
    tenant = contextvars.ContextVar("tenant", default="nobody")
    seen = []

    class Asking(InMemoryPersistenceLayer):
        blocks = True

        def _swap(self, *args: Any) -> Record | None:
            seen.append(tenant.get())
            return super()._swap(*args)

    async def pay(data: int) -> str:
        seen.append(tenant.get())
        tenant.set("changed by the body")
        return "paid"

    async def main() -> str:
        tenant.set("somebody")
        await protect(Asking(), pay)(1)
        return tenant.get()

    assert asyncio.run(main()) == "changed by the body"
    assert seen == ["somebody", "somebody", "changed by the body"]


def test_neither_import_nor_decoration_makes_a_thread_or_an_event_loop(tmp_path: Path) -> None:
    script = f"""
        import asyncio, threading

        def refuse(*_, **__):
            raise AssertionError("too early")

        threading.Thread.start = asyncio.new_event_loop = asyncio.get_event_loop = refuse
        asyncio.BaseEventLoop.__init__ = refuse

        import idemproof

        path = {str(tmp_path / "records.db")!r}
        layers = [
            idemproof.AsyncInMemoryPersistenceLayer(),
            idemproof.AsyncSQLitePersistenceLayer(path),
            idemproof.SQLitePersistenceLayer(path),
        ]
        for layer in layers:
            @idemproof.idempotent_function(data_keyword_argument="data", persistence_store=layer)
            async def pay(data): ...

            @idemproof.idempotent(persistence_store=layer)
            async def handler(event, context): ...

        assert threading.active_count() == 1
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=PATIENCE_SECONDS)
    assert list(tmp_path.iterdir()) == []


def test_without_an_event_loop_of_asyncio_a_sentence_is_raised_and_nothing_runs(tmp_path: Path) -> None:
    ran: list[str] = []

    @idempotent_function(
        data_keyword_argument="p", persistence_store=AsyncSQLitePersistenceLayer(tmp_path / "records.db")
    )
    async def work(p: str) -> None:
        ran.append(p)

    coroutine = work(p="key")
    with pytest.raises(IdempotencyConfigError, match="Under trio"):
        coroutine.send(None)  # as another library's loop does
    assert ran == []
