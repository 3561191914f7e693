"""The DynamoDB layers: a conditional write claims, completes or takes over, or returns the stored record."""

import os
import re
from abc import abstractmethod
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from ..drivers.exchanges import Exchange, perform, perform_async
from ..drivers.forksafe import give_lock, notice_fork
from ..spec.errors import IdempotencyPersistenceConfigError, IdempotencyPersistenceLayerError
from ..spec.record import Record
from .base import AsyncCompareAndSwapLayer, CompareAndSwapLayer
from .copies import Copied
from .credentials import without_aws_secrets
from .dynamodb_clients import check_client, make_async_client, make_client, retries_after, returns_conflict
from .dynamodb_errors import unusable
from .dynamodb_requests import NAMES, DynamoDBTable, Item
from .names import NamesOnLayer
from .records import DataRecord

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager


class _OverTable(NamesOnLayer, Copied):
    """The parts that both layers share, and the helpers that subclasses written for Powertools use."""

    _asynchronous: ClassVar[bool]
    _sdk: ClassVar[tuple[str, str]]
    """The library that makes clients, and the extra that installs it."""
    _names = NAMES
    _names_holder = "_table"

    def __init__(
        self,
        table_name: str,
        key_attr: str = "id",
        static_pk_value: str | None = None,
        sort_key_attr: str | None = None,
        expiry_attr: str = "expiration",
        in_progress_expiry_attr: str = "in_progress_expiration",
        status_attr: str = "status",
        data_attr: str = "data",
        validation_key_attr: str = "validation",
        boto_config: Any = None,
        session: Any = None,
        client: Any = None,
        *,
        owner_attr: str = "owner",
        static_pk_shards: int = 1,
    ) -> None:
        self._table = DynamoDBTable(
            table_name,
            key_attr,
            static_pk_value,
            sort_key_attr,
            expiry_attr,
            in_progress_expiry_attr,
            status_attr,
            data_attr,
            validation_key_attr,
            owner_attr,
            static_pk_shards,
        )
        self._show_names()
        if client is not None:
            check_client(client, asynchronous=self._asynchronous)
        elif session is None:
            _require(*self._sdk)
        self._config = boto_config
        self._session = session
        self._store_client(client)
        self._initialize()

    @abstractmethod
    def _store_client(self, client: Any) -> None:
        """Store the client that the user has supplied, or None."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._table.table_name!r})"

    @property
    def return_value_on_condition(self) -> dict[str, str]:
        """The parameter that makes a refused write return the item that prevented it."""
        return {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}

    @staticmethod
    def boto3_supports_condition_check_failure(boto3_version: str) -> bool:
        """Return whether a version of boto3 can return the item that prevented a write.

        The layer itself reads this from its client's service model.
        """
        numbers = [int(number) for number in re.findall(r"\d+", boto3_version)[:3]]
        return numbers >= [1, 26, 164]

    def _completion_item(self, new: Record) -> dict[str, Any]:
        return self._table.completion_item(new)

    def _get_key(self, idempotency_key: str) -> Item:
        """Return the key attributes of the item for an idempotency key."""
        return self._table.key(idempotency_key)

    def _item_to_data_record(self, item: Item) -> DataRecord:
        """Return the record in an item, under its idempotency key."""
        table = self._table
        name = table.key_attr if table.sort_key_attr is None else table.sort_key_attr
        return DataRecord.of(table.record(item[name]["S"], item))


class DynamoDBPersistenceLayer(_OverTable, CompareAndSwapLayer):
    """Stores records in a DynamoDB table, for any number of machines. Safe to share between threads.

    It needs the permissions ``dynamodb:PutItem`` (claim, takeover), ``dynamodb:UpdateItem`` (completion),
    ``dynamodb:DeleteItem`` (release) and ``dynamodb:GetItem``. Attributes that other software puts on an item
    while its function runs are kept. If ``UpdateItem`` is denied, completions use ``PutItem`` and lose them.
    Let the table's time to live delete items by ``expiry_attr``. You can read and set the names of the table
    and of its attributes on the layer. The client is made on first use. After a fork, parent and child do not
    share connections.

    Parameters
    ----------
    table_name
        The table. :meth:`create_table` creates it.
    key_attr
        The partition key, of type string.
    static_pk_value
        The partition of all records, if ``sort_key_attr`` is set. The default is ``idempotency#`` and the
        name of the Lambda function.
    sort_key_attr
        The sort key, of type string. If set, it holds the idempotency key.
    expiry_attr, in_progress_expiry_attr, status_attr, data_attr, validation_key_attr
        The attributes for expiry (epoch seconds), lease (epoch milliseconds), status, result, payload hash.
    boto_config
        A ``botocore.config.Config``, used unchanged. By default a request may take 10 seconds (5 to connect)
        and the SDK does not retry, because the engine does and both would multiply.
    boto3_session
        The ``boto3.session.Session`` that makes the client.
    boto3_client
        The client to use, with its own timeouts and retries. ``boto_config`` and ``boto3_session`` are then
        ignored. You can replace it later by setting the attribute ``client``.
    owner_attr
        The attribute for the owner token of a record.
    static_pk_shards
        The number of partitions over which records are spread, if ``sort_key_attr`` is set. The first is
        ``static_pk_value`` followed by ``#0``. With 1, the default, the only partition is
        ``static_pk_value``, as in Powertools for AWS Lambda. If you change the number, existing records are
        not found and their operations run again.

    Raises
    ------
    IdempotencyPersistenceConfigError
        A name is used twice, a number is invalid, or boto3 is not installed. A missing name is an error at
        the first request, so that a module can be imported without it.
    """

    _lock: AbstractContextManager[Any]
    _asynchronous = False
    _sdk = ("botocore", "dynamodb")
    _recreated = frozenset({"_lock", "_client", "_returns_conflict", "_updates", "_process"})
    _supplied = ("_supplied_client", "_session")

    def __init__(
        self,
        table_name: str,
        key_attr: str = "id",
        static_pk_value: str | None = None,
        sort_key_attr: str | None = None,
        expiry_attr: str = "expiration",
        in_progress_expiry_attr: str = "in_progress_expiration",
        status_attr: str = "status",
        data_attr: str = "data",
        validation_key_attr: str = "validation",
        boto_config: Any = None,
        boto3_session: Any = None,
        boto3_client: Any = None,
        *,
        owner_attr: str = "owner",
        static_pk_shards: int = 1,
    ) -> None:
        super().__init__(
            table_name,
            key_attr,
            static_pk_value,
            sort_key_attr,
            expiry_attr,
            in_progress_expiry_attr,
            status_attr,
            data_attr,
            validation_key_attr,
            boto_config,
            boto3_session,
            boto3_client,
            owner_attr=owner_attr,
            static_pk_shards=static_pk_shards,
        )

    def _store_client(self, client: Any) -> None:
        self._supplied_client = client

    def _initialize(self) -> None:
        give_lock(self)
        self._set_client(self._supplied_client)

    @property
    def client(self) -> Any:
        """The client, made on first use."""
        return self._get_client()

    @client.setter
    def client(self, client: Any) -> None:
        check_client(client, asynchronous=False)
        self.close()
        self._supplied_client = client
        self._set_client(client)

    def _loses(self, kind: type[Exception]) -> bool:
        config = (
            self._config
            if self._supplied_client is None
            else getattr(getattr(self._client, "meta", None), "config", None)
        )
        return config is not None and retries_after(config, kind)

    def _set_client(self, client: Any) -> None:
        self._returns_conflict = client is not None and returns_conflict(client)
        self._updates = callable(getattr(client, "update_item", None))
        self._process = os.getpid()
        self._client = client  # last, because other threads read it without the lock

    def _load(self, key: str) -> Record | None:
        return self._perform(self._table.load(key), self._get_client(key))

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:  # noqa: ARG002 - DynamoDB deletes by the item's expiry
        client = self._get_client(key)
        return self._perform(
            self._table.swap(
                key, expected, new, returns_conflict=self._returns_conflict, updates=self._updates
            ),
            client,
        )

    def _perform(self, exchange: Exchange, client: Any) -> Record | None:
        try:
            record: Record | None = perform(exchange, client)
        except IdempotencyPersistenceLayerError as error:
            failure = without_aws_secrets(error, client)
        else:
            return record
        raise failure  # outside of the handler, because its context may contain a secret

    def create_table(self) -> None:
        """Create the table with its time to live and on-demand billing, unless it exists.

        Use it for development. It needs the permissions ``dynamodb:CreateTable``, ``DescribeTable``,
        ``DescribeTimeToLive`` and ``UpdateTimeToLive``.

        Raises
        ------
        IdempotencyPersistenceConfigError
            A table with this name exists, but with a different key or a different time to live.
        """
        from .dynamodb_table import create_table  # noqa: PLC0415 - production does not need it

        self._perform(create_table(self._table), self.client)

    def close(self) -> None:
        """Close the connections of a client that the layer has made. The layer stays usable."""
        if self._supplied_client is None and self._client is not None:
            self._client.close()

    def _get_client(self, key: str | None = None) -> Any:
        if self._client is None or self._process != os.getpid():
            notice_fork()
            with self._lock:
                if self._client is None:
                    self._set_client(self._make_client(key))
                elif self._process != os.getpid():
                    # On shared connections, parent and child would get each other's replies.
                    self._client.close()
                    self._process = os.getpid()
        return self._client

    def _make_client(self, key: str | None) -> Any:
        self._table.require(key)
        try:
            return make_client(self._session, self._config)
        except Exception as error:  # noqa: BLE001 - nothing was sent yet
            refusal = unusable(self._table.table_name, error, key).because(error)
            refusal.__cause__ = error
            failure = without_aws_secrets(refusal)
        raise failure


class AsyncDynamoDBPersistenceLayer(_OverTable, AsyncCompareAndSwapLayer):
    """:class:`DynamoDBPersistenceLayer` for ``async def`` functions, with aiobotocore.

    Each event loop gets its own client on first use. The client is closed when the loop shuts down.

    Parameters
    ----------
    table_name, key_attr, static_pk_value, sort_key_attr, static_pk_shards
        As for :class:`DynamoDBPersistenceLayer`.
    expiry_attr, in_progress_expiry_attr, status_attr, data_attr, validation_key_attr, owner_attr
        As for :class:`DynamoDBPersistenceLayer`.
    boto_config
        An ``aiobotocore.config.AioConfig``, used unchanged. By default a request may take 10 seconds (5 to
        connect) and the SDK does not retry, because the engine does and both would multiply.
    session
        The ``aiobotocore.session.AioSession`` that makes the clients.
    client
        An open client, used in the event loop in which it was opened. ``boto_config`` and ``session`` are
        then ignored.

    Raises
    ------
    IdempotencyPersistenceConfigError
        A name is used twice, the client is blocking, or aiobotocore is not installed.
    """

    _asynchronous = True
    _sdk = ("aiobotocore", "dynamodb-async")
    _recreated = frozenset({"_clients", "_returns_conflict"})
    _supplied = ("client", "_session")

    def _store_client(self, client: Any) -> None:
        self.client = client

    def _initialize(self) -> None:
        from ..drivers.event_loops import ClientPerLoop  # noqa: PLC0415 - loads asyncio, which doubles the import time

        self._clients = ClientPerLoop(self._connect)
        self._returns_conflict: bool | None = None

    async def _load(self, key: str) -> Record | None:
        client = await self._get_client(key)
        return await self._perform(self._table.load(key), client)

    async def _swap(
        self,
        key: str,
        expected: Record | None,
        new: Record | None,
        ttl_ms: int,  # noqa: ARG002 - as in the blocking layer
    ) -> Record | None:
        client = await self._get_client(key)
        if self._returns_conflict is None:
            self._returns_conflict = returns_conflict(client)  # the same for every client of an SDK
        return await self._perform(
            self._table.swap(
                key,
                expected,
                new,
                returns_conflict=self._returns_conflict,
                updates=callable(getattr(client, "update_item", None)),
            ),
            client,
        )

    async def _perform(self, exchange: Exchange, client: Any) -> Record | None:
        try:
            record: Record | None = await perform_async(exchange, client)
        except IdempotencyPersistenceLayerError as error:
            failure = without_aws_secrets(error, client)
        else:
            return record
        raise failure  # as in the blocking layer

    async def create_table(self) -> None:
        """Create the table with its time to live; see :meth:`DynamoDBPersistenceLayer.create_table`."""
        from .dynamodb_table import create_table  # noqa: PLC0415 - production does not need it

        client = await self._get_client()
        await self._perform(create_table(self._table), client)

    async def close(self) -> None:
        """Close the running event loop's client, if the layer has made it. The layer stays usable."""
        await self._clients.close()

    async def _get_client(self, key: str | None = None) -> Any:
        if self.client is not None:
            return self._clients.check_supplied(self.client, key)
        self._table.require(key)
        try:
            return await self._clients.get(key)
        except IdempotencyPersistenceLayerError:
            raise
        except Exception as error:  # noqa: BLE001 - nothing was sent yet
            refusal = unusable(self._table.table_name, error, key).because(error)
            refusal.__cause__ = error
            failure = without_aws_secrets(refusal)
        raise failure

    def _connect(self) -> "AbstractAsyncContextManager[Any]":
        return make_async_client(self._session, self._config)


def _require(library: str, extra: str) -> None:
    if find_spec(library) is None:
        raise IdempotencyPersistenceConfigError(
            f"DynamoDB needs {library}: pip install 'idemproof[{extra}]'."
        )
