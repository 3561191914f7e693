"""The SQLAlchemy layers: records in a table of any database that SQLAlchemy 2 can use."""

from typing import Any, ClassVar

try:
    from sqlalchemy import MetaData, Table
    from sqlalchemy.engine import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine
except ImportError as cause:
    raise ImportError(
        "The SQLAlchemy layers need SQLAlchemy 2: python -m pip install 'idemproof[sqlalchemy]'"
    ) from cause

from ..drivers.exchanges import Ask, Exchange, perform, perform_async
from ..drivers.interrupts import any_interrupts
from ..spec.errors import IdempotencyError, IdempotencyPersistenceConfigError
from ..spec.record import Record
from . import within
from .base import AsyncCompareAndSwapLayer, CompareAndSwapLayer
from .copies import Copied
from .sqlalchemy_connections import AsyncClient, Client, require_shared_database
from .sqlalchemy_errors import Trouble, named_error, trouble_of
from .sqlalchemy_statements import Statements
from .sqlalchemy_table import COLUMNS, MYSQL, SQLITE, idempotency_table, require_own_table
from .within import Records

__all__ = ["AsyncSQLAlchemyPersistenceLayer", "SQLAlchemyPersistenceLayer", "idempotency_table"]


class _OverSQLAlchemy(Copied):
    """The parts that both layers share: the parameters, the table and its statements."""

    _recreated = frozenset({"_statements", "_own", "_clients"})
    _supplied = ("engine", "table")
    _kind: ClassVar[type]
    engine: Any

    def __init__(self, engine: Any, table: str | Table = "idempotency", *, schema: str | None = None) -> None:
        if not isinstance(engine, self._kind):
            raise IdempotencyPersistenceConfigError(
                f"{type(self).__name__} needs an {self._kind.__name__}, not {type(engine).__name__}."
            )
        self.engine = engine
        require_shared_database(self._sync_engine)
        if isinstance(table, Table):
            if schema is not None:
                raise IdempotencyPersistenceConfigError(
                    "Give the schema to idempotency_table, not to the layer."
                )
            if not set(COLUMNS) <= set(table.columns.keys()):
                raise IdempotencyPersistenceConfigError(
                    f"The Table {table.fullname!r} is not what idempotency_table(metadata) returns. Use that."
                )
        elif isinstance(table, str) and table:
            table = idempotency_table(MetaData(), table, schema=schema)
        else:
            raise IdempotencyPersistenceConfigError(f"table must be a name or a Table, not {table!r}.")
        self.table = table
        self._initialize()

    def _records(self) -> Records:
        dialect, url = self._sync_engine.dialect, self._sync_engine.url
        table = dialect.identifier_preparer.format_table(self.table)
        if dialect.name in MYSQL:
            return Records(within.MYSQL, table, str.encode, lambda stored: bytes(stored).decode())
        path = None
        if dialect.name == SQLITE and url.database and not url.database.startswith("file:"):
            path = url.database
        return Records(dialect.name, table, str, str, path)

    def __repr__(self) -> str:
        address = self._sync_engine.url.render_as_string(hide_password=True)
        return f"{type(self).__name__}({address!r}, {self.table.fullname!r})"

    @property
    def _sync_engine(self) -> Engine:
        given: Any = self.engine
        engine: Engine = given.sync_engine if isinstance(given, AsyncEngine) else given
        return engine

    def _initialize(self) -> None:
        self._statements = Statements(self.table, self._sync_engine.dialect)
        self._prepare()

    def _prepare(self) -> None:
        raise NotImplementedError

    def _failure(self, error: Exception, key: str | None) -> BaseException:
        """Return what to raise for an error of SQLAlchemy or of its driver."""
        interrupt = any_interrupts().behind(error)
        if interrupt is not None:
            return interrupt
        if trouble_of(error) is Trouble.NO_TABLE:
            self._statements.forget_check()
        where = f"The table {self.table.fullname!r}"
        return named_error(error, where, key, self._sync_engine.url)

    def _creation(self) -> Exchange:
        """Create the table, unless it exists."""
        failure: Exception | None = None
        try:
            yield Ask("run", (self.table.create, True))
        except Exception as error:  # noqa: BLE001 - raised below, if it is not that another process was faster
            failure = error
        try:
            yield Ask("run", (require_own_table, self.table))
        except IdempotencyPersistenceConfigError as refusal:
            if failure is None or not refusal.may_pass:
                raise
        else:
            return
        raise failure


