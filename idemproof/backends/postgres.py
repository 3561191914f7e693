"""The PostgreSQL layer: a table, one statement for each request, and connections of its own."""

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from importlib.util import find_spec
from typing import Any, ClassVar

from ..drivers.exchanges import Exchange, class_names, perform, perform_async
from ..drivers.interrupts import hidden_interrupt, raise_interrupt
from ..spec.errors import (
    IdempotencyError,
    IdempotencyPersistenceConfigError,
)
from ..spec.record import Record
from .base import AsyncCompareAndSwapLayer, CompareAndSwapLayer
from .copies import Copied
from .names import whole
from .postgres_errors import may_have_moved, translate_error
from .postgres_signals import Signals
from .postgres_statements import PostgresTable
from .within import Records

_SECRETS = ("password", "sslpassword", "oauth_client_secret")


class _OverPostgres(Copied, ABC):
    """The parts that both layers share: the parameters, the table and the translation of errors."""

    _supplied = ("_source",)

    def __init__(
        self,
        conninfo: str | Mapping[str, Any] | Any = "",
        *,
        table: str = "idempotency",
        schema: str | None = None,
        max_connections: int = 10,
        timeout_seconds: float = 5.0,
    ) -> None:
        self._table = PostgresTable(table, schema)
        self._size = whole("max_connections", max_connections, 1)
        self._seconds = _checked_seconds(timeout_seconds)
        if find_spec("psycopg") is None:
            raise IdempotencyPersistenceConfigError(
                "This needs psycopg 3: pip install 'idemproof[postgres]'."
            )
        self._settings: dict[str, Any] = {}
        self._source: Any = None
        if isinstance(conninfo, Mapping):
            self._settings = dict(conninfo)
        elif isinstance(conninfo, str):
            self._settings = _settings_of(conninfo)
        elif callable(conninfo) or callable(getattr(conninfo, "connection", None)):
            self._source = conninfo
        else:
            raise IdempotencyPersistenceConfigError(
                "conninfo must be the address of a database, a pool of psycopg, or a callable that returns a "
                f"connection, not a {type(conninfo).__name__}."
            )
        self._secrets = sorted({str(value) for name in _SECRETS if (value := self._settings.get(name))})
        self._initialize()

    @property
    def ddl(self) -> str:
        """The statements that create the table, for migrations."""
        return self._table.ddl

    def _records(self) -> Records:
        return self._table.records()

    def __repr__(self) -> str:
        where = type(self._source).__name__
        if self._source is None:
            known = [
                f"{name}={self._settings[name]}"
                for name in ("host", "port", "dbname")
                if name in self._settings
            ]
            where = " ".join(known) or "the default database"
        return f"{type(self).__name__}({where}, table={self._table.name})"

    def _translated(self, error: Exception, what: str) -> IdempotencyError:
        return translate_error(error, what, self._table.name, self._secrets)

    def _new_signals(self) -> Signals | None:
        """Return the signals for calls that wait. They need a connection of the layer's own."""
        if self._source is not None:
            return None
        return Signals(self._settings, self._seconds, self._table, self._secrets)

    @abstractmethod
    def _initialize(self) -> None:
        """Create what each copy has for itself."""


