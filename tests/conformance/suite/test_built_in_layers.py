"""The suite has no findings in the layers of this library on real servers."""

import contextlib
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import built_in_layers
import mariadb
import postgres
import servers
import sql_places
from idemproof import AsyncInMemoryPersistenceLayer, InMemoryPersistenceLayer
from idemproof.conformance import Capabilities, check
from idemproof.conformance.suite.checks import TIERS
from postgres import PostgreSQL

pytestmark = [pytest.mark.once, pytest.mark.waits]

SORT_KEY = "order"

HOW_IT_SENDS = ("exclusion", "faults", "concurrency")
"""It matters in these tiers how a layer sends its requests, and not only which."""


class Kind(NamedTuple):
    """A layer, the fixture that provides its store, and its claims."""

    factory: Callable[[], Any]
    place: str
    claims: Capabilities = Capabilities(durable=True)


KINDS = {
    "memory": Kind(InMemoryPersistenceLayer, "nowhere", Capabilities()),
    "memory-async": Kind(AsyncInMemoryPersistenceLayer, "nowhere", Capabilities()),
    "sqlite": Kind(built_in_layers.sqlite, "file"),
    "sqlite-async": Kind(built_in_layers.async_sqlite, "file"),
    "sqlite-beside": Kind(built_in_layers.sqlite_beside, "file_of_application"),
    "sqlalchemy-sqlite": Kind(built_in_layers.over_sqlalchemy, "sqlite_table"),
    "sqlalchemy-sqlite-async": Kind(built_in_layers.async_over_sqlalchemy, "aiosqlite_table"),
    "sqlalchemy-postgresql": Kind(built_in_layers.over_sqlalchemy, "psycopg_table"),
    "sqlalchemy-postgresql-async": Kind(built_in_layers.async_over_sqlalchemy, "asyncpg_table"),
    "sqlalchemy-mariadb": Kind(built_in_layers.over_sqlalchemy, "pymysql_table"),
    "sqlalchemy-mariadb-async": Kind(built_in_layers.async_over_sqlalchemy, "asyncmy_table"),
    "valkey": Kind(built_in_layers.valkey, "server"),
    "valkey-async": Kind(built_in_layers.async_valkey, "server"),
    "postgres": Kind(built_in_layers.postgres, "database"),
    "postgres-async": Kind(built_in_layers.async_postgres, "database"),
    "dynamodb": Kind(built_in_layers.dynamodb, "table"),
    "dynamodb-composite": Kind(built_in_layers.composite_dynamodb, "composite_table"),
    "dynamodb-async": Kind(built_in_layers.async_dynamodb, "table"),
}


@pytest.fixture
def nowhere() -> None:
    """Return None, because the records are in memory."""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECORDS", str(tmp_path / "records.db"))


@pytest.fixture
def file_of_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "application.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    monkeypatch.setenv("RECORDS", str(path))


@pytest.fixture
def sqlite_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECORDS", sql_places.created(f"sqlite:///{tmp_path}/records.db"))


@pytest.fixture
def aiosqlite_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECORDS", sql_places.created(f"sqlite+aiosqlite:///{tmp_path}/records.db"))


@pytest.fixture
def psycopg_table(postgres_server: postgres.PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECORDS", sql_places.on_postgresql(postgres_server, "psycopg"))


@pytest.fixture
def asyncpg_table(postgres_server: postgres.PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECORDS", sql_places.on_postgresql(postgres_server, "asyncpg"))


@pytest.fixture
def pymysql_table(mariadb_server: mariadb.MariaDB, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECORDS", sql_places.created(mariadb_server.create_database("pymysql")))


@pytest.fixture
def asyncmy_table(mariadb_server: mariadb.MariaDB, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECORDS", sql_places.created(mariadb_server.create_database("asyncmy")))


@pytest.fixture
def server(valkey_server: servers.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECORDS", f"redis://{valkey_server.host}:{valkey_server.port}")


@pytest.fixture
def database(postgres_server: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECORDS", postgres_server.create_database(f"judged_{uuid.uuid4().hex}"))
    layer = built_in_layers.postgres()
    layer.create_table()
    layer.close()


def created(dynamodb_server: servers.Server, monkeypatch: pytest.MonkeyPatch, sort_key: str | None) -> None:
    settings = servers.dynamodb_kwargs(dynamodb_server)
    monkeypatch.setenv("RECORDS", uuid.uuid4().hex)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", settings["endpoint_url"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", settings["aws_access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", settings["aws_secret_access_key"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", settings["region_name"])
    layer = built_in_layers.composite_dynamodb() if sort_key else built_in_layers.dynamodb()
    layer.create_table()
    layer.close()


@pytest.fixture
def table(dynamodb_server: servers.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    created(dynamodb_server, monkeypatch, None)


@pytest.fixture
def composite_table(dynamodb_server: servers.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    created(dynamodb_server, monkeypatch, SORT_KEY)


def assert_kept(kind: Kind, profile: str, tiers: Sequence[str] = TIERS) -> None:
    report = check(kind.factory, profile=profile, seed=1, capabilities=kind.claims, tiers=tiers)
    assert [(each.check, each.why) for each in report.findings] == []
    assert [(each.name, each.why_not) for each in report.checks if each.verdict == "not judged"] == []
    assert report.keeps()
    expected = dict.fromkeys(tiers, "kept")
    if "durability" in tiers and not kind.claims.durable:
        expected["durability"] = "not offered"
    assert report.tiers == expected


IN_CI = {
    **dict.fromkeys(("memory", "sqlite", "valkey", "postgres"), TIERS),
    **dict.fromkeys(("dynamodb-composite", "sqlalchemy-mariadb"), ("contract", "exclusion")),
    **dict.fromkeys(("memory-async", "valkey-async"), HOW_IT_SENDS),
}
"""The others send the same requests in the same ways. The nightly run judges each layer in all tiers."""


@pytest.mark.clause("CAS-10", "CAS-11", "CAS-12")
@pytest.mark.parametrize("name", IN_CI)
def test_nothing_is_broken(name: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(KINDS[name].place)
    assert_kept(KINDS[name], "quick", IN_CI[name])


@pytest.mark.nightly
@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_broken_in_a_thorough_run(name: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(KINDS[name].place)
    assert_kept(KINDS[name], "thorough")
