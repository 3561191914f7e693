"""Print one label for each parcel: the key comes from a field of a dataclass argument.

A parcel that is listed twice causes two calls, and both get the same label.
"""

import os
import uuid
from dataclasses import dataclass

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function

store = DynamoDBPersistenceLayer(table_name=os.environ.get("TABLE_NAME", "IdempotencyTable"))
config = IdempotencyConfig(event_key_jmespath="number")
printed: list[str] = []


@dataclass
class Parcel:
    number: str
    recipient: str
    grams: int


@idempotent_function(data_keyword_argument="parcel", persistence_store=store, config=config)
def print_label(parcel: Parcel) -> dict:
    printed.append(parcel.number)
    print(f"printing a label for {parcel.recipient}")
    return {"parcel": parcel.number, "label": str(uuid.uuid4())}


def handler(event: dict, context: object) -> dict:
    config.register_lambda_context(context)  # a call that times out does not block its key
    return {"labels": [print_label(parcel=Parcel(**parcel)) for parcel in event["parcels"]]}
