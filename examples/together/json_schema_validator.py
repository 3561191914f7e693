"""Validate an EventBridge event with a JSON schema, then transfer the money once.

``idempotent`` is the innermost decorator: an event that fails the schema never gets a key. Its expression
searches what the validator's envelope has unwrapped, ``order`` and not ``detail.order``.
"""

import os
import uuid

from aws_lambda_powertools.utilities.validation import envelopes, validator

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent

SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": ["order", "target", "cents"],
    "properties": {
        "order": {"type": "string", "minLength": 1},
        "target": {"type": "string"},
        "cents": {"type": "integer", "minimum": 1},
    },
}

store = DynamoDBPersistenceLayer(table_name=os.environ.get("TABLE_NAME", "IdempotencyTable"))
config = IdempotencyConfig(event_key_jmespath="order", raise_on_no_idempotency_key=True)
moved: list[int] = []


@validator(inbound_schema=SCHEMA, envelope=envelopes.EVENTBRIDGE)
@idempotent(persistence_store=store, config=config)
def handler(event: dict, context: object) -> dict:
    moved.append(event["cents"])
    print(f"moving {event['cents']} cents to {event['target']}")
    return {"receipt": str(uuid.uuid4()), "cents": event["cents"]}
