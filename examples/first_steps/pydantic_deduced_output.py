"""Transfer money once, and return the receipt as a Pydantic model.

The serializer reads the return annotation: a replay returns a ``Receipt`` whose amount is a decimal.
"""

import os
import uuid
from decimal import Decimal

from pydantic import BaseModel

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function
from idemproof.serialization import PydanticSerializer

store = DynamoDBPersistenceLayer(table_name=os.environ.get("TABLE_NAME", "IdempotencyTable"))
config = IdempotencyConfig(event_key_jmespath="order")
moved: list[Decimal] = []


class Transfer(BaseModel):
    order: str
    source: str
    target: str
    amount: Decimal


class Receipt(BaseModel):
    number: str
    amount: Decimal


@idempotent_function(
    data_keyword_argument="wanted",
    persistence_store=store,
    config=config,
    output_serializer=PydanticSerializer,
)
def transfer(wanted: Transfer) -> Receipt:
    moved.append(wanted.amount)
    print(f"moving {wanted.amount} from {wanted.source} to {wanted.target}")
    return Receipt(number=str(uuid.uuid4()), amount=wanted.amount)


def handler(event: dict, context: object) -> dict:
    config.register_lambda_context(context)
    receipt = transfer(wanted=Transfer.model_validate(event))
    return {"receipt": receipt.number, "amount": f"{receipt.amount:.2f}"}
