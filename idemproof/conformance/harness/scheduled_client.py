"""Real threads of which exactly one runs: each stops at its pauses, and goes on when it is its turn.

A client is a thread, with all that it starts in its context: tasks of an event loop, calls in worker threads.
Whose turn it is, a play says.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Literal, Protocol

What = str | Callable[[], str]
"""What a client is about to do. A function tells it only when it is asked for."""

Free = Callable[[], bool]
Holder = Callable[[], object]

Kind = Literal["request", "call", "line", "await", "reply", "turn"]
"""Why a client pauses: it begins a request; before a call of a client, a line of source, or after an await;
after such a call; because it has to wait for its turn."""

_LOOKING: ContextVar[bool] = ContextVar("somebody looks at what stands", default=False)
_INTERCEPTED: ContextVar[bool] = ContextVar("clients made here are to pause", default=False)
_RACING: ContextVar["Client | None"] = ContextVar("the client that runs here", default=None)


class Abandoned(BaseException):
    """Ends a client's work at its pause, for the play is over."""


class CannotLook(Exception):  # noqa: N818 - it reads as what happened
    """Looking now would have to wait for a client that is paused."""


def racing() -> "Client | None":
    """Return the client that this code runs for, or None."""
    client = _RACING.get()
    return None if client is None or client.passes else client


def racing_thread() -> "Client | None":
    """Return the client, but None on an event loop, which a waiting thread would stop for all others."""
    client = racing()
    return None if client is None or asyncio._get_running_loop() is not None else client


def intercepted() -> bool:
    """Tell whether this code belongs to a race: to its clients or to what looks after it."""
    return _INTERCEPTED.get() or _RACING.get() is not None


@contextlib.contextmanager
def _inside(variable: ContextVar[Any], value: object) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def intercepting() -> contextlib.AbstractContextManager[None]:
    """Let what runs inside belong to a race."""
    return _inside(_INTERCEPTED, True)


def summary(client: Any) -> contextlib.AbstractContextManager[None]:
    """Let ``client``, which need not be one that races, be told of the calls that are made inside."""
    return _inside(_RACING, client)


def looking() -> bool:
    """Tell whether this code runs only to see what stands."""
    return _LOOKING.get()


def only_looking() -> contextlib.AbstractContextManager[None]:
    """Let what runs inside wait for nobody: it raises :class:`CannotLook` instead."""
    return _inside(_LOOKING, True)


class Hub(Protocol):
    """Says whose turn it is. Both are called in the client's own thread."""

    def pauses(self, client: "Client") -> None:
        """Take note, and let whose turn it is go on; it may be the same client."""

    def ends(self, client: "Client") -> None:
        """Take note, and let whose turn it is go on."""


class Client:
    """One of those that race.

    Parameters
    ----------
    number
        From 0.
    work
        What its thread does, given the client.
    hub
        Is told when it pauses and when it ends, and lets it go on.
    """

    def __init__(self, number: int, work: Callable[["Client"], None], hub: "Hub") -> None:
        self.number = number
        self.name = f"client {number + 1}"
        self.what: What = ""
        self.kind: Kind = "request"
        self.kinds: set[Kind] = set()
        self.news: list[str] = []
        """What it was told since its last pause."""
        self.state: Literal["new", "running", "paused", "outside", "done"] = "new"
        self.failure: BaseException | None = None
        self.free: Free | None = None
        """While it waits: whether what it waits for has come. None if it only lets others go first."""
        self.waits = False
        self.forever = False
        """Whether its wait has no end of its own."""
        self.holder: Holder | None = None
        """While it waits for what others have: tells who has it, a client or anybody else."""
        self.since = 0
        """How far the others had come when its wait began."""
        self.inside = False
        """Whether it is in a call, whose own calls are no pauses."""
        self.calling: Any = None
        """What is called: a client of a store, or the module ``sqlite3``."""
        self._work = work
        self._hub = hub
        self.abandoned = False
        """Whether it is to end, by an exception at its next pause."""
        self._alone = False
        self._reports = False
        self._resume: Callable[[], object] | None = None
        self._go = threading.Lock()
        self._go.acquire()
        self._thread = threading.Thread(target=self._run, name=f"racing-{self.name}", daemon=True)

    @property
    def passes(self) -> bool:
        """Whether it pauses no more, or is inside of a call, or paused already in another of its tasks.

        So does what the garbage collector runs in its thread while it is about to pause or to end.
        """
        return self.abandoned or self.inside or self._reports or self._resume is not None

    def pause(self, what: What, kind: Kind) -> None:
        """Wait, in its own thread, until it may go on."""
        self._arrive(what, kind, self._go.release)
        self._go.acquire()
        self._went()

    async def pause_async(self, what: What, kind: Kind) -> None:
        """Wait, on an event loop that goes on meanwhile."""
        loop = asyncio.get_running_loop()
        gone = loop.create_future()
        self._arrive(what, kind, lambda: loop.call_soon_threadsafe(gone.set_result, None))
        await gone
        self._went()

    def wait(
        self, what: What, free: Free | None = None, *, forever: bool = False, holder: Holder | None = None
    ) -> bool:
        """Let others go first, until ``free``; False if none of them can, so that it would never be."""
        self._begin_waiting(free, forever, holder)
        self.pause(what, "turn")
        return not self._alone

    async def wait_async(self, what: What, free: Free, holder: Holder | None = None) -> bool:
        """As :meth:`wait`, for as long as it takes, on an event loop."""
        self._begin_waiting(free, forever=True, holder=holder)
        await self.pause_async(what, "turn")
        return not self._alone

    def start(self) -> None:
        """Begin; the first thing that its work does must be to pause."""
        self.state = "running"
        self._thread.start()

    def go(self, *, alone: bool = False) -> None:
        """Let it go on; ``alone`` tells it that waiting is of no use."""
        resume, self._resume = self._resume, None
        self._alone, self.waits, self.free = alone, False, None
        if resume is not None:
            resume()

    def abandon(self) -> None:
        """Let it end, by an exception at its pause; it pauses no more. For the hub to call."""
        self.abandoned = True
        if self._resume is not None:
            self.go()

    def join(self, seconds: float) -> None:
        """Wait for its end, if it has begun."""
        if self.state != "new":
            self._thread.join(seconds)

    def _begin_waiting(self, free: Free | None, forever: bool, holder: Holder | None) -> None:
        self.waits, self.free, self.forever, self.holder = True, free, forever, holder

    def _arrive(self, what: What, kind: Kind, resume: Callable[[], object]) -> None:
        self.what, self.kind = what, kind
        self.kinds.add(kind)
        self._reports = True
        self._resume = resume
        self._hub.pauses(self)
        self._reports = False

    def _went(self) -> None:
        if self.abandoned:
            raise Abandoned

    def _run(self) -> None:
        _RACING.set(self)
        try:
            self._work(self)
        except Abandoned:
            pass
        except BaseException as failure:  # noqa: BLE001 - raised by the play
            self.failure = failure
        self._reports = True
        self._hub.ends(self)
        self.calling = None
