"""Faults of a SQLite file: corrupt rows, no space, a replaced file, and waits of any length."""

import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
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
from idemproof.backends import sqlite as module
from idemproof.backends import sqlite_file
from idemproof.errors import IdempotencyInvalidStatusError, IdempotencyPersistenceConfigError
from idemproof.spec.record import COMPLETED

Make = Callable[..., SQLitePersistenceLayer]

FAR = 32_503_680_000


def result(key: str, text: str = '"done"') -> Record:
    return Record(key, COMPLETED, FAR, None, text, "hash", "owner")


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


# Waits.


@pytest.mark.parametrize("seconds", [3e6, 10**12, 5])
def test_a_request_waits_for_its_turn_however_long_it_may(
    make_sqlite: Make, path: Path, seconds: float
) -> None:
    layer = make_sqlite(timeout_seconds=seconds)
    layer._load("key")
    held = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    held.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.4, held.execute, ("COMMIT",))
    release.start()
    try:
        assert layer._swap("key", None, result("key"), 1) == result("key")
    finally:
        release.join()
        held.close()


@pytest.mark.parametrize(
    "seconds",
    ["5", None, [5], True, float("nan"), float("inf"), -1, -0.001, 10**400, 5j],
    ids=lambda value: repr(value)[:20],
)
@pytest.mark.parametrize("kind", [SQLitePersistenceLayer, AsyncSQLitePersistenceLayer])
def test_what_is_no_number_of_seconds_is_refused(path: Path, kind: Any, seconds: Any) -> None:
    with pytest.raises(IdempotencyPersistenceConfigError, match="finite number of seconds") as refused:
        kind(path, timeout_seconds=seconds)
    assert repr(seconds) in str(refused.value)


# Corrupt rows.


def fill(path: Path, corrupt: int, over: int) -> None:
    with raw(path) as db:
        db.execute("BEGIN")
        db.executemany(
            "INSERT INTO records (id, status, expiration) VALUES (?, 'WEIRD', 1)",
            [(f"bad{number}",) for number in range(corrupt)],
        )
        db.executemany(
            "INSERT INTO records (id, status, expiration) VALUES (?, 'COMPLETED', 10)",
            [(f"old{number}",) for number in range(over)],
        )
        db.execute("COMMIT")


@pytest.mark.parametrize("corrupt", [1, 511, 512, 600, 1100])
def test_purging_passes_over_corrupt_rows(make_sqlite: Make, path: Path, corrupt: int) -> None:
    layer = make_sqlite(durable=False)
    layer._load("key")
    fill(path, corrupt, 2000)
    with raw(path) as db:
        db.execute("UPDATE records SET data = cast(x'ff22' AS text), expiration = 2 WHERE id = 'bad0'")
        db.execute("UPDATE records SET expiration = 1.5 WHERE id = 'bad0'")
    assert layer.purge() == 2000
    assert layer.purge() == 0
    with raw(path) as db:
        assert db.execute("SELECT count(*) FROM records WHERE status = 'WEIRD'").fetchone() == (corrupt,)


def test_housekeeping_passes_over_corrupt_rows(
    make_sqlite: Make, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PURGE_EVERY", 1)
    monkeypatch.setattr(module, "_PURGE_AT_MOST", 10)
    layer = make_sqlite(durable=False)
    layer._load("key")
    fill(path, 35, 5)
    for number in range(10):
        layer._swap(str(number), None, result(str(number)), 1)
    with raw(path) as db:
        assert db.execute("SELECT count(*) FROM records WHERE id LIKE 'old%'").fetchone() == (0,)


@pytest.mark.parametrize("column", ["status", "data", "validation", "owner"])
def test_a_text_that_is_not_utf_8_is_corrupt(make_sqlite: Make, path: Path, column: str) -> None:
    layer = make_sqlite()
    layer._swap("key", None, result("key"), 1)
    with raw(path) as db:
        db.execute(f"UPDATE records SET {column} = cast(x'ff22' AS text)")
    new = result("key")._replace(response_data="other")
    for ask in (
        lambda: layer._load("key"),
        lambda: layer._swap("key", None, new, 1),
        lambda: layer._swap("key", result("key"), new, 1),
    ):
        with pytest.raises(IdempotencyInvalidStatusError, match="'key'"):
            ask()
    assert layer._swap("other", None, result("other"), 1) == result("other")


# No room.


def test_a_result_without_space_leaves_the_claim_and_space_for_less(make_sqlite: Make, path: Path) -> None:
    layer = make_sqlite()
    assert layer._swap("key", None, result("key"), 1) == result("key")
    with layer._file.connection() as db:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages + 20}")
        for key, write in (
            ("key", lambda new: layer._replace(db, "key", result("key"), new)),
            ("new", lambda new: layer._insert(db, "new", new, 1)),
        ):
            with pytest.raises(sqlite3.OperationalError, match="full"):
                write(result(key, "x" * 8_000_000))
            assert not db.in_transaction
        small = result("key", "small")
        assert layer._replace(db, "key", result("key"), small) == small
    assert layer._load("key") == small
    assert layer._load("new") is None


