"""Real threads of which exactly one runs: each stops at its pauses, and a hub says who goes on.

A client is a thread, with all that it starts in its context: tasks of an event loop, calls in worker threads.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple, Protocol

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

OUTSIDE_SECONDS = 0.1
"""After how long a client that neither pauses nor ends is left alone, and others go on."""

MOST_STEPS = 3000
"""How many steps a play has at most; then it is given up."""

_POLL_SECONDS = 0.001


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
    """Tell whether this code belongs to a race: to its clients or to the hub."""
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


def telling(client: Any) -> contextlib.AbstractContextManager[None]:
    """Let ``client``, which need not be one that races, be told of the calls that are made inside."""
    return _inside(_RACING, client)


def looking() -> bool:
    """Tell whether this code runs only to see what stands."""
    return _LOOKING.get()


def only_looking() -> contextlib.AbstractContextManager[None]:
    """Let what runs inside wait for nobody: it raises :class:`CannotLook` instead."""
    return _inside(_LOOKING, True)


class Client:
    """One of those that race.

    Parameters
    ----------
    number
        From 0.
    work
        What its thread does, given the client.
    arrivals
        Where it reports that it pauses.
    """

    def __init__(
        self, number: int, work: Callable[["Client"], None], arrivals: "queue.SimpleQueue[Client]"
    ) -> None:
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
        self._arrivals = arrivals
        self._ended = False
        self._abandoned = False
        self._alone = False
        self._resume: Callable[[], object] | None = None
        self._go = threading.Lock()
        self._go.acquire()
        self._thread = threading.Thread(target=self._run, name=f"racing-{self.name}", daemon=True)

    @property
    def passes(self) -> bool:
        """Whether it pauses no more, or is inside of a call, or paused already in another of its tasks."""
        return self._abandoned or self.inside or self._resume is not None

    def pause(self, what: What, kind: Kind) -> None:
        """Wait, in its own thread, until the hub lets it go on."""
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
        self._alone, self.waits, self.free, self.state = alone, False, None, "running"
        if resume is not None:
            resume()

    def abandon(self) -> None:
        """Let it end, by an exception at its pause; it pauses no more."""
        self._abandoned = True
        if self._resume is not None:
            self.go()

    def join(self, seconds: float) -> None:
        """Wait for its end, if it has begun."""
        if self.state != "new":
            self._thread.join(seconds)

    def arrived(self) -> None:
        """Take note, in the hub, that it pauses or has ended."""
        self.state = "done" if self._ended else "paused"

    def _begin_waiting(self, free: Free | None, forever: bool, holder: Holder | None) -> None:
        self.waits, self.free, self.forever, self.holder = True, free, forever, holder

    def _arrive(self, what: What, kind: Kind, resume: Callable[[], object]) -> None:
        self.what, self.kind = what, kind
        self.kinds.add(kind)
        self._resume = resume
        if self._abandoned:  # meanwhile
            self.go()
        else:
            self._arrivals.put(self)

    def _went(self) -> None:
        if self._abandoned:
            raise Abandoned

    def _run(self) -> None:
        _RACING.set(self)
        try:
            self._work(self)
        except Abandoned:
            pass
        except BaseException as failure:  # noqa: BLE001 - raised by the hub
            self.failure = failure
        self._ended = True
        self._arrivals.put(self)


class Step(NamedTuple):
    """One turn of the hub.

    Parameters
    ----------
    able
        The clients that could go on.
    chosen
        The one that did.
    before
        The one that went before, if it could have gone on.
    """

    able: tuple[int, ...]
    chosen: int
    before: int | None


Choose = Callable[[tuple[int, ...], int | None], int]


class Tell(Protocol):
    """Is told of a step that a client has made; ``reply`` if nothing but an answer to a call came before."""

    def __call__(self, client: Client, what: What, *, reply: bool) -> None:
        """Take note."""


class Play:
    """One interleaving, from the beginning to the end.

    Parameters
    ----------
    works
        What each client does.
    choose
        Given those that can go on, and the one that went before if it is among them, returns who goes.
    patience
        After how many seconds in which nobody moves they hang.
    tell
        Told of each step when it is done, while no client runs.
    """

    def __init__(
        self,
        works: Sequence[Callable[[Client], None]],
        choose: Choose,
        patience: float,
        tell: Tell | None = None,
    ) -> None:
        self._arrivals: queue.SimpleQueue[Client] = queue.SimpleQueue()
        self.clients = [Client(number, work, self._arrivals) for number, work in enumerate(works)]
        self.steps: list[Step] = []
        self.hung: str | None = None
        """How they got stuck, if they did."""
        self.blocked = False
        """Whether they got stuck where nobody can free them."""
        self.given_up = False
        """Whether it was too long."""
        self._progress = 0
        self._choose = choose
        self._patience = patience
        self._tell = tell

    def run(self) -> None:
        """Play it; re-raises what went wrong in a client's own work."""
        try:
            for client in self.clients:
                client.start()
                self._until_none_runs()
            self._play()
        finally:
            for client in self.clients:
                if client.state != "done":
                    client.abandon()
            for client in self.clients:  # with what its thread has: connections are closed as it ends
                client.join(OUTSIDE_SECONDS if self.blocked else self._patience)
        for client in self.clients:
            if client.failure is not None:
                raise client.failure

    def _play(self) -> None:
        before: Client | None = None
        idle_since: float | None = None
        while any(client.state != "done" for client in self.clients):
            able = [client for client in self.clients if self._can_go(client)]
            alone = False
            if not able:
                outside = [client for client in self.clients if client.state == "outside"]
                if outside:
                    idle_since = idle_since or time.perf_counter()
                    if time.perf_counter() - idle_since > self._patience:
                        self.hung = f"{_names(outside)} went on no more"
                        self.blocked = True
                        return
                    self._await_one(OUTSIDE_SECONDS)
                    continue
                patient = [client for client in self.clients if client.state == "paused"]
                strangers = [client for client in patient if self._waits_for_a_stranger(client)]
                if strangers:  # threads and tasks that are no clients go on by themselves
                    idle_since = idle_since or time.perf_counter()
                    if time.perf_counter() - idle_since <= self._patience:
                        self._await_one(_POLL_SECONDS)
                        continue
                able = [client for client in patient if not client.forever][:1]
                if not able:
                    how = "waited for a lock nobody gave back" if strangers else "each waited for another"
                    self.hung = f"{_names(strangers or patient)} {how}"
                    self.blocked = bool(strangers)
                    return
                alone = True
            idle_since = None
            if len(self.steps) >= MOST_STEPS:
                self.given_up = True
                return
            before = self._step(able, before, alone=alone)

    def _step(self, able: list[Client], before: Client | None, *, alone: bool) -> Client:
        numbers = tuple(client.number for client in able)
        last = before.number if before in able and before is not None and not alone else None
        client = able[0] if alone else self.clients[self._choose(numbers, last)]
        self.steps.append(Step(numbers, client.number, last))
        what, reply = client.what, client.kind == "reply"
        client.go(alone=alone)
        self._until_none_runs()
        if client.waits and client.free is None:
            client.since = self._progress
        else:
            self._progress += 1
        if self._tell is not None:
            self._tell(client, what, reply=reply)
        return client

    def _can_go(self, client: Client) -> bool:
        if client.state != "paused":
            return False
        if not client.waits:
            return True
        return client.since < self._progress if client.free is None else client.free()

    def _waits_for_a_stranger(self, client: Client) -> bool:
        """Tell whether it waits for what none of the clients that wait has."""
        if client.holder is None:
            return False
        holder = client.holder()
        return not any(each is holder and each.state == "paused" for each in self.clients)

    def _until_none_runs(self) -> None:
        until = time.perf_counter() + OUTSIDE_SECONDS
        while any(client.state == "running" for client in self.clients):
            if not self._await_one(until - time.perf_counter()):
                for client in self.clients:
                    if client.state == "running":
                        client.state = "outside"
        while not self._arrivals.empty():  # those who come back from outside
            self._await_one(0)

    def _await_one(self, seconds: float) -> bool:
        try:
            self._arrivals.get(timeout=max(seconds, 0)).arrived()
        except queue.Empty:
            return False
        return True


def _names(clients: Sequence[Client]) -> str:
    return " and ".join(client.name for client in clients)
