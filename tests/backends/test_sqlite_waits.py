"""Waits for a locked or full SQLite file happen in one place, and have a bounded length."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from idemproof import (
    AsyncSQLitePersistenceLayer,
    IdempotencyConfig,
    Record,
    SQLitePersistenceLayer,
    idempotent_function,
)
from idemproof.backends import sqlite
from idemproof.backends.sqlite_file import Connection, SQLiteFile
from idemproof.errors import IdempotencyPersistenceLayerError, IdempotencyResultUnavailableError
from idemproof.spec.record import COMPLETED, INPROGRESS

TIMEOUT = 0.05


class Counting(SQLitePersistenceLayer):
    """Counts its requests, and calls a hook."""

    def __init__(self, path: Path, **settings: Any) -> None:
        super().__init__(path, **settings)
        self.asked: list[str] = []
        self.during: Callable[[], object] = lambda: None

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        self.asked.append("release" if new is None else new.status)
        self.during()
        return super()._swap(key, expected, new, ttl_ms)


@pytest.fixture
def layer(tmp_path: Path) -> Iterator[Counting]:
    layer = Counting(tmp_path / "records.db", timeout_seconds=TIMEOUT)
    layer._load("made")
    with contextlib.closing(layer):
        yield layer


@contextlib.contextmanager
def locked(layer: Any) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(
        sqlite3.connect(layer._path, isolation_level=None, check_same_thread=False)
    ) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other
        if other.in_transaction:
            other.execute("ROLLBACK")


def protect(body: Callable[..., Any], layer: Any, **settings: Any) -> Any:
    config = IdempotencyConfig(in_progress_expires_after_seconds=30, **settings)
    return idempotent_function(body, data_keyword_argument="p", persistence_store=layer, config=config)


def test_a_claim_at_a_locked_file_waits_once(layer: Counting) -> None:
    call = protect(lambda p: "done", layer)
    with locked(layer), pytest.raises(IdempotencyPersistenceLayerError, match="locked"):
        call(p=1)
    assert layer.asked == [INPROGRESS]  # SQLite has waited; and as nothing was written, nothing is released
    assert call(p=1) == "done"


@pytest.mark.clause("ENG-6")
def test_a_completion_goes_on_waiting(layer: Counting) -> None:
    with contextlib.ExitStack() as stack:
        opened: list[sqlite3.Connection] = []

        def body(p: int) -> str:
            opened.append(stack.enter_context(locked(layer)))
            return "done"

        def let_go() -> None:
            if layer.asked == [INPROGRESS, COMPLETED, COMPLETED, COMPLETED, COMPLETED]:
                opened[0].execute("ROLLBACK")

        layer.during = let_go
        call = protect(body, layer)
        assert call(p=1) == "done"
    assert call(p=1) == "done"


@pytest.mark.clause("ENG-4")
def test_a_cancelled_claim_at_a_locked_file_waits_once_more_at_most(tmp_path: Path) -> None:
    layer = AsyncSQLitePersistenceLayer(tmp_path / "records.db", timeout_seconds=TIMEOUT)
    counting = layer._layer = Counting(tmp_path / "records.db", timeout_seconds=TIMEOUT)
    counting._load("made")
    asked = threading.Event()
    counting.during = asked.set

    async def work(p: int) -> str:
        return "done"

    async def main() -> None:
        call = asyncio.create_task(protect(work, layer)(p=1))
        await asyncio.to_thread(asked.wait, 60)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await layer.close()

    with locked(counting):
        asyncio.run(main())
    assert counting.asked in ([INPROGRESS], [INPROGRESS, "release"])


def test_purging_waits_for_its_turn_and_deletes_nothing_without(layer: Counting) -> None:
    for number in range(700):
        layer._swap(str(number), None, Record(str(number), COMPLETED, 10 + number % 2), 1)
    with locked(layer), pytest.raises(sqlite3.OperationalError, match="locked"):
        layer.purge()
    assert layer._load("0") is not None
    assert layer.purge() == 700


def test_housekeeping_leaves_the_rest_while_another_writes(
    layer: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim is stored even if expired records cannot be deleted at that moment."""
    monkeypatch.setattr(sqlite, "_PURGE_EVERY", 1)
    layer._claims_until_purge = 1
    layer._swap("old", None, Record("old", COMPLETED, 10), 1)
    writing, done = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(layer):
            writing.set()
            done.wait(60)

    def held(db: Any) -> Any:
        other.start()
        writing.wait(60)
        return usual_transaction(db)

    other, usual_transaction = threading.Thread(target=hold), sqlite.write_transaction
    monkeypatch.setattr(sqlite, "write_transaction", held)
    now = 4_000_000_000
    new = Record("new", COMPLETED, now, owner="mine")
    assert layer._swap("new", None, new, 1) == new
    done.set()
    other.join()
    monkeypatch.setattr(sqlite, "write_transaction", usual_transaction)
    assert layer._load("old") is not None
    assert layer._swap("newer", None, new._replace(idempotency_key="newer"), 1) is not None
    assert layer._load("old") is None


class SmallFile(SQLiteFile):
    """A database that cannot grow beyond a number of pages, as on a full disk."""

    def _open(self) -> Connection:
        db = super()._open()
        db.execute("PRAGMA max_page_count = 40")
        return db


class Small(Counting):
    """A layer with such a file."""

    def _use_file(self) -> None:
        super()._use_file()
        self._file = SmallFile(self._path, durable=self._durable)


@pytest.mark.clause("ENG-10")
def test_a_result_without_disk_space_is_marked(tmp_path: Path) -> None:
    runs = []

    def body(p: int) -> str:
        runs.append(p)
        return "x" * 1_000_000

    with contextlib.closing(Small(tmp_path / "records.db")) as layer:
        call = protect(body, layer, completion_timeout_seconds=0)
        with pytest.raises(IdempotencyPersistenceLayerError, match=r"will not run again.*full") as caught:
            call(p=1)
        assert caught.value.result == "x" * 1_000_000
        with pytest.raises(IdempotencyResultUnavailableError):
            call(p=1)
    assert runs == [1]
