"""Forks of every kind, copies and pickles of a SQLite layer: nothing runs twice, and nothing is lost."""

import copy
import os
import pickle
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from forks import FORKING
from idemproof import AsyncSQLitePersistenceLayer, Record, SQLitePersistenceLayer
from idemproof.backends import sqlite_file

Make = Callable[..., SQLitePersistenceLayer]

SCRIPT = f"""{FORKING}
import copy, ctypes, pickle, sqlite3, sys, threading, time
from idemproof import Record, SQLitePersistenceLayer
from idemproof.backends import sqlite_file
from idemproof.errors import IdempotencyPersistenceConfigError

path = sys.argv[1]
layer = SQLitePersistenceLayer(path, durable=False, timeout_seconds=60)

def claim(key, owner=None, layer=layer):
    record = Record(key, "COMPLETED", 10**10, owner=owner or key)
    return layer._swap(key, None, record, 1) == record

def by_c():
    return ctypes.CDLL(None).fork()

def refused():
    for _ in range(2):
        try:
            claim("of the child")
        except IdempotencyPersistenceConfigError as error:
            assert "forked" in str(error)
        else:
            raise AssertionError
"""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def run(script: str, path: Path, *args: object) -> str:
    command = [sys.executable, "-W", "error", "-c", SCRIPT + script, *map(str, (path, *args))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return done.stdout


def test_a_fork_does_not_wait_for_a_lock_that_a_thread_waits_for(path: Path) -> None:
    script = """
claim("first")
sqlite_file._gate._wait_seconds = 0.5  # long enough for each single try, and not for the lock
holder, unlock = os.pipe()
other = os.fork()
if other == 0:
    os.close(unlock)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    os.write(1, b"locked\\n")
    os.read(holder, 1)
    time.sleep(0.3)
    db.execute("COMMIT")
    os._exit(0)
os.close(holder)
while True:  # until the other process has the lock
    db = sqlite3.connect(path, isolation_level=None, timeout=0)
    try:
        db.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        break
    finally:
        db.close()
    time.sleep(0.01)
results = []
thread = threading.Thread(target=lambda: results.append(claim("of the thread")))
thread.start()
time.sleep(0.2)
parent_closed, tell = os.pipe()
def in_child():
    os.close(unlock)
    os.close(tell)
    assert claim("of the child")
    os.read(parent_closed, 1)
    assert claim("of the child again")
    fresh = SQLitePersistenceLayer(path)
    assert fresh._load("of the child again") is not None
child = fork(in_child)
os.close(parent_closed)
os.close(unlock)
thread.join()
layer.close()
os.close(tell)
join(child)
join(other)
assert results == [True]
"""
    run(script, path)
    with closing(SQLitePersistenceLayer(path)) as layer:
        for key in ("first", "of the thread", "of the child", "of the child again"):
            assert layer._load(key) is not None


def test_a_child_that_was_forked_inside_a_request_is_refused(path: Path) -> None:
    script = """
claim("before")
with layer._file.connection():
    child = fork(refused)
join(child)
assert claim("after")
join(fork(lambda: claim("of a later child")))
layer.close()
"""
    run(script, path)


@pytest.mark.parametrize("used", ["idle", "inside"])
def test_a_fork_without_pythons_knowledge_is_noticed(path: Path, used: str) -> None:
    script = """
claim("before")
if sys.argv[2] == "inside":
    with layer._file.connection():
        child = fork(refused, by_c)
else:
    child = fork(refused, by_c)
join(child)
assert claim("after")
def in_child():
    assert claim("of a child after close")
    layer.close()
layer.close()
join(fork(in_child, by_c))
assert layer._load("of a child after close") is not None
layer.close()
"""
    run(script, path, used)


def test_a_child_of_such_a_fork_may_use_another_file(path: Path) -> None:
    script = """
claim("before")
def in_child():
    assert claim("elsewhere", layer=SQLitePersistenceLayer(path + "-other"))
join(fork(in_child, by_c))
layer.close()
"""
    run(script, path)


COPIES = {
    "itself": "layer",
    "copy": "copy.copy(layer)",
    "deepcopy": "copy.deepcopy(layer)",
    "pickle": "pickle.loads(pickle.dumps(layer))",
}


@pytest.mark.parametrize("used", [True, False], ids=["used", "unused"])
@pytest.mark.parametrize("how", COPIES)
def test_operations_run_once_whatever_was_copied_and_forked(path: Path, how: str, used: bool) -> None:
    script = f"""
if sys.argv[2] == "True":
    claim("used")
layer, original = {COPIES[how]}, layer
del original
claim.__defaults__ = (None, layer)
go, tell = os.pipe()
busy = threading.Thread(target=lambda: [claim(f"busy {{number}}") for number in range(200)])
busy.start()
def work(number):
    os.close(tell)
    os.read(go, 1)
    won = sum(claim(f"key {{key}}", str(number)) for key in range(400))
    os.write(1, f"{{won}}\\n".encode())
children = [fork(lambda number=number: work(number)) for number in range(3)]
layer.close()
os.close(tell)
won = sum(claim(f"key {{key}}", "parent") for key in range(400))
os.write(1, f"{{won}}\\n".encode())
busy.join()
layer.close()
for child in children:
    join(child)
"""
    assert sum(map(int, run(script, path, used).split())) == 400
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM records WHERE id LIKE 'key %'").fetchone() == (400,)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_every_start_method_share_the_records(path: Path, tmp_path: Path, method: str) -> None:
    (tmp_path / "work.py").write_text("""
import multiprocessing, sys, warnings
from idemproof import Record, SQLitePersistenceLayer

def work(layer, owner):
    records = [Record(str(key), "COMPLETED", 10**10, owner=owner) for key in range(50)]
    return sum(layer._swap(each.idempotency_key, None, each, 1) == each for each in records)

if __name__ == "__main__":
    layer = SQLitePersistenceLayer(sys.argv[1], durable=False, timeout_seconds=60)
    assert layer._load("key") is None
    context = multiprocessing.get_context(sys.argv[2])
    with context.Pool(2) as pool:
        print(sum(pool.starmap(work, [(layer, str(number)) for number in range(4)])))
    layer.close()
""")
    command = [sys.executable, str(tmp_path / "work.py"), str(path), method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "50\n", "")


# Copies in one process.


@pytest.mark.parametrize("kind", [SQLitePersistenceLayer, AsyncSQLitePersistenceLayer])
@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))]
)
def test_a_copy_has_the_same_settings_and_connections_of_its_own(
    path: Path, kind: type, copied: Callable[[object], object]
) -> None:
    def blocking(layer: object) -> SQLitePersistenceLayer:
        return layer._layer if isinstance(layer, AsyncSQLitePersistenceLayer) else layer  # type: ignore[return-value]

    layer = kind(path, timeout_seconds=7, durable=False)
    record = Record("key", "COMPLETED", 10**10, owner="mine")
    blocking(layer)._swap("key", None, record, 1)
    twin = copied(layer)
    assert repr(twin) == repr(layer)
    if copied is not copy.copy or kind is SQLitePersistenceLayer:
        assert blocking(twin)._file is not blocking(layer)._file
    assert blocking(twin)._file in sqlite_file._files
    assert blocking(twin)._timeout == 7
    assert blocking(twin)._load("key") == record
    for each in (layer, twin):
        blocking(each).close()
