"""The Redis and Valkey layers: one SET claims or brings the holder, another replaces what is expected."""

import json
import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ..drivers.exchanges import Exchange, kinds, perform, perform_async
from ..drivers.interrupts import raise_interrupt
from ..spec.errors import IdempotencyPersistenceLayerError
from ..spec.record import Record
from .base import AsyncCompareAndSwapLayer, CompareAndSwapLayer
from .copies import Copied
from .names import NamesOnLayer
from .records import DataRecord
from .redis_clients import (
    Address,
    drop_idle_connections,
    drop_idle_connections_async,
    kind_of,
    retries_after,
    secrets_of,
)
from .redis_errors import explained, interrupt_behind, may_have_moved
from .redis_other_clients import Glide, ThreeMethods, warn_of_three_methods
from .redis_values import RedisValues

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

_DEFAULT_PORT = 6379
_LIBRARIES_OWN = {"RedisError", "ValkeyError"}


class _OverRedis(NamesOnLayer, Copied, ABC):
    """What both layers are made of: the documented parameters."""

    _asynchronous: ClassVar[bool]
    _names = frozenset(
        {
            *("in_progress_expiry_attr", "expiry_attr", "status_attr", "data_attr"),
            *("validation_key_attr", "owner_attr"),
        }
    )
    _names_holder = "_values"
    _brought = ("client",)

    def __init__(
        self,
        url: str = "",
        host: str = "",
        port: int = _DEFAULT_PORT,
        username: str = "",
        password: str = "",
        db_index: int = 0,
        mode: Literal["standalone", "cluster"] = "standalone",
        ssl: bool = True,
        client: Any = None,
        in_progress_expiry_attr: str = "in_progress_expiration",
        expiry_attr: str = "expiration",
        status_attr: str = "status",
        data_attr: str = "data",
        validation_key_attr: str = "validation",
        *,
        owner_attr: str = "owner",
    ) -> None:
        self._values = RedisValues(
            in_progress_expiry_attr, expiry_attr, status_attr, data_attr, validation_key_attr, owner_attr
        )
        self._show_names()
        self._address = Address(url, host, port, username, password, db_index, mode, ssl)
        if client is None:
            self._address = self._address.checked()
        self.client = client
        self._begin()
        if client is not None:
            self._asked(client)

    def _begin(self) -> None:
        # The client that is known, how it is asked for records, and as what.
        self._known: tuple[Any, RedisValues | ThreeMethods, Any] = (None, self._values, None)
        self._own: Any = None
        self._prepare()

    def _asked(self, client: Any) -> tuple[Any, RedisValues | ThreeMethods, Any]:
        """Return ``client``, how it is asked for records, and as what; refuse one that cannot be used."""
        kind = kind_of(client, asynchronous=self._asynchronous)
        if kind == "three methods":
            self._known = (client, ThreeMethods(self._values), client)
            warn_of_three_methods(client)
        else:
            self._known = (client, self._values, Glide(client) if kind == "glide" else client)
        return self._known

    def _item_to_data_record(self, idempotency_key: str, item: dict[str, Any]) -> DataRecord:
        """Return what a decoded value says, for subclasses written for Powertools."""
        return DataRecord.of(self._values.decode(idempotency_key, json.dumps(item)))

    @abstractmethod
    def _prepare(self) -> None:
        """Make a client if none was brought, or be ready to."""


