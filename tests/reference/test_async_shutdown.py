"""When an event loop ends, it cancels every task, including those that wait for the store."""

import asyncio
import threading

import pytest

from idemproof import IdempotencyConfig, InMemoryPersistenceLayer, Record, idempotent_function
from idemproof.errors import IdempotencyPersistenceLayerError
from idemproof.spec.record import COMPLETED, INPROGRESS


class Slow(InMemoryPersistenceLayer):
    """Blocks the thread of one kind of request until it is released."""

    blocks = True

    def __init__(self, kept: str | None) -> None:
        super().__init__()
        self._kept = kept
        self.entered = threading.Event()
        self.leave = threading.Event()
        self.another = threading.Event()

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        if self.entered.is_set() and not self.leave.is_set():
            self.another.set()
        elif (None if new is None else new.status) == self._kept:
            self.entered.set()
            assert self.leave.wait(30)
        return super()._swap(key, expected, new, ttl_ms)


@pytest.mark.parametrize(
    ("kept", "left"),
    [(INPROGRESS, None), (COMPLETED, COMPLETED), (None, None)],
    ids=["claim", "completion", "release"],
)
def test_a_request_in_a_thread_is_not_abandoned_by_a_loop_that_ends(
    kept: str | None, left: str | None
) -> None:
    layer, runs = Slow(kept), []

    @idempotent_function(
        data_keyword_argument="data",
        persistence_store=layer,
        config=IdempotencyConfig(in_progress_expires_after_seconds=3000),
    )
    async def work(data: int) -> int:
        runs.append(data)
        if kept is None and len(runs) == 1:
            raise ValueError("declined")
        return len(runs)

    async def let_go_when_cancelled() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            # Long enough for whoever does not wait for the first request to send a second.
            await asyncio.to_thread(layer.another.wait, 0.2)
            layer.leave.set()
            raise

    async def main() -> None:
        tasks.extend((asyncio.create_task(work(data=1)), asyncio.create_task(let_go_when_cancelled())))
        await asyncio.to_thread(layer.entered.wait, 30)

    tasks: list[asyncio.Task[object]] = []
    asyncio.run(main())
    assert all(task.cancelled() for task in tasks)
    assert not layer.another.is_set()
    record = next(iter(layer._records.values()), None)
    assert (None if record is None else record.status) == left
    assert asyncio.run(work(data=1)) == (1 if left or kept == INPROGRESS else 2)
    assert len(runs) == (2 if kept is None else 1)


def test_a_layer_that_raises_stop_iteration_in_a_thread_does_not_hang_its_caller() -> None:
    class Exhausted(Slow):
        def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
            return next(iter(()))

    @idempotent_function(data_keyword_argument="data", persistence_store=Exhausted(None))
    async def work(data: int) -> int:
        return data

    async def main() -> None:
        async with asyncio.timeout(30):
            await work(data=1)

    with pytest.raises(IdempotencyPersistenceLayerError, match="StopIteration"):
        asyncio.run(main())
