"""Databases with the table of a SQLAlchemy layer, and layers over engines for them."""

import uuid
from typing import Any

import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

import postgres
from idemproof import AsyncSQLAlchemyPersistenceLayer, SQLAlchemyPersistenceLayer

ASYNC_DRIVERS = {"aiosqlite": "pysqlite", "asyncpg": "psycopg", "asyncmy": "pymysql"}
"""And blocking drivers for the same databases."""


def layer(url: str, **options: Any) -> SQLAlchemyPersistenceLayer | AsyncSQLAlchemyPersistenceLayer:
    """Return a layer that is async if the driver is."""
    if sqlalchemy.make_url(url).get_driver_name() in ASYNC_DRIVERS:
        return async_layer(url, **options)
    return SQLAlchemyPersistenceLayer(sqlalchemy.create_engine(url), **options)


def async_layer(url: str, **options: Any) -> AsyncSQLAlchemyPersistenceLayer:
    return AsyncSQLAlchemyPersistenceLayer(create_async_engine(url), **options)


def blocking(url: str) -> str:
    """Return the address of the same database for a blocking driver."""
    dialect, _, rest = url.partition("://")
    name, _, driver = dialect.partition("+")
    return f"{name}+{ASYNC_DRIVERS[driver]}://{rest}" if driver in ASYNC_DRIVERS else url


def created(url: str) -> str:
    """Create the table of a layer in an empty database, and return the address of the database."""
    made = SQLAlchemyPersistenceLayer(sqlalchemy.create_engine(blocking(url)))
    made.create_table()
    made.close()
    return url


def on_postgresql(server: postgres.PostgreSQL, driver: str) -> str:
    """Return the address of a new database with the table."""
    dsn = server.create_database(f"d{uuid.uuid4().hex}")
    return created(dsn.replace("postgresql://", f"postgresql+{driver}://"))
