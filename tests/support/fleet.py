"""Worker processes that share a store and are killed at any moment, and the rules that their journal must keep.

Run as a program, this is one worker: it reads from its standard input, pickled, what it is to do.
"""

import asyncio
import functools
import inspect
import json
import logging
import os
import pickle
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from idemproof import IdempotencyConfig, idempotent_function
from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyInconsistentStateError,
    IdempotencyLeaseLostError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceConsistencyError,
    IdempotencyPersistenceLayerError,
)
from idemproof.spec.record import INPROGRESS

LEASE_MS = 300
BODY_SECONDS = (0.02, 0.05, 0.08, 0.1, 0.4)
"""How long a body takes; now and then longer than its lease."""
RAISES = 0.1
"""How often a body raises."""
HOT_MS = 100
"""For so long the fleet looks mostly at the same few keys."""
SECONDS_AT_MOST = 90
"""A fleet ends with its work; this bounds it where the machine is busy."""

OUTAGES = (
    IdempotencyPersistenceLayerError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceConsistencyError,
)
"""What a worker may meet because of lost connections; the others of the family would be mistakes."""

PREFIX = "work"


class BodyError(Exception):
    """What a body raises."""


class Entry(NamedTuple):
    """A line of the journal."""

    pid: int
    what: str
    key: int = 0
    run: int = 0
    """The token of the run that this is about, 0 if the call has run nothing."""
    answer: int = 0
    ms: int = 0
    lease: int = 0
    """When the lease of the run ends."""


@dataclass(frozen=True)
class Worker:
    """What one worker does, in a process of its own: calls, until it is told to stop or is killed."""

    make: Callable[[], Any]
    """Makes the layer, blocking or async."""
    keys: int
    seed: str
    journal: Path
    stop: Path

    def __call__(self) -> None:
        asyncio.run(_Calls(self).go_on())


