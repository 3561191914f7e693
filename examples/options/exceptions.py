"""Where an exception is raised decides what a repeat does.

Inside the decorated function nothing is kept, and a repeat charges again. After it has returned its result
is kept, and a repeat goes on from there without another charge.
"""

import os
import uuid

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function

store = DynamoDBPersistenceLayer(table_name=os.environ.get("TABLE_NAME", "IdempotencyTable"))
config = IdempotencyConfig(event_key_jmespath="[subscription, month]")
charged: list[str] = []
mailed: list[str] = []


def charge(subscription: str) -> str:
    charged.append(subscription)
    print(f"charging {subscription}")
    return str(uuid.uuid4())


def mail(invoice: str) -> None:
    mailed.append(invoice)
    print(f"mailing invoice {invoice}")


@idempotent_function(data_keyword_argument="order", persistence_store=store, config=config)
def bill(order: dict) -> dict:
    return {"invoice": charge(order["subscription"])}  # fails: the key is free again


def handler(event: dict, context: object) -> dict:
    config.register_lambda_context(context)
    result = bill(order=event)
    mail(result["invoice"])  # fails: the bill stays, a repeat only mails
    return {"statusCode": 200, "invoice": result["invoice"]}
