"""The table of the PostgreSQL layers: what is created and refused, names, keys, and purging."""

import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from idemproof import IdempotencyConfig, PostgresPersistenceLayer, Record, idempotent_function
from idemproof.backends import postgres_statements
from idemproof.backends.postgres_statements import LARGEST_KEY
from idemproof.cli.app import app
from idemproof.errors import (
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConsistencyError,
    IdempotencyRecordTooLargeError,
)
from idemproof.spec.record import COMPLETED, INPROGRESS

pytestmark = pytest.mark.once

Make = Callable[..., PostgresPersistenceLayer]

FAR = 32_503_680_000
CLAIM = Record("key", INPROGRESS, FAR, FAR * 1000 - 1, None, "hash", "owner")
RESULT = Record("key", COMPLETED, FAR, None, '{"a": 1}', "hash", "owner")


def rows(dsn: str, statement: str, *parameters: Any) -> list[Any]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []


def test_the_table_is_logged_exact_and_made_for_updates(new_database: str, make_postgres: Make) -> None:
    layer = make_postgres(new_database)
    layer.create_table()
    layer.create_table()  # which keeps it
    persistence, options, collation = rows(
        new_database,
        "SELECT relpersistence, reloptions, attcollation::regcollation::text FROM pg_class JOIN pg_attribute "
        "ON attrelid = pg_class.oid WHERE relname = 'idempotency' AND attname = 'id'",
    )[0]
    assert (persistence, options, collation) == ("p", ["fillfactor=70"], '"C"')
    kinds = rows(
        new_database,
        "SELECT amname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am "
        "ON pg_am.oid = relam WHERE indrelid = 'idempotency'::regclass ORDER BY amname",
    )
    assert kinds == [("brin",), ("btree",)]


def test_the_page_has_the_statements_that_are_sent() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "use-postgresql.md").read_text("utf-8")
    assert f"```sql\n{PostgresPersistenceLayer().ddl}```" in page


def test_the_command_creates_the_table_or_prints_the_statements(
    new_database: str, make_postgres: Make
) -> None:
    named = ["--table", "ours", "--schema", "public"]
    printed = CliRunner().invoke(app, ["postgres", "create-table", "--print", *named])
    layer = make_postgres(new_database, table="ours", schema="public")
    assert (printed.exit_code, printed.stdout) == (0, layer.ddl)
    with pytest.raises(IdempotencyPersistenceConfigError, match="does not exist"):
        layer._load("key")
    created = CliRunner().invoke(app, ["postgres", "create-table", new_database, *named])
    assert (created.exit_code, created.stdout) == (0, "The table 'ours' is ready.\n")
    assert layer._load("key") is None
    rows(new_database, "CREATE TABLE other ()")
    refused = CliRunner().invoke(app, ["postgres", "create-table", new_database, "--table", "other"])
    assert refused.exit_code == 1
    assert "needs the columns" in refused.stderr


def test_a_connection_that_does_not_decode_is_refused(records_table: str, make_postgres: Make) -> None:
    settings = psycopg.conninfo.conninfo_to_dict(records_table)
    layer = make_postgres({**settings, "client_encoding": "SQL_ASCII"})
    with pytest.raises(IdempotencyPersistenceConfigError, match="SQL_ASCII"):
        layer._load("key")


def test_completions_touch_no_index(new_database: str, make_postgres: Make) -> None:
    layer = make_postgres(new_database)
    layer.create_table()
    for number in range(200):
        key = f"{number:04}"
        claim, result = (each._replace(idempotency_key=key) for each in (CLAIM, RESULT))
        assert layer._swap(key, None, claim, 1) == claim
        assert layer._swap(key, claim, result, 1) == result
    layer.close()  # the session reports its counts when it ends
    counts = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'idempotency'"
    with psycopg.connect(new_database, autocommit=True) as connection:
        while (found := connection.execute(counts).fetchone()) is None or found[0] < 200:
            connection.execute("SELECT pg_sleep(0.01)")
    assert found == (200, 200)


def test_many_processes_may_create_it_at_once(new_database: str) -> None:
    def create(_: int) -> None:
        with closing(PostgresPersistenceLayer(new_database)) as layer:
            layer.create_table()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(create, range(16)))
    assert rows(new_database, "SELECT count(*) FROM idempotency") == [(0,)]


