"""Calls that wait for a change of a record, in the threads and event loops of one process.

A layer that learns of changes tells this registry, and offers :meth:`Waiters.wait` as ``_wait_for_change``.
"""

import contextlib
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from ..drivers.forksafe import give_lock

_Wake = Callable[[], object]


class Waiters:
    """Those who wait, by key. Thread-safe. A forked child has none."""

    _lock: AbstractContextManager[Any]

    def __init__(self) -> None:
        self.by_key: dict[str, dict[_Wake, int]] = {}
        """How to wake each of them, and the process that it belongs to. Read it to learn whether any wait."""
        give_lock(self)

    def __len__(self) -> int:
        return sum(map(len, list(self.by_key.values())))

    def __bool__(self) -> bool:
        return bool(self.by_key)

    def wake(self, key: str) -> None:
        """Wake all who wait for ``key``. Call it after the record has changed."""
        with self._lock:
            woken = self.by_key.pop(key, {})
        process = os.getpid()
        for wake, of_process in woken.items():
            if of_process == process:  # otherwise it is a thread or a loop of the parent process
                wake()

    def wait(self, key: str, has_changed: Callable[[], bool], seconds: float) -> bool:
        """Block the thread until ``key`` is woken, or the time is over; return whether there was a change.

        Parameters
        ----------
        key
            Names the record.
        has_changed
            Returns whether the record has changed already.
        seconds
            For how long to wait at most.
        """
        gate = threading.Lock()
        gate.acquire()
        wake = gate.release
        try:
            self._add(key, wake)
            woken = has_changed() or gate.acquire(timeout=seconds)
            return woken  # noqa: RET504 - an interrupt of a call in a return would pass by the cleanup
        finally:
            try:
                self._remove(key, wake)
            except BaseException:  # an interrupt strikes meanwhile
                self._remove(key, wake)
                raise

    async def wait_async(self, key: str, has_changed: Callable[[], bool], seconds: float) -> bool:
        """Wait as :meth:`wait` does, on an event loop."""
        import asyncio  # noqa: PLC0415 - blocking programs do not need it

        loop = asyncio.get_running_loop()
        woken: asyncio.Future[bool] = loop.create_future()

        def settle(changed: bool) -> None:
            if not woken.done():
                woken.set_result(changed)

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits
                loop.call_soon_threadsafe(settle, True)

        timer = loop.call_later(seconds, settle, False)
        try:
            self._add(key, wake)
            return has_changed() or await woken
        finally:
            timer.cancel()
            try:
                self._remove(key, wake)
            except BaseException:  # an interrupt strikes meanwhile
                self._remove(key, wake)
                raise

    def _add(self, key: str, wake: _Wake) -> None:
        with self._lock:
            self.by_key.setdefault(key, {})[wake] = os.getpid()

    def _remove(self, key: str, wake: _Wake) -> None:
        with self._lock:
            waiting = self.by_key.get(key)
            if waiting is not None:
                waiting.pop(wake, None)
                if not waiting:
                    self.by_key.pop(key, None)