class RedisCachePersistenceLayer(_OverRedis, CompareAndSwapLayer):
    """Keeps records in Redis or Valkey, for any number of machines. Safe to share between threads and forks.

    A record is one JSON object under its idempotency key, and goes with the store's own time to live. Redis 7
    and Valkey claim by ``SET NX GET``, Valkey 8.1 and Redis 8.4 replace by ``SET IFEQ``; a script does the
    same in those that are older. Nothing is read from replicas. A store that evicts keys when its memory is
    full loses records: give it ``noeviction`` or room. A result larger than the store's
    ``proto-max-bulk-len`` cannot be told from an outage.

    Parameters
    ----------
    url
        ``rediss://user:password@host:6379/0``; instead of the next parameters but ``mode``.
    host, port, username, password
        Where the store is, and who asks.
    db_index
        The database's number; a cluster has none.
    mode
        ``standalone`` or ``cluster``.
    ssl
        Whether to encrypt, and to check the server's certificate.
    client
        A client of redis-py's protocol (redis, valkey, fakeredis; standalone, cluster or Sentinel's) or of
        Valkey GLIDE, used as it is: with its own timeouts and retries. The parameters before are ignored
        then. One with ``get``, ``set`` and ``delete`` alone works too, but is not fenced; it warns of that.
    in_progress_expiry_attr, expiry_attr, status_attr, data_attr, validation_key_attr
        The attributes for lease (epoch milliseconds), expiry (epoch seconds), status, result, payload hash.
    owner_attr
        The attribute for the token of the attempt that wrote a record.

    Raises
    ------
    IdempotencyPersistenceConfigError
        A parameter cannot be used, or redis is not installed. That nothing says where the store is, is an
        error at the first request, so that a module can be imported without it.
    IdempotencyPersistenceConnectionError
        No node of the cluster can be reached.
    """

    _asynchronous = False
    _made_anew = frozenset({"_known", "_own"})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self.client).__name__})"

    def _kept(self) -> dict[str, Any]:
        made_here = {"client": None} if self.client is self._own else {}
        return super()._kept() | made_here

    def _brought_things(self) -> dict[str, Any]:
        return {} if self.client is self._own else super()._brought_things()

    def _prepare(self) -> None:
        if self.client is None and (self._address.url or self._address.host):
            import redis  # noqa: PLC0415 - loaded when used

            self.client = self._own = self._address.client(redis)

    def _loses(self, kind: type[Exception]) -> bool:
        return retries_after(self.client, kind)

    def _load(self, key: str) -> Record | None:
        known = self._known
        if known[0] is not self.client or self._values.missing or known[0] is None:
            known = self._ready(key)
        client, values, asked = known
        return self._perform(values.load(key), key, client, asked)

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        known = self._known
        if known[0] is not self.client or self._values.missing or known[0] is None:
            known = self._ready(key)
        client, values, asked = known
        return self._perform(values.swap(key, expected, new, keep_ms), key, client, asked)

    def _ready(self, key: str) -> tuple[Any, RedisValues | ThreeMethods, Any]:
        """Return the client, how it is asked for records, and as what; raise what is missing."""
        client = self.client
        self._values.require(key)
        if client is None:
            self._address.require(key)
        return self._asked(client)

    def _perform(self, exchange: Exchange, key: str, client: Any, asked: Any) -> Record | None:
        before = sys.exception()
        try:
            record: Record | None = perform(exchange, asked)
        except IdempotencyPersistenceLayerError:
            raise
        except BaseException as error:
            if not kinds(error) & _LIBRARIES_OWN or may_have_moved(error):
                # A signal's handler, perhaps: then a connection with an unread reply is back in the pool,
                # which the next request would read. Or a failover: then what is idle leads to where
                # the store was.
                try:
                    drop_idle_connections(client)
                except Exception as dropping:  # noqa: BLE001 - the other error tells more
                    raise_interrupt(dropping)
            interrupt = interrupt_behind(error, before)
            if interrupt is error:
                raise
            if interrupt is not None:
                raise interrupt from None
            failure = explained(error, key, secrets_of(client))  # type: ignore[arg-type]  # no interrupt
        else:
            return record
        raise failure  # outside of its context, which may tell a secret

    def close(self) -> None:
        """Close the idle connections, if the client was made here. The layer stays usable."""
        if self._own is not None:
            drop_idle_connections(self._own)


class AsyncRedisCachePersistenceLayer(_OverRedis, AsyncCompareAndSwapLayer):
    """:class:`RedisCachePersistenceLayer` for ``async def`` functions, by ``redis.asyncio``.

    Each event loop gets a client of its own on first use, which is closed when the loop shuts down.

    Parameters
    ----------
    url, host, port, username, password, db_index, mode, ssl
        As for :class:`RedisCachePersistenceLayer`.
    client
        An async client of redis-py's protocol, used in the event loop that it belongs to.
    in_progress_expiry_attr, expiry_attr, status_attr, data_attr, validation_key_attr, owner_attr
        As for :class:`RedisCachePersistenceLayer`.

    Raises
    ------
    IdempotencyPersistenceConfigError
        A parameter cannot be used, or redis is not installed.
    """

    _asynchronous = True
    _made_anew = frozenset({"_known", "_own", "_clients"})

    def __repr__(self) -> str:
        whose = "a client for each event loop" if self.client is None else type(self.client).__name__
        return f"{type(self).__name__}({whose})"

    def _prepare(self) -> None:
        from ..drivers.event_loops import ClientPerLoop  # noqa: PLC0415 - loads asyncio, as long as all the rest takes

        self._clients = ClientPerLoop(self._connect)

    async def _load(self, key: str) -> Record | None:
        return await self._perform(key, "load")

    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, keep_ms: int
    ) -> Record | None:
        return await self._perform(key, "swap", expected, new, keep_ms)

    async def _perform(self, key: str, request: str, *what: Any) -> Record | None:
        client = self.client
        if client is None:
            self._address.require(key)
        self._values.require(key)
        values: RedisValues | ThreeMethods = self._values
        asked = None
        if client is not None:
            known, values, asked = self._known
            if known is not client:
                _, values, asked = self._asked(client)
            self._clients.given(client, key)
        exchange: Exchange = getattr(values, request)(key, *what)
        try:
            if client is None:
                asked = client = await self._clients.get(key)
            record: Record | None = await perform_async(exchange, asked)
        except IdempotencyPersistenceLayerError:
            raise
        except Exception as error:  # noqa: BLE001 - raised below, as in the blocking layer
            if client is not None and may_have_moved(error):
                try:
                    await drop_idle_connections_async(client)
                except Exception as dropping:  # noqa: BLE001 - as in the blocking layer
                    raise_interrupt(dropping)
            secrets = secrets_of(client) if client is not None else self._address.secrets()
            failure = explained(error, key, secrets)
        else:
            return record
        raise failure

    async def close(self) -> None:
        """Close the running event loop's client, if it was made here. The layer stays usable."""
        if self.client is None:
            await self._clients.close()

    def _connect(self) -> "AbstractAsyncContextManager[Any]":
        from redis import asyncio as redis  # noqa: PLC0415 - loaded when used

        from .redis_async_clients import ClosingAll  # noqa: PLC0415 - loads asyncio

        return ClosingAll(self._address.client(redis))


CachePersistenceLayer = RedisCachePersistenceLayer
AsyncCachePersistenceLayer = AsyncRedisCachePersistenceLayer
