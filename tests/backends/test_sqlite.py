"""What is particular to the SQLite layer: its file, its locks, its connections."""

import gc
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from idemproof.backends import sqlite as module
from idemproof.backends.housekeeping import MARGIN_MS
from idemproof.spec.record import COMPLETED, INPROGRESS

from idemproof import AsyncSQLitePersistenceLayer, Record, SQLitePersistenceLayer
from idemproof.errors import IdempotencyPersistenceConfigError, IdempotencyRecordTooLargeError

Make = Callable[..., SQLitePersistenceLayer]

FAR = 32_503_680_000


def result(key: str, expiry: int = FAR) -> Record:
    return Record(key, COMPLETED, expiry, None, '"done"', "hash", None, "owner")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.db"


@pytest.fixture
def make(path: Path) -> Iterator[Make]:
    made = []

    def make(where: str | os.PathLike[str] = path, **options: Any) -> SQLitePersistenceLayer:
        made.append(SQLitePersistenceLayer(where, **options))
        return made[-1]

    yield make
    for layer in made:
        layer.close()


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


def pragma(path: Path, name: str) -> Any:
    with raw(path) as db:
        return db.execute(f"PRAGMA {name}").fetchone()[0]


def in_another_process(script: str, *args: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output_of(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out


# The file.


def test_nothing_is_created_before_the_first_use(make: Make, path: Path) -> None:
    make()
    assert not path.exists()


def test_the_first_use_creates_a_marked_file_with_a_write_ahead_log(make: Make, path: Path) -> None:
    assert make()._load("key") is None
    assert pragma(path, "application_id") == module.APPLICATION_ID
    assert pragma(path, "user_version") == module.SCHEMA_VERSION
    assert pragma(path, "journal_mode") == "wal"


@pytest.mark.parametrize(("durable", "synchronous"), [(True, 2), (False, 1)])
def test_durability_decides_whether_each_write_waits_for_the_disk(
    make: Make, durable: bool, synchronous: int
) -> None:
    with make(durable=durable)._connection() as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (synchronous,)


def test_records_survive_the_layer_that_wrote_them(make: Make) -> None:
    first = make()
    first._swap("key", None, result("key"), 1)
    first.close()
    assert make()._load("key") == result("key")


def test_an_empty_file_is_taken_into_use(make: Make, path: Path) -> None:
    path.touch()
    assert make()._swap("key", None, result("key"), 1) == result("key")


def test_another_process_sees_and_changes_the_same_records(make: Make, path: Path) -> None:
    layer = make()
    layer._swap("key", None, result("key"), 1)
    script = """
import sys
from idemproof import SQLitePersistenceLayer
layer = SQLitePersistenceLayer(sys.argv[1])
standing = layer._load("key")
print(standing.response_data)
layer._swap("key", standing, standing._replace(response_data='"changed"'), 1)
layer.close()
"""
    assert output_of(in_another_process(script, path)) == '"done"\n'
    assert layer._load("key") == result("key")._replace(response_data='"changed"')


def test_a_relative_path_stays_where_it_was(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    layer = make("records.db")
    monkeypatch.chdir(tmp_path / "there")
    layer._swap("key", None, result("key"), 1)
    assert (tmp_path / "here" / "records.db").exists()
    assert not (tmp_path / "there" / "records.db").exists()


def test_the_layer_shows_its_path(make: Make, path: Path) -> None:
    assert repr(make()) == f"SQLitePersistenceLayer({str(path)!r})"
    assert repr(AsyncSQLitePersistenceLayer(path)) == f"AsyncSQLitePersistenceLayer({str(path)!r})"


# What cannot be used.


@pytest.mark.parametrize("name", ["", ":memory:", "file:records?mode=memory"])
def test_a_path_that_names_no_file_is_refused_at_once(make: Make, name: str) -> None:
    with pytest.raises(IdempotencyPersistenceConfigError, match="path of a file") as refused:
        make(name)
    assert repr(name) in str(refused.value)


def make_directory(path: Path) -> None:
    path.mkdir()


def make_garbage(path: Path) -> None:
    path.write_bytes(b"neither this nor that\n" * 1000)


def make_foreign(path: Path) -> None:
    with raw(path) as db:
        db.execute("CREATE TABLE customers (id INTEGER)")


def make_foreign_and_marked(path: Path) -> None:
    with raw(path) as db:
        db.execute("PRAGMA application_id = 252006673")


def make_newer(path: Path) -> None:
    layer = SQLitePersistenceLayer(path)
    layer._load("key")
    layer.close()
    with raw(path) as db:
        db.execute(f"PRAGMA user_version = {module.SCHEMA_VERSION + 1}")


def make_torn(path: Path) -> None:
    layer = SQLitePersistenceLayer(path)
    layer._load("key")
    layer.close()
    path.write_bytes(path.read_bytes()[:4096])


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (make_directory, "cannot open"),
        (make_garbage, "not a SQLite database"),
        (make_foreign, "of other software"),
        (make_foreign_and_marked, "of other software"),
        (make_newer, "schema version 2, this release knows 1"),
        (make_torn, "not a SQLite database"),
    ],
)
def test_what_is_no_file_of_ours_is_refused_on_first_use_and_left_alone(
    make: Make, path: Path, prepare: Callable[[Path], None], says: str
) -> None:
    prepare(path)
    before = path.read_bytes() if path.is_file() else None
    layer = make(timeout_seconds=0)
    for _ in range(2):
        with pytest.raises(IdempotencyPersistenceConfigError, match=says) as refused:
            layer._swap("key", None, result("key"), 1)
        assert repr(str(path)) in str(refused.value)
    assert (path.read_bytes() if path.is_file() else None) == before


@pytest.mark.parametrize("between", ["missing", "a file"])
def test_a_file_in_no_directory_is_refused(make: Make, tmp_path: Path, between: str) -> None:
    (tmp_path / "a file").touch()
    where = tmp_path / between / "records.db"
    with pytest.raises(IdempotencyPersistenceConfigError, match="Is the directory there") as refused:
        make(where)._load("key")
    assert repr(str(where)) in str(refused.value)


@pytest.fixture
def readonly_directory() -> Iterator[Path]:
    """A directory in which the tests' user may not write, though it be root."""
    # Not under tmp_path, which is closed to other users.
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "empty.db").touch()
        make_newer(directory / "ours.db")
        with raw(directory / "ours.db") as db:
            db.execute(f"PRAGMA user_version = {module.SCHEMA_VERSION}")
        for file in directory.iterdir():
            file.chmod(0o444)
        directory.chmod(0o555)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        try:
            yield directory
        finally:
            if is_root:
                os.seteuid(0)
            directory.chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no POSIX permissions here")
