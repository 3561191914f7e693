"""A layer under test, behind one blocking interface."""

import asyncio
import inspect
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from pathlib import Path
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

_PACKAGE = Path(__file__).parents[2]
_OURS = tuple(
    str(_PACKAGE / folder)
    for folder in (
        *("backends", "drivers", "reference", "spec"),
        *("conformance/commands", "conformance/harness", "conformance/suite", "conformance/tiers"),
    )
)
_OTHERS = (*(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),)
"""The folders of Python's own source, and of installed packages."""

_FROZEN = "<frozen "
"""The prefix of the file names of modules that are built into Python."""

_LONGEST_TEXT = 1000
"""How many characters of a message or of a value a report shows."""

_GRACE = 2.0
"""How long an event loop may take to end (seconds)."""


RAISED = "The layer raised "
"""How a sentence about an error of the layer begins."""


class Stopped(BaseException):
    """Ends an interrupted check at its next request."""


class LoopThread:
    """An event loop in a separate thread, on which all async layers of a run are used."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="conformance-loop", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run ``work`` on the loop, wait until it ends, and return its result."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self.loop).result()
        finally:
            if inspect.getcoroutinestate(work) == inspect.CORO_CREATED:  # because the loop is closed
                work.close()

    def close(self) -> None:
        """Cancel the tasks on the loop, and stop it. If a layer blocks the loop, abandon its thread."""
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
    """A blocking interface with both contracts to a layer of any kind.

    Parameters
    ----------
    layer
        The layer, of one of the four base classes in ``idemproof.backends.base``.
    loop
        The event loop for an async layer.
    note
        Called with the duration of each request (seconds).
    over
        Returns whether the time of the run is over: no request begins then.
    now
        A clock that only goes forwards.
    """

    def __init__(
        self,
        layer: BasePersistenceLayer | AsyncBasePersistenceLayer,
        loop: LoopThread,
        note: Callable[[float], None] = lambda _: None,
        over: Callable[[], bool] = lambda: False,
        now: Callable[[], float] = time.perf_counter,  # not looked up later: a layer may replace it
    ) -> None:
        self.layer = layer
        self.asynchronous = isinstance(layer, AsyncBasePersistenceLayer)
        self.swaps = isinstance(layer, CompareAndSwapLayer | AsyncCompareAndSwapLayer)
        """Whether it is a compare-and-swap layer, for which the specification decides."""
        self.loop = loop
        self._note = note
        self._over = over
        self._now = now
        self._since: dict[int, float] = {}
        self._stopped = False
        self.face: Any = (
            async_compare_and_swap(layer)
            if isinstance(layer, AsyncBasePersistenceLayer)
            else compare_and_swap(layer)
        )

    def load(self, key: str) -> Record | None:
        """Return the stored record of ``key``."""
        found: Record | None = self._ask(self.face, "_load", key)
        return found

    def swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        """Compare and swap; for a four-method layer, as the engine does it. ``ttl_ms``: milliseconds."""
        found: Record | None = self._ask(self.face, "_swap", key, expected, new, ttl_ms)
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

    @property
    def offers_to_wait(self) -> bool:
        """Whether the layer offers to wait for a change of a record (CAS-14)."""
        return getattr(self.layer, "_wait_for_change", None) is not None

    def wait_for_change(
        self, key: str, seen: Record, seconds: float, watching: AbstractContextManager[object]
    ) -> bool:
        """Wait as the layer offers it; ``watching`` surrounds that. It is no request, and may take long."""
        layer: Any = self.layer
        if self.asynchronous:
            return bool(self.loop.run(_watched(layer, (key, seen, seconds), watching)))
        with watching:
            return bool(layer._wait_for_change(key, seen, seconds))

    def waited(self, thread: int | None = None) -> float:
        """Return how long the oldest pending request has waited (seconds), in any thread or in one."""
        pending = [self._since.get(thread)] if thread is not None else list(self._since.values())
        now = self._now()
        return max((now - since for since in pending if since is not None), default=0.0)

    def stop(self) -> None:
        """Raise :class:`Stopped` for every request from now on."""
        self._stopped = True

    def _ask(self, layer: Any, method: str, *args: Any) -> Any:
        if self._stopped or self._over():
            raise Stopped
        me = threading.get_ident()
        self._since[me] = began = self._now()
        try:
            if self.asynchronous:
                return self.loop.run(_awaited(layer, method, args))
            return getattr(layer, method)(*args)
        finally:
            del self._since[me]
            self._note(self._now() - began)


async def _awaited(layer: Any, method: str, args: tuple[Any, ...]) -> Any:
    """Call a method on the loop, and await its result: it may return any awaitable."""
    return await getattr(layer, method)(*args)


async def _watched(layer: Any, args: tuple[Any, ...], watching: AbstractContextManager[object]) -> Any:
    with watching:
        return await layer._wait_for_change(*args)


_OWED = {
    "load": "CAS-1",
    "get": "CAS-1",
    "swap": "CAS-3",
    "put": "CAS-7",
    "update": "CAS-8",
    "delete": "CAS-8",
}


def clause_of(failure: BaseException) -> str:
    """Return the clause that a layer breaks if it raises ``failure`` instead of answering."""
    asked = [
        frame.f_code.co_name
        for frame, _ in traceback.walk_tb(failure.__traceback__)
        if frame.f_globals is globals()
    ]
    return next((_OWED[name] for name in reversed(asked) if name in _OWED), "CAS-3")


def came_from_the_layer(failure: BaseException) -> bool:
    """Return whether the layer raised ``failure``, not the check."""
    return any(frame.f_code is Subject._ask.__code__ for frame, _ in traceback.walk_tb(failure.__traceback__))


def as_a_sentence(failure: BaseException) -> str:
    """Return what the layer raised, and where in its own source, as a sentence."""
    sentence = f"{RAISED}{error_text(failure)}".rstrip(". ")
    frame = frame_of_the_users(failure)
    return f"{sentence}." if frame is None else f"{sentence} ({place_of(frame)}, in {frame.name})."


def error_text(failure: BaseException) -> str:
    """Return the type and the message of an error."""
    return f"{type(failure).__name__}: {message_of(failure)}"


def message_of(failure: BaseException) -> str:
    """Return the message of an error, shortened. An error of a layer may fail to return one."""
    try:
        return shortened(str(failure))
    except Exception as another:  # noqa: BLE001 - __str__ may raise anything
        return f"(its message cannot be read: __str__ raised {type(another).__name__})"


def shown(value: object) -> str:
    """Return the representation of a value, shortened; of its type, if it cannot be represented."""
    try:
        return shortened(repr(value))
    except Exception:  # noqa: BLE001 - __repr__ may raise anything
        return f"an object of the type {type(value).__name__}"


def shortened(text: str) -> str:
    """Return a text without its middle, if it is too long for a report."""
    if len(text) <= _LONGEST_TEXT:
        return text
    half = _LONGEST_TEXT // 2
    return f"{text[:half]}… ({len(text) - 2 * half:,} characters are left out) …{text[-half:]}"


def frame_of_the_users(failure: BaseException) -> traceback.FrameSummary | None:
    """Return the last frame in the user's own source; without one, the last in another package."""
    frames = traceback.extract_tb(failure.__traceback__)
    for packages in ((*_OURS, *_OTHERS, _FROZEN), (*_OURS, _FROZEN)):
        own = [frame for frame in frames if not frame.filename.startswith(packages)]
        if own:
            return own[-1]
    return None


def place_of(frame: traceback.FrameSummary) -> str:
    """Return the line and the file of a frame, in words."""
    return f"line {frame.lineno} of {frame.filename}"
