"""Trace every invocation, and the sale inside it only when it happens.

``idempotent`` is the innermost decorator: a replay also has its subsegment, but none for ``sell``.
"""

import os
import uuid

from aws_lambda_powertools import Tracer

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent

tracer = Tracer(service="cinema")
store = DynamoDBPersistenceLayer(table_name=os.environ.get("TABLE_NAME", "IdempotencyTable"))
config = IdempotencyConfig(event_key_jmespath="order")
sold: list[str] = []


@tracer.capture_method
def sell(seat: str) -> str:
    sold.append(seat)
    print(f"selling seat {seat}")
    return str(uuid.uuid4())


@tracer.capture_lambda_handler
@idempotent(persistence_store=store, config=config)
def handler(event: dict, context: object) -> dict:
    return {"ticket": sell(event["seat"]), "seat": event["seat"]}
