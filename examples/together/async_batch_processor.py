"""Charge the bills of an SQS batch concurrently, each subscription and month once.

The key comes from the message's body, so a bill that was sent in two messages is also charged once.
"""

import asyncio
import os
import uuid

from aws_lambda_powertools.utilities.batch import (
    AsyncBatchProcessor,
    EventType,
    async_process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function

processor = AsyncBatchProcessor(event_type=EventType.SQS)
# A blocking layer runs in its own threads. With aiobotocore, use AsyncDynamoDBPersistenceLayer.
store = DynamoDBPersistenceLayer(table_name=os.environ.get("TABLE_NAME", "IdempotencyTable"))
config = IdempotencyConfig(event_key_jmespath="powertools_json(body).[subscription, month]")
charged: list[str] = []


async def charge(bill: dict) -> str:
    if bill["cents"] <= 0:
        raise ValueError(f"nothing to pay for {bill['subscription']}")
    await asyncio.sleep(0)  # the request to a payment service
    charged.append(bill["subscription"])
    print(f"charging {bill['cents']} cents for {bill['subscription']}")
    return str(uuid.uuid4())


@idempotent_function(data_keyword_argument="record", persistence_store=store, config=config)
async def record_handler(record: SQSRecord) -> dict:
    return {"payment": await charge(record.json_body)}


def handler(event: dict, context: object) -> dict:
    config.register_lambda_context(context)
    return async_process_partial_response(
        event=event, record_handler=record_handler, processor=processor, context=context
    )
