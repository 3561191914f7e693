"""Let a retry take over from an invocation that timed out.

The Lambda context limits how long a call holds its key. Until then a retry is refused. After it, the retry
runs; without the context it would be refused for the whole window.
"""

import os
import uuid

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function

store = DynamoDBPersistenceLayer(table_name=os.environ.get("TABLE_NAME", "IdempotencyTable"))
config = IdempotencyConfig(event_key_jmespath="number")
printed: list[str] = []


def send_to_printer(number: str) -> None:
    printed.append(number)
    print(f"printing a label for {number}")


@idempotent_function(data_keyword_argument="parcel", persistence_store=store, config=config)
def print_label(parcel: dict) -> dict:
    send_to_printer(parcel["number"])
    return {"label": str(uuid.uuid4()), "parcel": parcel["number"]}


def handler(event: dict, context: object) -> dict:
    config.register_lambda_context(context)  # in every invocation; @idempotent does this itself
    return print_label(parcel=event)
