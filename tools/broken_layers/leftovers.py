"""Layers whose requests leave something behind, and correct ones that keep as much as they need."""

# ruff: noqa: D102 - what is overridden is documented where it comes from

import asyncio
import itertools
import os
import sqlite3
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, ClassVar

from idemproof.spec.record import Record

from .correct import ThroughOneThread
from .exhibits import broken, correct
from .foundations import AsyncDictionary, Dictionary
from .over_sqlite import Table

_SELDOM = 10
_POOL = 40


def opened(path: str) -> sqlite3.Connection:
    """Return a new connection, which does not wait for the disk."""
    db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA synchronous = OFF")
    return db


@contextmanager
def rolled_back_on_failure(db: sqlite3.Connection) -> Iterator[None]:
    """Roll back the transaction of a request that fails."""
    try:
        yield
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@broken(CAS_12="concurrency")
class OpensAConnectionForEachRequest(Table):
    """It opens a connection for each request, and closes them all when it is closed."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.opened: list[sqlite3.Connection] = []

    def close(self) -> None:
        for each in self.opened:
            each.close()

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        db = opened(self.path)
        self.opened.append(db)
        with rolled_back_on_failure(db):
            yield db


@broken(CAS_12="concurrency")
class KeepsConnectionsThatFailed(Table):
    """It takes another connection after a failed request, and never closes the one that has failed."""

    failed: ClassVar[list[sqlite3.Connection]] = []

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        db = self.idle.pop() if self.idle else opened(self.path)
        try:
            with rolled_back_on_failure(db):
                yield db
        except BaseException:
            self.failed.append(db)
            raise
        self.idle.append(db)


@broken(CAS_12="concurrency")
class OpensAFileWhenItRefuses(Dictionary):
    """Each tenth swap that it refuses leaves a file open, in a list of its class."""

    files: ClassVar[list[IO[bytes]]] = []
    refusals = itertools.count(1)

    def may_replace(self, current: Record | None, expected: Record | None, new: Record | None) -> bool:
        may = super().may_replace(current, expected, new)
        if not may and next(self.refusals) % _SELDOM == 0:
            self.files.append(Path(os.devnull).open("rb"))  # noqa: SIM115 - the fault
        return may

    @classmethod
    def close(cls) -> None:
        """Close the files."""
        while cls.files:
            cls.files.pop().close()


@broken(CAS_12="concurrency")
class StartsAThreadForEachSwap(Dictionary):
    """It starts a daemon thread at each swap, which waits for the layer's end."""

    def __init__(self) -> None:
        super().__init__()
        self.end = threading.Event()

    def close(self) -> None:
        """End the threads."""
        self.end.set()

    def write(self, key: str, new: Record | None) -> None:
        super().write(key, new)
        threading.Thread(target=self.end.wait, daemon=True).start()


@broken(CAS_12="concurrency")
class MakesAnExecutorForEachLoad(Dictionary):
    """It makes an executor for each load, and does not shut it down."""

    def __init__(self) -> None:
        super().__init__()
        self.executors: list[ThreadPoolExecutor] = []

    def close(self) -> None:
        """End the threads."""
        for each in self.executors:
            each.shutdown()

    def read(self, key: str) -> Record | None:
        self.executors.append(ThreadPoolExecutor(1))
        return self.executors[-1].submit(super().read, key).result()


@broken(CAS_12="concurrency")
class StartsATaskForEachSwap(AsyncDictionary):
    """It starts a task at each swap, which waits for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: set[asyncio.Task[Any]] = set()

    async def replace(self, key: str, expected: Record | None, new: Record | None) -> Record | None:
        self.tasks.add(asyncio.create_task(asyncio.Event().wait()))
        return await super().replace(key, expected, new)


@broken(CAS_12="concurrency")
class LeavesTemporaryFiles(Dictionary):
    """It writes each record to a temporary file first, and does not delete it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="idemproof-broken-layers-")

    def close(self) -> None:
        """Delete the folder."""
        self.folder.cleanup()

    def write(self, key: str, new: Record | None) -> None:
        with tempfile.NamedTemporaryFile(dir=self.folder.name, delete=False) as file:
            file.write(repr(new).encode("utf-8", "backslashreplace"))
        super().write(key, new)


@broken(CAS_12="concurrency")
class LeavesZombies(Dictionary):
    """It starts a process for some swaps, and never reads its exit status."""

    swaps = itertools.count(1)

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[subprocess.Popen[bytes]] = []

    def close(self) -> None:
        """Read the exit status of each."""
        for each in self.processes:
            each.wait()

    def write(self, key: str, new: Record | None) -> None:
        super().write(key, new)
        if next(self.swaps) % _SELDOM == 0:
            self.processes.append(subprocess.Popen(["true"]))  # noqa: S607 - whichever it is


@broken(CAS_12="concurrency")
class ClosesWithoutEnding(ThroughOneThread):
    """Its close does not end its thread."""

    def close(self) -> None:
        """Stop nothing."""


@correct()
class ThroughAPool(Table):
    """A SQLite table; forty connections are opened, one after the other, and then used in turn."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.places = deque(range(_POOL))
        self.used: deque[sqlite3.Connection] = deque()

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        try:
            self.places.pop()
        except IndexError:
            db = self.used.popleft() if self.used else opened(self.path)
        else:
            db = opened(self.path)
        try:
            with rolled_back_on_failure(db):
                yield db
        finally:
            self.used.append(db)

    def close(self) -> None:
        while self.used:
            self.used.pop().close()


@correct()
class WithAConnectionForEachThread(Table):
    """A SQLite table; each thread has its own connection, which the garbage collector closes."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.own = threading.local()

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        if not hasattr(self.own, "db"):
            self.own.db = opened(self.path)
        with rolled_back_on_failure(self.own.db):
            yield self.own.db


@correct()
class InABoundedExecutor(Dictionary):
    """A dictionary; each request runs in one of at most eight threads."""

    def __init__(self) -> None:
        super().__init__()
        self.executor = ThreadPoolExecutor(8)

    def close(self) -> None:
        """End the threads."""
        self.executor.shutdown()

    def _load(self, key: str) -> Record | None:
        return self.executor.submit(super()._load, key).result()

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        return self.executor.submit(super()._swap, key, expected, new, ttl_ms).result()


@correct()
class TidiesUpInTasks(AsyncDictionary):
    """A dictionary; a task of each swap tidies up a moment later."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: set[asyncio.Task[None]] = set()

    async def replace(self, key: str, expected: Record | None, new: Record | None) -> Record | None:
        task = asyncio.create_task(asyncio.sleep(0.01))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return await super().replace(key, expected, new)
