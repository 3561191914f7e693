"""Answer a concurrent duplicate with 409, and say when to retry.

One request moves the money. The other gets the 409 at once, and a later retry gets the receipt.
"""

import math
import os
import uuid

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function
from idemproof.errors import IdempotencyAlreadyInProgressError

store = DynamoDBPersistenceLayer(table_name=os.environ.get("TABLE_NAME", "IdempotencyTable"))
config = IdempotencyConfig(event_key_jmespath="order")
moved: list[int] = []


def move(cents: int) -> str:
    moved.append(cents)
    print(f"moving {cents} cents")
    return str(uuid.uuid4())


@idempotent_function(data_keyword_argument="order", persistence_store=store, config=config)
def transfer(order: dict) -> dict:
    return {"receipt": move(order["cents"])}


def handler(event: dict, context: object) -> dict:
    config.register_lambda_context(context)
    try:
        return {"statusCode": 200, "headers": {}, "body": transfer(order=event)}
    except IdempotencyAlreadyInProgressError as error:
        seconds = math.ceil((error.retry_after_ms or 1000) / 1000)
        return {"statusCode": 409, "headers": {"Retry-After": str(seconds)}, "body": "in progress"}