@pytest.mark.parametrize("name", ["new.db", "empty.db", "ours.db"])
def test_a_place_that_cannot_be_written_is_refused(make: Make, readonly_directory: Path, name: str) -> None:
    where = readonly_directory / name
    with pytest.raises(IdempotencyPersistenceConfigError, match="writable") as refused:
        make(where, timeout_seconds=60)._load("key")  # at once: nothing here gets better by waiting
    assert repr(str(where)) in str(refused.value)


def test_numbers_that_sqlite_cannot_hold_are_refused_and_the_layer_goes_on(make: Make) -> None:
    layer = make()
    with pytest.raises(IdempotencyRecordTooLargeError, match="'key'"):
        layer._swap("key", None, result("key", 2**63), 1)
    assert layer._load("key") is None
    assert layer._swap("key", None, result("key"), 1) == result("key")


# Many at once.


def test_a_first_use_by_many_processes_creates_the_file_once(path: Path) -> None:
    script = """
import sys
from idemproof import Record, SQLitePersistenceLayer
layer = SQLitePersistenceLayer(sys.argv[1], timeout_seconds=30, durable=False)
sys.stdin.readline()
mine = Record("key", "COMPLETED", 10**10, owner=sys.argv[2])
print(layer._swap("key", None, mine, 1).owner)
layer.close()
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(5)
    ]
    for process in processes:  # all are up, or will read what awaits them
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert len({output_of(process) for process in processes}) == 1
    assert pragma(path, "schema_version") == 2  # one table, one index, each made once


def test_a_first_use_by_many_threads_succeeds_in_each(make: Make) -> None:
    layer = make(durable=False, timeout_seconds=30)
    begin = threading.Barrier(8)
    found: list[Record | None] = []

    def use(name: str) -> None:
        begin.wait()
        found.append(layer._swap("key", None, result("key")._replace(owner=name), 1))

    threads = [threading.Thread(target=use, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [layer._load("key")] * 8


def test_readers_and_refusals_do_not_wait_for_a_writer_but_swaps_do(make: Make, path: Path) -> None:
    layer = make(timeout_seconds=0.05)
    layer._swap("key", None, result("key"), 1)
    with raw(path) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert layer._load("key") == result("key")
        assert layer._swap("key", None, result("key"), 1) == result("key")
        for _ in range(2):
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                layer._swap("key", result("key"), None, 0)
        writer.execute("COMMIT")
    assert layer._swap("key", result("key"), None, 0) is None


def test_a_swap_gets_its_turn_when_the_writer_is_done(make: Make, path: Path) -> None:
    layer = make(timeout_seconds=30)
    layer._load("key")
    with raw(path) as writer:
        writer.execute("BEGIN IMMEDIATE")
        found: list[Record | None] = []
        thread = threading.Thread(target=lambda: found.append(layer._swap("key", None, result("key"), 1)))
        thread.start()
        writer.execute("COMMIT")
        thread.join()
    assert found == [result("key")]


# Housekeeping.


def test_writes_forget_what_is_over_by_the_writers_time_and_a_margin(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PURGE_EVERY", 4)
    layer = make(durable=False)
    now = 1_000_000 + MARGIN_MS
    layer._swap("over", None, result("over", 1_000), 1)
    layer._swap("not yet", None, result("not yet", 1_001), 1)
    leased = Record("leased", INPROGRESS, 1_000, now)
    layer._swap("leased", None, leased, 1)
    for number in range(4):
        layer._swap(str(number), None, result(str(number)), FAR * 1000 - now)
    assert layer._load("over") is None
    assert layer._load("not yet") is not None
    assert layer._load("leased") == leased


def test_purging_works_in_batches_and_spares_what_may_be_owed(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PURGE_AT_MOST", 3)
    layer = make(durable=False)
    for number in range(10):
        layer._swap(str(number), None, result(str(number), 1_000), 1)
    layer._swap("owed", None, result("owed", 1_001), 1)
    assert layer.purge(1_000_999) == 10
    assert layer._load("owed") is not None
    assert layer.purge(1_000_999) == 0


# Connections.


def test_connections_are_reused_and_few_are_kept(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make(durable=False)
    opened = 0
    really_open = layer._open

    def counting() -> sqlite3.Connection:
        nonlocal opened
        opened += 1
        return really_open()

    monkeypatch.setattr(layer, "_open", counting)
    for _ in range(20):
        layer._load("key")
    assert opened == 1
    many = [layer._connection() for _ in range(2 * module._IDLE_CONNECTIONS)]
    for connection in many:
        connection.__enter__()
    for connection in many:
        connection.__exit__(None, None, None)
    assert opened == 2 * module._IDLE_CONNECTIONS
    assert len(layer._idle[os.getpid()]) == module._IDLE_CONNECTIONS


def test_a_closed_layer_opens_again_when_used(make: Make) -> None:
    layer = make()
    layer.close()
    layer._swap("key", None, result("key"), 1)
    layer.close()
    layer.close()
    assert layer._load("key") == result("key")


def test_a_layer_that_is_no_longer_used_closes_its_connections(path: Path) -> None:
    layer = SQLitePersistenceLayer(path)
    layer._load("key")
    (db,) = layer._idle[os.getpid()]
    del layer
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        db.execute("SELECT 1")
