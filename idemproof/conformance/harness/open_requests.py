"""A request that a thread has open at one of its steps while its process forks."""

import asyncio
import contextlib
import gc
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..suite.checks import Case
from ..suite.subjects import Subject
from .forks import PARENT, Child, Hung, Reply, Sent, sent
from .interception import Interception
from .interrupts import Interrupt, lines_of
from .linearizability import Request
from .preemption import own_files
from .scheduled_client import blocking_client, reporting_to
from .suspensions import Suspensions

_MOMENT = 0.02
_MOMENTS = 100
_NAPS = 6
"""How long an open request waits for the child, which may have to wait for that request: for so many moments
(seconds), or until the child has slept for a whole one, or in so many of them."""
_SQLITE_WAITS_MS = 300
_FORK_WAITS = 0.5
"""How long an open request waits for the fork, which may have to wait for that request (seconds)."""


class OpenRequest(Interrupt):
    """A request in a thread of its own, which stops at one place until it is let go on.

    Parameters
    ----------
    send
        Sends the request.
    at
        The number of the place, from 1; 0 stops nowhere.
    most
        How long it stops at most (seconds).
    """

    def __init__(self, send: Callable[["OpenRequest"], Sent], at: int, most: float) -> None:
        super().__init__(at)
        self._sent: Sent | None = None
        self._stop: BaseException | None = None
        self.went_on = threading.Event()
        self._before: set[int] = set()
        self._most = most
        self._stopped_or_ended = threading.Event()
        self._send = send
        self._thread = threading.Thread(target=self._run, name="conformance-open-request", daemon=True)

    def begin(self, seconds: float) -> bool:
        """Start the request; return whether it stops at its place."""
        self._before = _descriptors()
        self._thread.start()
        self._stopped_or_ended.wait(seconds)
        return self.happened

    def strike(self) -> None:
        """Count a place, and stop there if it is the chosen one."""
        if threading.current_thread() is self._thread and self.reach():
            self._stopped_or_ended.set()
            self.went_on.wait(self._most)

    async def strike_async(self) -> None:
        """Do as :meth:`strike`, without blocking the event loop."""
        if self.reach():
            self._stopped_or_ended.set()
            until = time.monotonic() + self._most
            while not self.went_on.is_set() and time.monotonic() < until:  # noqa: ASYNC110 - another thread sets it
                await asyncio.sleep(_MOMENT / 4)

    def finish(self, seconds: float) -> Sent | None:
        """Let the request go on, and return it with its answer; None if it hangs.

        The end of the run, which stops the request, is raised here again.
        """
        self.went_on.set()
        self._thread.join(seconds)
        if self._stop is not None:
            raise self._stop
        return self._sent

    def fork(
        self, work: Callable[[], object], connections: Iterable[sqlite3.Connection]
    ) -> tuple[Child, bool]:
        """Fork; return the child, and whether the request had to go on before, because the fork waited."""
        own = _descriptors() - self._before

        def in_child() -> object:
            _forget(own)
            _wait_briefly(connections)
            return work()

        timer = threading.Timer(_FORK_WAITS, self.went_on.set)
        timer.start()
        try:
            child = Child(in_child)
        finally:
            timer.cancel()
        return child, self.went_on.is_set()

    def _run(self) -> None:
        try:
            self._sent = self._send(self)
        except BaseException as stop:  # noqa: BLE001 - raised in finish
            self._stop = stop
        self._stopped_or_ended.set()


def reply_while_open(child: Child, opened: OpenRequest, seconds: float) -> Reply:
    """Return the reply of a child, which may have to wait for the request that is open in its parent."""
    asleep: list[str] = []
    for _ in range(_MOMENTS):
        reply = child.reply(_MOMENT)
        if not isinstance(reply, Hung):
            return reply
        asleep += [each for each in [child.switches()] if each is not None]
        # It sleeps all the time, or again and again.
        if len(asleep) > len(set(asleep)) or len(asleep) > _NAPS:
            break
    opened.went_on.set()
    return child.reply(seconds)


@contextlib.contextmanager
def stoppable(case: Case, layer: Subject) -> Iterator[Callable[[OpenRequest, Request], Sent]]:
    """Yield a function that sends a request which stops: at a line, a call, a reply, or an await."""
    if layer.asynchronous:

        def send_async(opened: OpenRequest, request: Request) -> Sent:
            loop: Any = _StoppingLoop(layer, opened)
            return sent(case, Subject(layer.layer, loop), PARENT, [request])

        yield send_async
        return
    files = own_files([layer.layer])

    def send(opened: OpenRequest, request: Request) -> Sent:
        with reporting_to(opened), lines_of(files, opened):
            return sent(case, layer, PARENT, [request])

    with Interception([layer.layer], case.capabilities.client_methods), _stopping_at_replies():
        yield send


class _StoppingLoop:
    """The event loop of a layer, on which a request stops at one of its awaits."""

    def __init__(self, layer: Subject, opened: OpenRequest) -> None:
        self._loop = layer.loop
        self._opened = opened

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run ``work`` to its end, and return its result."""

        async def run() -> Any:
            return await _Stopping(work, self._opened)

        return self._loop.run(run())


class _Stopping(Suspensions):
    def __init__(self, work: Coroutine[Any, Any, Any], opened: OpenRequest) -> None:
        super().__init__(work)
        self._opened = opened

    def _on_suspend(self) -> Generator[Any, Any, None]:
        yield from self._opened.strike_async().__await__()


@contextlib.contextmanager
def _stopping_at_replies() -> Iterator[None]:
    """Let open requests stop before they receive a reply from a socket: it may be taken by the child."""
    with contextlib.ExitStack() as undo:
        for name in ("recv", "recv_into"):
            if name in vars(socket.socket):  # somebody else has replaced it
                undo.callback(setattr, socket.socket, name, vars(socket.socket)[name])
            else:
                undo.callback(delattr, socket.socket, name)
            setattr(socket.socket, name, _stopping(getattr(socket.socket, name)))
        yield


def _stopping(receive: Callable[..., Any]) -> Callable[..., Any]:
    def stopping(*args: Any, **kwargs: Any) -> Any:
        client: Any = blocking_client()
        if isinstance(client, OpenRequest):
            client.strike()
        return receive(*args, **kwargs)

    return stopping


def sqlite_connections() -> list[sqlite3.Connection]:
    """Return all connections of sqlite3 in this process."""
    return [each for each in gc.get_objects() if issubclass(type(each), sqlite3.Connection)]


def _descriptors() -> set[int]:
    """Return the open descriptors, where the system lists them; not the one that lists them."""
    try:
        listed = [int(each.name) for each in Path("/proc/self/fd").iterdir()]
    except OSError:
        return set()
    return {each for each in listed if _is_open(each)}


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _forget(descriptors: Iterable[int]) -> None:
    """Let go of what the open request has opened, in the child.

    Many layers release a lock file by closing it. The child's copy would keep it locked, and no layer that
    uses ``flock`` so could pass.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for each in descriptors:
        os.dup2(nothing, each)


def _wait_briefly(connections: Iterable[sqlite3.Connection]) -> None:
    """Shorten the time limits of connections of SQLite, which counts the parent's locks in the child, too.

    It refuses by an error at their end, which can be in half a minute.
    """
    for each in connections:
        with contextlib.suppress(sqlite3.Error):  # closed, or of another thread
            each.execute(f"PRAGMA busy_timeout = {_SQLITE_WAITS_MS}")
