"""Worker processes that share a store, and are killed at any moment.

Run as a program, this is one worker: it reads from its standard input, pickled, what it is to do.
"""

import asyncio
import inspect
import json
import logging
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idemproof import IdempotencyConfig, idempotent_function
from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyInconsistentStateError,
    IdempotencyLeaseLostError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceConsistencyError,
    IdempotencyPersistenceLayerError,
    IdempotencyResultUnavailableError,
)
from idemproof.spec.record import INPROGRESS
from journal import LEASE_MS, Aftermath, Entry

BODY_SECONDS = (*(0.005, 0.01, 0.02, 0.03) * 5, 0.5)
"""How long a body may take; now and then longer than its lease."""
RAISES = 0.1
"""How often a body raises."""
HOT_MS = 150
"""So often a new key comes up,"""
HOT_KEYS = 5
"""and many calls are for one of the latest. So there is always work left to be killed in."""
SECONDS_AT_MOST = 600
"""A fleet ends with its work; this bounds it where the machine is busy."""

_SETTLED = ("answered", "unavailable")

OUTAGES = (
    IdempotencyPersistenceLayerError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceConsistencyError,
)
"""What a worker may meet because of lost connections; the others of the family would be mistakes."""

PREFIX = "work"


class BodyError(Exception):
    """What a body raises."""


@dataclass(frozen=True)
class Worker:
    """What one worker does, in a process of its own: calls, until it is stopped or killed."""

    make: Callable[[], Any]
    """Makes the layer, blocking or async."""
    keys: int
    seed: str
    journal: Path
    stop: Path
    lease_ms: int = LEASE_MS
    body_seconds: Sequence[float] = BODY_SECONDS

    def __call__(self) -> None:
        asyncio.run(_Calls(self).go_on())


class _Calls:
    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._chance = random.Random(worker.seed)
        self._tour = self._tours()
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
            config=IdempotencyConfig(in_progress_expires_after_seconds=worker.lease_ms / 1000),
            key_prefix=PREFIX,
        )

    async def go_on(self) -> None:
        self._note("up")
        while not self._worker.stop.exists():
            await self._call(self._next_key())
            await asyncio.sleep(0.002)
        closing = self._layer.close()
        if inspect.isawaitable(closing):
            await closing

    def _tours(self) -> Iterator[int]:
        """Visit all keys, each time in another order."""
        while True:
            yield from self._chance.sample(range(self._worker.keys), self._worker.keys)

    def _next_key(self) -> int:
        if self._chance.random() < 0.7:
            return next(self._tour)
        return time.time_ns() // (HOT_MS * 1_000_000) - self._chance.randrange(HOT_KEYS)

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
        except IdempotencyResultUnavailableError:
            # Its run could store no more than that it was done, when the store came into reach again.
            self._note("unavailable", key)
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
        return self._chance.choice(self._worker.body_seconds)

    def _end(self, key: int) -> int:
        if self._chance.random() < RAISES:
            self._note("fell", key)
            raise BodyError
        self._note("ran", key)
        return self._run

    def _observed(self, swap: Callable[..., Any]) -> Callable[..., Any]:
        def observed(key: str, expected: Any, new: Any, ttl_ms: int) -> Any:
            with self._failures():
                return self._granted(new, swap(key, expected, new, ttl_ms))

        return observed

    def _observed_async(self, swap: Callable[..., Any]) -> Callable[..., Any]:
        async def observed(key: str, expected: Any, new: Any, ttl_ms: int) -> Any:
            with self._failures():
                return self._granted(new, await swap(key, expected, new, ttl_ms))

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


