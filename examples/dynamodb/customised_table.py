"""A cinema keeps its records in an existing table with other attribute names.

A repeated request gets the ticket that was sold, and no second seat is sold.
"""

import os

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent

store = DynamoDBPersistenceLayer(
    table_name=os.environ.get("TABLE_NAME", "CinemaOperations"),
    key_attr="operation",
    expiry_attr="expires_at",
    in_progress_expiry_attr="held_until",
    status_attr="state",
    data_attr="answer",
    validation_key_attr="fingerprint",
    owner_attr="held_by",
)
config = IdempotencyConfig(event_key_jmespath="booking_id", payload_validation_jmespath="seat")

seats_sold: list[str] = []


@idempotent(persistence_store=store, config=config)
def handler(event: dict, context: object) -> dict:
    seats_sold.append(event["seat"])
    return {"ticket": f"T-{len(seats_sold)}", "seat": event["seat"]}
