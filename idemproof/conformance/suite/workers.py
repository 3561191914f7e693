"""A worker thread that runs one task at a time, and can be abandoned if it hangs."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

_SLICE = 0.05
_GRACE = 2.0


class Task:
    """A function to run, and its result or its error."""

    def __init__(self, work: Callable[[], Any], now: Callable[[], float] = time.perf_counter) -> None:
        self.value: Any = None
        self.failure: BaseException | None = None
        self._work = work
        self._now = now  # not looked up later: a layer may replace it
        self._done = threading.Event()

    def ended(self, within: float) -> bool:
        """Wait at most ``within`` seconds for the end of the task; return whether it has ended."""
        deadline = self._now() + within
        # In slices, because Ctrl-C cannot interrupt every wait.
        while not self._done.wait(min(_SLICE, within)):
            if self._now() >= deadline:
                return False
        return True

    @property
    def has_ended(self) -> bool:
        """Whether the task has ended."""
        return self._done.is_set()

    def do(self) -> None:
        """Run the task in this thread."""
        try:
            self.value = self._work()
        except BaseException as failure:  # noqa: BLE001 - the thread that waits handles it
            self.failure = failure
        finally:
            self._done.set()


class Worker:
    """The thread that makes and uses the layers, because some layers are bound to their thread."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._thread = self._started()

    @property
    def thread(self) -> int | None:
        """The number of the worker's thread."""
        return self._thread.ident

    @property
    def is_here(self) -> bool:
        """Whether the caller runs in the worker's thread."""
        return threading.current_thread() is self._thread

    def begin(self, work: Callable[[], Any]) -> Task:
        """Queue ``work``, and return its task."""
        task = Task(work)
        self._tasks.put(task)
        return task

    def leave_behind(self) -> None:
        """Replace the thread, because it hangs."""
        self._tasks.put(None)  # it ends if it ever returns
        self._tasks = queue.SimpleQueue()
        self._thread = self._started()

    def close(self, *, wait: bool) -> None:
        """End the thread after its queued tasks; ``wait`` for its end."""
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
