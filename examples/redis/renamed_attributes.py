"""Other programs read the cinema's records in Redis, and expect other attribute names.

Each record is one JSON object under its idempotency key.
"""

import os

from idemproof import IdempotencyConfig, RedisCachePersistenceLayer, idempotent

store = RedisCachePersistenceLayer(
    host=os.environ.get("REDIS_HOST", "localhost"),
    port=int(os.environ.get("REDIS_PORT", "6379")),
    ssl=False,
    in_progress_expiry_attr="held_until",
    expiry_attr="expires_at",
    status_attr="state",
    data_attr="answer",
    validation_key_attr="fingerprint",
    owner_attr="held_by",
)
config = IdempotencyConfig(event_key_jmespath="booking_id", payload_validation_jmespath="seat")
seats_sold: list[str] = []


@idempotent(persistence_store=store, config=config, key_prefix="cinema")
def handler(event: dict, context: object) -> dict:
    seats_sold.append(event["seat"])
    return {"ticket": f"T-{len(seats_sold)}", "seat": event["seat"]}
