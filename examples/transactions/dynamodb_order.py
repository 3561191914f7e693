"""An order that takes an article from the stock: stock, order and record are one transaction of DynamoDB.

If another worker has taken over, or the article is sold out, the transaction is canceled as a whole.
"""

import os

import boto3

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, current_attempt, idempotent_function

TABLE = os.environ.get("SHOP_TABLE", "shop")
client = boto3.client("dynamodb")
store = DynamoDBPersistenceLayer(os.environ.get("IDEMPOTENCY_TABLE", "IdempotencyTable"))
config = IdempotencyConfig(in_progress_expires_after_seconds=30)


class SoldOutError(Exception):
    """There is no such article in the stock."""


@idempotent_function(data_keyword_argument="order", persistence_store=store, config=config)
def place_order(order: dict) -> dict:
    attempt = current_attempt()
    result = {"ordered": order["article"]}
    try:
        client.transact_write_items(
            TransactItems=[
                {
                    "Update": {
                        "TableName": TABLE,
                        "Key": {"id": {"S": f"stock {order['article']}"}},
                        "UpdateExpression": "SET pieces = pieces - :one",
                        "ConditionExpression": "pieces >= :one",
                        "ExpressionAttributeValues": {":one": {"N": "1"}},
                    }
                },
                {"Put": {"TableName": TABLE, "Item": {"id": {"S": f"order {order['id']}"}}}},
                attempt.completion_item(result),
            ],
            ClientRequestToken=attempt.owner,  # so that a request may be sent again after a timeout
        )
    except client.exceptions.TransactionCanceledException as error:
        if error.response["CancellationReasons"][0]["Code"] == "ConditionalCheckFailed":
            raise SoldOutError(order["article"]) from error
        raise
    return result
