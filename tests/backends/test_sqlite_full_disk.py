"""A full disk: claims are refused, results are replayed, and results that cannot be stored are marked."""

import asyncio
import contextlib
import inspect
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from idemproof import (
    AsyncSQLitePersistenceLayer,
    IdempotencyConfig,
    SQLitePersistenceLayer,
    idempotent_function,
)
from idemproof.errors import IdempotencyPersistenceLayerError, IdempotencyResultUnavailableError

SIZE = 3 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a small disk, which needs root."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root may mount: test_sqlite_waits.py shows the same with a file that may not grow")
    command = [mount, "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@contextlib.contextmanager
def full(disk: Path) -> Iterator[None]:
    """Fill the remaining space."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    yield
    filler.unlink()


class Calls:
    """An idempotent function that returns so many characters."""

    def __init__(self, layer: Any, run: Callable[[Any], Any]) -> None:
        self.layer = layer
        self.runs: list[int] = []
        self.during: Callable[[], object] = lambda: None
        self._run = run

        def work(size: int) -> str:
            self.runs.append(size)
            self.during()
            return "x" * size

        async def async_work(size: int) -> str:
            return work(size)

        self._function = idempotent_function(
            async_work if isinstance(layer, AsyncSQLitePersistenceLayer) else work,
            data_keyword_argument="size",
            persistence_store=layer,
            config=IdempotencyConfig(in_progress_expires_after_seconds=60, completion_timeout_seconds=0.2),
        )

    def __call__(self, size: int) -> Any:
        reply = self._function(size=size)
        return self._run(reply) if inspect.isawaitable(reply) else reply


@pytest.fixture(params=[SQLitePersistenceLayer, AsyncSQLitePersistenceLayer])
def calls(disk: Path, request: pytest.FixtureRequest) -> Iterator[Calls]:
    layer = request.param(disk / "records.db")
    with asyncio.Runner() as runner:
        yield Calls(layer, runner.run)
        closing = layer.close()
        if inspect.isawaitable(closing):
            runner.run(closing)  # type: ignore[arg-type]
        with contextlib.closing(sqlite3.connect(disk / "records.db")) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.clause("ENG-10")
def test_a_result_without_space_on_the_disk_is_marked(calls: Calls) -> None:
    with pytest.raises(IdempotencyPersistenceLayerError, match=r"will not run again.*full") as caught:
        calls(SIZE * 2)
    assert caught.value.result == "x" * SIZE * 2
    with pytest.raises(IdempotencyResultUnavailableError):
        calls(SIZE * 2)
    assert calls(3) == "xxx"
    assert calls.runs == [SIZE * 2, 3]


def test_on_a_full_disk_repeats_are_answered_and_claims_refused(calls: Calls, disk: Path) -> None:
    assert calls(3) == "xxx"
    with full(disk):
        assert calls(3) == "xxx"
        refused = 0
        for size in range(10_000, 10_400):  # what SQLite has reserved may take some more
            with contextlib.suppress(IdempotencyPersistenceLayerError):
                calls(size)
                continue
            refused += 1
            assert calls.runs[-1:] != [size]
            break
        assert refused
        assert calls(3) == "xxx"
    assert calls(size) == "x" * size
    assert calls.runs.count(size) == 1
    assert calls.runs.count(3) == 1


def test_a_disk_that_is_full_for_a_moment_after_the_function_has_run(calls: Calls, disk: Path) -> None:
    assert calls(3) == "xxx"
    with contextlib.ExitStack() as stack:
        calls.during = lambda: stack.enter_context(full(disk))
        with pytest.raises(IdempotencyPersistenceLayerError, match=r"ran.*full") as caught:
            calls(300_000)
    assert caught.value.result == "x" * 300_000
    with pytest.raises(IdempotencyResultUnavailableError):
        calls(300_000)
    assert calls.runs == [3, 300_000]


def test_a_file_that_cannot_be_made_on_a_full_disk(calls: Calls, disk: Path) -> None:
    with full(disk):
        with pytest.raises(IdempotencyPersistenceLayerError):
            calls(3)
        assert calls.runs == []
    assert [calls(3), calls(3)] == ["xxx", "xxx"]
    assert calls.runs == [3]