class PostgresPersistenceLayer(_OverPostgres, CompareAndSwapLayer):
    """Stores records in a table of PostgreSQL, for any number of machines.

    It is safe to share between threads, and to use on both sides of a fork. Each request is one statement,
    committed by itself, on a connection that is in no transaction. By default the layer has connections of
    its own: with those of the application, a request could wait for a connection that its caller holds. It
    works through PgBouncer in transaction mode, and then prepares no statements. Create the table with
    :meth:`create_table`, or in a migration.

    Parameters
    ----------
    conninfo
        ``postgresql://user@host/database``, or any other text or mapping of libpq's parameters; libpq's
        environment variables have the rest. Or a pool of psycopg, or a callable that returns a connection or
        a context manager for one. Connections that are lent are used in autocommit mode.
    table, schema
        The table; by default the one that ``search_path`` finds.
    max_connections
        How many connections the layer has at most in each process for its requests. Further requests wait.
        While calls wait for another attempt, one more connection listens for changes, so that they need not
        poll. Through a pooler, and with connections that are lent, they poll.
    timeout_seconds
        How long a request waits for a connection, and how long for the server while nothing arrives.

    Raises
    ------
    IdempotencyPersistenceConfigError
        A parameter is invalid, or psycopg is not installed. A table that is missing or not for records is an
        error of the first request.
    """

    _recreated: ClassVar[frozenset[str]] = frozenset({"_client", "_signals"})

    def _initialize(self) -> None:
        self._client: Any = None
        self._signals = self._new_signals()

    @property
    def _wait_for_change(self) -> Callable[[str, Record, float], bool] | None:  # type: ignore[override]
        signals = self._signals
        return signals.wait if signals is not None and signals.are_possible else None

    @property
    def _wait_for_change_async(self) -> Callable[[str, Record, float], Awaitable[bool]] | None:
        signals = self._signals
        return signals.wait_async if signals is not None and signals.are_possible else None

    def _load(self, key: str) -> Record | None:
        record: Record | None = self._perform(self._table.load(key), repr(key))
        return record

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:  # noqa: ARG002
        record: Record | None = self._perform(self._table.swap(key, expected, new), repr(key))
        return record

    def create_table(self) -> None:
        """Create the table and its index, unless they exist, and check them."""
        self._perform(self._table.create(), "its creation", checked=False)

    def purge(self, now: int | None = None) -> int:
        """Delete all expired records and return how many there were. Locked and corrupt records are kept.

        Parameters
        ----------
        now
            Epoch milliseconds; the layer's clock if not given.
        """
        total: int = self._perform(self._table.purge(self.clock() if now is None else now), "purge()")
        return total

    def close(self) -> None:
        """Close the idle connections of the layer's own, and the one that listens. The layer stays usable."""
        try:
            if self._signals is not None:
                self._signals.close()
        finally:
            if self._client is not None:
                self._client.close()

    def _perform(self, exchange: Exchange, what: str, *, checked: bool = True) -> Any:
        before = sys.exception()
        client = self._client
        try:
            if client is None:
                client = self._client = self._new_client()
            if not checked:
                client = self._new_client(checked=False)
                try:
                    return perform(exchange, client)
                finally:
                    client.close()
            return perform(exchange, client)
        except IdempotencyError:
            raise
        except BaseException as error:
            interrupt = hidden_interrupt(error, before)
            if client is not None and interrupt is None and may_have_moved(error):
                try:
                    client.drop_idle()
                except Exception as dropping:  # noqa: BLE001 - the other error is more useful
                    raise_interrupt(dropping)
            if interrupt is error:
                raise
            if interrupt is not None:
                raise interrupt from None
            if not class_names(error) & {"Error", "OSError", "UnicodeError"}:
                raise  # an interrupt that a configuration declares, or an error of the user's callable
            failure = self._translated(error, what)  # type: ignore[arg-type]  # no interrupt
        raise failure  # outside of the handler, because its context may contain a secret

    def _new_client(self, *, checked: bool = True) -> Any:
        from .postgres_pools import BlockingPool  # noqa: PLC0415 - loads psycopg
        from .postgres_supplied import BlockingSupplied  # noqa: PLC0415 - same

        check = self._table.check if checked else _no_check
        if self._source is not None:
            return BlockingSupplied(self._source, check)
        return BlockingPool(self._settings, self._size, self._seconds, check)


