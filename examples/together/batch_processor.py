"""Print the labels of an SQS batch: each message once. SQS redelivers only those that failed.

The batch processor reports failed messages to SQS. A message that is redelivered although it had succeeded
gets its stored result: no second label.
"""

import os
import uuid

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function

processor = BatchProcessor(event_type=EventType.SQS)
store = DynamoDBPersistenceLayer(table_name=os.environ.get("TABLE_NAME", "IdempotencyTable"))
config = IdempotencyConfig(event_key_jmespath="messageId")
printed: list[str] = []


def print_label(parcel: dict) -> str:
    if not parcel["city"]:
        raise ValueError(f"parcel {parcel['number']} has no city")
    printed.append(parcel["number"])
    print(f"printing a label for {parcel['number']}")
    return str(uuid.uuid4())


@idempotent_function(data_keyword_argument="record", persistence_store=store, config=config)
def record_handler(record: SQSRecord) -> dict:
    return {"label": print_label(record.json_body)}


def handler(event: dict, context: object) -> dict:
    config.register_lambda_context(context)
    return process_partial_response(
        event=event, record_handler=record_handler, processor=processor, context=context
    )
