"""Behavior that only the SQLite layer has: its file, its locks, its connections."""

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from idemproof import AsyncSQLitePersistenceLayer, Record, SQLitePersistenceLayer
from idemproof.backends import sqlite as module
from idemproof.backends import sqlite_file
from idemproof.backends.housekeeping import MARGIN_MS
from idemproof.errors import IdempotencyPersistenceConfigError, IdempotencyRecordTooLargeError
from idemproof.spec.record import COMPLETED, INPROGRESS

Make = Callable[..., SQLitePersistenceLayer]

FAR = 32_503_680_000


def result(key: str, expiry: int = FAR) -> Record:
    return Record(key, COMPLETED, expiry, None, '"done"', "hash", "owner")


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


def test_nothing_is_created_before_the_first_use(make_sqlite: Make, path: Path) -> None:
    make_sqlite()
    assert not path.exists()


def test_the_first_use_creates_a_marked_file_with_a_write_ahead_log(make_sqlite: Make, path: Path) -> None:
    assert make_sqlite()._load("key") is None
    assert pragma(path, "application_id") == sqlite_file.APPLICATION_ID
    assert pragma(path, "user_version") == sqlite_file.SCHEMA_VERSION
    assert pragma(path, "journal_mode") == "wal"


@pytest.mark.parametrize(("durable", "synchronous"), [(True, 2), (False, 1)])
def test_durability_decides_whether_each_write_waits_for_the_disk(
    make_sqlite: Make, durable: bool, synchronous: int
) -> None:
    with make_sqlite(durable=durable)._file.connection() as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (synchronous,)


def test_records_survive_the_layer_that_wrote_them(make_sqlite: Make) -> None:
    first = make_sqlite()
    first._swap("key", None, result("key"), 1)
    first.close()
    assert make_sqlite()._load("key") == result("key")


def test_an_empty_file_is_taken_into_use(make_sqlite: Make, path: Path) -> None:
    path.touch()
    assert make_sqlite()._swap("key", None, result("key"), 1) == result("key")


def test_another_process_sees_and_changes_the_same_records(make_sqlite: Make, path: Path) -> None:
    layer = make_sqlite()
    layer._swap("key", None, result("key"), 1)
    script = """
import sys
from idemproof import SQLitePersistenceLayer
layer = SQLitePersistenceLayer(sys.argv[1])
current = layer._load("key")
print(current.response_data)
layer._swap("key", current, current._replace(response_data='"changed"'), 1)
layer.close()
"""
    assert output_of(in_another_process(script, path)) == '"done"\n'
    assert layer._load("key") == result("key")._replace(response_data='"changed"')


def test_a_relative_path_stays_where_it_was(
    make_sqlite: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    layer = make_sqlite("records.db")
    monkeypatch.chdir(tmp_path / "there")
    layer._swap("key", None, result("key"), 1)
    assert (tmp_path / "here" / "records.db").exists()
    assert not (tmp_path / "there" / "records.db").exists()


def test_the_layer_shows_its_path(make_sqlite: Make, path: Path) -> None:
    assert repr(make_sqlite()) == f"SQLitePersistenceLayer({str(path)!r})"
    assert repr(AsyncSQLitePersistenceLayer(path)) == f"AsyncSQLitePersistenceLayer({str(path)!r})"


# What cannot be used.


@pytest.mark.parametrize("name", ["", ":memory:", "file:records?mode=memory"])
def test_a_path_that_names_no_file_is_refused_at_once(make_sqlite: Make, name: str) -> None:
    with pytest.raises(IdempotencyPersistenceConfigError, match="path of a file") as refused:
        make_sqlite(name)
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
        db.execute(f"PRAGMA user_version = {sqlite_file.SCHEMA_VERSION + 1}")


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
        (make_newer, "schema version 2, but this release supports 1"),
        (make_torn, "not a SQLite database"),
    ],
)
def test_what_is_no_file_of_ours_is_refused_on_first_use_and_left_alone(
    make_sqlite: Make, path: Path, prepare: Callable[[Path], None], says: str
) -> None:
    prepare(path)
    before = path.read_bytes() if path.is_file() else None
    layer = make_sqlite(timeout_seconds=0)
    for _ in range(2):
        with pytest.raises(IdempotencyPersistenceConfigError, match=says) as refused:
            layer._swap("key", None, result("key"), 1)
        assert repr(str(path)) in str(refused.value)
    assert (path.read_bytes() if path.is_file() else None) == before


