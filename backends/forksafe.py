"""What a fork leaves usable: locks that another thread may have held at that moment, and shared resources."""

import os
import threading
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol


class _Locked(Protocol):
    _lock: AbstractContextManager[Any]

    def __hash__(self) -> int: ...


_owners: "weakref.WeakSet[_Locked]" = weakref.WeakSet()


def give_lock(owner: _Locked) -> None:
    """Give ``owner`` its ``_lock``, and a new one in each forked child.

    A signal's handler or a finalizer may come back in while its own thread holds it, so it keeps out other
    threads only: what must not be seen half done may call nothing in between.
    """
    owner._lock = threading.RLock()
    _owners.add(owner)


def _renew_locks() -> None:
    for owner in _owners:
        owner._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


class ForkGate:
    """Holds a fork back while anybody is inside, so that nothing half done reaches the child.

    Parameters
    ----------
    before_fork
        Called in the parent when nobody is inside any more, to give up what a child must not inherit.
    wait_seconds
        How long a fork waits at most: one from a signal handler may wait for its own thread.
    """

    def __init__(self, before_fork: Callable[[], None], wait_seconds: float) -> None:
        self._before_fork = before_fork
        self._wait_seconds = wait_seconds
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._shut, after_in_parent=self._open, after_in_child=self._reset)

    def __enter__(self) -> None:
        with self._turn:
            while self._forks:
                self._turn.wait()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._turn:
            self._inside -= 1
            if self._forks:
                self._turn.notify_all()

    def still(self) -> threading.Condition:
        """Return what to hold for a moment in which no fork can happen. Reentrant, for finalizers."""
        return self._turn

    def _shut(self) -> None:
        self._turn.acquire()
        self._forks += 1  # from here on nobody comes in
        self._turn.wait_for(lambda: self._inside <= 0, self._wait_seconds)
        self._before_fork()

    def _open(self) -> None:
        self._forks -= 1
        self._turn.notify_all()
        self._turn.release()

    def _reset(self) -> None:
        self._turn = threading.Condition()
        self._forks = self._inside = 0