class Fleet:
    """The workers, their journal, and the one who kills them.

    Parameters
    ----------
    makers
        What makes the layer of each worker, to be pickled.
    keys, kills, failures, reasons
        It ends when so many keys are answered, at least so many workers killed and requests failed, and
        bodies have run again for all these reasons.
    lease_ms, body_seconds
        For how long a claim is granted, and how long a body may take.
    environment
        More environment variables of the workers.
    seconds_at_most
        A fleet ends with its work; this bounds it where the machine is busy.
    """

    def __init__(
        self,
        directory: Path,
        makers: Sequence[Callable[[], Any]],
        *,
        seed: int,
        keys: int,
        kills: int,
        reasons: Collection[str],
        failures: int = 0,
        lease_ms: int = LEASE_MS,
        body_seconds: Sequence[float] = BODY_SECONDS,
        environment: Mapping[str, str] | None = None,
        seconds_at_most: float = SECONDS_AT_MOST,
    ) -> None:
        self._seconds_at_most = seconds_at_most
        self._makers = makers
        self._keys = keys
        self._all_keys = set(range(keys))
        self._kills = kills
        self._failures = failures
        self._lease_ms = lease_ms
        self._body_seconds = body_seconds
        self._reasons = frozenset(reasons)
        self._seed = seed
        self._chance = random.Random(seed)
        self._environment = {**os.environ, **(environment or {})}
        self._journal = directory / "journal"
        self._journal.touch()
        self._stop = directory / "stop"
        self._entries: list[Entry] = []
        self._read = 0
        self._answered: set[int] = set()
        self._killed: set[int] = set()
        self._killed_in: list[Entry] = []
        self._workers: list[subprocess.Popen[bytes]] = []

    def work(self) -> Aftermath:
        """Let the fleet do its work under fire."""
        deadline = time.monotonic() + self._seconds_at_most
        try:
            for place in range(len(self._makers)):
                self._workers.append(self._start(place))
            while not self._look() and time.monotonic() < deadline:
                time.sleep(self._chance.uniform(0.01, 0.03))
        finally:
            errors = self._finish()
        if errors:
            raise AssertionError("\n".join(errors))
        self._read_on()
        return self._aftermath()

    def _aftermath(self) -> Aftermath:
        return Aftermath(self._seed, self._entries, frozenset(self._killed), self._lease_ms)

    def _start(self, place: int) -> "subprocess.Popen[bytes]":
        seed = f"{self._seed}/{place}/{len(self._killed)}"
        worker = Worker(
            self._makers[place],
            self._keys,
            seed,
            self._journal,
            self._stop,
            self._lease_ms,
            self._body_seconds,
        )
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

    def _read_on(self) -> None:
        with self._journal.open("rb") as journal:
            journal.seek(self._read)
            whole, newline, _ = journal.read().rpartition(b"\n")
        self._read += len(whole + newline)
        read = [Entry(*json.loads(line)) for line in whole.splitlines()]
        self._entries += read
        self._answered |= {each.key for each in read if each.what in _SETTLED and each.key < self._keys}

    def _look(self) -> bool:
        """Kill whoever's turn it is, and return whether all is done."""
        self._read_on()
        answered = self._answered
        if len(self._killed) < self._kills:
            # Spread over the work, not over time: the machine may be slow.
            if len(answered) >= self._keys * len(self._killed) // self._kills:
                self._kill_one()
            return False
        if len(answered) < self._keys:
            return False
        left = self._aftermath()
        missing = self._reasons - left.repeated().keys()
        if "killed" in missing and self._all_up() and not self._awaited():
            self._kill_one(at_work=True)
        return left.counts()["failed"] >= self._failures and not missing

    def _all_up(self) -> bool:
        return {worker.pid for worker in self._workers} <= {entry.pid for entry in self._entries}

    def _awaited(self) -> bool:
        """Return whether the key of a run that was killed is still to be asked for again."""
        last = {entry.key: entry for entry in self._entries if entry.what == "began"}
        return any(last[each.key] == each for each in self._killed_in if each.key < self._keys)

    def _kill_one(self, *, at_work: bool = False) -> None:
        """Kill a worker: one whose body is running, if it has to be ``at_work``."""
        last = {entry.pid: entry.what for entry in self._entries}
        up = [place for place, worker in enumerate(self._workers) if worker.pid in last]
        running = [place for place in up if last[self._workers[place].pid] == "began"]
        places = running if at_work or self._chance.random() < 0.5 else up
        if not places:
            return
        place = self._chance.choice(places)
        victim = self._workers[place]
        assert victim.poll() is None, victim.communicate()[1].decode()
        if at_work:
            # What the journal says of it stays true while it is stopped, however slow the machine is.
            victim.send_signal(signal.SIGSTOP)
            os.waitpid(victim.pid, os.WUNTRACED)
            self._read_on()
            run = {entry.pid: entry for entry in self._entries}[victim.pid]
            if run.what != "began":
                victim.send_signal(signal.SIGCONT)
                return
            self._killed_in.append(run)
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
