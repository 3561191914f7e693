"""Connections of Django to databases with records and effects."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django
import psycopg.conninfo
import pymysql
import sqlalchemy as sa
from django.apps import apps
from django.conf import settings
from django.db import connections, transaction

from idemproof import PostgresPersistenceLayer, SQLAlchemyPersistenceLayer, SQLitePersistenceLayer
from transaction_places import Place, SQLAlchemyPlace, _OnServer, _OverFile


def connection_to(alias: str, **database: Any) -> Any:
    """Return Django's connection to a database, under an alias that nothing else uses."""
    if not settings.configured:
        settings.configure(DATABASES={}, USE_TZ=True)
    if not apps.ready:
        django.setup()
    known = connections.settings
    known[alias] = database
    connections.configure_settings(known)
    return connections[alias]


class _Django(Place):
    savepoints_show = True
    alias: str

    def connect(self) -> Any:
        return connections[self.alias]

    def act(self, connection: Any, what: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO effects VALUES (%s)", [what])

    def begin(self, connection: Any) -> None:
        connection.set_autocommit(False)

    def commit(self, connection: Any) -> None:
        connection.commit()
        connection.set_autocommit(True)

    def roll_back(self, connection: Any) -> None:
        connection.rollback()
        connection.set_autocommit(True)

    @contextmanager
    def transaction(self, connection: Any) -> Iterator[None]:
        with transaction.atomic(self.alias):
            yield

    def savepoint(self, connection: Any) -> Any:
        return transaction.atomic(self.alias)


class DjangoSQLitePlace(_Django, _OverFile):
    """Django's connection to a SQLite file."""

    savepoints_show = True
    identifies_transactions = False  # because Django sets PRAGMA foreign_keys

    def __init__(self, folder: Path) -> None:
        path = folder / "django.db"
        super().__init__(SQLitePersistenceLayer(path, table="idempotency"), path)
        self.alias = f"sqlite {path}"
        connection_to(self.alias, ENGINE="django.db.backends.sqlite3", NAME=str(path))


class DjangoPostgresPlace(_Django, _OnServer):
    """Django's connection to PostgreSQL."""

    def __init__(self, dsn: str) -> None:
        layer = PostgresPersistenceLayer(dsn)
        layer.create_table()
        super().__init__(layer, dsn)
        self.alias = f"postgresql {dsn}"
        found = psycopg.conninfo.conninfo_to_dict(dsn)
        connection_to(
            self.alias,
            ENGINE="django.db.backends.postgresql",
            NAME=found["dbname"],
            USER=found["user"],
            HOST=found["host"],
            PORT=found["port"],
        )


class DjangoMariaDBPlace(_Django, SQLAlchemyPlace):
    """Django's connection to MariaDB, where a layer over SQLAlchemy has the records."""

    savepoints_show = True
    identifies_transactions = False

    def __init__(self, url: str) -> None:
        pymysql.install_as_MySQLdb()
        engine = sa.create_engine(url)
        layer = SQLAlchemyPersistenceLayer(engine)
        layer.create_table()
        super().__init__(layer, engine)
        self.alias = f"mariadb {url}"
        connection_to(
            self.alias,
            ENGINE="django.db.backends.mysql",
            NAME=engine.url.database,
            USER=engine.url.username,
            HOST=engine.url.host,
            PORT=engine.url.port,
        )
