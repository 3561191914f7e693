"""Mark replays: the hook adds two headers to replayed results only.

It gets the stored result and its record, and the caller gets what it returns.
"""

import json
import os
import uuid

from idemproof import DataRecord, DynamoDBPersistenceLayer, IdempotencyConfig, idempotent

sold: list[str] = []


def mark_replay(response: dict, idempotent_data: DataRecord) -> dict:
    response["headers"]["Idempotent-Replayed"] = "true"
    response["headers"]["Idempotent-Until"] = str(idempotent_data.expiry_timestamp)
    return response


store = DynamoDBPersistenceLayer(table_name=os.environ.get("TABLE_NAME", "IdempotencyTable"))
config = IdempotencyConfig(event_key_jmespath="order", response_hook=mark_replay)


@idempotent(persistence_store=store, config=config)
def handler(event: dict, context: object) -> dict:
    sold.append(event["seat"])
    print(f"selling seat {event['seat']}")
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps({"ticket": str(uuid.uuid4())}),
    }
