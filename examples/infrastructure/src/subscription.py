"""Bills a subscription once a month, with a record in the DynamoDB table of the environment's TABLE_NAME."""

import os

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent

store = DynamoDBPersistenceLayer(os.environ["TABLE_NAME"])
config = IdempotencyConfig(event_key_jmespath="[subscription, month]")


@idempotent(persistence_store=store, config=config)
def handler(event: dict, context: object) -> dict:
    print(f"charging {event['subscription']} for {event['month']}")
    return {"invoice": f"{event['subscription']}/{event['month']}"}
