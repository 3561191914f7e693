"""The item that completes an attempt in a transaction of DynamoDB which the application sends."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import servers
from attempts import attempt
from idemproof import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    idempotent_function,
)
from idemproof.errors import IdempotencyConfigError, IdempotencyTransactionError

pytestmark = pytest.mark.once

_numbers = itertools.count(1)


class Stock:
    """A table of records, which also has the effects."""

    def __init__(self, server: Any) -> None:
        self.client = servers.dynamodb_client(server)
        self.name = f"within-{next(_numbers)}"
        servers.create_table(self.client, self.name)
        self.layer = DynamoDBPersistenceLayer(self.name, boto3_client=self.client)

    def effect(self, what: str) -> dict[str, Any]:
        return {"Put": {"TableName": self.name, "Item": {"id": {"S": f"effect {what}"}}}}

    def has(self, what: str) -> bool:
        found = self.client.get_item(
            TableName=self.name, Key={"id": {"S": f"effect {what}"}}, ConsistentRead=True
        )
        return "Item" in found

    def steal(self, key: str) -> None:
        self.client.update_item(
            TableName=self.name,
            Key={"id": {"S": key}},
            UpdateExpression="SET #owner = :owner",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues={":owner": {"S": "another"}},
        )

    def protect(self, body: Callable[..., Any], layer: Any = None) -> Callable[..., Any]:
        config = IdempotencyConfig(in_progress_expires_after_seconds=30)
        return idempotent_function(  # type: ignore[no-any-return]
            data_keyword_argument="what",
            persistence_store=layer or self.layer,
            config=config,
            key_prefix="key",
        )(body)


@pytest.fixture
def stock(dynamodb_server: Any) -> Iterator[Stock]:
    made = Stock(dynamodb_server)
    yield made
    made.client.close()


@pytest.mark.clause("TXN-1", "TXN-8", "INV-11")
@pytest.mark.parametrize("in_thread", [False, True])
def test_effect_and_record_are_written_in_one_transaction(stock: Stock, in_thread: bool) -> None:
    def body(what: str) -> Any:
        item = attempt().completion_item({"done": what})
        stock.client.transact_write_items(
            TransactItems=[stock.effect(what), item], ClientRequestToken=attempt().owner
        )
        return {"done": what}

    async def in_a_thread(what: str) -> Any:
        return await asyncio.to_thread(body, what)

    called = stock.protect(in_a_thread)
    protected = (lambda what: asyncio.run(called(what=what))) if in_thread else stock.protect(body)
    assert [protected(what="a"), protected(what="a")] == [{"done": "a"}] * 2
    assert stock.has("a")


@pytest.mark.clause("TXN-6", "TXN-1")
def test_lost_claim_cancels_the_transaction(stock: Stock) -> None:
    def body(what: str) -> Any:
        stock.steal(attempt().key)
        items = [stock.effect(what), attempt().completion_item(1)]
        stock.client.transact_write_items(TransactItems=items, ClientRequestToken=attempt().owner)
        return 1

    with pytest.raises(stock.client.exceptions.TransactionCanceledException):
        stock.protect(body)(what="a")
    assert not stock.has("a")


@pytest.mark.clause("TXN-7", "ENG-5")
def test_transaction_that_was_not_sent_raises_and_releases(stock: Stock) -> None:
    sends = [False, True]

    def body(what: str) -> Any:
        items = [stock.effect(what), attempt().completion_item(1)]
        if sends.pop(0):
            stock.client.transact_write_items(TransactItems=items)
        return 1

    protected = stock.protect(body)
    with pytest.raises(IdempotencyTransactionError, match="did not send it") as raised:
        protected(what="a")
    assert (raised.value.kind, raised.value.result) == ("RolledBack", 1)
    assert protected(what="a") == 1
    assert stock.has("a")


@pytest.mark.clause("TXN-7")
def test_other_result_than_sent_raises(stock: Stock) -> None:
    def body(what: str) -> Any:
        stock.client.transact_write_items(TransactItems=[stock.effect(what), attempt().completion_item(1)])
        return 2

    protected = stock.protect(body)
    with pytest.raises(IdempotencyTransactionError) as raised:
        protected(what="a")
    assert raised.value.kind == "ResultDiffers"
    assert protected(what="a") == 1


@pytest.mark.clause("TXN-5")
def test_other_layers_have_no_item_and_dynamodb_no_connection(stock: Stock) -> None:
    def asks_for_item(what: str) -> Any:
        return attempt().completion_item(what)

    def completes_within(what: str) -> Any:
        return attempt().complete(what, within=stock.client)

    with pytest.raises(IdempotencyConfigError, match="InMemoryPersistenceLayer"):
        stock.protect(asks_for_item, InMemoryPersistenceLayer())(what="a")
    with pytest.raises(IdempotencyConfigError, match="DynamoDBPersistenceLayer"):
        stock.protect(completes_within)(what="b")
