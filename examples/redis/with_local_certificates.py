"""A bank's Redis requires client certificates, which are shipped with the function.

The folder contains the client's certificate and key, and the certificate of the server's authority.
"""

import os
from pathlib import Path

import redis

from idemproof import IdempotencyConfig, RedisCachePersistenceLayer, idempotent

certificates = Path(os.environ.get("CERTIFICATES", Path(__file__).parent / "certificates"))
client = redis.Redis(
    host=os.environ.get("REDIS_HOST", "localhost"),
    port=int(os.environ.get("REDIS_PORT", "6379")),
    password=os.environ.get("REDIS_PASSWORD"),
    ssl=True,
    ssl_certfile=str(certificates / "client.crt"),
    ssl_keyfile=str(certificates / "client.key"),
    ssl_ca_certs=str(certificates / "authority.pem"),
)
store = RedisCachePersistenceLayer(client=client)
config = IdempotencyConfig(event_key_jmespath="transfer_id")
transfers: list[tuple[str, int]] = []


@idempotent(persistence_store=store, config=config)
def handler(event: dict, context: object) -> dict:
    transfers.append((event["to"], event["cents"]))
    return {"transfer_id": event["transfer_id"], "booked": len(transfers)}
