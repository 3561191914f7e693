"""Crowds: many clients of one key at once, in real threads, and what is wrong with how they fared."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Literal, NamedTuple

from ...drivers.blocking import drive
from ...reference.config import IdempotencyConfig
from ...reference.engine import Engine
from ...spec.commands import Swap
from ...spec.errors import IdempotencyAlreadyInProgressError, IdempotencyError
from ...spec.record import COMPLETED, INPROGRESS, Record, expiry_ms
from ..suite.subjects import Subject
from .linearizability import Delete, Get, Operation, Put, Update
from .recording import Recorder

LEASE_S = 3600
WINDOW_S = 7200
TRIES = 6
"""How often a client calls that is told that another is at work."""
BODY_SECONDS = 0.003
"""How long a body takes, in which others may be let in by mistake."""
SWITCH_SECONDS = 1e-5
"""How long a thread may run before others have their turn."""

Kind = Literal["calls", "failing calls", "swaps", "methods"]


class Plan(NamedTuple):
    """One round: what its clients do to one key."""

    kind: Kind
    key: str
    now: int
    seed: int


class Run(NamedTuple):
    """One run of the body. ``began`` and ``ended`` are readings of the timer that requests have, too."""

    who: str
    began: int
    ended: int
    result: str | None
    """None if it raised."""


@dataclass
class Round:
    """How the clients of one round fared."""

    operations: list[Operation] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    answers: list[tuple[str, str]] = field(default_factory=list)
    """Who was told what."""
    mistakes: list[str] = field(default_factory=list)
    """What the layer raised that no store should."""

    def add(self, other: "Round") -> None:
        """Take in what others have to tell of the same round."""
        self.operations += other.operations
        self.runs += other.runs
        self.answers += other.answers
        self.mistakes += other.mistakes


class BodyError(Exception):
    """What a body raises that is to fail."""


def kinds(*, swaps: bool) -> tuple[Kind, ...]:
    """Return the kinds of rounds that there are for a layer."""
    return ("calls", "failing calls", "swaps", "methods") if swaps else ("calls", "failing calls", "methods")


def stress(
    plan: Plan, clients: Sequence[tuple[str, Subject]], begin: Callable[[], None] | None = None
) -> Round:
    """Let clients, each in a thread of its own, do what the plan says, all at once.

    Parameters
    ----------
    plan
        What they do.
    clients
        Their names, and the layers that they use.
    begin
        What to wait for when all stand ready, such as for other processes.
    """
    barrier = threading.Barrier(len(clients), action=begin)
    came = Round()
    failures: list[BaseException] = []

    def take_part(who: str, subject: Subject) -> None:
        client = _Client(plan, who, subject, came)
        try:
            barrier.wait()
            client.act()
        except threading.BrokenBarrierError:
            pass  # another failed to begin, and says so
        except BaseException as failure:  # noqa: BLE001 - raised below, in the thread that waits
            failures.append(failure)
        finally:
            came.operations += client.recorder.operations
            came.mistakes += [f"{type(each).__name__}: {each}" for each in client.recorder.mistakes]

    threads = [
        threading.Thread(target=take_part, args=client, name=f"conformance-{client[0]}", daemon=True)
        for client in clients
    ]
    if len(clients) == 1:  # who is alone stays in this thread, to which the layer may be bound
        take_part(*clients[0])
        threads = []
    with hasty_switching():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    return came


@contextmanager
def hasty_switching() -> Iterator[None]:
    """Let threads take turns often."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


