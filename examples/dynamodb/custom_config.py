"""A bank prefers to refuse a transfer over waiting for it: its requests to DynamoDB have short time limits.

If the table does not answer, the caller gets an error within seconds, and no money has moved.
"""

import os

from botocore.config import Config

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent

boto_config = Config(
    connect_timeout=0.5,
    read_timeout=1,
    retries={"mode": "standard", "total_max_attempts": 2},
)
store = DynamoDBPersistenceLayer(os.environ.get("TABLE_NAME", "IdempotencyTable"), boto_config=boto_config)
config = IdempotencyConfig(event_key_jmespath="transfer_id", payload_validation_jmespath="[to, cents]")

transfers: list[tuple[str, int]] = []


@idempotent(persistence_store=store, config=config)
def handler(event: dict, context: object) -> dict:
    transfers.append((event["to"], event["cents"]))
    return {"transfer_id": event["transfer_id"], "booked": len(transfers)}
