"""The program under test: a Lambda function that sells cinema seats, with records in DynamoDB."""

import os

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent

store = DynamoDBPersistenceLayer(os.environ.get("TABLE_NAME", "IdempotencyTable"))
config = IdempotencyConfig(event_key_jmespath="booking_id", expires_after_seconds=600)
sold: list[str] = []


@idempotent(persistence_store=store, config=config)
def handler(event: dict, context: object) -> dict:
    sold.append(event["seat"])
    return {"ticket": f"T-{len(sold)}", "seat": event["seat"]}
