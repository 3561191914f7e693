"""Many threads and processes on one SQLite file, forks included."""

import gc
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from forks import FORKING
from idemproof import Record, SQLitePersistenceLayer
from idemproof.backends import sqlite_file
from idemproof.spec.record import COMPLETED

Make = Callable[..., SQLitePersistenceLayer]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def result(key: str) -> Record:
    return Record(key, COMPLETED, 32_503_680_000, None, '"done"', "hash", "owner")


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


def script_of(text: str, *args: object) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    command = [sys.executable, "-W", "error", "-c", text, *map(str, args)]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def output_of(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out


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
    processes = [script_of(script, path, number) for number in range(5)]
    for process in processes:  # all are up, or will read what awaits them
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert len({output_of(process) for process in processes}) == 1
    with raw(path) as db:
        made = db.execute("PRAGMA schema_version").fetchone()
    assert made == (2,)  # one table, one index, each made once


def test_a_file_that_another_creates_in_the_same_moment_is_used(
    make_sqlite: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = sqlite_file.write_transaction

    def overtaken(db: sqlite3.Connection) -> AbstractContextManager[None]:
        monkeypatch.setattr(sqlite_file, "write_transaction", lock)
        make_sqlite()._swap("key", None, result("key"), 1)
        return lock(db)

    monkeypatch.setattr(sqlite_file, "write_transaction", overtaken)
    assert make_sqlite()._load("key") == result("key")


def test_a_first_use_by_many_threads_succeeds_in_each(make_sqlite: Make) -> None:
    layer = make_sqlite(durable=False, timeout_seconds=30)
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


def test_readers_and_refusals_do_not_wait_for_a_writer_but_swaps_do(make_sqlite: Make, path: Path) -> None:
    layer = make_sqlite(timeout_seconds=0.05)
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


def test_a_swap_gets_its_turn_when_the_writer_is_done(make_sqlite: Make, path: Path) -> None:
    layer = make_sqlite(timeout_seconds=30)
    layer._load("key")
    with raw(path) as writer:
        writer.execute("BEGIN IMMEDIATE")
        found: list[Record | None] = []
        thread = threading.Thread(target=lambda: found.append(layer._swap("key", None, result("key"), 1)))
        thread.start()
        writer.execute("COMMIT")
        thread.join()
    assert found == [result("key")]


# Connections.


def test_connections_are_reused_and_few_are_kept(make_sqlite: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make_sqlite(durable=False)
    opened = 0
    really_open = layer._file._open

    def counting() -> sqlite3.Connection:
        nonlocal opened
        opened += 1
        return really_open()

    monkeypatch.setattr(layer._file, "_open", counting)
    for _ in range(20):
        layer._load("key")
    assert opened == 1
    many = [layer._file.connection() for _ in range(2 * sqlite_file._IDLE_CONNECTIONS)]
    for connection in many:
        connection.__enter__()
    for connection in many:
        connection.__exit__(None, None, None)
    assert opened == 2 * sqlite_file._IDLE_CONNECTIONS
    assert len(layer._file._idle[os.getpid()]) == sqlite_file._IDLE_CONNECTIONS


def test_a_closed_layer_opens_again_when_used(make_sqlite: Make) -> None:
    layer = make_sqlite()
    layer.close()
    layer._swap("key", None, result("key"), 1)
    layer.close()
    layer.close()
    assert layer._load("key") == result("key")


def test_a_layer_that_is_no_longer_used_closes_its_connections(path: Path) -> None:
    layer = SQLitePersistenceLayer(path)
    layer._load("key")
    (db,) = layer._file._idle[os.getpid()]
    del layer
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        db.execute("SELECT 1")


# Forks.

FORK = f"""{FORKING}
import sys, threading
from idemproof import Record, SQLitePersistenceLayer
from idemproof.backends import sqlite_file

layer = SQLitePersistenceLayer(sys.argv[1], durable=False)

def store(key):
    record = Record(key, "COMPLETED", 10**10, owner=key)
    assert layer._swap(key, None, record, 1) == record
"""


@needs_fork
def test_both_sides_of_a_fork_go_on_with_the_layer(path: Path) -> None:
    script = """
store("before")
def in_child():
    assert layer._load("before")
    store("of the child")
    join(fork(lambda: store("of the grandchild")))
join(fork(in_child))
store("after")
assert all(layer._load(key) for key in ("before", "of the child", "of the grandchild", "after"))
layer.close()
"""
    output_of(script_of(FORK + script, path))


@needs_fork
@pytest.mark.parametrize("parent", ["layer.close()", "del layer", "os._exit(0)"])
def test_what_a_child_stores_after_its_parent_is_done_is_not_lost(path: Path, parent: str) -> None:
    # The last to close a file deletes its log. A child that shares its parent's idea of the locks,
    # without having them, would be taken for gone, and go on writing to the deleted log.
    script = f"""
parent_is_done, tell = os.pipe()
store("of the parent")
def in_child():
    os.close(tell)
    assert layer._load("of the parent")
    os.read(parent_is_done, 1)
    store("of the child")
    print("stored", flush=True)
    sys.stdin.readline()
child = fork(in_child)
os.close(parent_is_done)
{parent}
os.close(tell)
join(child)
"""
    process = script_of(FORK + script, path)
    assert process.stdout is not None
    assert process.stdout.readline() == "stored\n"
    other = SQLitePersistenceLayer(path)  # while the child still has the file open
    try:
        assert other._load("of the child") is not None
    finally:
        other.close()
        output_of(process)


@needs_fork
def test_a_fork_in_the_midst_of_other_threads_requests_gives_a_child_that_works(path: Path) -> None:
    script = """
done = threading.Event()
def work(name):
    number = 0
    while not done.is_set():
        store(f"{name}-{number}")
        number += 1
threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
for thread in threads:
    thread.start()
try:
    for number in range(30):
        join(fork(lambda: store(f"child {number}")))
finally:
    done.set()
    for thread in threads:
        thread.join()
assert all(layer._load(f"child {number}") for number in range(30))
layer.close()
"""
    output_of(script_of(FORK + script, path))
    with raw(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@needs_fork
def test_a_fork_from_inside_a_request_waits_a_bounded_time(path: Path) -> None:
    script = """
sqlite_file._gate._wait_seconds = 0.01
with layer._file.connection():
    child = fork(lambda: None)
join(child)
store("after")
layer.close()
"""
    output_of(script_of(FORK + script, path))
