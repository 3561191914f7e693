"""The Redis and Valkey layers: one SET claims or returns the stored record, another replaces a record."""

import json
import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ..drivers.exchanges import Exchange, class_names, perform, perform_async
from ..drivers.interrupts import hidden_interrupt, raise_interrupt
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
from .redis_errors import may_have_moved, translate_error
from .redis_other_clients import Glide, ThreeMethods, warn_of_three_methods
from .redis_values import RedisValues

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

_DEFAULT_PORT = 6379
_LIBRARIES_OWN = {"RedisError", "ValkeyError"}


class _OverRedis(NamesOnLayer, Copied, ABC):
    """The parts that both layers share: the documented parameters and the client."""

    _asynchronous: ClassVar[bool]
    _names = frozenset(
        {
            *("in_progress_expiry_attr", "expiry_attr", "status_attr", "data_attr"),
            *("validation_key_attr", "owner_attr"),
        }
    )
    _names_holder = "_values"
    _supplied = ("client",)

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
        self._initialize()
        if client is not None:
            self._bind(client)

    def _initialize(self) -> None:
        # The client in use, the builder of its requests, and the object that performs them.
        self._binding: tuple[Any, RedisValues | ThreeMethods, Any] = (None, self._values, None)
        self._created_client: Any = None
        self._prepare_client()

    def _bind(self, client: Any) -> tuple[Any, RedisValues | ThreeMethods, Any]:
        """Return ``client``, the builder of its requests and the object that performs them.

        Raises
        ------
        IdempotencyPersistenceConfigError
            The client cannot be used.
        """
        kind = kind_of(client, asynchronous=self._asynchronous)
        if kind == "three methods":
            self._binding = (client, ThreeMethods(self._values), client)
            warn_of_three_methods(client)
        else:
            self._binding = (client, self._values, Glide(client) if kind == "glide" else client)
        return self._binding

    def _item_to_data_record(self, idempotency_key: str, item: dict[str, Any]) -> DataRecord:
        """Return the record in a decoded value, for subclasses written for Powertools."""
        return DataRecord.of(self._values.decode(idempotency_key, json.dumps(item)))

    @abstractmethod
    def _prepare_client(self) -> None:
        """Make a client if the user has supplied none, or prepare to make clients."""


class RedisCachePersistenceLayer(_OverRedis, CompareAndSwapLayer):
    """Stores records in Redis or Valkey, for any number of machines. Safe to share between threads and forks.

    A record is one JSON object under its idempotency key. The store deletes it by its time to live. Redis 7
    and Valkey claim with ``SET NX GET``; Valkey 8.1 and Redis 8.4 replace with ``SET IFEQ``. In older
    releases a script does the same. The layer never reads from replicas. A store that evicts keys when its
    memory is full loses records, so set ``noeviction`` or provide enough memory. A result larger than the
    store's ``proto-max-bulk-len`` looks like an outage.

    Parameters
    ----------
    url
        ``rediss://user:password@host:6379/0``. It replaces the next parameters except ``mode``.
    host, port, username, password
        The address of the store, and the credentials.
    db_index
        The number of the database; ignored for a cluster.
    mode
        ``standalone`` or ``cluster``.
    ssl
        Whether to use TLS and verify the server's certificate.
    client
        A client with the methods of redis-py (redis, valkey, fakeredis; standalone, cluster or Sentinel) or a
        Valkey GLIDE client, used with its own timeouts and retries. The parameters above are then ignored. A
        client with only ``get``, ``set`` and ``delete`` works too, but is not fenced, and causes a warning.
    in_progress_expiry_attr, expiry_attr, status_attr, data_attr, validation_key_attr
        The attributes for lease (epoch milliseconds), expiry (epoch seconds), status, result, payload hash.
    owner_attr
        The attribute for the owner token of a record.

    Raises
    ------
    IdempotencyPersistenceConfigError
        A parameter is invalid, or redis is not installed. A missing address is an error at the first request,
        so that a module can be imported without it.
    IdempotencyPersistenceConnectionError
        No node of the cluster can be reached.
    """

    _asynchronous = False
    _recreated = frozenset({"_binding", "_created_client"})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self.client).__name__})"

    def _kept(self) -> dict[str, Any]:
        made_here = {"client": None} if self.client is self._created_client else {}
        return super()._kept() | made_here

    def _supplied_objects(self) -> dict[str, Any]:
        return {} if self.client is self._created_client else super()._supplied_objects()

    def _prepare_client(self) -> None:
        if self.client is None and (self._address.url or self._address.host):
            import redis  # noqa: PLC0415 - loaded when used

            self.client = self._created_client = self._address.client(redis)

    def _loses(self, kind: type[Exception]) -> bool:
        return retries_after(self.client, kind)

    def _load(self, key: str) -> Record | None:
        binding = self._binding
        if binding[0] is not self.client or self._values.missing or binding[0] is None:
            binding = self._require_binding(key)
        client, values, asked = binding
        return self._perform(values.load(key), key, client, asked)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        binding = self._binding
        if binding[0] is not self.client or self._values.missing or binding[0] is None:
            binding = self._require_binding(key)
        client, values, asked = binding
        return self._perform(values.swap(key, expected, new, ttl_ms), key, client, asked)

    def _require_binding(self, key: str) -> tuple[Any, RedisValues | ThreeMethods, Any]:
        """Return what :meth:`_bind` returns; raise an error if a name or the address is missing."""
        client = self.client
        self._values.require(key)
        if client is None:
            self._address.require(key)
        return self._bind(client)

    def _perform(self, exchange: Exchange, key: str, client: Any, asked: Any) -> Record | None:
        before = sys.exception()
        try:
            record: Record | None = perform(exchange, asked)
        except IdempotencyPersistenceLayerError:
            raise
        except BaseException as error:
            if not class_names(error) & _LIBRARIES_OWN or may_have_moved(error):
                # After an exception from a signal handler, a connection with an unread reply may be in the
                # pool, and the next request would read it. After a failover, idle connections lead to the
                # old primary.
                try:
                    drop_idle_connections(client)
                except Exception as dropping:  # noqa: BLE001 - the other error is more useful
                    raise_interrupt(dropping)
            interrupt = hidden_interrupt(error, before)
            if interrupt is error:
                raise
            if interrupt is not None:
                raise interrupt from None
            failure = translate_error(error, key, secrets_of(client))  # type: ignore[arg-type]  # no interrupt
        else:
            return record
        raise failure  # outside of the handler, because its context may contain a secret

    def close(self) -> None:
        """Close the idle connections, if the layer has made the client. The layer stays usable."""
        if self._created_client is not None:
            drop_idle_connections(self._created_client)


