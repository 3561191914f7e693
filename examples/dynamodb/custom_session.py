"""A parcel service prints labels in many regions, and keeps all records in one of them.

The session sets the region, profile or credentials for the requests to the table.
"""

import os

import boto3

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent

session = boto3.session.Session(region_name="eu-west-1")
store = DynamoDBPersistenceLayer(os.environ.get("TABLE_NAME", "IdempotencyTable"), boto3_session=session)
config = IdempotencyConfig(event_key_jmespath="parcel_id")

labels_printed: list[str] = []


@idempotent(persistence_store=store, config=config)
def handler(event: dict, context: object) -> dict:
    labels_printed.append(event["parcel_id"])
    return {"label": f"{event['country']}-{event['parcel_id']}"}
