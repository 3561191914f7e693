"""Bill each month of a subscription once: the key comes from two fields of a Pydantic argument.

A repeated call gets the first invoice, even if another field, here a note, differs.
"""

import os
import uuid
from decimal import Decimal

from pydantic import BaseModel

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function

store = DynamoDBPersistenceLayer(table_name=os.environ.get("TABLE_NAME", "IdempotencyTable"))
config = IdempotencyConfig(event_key_jmespath="[subscription, month]")
charged: list[Decimal] = []


class Bill(BaseModel):
    subscription: str
    month: str
    amount: Decimal
    note: str = ""


@idempotent_function(data_keyword_argument="bill", persistence_store=store, config=config)
def charge(bill: Bill) -> dict:
    charged.append(bill.amount)
    print(f"charging {bill.amount} for {bill.month}")
    return {"subscription": bill.subscription, "invoice": str(uuid.uuid4())}


def handler(event: dict, context: object) -> dict:
    config.register_lambda_context(context)
    return charge(bill=Bill.model_validate(event))
