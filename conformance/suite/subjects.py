"""A layer under test, behind one blocking face."""

import asyncio
import threading
import time
import traceback
from collections.abc import Coroutine
from typing import Any

from ...backends.base import (
    AsyncBasePersistenceLayer,
    AsyncCompareAndSwapLayer,
    BasePersistenceLayer,
    CompareAndSwapLayer,
    async_compare_and_swap,
    compare_and_swap,
)
from ...backends.records import DataRecord
from ...spec.record import Record

_GRACE = 2.0
"""How many seconds an event loop has to come to its end."""


class Stopped(BaseException):
    """Ends a check that is interrupted, at its next request."""


class LoopThread:
    """An event loop in a thread of its own, on which all async layers of a check live."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="conformance-loop", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run ``work`` to its end and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def close(self) -> None:
        """Stop it, and whatever still runs on it; a layer that blocks the loop itself is left behind."""
        self.loop.call_soon_threadsafe(lambda: self.loop.create_task(self._stop()))
        self._thread.join(_GRACE)
        if not self._thread.is_alive():
            self.loop.close()

    async def _stop(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_GRACE / 2)
        self.loop.stop()


class Subject:
    """A layer, blocking or async, by either contract, called as if it were blocking and had both.

    Parameters
    ----------
    layer
        The layer, one of the four kinds in ``idemproof.backends.base``.
    loop
        Where an async layer runs.
    """

    def __init__(self, layer: BasePersistenceLayer | AsyncBasePersistenceLayer, loop: LoopThread) -> None:
        self.layer = layer
        self.asynchronous = isinstance(layer, AsyncBasePersistenceLayer)
        self.swaps = isinstance(layer, CompareAndSwapLayer | AsyncCompareAndSwapLayer)
        """Whether it is a compare-and-swap layer, whose decisions are the specification's."""
        self._loop = loop
        self._since: dict[int, float] = {}
        self._stopped = False
        self._face: Any = (
            async_compare_and_swap(layer)
            if isinstance(layer, AsyncBasePersistenceLayer)
            else compare_and_swap(layer)
        )

    def load(self, key: str) -> Record | None:
        """Return what stands for ``key``."""
        found: Record | None = self._ask(self._face, "_load", key)
        return found

    def swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        """Compare and swap; of a layer by the four methods, as the engine does it."""
        found: Record | None = self._ask(self._face, "_swap", key, expected, new, keep_ms)
        return found

    def get(self, key: str) -> DataRecord:
        """Call ``_get_record``."""
        found: DataRecord = self._ask(self.layer, "_get_record", key)
        return found

    def put(self, record: Record) -> None:
        """Call ``_put_record``."""
        self._ask(self.layer, "_put_record", DataRecord.of(record))

    def update(self, record: Record) -> None:
        """Call ``_update_record``."""
        self._ask(self.layer, "_update_record", DataRecord.of(record))

    def delete(self, record: Record) -> None:
        """Call ``_delete_record``."""
        self._ask(self.layer, "_delete_record", DataRecord.of(record))

    def waited(self) -> float:
        """Return for how many seconds the request that waits longest has waited."""
        now = time.perf_counter()
        return max((now - since for since in list(self._since.values())), default=0.0)

    def stop(self) -> None:
        """Answer no request from now on: whoever asks is stopped."""
        self._stopped = True

    def _ask(self, layer: Any, method: str, *args: Any) -> Any:
        if self._stopped:
            raise Stopped
        me = threading.get_ident()
        self._since[me] = time.perf_counter()
        try:
            reply = getattr(layer, method)(*args)
            return self._loop.run(reply) if asyncio.iscoroutine(reply) else reply
        finally:
            del self._since[me]


def came_from_the_layer(failure: BaseException) -> bool:
    """Tell whether the layer raised it, rather than the check."""
    return any(frame.f_code is Subject._ask.__code__ for frame, _ in traceback.walk_tb(failure.__traceback__))


def as_a_sentence(failure: BaseException) -> str:
    """Tell what the layer raised, and where."""
    last = traceback.extract_tb(failure.__traceback__)[-1]
    return (
        f"The layer raised {type(failure).__name__}: {failure} (line {last.lineno} of {last.filename}, "
        f"in {last.name})."
    )
