"""Bills a subscription once a month. The record is in the cache at CACHE_HOST and CACHE_PORT."""

import os

from idemproof import IdempotencyConfig, RedisCachePersistenceLayer, idempotent

store = RedisCachePersistenceLayer(
    host=os.environ["CACHE_HOST"],
    port=int(os.environ["CACHE_PORT"]),
    mode="cluster",  # a serverless cache is a cluster
)
config = IdempotencyConfig(event_key_jmespath="[subscription, month]")


@idempotent(persistence_store=store, config=config)
def handler(event: dict, context: object) -> dict:
    print(f"charging {event['subscription']} for {event['month']}")
    return {"invoice": f"{event['subscription']}/{event['month']}"}