OURS = (
    "id text PRIMARY KEY, status text NOT NULL, expiration bigint NOT NULL, in_progress_expiration bigint, "
    "data text, validation text, owner text"
)
NOT_OURS = {
    "absent": ("CREATE TABLE other ()", "does not exist"),
    "nothing in it": ("CREATE TABLE idempotency ()", "id text"),
    "a column is missing": (
        f"CREATE TABLE idempotency ({OURS.replace(', owner text', '')})",
        "columns owner text",
    ),
    "seconds of 32 bits": (
        f"CREATE TABLE idempotency ({OURS.replace('expiration bigint NOT', 'expiration integer NOT')})",
        "expiration integer",
    ),
    "JSON would be rewritten": (
        f"CREATE TABLE idempotency ({OURS.replace('data text', 'data jsonb')})",
        "data jsonb",
    ),
    "keys would be padded": (
        f"CREATE TABLE idempotency ({OURS.replace('id text', 'id char(200)')})",
        "id character",
    ),
    "keys would be equal that differ": (
        # The build of the tests has no ICU, which such a collation needs, so one is only called that.
        f"""
        CREATE COLLATION loose FROM "C";
        CREATE TABLE idempotency ({OURS.replace("id text", "id text COLLATE loose")});
        SET allow_system_table_mods = on;
        UPDATE pg_collation SET collisdeterministic = false WHERE collname = 'loose'
        """,
        "different keys equal",
    ),
    "it may be emptied": (f"CREATE UNLOGGED TABLE idempotency ({OURS})", "UNLOGGED"),
    "keys may repeat": (f"CREATE TABLE idempotency ({OURS.replace(' PRIMARY KEY', '')})", "no unique index"),
    "only some keys may not repeat": (
        f"""
        CREATE TABLE idempotency ({OURS.replace(" PRIMARY KEY", "")});
        CREATE UNIQUE INDEX ON idempotency (id) WHERE status = 'COMPLETED'
        """,
        "no unique index",
    ),
    "a key has two parts": (
        f"CREATE TABLE idempotency ({OURS.replace(' PRIMARY KEY', '')}, UNIQUE (id, owner))",
        "no unique index",
    ),
    "it wants more": (f"CREATE TABLE idempotency ({OURS}, tenant text NOT NULL)", "column tenant"),
}


@pytest.mark.parametrize("what", NOT_OURS)
def test_a_table_that_is_not_ours_is_refused_before_anything_runs(
    what: str, new_database: str, make_postgres: Make
) -> None:
    statements, says = NOT_OURS[what]
    with psycopg.connect(new_database, autocommit=True) as connection:
        for statement in statements.split(";"):
            connection.execute(statement)
    runs: list[Any] = []

    def charge(order: int) -> None:
        runs.append(order)

    call = idempotent_function(
        charge,
        data_keyword_argument="order",
        persistence_store=make_postgres(new_database),
        config=IdempotencyConfig(in_progress_expires_after_seconds=60),
    )
    with pytest.raises(IdempotencyPersistenceConfigError, match=says) as raised:
        call(order=1)
    assert '"idempotency"' in str(raised.value)
    assert runs == []


def test_a_table_that_changes_meanwhile_is_refused_too(new_database: str, make_postgres: Make) -> None:
    layer = make_postgres(new_database)
    layer.create_table()
    assert layer._load("key") is None
    rows(new_database, "DROP TABLE idempotency")
    with pytest.raises(IdempotencyPersistenceConfigError, match="does not exist"):
        layer._load("key")
    layer.create_table()
    rows(new_database, "ALTER TABLE idempotency ALTER COLUMN data TYPE jsonb USING NULL")
    with pytest.raises(IdempotencyPersistenceConfigError, match="data"):
        layer._swap("key", None, RESULT, 1)


def test_columns_of_the_application_are_kept(new_database: str, make_postgres: Make) -> None:
    layer = make_postgres(new_database)
    layer.create_table()
    rows(new_database, "ALTER TABLE idempotency ADD COLUMN seen timestamptz NOT NULL DEFAULT now()")
    assert layer._swap("key", None, RESULT, 1) == layer._load("key") == RESULT


