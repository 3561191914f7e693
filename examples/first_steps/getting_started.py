"""Sell a cinema seat once, however often the event is delivered.

The whole event is the key: a repeated event gets the first ticket, and no second seat is sold.
"""

import os
import uuid

from idemproof import DynamoDBPersistenceLayer, idempotent

store = DynamoDBPersistenceLayer(table_name=os.environ.get("TABLE_NAME", "IdempotencyTable"))
sold: list[str] = []


def sell(showing: str, seat: str) -> str:
    sold.append(seat)
    print(f"selling seat {seat} of {showing}")
    return str(uuid.uuid4())


@idempotent(persistence_store=store)
def handler(event: dict, context: object) -> dict:
    ticket = sell(event["showing"], event["seat"])
    return {"statusCode": 200, "ticket": ticket, "seat": event["seat"]}