class AsyncRedisCachePersistenceLayer(_OverRedis, AsyncCompareAndSwapLayer):
    """:class:`RedisCachePersistenceLayer` for ``async def`` functions, with ``redis.asyncio``.

    Each event loop gets its own client on first use. The client is closed when the loop shuts down.

    Parameters
    ----------
    url, host, port, username, password, db_index, mode, ssl
        As for :class:`RedisCachePersistenceLayer`.
    client
        An async client with the methods of redis-py, used in the event loop that it belongs to.
    in_progress_expiry_attr, expiry_attr, status_attr, data_attr, validation_key_attr, owner_attr
        As for :class:`RedisCachePersistenceLayer`.

    Raises
    ------
    IdempotencyPersistenceConfigError
        A parameter is invalid, or redis is not installed.
    """

    _asynchronous = True
    _recreated = frozenset({"_binding", "_created_client", "_clients"})

    def __repr__(self) -> str:
        whose = "a client for each event loop" if self.client is None else type(self.client).__name__
        return f"{type(self).__name__}({whose})"

    def _prepare_client(self) -> None:
        from ..drivers.event_loops import ClientPerLoop  # noqa: PLC0415 - loads asyncio, which doubles the import time

        self._clients = ClientPerLoop(self._connect)

    async def _load(self, key: str) -> Record | None:
        return await self._perform(key, "load")

    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, ttl_ms: int
    ) -> Record | None:
        return await self._perform(key, "swap", expected, new, ttl_ms)

    async def _perform(self, key: str, request: str, *what: Any) -> Record | None:
        client = self.client
        if client is None:
            self._address.require(key)
        self._values.require(key)
        values: RedisValues | ThreeMethods = self._values
        asked = None
        if client is not None:
            binding, values, asked = self._binding
            if binding is not client:
                _, values, asked = self._bind(client)
            self._clients.check_supplied(client, key)
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
            failure = translate_error(error, key, secrets)
        else:
            return record
        raise failure

    async def close(self) -> None:
        """Close the running event loop's client, if the layer has made it. The layer stays usable."""
        if self.client is None:
            await self._clients.close()

    def _connect(self) -> "AbstractAsyncContextManager[Any]":
        from redis import asyncio as redis  # noqa: PLC0415 - loaded when used

        from .redis_async_clients import ClosingAll  # noqa: PLC0415 - loads asyncio

        return ClosingAll(self._address.client(redis))


CachePersistenceLayer = RedisCachePersistenceLayer
AsyncCachePersistenceLayer = AsyncRedisCachePersistenceLayer
