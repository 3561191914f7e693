"""A SQLite layer in a file of an application changes nothing but its own table."""

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from idemproof import IdempotencyConfig, Record, SQLitePersistenceLayer, idempotent_function
from idemproof.backends import sqlite_file
from idemproof.errors import (
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceLayerError,
)
from idemproof.spec.record import COMPLETED, INPROGRESS

RESULT = Record("key", COMPLETED, 32_503_680_000, None, '"done"', "hash", "owner")
CLAIM = Record("key", INPROGRESS, 32_503_680_000, 1, None, "hash", "owner")
TRICKY = [
    'of "ours"',
    "drop table orders; --",
    "select",
    "Ünïcode",
    "a.b",
    "records",
    "'",
    "per%cent",
    "x" * 200,
]

Make = Callable[..., SQLitePersistenceLayer]


@pytest.fixture
def database(path: Path) -> Iterator[sqlite3.Connection]:
    """Return the application's own connection to its file, which has a table."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, amount INTEGER)")
        yield connection


def pragma(database: sqlite3.Connection, name: str) -> Any:
    return database.execute(f"PRAGMA {name}").fetchone()[0]


def layer_at(make_sqlite: Make, table: str = "idempotency", **options: Any) -> SQLitePersistenceLayer:
    return make_sqlite(table=table, **options)


@pytest.mark.parametrize("mode", ["delete", "truncate", "persist", "wal"])
def test_what_is_the_applications_stays_as_it_is(
    mode: str, database: sqlite3.Connection, path: Path, make_sqlite: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "LARGEST_LOG", 0)  # every log has grown
    database.execute(f"PRAGMA journal_mode = {mode}")
    database.execute("PRAGMA user_version = 7")
    database.execute("PRAGMA application_id = 99")
    path.chmod(0o664)
    layer = layer_at(make_sqlite)
    assert layer._swap("key", None, CLAIM, 1) is CLAIM
    log = path.with_name(f"{path.name}-wal")
    size = log.stat().st_size if mode == "wal" else None
    assert layer._swap("key", CLAIM, RESULT, 1) is RESULT
    assert layer._load("key") == RESULT
    assert (size is None) or log.stat().st_size > size > 0  # it was not truncated
    layer.close()
    assert pragma(database, "journal_mode") == mode
    assert (pragma(database, "user_version"), pragma(database, "application_id")) == (7, 99)
    assert stat.S_IMODE(path.stat().st_mode) == 0o664
    names = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE sql IS NOT NULL")}
    assert names == {"orders", "idempotency", "idempotency_by_expiration"}


def test_a_file_that_it_creates_has_the_usual_permissions(path: Path, make_sqlite: Make) -> None:
    umask = os.umask(0o022)
    try:
        layer_at(make_sqlite)._load("key")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("name", TRICKY)
def test_a_name_is_quoted(name: str, database: sqlite3.Connection, make_sqlite: Make) -> None:
    layer = layer_at(make_sqlite, name)
    assert layer._swap("key", None, RESULT, 1) is RESULT
    assert layer._load("key") == RESULT
    assert layer.purge(RESULT.expiry_timestamp * 1000) == 1
    assert layer._load("key") is None
    assert database.execute("SELECT count(*) FROM orders").fetchone() == (0,)


@pytest.mark.parametrize("name", ["", "a\0b", "sqlite_x", "SQLITE_y", "\ud800", 7])
def test_a_name_that_sqlite_does_not_allow_is_refused(name: Any, path: Path) -> None:
    with pytest.raises(IdempotencyPersistenceConfigError, match="table"):
        SQLitePersistenceLayer(path, table=name)
    assert not path.exists()


def test_layers_with_different_tables_are_independent(
    make_sqlite: Make, database: sqlite3.Connection
) -> None:
    one, other = layer_at(make_sqlite, "one"), layer_at(make_sqlite, "other")
    assert one._swap("key", None, CLAIM, 1) is CLAIM
    assert other._load("key") is None
    assert other._swap("key", None, RESULT, 1) is RESULT
    assert one._swap("key", CLAIM, None, 0) is None
    assert other._load("key") == RESULT


def test_the_table_of_an_own_file_can_be_named(make_sqlite: Make) -> None:
    own = make_sqlite()
    assert own._swap("key", None, RESULT, 1) is RESULT
    assert layer_at(make_sqlite, "records")._load("key") == RESULT
    assert own._load("key") == RESULT


def test_without_a_table_a_file_of_an_application_is_refused(
    make_sqlite: Make, database: sqlite3.Connection
) -> None:
    with pytest.raises(IdempotencyPersistenceConfigError, match="other software"):
        make_sqlite()._load("key")


COLUMNS = (
    "status TEXT NOT NULL, expiration INTEGER NOT NULL, in_progress_expiration INTEGER, data TEXT, "
    "validation TEXT, owner TEXT"
)
FOREIGN = {
    "no column 'status'": "CREATE TABLE idempotency (number INTEGER PRIMARY KEY)",
    "no column 'owner'": f"CREATE TABLE idempotency (id TEXT PRIMARY KEY, {COLUMNS})".replace(
        ", owner TEXT", ""
    ),
    "type 'view'": "CREATE VIEW idempotency AS SELECT 1",
    "not 'id' alone": f"CREATE TABLE idempotency (id TEXT, {COLUMNS})",
    "'id' alone": f"CREATE TABLE idempotency (id TEXT, {COLUMNS}, PRIMARY KEY (id, owner))",
    "no rowid": f"CREATE TABLE idempotency (id TEXT PRIMARY KEY, {COLUMNS}) WITHOUT ROWID",
    "byte by byte": f"CREATE TABLE idempotency (id TEXT PRIMARY KEY COLLATE NOCASE, {COLUMNS})",
    "is not TEXT": f"CREATE TABLE idempotency (id INTEGER PRIMARY KEY, {COLUMNS})",
    "requires a value": f"CREATE TABLE idempotency (id TEXT PRIMARY KEY, {COLUMNS}, tenant TEXT NOT NULL)",
}


@pytest.mark.parametrize("why", FOREIGN)
def test_a_table_that_is_not_its_own_is_refused(
    why: str, database: sqlite3.Connection, make_sqlite: Make
) -> None:
    database.execute(FOREIGN[why])
    before = database.execute("SELECT * FROM sqlite_master").fetchall()
    with pytest.raises(IdempotencyPersistenceConfigError, match=why):
        layer_at(make_sqlite)._swap("key", None, RESULT, 1)
    assert database.execute("SELECT * FROM sqlite_master").fetchall() == before


def test_an_index_with_the_name_is_refused(database: sqlite3.Connection, make_sqlite: Make) -> None:
    database.execute("CREATE INDEX idempotency ON orders (amount)")
    with pytest.raises(IdempotencyPersistenceConfigError, match="type 'index'"):
        layer_at(make_sqlite)._load("key")


def test_a_table_that_was_dropped_is_missed(database: sqlite3.Connection, make_sqlite: Make) -> None:
    layer = layer_at(make_sqlite)
    layer._swap("key", None, RESULT, 1)
    database.execute("DROP TABLE idempotency")
    for _ in range(2):
        with pytest.raises(IdempotencyPersistenceConfigError, match="was dropped"):
            layer._load("key")
        layer.close()  # also new connections do not create it again


def test_a_file_that_was_replaced_is_missed(
    database: sqlite3.Connection, path: Path, make_sqlite: Make
) -> None:
    layer = layer_at(make_sqlite)
    layer._swap("key", None, RESULT, 1)
    layer.close()
    path.rename(path.with_suffix(".old"))
    with pytest.raises(IdempotencyPersistenceConfigError, match="replaced"):
        layer._load("key")


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_claim_inside_a_write_transaction_of_its_caller_says_why_it_fails(
    mode: str, database: sqlite3.Connection, make_sqlite: Make
) -> None:
    database.execute(f"PRAGMA journal_mode = {mode}")
    layer = layer_at(make_sqlite, timeout_seconds=0)
    layer._load("key")
    ran = []
    function = idempotent_function(
        lambda order: ran.append(order),  # noqa: PLW0108 - the parameter has a name
        data_keyword_argument="order",
        persistence_store=layer,
        config=IdempotencyConfig(),
        key_prefix="orders",
    )
    database.execute("BEGIN IMMEDIATE")
    with pytest.raises(IdempotencyPersistenceConnectionError, match="waited for itself") as refused:
        function(order=1)
    assert refused.value.nothing_written  # type: ignore[attr-defined]
    assert isinstance(refused.value, IdempotencyPersistenceLayerError)
    assert not ran
    database.execute("ROLLBACK")
    function(order=1)
    assert ran == [1]


def test_the_applications_transactions_and_the_layers_do_not_meet(
    database: sqlite3.Connection, make_sqlite: Make
) -> None:
    layer = layer_at(make_sqlite)
    layer._swap("key", None, RESULT, 1)
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO orders VALUES (1, 120)")
    database.execute("ROLLBACK")
    assert layer._load("key") == RESULT
