"""Plays: interleavings of clients from the beginning to the end, a step at a time.

Whoever pauses lets the next one go on, in its own thread: most steps are made by the one that made the last,
and so cost no switch of threads. Only what nobody's pause brings forward is left to the thread that began.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from .scheduled_client import Client, What

OUTSIDE_SECONDS = 0.1
"""After how long a client that neither pauses nor ends is left alone, and others go on."""

MOST_STEPS = 3000
"""How many steps a play has at most; then it is given up."""

_POLL_SECONDS = 0.001


class Step(NamedTuple):
    """One step of a play.

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


class StepObserver(Protocol):
    """Is told of a step that a client has made; ``reply`` if nothing but an answer to a call came before."""

    def __call__(self, client: Client, what: What, *, reply: bool) -> None:
        """Take note."""


class Interleaving:
    """One interleaving.

    Parameters
    ----------
    works
        What each client does; first of all, it must pause.
    choose
        Given those that can go on, and the one that went before if it is among them, returns who goes.
    patience
        After how many seconds in which nobody moves they hang.
    tell
        Told of each step when it is done, while no client runs.
    looks
        Whether ``tell`` asks the layer, for which no client's thread may have to wait.
    """

    def __init__(
        self,
        works: Sequence[Callable[[Client], None]],
        choose: Choose,
        patience: float,
        tell: StepObserver | None = None,
        *,
        looks: bool = False,
    ) -> None:
        self.clients = [Client(number, work, self) for number, work in enumerate(works)]
        self.steps: list[Step] = []
        self.hung: str | None = None
        """How they got stuck, if they did."""
        self.blocked = False
        """Whether they got stuck where nobody can free them."""
        self.given_up = False
        """Whether it was too long."""
        self._choose = choose
        self._patience = patience
        self._tell = tell
        self._looks = looks
        self._changed = threading.Condition(threading.Lock())
        """Guards all that follows, and the clients' states."""
        self._progress = 0
        self._under_way: tuple[Client, What, bool] | None = None
        """Who makes a step, what it does, and whether that is only to take a reply."""
        self._before: Client | None = None
        self._idle_since: float | None = None
        self._wrong: BaseException | None = None

    def run(self) -> None:
        """Interleaving it; re-raises what went wrong in a client's own work."""
        try:
            with self._changed:
                for client in self.clients:
                    client.start()
                    self._until_none_runs()
                while any(client.state != "done" for client in self.clients):
                    if not self._goes_on():
                        break
        finally:
            with self._changed:
                for client in self.clients:
                    if client.state != "done":
                        client.abandon()
            for client in self.clients:  # with what its thread has: connections are closed as it ends
                client.join(OUTSIDE_SECONDS if self.blocked else self._patience)
        for client in self.clients:
            if client.failure is not None:
                raise client.failure

    def pauses(self, client: Client) -> None:
        """Take note that ``client`` pauses; whose turn it is goes on."""
        with self._changed:
            if client.abandoned or client.state == "done":  # what it left behind may come later
                client.go()
                return
            client.state = "paused"
            self._pass_on(client)

    def ends(self, client: Client) -> None:
        """Take note that ``client`` has ended; whose turn it is goes on."""
        with self._changed:
            client.state = "done"
            self._pass_on(client)

    def _pass_on(self, client: Client) -> None:
        """Begin the next step in the thread that has made the last, if nothing speaks against it."""
        stepped = self._under_way is not None and self._under_way[0] is client
        if stepped and not self._looks and all(each.state in ("paused", "done") for each in self.clients):
            try:
                self._end_step()
                able = self._able()
                if able and len(self.steps) < MOST_STEPS:
                    self._begin_step(able)
                    return
            except BaseException as wrong:  # noqa: BLE001 - raised by the play, not in the layer's code
                self._wrong = wrong
        self._changed.notify()

    def _goes_on(self) -> bool:
        """Begin a step, or wait for what comes from outside; False if there is nothing that could come."""
        able = self._able()
        alone = False
        if not able:
            outside = [client for client in self.clients if client.state == "outside"]
            if outside:
                if self._idle_seconds() > self._patience:
                    self.hung = f"{_names(outside)} went on no more"
                    self.blocked = True
                    return False
                self._changed.wait(OUTSIDE_SECONDS)
                return True
            patient = [client for client in self.clients if client.state == "paused"]
            strangers = [client for client in patient if self._waits_for_a_stranger(client)]
            # Threads and tasks that are no clients go on by themselves.
            if strangers and self._idle_seconds() <= self._patience:
                self._changed.wait(_POLL_SECONDS)
                return True
            able = [client for client in patient if not client.forever][:1]
            if not able:
                how = "waited for a lock that was never released" if strangers else "each waited for another"
                self.hung = f"{_names(strangers or patient)} {how}"
                self.blocked = bool(strangers)
                return False
            alone = True
        if len(self.steps) >= MOST_STEPS:
            self.given_up = True
            return False
        self._begin_step(able, alone=alone)
        self._until_none_runs()
        if self._wrong is not None:
            raise self._wrong
        if self._under_way is not None:
            self._end_step()
        return True

    def _begin_step(self, able: list[Client], *, alone: bool = False) -> None:
        self._idle_since = None
        numbers = tuple(client.number for client in able)
        before = self._before
        last = before.number if before is not None and before in able and not alone else None
        client = able[0] if alone else self.clients[self._choose(numbers, last)]
        self.steps.append(Step(numbers, client.number, last))
        self._under_way = client, client.what, client.kind == "reply"
        client.state = "running"
        client.go(alone=alone)

    def _end_step(self) -> None:
        assert self._under_way is not None
        client, what, reply = self._under_way
        self._under_way, self._before = None, client
        if client.waits and client.free is None:
            client.since = self._progress
        else:
            self._progress += 1
        if self._tell is None:
            return
        if self._looks:  # a loop may have to note a pause before it can answer; nobody goes on
            self._changed.release()
        try:
            self._tell(client, what, reply=reply)
        finally:
            if self._looks:
                self._changed.acquire()

    def _able(self) -> list[Client]:
        return [client for client in self.clients if self._can_go(client)]

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

    def _idle_seconds(self) -> float:
        now = time.perf_counter()
        self._idle_since = self._idle_since or now
        return now - self._idle_since

    def _until_none_runs(self) -> None:
        """Wait until all have paused; whoever takes too long for a step is left alone."""
        made, until = -1, 0.0
        while any(client.state == "running" for client in self.clients):
            if made != len(self.steps):
                made, until = len(self.steps), time.perf_counter() + OUTSIDE_SECONDS
            if not self._changed.wait(until - time.perf_counter()) and made == len(self.steps):
                for client in self.clients:
                    if client.state == "running":  # some may have paused while this thread woke up
                        client.state = "outside"


def _names(clients: Sequence[Client]) -> str:
    return " and ".join(client.name for client in clients)
