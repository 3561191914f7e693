"""Bills a subscription once a month. The record is in the DynamoDB table that TABLE_NAME names."""

import os

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent

store = DynamoDBPersistenceLayer(os.environ["TABLE_NAME"])
config = IdempotencyConfig(event_key_jmespath="[subscription, month]")


@idempotent(persistence_store=store, config=config)
def handler(event: dict, context: object) -> dict:
    print(f"charging {event['subscription']} for {event['month']}")
    return {"invoice": f"{event['subscription']}/{event['month']}"}
