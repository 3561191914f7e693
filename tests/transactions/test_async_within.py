"""Completion within transactions of async connections, and cancellations between its parts."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from attempts import attempt
from idemproof import (
    AsyncPostgresPersistenceLayer,
    AsyncSQLAlchemyPersistenceLayer,
    IdempotencyConfig,
    SQLitePersistenceLayer,
    idempotent_function,
)
from idemproof.errors import (
    IdempotencyConfigError,
    IdempotencyLeaseLostError,
    IdempotencyTransactionError,
)

pytestmark = pytest.mark.once

KINDS = (
    *("psycopg", "asyncpg", "asyncpg session", "asyncmy", "asyncmy session"),
    *("aiosqlite", "aiosqlite session", "sqlite3"),
)


@pytest.fixture
def address(kind: str, request: pytest.FixtureRequest) -> str:
    """The address of an empty database of a server, or nothing if there is none."""
    if "asyncmy" in kind:
        made: str = request.getfixturevalue("mariadb_server").create_database("asyncmy")
        return made
    return "" if "sqlite" in kind else str(request.getfixturevalue("dsn"))


class AsyncPlace:
    """A database, and one kind of async connection to it."""

    def __init__(self, layer: Any, lend: Callable[[], Any], close: Callable[[], Awaitable[None]]) -> None:
        self.layer = layer
        self.lend = lend
        self.close = close

    def protect(self, body: Any, **settings: Any) -> Any:
        config = IdempotencyConfig(in_progress_expires_after_seconds=30, **settings)
        return idempotent_function(
            data_keyword_argument="what", persistence_store=self.layer, config=config, key_prefix="key"
        )(body)

    @staticmethod
    async def execute(connection: Any, statement: str) -> list[Any]:
        if not isinstance(connection, psycopg.AsyncConnection):
            found = connection.execute(sa.text(statement) if hasattr(connection, "run_sync") else statement)
            found = await found if hasattr(found, "__await__") else found
            rows = getattr(found, "returns_rows", found.__dict__ if hasattr(found, "__dict__") else True)
            return [tuple(row) for row in found] if rows is not False else []
        cursor = await connection.execute(statement)  # type: ignore[arg-type]  # a plain text
        return [] if cursor.description is None else await cursor.fetchall()

    async def effects(self) -> list[str]:
        async with self.lend() as connection:
            return sorted(what for (what,) in await self.execute(connection, "SELECT what FROM effects"))

    async def steal(self) -> None:
        async with self.lend() as connection:
            await self.execute(connection, "UPDATE idempotency SET owner = 'another'")


@asynccontextmanager
async def place_of(kind: str, address: str, folder: Path) -> AsyncIterator[AsyncPlace]:
    place = await _made(kind, address, folder)
    async with place.lend() as connection:
        await place.execute(connection, "CREATE TABLE IF NOT EXISTS effects (what VARCHAR(100))")
    try:
        yield place
    finally:
        await place.close()


async def _made(kind: str, address: str, folder: Path) -> AsyncPlace:
    if kind == "psycopg":
        layer = AsyncPostgresPersistenceLayer(address)
        await layer.create_table()

        @asynccontextmanager
        async def connected() -> AsyncIterator[Any]:
            async with await psycopg.AsyncConnection.connect(address) as connection, connection.transaction():
                yield connection

        return AsyncPlace(layer, connected, layer.close)
    if kind == "sqlite3":
        path = folder / "application.db"
        file = SQLitePersistenceLayer(path, table="idempotency")

        @asynccontextmanager
        async def opened() -> AsyncIterator[Any]:
            connection = sqlite3.connect(path)
            try:
                with connection:
                    yield connection
            finally:
                connection.close()

        async def close_file() -> None:
            file.close()

        return AsyncPlace(file, opened, close_file)
    url = address.replace("postgresql://", "postgresql+asyncpg://")
    engine = create_async_engine(url or f"sqlite+aiosqlite:///{folder / 'alchemy.db'}")
    alchemy = AsyncSQLAlchemyPersistenceLayer(engine)
    await alchemy.create_table()

    @asynccontextmanager
    async def session() -> AsyncIterator[Any]:
        async with AsyncSession(engine) as one, one.begin():
            yield one

    async def close() -> None:
        await alchemy.close()
        await engine.dispose()

    return AsyncPlace(alchemy, session if "session" in kind else engine.begin, close)


async def complete(result: Any, within: Any, **options: Any) -> Any:
    return await attempt().acomplete(result, within=within, **options)


def run(kind: str, address: str, folder: Path, test: Callable[[AsyncPlace], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with place_of(kind, address, folder) as place:
            await test(place)

    asyncio.run(whole())


@pytest.mark.clause("INV-11", "TXN-8", "ROW-22")
@pytest.mark.parametrize("kind", KINDS)
def test_async_effect_and_record_are_committed_together(kind: str, address: str, tmp_path: Path) -> None:
    async def test(place: AsyncPlace) -> None:
        fails = [True]

        async def body(what: str) -> Any:
            async with place.lend() as connection:
                await place.execute(connection, f"INSERT INTO effects VALUES ('{what}')")
                answer = await complete({"done": what}, connection)
                if fails.pop() if fails else False:
                    raise ValueError
            return answer

        protected = place.protect(body)
        with pytest.raises(ValueError):
            await protected(what="a")
        assert await place.effects() == []
        assert [await protected(what="a"), await protected(what="a")] == [{"done": "a"}] * 2
        assert await place.effects() == ["a"]

    run(kind, address, tmp_path, test)


@pytest.mark.clause("TXN-6", "ROW-23")
@pytest.mark.parametrize("kind", KINDS)
def test_async_lost_lease_rolls_the_effect_back_although_its_error_is_ignored(
    kind: str, address: str, tmp_path: Path
) -> None:
    async def test(place: AsyncPlace) -> None:
        async def body(what: str) -> Any:
            await place.steal()
            async with place.lend() as connection:
                await place.execute(connection, f"INSERT INTO effects VALUES ('{what}')")
                with suppress(IdempotencyLeaseLostError):
                    await complete(1, connection)
            return 1

        with pytest.raises(IdempotencyLeaseLostError):
            await place.protect(body)(what="a")
        assert await place.effects() == []

    run(kind, address, tmp_path, test)


@pytest.mark.clause("INV-11", "ENG-15", "TXN-7")
@pytest.mark.parametrize("kind", KINDS[:5])
def test_cancellation_between_completion_and_commit_leaves_nothing(
    kind: str, address: str, tmp_path: Path
) -> None:
    async def test(place: AsyncPlace) -> None:
        completed = asyncio.Event()

        async def body(what: str) -> Any:
            async with place.lend() as connection:
                await place.execute(connection, f"INSERT INTO effects VALUES ('{what}')")
                await complete(1, connection)
                if not completed.is_set():
                    completed.set()
                    await asyncio.sleep(30)
            return 1

        protected = place.protect(body)
        task = asyncio.ensure_future(protected(what="a"))
        await completed.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await place.effects() == []
        assert await protected(what="a") == 1
        assert await place.effects() == ["a"]

    run(kind, address, tmp_path, test)


@pytest.mark.clause("TXN-5")
def test_async_and_blocking_methods_are_not_mixed(dsn: str, tmp_path: Path) -> None:
    async def test(place: AsyncPlace) -> None:
        async def body(what: str) -> Any:
            async with place.lend() as connection:
                return attempt().complete(what, within=connection)

        with pytest.raises(IdempotencyConfigError, match="async"):
            await place.protect(body)(what="a")

    run("psycopg", dsn, tmp_path, test)


@pytest.mark.clause("TXN-5")
@pytest.mark.parametrize("kind", ["asyncpg", "asyncpg session", "asyncmy", "asyncmy session"])
def test_async_autocommit_is_refused(kind: str, address: str, tmp_path: Path) -> None:
    async def test(place: AsyncPlace) -> None:
        engine = place.layer.engine.execution_options(isolation_level="AUTOCOMMIT")

        async def body(what: str) -> Any:
            async with AsyncSession(engine) if "session" in kind else engine.connect() as connection:
                await place.execute(connection, f"INSERT INTO effects VALUES ('{what}')")
                return await complete(1, connection)

        with pytest.raises(IdempotencyTransactionError, match="autocommit") as raised:
            await place.protect(body)(what="a")
        assert raised.value.kind == "NoTransaction"

    run(kind, address, tmp_path, test)
