"""Names of this library and of Powertools, so that one test runs against both."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import fakeredis
import pytest
from aws_lambda_powertools.utilities import idempotency as original
from aws_lambda_powertools.utilities.idempotency import exceptions as original_errors
from aws_lambda_powertools.utilities.idempotency.persistence.cache import (
    CachePersistenceLayer as OriginalCachePersistenceLayer,
)
from aws_lambda_powertools.utilities.idempotency.persistence.datarecord import (
    DataRecord as OriginalDataRecord,
)
from moto import mock_aws

import idemproof
import idemproof.errors

OURS = SimpleNamespace(
    name="ours",
    idempotent=idemproof.idempotent,
    idempotent_function=idemproof.idempotent_function,
    Config=idemproof.IdempotencyConfig,
    DynamoDB=idemproof.DynamoDBPersistenceLayer,
    Cache=idemproof.CachePersistenceLayer,
    Base=idemproof.BasePersistenceLayer,
    DataRecord=idemproof.DataRecord,
    errors=idemproof.errors,
)
THEIRS = SimpleNamespace(
    name="original",
    idempotent=original.idempotent,
    idempotent_function=original.idempotent_function,
    Config=original.IdempotencyConfig,
    DynamoDB=original.DynamoDBPersistenceLayer,
    Cache=OriginalCachePersistenceLayer,
    Base=original.BasePersistenceLayer,
    DataRecord=OriginalDataRecord,
    errors=original_errors,
)
CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 30_000)
EVENT = {"id": 1}


@pytest.fixture(name="side", params=[OURS, THEIRS], ids=lambda side: side.name)
def either_side(request: pytest.FixtureRequest) -> SimpleNamespace:
    return request.param


@pytest.fixture(name="client")
def moto_dynamodb(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        made = boto3.client("dynamodb")
        for table in ("orders", "others"):
            made.create_table(
                TableName=table,
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )
        yield made


def items(client: Any, table: str = "orders") -> list[Any]:
    return client.scan(TableName=table)["Items"]


def fakeredis_client() -> Any:
    return fakeredis.FakeRedis(server=fakeredis.FakeServer())


STORES: dict[str, Callable[[SimpleNamespace, Any], tuple[type, dict[str, Any]]]] = {
    "dynamodb": lambda side, client: (side.DynamoDB, {"table_name": "orders", "boto3_client": client}),
    "cache": lambda side, _client: (side.Cache, {"client": fakeredis_client()}),
}


@pytest.fixture(name="place", params=STORES)
def either_place(
    request: pytest.FixtureRequest, side: SimpleNamespace, client: Any
) -> tuple[type, dict[str, Any]]:
    return STORES[request.param](side, client)


class Handler:
    """A handler that counts its runs, and can raise."""

    def __init__(self, side: SimpleNamespace, layer: Any, **config: Any) -> None:
        self.runs = 0
        self.failing = False
        self.inside: Callable[[], None] = lambda: None

        def handler(event: Any, context: Any) -> Any:
            self.runs += 1
            self.inside()
            if self.failing:
                raise ZeroDivisionError
            return {"done": event["id"]}

        self.call = side.idempotent(
            persistence_store=layer, config=side.Config(**config) if config else None, key_prefix="pay"
        )(handler)

    def __call__(self, event: Any = EVENT) -> Any:
        return self.call(event, CONTEXT)