class _Calls:
    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._chance = random.Random(worker.seed)
        self._out = os.open(worker.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._run = 0
        self._lease = 0
        self._layer = worker.make()
        asynchronous = inspect.iscoroutinefunction(self._layer._swap)
        self._layer._swap = (self._observed_async if asynchronous else self._observed)(self._layer._swap)
        self._work = idempotent_function(
            self._body_async if asynchronous else self._body,
            data_keyword_argument="key",
            persistence_store=self._layer,
            config=IdempotencyConfig(in_progress_expires_after_seconds=LEASE_MS / 1000),
            key_prefix=PREFIX,
        )

    async def go_on(self) -> None:
        self._note("up")
        while not self._worker.stop.exists():
            await self._call(self._next_key())
            await asyncio.sleep(0.003)
        close = getattr(self._layer, "close", None) or self._layer.client.close
        closing = close()
        if inspect.isawaitable(closing):
            await closing

    def _next_key(self) -> int:
        if self._chance.random() < 0.5:
            return self._chance.randrange(self._worker.keys)
        hot = time.time_ns() // (HOT_MS * 1_000_000) + self._chance.randrange(3)
        return hot % self._worker.keys

    async def _call(self, key: int) -> None:
        self._run = 0
        try:
            answer = self._work(key=key)
            if inspect.isawaitable(answer):
                answer = await answer
            self._note("answered", key, answer)
        except BodyError:
            self._note("raised", key)
        except IdempotencyAlreadyInProgressError:
            self._note("refused", key)
        except IdempotencyInconsistentStateError:
            self._note("not claimed", key)
        except IdempotencyLeaseLostError as lost:
            self._note("lost", key, lost.result)
        except OUTAGES as outage:
            if type(outage) not in OUTAGES:
                raise
            if outage.result is not None:
                self._note("untold", key, outage.result)
            else:
                self._note("raised" if self._run else "not served", key)

    def _body(self, key: int) -> int:
        time.sleep(self._begin(key))
        return self._end(key)

    async def _body_async(self, key: int) -> int:
        await asyncio.sleep(self._begin(key))
        return self._end(key)

    def _begin(self, key: int) -> float:
        self._run = self._chance.getrandbits(50) + 1
        self._note("began", key)
        return self._chance.choice(BODY_SECONDS)

    def _end(self, key: int) -> int:
        if self._chance.random() < RAISES:
            self._note("fell", key)
            raise BodyError
        self._note("ran", key)
        return self._run

    def _observed(self, swap: Callable[..., Any]) -> Callable[..., Any]:
        def observed(key: str, expected: Any, new: Any, keep_ms: int) -> Any:
            with self._failures():
                return self._granted(new, swap(key, expected, new, keep_ms))

        return observed

    def _observed_async(self, swap: Callable[..., Any]) -> Callable[..., Any]:
        async def observed(key: str, expected: Any, new: Any, keep_ms: int) -> Any:
            with self._failures():
                return self._granted(new, await swap(key, expected, new, keep_ms))

        return observed

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except IdempotencyPersistenceLayerError:
            self._note("failed")
            raise

    def _granted(self, new: Any, found: Any) -> Any:
        if None not in (new, found) and found.owner == new.owner and found.status == INPROGRESS:
            self._lease = found.in_progress_expiry_timestamp
        return found

    def _note(self, what: str, key: int = 0, answer: int = 0) -> None:
        now = time.time_ns() // 1_000_000
        entry = Entry(os.getpid(), what, key, self._run, answer, now, self._lease)
        os.write(self._out, (json.dumps(entry) + "\n").encode())


@dataclass
class Run:
    """One run of a body, and how it went on."""

    began: Entry
    ran: Entry | None = None
    fell: Entry | None = None
    end: Entry | None = None
    """What the caller was told."""

    @property
    def claimed(self) -> int:
        return self.lease - LEASE_MS

    @property
    def lease(self) -> int:
        return self.began.lease


@dataclass
class Aftermath:
    """What a fleet has left behind."""

    seed: int
    entries: list[Entry]
    killed: frozenset[int]
    runs: dict[int, Run] = field(default_factory=dict)
    answers: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    """The answers given to each key."""
    answered: dict[int, int] = field(default_factory=dict)
    """When each key was answered first."""

    def __post_init__(self) -> None:
        for entry in self.entries:
            if entry.what == "answered":
                self.answers[entry.key].add(entry.answer)
                self.answered[entry.key] = min(entry.ms, self.answered.get(entry.key, entry.ms))
            if entry.what == "began":
                assert entry.run not in self.runs
                self.runs[entry.run] = Run(entry)
            elif entry.run and entry.what in ("ran", "fell"):
                setattr(self.runs[entry.run], entry.what, entry)
            elif entry.run and entry.what != "failed":
                assert self.runs[entry.run].end is None
                self.runs[entry.run].end = entry

    def in_turn(self) -> list[list[Run]]:
        """Return the runs of each key, in the order of their claims."""
        of_key = defaultdict(list)
        for run in sorted(self.runs.values(), key=lambda run: run.claimed):
            of_key[run.began.key].append(run)
        return list(of_key.values())

    def why_again(self, run: Run) -> str | None:
        """Return why another may run after this one, None if there is no reason."""
        if run.fell is not None:
            return "raised"
        if run.end is None:
            return "killed" if run.began.pid in self.killed else None
        if run.end.what == "untold":
            return "untold"
        return "outlived" if run.end.ms >= run.lease else None

    def repeated(self) -> Counter[str | None]:
        """Count the runs after which another ran, by the reason."""
        return Counter(self.why_again(run) for runs in self.in_turn() for run in runs[:-1])

    def counts(self) -> Counter[str]:
        return Counter(entry.what for entry in self.entries)

    def __str__(self) -> str:
        counts = dict(sorted(self.counts().items()))
        return (
            f"seed {self.seed}: {len(self.killed)} killed, {len(self.answers)} keys answered, "
            f"{len(self.runs)} runs, of which another ran after {dict(self.repeated())}; journal: {counts}"
        )


class Fleet:
    """The workers, their journal, and the one who kills them.

    Parameters
    ----------
    makers
        What makes the layer of each worker, to be pickled.
    keys, kills, failures
        It ends when so many keys are answered, so many workers killed, and so many requests have failed.
    environment
        More environment variables of the workers.
    """

    def __init__(
        self,
        directory: Path,
        makers: Sequence[Callable[[], Any]],
        *,
        seed: int,
        keys: int,
        kills: int,
        failures: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._makers = makers
        self._keys = keys
        self._kills = kills
        self._failures = failures
        self._seed = seed
        self._chance = random.Random(seed)
        self._environment = {**os.environ, **(environment or {})}
        self._journal = directory / "journal"
        self._journal.touch()
        self._stop = directory / "stop"
        self._entries: list[Entry] = []
        self._read = 0
        self._killed: set[int] = set()
        self._workers: list[subprocess.Popen[bytes]] = []

    def work(self) -> Aftermath:
        """Let the fleet do its work under fire."""
        deadline = time.monotonic() + SECONDS_AT_MOST
        try:
            for place in range(len(self._makers)):
                self._workers.append(self._start(place))
            while not self._look() and time.monotonic() < deadline:
                time.sleep(self._chance.uniform(0.01, 0.03))
        finally:
            errors = self._finish()
        assert errors == []
        self._look()
        return Aftermath(self._seed, self._entries, frozenset(self._killed))

    def _start(self, place: int) -> "subprocess.Popen[bytes]":
        seed = f"{self._seed}/{place}/{len(self._killed)}"
        worker = Worker(self._makers[place], self._keys, seed, self._journal, self._stop)
        process = subprocess.Popen(
            [sys.executable, "-W", "error", __file__],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment,
        )
        assert process.stdin is not None
        with process.stdin:
            process.stdin.write(pickle.dumps(worker))
        process.stdin = None
        return process

    def _look(self) -> bool:
        """Read the journal, kill whoever's turn it is, and tell whether all is done."""
        with self._journal.open("rb") as journal:
            journal.seek(self._read)
            whole, newline, _ = journal.read().rpartition(b"\n")
        self._read += len(whole + newline)
        self._entries += [Entry(*json.loads(line)) for line in whole.splitlines()]
        answered = len({entry.key for entry in self._entries if entry.what == "answered"})
        if self._stop.exists():
            return True
        # Spread over the work, not over time: however fast the machine is, there is work to be killed in.
        if len(self._killed) < self._kills:
            if answered >= self._keys * len(self._killed) // self._kills:
                self._kill_one()
            return False
        failed = sum(entry.what == "failed" for entry in self._entries)
        return answered == self._keys and failed >= self._failures

    def _kill_one(self) -> None:
        last = {entry.pid: entry.what for entry in self._entries}
        up = [place for place, worker in enumerate(self._workers) if worker.pid in last]
        running = [place for place in up if last[self._workers[place].pid] == "began"]
        places = running if self._chance.random() < 0.5 else up
        if not places:
            return
        place = self._chance.choice(places)
        victim = self._workers[place]
        assert victim.poll() is None, victim.communicate()[1].decode()
        victim.kill()
        victim.communicate()
        self._killed.add(victim.pid)
        self._workers[place] = self._start(place)

    def _finish(self) -> list[str]:
        """Stop all and return what went wrong."""
        self._stop.touch()
        errors = []
        for worker in self._workers:
            try:
                errors.append(worker.communicate(timeout=SECONDS_AT_MOST)[1].decode())
            except subprocess.TimeoutExpired:
                worker.kill()
                errors.append(f"{worker.pid} hangs; {worker.communicate()[1].decode()}")
            if worker.returncode:
                errors.append(f"{worker.pid} ended with {worker.returncode}")
        return [error for error in errors if error]


Rule = Callable[[Aftermath], Iterator[object]]
"""Yields what breaks it."""


def everybody_is_given_the_same_answer_to_the_same_key(log: Aftermath) -> Iterator[object]:
    yield from ((key, told) for key, told in log.answers.items() if len(told) != 1)


def an_answer_is_the_result_of_a_run(log: Aftermath) -> Iterator[object]:
    results = {(run.ran.key, run.ran.run) for run in log.runs.values() if run.ran is not None}
    for entry in log.entries:
        if entry.what == "answered" and (entry.key, entry.answer) not in results:
            yield entry


def whoever_lives_is_told_how_each_run_ended(log: Aftermath) -> Iterator[object]:
    last = {run.began.pid: run for run in log.runs.values()}
    for run in log.runs.values():
        end = run.end
        if end is None:
            if run.began.pid not in log.killed or run is not last[run.began.pid]:
                yield run
        elif end.what not in (("raised",) if run.fell else ("answered", "lost", "untold")):
            yield run
        elif end.what in ("lost", "untold") and end.answer != end.run:
            yield run


def what_refuses_to_run_has_not_run(log: Aftermath) -> Iterator[object]:
    for entry in log.entries:
        if entry.what in ("refused", "not claimed", "not served") and entry.run:
            yield entry


def a_result_counts_unless_its_run_outlived_its_lease(log: Aftermath) -> Iterator[object]:
    for run in log.runs.values():
        if run.end is None or run.end.what not in ("answered", "lost") or run.end.ms >= run.lease:
            continue
        if run.end.answer != run.end.run or run.end.what == "lost":
            yield run


def a_body_runs_again_only_for_a_reason(log: Aftermath) -> Iterator[object]:
    for runs in log.in_turn():
        yield from (runs for run in runs[:-1] if log.why_again(run) is None)


def a_key_is_claimed_again_only_when_the_lease_before_is_over_or_given_back(
    log: Aftermath,
) -> Iterator[object]:
    for runs in log.in_turn():
        for earlier, later in pairwise(runs):
            if later.claimed < earlier.lease and not (earlier.fell and earlier.fell.ms <= later.claimed):
                yield earlier, later


def when_an_answer_is_given_no_other_run_holds_its_key_nor_ever_will(log: Aftermath) -> Iterator[object]:
    for runs in log.in_turn():
        key = runs[0].began.key
        for run in runs:
            if key not in log.answered or run.began.run in log.answers[key]:
                continue
            answered = log.answered[key]
            if run.lease > answered and not (run.fell and run.fell.ms <= answered):
                yield run


RULES: tuple[Rule, ...] = (
    everybody_is_given_the_same_answer_to_the_same_key,
    an_answer_is_the_result_of_a_run,
    whoever_lives_is_told_how_each_run_ended,
    what_refuses_to_run_has_not_run,
    a_result_counts_unless_its_run_outlived_its_lease,
    a_body_runs_again_only_for_a_reason,
    a_key_is_claimed_again_only_when_the_lease_before_is_over_or_given_back,
    when_an_answer_is_given_no_other_run_holds_its_key_nor_ever_will,
)


def replayed(layer: Any, keys: Sequence[int]) -> dict[int, set[int]]:
    """Ask a blocking layer for the answer to each key; nothing may run."""

    def work(key: int) -> int:
        raise AssertionError(f"{key} was to be replayed")

    ask = idempotent_function(
        work,
        data_keyword_argument="key",
        persistence_store=layer,
        config=IdempotencyConfig(in_progress_expires_after_seconds=1),
        key_prefix=PREFIX,
    )
    return {key: {ask(key=key)} for key in keys}


def _main() -> None:
    logging.getLogger("idemproof").addHandler(logging.NullHandler())
    worker: Worker = pickle.load(sys.stdin.buffer)
    worker()


if __name__ == "__main__":
    _main()
