"""Real threads, of which exactly one runs at a time: each stops at its pauses until the scheduler resumes it.

A client is a thread, with everything that it starts in its context: tasks of an event loop, calls in worker
threads. A scheduler decides which client runs next.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Literal, Protocol

What = str | Callable[[], str]
"""A description of the client's next step; a function computes it on demand."""

IsFree = Callable[[], bool]
FindHolder = Callable[[], object]

PauseKind = Literal["request", "call", "line", "await", "reply", "turn"]
"""Why a client pauses: at the beginning of a request; before a call of the store's client; before a line of
source; after an await; after a call; or because it waits for other clients."""

_OBSERVING: ContextVar[bool] = ContextVar("this code only observes the stored record", default=False)
_INTERCEPTED: ContextVar[bool] = ContextVar("connections made here pause", default=False)
_CURRENT: ContextVar["Client | None"] = ContextVar("the client that this code runs for", default=None)


class Abandoned(BaseException):
    """Ends a client's task at its pause, because the interleaving is over."""


class Died(BaseException):
    """Ends the task of a worker that dies; its cleanup code does not reach the store any more."""


class ObservationBlocked(Exception):  # noqa: N818 - it reads as what happened
    """Reading the stored record now would wait for a paused client."""


def current_client() -> "Client | None":
    """Return the client that this code runs for, or None."""
    client = _CURRENT.get()
    return None if client is None or client.pauses_disabled else client


def blocking_client() -> "Client | None":
    """Return the current client, or None on an event loop, where blocking would stop every other task."""
    client = current_client()
    return None if client is None or asyncio._get_running_loop() is not None else client


def intercepted() -> bool:
    """Return whether this code belongs to a race: to its clients, or to the code that runs it."""
    return _INTERCEPTED.get() or _CURRENT.get() is not None


@contextlib.contextmanager
def _inside(variable: ContextVar[Any], value: object) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def intercepting() -> contextlib.AbstractContextManager[None]:
    """Mark the code inside as part of a race."""
    return _inside(_INTERCEPTED, True)


def reporting_to(client: Any) -> contextlib.AbstractContextManager[None]:
    """Report the calls made inside to ``client``, which need not take part in a race."""
    return _inside(_CURRENT, client)


def is_observing() -> bool:
    """Return whether this code only observes the stored record."""
    return _OBSERVING.get()


def observing() -> contextlib.AbstractContextManager[None]:
    """Raise :class:`ObservationBlocked` where the code inside would wait for a client."""
    return _inside(_OBSERVING, True)


class Scheduler(Protocol):
    """Decides which client runs next. Both methods are called in the client's own thread."""

    def on_pause(self, client: "Client") -> None:
        """Record the pause, and resume the next client; it may be the same one."""

    def on_end(self, client: "Client") -> None:
        """Record the end, and resume the next client."""


class Client:
    """A client of a race.

    Parameters
    ----------
    number
        From 0.
    work
        What its thread runs, called with the client.
    scheduler
        Receives its pauses and its end, and resumes it.
    """

    def __init__(self, number: int, work: Callable[["Client"], None], scheduler: "Scheduler") -> None:
        self.number = number
        self.name = f"client {number + 1}"
        self.what: What = ""
        self.kind: PauseKind = "request"
        self.kinds: set[PauseKind] = set()
        self.notes: list[str] = []
        """The results that it got since its last pause, in words."""
        self.state: Literal["new", "running", "paused", "outside", "done"] = "new"
        self.failure: BaseException | None = None
        self.free: IsFree | None = None
        """While it waits: returns whether the wait is over. None if it only lets other clients run first."""
        self.waits = False
        self.forever = False
        """Whether its wait has no timeout."""
        self.holder: FindHolder | None = None
        """While it waits for a lock: returns the holder, a client or anything else."""
        self.waits_since = 0
        """The scheduler's progress counter when its wait began."""
        self.has_waited = False
        """Whether its current request has waited for another client, but not for ever: it may give up."""
        self.inside = False
        """Whether it is inside a call; nested calls do not pause."""
        self.calling: Any = None
        """The object that is called: a client of a store, or the module ``sqlite3``."""
        self._work = work
        self._scheduler = scheduler
        self.abandoned = False
        """Whether the next pause raises, to end its task."""
        self._gives_up = False
        self._in_scheduler = False
        self._resume: Callable[[], object] | None = None
        self._wake = threading.Lock()
        self._wake.acquire()
        self._thread = threading.Thread(target=self._run, name=f"racing-{self.name}", daemon=True)

    @property
    def pauses_disabled(self) -> bool:
        """Whether pauses have no effect: it is abandoned, inside a call, or paused in another of its tasks.

        This includes code that the garbage collector runs in its thread while the scheduler handles a pause.
        """
        return self.abandoned or self.inside or self._in_scheduler or self._resume is not None

    def pause(self, what: What, kind: PauseKind) -> None:
        """Block its thread until the scheduler resumes it."""
        self._announce_pause(what, kind, self._wake.release)
        self._wake.acquire()
        self._check_abandoned()

    async def pause_async(self, what: What, kind: PauseKind) -> None:
        """Wait until the scheduler resumes it, without blocking the event loop."""
        loop = asyncio.get_running_loop()
        gone = loop.create_future()
        self._announce_pause(what, kind, lambda: loop.call_soon_threadsafe(gone.set_result, None))
        await gone
        self._check_abandoned()

    def wait(
        self,
        what: What,
        free: IsFree | None = None,
        *,
        forever: bool = False,
        holder: FindHolder | None = None,
    ) -> bool:
        """Let other clients run until ``free`` returns True; return False if no other client can run."""
        self._begin_waiting(free, forever, holder)
        self.pause(what, "turn")
        return not self._gives_up

    async def wait_async(self, what: What, free: IsFree, holder: FindHolder | None = None) -> bool:
        """Do as :meth:`wait`, without a timeout and without blocking the event loop."""
        self._begin_waiting(free, forever=True, holder=holder)
        await self.pause_async(what, "turn")
        return not self._gives_up

    def start(self) -> None:
        """Start the thread. Its task must pause before it does anything else."""
        self.state = "running"
        self._thread.start()

    def go(self, *, gives_up: bool = False) -> None:
        """Resume it; with ``gives_up``, its wait returns False."""
        resume, self._resume = self._resume, None
        self._gives_up, self.waits, self.free = gives_up, False, None
        if resume is not None:
            resume()

    def abandon(self) -> None:
        """End its task by an exception at its pause. Only the scheduler calls this."""
        self.abandoned = True
        if self._resume is not None:
            self.go()

    def join(self, seconds: float) -> None:
        """Wait up to ``seconds`` for its end, if it has started."""
        if self.state != "new":
            self._thread.join(seconds)

    def _begin_waiting(self, free: IsFree | None, forever: bool, holder: FindHolder | None) -> None:
        self.waits, self.free, self.forever, self.holder = True, free, forever, holder
        self.has_waited = self.has_waited or not forever

    def _announce_pause(self, what: What, kind: PauseKind, resume: Callable[[], object]) -> None:
        self.what, self.kind = what, kind
        self.kinds.add(kind)
        self._in_scheduler = True
        self._resume = resume
        self._scheduler.on_pause(self)
        self._in_scheduler = False

    def _check_abandoned(self) -> None:
        if self.abandoned:
            raise Abandoned

    def _run(self) -> None:
        _CURRENT.set(self)
        try:
            self._work(self)
        except Abandoned:
            pass
        except BaseException as failure:  # noqa: BLE001 - raised by the interleaving
            self.failure = failure
        self._in_scheduler = True
        self._scheduler.on_end(self)
        self.calling = None
