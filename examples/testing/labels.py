"""The program under test: a function that prints parcel labels, with records in Redis."""

import os

from idemproof import IdempotencyConfig, RedisCachePersistenceLayer, idempotent_function

store = RedisCachePersistenceLayer(host=os.environ.get("REDIS_HOST", "localhost"))
config = IdempotencyConfig(event_key_jmespath="parcel_id", in_progress_expires_after_seconds=30)
printed: list[str] = []


@idempotent_function(data_keyword_argument="parcel", persistence_store=store, config=config)
def print_label(parcel: dict) -> dict:
    printed.append(parcel["parcel_id"])
    return {"label": f"{parcel['country']}-{parcel['parcel_id']}", "page": len(printed)}
