"""Stress tests: many clients at once, in real threads, and the faults in their results."""

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
from ..suite.subjects import Subject, as_a_sentence, clause_of, error_text
from .linearizability import Delete, Get, Operation, Put, Request, Update
from .recording import Recorder, key_of

LEASE_S = 3600
WINDOW_S = 7200
TRIES = 6
"""How many times a client calls while another attempt is in progress."""
BODY_SECONDS = 0.003
"""How long a body runs, so that a broken layer may grant a second claim meanwhile."""
SWITCH_SECONDS = 1e-5
"""How long a thread runs before Python switches to another one."""

RoundKind = Literal["calls", "failing calls", "swaps", "methods", "own keys"]
"""What the clients do with one key; or, with "own keys", with several keys each."""

OWN_KEYS = 4
"""The number of keys of each client in a round with several keys."""


class Plan(NamedTuple):
    """What the clients of one round do with a key. ``now`` is in epoch milliseconds."""

    kind: RoundKind
    key: str
    now: int
    seed: int


class Run(NamedTuple):
    """One run of the body. ``began`` and ``ended`` are readings of the timer that orders the requests."""

    who: str
    began: int
    ended: int
    result: str | None
    """None if it raised."""


@dataclass
class Round:
    """The results of the clients of one round."""

    operations: list[Operation] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    answers: list[tuple[str, str]] = field(default_factory=list)
    """The name of each client that got an answer, with the answer."""
    mistakes: list[str] = field(default_factory=list)
    """Errors of the layer that no failure of a store explains."""
    raised: list[tuple[str, str]] = field(default_factory=list)
    """What the layer raised instead of answering: the clause that this breaks, and a sentence."""

    def histories(self) -> list[list[Operation]]:
        """Return the operations of each key."""
        of: dict[str, list[Operation]] = {}
        for each in self.operations:
            of.setdefault(key_of(each.request), []).append(each)
        return list(of.values())

    def add(self, other: "Round") -> None:
        """Add the results of other clients of the same round."""
        self.operations += other.operations
        self.runs += other.runs
        self.answers += other.answers
        self.mistakes += other.mistakes
        self.raised += other.raised


class BodyError(Exception):
    """Raised by a body that fails on purpose."""


def kinds(*, swaps: bool) -> tuple[RoundKind, ...]:
    """Return the kinds of rounds that a layer supports."""
    of_one_key: tuple[RoundKind, ...] = ("calls", "failing calls", "methods")
    return (*of_one_key, "swaps", "own keys") if swaps else (*of_one_key, "own keys")


def stress(
    plan: Plan, clients: Sequence[tuple[str, Subject]], begin: Callable[[], None] | None = None
) -> Round:
    """Run the clients at once, each in its own thread, and return their results.

    Parameters
    ----------
    plan
        What the clients do.
    clients
        The clients' names, and the layers that they use.
    begin
        Called when all threads are ready, to wait for other processes.
    """
    barrier = threading.Barrier(len(clients), action=begin)
    round_ = Round()
    failures: list[BaseException] = []

    def run_client(who: str, subject: Subject) -> None:
        client = _StressClient(plan, who, subject, round_)
        try:
            barrier.wait()
            client.act()
        except threading.BrokenBarrierError:
            pass  # `begin` failed in another thread, which raises its error
        except BaseException as failure:  # noqa: BLE001 - raised below, in the calling thread
            failures.append(failure)
        finally:
            round_.operations += client.recorder.operations
            round_.mistakes += map(error_text, client.recorder.mistakes)
            round_.raised += [(clause_of(each), as_a_sentence(each)) for each in client.recorder.raised]

    threads = [
        threading.Thread(target=run_client, args=client, name=f"conformance-{client[0]}", daemon=True)
        for client in clients
    ]
    if len(clients) == 1:  # the layer may be bound to this thread
        run_client(*clients[0])
        threads = []
    with hasty_switching():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    return round_


