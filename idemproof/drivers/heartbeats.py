"""Renews the leases of blocking bodies: daemon threads of the process perform the renewals of all attempts.

One thread waits for the renewal that is due next. Before it sends a request, another thread begins to wait if
there are more attempts, so that a store that hangs for one key delays no other. The number of threads is
bounded. They start when they are needed, and never keep the interpreter from exiting.
"""

import contextvars
import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from ..spec.commands import CancelBody, Emit, Sleep, Steps
from ..spec.errors import IdempotencyError
from ..spec.occurrences import Occurrence
from .blocking import request

MOST_THREADS = 32
"""How many renewals of one process may wait for their stores at the same time. Further ones are late."""

now: Callable[[], float] = time.monotonic
"""Returns the time by which renewals are due (seconds)."""

_FEW = 64
"""How many stopped renewals may wait to be forgotten, however few others there are."""


def wait(turn: threading.Condition, seconds: float | None) -> None:
    """Wait until ``turn`` is notified, at most so many seconds."""
    turn.wait(None if seconds is None else min(seconds, threading.TIMEOUT_MAX))


class Beat:
    """The renewal of one attempt, as threads perform it."""

    __slots__ = ("context", "home", "layer", "observe", "performing", "steps", "stopped")

    def __init__(self, steps: Steps, layer: Any, observe: Callable[[Occurrence], None] | None) -> None:
        self.steps: Steps | None = steps
        self.layer = layer
        self.observe = observe
        self.context = contextvars.copy_context()
        self.home: _Heartbeats | None = None
        # Both are read and written in the turn of ``home``.
        self.performing = False
        self.stopped = False

    def forget(self) -> None:
        """Drop what belongs to the call."""
        self.steps = self.layer = self.observe = None
        self.context = contextvars.Context()


def start(steps: Steps, layer: Any, observe: Callable[[Occurrence], None] | None = None) -> Beat:
    """Begin to perform ``steps`` in another thread, and return what :func:`stop` needs.

    Raises
    ------
    IdempotencyError
        No thread can be started.
    """
    beat = Beat(steps, layer, observe)
    _of_this_process().start(beat)
    return beat


def stop(beat: Beat, milliseconds: int) -> None:
    """Perform no further step of ``beat``. Wait for a request in flight, at most so many milliseconds."""
    home = beat.home
    # A forked child does not wait for its parent's threads, whose lock it may have inherited locked.
    if home is not None and home.process == os.getpid():
        home.stop(beat, milliseconds / 1000)


class _Heartbeats:
    """The renewals of one process."""

    def __init__(self) -> None:
        self.process = os.getpid()
        # Its lock is reentrant, because a signal handler may make a call while its thread holds it.
        self.turn = threading.Condition()
        self._due: list[tuple[float, int, Beat]] = []
        self._numbers = itertools.count()
        self._threads = 0
        self._one_waits = False
        self._forgettable = 0

    def start(self, beat: Beat) -> None:
        with self.turn:
            pause = beat.context.run(self._perform, beat)  # up to its first wait
            if pause is None:
                return
            beat.home = self
            self._add(beat, pause)
            if not (self._threads or self._one_waits):
                beat.stopped = True
                raise IdempotencyError(
                    "No thread could be started to renew the lease: the process has too many, or exits. "
                    "The function did not run."
                )

    def stop(self, beat: Beat, seconds: float) -> None:
        with self.turn:
            beat.stopped = True
            end = now() + seconds
            while beat.performing and (left := end - now()) > 0:
                wait(self.turn, left)
            if not beat.performing:
                beat.forget()
                self._forgettable += 1
                if self._forgettable > _FEW + len(self._due) // 2:
                    self._due = [item for item in self._due if not item[2].stopped]
                    heapq.heapify(self._due)
                    self._forgettable = 0

    def _add(self, beat: Beat, pause: float) -> None:
        heapq.heappush(self._due, (now() + pause, next(self._numbers), beat))
        self._let_one_wait()
        self.turn.notify_all()

    def _let_one_wait(self) -> None:
        """Start a thread if none waits for the renewal that is due next."""
        if self._one_waits or self._threads >= MOST_THREADS or not self._due:
            return
        thread = threading.Thread(target=self._work, name="idemproof-renewal", daemon=True)
        self._one_waits = True  # it will
        try:
            thread.start()
        except BaseException as error:
            self._one_waits = False  # or one does nevertheless: then there are two, and one ends later
            if not isinstance(error, RuntimeError):
                raise

    def _work(self) -> None:
        with self.turn:
            self._threads += 1
            try:
                while self._wait_and_perform():
                    pass
            finally:
                self._threads -= 1

    def _wait_and_perform(self) -> bool:
        """Perform the next renewal that is due; return whether this thread is to wait for another."""
        beat = self._next()
        self._one_waits = False
        if beat is None:
            return False
        beat.performing = True
        self._let_one_wait()
        pause = None
        self.turn.release()
        try:
            pause = beat.context.run(self._perform, beat)
        finally:
            self.turn.acquire()
            beat.performing = False
            if pause is None or beat.stopped:
                beat.forget()
            else:
                heapq.heappush(self._due, (now() + pause, next(self._numbers), beat))
            self.turn.notify_all()
        waits, self._one_waits = not self._one_waits, True
        return waits

    def _next(self) -> Beat | None:
        """Wait for the next renewal; return None in a forked child, which inherits greenlets."""
        while self.process == os.getpid():
            while self._due and self._due[0][2].stopped:
                heapq.heappop(self._due)
                self._forgettable -= self._forgettable > 0
            left = self._due[0][0] - now() if self._due else None
            if left is not None and left <= 0:
                return heapq.heappop(self._due)[2]
            wait(self.turn, left)
        return None

    @staticmethod
    def _perform(beat: Beat) -> float | None:
        """Perform steps up to the next wait, and return its seconds; None if there is none."""
        steps, layer, observe = beat.steps, beat.layer, beat.observe
        assert steps is not None  # it is not performed once it is stopped
        reply: Any = None
        error: BaseException | None = None
        while True:
            try:
                command = steps.send(reply) if error is None else steps.throw(error)
            except StopIteration:
                return None
            reply = error = None
            if isinstance(command, Sleep):
                return command.milliseconds / 1000
            try:
                if isinstance(command, Emit):
                    if observe is not None:
                        observe(command.occurrence)
                elif not isinstance(command, CancelBody):  # a plain function cannot be cancelled
                    reply = request(layer, command)
            except BaseException as failure:  # noqa: BLE001 - no interrupt strikes such a thread
                error = failure if isinstance(failure, Exception) else _as_failure(failure)


def _as_failure(failure: BaseException) -> Exception:
    error = RuntimeError(f"the persistence layer raised {type(failure).__name__}")
    error.__cause__ = failure
    return error


_heartbeats: _Heartbeats | None = None


def _of_this_process() -> _Heartbeats:
    """Return the renewals of this process: a forked child begins with none."""
    global _heartbeats  # noqa: PLW0603 - a process has one set of them
    found = _heartbeats
    if found is None or found.process != os.getpid():
        # Without a lock, which a child could inherit locked. Of two that threads make at once, one serves
        # only the call that made it, and its thread waits on.
        found = _heartbeats = _Heartbeats()
    return found
