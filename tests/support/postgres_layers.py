"""Layers over clients of PostgreSQL and of SQLAlchemy: broken ones next to correct ones."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ClassVar

import asyncpg
import psycopg
import psycopg_pool
import sqlalchemy

from idemproof import AsyncCompareAndSwapLayer, CompareAndSwapLayer, Record
from idemproof.spec.record import same_version

CREATE = "CREATE TABLE IF NOT EXISTS records (id VARCHAR(3000) PRIMARY KEY, record TEXT NOT NULL)"
READ = "SELECT record FROM records WHERE id = {0}"
WRITES = {
    "insert": "INSERT INTO records VALUES ({0}, {1}) ON CONFLICT (id) DO NOTHING",
    "update": "UPDATE records SET record = {1} WHERE id = {0} AND record = {2}",
    "delete": "DELETE FROM records WHERE id = {0} AND record = {2}",
}
UNCONDITIONAL = {
    "insert": "INSERT INTO records VALUES ({0}, {1}) ON CONFLICT (id) DO UPDATE SET record = {1}",
    "update": "UPDATE records SET record = {1} WHERE id = {0}",
    "delete": "DELETE FROM records WHERE id = {0}",
}


class Statements:
    """What both kinds of layers send, and how they read the replies."""

    writes: ClassVar = WRITES
    marks: ClassVar = ("%(key)s", "%(new)s", "%(old)s")

    def statement(self, text: str) -> str:
        return text.format(*self.marks)

    def write(self, old: str | None, new: Record | None) -> str | None:
        """Return the statement that replaces ``old`` by ``new``, if any is needed."""
        if new is None:
            return None if old is None else self.statement(self.writes["delete"])
        return self.statement(self.writes["insert" if old is None else "update"])

    def arguments(self, key: str, new: Record | None, old: str | None) -> Any:
        given = {"key": key, "new": None if new is None else json.dumps(new), "old": old}
        return {name: value for name, value in given.items() if value is not None}

    @staticmethod
    def record(row: Any) -> tuple[str | None, Record | None]:
        return (None, None) if row is None else (row[0], Record(*json.loads(row[0])))


class OverDatabase(Statements, CompareAndSwapLayer):
    """Reads and writes in one transaction, and begins again if another call wrote in between."""

    def _load(self, key: str) -> Record | None:
        with self.transaction() as execute:
            return self.record(execute(self.statement(READ), {"key": key}).fetchone())[1]

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        while True:
            with self.transaction() as execute:
                text, found = self.record(execute(self.statement(READ), {"key": key}).fetchone())
                if not same_version(found, expected):
                    return found
                write = self.write(text, new)
                if write is None or execute(write, self.arguments(key, new, text)).rowcount == 1:
                    return new

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        raise NotImplementedError


class OverPsycopg(OverDatabase):
    """Opens a connection for each request."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        with psycopg.connect(dsn) as connection:
            connection.execute(CREATE)

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        with psycopg.connect(self.dsn) as connection:
            yield connection.execute


class OverPool(OverDatabase):
    """Takes a connection of a small pool, and begins transactions explicitly."""

    def __init__(self, dsn: str, size: int = 2) -> None:
        self.pool = psycopg_pool.ConnectionPool(
            dsn, min_size=size, max_size=size, kwargs={"autocommit": True}, open=True
        )
        with self.pool.connection() as connection:
            connection.execute(CREATE)

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        with self.pool.connection() as connection, connection.transaction():
            yield connection.execute

    def close(self) -> None:
        self.pool.close()


class OverSQLAlchemy(OverDatabase):
    """Uses an engine of SQLAlchemy."""

    marks: ClassVar = (":key", ":new", ":old")

    def __init__(self, url: str) -> None:
        self.engine = sqlalchemy.create_engine(url)
        with self.engine.begin() as connection:
            connection.execute(sqlalchemy.text(CREATE))

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        with self.engine.begin() as connection:
            yield lambda text, given: connection.execute(sqlalchemy.text(text), given)

    def close(self) -> None:
        self.engine.dispose()


class OverAsyncDatabase(Statements, AsyncCompareAndSwapLayer):
    """Does as :class:`OverDatabase`."""

    async def _load(self, key: str) -> Record | None:
        async with self.transaction() as connection:
            return self.record(await self.row(connection, key))[1]

    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, ttl_ms: int
    ) -> Record | None:
        while True:
            async with self.transaction() as connection:
                text, found = self.record(await self.row(connection, key))
                if not same_version(found, expected):
                    return found
                write = self.write(text, new)
                if write is None or await self.changed(connection, write, self.arguments(key, new, text)):
                    return new

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        raise NotImplementedError
        yield

    async def row(self, connection: Any, key: str) -> Any:
        raise NotImplementedError

    async def changed(self, connection: Any, write: str, given: Any) -> bool:
        raise NotImplementedError


class OverAsyncPsycopg(OverAsyncDatabase):
    """Takes a connection of an async pool."""

    def __init__(self, dsn: str) -> None:
        with psycopg.connect(dsn) as connection:
            connection.execute(CREATE)
        self.pool = psycopg_pool.AsyncConnectionPool(dsn, min_size=2, max_size=2, open=False)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        await self.pool.open()
        async with self.pool.connection() as connection:
            yield connection

    async def row(self, connection: Any, key: str) -> Any:
        return await (await connection.execute(self.statement(READ), {"key": key})).fetchone()

    async def changed(self, connection: Any, write: str, given: Any) -> bool:
        return bool((await connection.execute(write, given)).rowcount == 1)

    async def close(self) -> None:
        await self.pool.close()


class OverAsyncpg(OverAsyncDatabase):
    """Takes a connection of an asyncpg pool, and begins transactions explicitly."""

    marks: ClassVar = ("$1", "$2", "$3")

    def __init__(self, dsn: str) -> None:
        with psycopg.connect(dsn) as connection:
            connection.execute(CREATE)
        self.dsn = dsn
        self.pool: Any = None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        if self.pool is None:
            self.pool = asyncpg.create_pool(self.dsn, min_size=1, max_size=2)
        await self.pool  # which opens it once
        async with self.pool.acquire() as connection, connection.transaction():
            yield connection

    async def row(self, connection: Any, key: str) -> Any:
        return await connection.fetchrow(self.statement(READ), key)

    async def changed(self, connection: Any, write: str, given: Any) -> bool:
        used = [name for name, mark in zip(("key", "new", "old"), self.marks, strict=True) if mark in write]
        numbered = {self.marks[("key", "new", "old").index(name)]: f"${n}" for n, name in enumerate(used, 1)}
        for mark, number in numbered.items():
            write = write.replace(mark, number)
        done = await connection.execute(write, *(given[name] for name in used))
        return bool(done.endswith(" 1"))

    async def close(self) -> None:
        if self.pool is not None:
            await self.pool.close()