@contextmanager
def hasty_switching() -> Iterator[None]:
    """Switch between threads more often."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


class _StressClient:
    def __init__(self, plan: Plan, who: str, subject: Subject, round_: Round) -> None:
        self._plan = plan
        self._who = who
        self._subject = subject
        self._round = round_
        self._random = Random(f"{plan.seed} {who}")  # noqa: S311 - draws examples, not secrets
        self._attempts = 0
        self._bodies = 0
        self.recorder = Recorder(lambda: plan.now)

    def act(self) -> None:
        if self._plan.kind == "swaps":
            self._swap()
        elif self._plan.kind == "methods":
            self._use_methods()
        elif self._plan.kind == "own keys":
            self._use_own_keys()
        else:
            self._call()

    def _call(self) -> None:
        config = IdempotencyConfig(
            clock=lambda: self._plan.now,
            expires_after_seconds=WINDOW_S,
            in_progress_expires_after_seconds=LEASE_S,
        )
        engine = Engine(config, next_owner=self._next_owner)
        layer = self.recorder.layer(self._subject, self._who)
        for _ in range(TRIES):
            try:
                answer = drive(engine.steps(self._plan.key, "a hash"), layer, self._body)
            except (IdempotencyAlreadyInProgressError, BodyError):
                time.sleep(BODY_SECONDS)
            except IdempotencyError:
                return  # the store failed; its recorded requests are still judged
            else:
                self._round.answers.append((self._who, answer))
                return

    def _next_owner(self) -> str:
        self._attempts += 1
        return f"{self._who}, attempt {self._attempts}"

    def _body(self) -> str:
        self._bodies += 1
        began = time.perf_counter_ns()
        time.sleep(BODY_SECONDS)
        fails = self._plan.kind == "failing calls" and self._bodies == 1 and self._random.random() < 0.7  # noqa: PLR2004 - most of them
        result = None if fails else f"the result of {self._who}, run {self._bodies}"
        self._round.runs.append(Run(self._who, began, time.perf_counter_ns(), result))
        if result is None:
            raise BodyError
        return result

    def _swap(self) -> None:
        """Swap the record that was seen last for another one, with or without success."""
        seen: Record | None = None
        for step in range(3):
            new = self._next(seen, step)
            ttl_ms = 0 if new is None else expiry_ms(new) - self._plan.now
            found = self.recorder.ask(self._subject, self._who, Swap(self._plan.key, seen, new, ttl_ms))
            seen = found if isinstance(found, Record) else None

    def _next(self, seen: Record | None, step: int) -> Record | None:
        mine = self._claim(step)
        if seen is None or seen.owner is None or not seen.owner.startswith(f"{self._who},"):
            return mine
        drawn = self._random.random()
        if drawn < 0.4:  # noqa: PLR2004 - 40 % release the claim,
            return None
        return result_of(mine) if drawn < 0.7 else mine  # noqa: PLR2004 - 30 % complete it, the rest renew it

    def _use_methods(self) -> None:
        """Put claims, then complete or delete them; delete most of them, because a result ends the round."""
        for step in range(2):
            mine = self._claim(step)
            if self.recorder.ask(self._subject, self._who, Put(mine)) is not None:
                self.recorder.ask(self._subject, self._who, Get(self._plan.key))
            elif self._random.random() < 0.8:  # noqa: PLR2004 - most of them
                self.recorder.ask(self._subject, self._who, Delete(mine))
            else:
                self.recorder.ask(self._subject, self._who, Update(result_of(mine)))

    def _use_own_keys(self) -> None:
        """Claim keys that no other client uses; then complete one half of them, and release a quarter."""
        for step in range(OWN_KEYS):
            key = f"{self._plan.key}, {self._who}, {step}"
            claim = self._claim(step)._replace(idempotency_key=key)
            self.recorder.ask(self._subject, self._who, self._write(key, None, claim))
            if step % 4 != 3:  # noqa: PLR2004 - the last of four remains claimed
                new = None if step % 4 == 2 else result_of(claim)  # noqa: PLR2004 - one of four
                self.recorder.ask(self._subject, self._who, self._write(key, claim, new))

    def _write(self, key: str, expected: Record | None, new: Record | None) -> Request:
        if self._subject.swaps:
            return Swap(key, expected, new, 0 if new is None else expiry_ms(new) - self._plan.now)
        if new is None:
            assert expected is not None  # nothing is released that was not claimed
            return Delete(expected)
        return Put(new) if expected is None else Update(new)

    def _claim(self, step: int) -> Record:
        number = int("".join(filter(str.isdigit, self._who)) or 0)
        lease = self._plan.now + LEASE_S * 1000 + 100 * number + step
        expiry = self._plan.now // 1000 + WINDOW_S + 100 * number + step  # unique to this claim
        return Record(self._plan.key, INPROGRESS, expiry, lease, owner=f"{self._who}, attempt {step + 1}")


def result_of(claim: Record) -> Record:
    """Return the record that the completion of ``claim`` stores."""
    return claim._replace(
        status=COMPLETED, in_progress_expiry_timestamp=None, response_data=f'"{claim.owner}"'
    )


class Fault(NamedTuple):
    """A fault in a round: the clauses that it breaks, and a sentence about it."""

    clauses: tuple[str, ...]
    why: str


def faults_of_runs(round_: Round) -> list[Fault]:
    """Return the faults in the runs and answers of a round in which no lease and no window ends."""
    faults = []
    latest = 0
    for run in sorted(round_.runs, key=lambda run: run.began):
        if run.began < latest:
            faults.append(Fault(("INV-1", "INV-5"), "Two clients got the key at once: two bodies ran."))
            break
        latest = max(latest, run.ended)
    returned = [run.result for run in round_.runs if run.result is not None]
    if len(returned) > 1 and not faults:
        faults.append(Fault(("INV-5",), "The body ran again after it had returned."))
    given = {answer for _, answer in round_.answers}.union(returned[:1])
    if len(given) > 1:
        reported = " and ".join(sorted(map(str, given))[:2])
        faults.append(Fault(("INV-4",), f"Clients of one key got different answers, such as {reported}."))
    return faults
