"""Refuse an order without a number, instead of running it without protection.

The caller gets a 400 and no seat is sold. By default such a call runs, with a warning.
"""

import os
import uuid

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function
from idemproof.errors import IdempotencyKeyError

store = DynamoDBPersistenceLayer(table_name=os.environ.get("TABLE_NAME", "IdempotencyTable"))
config = IdempotencyConfig(event_key_jmespath="order", raise_on_no_idempotency_key=True)
sold: list[str] = []


@idempotent_function(data_keyword_argument="wish", persistence_store=store, config=config)
def sell(wish: dict) -> dict:
    sold.append(wish["seat"])
    print(f"selling seat {wish['seat']}")
    return {"ticket": str(uuid.uuid4())}


def handler(event: dict, context: object) -> dict:
    config.register_lambda_context(context)
    try:
        return {"statusCode": 200, "body": sell(wish=event)}
    except IdempotencyKeyError:
        return {"statusCode": 400, "body": "send the number of your order"}
