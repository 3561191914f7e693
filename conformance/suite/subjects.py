"""A layer under test, behind one blocking face."""

import asyncio
import threading
import time
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
        """Stop it."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


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
        self._ask(self.layer, "_put_record", record)

    def update(self, record: Record) -> None:
        """Call ``_update_record``."""
        self._ask(self.layer, "_update_record", record)

    def delete(self, record: Record) -> None:
        """Call ``_delete_record``."""
        self._ask(self.layer, "_delete_record", record)

    def waited(self) -> float:
        """Return for how many seconds the request that waits longest has waited."""
        now = time.perf_counter()
        return max((now - since for since in list(self._since.values())), default=0.0)

    def _ask(self, layer: Any, method: str, *args: Any) -> Any:
        me = threading.get_ident()
        self._since[me] = time.perf_counter()
        try:
            reply = getattr(layer, method)(*args)
            return self._loop.run(reply) if asyncio.iscoroutine(reply) else reply
        finally:
            del self._since[me]
