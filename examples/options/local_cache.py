"""Replay from memory: a worker that has seen an event sends no request to DynamoDB for it.

The cache belongs to one Lambda environment. Another environment finds the result in the table.
"""

import os
import uuid

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent

store = DynamoDBPersistenceLayer(table_name=os.environ.get("TABLE_NAME", "IdempotencyTable"))
config = IdempotencyConfig(
    event_key_jmespath="order",
    use_local_cache=True,
    local_cache_max_items=100,  # the least recently used one is dropped
)
sold: list[str] = []


@idempotent(persistence_store=store, config=config)
def handler(event: dict, context: object) -> dict:
    sold.append(event["seat"])
    print(f"selling seat {event['seat']}")
    return {"ticket": str(uuid.uuid4()), "seat": event["seat"]}