class AsyncPostgresPersistenceLayer(_OverPostgres, AsyncCompareAndSwapLayer):
    """:class:`PostgresPersistenceLayer` for ``async def`` functions. Each event loop has its own connections.

    Parameters
    ----------
    conninfo
        As for :class:`PostgresPersistenceLayer`; an async pool, or a callable that returns an async
        connection, an awaitable of one, or an async context manager for one.
    table, schema, max_connections, timeout_seconds
        As for :class:`PostgresPersistenceLayer`. The connections are those of one event loop.

    Raises
    ------
    IdempotencyPersistenceConfigError
        A parameter is invalid, or psycopg is not installed.
    """

    _recreated: ClassVar[frozenset[str]] = frozenset({"_client", "_clients", "_signals"})

    def _initialize(self) -> None:
        from ..drivers.event_loops import ClientPerLoop  # noqa: PLC0415 - loads asyncio

        self._client: Any = None
        self._clients = ClientPerLoop(self._new_pool)
        self._signals = self._new_signals()

    @property
    def _wait_for_change(self) -> Callable[[str, Record, float], Awaitable[bool]] | None:  # type: ignore[override]
        signals = self._signals
        return signals.wait_async if signals is not None and signals.are_possible else None

    async def _load(self, key: str) -> Record | None:
        record: Record | None = await self._perform(self._table.load(key), key, repr(key))
        return record

    async def _swap(
        self,
        key: str,
        expected: Record | None,
        new: Record | None,
        ttl_ms: int,  # noqa: ARG002 - the record says when it expires
    ) -> Record | None:
        record: Record | None = await self._perform(self._table.swap(key, expected, new), key, repr(key))
        return record

    async def create_table(self) -> None:
        """Create the table and its index, unless they exist, and check them."""
        await self._perform(self._table.create(), None, "its creation", checked=False)

    async def purge(self, now: int | None = None) -> int:
        """Delete all expired records and return how many there were. Locked and corrupt records are kept.

        Parameters
        ----------
        now
            Epoch milliseconds; the layer's clock if not given.
        """
        exchange = self._table.purge(self.clock() if now is None else now)
        total: int = await self._perform(exchange, None, "purge()")
        return total

    async def close(self) -> None:
        """Close the running event loop's connections of the layer's own, and the one that listens.

        The layer stays usable.
        """
        try:
            if self._signals is not None:
                await self._signals.close_async()
        finally:
            await self._clients.close()

    async def _perform(self, exchange: Exchange, key: str | None, what: str, *, checked: bool = True) -> Any:
        client: Any = None
        try:
            if not checked:
                async with self._new_pool(checked=False) as client:
                    return await perform_async(exchange, client)
            if self._source is None:
                client = await self._clients.get(key)
            else:
                if self._client is None:
                    self._client = self._new_pool()
                client = self._client
            return await perform_async(exchange, client)
        except IdempotencyError:
            raise
        except Exception as error:
            if client is not None and may_have_moved(error):
                try:
                    await client.drop_idle()
                except Exception as dropping:  # noqa: BLE001 - as in the blocking layer
                    raise_interrupt(dropping)
            if not class_names(error) & {"Error", "OSError", "UnicodeError"}:
                raise
            failure = self._translated(error, what)
        raise failure

    def _new_pool(self, *, checked: bool = True) -> Any:
        from .postgres_pools import AsyncPool  # noqa: PLC0415 - loads psycopg
        from .postgres_supplied import AsyncSupplied  # noqa: PLC0415 - same

        check = self._table.check if checked else _no_check
        if self._source is not None:
            return AsyncSupplied(self._source, check)
        return AsyncPool(self._settings, self._size, self._seconds, check)


def _no_check() -> Exchange:
    """Check nothing, because the table may not exist yet. No statement is prepared either."""
    yield from ()
    return 0


def _settings_of(conninfo: str) -> dict[str, Any]:
    try:
        from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 - loaded when used

        return dict(conninfo_to_dict(conninfo))
    except ImportError as error:
        failure = IdempotencyPersistenceConfigError(
            f"psycopg cannot be loaded: {error}. Use pip install 'idemproof[postgres]'."
        )
    except Exception as error:  # noqa: BLE001 - psycopg's, whose text may have the password
        failure = IdempotencyPersistenceConfigError(
            f"conninfo is invalid ({type(error).__name__}). It looks like "
            "postgresql://user:password@host/database, with special characters percent-encoded."
        )
    raise failure  # outside of the handlers, because its context may contain a secret


def _checked_seconds(seconds: object) -> float:
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds < math.inf:
        return float(seconds)
    raise IdempotencyPersistenceConfigError(
        f"timeout_seconds must be a finite number of seconds above 0, not {seconds!r}."
    )
