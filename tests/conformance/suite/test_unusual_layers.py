"""Correct layers with an unusual design have no findings."""

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from idemproof import AsyncCompareAndSwapLayer, CompareAndSwapLayer, Record
from idemproof.conformance import Capabilities, check
from idemproof.spec.record import same_version

pytestmark = pytest.mark.once


@dataclass(frozen=True)
class Frozen(CompareAndSwapLayer):
    """Does not allow attributes to be set."""

    rows: dict[str, Record] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.Lock)

    def _load(self, key: str) -> Record | None:
        return self.rows.get(key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        with self.lock:
            if same_version(self.rows.get(key), expected):
                if new is None:
                    self.rows.pop(key, None)
                else:
                    self.rows[key] = new
            return self.rows.get(key)


class Futures(AsyncCompareAndSwapLayer):
    """Its methods are not coroutine functions, but return awaitables."""

    def __init__(self) -> None:
        self.rows: dict[str, Record] = {}

    def _load(self, key: str) -> Awaitable[Record | None]:
        return asyncio.shield(self._later(lambda: self.rows.get(key)))

    def _swap(
        self, key: str, expected: Record | None, new: Record | None, ttl_ms: int
    ) -> Awaitable[Record | None]:
        def swap() -> Record | None:
            if same_version(self.rows.get(key), expected):
                self.rows.pop(key, None)
                if new is not None:
                    self.rows[key] = new
            return self.rows.get(key)

        return asyncio.shield(self._later(swap))

    async def _later(self, work: Callable[[], Record | None]) -> Record | None:
        return work()


class InItsConnection(CompareAndSwapLayer):
    """Uses a connection as a context manager, in which SQLite commits, or rolls back."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.Lock()
        self.connection = sqlite3.connect(path, check_same_thread=False)
        self.connection.execute("PRAGMA synchronous = OFF")
        with self.connection:
            self.connection.execute("CREATE TABLE IF NOT EXISTS records (key TEXT PRIMARY KEY, record TEXT)")

    def close(self) -> None:
        self.connection.close()

    def _load(self, key: str) -> Record | None:
        with self.lock, self.connection:
            return self._standing(key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        with self.lock, self.connection:
            self.connection.execute("BEGIN IMMEDIATE")
            current = self._standing(key)
            if not same_version(current, expected):
                return current
            self.connection.execute("DELETE FROM records WHERE key = ?", (key,))
            if new is not None:
                self.connection.execute("INSERT INTO records VALUES (?, ?)", (key, repr(tuple(new))))
            return new

    def _standing(self, key: str) -> Record | None:
        row = self.connection.execute("SELECT record FROM records WHERE key = ?", (key,)).fetchone()
        return None if row is None else Record(*eval(row[0]))


class BoundToItsThread(InItsConnection):
    """Its connection belongs to the thread that made it, which is the default of sqlite3."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.connection.close()
        self.connection = sqlite3.connect(path)
        self.connection.execute("PRAGMA synchronous = OFF")


def test_the_races_of_a_layer_that_is_bound_to_its_thread_are_not_reported_as_kept(tmp_path: Path) -> None:
    factory = partial(BoundToItsThread, tmp_path / "records.db")
    report = check(factory, profile="quick", tiers=["exclusion"], seed=1)
    assert report.tiers == {"exclusion": "broken"}
    assert all("can only be used in that same thread" in each.why for each in report.findings)


def test_a_layer_that_does_not_claim_threads_is_not_raced(tmp_path: Path) -> None:
    factory = partial(BoundToItsThread, tmp_path / "records.db")
    report = check(factory, profile="quick", capabilities=Capabilities(threads=False), seed=1)
    assert [(each.check, each.why) for each in report.findings] == []
    assert report.tiers["exclusion"] == "not offered"


@pytest.mark.parametrize("kind", [Frozen, Futures, InItsConnection])
def test_an_unusual_layer_has_no_findings(kind: Callable[..., Any], tmp_path: Path) -> None:
    factory = partial(kind, tmp_path / "records.db") if kind is InItsConnection else kind
    report = check(factory, profile="quick", seed=1)
    assert [(each.check, each.why) for each in report.findings] == []
    assert [(each.name, each.why_not) for each in report.checks if each.verdict == "not judged"] == []
    assert report.keeps("contract", "time", "exclusion", "fencing", "faults", "concurrency")
