"""The databases and connections that complete within transactions."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_places import DjangoMariaDBPlace, DjangoPostgresPlace, DjangoSQLitePlace
from transaction_places import PLACES, Place, SessionPlace, psycopg_place, sqlalchemy_place, sqlite_place

_numbers = itertools.count(1)


@pytest.fixture
def dsn(postgres_server: Any) -> str:
    """The address of an empty database of PostgreSQL."""
    address: str = postgres_server.create_database(f"within_{next(_numbers)}")
    return address


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Each kind of connection, with a database of its own."""
    made = place_of(request.param, request, tmp_path)
    yield made
    made.close()


@pytest.fixture(params=["sqlite3", "psycopg"])
def plain_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A connection of a driver, where the library makes no difference."""
    made = place_of(request.param, request, tmp_path)
    yield made
    made.close()


@pytest.fixture
def on_postgres(dsn: str) -> Iterator[Place]:
    """A connection of psycopg, where only PostgreSQL matters."""
    made = psycopg_place(dsn)
    yield made
    made.close()


def place_of(name: str, request: pytest.FixtureRequest, folder: Path) -> Place:
    if name == "sqlite3":
        return sqlite_place(folder)
    if name == "Django on SQLite":
        return DjangoSQLitePlace(folder)
    if name.endswith("SQLite"):
        url = f"sqlite:///{folder / 'alchemy.db'}"
    elif name.endswith("MariaDB"):
        url = request.getfixturevalue("mariadb_server").create_database()
        if name.startswith("Django"):
            return DjangoMariaDBPlace(url)
    else:
        dsn = request.getfixturevalue("dsn")
        if name == "psycopg":
            return psycopg_place(dsn)
        if name == "Django on PostgreSQL":
            return DjangoPostgresPlace(dsn)
        url = dsn.replace("postgresql://", "postgresql+psycopg://")
    return sqlalchemy_place(url, SessionPlace) if name.startswith("Session") else sqlalchemy_place(url)
