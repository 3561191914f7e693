"""What a fork leaves usable: locks that another thread may have held at that moment, and shared resources."""

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

    A signal's handler or a finalizer may come back in while its own thread holds it, so it keeps out other
    threads only: what must not be seen half done may call nothing in between.
    """
    owner._lock = threading.RLock()
    _owners.add(owner)


def _renew_locks() -> None:
    global _process  # noqa: PLW0603 - a process has one id
    for owner in _owners:
        owner._lock = threading.RLock()
    _process = os.getpid()


_process = _told = os.getpid()
"""For which process the locks are, and which of Python's processes this is, or was forked from."""


def _begin_child() -> None:
    global _told  # noqa: PLW0603 - as above
    _renew_locks()
    _told = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_child)


_arriving = threading.Lock()


def notice_fork() -> None:
    """Give new locks in a child that was forked by other means than Python's, too."""
    if _process != os.getpid():
        with _arriving:
            if _process != os.getpid():
                _renew_locks()


def was_forked_unnoticed() -> bool:
    """Return whether this process was forked by other means than Python's, so that no library was told."""
    return _told != os.getpid()


def refuse_inherited(what: str, process: int, key: str | None, instead: str) -> None:
    """Refuse what another process has used and this one has inherited: each would get the other's replies.

    Parameters
    ----------
    what
        What it is.
    process
        The process that uses it.
    key
        Whose record was asked for, None for nobody's.
    instead
        What to do instead.

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
    """Holds a fork back while anybody is inside, so that nothing half done reaches the child.

    A fork cannot be refused, and not every fork can wait: one from a signal's handler may wait for its own
    thread, and one by other means than ``os.fork`` asks nobody. The child learns what it has inherited.

    Parameters
    ----------
    before_fork
        Called in the parent when nobody is inside any more, to give up what a child must not inherit.
    in_child
        Called in each child before anybody comes in, to take note of what was not given up.
    wait_seconds
        How long a fork waits at most.
    """

    def __init__(
        self, before_fork: Callable[[], None], in_child: Callable[[], None], wait_seconds: float
    ) -> None:
        self._before_fork = before_fork
        self._in_child = in_child
        self._wait_seconds = wait_seconds
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._shut, after_in_parent=self._open, after_in_child=self._arrive)

    def __enter__(self) -> None:
        with self.still():
            while self._forks:
                self._turn.wait()
            self._inside[threading.get_ident()] += 1

    def __exit__(self, *_: object) -> None:
        with self.still():
            thread = threading.get_ident()
            self._inside[thread] -= 1
            if not self._inside[thread]:
                del self._inside[thread]
            if self._forks:
                self._turn.notify_all()

    def still(self) -> threading.Condition:
        """Return what to hold for a moment in which no fork can happen. Reentrant, for finalizers."""
        if self._process != os.getpid():  # forked by other means than Python's
            with _arriving:
                if self._process != os.getpid():
                    self._arrive()
        return self._turn

    def _shut(self) -> None:
        self._turn.acquire()
        me = threading.get_ident()
        self._forks.append(me)  # from here on nobody comes in
        try:
            self._turn.wait_for(lambda: self._inside.keys() <= {me}, self._wait_seconds)
        finally:
            self._before_fork()

    def _open(self) -> None:
        me = threading.get_ident()
        if me in self._forks:  # else an interrupt came before it had its turn
            self._forks.remove(me)
            self._turn.notify_all()
            self._turn.release()

    def _arrive(self) -> None:
        self._in_child()
        self._renew()

    def _renew(self) -> None:
        self._turn = threading.Condition()
        self._forks: list[int] = []
        self._inside: Counter[int] = Counter()
        self._process = os.getpid()