def test_a_failed_purge_on_a_full_disk_does_not_fail_the_claim(
    make_sqlite: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PURGE_EVERY", 1)

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    layer = make_sqlite()
    monkeypatch.setattr(module, "_purge", full)
    assert layer._swap("key", None, result("key"), 1) == result("key")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        layer.purge()


def test_the_log_is_cut_off_when_it_has_grown(
    make_sqlite: Make, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "LARGEST_LOG", 1_000_000)
    layer = make_sqlite(durable=False)
    log = Path(f"{path}-wal")
    layer._load("key")
    with raw(path) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM records").fetchall()  # as long as it reads, the log can only grow
        for number in range(40):
            layer._swap(f"a{number}", None, result(f"a{number}", "x" * 100_000), 1)
        assert log.stat().st_size > 3_000_000
    for number in range(40):
        layer._swap(f"b{number}", None, result(f"b{number}", "x" * 100_000), 1)
    assert log.stat().st_size < 1_200_000
    assert all(layer._load(f"{letter}{number}") for letter in "ab" for number in range(40))


# Another file in its place.


def delete(path: Path) -> None:
    for end in ("", "-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)


def replace(path: Path) -> None:
    other = path.with_name("other.db")
    with closing(SQLitePersistenceLayer(other)) as layer:
        layer._load("key")
    delete(path)
    other.rename(path)


def empty(path: Path) -> None:
    delete(path)
    path.touch()


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
@pytest.mark.parametrize("happens", [delete, replace, empty])
def test_a_file_that_is_no_longer_the_same_is_refused(
    make_sqlite: Make, path: Path, happens: Callable[[Path], None], closed: bool
) -> None:
    layer = make_sqlite()
    layer._swap("key", None, result("key"), 1)
    if closed:
        layer.close()
    happens(path)
    for _ in range(2):
        for ask in (
            lambda: layer._load("key"),
            lambda: layer._swap("7", None, result("7"), 1),
            lambda: layer._swap("key", result("key"), None, 0),
            layer.purge,
        ):
            with pytest.raises(IdempotencyPersistenceConfigError, match="deleted or replaced"):
                ask()
    assert make_sqlite()._swap("7", None, result("7"), 1) == result("7")


def test_a_file_that_is_put_back_is_used_again(make_sqlite: Make, path: Path) -> None:
    layer = make_sqlite()
    layer._swap("key", None, result("key"), 1)
    moved = path.with_name("moved.db")
    path.rename(moved)
    with pytest.raises(IdempotencyPersistenceConfigError, match="deleted or replaced"):
        layer._load("key")
    moved.rename(path)
    assert layer._load("key") == result("key")


@pytest.mark.parametrize(
    ("key", "expected", "new"),
    [("7", None, result("7")), ("key", result("key"), result("key", "new")), ("key", result("key"), None)],
    ids=["insert", "replace", "delete"],
)
def test_a_log_that_was_deleted_is_noticed_by_the_next_write(
    make_sqlite: Make, path: Path, key: str, expected: Record | None, new: Record | None
) -> None:
    layer = make_sqlite()
    layer._swap("key", None, result("key"), 1)
    Path(f"{path}-wal").unlink()
    with pytest.raises(IdempotencyPersistenceConfigError, match="write-ahead log"):
        layer._swap(key, expected, new, 1)


def test_a_path_by_links_is_the_file_that_it_leads_to(make_sqlite: Make, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    real = tmp_path / "there" / "real.db"
    link = tmp_path / "link.db"
    link.symlink_to(real)
    layer = make_sqlite(link)
    layer._load("key")
    layer._swap("key", None, result("key"), 1)
    assert make_sqlite(real)._load("key") == result("key")


@pytest.mark.parametrize("mask", [0o000, 0o022])
def test_a_new_file_is_its_owners_alone(make_sqlite: Make, path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        make_sqlite()._swap("key", None, result("key"), 1)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(Path(f"{path}{end}").stat().st_mode) for end in ("", "-wal", "-shm")} == {0o600}


def test_the_permissions_of_a_file_that_is_there_stay(make_sqlite: Make, path: Path) -> None:
    path.touch(0o640)
    path.chmod(0o640)
    make_sqlite()._swap("key", None, result("key"), 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.clause("ENG-12", "ENG-15")
def test_a_time_limit_that_is_an_os_error_is_no_missing_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Limit(TimeoutError):  # noqa: N818 - as those of job queues
        pass

    stat = Path.stat
    runs: list[int] = []

    def late(path: Path, **options: Any) -> Any:
        monkeypatch.setattr(Path, "stat", stat)
        raise Limit

    def body(p: int) -> int:
        runs.append(p)
        if len(runs) == 1:
            monkeypatch.setattr(Path, "stat", late)
        return p

    work = idempotent_function(
        body,
        data_keyword_argument="p",
        persistence_store=SQLitePersistenceLayer(tmp_path / "records.db"),
        config=IdempotencyConfig(in_progress_expires_after_seconds=30, interrupts=(Limit,)),
    )
    with pytest.raises(Limit):
        work(p=1)
    assert [work(p=1), runs] == [1, [1]]
