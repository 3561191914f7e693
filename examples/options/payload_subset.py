"""Start a subscription once for each customer and plan, whatever else in the request differs.

The expression decodes the JSON body, so headers and whitespace do not change the key.
"""

import json
import os
import uuid

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent

store = DynamoDBPersistenceLayer(table_name=os.environ.get("TABLE_NAME", "IdempotencyTable"))
config = IdempotencyConfig(event_key_jmespath="powertools_json(body).[customer, plan]")
billed: list[str] = []


def bill(customer: str, plan: str) -> str:
    billed.append(customer)
    print(f"billing {customer} for {plan}")
    return str(uuid.uuid4())


@idempotent(persistence_store=store, config=config)
def handler(event: dict, context: object) -> dict:
    wanted = json.loads(event["body"])
    payment = bill(wanted["customer"], wanted["plan"])
    return {"statusCode": 201, "body": json.dumps({"payment": payment, "plan": wanted["plan"]})}
