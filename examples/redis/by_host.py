"""A cinema keeps its records in Redis or Valkey, and passes the host and port.

A repeated request gets the ticket that was sold, and no second seat is sold.
"""

import os

from idemproof import IdempotencyConfig, RedisCachePersistenceLayer, idempotent

store = RedisCachePersistenceLayer(
    host=os.environ.get("REDIS_HOST", "localhost"),
    port=int(os.environ.get("REDIS_PORT", "6379")),
    ssl=False,  # on one machine only; connections are encrypted by default
)
config = IdempotencyConfig(event_key_jmespath="booking_id")
seats_sold: list[str] = []


@idempotent(persistence_store=store, config=config)
def handler(event: dict, context: object) -> dict:
    seats_sold.append(event["seat"])
    return {"ticket": f"T-{len(seats_sold)}", "seat": event["seat"]}
