"""A thread that does one thing after the other, and may be left behind if it hangs."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

_SLICE = 0.05
_GRACE = 2.0


class Task:
    """Something to do, and what came of it."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.value: Any = None
        self.failure: BaseException | None = None
        self._work = work
        self._done = threading.Event()

    def ended(self, within: float) -> bool:
        """Wait for its end, at most so many seconds; tell whether it has come."""
        enough = time.perf_counter() + within
        # By little and little, for not every wait can be interrupted by Ctrl-C.
        while not self._done.wait(min(_SLICE, within)):
            if time.perf_counter() >= enough:
                return False
        return True

    def do(self) -> None:
        """Do it here and now."""
        try:
            self.value = self._work()
        except BaseException as failure:  # noqa: BLE001 - it is told to who waits
            self.failure = failure
        finally:
            self._done.set()


class Worker:
    """Does all that may hang in one thread, where layers are made and used: some are bound to theirs."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._thread = self._started()

    @property
    def is_here(self) -> bool:
        """Whether this is its own thread."""
        return threading.current_thread() is self._thread

    def begin(self, work: Callable[[], Any]) -> Task:
        """Let it do ``work``."""
        task = Task(work)
        self._tasks.put(task)
        return task

    def leave_behind(self) -> None:
        """Go on with another thread: this one hangs."""
        self._tasks.put(None)  # should it come back, it ends
        self._tasks = queue.SimpleQueue()
        self._thread = self._started()

    def close(self, *, wait: bool) -> None:
        """End it, once it has done what it was given; ``wait`` for that, if it does not hang."""
        self._tasks.put(None)
        if wait:
            self._thread.join(_GRACE)

    def _started(self) -> threading.Thread:
        thread = threading.Thread(target=_work, args=(self._tasks,), name="conformance", daemon=True)
        thread.start()
        return thread


def _work(tasks: "queue.SimpleQueue[Task | None]") -> None:
    while (task := tasks.get()) is not None:
        task.do()
