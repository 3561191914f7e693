"""What a retry does depends on where an exception is raised.

Inside the decorated function: nothing is stored, and a retry charges again. After it has returned: its result
is stored, and a retry continues without another charge.
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
    return {"invoice": charge(order["subscription"])}  # fails: the key is free


def handler(event: dict, context: object) -> dict:
    config.register_lambda_context(context)
    result = bill(order=event)
    mail(result["invoice"])  # fails: the invoice is stored, a retry only mails
    return {"statusCode": 200, "invoice": result["invoice"]}
