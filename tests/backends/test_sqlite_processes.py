"""Worker processes that share a SQLite file, and are killed at any moment, give one answer to each key."""

import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from idemproof import IdempotencyConfig, SQLitePersistenceLayer, idempotent_function
from idemproof.spec.record import COMPLETED

WORKERS = 4
KEYS = 36
KILLS = 30
SECONDS_AT_MOST = 60  # it ends with its work; this bounds it where the machine is busy
LEASE_MS = 300

WORKER = f"""
import logging, os, pathlib, random, sys, time
from idemproof import IdempotencyConfig, SQLitePersistenceLayer, idempotent_function
from idemproof.errors import IdempotencyAlreadyInProgressError, IdempotencyLeaseLostError

database, journal, stop = sys.argv[1:4]
chance = random.Random(sys.argv[4])
logging.getLogger("idemproof").addHandler(logging.NullHandler())
out = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(*words):
    os.write(out, (" ".join(map(str, (os.getpid(), *words))) + "\\n").encode())

class Observed(SQLitePersistenceLayer):
    def _swap(self, key, expected, new, keep_ms):
        self.granted = new and new.in_progress_expiry_timestamp
        return super()._swap(key, expected, new, keep_ms)

layer = Observed(database, durable=False)

@idempotent_function(
    data_keyword_argument="key",
    persistence_store=layer,
    config=IdempotencyConfig(expires_after_seconds=3600, in_progress_expires_after_seconds={LEASE_MS / 1000}),
    key_prefix="work",
)
def work(key):
    token = chance.getrandbits(64)
    note("began", key, token, layer.granted)
    # Now and then longer than the lease.
    time.sleep(chance.choice((0.02, 0.05, 0.08, 0.1, 0.4)))
    note("ran", key, token)
    return token

note("up")
while not pathlib.Path(stop).exists():
    key = chance.randrange({KEYS})
    try:
        note("answered", key, work(key=key), time.time_ns() // 1_000_000)
    except IdempotencyAlreadyInProgressError:
        note("refused", key, 0)
    except IdempotencyLeaseLostError as lost:
        note("lost", key, lost.result)
    time.sleep(0.001)
"""


class Entry(NamedTuple):
    pid: int
    what: str
    key: int
    token: int
    ms: int  # when an answer was given, or when the lease of a run ends


