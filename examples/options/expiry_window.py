"""Remember a transfer for a day instead of an hour.

Within the window a repeated order gets the first receipt. After it, the same order is a new operation.
"""

import os
import uuid

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent

store = DynamoDBPersistenceLayer(table_name=os.environ.get("TABLE_NAME", "IdempotencyTable"))
config = IdempotencyConfig(event_key_jmespath="order", expires_after_seconds=24 * 60 * 60)
moved: list[int] = []


@idempotent(persistence_store=store, config=config)
def handler(event: dict, context: object) -> dict:
    moved.append(event["cents"])
    print(f"moving {event['cents']} cents to {event['target']}")
    return {"receipt": str(uuid.uuid4()), "cents": event["cents"]}
