"""Factories of this library's layers, which other processes can import.

The environment variable ``RECORDS`` is a path, a URL, or the name of a table. For DynamoDB, the variables of
the AWS SDK have the rest.
"""

import os

import sqlalchemy
import sqlalchemy.ext.asyncio

from idemproof import (
    AsyncDynamoDBPersistenceLayer,
    AsyncPostgresPersistenceLayer,
    AsyncRedisCachePersistenceLayer,
    AsyncSQLAlchemyPersistenceLayer,
    AsyncSQLitePersistenceLayer,
    DynamoDBPersistenceLayer,
    PostgresPersistenceLayer,
    RedisCachePersistenceLayer,
    SQLAlchemyPersistenceLayer,
    SQLitePersistenceLayer,
)


def sqlite() -> SQLitePersistenceLayer:
    return SQLitePersistenceLayer(os.environ["RECORDS"])


def async_sqlite() -> AsyncSQLitePersistenceLayer:
    return AsyncSQLitePersistenceLayer(os.environ["RECORDS"])


def sqlite_beside() -> SQLitePersistenceLayer:
    return SQLitePersistenceLayer(os.environ["RECORDS"], table="idempotency")


def over_sqlalchemy() -> SQLAlchemyPersistenceLayer:
    return SQLAlchemyPersistenceLayer(sqlalchemy.create_engine(os.environ["RECORDS"]))


def async_over_sqlalchemy() -> AsyncSQLAlchemyPersistenceLayer:
    return AsyncSQLAlchemyPersistenceLayer(sqlalchemy.ext.asyncio.create_async_engine(os.environ["RECORDS"]))


def valkey() -> RedisCachePersistenceLayer:
    return RedisCachePersistenceLayer(os.environ["RECORDS"])


def async_valkey() -> AsyncRedisCachePersistenceLayer:
    return AsyncRedisCachePersistenceLayer(os.environ["RECORDS"])


def dynamodb() -> DynamoDBPersistenceLayer:
    return DynamoDBPersistenceLayer(os.environ["RECORDS"])


def composite_dynamodb() -> DynamoDBPersistenceLayer:
    return DynamoDBPersistenceLayer(os.environ["RECORDS"], sort_key_attr="order")


def async_dynamodb() -> AsyncDynamoDBPersistenceLayer:
    return AsyncDynamoDBPersistenceLayer(os.environ["RECORDS"])


def postgres() -> PostgresPersistenceLayer:
    return PostgresPersistenceLayer(os.environ["RECORDS"])


def async_postgres() -> AsyncPostgresPersistenceLayer:
    return AsyncPostgresPersistenceLayer(os.environ["RECORDS"])
