"""Keeps locks and shared resources usable after a fork."""

import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ..spec.errors import IdempotencyPersistenceConfigError


class _Locked(Protocol):
    _lock: AbstractContextManager[Any]

    def __hash__(self) -> int: ...


_owners: "weakref.WeakSet[_Locked]" = weakref.WeakSet()


def give_lock(owner: _Locked) -> None:
    """Give ``owner`` its ``_lock``, and a new one in each forked child.

    The lock is reentrant, because a signal handler or a finalizer may run while its own thread holds it. So
    it excludes only other threads. A change that must not be seen half done must not call anything in
    between.
    """
    owner._lock = threading.RLock()
    _owners.add(owner)


def _renew_locks() -> None:
    global _process  # noqa: PLW0603 - a process has one id
    for owner in _owners:
        owner._lock = threading.RLock()
    _process = os.getpid()


_process = _python_process = os.getpid()
"""The process that the locks belong to, and the last process of which Python has notified us."""


def _begin_child() -> None:
    global _python_process  # noqa: PLW0603 - as above
    _renew_locks()
    _python_process = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_child)


_child_lock = threading.Lock()


def notice_fork() -> None:
    """Create new locks in a child that was forked without Python's knowledge, too."""
    if _process != os.getpid():
        with _child_lock:
            if _process != os.getpid():
                _renew_locks()


def was_forked_unnoticed() -> bool:
    """Return whether this process was forked without Python's knowledge, so that libraries got no notice."""
    return _python_process != os.getpid()


def refuse_inherited(what: str, process: int, key: str | None, instead: str) -> None:
    """Refuse an inherited resource, because both processes would get each other's replies.

    Parameters
    ----------
    what
        The name of the resource in the message.
    process
        The id of the process that uses the resource.
    key
        The key of the request, or None.
    instead
        What to do instead, for the message.

    Raises
    ------
    IdempotencyPersistenceConfigError
        This is another process.
    """
    if process != os.getpid():
        whose = "" if key is None else f" for {key!r}"
        raise IdempotencyPersistenceConfigError(
            f"Nothing was sent{whose}: {what} belongs to process {process}, from which this one was forked, "
            f"and each would get the other's replies. {instead}"
        )


class ForkGate:
    """Delays a fork while a thread is inside, so that the child inherits nothing half done.

    A fork cannot be refused, and not every fork can wait. A fork from a signal handler would wait for its own
    thread, and a fork by other means than ``os.fork`` is not noticed. So the child checks what it has
    inherited.

    Parameters
    ----------
    before_fork
        Called in the parent when no thread is inside any more, to close what a child must not inherit.
    in_child
        Called in each child before a thread enters, to record what was not closed.
    wait_seconds
        How many seconds a fork waits at most.
    """

    def __init__(
        self, before_fork: Callable[[], None], in_child: Callable[[], None], wait_seconds: float
    ) -> None:
        self._before_fork = before_fork
        self._in_child = in_child
        self._wait_seconds = wait_seconds
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._close_gate, after_in_parent=self._open_gate, after_in_child=self._enter_child
            )

    def __enter__(self) -> None:
        with self.no_forks():
            while self._forks:
                self._turn.wait()
            self._inside[threading.get_ident()] += 1

    def __exit__(self, *_: object) -> None:
        with self.no_forks():
            thread = threading.get_ident()
            self._inside[thread] -= 1
            if not self._inside[thread]:
                del self._inside[thread]
            if self._forks:
                self._turn.notify_all()

    def no_forks(self) -> threading.Condition:
        """Return a lock that prevents forks. Hold it only briefly. It is reentrant, for finalizers."""
        if self._process != os.getpid():  # forked without Python's knowledge
            with _child_lock:
                if self._process != os.getpid():
                    self._enter_child()
        return self._turn

    def _close_gate(self) -> None:
        self._turn.acquire()
        me = threading.get_ident()
        self._forks.append(me)  # from here on no thread enters
        try:
            self._turn.wait_for(lambda: self._inside.keys() <= {me}, self._wait_seconds)
        finally:
            self._before_fork()

    def _open_gate(self) -> None:
        me = threading.get_ident()
        if me in self._forks:  # otherwise an interrupt arrived before the lock was acquired
            self._forks.remove(me)
            self._turn.notify_all()
            self._turn.release()

    def _enter_child(self) -> None:
        self._in_child()
        self._renew()

    def _renew(self) -> None:
        self._turn = threading.Condition()
        self._forks: list[int] = []
        self._inside: Counter[int] = Counter()
        self._process = os.getpid()
