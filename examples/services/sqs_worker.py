"""An SQS worker that prints parcel labels: SQS delivers at least once, and each parcel gets one label.

The key is the parcel's number, not the id of the message, so it also works if the sender sends a message
twice. The worker deletes a message when its work is done. Work that fails, or runs in another worker, stays
queued.
"""

import json
import logging
import os

import boto3

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function
from idemproof.errors import IdempotencyAlreadyInProgressError

logger = logging.getLogger(__name__)
sqs = boto3.client("sqs")
store = DynamoDBPersistenceLayer(os.environ.get("TABLE_NAME", "IdempotencyTable"))
config = IdempotencyConfig(
    event_key_jmespath="parcel",
    raise_on_no_idempotency_key=True,
    expires_after_seconds=14 * 24 * 3600,  # the longest time that SQS keeps a message
    in_progress_expires_after_seconds=30,  # longer than the work, shorter than the queue's visibility timeout
)


@idempotent_function(data_keyword_argument="order", persistence_store=store, config=config)
def print_label(order: dict) -> dict:
    print(f"label for {order['parcel']} to {order['city']}")
    return {"label": f"L-{order['parcel']}"}


def work(queue_url: str) -> None:
    """Process up to ten messages."""
    received = sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=20)
    for message in received.get("Messages", []):
        try:
            print_label(order=json.loads(message["Body"]))
        except IdempotencyAlreadyInProgressError:
            continue  # returns after its visibility timeout, and gets the stored result then
        except Exception:
            logger.exception("message %s stays in the queue", message["MessageId"])
            continue
        sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])


if __name__ == "__main__":
    while True:
        work(os.environ["QUEUE_URL"])