class _Client:
    def __init__(self, plan: Plan, who: str, subject: Subject, came: Round) -> None:
        self._plan = plan
        self._who = who
        self._subject = subject
        self._came = came
        self._chance = Random(f"{plan.seed} {who}")  # noqa: S311 - draws examples, no secrets
        self._attempts = 0
        self._bodies = 0
        self.recorder = Recorder(lambda: plan.now)

    def act(self) -> None:
        if self._plan.kind == "swaps":
            self._swap()
        elif self._plan.kind == "methods":
            self._use_methods()
        else:
            self._call()

    def _call(self) -> None:
        config = IdempotencyConfig(
            clock=lambda: self._plan.now,
            expires_after_seconds=WINDOW_S,
            in_progress_expires_after_seconds=LEASE_S,
        )
        engine = Engine(config, mint=self._mint)
        layer = self.recorder.layer(self._subject, self._who)
        for _ in range(TRIES):
            try:
                answer = drive(engine.steps(self._plan.key, "a hash"), layer, self._body)
            except (IdempotencyAlreadyInProgressError, BodyError):
                time.sleep(BODY_SECONDS)
            except IdempotencyError:
                return  # the store failed; what it did nevertheless is judged
            else:
                self._came.answers.append((self._who, answer))
                return

    def _mint(self) -> str:
        self._attempts += 1
        return f"{self._who}, attempt {self._attempts}"

    def _body(self) -> str:
        self._bodies += 1
        began = time.perf_counter_ns()
        time.sleep(BODY_SECONDS)
        fails = self._plan.kind == "failing calls" and self._bodies == 1 and self._chance.random() < 0.7  # noqa: PLR2004 - mostly
        result = None if fails else f"the result of {self._who}, run {self._bodies}"
        self._came.runs.append(Run(self._who, began, time.perf_counter_ns(), result))
        if result is None:
            raise BodyError
        return result

    def _swap(self) -> None:
        """Swap what was seen last for something else, as often as not successfully."""
        seen: Record | None = None
        for step in range(3):
            new = self._next(seen, step)
            keep_ms = 0 if new is None else expiry_ms(new) - self._plan.now
            found = self.recorder.ask(self._subject, self._who, Swap(self._plan.key, seen, new, keep_ms))
            seen = found if isinstance(found, Record) else None

    def _next(self, seen: Record | None, step: int) -> Record | None:
        mine = self._claim(step)
        if seen is None or seen.owner is None or not seen.owner.startswith(f"{self._who},"):
            return mine
        drawn = self._chance.random()
        if drawn < 0.4:  # noqa: PLR2004 - so often it is given back,
            return None
        return result_of(mine) if drawn < 0.7 else mine  # noqa: PLR2004 - completed, or claimed anew

    def _use_methods(self) -> None:
        """Put, and complete or delete what was put; most of it is deleted, for results stay."""
        for step in range(2):
            mine = self._claim(step)
            if self.recorder.ask(self._subject, self._who, Put(mine)) is not None:
                self.recorder.ask(self._subject, self._who, Get(self._plan.key))
            elif self._chance.random() < 0.8:  # noqa: PLR2004 - see above
                self.recorder.ask(self._subject, self._who, Delete(mine))
            else:
                self.recorder.ask(self._subject, self._who, Update(result_of(mine)))

    def _claim(self, step: int) -> Record:
        number = int("".join(filter(str.isdigit, self._who)) or 0)
        lease = self._plan.now + LEASE_S * 1000 + 100 * number + step
        expiry = self._plan.now // 1000 + WINDOW_S + 100 * number + step  # one that no other claim has
        return Record(self._plan.key, INPROGRESS, expiry, lease, owner=f"{self._who}, attempt {step + 1}")


def result_of(claim: Record) -> Record:
    """Return what the completion of ``claim`` stores."""
    return claim._replace(
        status=COMPLETED, in_progress_expiry_timestamp=None, response_data=f'"{claim.owner}"'
    )


class Fault(NamedTuple):
    """What went wrong in a round."""

    clauses: tuple[str, ...]
    why: str


def faults_of_runs(came: Round) -> list[Fault]:
    """Say what is wrong with runs and answers, if no lease has lapsed and no window is over."""
    faults = []
    latest = 0
    for run in sorted(came.runs, key=lambda run: run.began):
        if run.began < latest:
            faults.append(Fault(("INV-1", "INV-5"), "Two clients were let in at once: two bodies ran."))
            break
        latest = max(latest, run.ended)
    returned = [run.result for run in came.runs if run.result is not None]
    if len(returned) > 1 and not faults:
        faults.append(Fault(("INV-5",), "The body ran again after it had returned."))
    given = {answer for _, answer in came.answers}.union(returned[:1])
    if len(given) > 1:
        reported = " and ".join(sorted(map(str, given))[:2])
        faults.append(Fault(("INV-4",), f"Clients of one key got different answers, such as {reported}."))
    return faults
