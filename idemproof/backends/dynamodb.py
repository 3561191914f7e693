"""The DynamoDB layers: one conditional write claims, completes or takes over; refused, it brings a replay."""

import os
import re
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..drivers.exchanges import Exchange, perform, perform_async
from ..drivers.forksafe import give_lock, notice_fork
from ..spec.errors import IdempotencyPersistenceConfigError, IdempotencyPersistenceLayerError
from ..spec.record import Record
from .base import AsyncCompareAndSwapLayer, CompareAndSwapLayer
from .copies import Copied
from .credentials import without_aws_secrets
from .dynamodb_clients import check_client, make_async_client, make_client, retries_after, tells_holder
from .dynamodb_errors import unusable
from .dynamodb_requests import NAMES, DynamoDBTable, Item
from .names import NamesOnLayer
from .records import DataRecord

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager


class _OverTable(NamesOnLayer, Copied):
    """What both layers are made of, and what subclasses written for Powertools use beside the methods."""

    _names = NAMES
    _names_holder = "_table"
    _table: DynamoDBTable

    @property
    def return_value_on_condition(self) -> dict[str, str]:
        """What makes a refused write say which item was in the way."""
        return {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}

    @staticmethod
    def boto3_supports_condition_check_failure(boto3_version: str) -> bool:
        """Return whether a version of boto3 can pass on which item was in the way.

        The layer does not ask this: its client's own model of the service knows.
        """
        numbers = [int(number) for number in re.findall(r"\d+", boto3_version)[:3]]
        return numbers >= [1, 26, 164]

    def _get_key(self, idempotency_key: str) -> Item:
        """Return the key attributes of the item for an idempotency key."""
        return self._table.key(idempotency_key)

    def _item_to_data_record(self, item: Item) -> DataRecord:
        """Return what an item says, under the key by which it is found."""
        table = self._table
        name = table.key_attr if table.sort_key_attr is None else table.sort_key_attr
        return DataRecord.of(table.record(item[name]["S"], item))


