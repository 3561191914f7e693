"""The stores of the layers under test, and their clients."""

from collections.abc import Callable
from contextlib import ExitStack
from copy import deepcopy
from typing import Any, NamedTuple

import aiobotocore.session
import botocore
import botocore.session
import pytest
from moto import mock_aws

import servers

SORT_KEY = "sort"

recent_sdk = pytest.mark.skipif(
    tuple(map(int, botocore.__version__.split(".")[:2])) < (1, 31),
    reason="older SDKs of AWS read once more what was in the way, and take no endpoint from the environment",
)


class RedisPlace(NamedTuple):
    """An empty server of Redis's protocol, and the clients that were opened for a test."""

    host: str
    port: int
    clients: ExitStack

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}"

    def open(self, client: Callable[..., Any], **options: Any) -> Any:
        """Make a client that is closed when the test ends."""
        return self.clients.enter_context(client(host=self.host, port=self.port, **options))


class Table(NamedTuple):
    """A DynamoDB table, and one of its partitions if it has a sort key."""

    name: str
    client: Any
    partition: str = ""

    def item(self, key: str) -> dict[str, Any] | None:
        """Return the raw record of ``key``."""
        item: dict[str, Any] | None = self.client.get_item(
            TableName=self.name, Key=self._key(key), ConsistentRead=True
        ).get("Item")
        return item

    def write(self, key: str, attributes: dict[str, Any]) -> None:
        """Store ``attributes`` for ``key`` without a condition, as other software may."""
        self.client.put_item(TableName=self.name, Item=self._key(key) | attributes)

    def _key(self, key: str) -> dict[str, Any]:
        return {"id": {"S": self.partition}, SORT_KEY: {"S": key}} if self.partition else {"id": {"S": key}}


class AsyncSession:
    """An aiobotocore session whose clients connect to ``server``. ``opened`` counts them."""

    _session = aiobotocore.session.get_session()  # reading its models takes long

    def __init__(self, server: servers.Address | str) -> None:
        self.opened = 0
        self._server = server

    def create_client(self, service: str, **options: Any) -> Any:
        self.opened += 1
        return self._session.create_client(service, **servers.dynamodb_kwargs(self._server), **options)


def moto_client(*, old: bool) -> Any:
    """Make a client for use under ``mock_aws``. An old SDK does not return the items of failed conditions."""
    session = botocore.session.get_session()
    if old:
        session.register_component("data_loader", _OldModels(session.get_component("data_loader")))
    with mock_aws():
        return session.create_client("dynamodb", "eu-central-1")


class _OldModels:
    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def load_service_model(self, service: str, kind: str, *args: Any, **kwargs: Any) -> Any:
        model = deepcopy(self._loader.load_service_model(service, kind, *args, **kwargs))
        if (service, kind) == ("dynamodb", "service-2"):
            shapes = model["shapes"]
            for shape, member in (
                ("PutItemInput", "ReturnValuesOnConditionCheckFailure"),
                ("DeleteItemInput", "ReturnValuesOnConditionCheckFailure"),
                ("ConditionalCheckFailedException", "Item"),
            ):
                shapes[shape]["members"].pop(member, None)  # the one that is installed may be old itself
        return model