@pytest.mark.parametrize("between", ["missing", "a file"])
def test_a_file_in_no_directory_is_refused(make_sqlite: Make, tmp_path: Path, between: str) -> None:
    (tmp_path / "a file").touch()
    where = tmp_path / between / "records.db"
    with pytest.raises(IdempotencyPersistenceConfigError, match="Check that the directory exists") as refused:
        make_sqlite(where)._load("key")
    assert repr(str(where)) in str(refused.value)


@pytest.fixture
def readonly_directory() -> Iterator[Path]:
    """A directory in which not even root can write."""
    # Not under tmp_path, which is closed to other users.
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        (directory / "empty.db").touch()
        for name, journal in (("ours.db", "WAL"), ("without a log.db", "DELETE")):
            make_newer(directory / name)
            with raw(directory / name) as db:
                db.execute(f"PRAGMA user_version = {sqlite_file.SCHEMA_VERSION}")
                db.execute(f"PRAGMA journal_mode = {journal}")
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
@pytest.mark.parametrize("name", ["new.db", "empty.db", "ours.db", "without a log.db"])
def test_a_place_that_cannot_be_written_is_refused(
    make_sqlite: Make, readonly_directory: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing here gets better by waiting.
    monkeypatch.setattr(module.time, "sleep", lambda _: pytest.fail("it waits"))
    where = readonly_directory / name
    with pytest.raises(IdempotencyPersistenceConfigError, match="writable") as refused:
        make_sqlite(where)._load("key")
    assert repr(str(where)) in str(refused.value)


def test_numbers_that_sqlite_cannot_hold_are_refused_and_the_layer_goes_on(make_sqlite: Make) -> None:
    layer = make_sqlite()
    with pytest.raises(IdempotencyRecordTooLargeError, match="'key'"):
        layer._swap("key", None, result("key", 2**63), 1)
    assert layer._load("key") is None
    assert layer._swap("key", None, result("key"), 1) == result("key")


# Housekeeping.


def test_writes_forget_what_is_over_by_the_writers_time_and_a_margin(
    make_sqlite: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PURGE_EVERY", 4)
    layer = make_sqlite(durable=False)
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
    make_sqlite: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PURGE_AT_MOST", 3)
    layer = make_sqlite(durable=False)
    for number in range(10):
        layer._swap(str(number), None, result(str(number), 1_000), 1)
    layer._swap("owed", None, result("owed", 1_001), 1)
    assert layer.purge(1_000_999) == 10
    assert layer._load("owed") is not None
    assert layer.purge(1_000_999) == 0


def test_housekeeping_spares_a_corrupt_record_and_goes_on(make_sqlite: Make, path: Path) -> None:
    layer = make_sqlite()
    layer._swap("over", None, result("over", 1_000), 1)
    layer.close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO records VALUES ('corrupt', 'INPROGRESS', 1, 'soon', NULL, NULL, NULL)")
    assert layer.purge(2_000_000) == 1
    assert layer._load("over") is None
    assert layer._load("corrupt") is not None


@pytest.mark.parametrize("timeout_seconds", [-1, float("nan")])
def test_a_timeout_that_is_none_is_refused(path: Path, timeout_seconds: float) -> None:
    with pytest.raises(IdempotencyPersistenceConfigError, match="timeout_seconds"):
        SQLitePersistenceLayer(path, timeout_seconds=timeout_seconds)


def test_a_path_may_be_bytes_but_not_hold_nul(make_sqlite: Make, path: Path) -> None:
    with closing(SQLitePersistenceLayer(os.fsencode(path))) as layer:  # type: ignore[arg-type]
        assert layer._load("key") is None
    with pytest.raises(IdempotencyPersistenceConfigError, match="NUL"):
        SQLitePersistenceLayer("a\0b")