class Fleet:
    """The workers, their journal, and the one who kills them."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.database = directory / "records.db"
        self.chance = random.Random(seed)
        self.killed: set[int] = set()
        self._journal = directory / "journal"
        self._stop = directory / "stop"
        self._workers = [self._start() for _ in range(WORKERS)]

    def _start(self) -> "subprocess.Popen[str]":
        command = [sys.executable, "-W", "error", "-c", WORKER]
        paths = [str(path) for path in (self.database, self._journal, self._stop)]
        return subprocess.Popen(
            [*command, *paths, str(self.chance.random())], stderr=subprocess.PIPE, text=True
        )

    def entries(self) -> list[Entry]:
        lines = self._journal.read_text().splitlines() if self._journal.exists() else []
        words = [(line + " 0 0 0").split()[:5] for line in lines]
        return [Entry(int(pid), what, int(key), int(token), int(ms)) for pid, what, key, token, ms in words]

    def kill_one(self) -> bool:
        up = {entry.pid for entry in self.entries()}
        ready = [place for place, worker in enumerate(self._workers) if worker.pid in up]
        if not ready:
            return False
        place = self.chance.choice(ready)
        victim = self._workers[place]
        assert victim.poll() is None, victim.communicate()[1]
        victim.kill()
        victim.communicate()
        self.killed.add(victim.pid)
        self._workers[place] = self._start()
        return True

    def finish(self) -> list[str]:
        """Stop all and return what went wrong."""
        self._stop.touch()
        errors = []
        for worker in self._workers:
            try:
                errors.append(worker.communicate(timeout=SECONDS_AT_MOST)[1])
            except subprocess.TimeoutExpired:
                worker.kill()
                errors.append(f"{worker.pid} hangs; {worker.communicate()[1]}")
        return [error for error in errors if error]


def answers(entries: list[Entry]) -> dict[int, set[int]]:
    told: dict[int, set[int]] = defaultdict(set)
    for entry in entries:
        if entry.what == "answered":
            told[entry.key].add(entry.token)
    return told


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """Return a fleet that has done its work under fire."""
    fleet = Fleet(tmp_path_factory.mktemp("fleet"), seed=20_240_229)
    deadline = time.monotonic() + SECONDS_AT_MOST - 2
    try:
        while time.monotonic() < deadline:
            time.sleep(fleet.chance.uniform(0.02, 0.12))
            if len(fleet.killed) < KILLS:
                fleet.kill_one()
            elif len(answers(fleet.entries())) == KEYS:
                break
    finally:
        errors = fleet.finish()
    assert errors == []
    counts = Counter(entry.what for entry in fleet.entries())
    print(f"\n{len(fleet.killed)} killed; {dict(counts)}")  # noqa: T201 - what the run was worth
    return fleet


def test_everybody_is_given_the_same_answer_to_the_same_key(aftermath: Fleet) -> None:
    assert aftermath.killed
    told = answers(aftermath.entries())
    assert told
    assert {key: tokens for key, tokens in told.items() if len(tokens) != 1} == {}


def test_an_answer_is_the_result_of_a_run(aftermath: Fleet) -> None:
    entries = aftermath.entries()
    results = {(entry.key, entry.token) for entry in entries if entry.what == "ran"}
    assert {(entry.key, entry.token) for entry in entries if entry.what == "answered"} <= results


def test_a_run_whose_result_does_not_count_was_killed_or_lost_its_lease(aftermath: Fleet) -> None:
    entries = aftermath.entries()
    told = answers(entries)
    ends: dict[tuple[int, int], list[str]] = defaultdict(list)  # how each worker's runs of a key went on
    for entry in entries:
        ends[entry.pid, entry.key].append(entry.what)
    for entry in entries:
        if entry.what != "began" or entry.token in told[entry.key] or entry.pid in aftermath.killed:
            continue
        # It lived to hear that another's result counts.
        after = ends[entry.pid, entry.key][ends[entry.pid, entry.key].index("began") :]
        assert "lost" in after or "answered" in after


def test_a_key_is_claimed_again_only_when_the_lease_before_is_over(aftermath: Fleet) -> None:
    leases = defaultdict(list)
    for entry in aftermath.entries():
        if entry.what == "began":
            leases[entry.key].append(entry.ms)
    assert len(leases) > 1
    for key, ends in leases.items():
        for earlier, later in pairwise(sorted(ends)):
            assert later - LEASE_MS >= earlier, (key, ends)


def test_a_key_is_not_claimed_again_once_somebody_was_given_the_answer(aftermath: Fleet) -> None:
    answered: dict[int, int] = {}
    for entry in aftermath.entries():
        if entry.what == "answered":
            answered[entry.key] = min(entry.ms, answered.get(entry.key, entry.ms))
    for entry in aftermath.entries():
        if entry.what == "began" and entry.key in answered:
            assert entry.ms - LEASE_MS <= answered[entry.key]


def test_no_completed_record_is_lost(aftermath: Fleet) -> None:
    told = answers(aftermath.entries())
    layer = SQLitePersistenceLayer(aftermath.database)

    @idempotent_function(
        data_keyword_argument="key",
        persistence_store=layer,
        config=IdempotencyConfig(in_progress_expires_after_seconds=1),
        key_prefix="work",
    )
    def work(key: Any) -> int:
        raise AssertionError(f"{key} was to be replayed")

    try:
        assert {key: {work(key=key)} for key in told} == told
    finally:
        layer.close()


def test_the_file_is_whole_and_holds_every_answer(aftermath: Fleet) -> None:
    told = answers(aftermath.entries())
    with closing(sqlite3.connect(aftermath.database)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        stored = db.execute("SELECT data FROM records WHERE status = ?", (COMPLETED,)).fetchall()
    assert {str(token) for tokens in told.values() for token in tokens} <= {data for (data,) in stored}