class DynamoDBPersistenceLayer(_OverTable, CompareAndSwapLayer):
    """Keeps records in a DynamoDB table, for any number of machines. Safe to share between threads.

    It asks for ``dynamodb:PutItem`` (claim, takeover), ``dynamodb:UpdateItem`` (completion),
    ``dynamodb:DeleteItem`` (release) and ``dynamodb:GetItem``. Attributes that other software puts on an item
    while its function runs stay; where ``UpdateItem`` is denied, completions take ``PutItem``, and lose them.
    Let the table's time to live delete by ``expiry_attr``. The table's and the attributes' names can be read
    from the layer, and set. Its client is made on first use; after a fork, parent and child do not share
    connections.

    Parameters
    ----------
    table_name
        The table. :meth:`create_table` makes one.
    key_attr
        The partition key, of type string.
    static_pk_value
        The partition in which all records are, if ``sort_key_attr`` is set; ``idempotency#`` and the name of
        the Lambda function if not given.
    sort_key_attr
        The sort key, of type string, which then holds the idempotency key.
    expiry_attr, in_progress_expiry_attr, status_attr, data_attr, validation_key_attr
        The attributes for expiry (epoch seconds), lease (epoch milliseconds), status, result, payload hash.
    boto_config
        A ``botocore.config.Config``, used as it is. Without, a request may take 10 seconds (5 to connect),
        and the SDK tries it once: the engine retries, and the SDK's own retries would multiply.
    boto3_session
        The ``boto3.session.Session`` that makes the client.
    boto3_client
        The client to use as it is, with its own timeouts and retries; the other two are ignored then. It can
        be replaced as the attribute ``client``.
    owner_attr
        The attribute for the token of the attempt that wrote a record.
    static_pk_shards
        Over how many partitions the records are spread, if ``sort_key_attr`` is set: the first is
        ``static_pk_value`` and ``#0``. One, the default, is ``static_pk_value`` itself, as Powertools for AWS
        Lambda has it. With another number, records that are there are not found, and their operations run
        again.

    Raises
    ------
    IdempotencyPersistenceConfigError
        A name is used twice, a number cannot be, or boto3 is not installed. A name that is missing is an
        error at the first request, so that a module can be imported without it.
    """

    _lock: AbstractContextManager[Any]
    _made_anew = frozenset({"_lock", "_client", "_tells_holder", "_updates", "_process"})
    _brought = ("_brought_client", "_session")

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
        if boto3_client is not None:
            check_client(boto3_client, asynchronous=False)
        elif boto3_session is None:
            _require("botocore", "dynamodb")
        self._config = boto_config
        self._session = boto3_session
        self._brought_client = boto3_client
        self._begin()

    def _begin(self) -> None:
        give_lock(self)
        self._use(self._brought_client)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._table.table_name!r})"

    @property
    def client(self) -> Any:
        """The client, made on first use."""
        return self._ready()

    @client.setter
    def client(self, client: Any) -> None:
        check_client(client, asynchronous=False)
        self.close()
        self._brought_client = client
        self._use(client)

    def _loses(self, kind: type[Exception]) -> bool:
        config = (
            self._config
            if self._brought_client is None
            else getattr(getattr(self._client, "meta", None), "config", None)
        )
        return config is not None and retries_after(config, kind)

    def _use(self, client: Any) -> None:
        self._tells_holder = client is not None and tells_holder(client)
        self._updates = callable(getattr(client, "update_item", None))
        self._process = os.getpid()
        self._client = client  # last: other threads look at it without the lock

    def _load(self, key: str) -> Record | None:
        return self._perform(self._table.load(key), self._ready(key))

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:  # noqa: ARG002 - DynamoDB deletes by the item's own expiry
        client = self._ready(key)
        return self._perform(
            self._table.swap(key, expected, new, tells_holder=self._tells_holder, updates=self._updates),
            client,
        )

    def _perform(self, exchange: Exchange, client: Any) -> Record | None:
        try:
            record: Record | None = perform(exchange, client)
        except IdempotencyPersistenceLayerError as error:
            failure = without_aws_secrets(error, client)
        else:
            return record
        raise failure  # outside of its context, which may tell a secret

    def create_table(self) -> None:
        """Create the table with its time to live, paid by request, unless it is there already.

        For development: it asks for ``dynamodb:CreateTable``, ``DescribeTable``, ``DescribeTimeToLive`` and
        ``UpdateTimeToLive``.

        Raises
        ------
        IdempotencyPersistenceConfigError
            There is a table of this name with another key or another time to live.
        """
        from .dynamodb_table import create_table  # noqa: PLC0415 - production does without

        self._perform(create_table(self._table), self.client)

    def close(self) -> None:
        """Close the client's connections, if it was made here. The layer stays usable: it opens new ones."""
        if self._brought_client is None and self._client is not None:
            self._client.close()

    def _ready(self, key: str | None = None) -> Any:
        if self._client is None or self._process != os.getpid():
            notice_fork()
            with self._lock:
                if self._client is None:
                    self._use(self._make_client(key))
                elif self._process != os.getpid():
                    # A child must not speak on its parent's connections: each would get the other's replies.
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
    """:class:`DynamoDBPersistenceLayer` for ``async def`` functions, by aiobotocore.

    Each event loop gets a client of its own on first use, which is closed when the loop shuts down.

    Parameters
    ----------
    table_name, key_attr, static_pk_value, sort_key_attr, static_pk_shards
        As for :class:`DynamoDBPersistenceLayer`.
    expiry_attr, in_progress_expiry_attr, status_attr, data_attr, validation_key_attr, owner_attr
        Same.
    boto_config
        An ``aiobotocore.config.AioConfig``, used as it is. Without, a request may take 10 seconds (5 to
        connect), and the SDK tries it once: the engine retries, and the SDK's own retries would multiply.
    session
        The ``aiobotocore.session.AioSession`` that makes the clients.
    client
        The open client to use, in the event loop in which it was opened; the other two are ignored then.

    Raises
    ------
    IdempotencyPersistenceConfigError
        A name is used twice, the client is a blocking one, or aiobotocore is not installed.
    """

    _made_anew = frozenset({"_clients", "_tells_holder"})
    _brought = ("client", "_session")

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
            check_client(client, asynchronous=True)
        elif session is None:
            _require("aiobotocore", "dynamodb-async")
        self._config = boto_config
        self._session = session
        self.client = client
        self._begin()

    def _begin(self) -> None:
        from ..drivers.event_loops import ClientPerLoop  # noqa: PLC0415 - loads asyncio, as long as all the rest takes

        self._clients = ClientPerLoop(self._connect)
        self._tells_holder: bool | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._table.table_name!r})"

    async def _load(self, key: str) -> Record | None:
        client = await self._opened(key)
        return await self._perform(self._table.load(key), client)

    async def _swap(
        self,
        key: str,
        expected: Record | None,
        new: Record | None,
        keep_ms: int,  # noqa: ARG002 - as in the blocking layer
    ) -> Record | None:
        client = await self._opened(key)
        if self._tells_holder is None:
            self._tells_holder = tells_holder(client)  # the same for all clients of an SDK
        return await self._perform(
            self._table.swap(
                key,
                expected,
                new,
                tells_holder=self._tells_holder,
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
        from .dynamodb_table import create_table  # noqa: PLC0415 - production does without

        client = await self._opened()
        await self._perform(create_table(self._table), client)

    async def close(self) -> None:
        """Close the running event loop's client, if it was made here. The layer stays usable."""
        await self._clients.close()

    async def _opened(self, key: str | None = None) -> Any:
        if self.client is not None:
            return self._clients.given(self.client, key)
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
