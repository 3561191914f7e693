"""A subscription service keeps its records in a table with a partition key and a sort key.

All records are in one partition, here ``billing``. The sort key of each is its idempotency key.
"""

import os

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent

store = DynamoDBPersistenceLayer(
    table_name=os.environ.get("TABLE_NAME", "Subscriptions"),
    key_attr="pk",
    sort_key_attr="sk",
    static_pk_value="billing",  # without it: idempotency# and the name of the Lambda function
)
config = IdempotencyConfig(event_key_jmespath="[subscription_id, period]")

bills: list[tuple[str, str]] = []


@idempotent(persistence_store=store, config=config)
def handler(event: dict, context: object) -> dict:
    bills.append((event["subscription_id"], event["period"]))
    return {"bill": len(bills), "cents": event["cents"]}