@pytest.mark.parametrize("hides", ["policy", "trigger"])
def test_a_table_that_hides_its_rows_is_never_taken_for_empty(
    hides: str, new_database: str, make_postgres: Make
) -> None:
    make_postgres(new_database).create_table()
    user = f"user_{os.urandom(4).hex()}"
    rows(new_database, f"CREATE ROLE {user} LOGIN")
    rows(new_database, f"GRANT ALL ON idempotency TO {user}")
    if hides == "policy":
        make_postgres(new_database)._swap("key", None, CLAIM, 1)
        rows(new_database, "ALTER TABLE idempotency ENABLE ROW LEVEL SECURITY")
        rows(new_database, "CREATE POLICY writes ON idempotency FOR INSERT WITH CHECK (true)")
    else:
        rows(
            new_database,
            "CREATE FUNCTION drop_it() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        )
        rows(
            new_database,
            "CREATE TRIGGER drops BEFORE INSERT ON idempotency FOR EACH ROW EXECUTE FUNCTION drop_it()",
        )
    layer = make_postgres(new_database.replace("postgres@", f"{user}@"))
    expected = (
        IdempotencyPersistenceConfigError if hides == "policy" else IdempotencyPersistenceConsistencyError
    )
    with pytest.raises(expected, match="polic"):
        layer._swap("key", None, CLAIM, 1)


def test_names_are_quoted(new_database: str, make_postgres: Make) -> None:
    rows(new_database, 'CREATE SCHEMA "My ""Own"" 100%%"')
    layer = make_postgres(new_database, table='re%cords; DROP "TABLE"', schema='My "Own" 100%%')
    layer.create_table()
    assert layer._swap("key", None, CLAIM, 1) == CLAIM
    assert layer._swap("key", CLAIM, RESULT, 1) == layer._load("key") == RESULT
    assert layer.purge(FAR * 1000) == 1


@pytest.mark.parametrize("name", ["", "public.records", "a" * 64, "é" * 32, "a\0b", None, 7])
def test_a_name_that_postgresql_would_change_is_refused(name: Any) -> None:
    with pytest.raises(IdempotencyPersistenceConfigError, match="table"):
        PostgresPersistenceLayer("postgresql://nowhere", table=name)


def test_the_longest_key_fits_and_a_longer_one_is_refused_by_name(
    records_table: str, make_postgres: Make
) -> None:
    layer = make_postgres(records_table)
    letters = random.Random(1)
    key = "".join(
        letters.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", k=LARGEST_KEY)
    )
    record = RESULT._replace(idempotency_key=key)
    assert layer._swap(key, None, record, 1) == layer._load(key) == record
    for longer in (key + "a", "é" * 1347):
        with pytest.raises(IdempotencyRecordTooLargeError, match=f"{LARGEST_KEY}. Nothing was sent"):
            layer._swap(longer, None, record, 1)
        with pytest.raises(IdempotencyRecordTooLargeError):
            layer._load(longer)


@pytest.mark.parametrize("text", ["\0", "\x01", "\x010", "\x01\0\x011", "a\0\x01\x01\0b", "\x01\x01", "\x02"])
def test_characters_that_postgresql_has_not_survive(
    records_table: str, make_postgres: Make, text: str
) -> None:
    layer = make_postgres(records_table)
    record = Record(text, COMPLETED, FAR, None, text, text, text)
    assert layer._swap(text, None, record, 1) == layer._load(text) == record
    other = record._replace(response_data="other")
    assert layer._swap(text, record, other, 1) == layer._load(text) == other


def test_a_number_beyond_64_bits_is_refused_by_name(records_table: str, make_postgres: Make) -> None:
    layer = make_postgres(records_table)
    with pytest.raises(IdempotencyRecordTooLargeError, match="key"):
        layer._swap("key", None, CLAIM._replace(expiry_timestamp=2**63), 1)
    assert layer._load("key") is None


def test_purging_takes_batches_and_skips_what_is_locked_corrupt_or_owed(
    records_table: str, make_postgres: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_statements, "_PURGE_AT_ONCE", 10)
    layer = make_postgres(records_table)
    for number in range(35):
        key = str(number)
        layer._swap(key, None, Record(key, COMPLETED, 100, None, "1"), 1)
    layer._swap("owed", None, Record("owed", INPROGRESS, 100, 200_001), 1)
    layer._swap("corrupt", None, Record("corrupt", "DONE", 100), 1)
    with psycopg.connect(records_table) as other:
        other.execute("SELECT FROM idempotency WHERE id = '7' FOR UPDATE")
        assert layer.purge(200_000) == 34
        assert {row[0] for row in rows(records_table, "SELECT id FROM idempotency")} == {
            "7",
            "owed",
            "corrupt",
        }
    assert layer.purge(200_001) == 2
    assert rows(records_table, "SELECT id FROM idempotency") == [("corrupt",)]
