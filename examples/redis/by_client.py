"""A parcel service passes its existing Redis client, with its own time limits and name.

Clients of valkey, of a cluster, or of Sentinel work the same way.
"""

import os

import redis

from idemproof import IdempotencyConfig, RedisCachePersistenceLayer, idempotent

client = redis.Redis(
    host=os.environ.get("REDIS_HOST", "localhost"),
    port=int(os.environ.get("REDIS_PORT", "6379")),
    socket_connect_timeout=1,
    socket_timeout=2,
    client_name="parcels",
)
store = RedisCachePersistenceLayer(client=client)
config = IdempotencyConfig(event_key_jmespath="parcel_id")
labels_printed: list[str] = []


@idempotent(persistence_store=store, config=config)
def handler(event: dict, context: object) -> dict:
    labels_printed.append(event["parcel_id"])
    return {"label": f"{event['country']}-{event['parcel_id']}"}