class SQLAlchemyPersistenceLayer(_OverSQLAlchemy, CompareAndSwapLayer):
    """Stores records in a table of a database, through an engine of SQLAlchemy 2.

    PostgreSQL, MariaDB and SQLite are tested; MySQL gets the same requests as MariaDB. Other databases work
    if they enforce the primary key and count changed rows; the layer refuses drivers that do not count. Each
    statement is a transaction of its own, on connections of the layer's own: a pool like the engine's, with
    its settings and event listeners. So requests never wait for connections that their callers hold, and
    never see or end their transactions.

    It is safe to share between threads and forks. Delete expired records regularly with :meth:`purge`.

    Parameters
    ----------
    engine
        The engine. It must lead to the primary server, not to a replica.
    table
        The name of the table, or what :func:`~idemproof.idempotency_table` returned.
    schema
        The schema of the table, if ``table`` is a name.

    Raises
    ------
    IdempotencyPersistenceConfigError
        The engine cannot be used: it is async, in memory, or has one connection for all threads. On first
        use: the table is missing, or it is not a table of this layer.
    """

    _kind = Engine
    engine: Engine
    """The engine that was given."""

    def __init__(
        self, engine: Engine, table: str | Table = "idempotency", *, schema: str | None = None
    ) -> None:
        super().__init__(engine, table, schema=schema)

    def _prepare(self) -> None:
        self._own = Client(self.engine)

    def _load(self, key: str) -> Record | None:
        record: Record | None = self._perform(self._statements.load(key), key)
        return record

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:  # noqa: ARG002
        record: Record | None = self._perform(self._statements.swap(key, expected, new), key)
        return record

    def create_table(self) -> None:
        """Create the table and its index, unless they exist."""
        self._perform(self._creation())

    def purge(self, now: int | None = None) -> int:
        """Delete all expired records, in batches, and return how many there were.

        Records that another transaction has locked, and corrupt ones, are kept.

        Parameters
        ----------
        now
            Epoch milliseconds; the layer's clock if not given.
        """
        gone: int = self._perform(self._statements.purge(self.clock() if now is None else now))
        return gone

    def close(self) -> None:
        """Close the layer's own connections. The layer stays usable: it opens new ones."""
        self._own.close()

    def _perform(self, exchange: Exchange, key: str | None = None) -> Any:
        try:
            return perform(exchange, self._own)
        except IdempotencyError:
            raise
        except Exception as error:  # noqa: BLE001 - raised below, outside of the handler
            trouble = error
        if trouble_of(trouble) is Trouble.READ_ONLY:
            self._own.close()  # new connections lead to the new primary
        raise self._failure(trouble, key)


class AsyncSQLAlchemyPersistenceLayer(_OverSQLAlchemy, AsyncCompareAndSwapLayer):
    """:class:`SQLAlchemyPersistenceLayer` for ``async def`` functions, over an ``AsyncEngine``.

    Each event loop gets a pool of its own, which is closed when the loop shuts down.

    Parameters
    ----------
    engine
        The async engine.
    table, schema
        As for :class:`SQLAlchemyPersistenceLayer`.
    """

    _kind = AsyncEngine
    engine: AsyncEngine
    """The engine that was given."""

    def __init__(
        self, engine: AsyncEngine, table: str | Table = "idempotency", *, schema: str | None = None
    ) -> None:
        super().__init__(engine, table, schema=schema)

    def _prepare(self) -> None:
        from ..drivers.event_loops import ClientPerLoop  # noqa: PLC0415 - loads asyncio

        self._clients = ClientPerLoop(self._connect)

    async def _load(self, key: str) -> Record | None:
        record: Record | None = await self._perform(self._statements.load(key), key)
        return record

    async def _swap(
        self,
        key: str,
        expected: Record | None,
        new: Record | None,
        ttl_ms: int,  # noqa: ARG002
    ) -> Record | None:
        record: Record | None = await self._perform(self._statements.swap(key, expected, new), key)
        return record

    async def create_table(self) -> None:
        """Create the table and its index, unless they exist."""
        await self._perform(self._creation())

    async def purge(self, now: int | None = None) -> int:
        """Delete all expired records, as :meth:`SQLAlchemyPersistenceLayer.purge` does."""
        gone: int = await self._perform(self._statements.purge(self.clock() if now is None else now))
        return gone

    async def close(self) -> None:
        """Close the running event loop's connections. The layer stays usable: it opens new ones."""
        await self._clients.close()

    async def _perform(self, exchange: Exchange, key: str | None = None) -> Any:
        client = await self._clients.get(key)
        try:
            return await perform_async(exchange, client)
        except IdempotencyError:
            raise
        except Exception as error:  # noqa: BLE001 - raised below, outside of the handler
            trouble = error
        if trouble_of(trouble) is Trouble.READ_ONLY:
            await client.engine.dispose()
        raise self._failure(trouble, key)

    def _connect(self) -> AsyncClient:
        return AsyncClient(self.engine)
