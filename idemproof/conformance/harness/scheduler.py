"""Runs one interleaving of clients from beginning to end, one step at a time.

A client that pauses resumes the next one from its own thread. Most steps are made by the client that made the
previous step, so they cost no switch of threads. The thread that started the interleaving does the rest.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from .scheduled_client import Client, What

OUTSIDE_SECONDS = 0.1
"""How long a client may run without a pause or an end before the other clients go on without it."""

MOST_STEPS = 3000
"""The number of steps after which an interleaving is given up."""

_POLL_SECONDS = 0.001


class ScheduleStep(NamedTuple):
    """One step of an interleaving.

    Parameters
    ----------
    runnable
        The numbers of the clients that could go on.
    chosen
        The number of the client that did.
    before
        The number of the client that made the previous step, if it could have gone on.
    """

    runnable: tuple[int, ...]
    chosen: int
    before: int | None


Choose = Callable[[tuple[int, ...], int | None], int]


class StepObserver(Protocol):
    """Observes the steps of clients; ``reply`` is True if the step only received the reply to a call."""

    def __call__(self, client: Client, what: What, *, reply: bool) -> None:
        """Record a step."""


class Interleaving:
    """One interleaving.

    Parameters
    ----------
    tasks
        What each client runs; each task must pause before it does anything else.
    choose
        Returns the number of the next client, given the runnable clients and the one that made the previous
        step, or None if that one cannot go on.
    patience
        The number of seconds without any progress after which the clients count as hung.
    on_step
        Called after each step, while no client runs.
    reads_layer
        Whether ``on_step`` reads from the layer. Then no client's thread calls it.
    """

    def __init__(
        self,
        tasks: Sequence[Callable[[Client], None]],
        choose: Choose,
        patience: float,
        on_step: StepObserver | None = None,
        *,
        reads_layer: bool = False,
    ) -> None:
        self.clients = [Client(number, work, self) for number, work in enumerate(tasks)]
        self.steps: list[ScheduleStep] = []
        self.hung: str | None = None
        """Why the clients hang, or None."""
        self.blocked = False
        """Whether they hang where the scheduler cannot free them."""
        self.given_up = False
        """Whether it had too many steps."""
        self._choose = choose
        self._patience = patience
        self._on_step = on_step
        self._reads_layer = reads_layer
        self._changed = threading.Condition(threading.Lock())
        """Guards the following attributes, and the clients' states."""
        self._progress = 0
        self._current_step: tuple[Client, What, bool] | None = None
        """The client that makes the current step, its description, and whether it only receives a reply."""
        self._before: Client | None = None
        self._idle_since: float | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Run all clients to their ends; re-raise an exception of a client's task."""
        try:
            with self._changed:
                for client in self.clients:
                    client.start()
                    self._wait_until_none_runs()
                while any(client.state != "done" for client in self.clients):
                    if not self._advance():
                        break
        finally:
            with self._changed:
                for client in self.clients:
                    if client.state != "done":
                        client.abandon()
            for client in self.clients:  # connections that belong to its thread are closed when it ends
                client.join(OUTSIDE_SECONDS if self.blocked else self._patience)
        for client in self.clients:
            if client.failure is not None:
                raise client.failure

    def on_pause(self, client: Client) -> None:
        """Record that ``client`` pauses, and resume the next client."""
        with self._changed:
            if client.abandoned or client.state == "done":  # late work that its task left behind
                client.go()
                return
            client.state = "paused"
            self._continue(client)

    def on_end(self, client: Client) -> None:
        """Record that ``client`` has ended, and resume the next client."""
        with self._changed:
            client.state = "done"
            self._continue(client)

    def _continue(self, client: Client) -> None:
        """Begin the next step in the thread that made the previous one, if possible."""
        stepped = self._current_step is not None and self._current_step[0] is client
        if (
            stepped
            and not self._reads_layer
            and all(each.state in ("paused", "done") for each in self.clients)
        ):
            try:
                self._end_step()
                runnable = self._runnable()
                if runnable and len(self.steps) < MOST_STEPS:
                    self._begin_step(runnable)
                    return
            except BaseException as error:  # noqa: BLE001 - raised by `run`, not in the layer's code
                self._error = error
        self._changed.notify()

    def _advance(self) -> bool:
        """Begin a step, or wait for a client outside; return False if no client can ever go on."""
        runnable = self._runnable()
        gives_up = False
        if not runnable:
            outside = [client for client in self.clients if client.state == "outside"]
            if outside:
                if self._idle_seconds() > self._patience:
                    self.hung = f"{_names(outside)} made no more progress"
                    self.blocked = True
                    return False
                self._changed.wait(OUTSIDE_SECONDS)
                return True
            paused = [client for client in self.clients if client.state == "paused"]
            waiting_for_outsiders = [client for client in paused if self._waits_for_outsider(client)]
            # Threads and tasks outside the race may still release a lock.
            if waiting_for_outsiders and self._idle_seconds() <= self._patience:
                self._changed.wait(_POLL_SECONDS)
                return True
            runnable = [client for client in paused if not client.forever][:1]
            if not runnable:
                how = (
                    "waited for a lock that was never released"
                    if waiting_for_outsiders
                    else "each waited for another"
                )
                self.hung = f"{_names(waiting_for_outsiders or paused)} {how}"
                self.blocked = bool(waiting_for_outsiders)
                return False
            gives_up = True
        if len(self.steps) >= MOST_STEPS:
            self.given_up = True
            return False
        self._begin_step(runnable, gives_up=gives_up)
        self._wait_until_none_runs()
        if self._error is not None:
            raise self._error
        if self._current_step is not None:
            self._end_step()
        return True

    def _begin_step(self, runnable: list[Client], *, gives_up: bool = False) -> None:
        self._idle_since = None
        numbers = tuple(client.number for client in runnable)
        before = self._before
        last = before.number if before is not None and before in runnable and not gives_up else None
        client = runnable[0] if gives_up else self.clients[self._choose(numbers, last)]
        self.steps.append(ScheduleStep(numbers, client.number, last))
        self._current_step = client, client.what, client.kind == "reply"
        client.state = "running"
        client.go(gives_up=gives_up)

    def _end_step(self) -> None:
        assert self._current_step is not None
        client, what, reply = self._current_step
        self._current_step, self._before = None, client
        if client.waits and client.free is None:
            client.waits_since = self._progress
        else:
            self._progress += 1
        if self._on_step is None:
            return
        if (
            self._reads_layer
        ):  # an event loop may need the lock to record a pause before it can answer; no client runs
            self._changed.release()
        try:
            self._on_step(client, what, reply=reply)
        finally:
            if self._reads_layer:
                self._changed.acquire()

    def _runnable(self) -> list[Client]:
        return [client for client in self.clients if self._is_runnable(client)]

    def _is_runnable(self, client: Client) -> bool:
        if client.state != "paused":
            return False
        if not client.waits:
            return True
        return client.waits_since < self._progress if client.free is None else client.free()

    def _waits_for_outsider(self, client: Client) -> bool:
        """Return whether it waits for a lock that no paused client holds."""
        if client.holder is None:
            return False
        holder = client.holder()
        return not any(each is holder and each.state == "paused" for each in self.clients)

    def _idle_seconds(self) -> float:
        now = time.perf_counter()
        self._idle_since = self._idle_since or now
        return now - self._idle_since

    def _wait_until_none_runs(self) -> None:
        """Wait until every client has paused; mark a client that takes too long as outside."""
        made, until = -1, 0.0
        while any(client.state == "running" for client in self.clients):
            if made != len(self.steps):
                made, until = len(self.steps), time.perf_counter() + OUTSIDE_SECONDS
            if not self._changed.wait(until - time.perf_counter()) and made == len(self.steps):
                for client in self.clients:
                    if client.state == "running":  # others may have paused while this thread woke up
                        client.state = "outside"
                        client.has_waited = True


def _names(clients: Sequence[Client]) -> str:
    return " and ".join(client.name for client in clients)
