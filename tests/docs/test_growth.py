"""The numbers from which the page on growth reckons are what the layers send."""

import re
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from moto import mock_aws
from redis.connection import Connection

from idemproof import (
    CompareAndSwapLayer,
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    RedisCachePersistenceLayer,
    idempotent_function,
)
from pages import rows
from places import moto_client
from sides import Recording

pytestmark = pytest.mark.once

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "growth.md"

ORDER = {
    "order_id": "o-12345",
    "customer": {"id": "c-1842", "country": "NL"},
    "items": [
        {"sku": "A-100", "quantity": 2, "price": 1250},
        {"sku": "B-7", "quantity": 1, "price": 300},
    ],
    "currency": "EUR",
}
RESULT = {"handled": "o-12345", "statusCode": 200}
NOW = 1_795_461_787_123
THE_FIRST, A_REPEAT = "the first of its key", "a repeat"


def called(layer: CompareAndSwapLayer) -> None:
    @idempotent_function(
        data_keyword_argument="order",
        persistence_store=layer,
        config=IdempotencyConfig(in_progress_expires_after_seconds=30, clock=lambda: NOW),
        key_prefix="shop.pay",
    )
    def pay(order: dict[str, Any]) -> dict[str, Any]:
        return RESULT

    pay(order=ORDER)


def reported(call: str, column: int) -> list[int]:
    [row] = [row for row in rows(PAGE, "call") if row[0] == call]
    return [int(number) for number in re.findall(r"\d+", row[column])]


def test_bytes_sent_to_redis() -> None:
    client = Recording(fakeredis.FakeRedis(version=(7,)))
    layer = RedisCachePersistenceLayer(client=client)
    packed = Connection().pack_command
    called(layer)
    # Older stores refuse IFEQ; what was asked is what counts.
    sent = [sum(map(len, packed(*ask.args))) for ask in client.asked if ask.method == "execute_command"]
    assert sent == reported(THE_FIRST, 1)
    client.asked.clear()
    called(layer)
    assert [sum(map(len, packed(*ask.args))) for ask in client.asked] == reported(A_REPEAT, 1)


def size(item: dict[str, dict[str, str]]) -> int:
    """Return the bytes of an item: names, texts, and of numbers half as many as digits and one more."""
    total = 0
    for name, [(kind, value)] in ((name, value.items()) for name, value in item.items()):
        total += len(name) + (len(value.encode()) if kind == "S" else (len(value.strip("0")) + 1) // 2 + 1)
    return total


@mock_aws
def test_bytes_and_capacity_of_dynamodb() -> None:
    items: list[dict[str, Any]] = []
    layer = DynamoDBPersistenceLayer("records", boto3_client=moto_client(old=False))
    layer.create_table()
    layer.client.meta.events.register(
        "before-parameter-build.dynamodb.PutItem", lambda params, **_: items.append(params["Item"])
    )
    called(layer)
    items += layer.client.scan(TableName="records")["Items"]  # what the completion has left
    sizes = [size(item) for item in items]
    assert sizes == reported(THE_FIRST, 2)
    assert [sum(-(-each // 1024) for each in sizes)] == reported(THE_FIRST, 3)
    items.clear()
    called(layer)
    assert [len(items)] == reported(A_REPEAT, 3) == [1]


@pytest.mark.parametrize("share", ["none", "one in ten", "half"])
def test_calls_a_second_of_a_partition(share: str) -> None:
    [row] = [row for row in rows(PAGE, "repeats among the calls") if row[0] == share]
    capacity, alone, spread = (float(cell.replace(",", "")) for cell in row[1:])
    assert (int(1000 / capacity), int(16 * 1000 / capacity)) == (alone, spread)
