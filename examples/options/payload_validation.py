"""Refuse an order that arrives again with another amount.

Customer and plan are the key. Without validation the second call would get the first result, with the wrong
amount. With it, the caller gets a 422 and nothing is charged.
"""

import os
import uuid

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function
from idemproof.errors import IdempotencyValidationError

store = DynamoDBPersistenceLayer(table_name=os.environ.get("TABLE_NAME", "IdempotencyTable"))
config = IdempotencyConfig(
    event_key_jmespath="[customer, plan]",
    payload_validation_jmespath="cents",
)
charged: list[int] = []


@idempotent_function(data_keyword_argument="order", persistence_store=store, config=config)
def subscribe(order: dict) -> dict:
    charged.append(order["cents"])
    print(f"charging {order['cents']} cents")
    return {"payment": str(uuid.uuid4()), "cents": order["cents"]}


def handler(event: dict, context: object) -> dict:
    config.register_lambda_context(context)
    try:
        return {"statusCode": 201, "body": subscribe(order=event)}
    except IdempotencyValidationError:
        return {"statusCode": 422, "body": "this order came with another amount before"}
