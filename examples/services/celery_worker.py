"""A Celery task that bills subscriptions once a month, even if it is redelivered or retried.

With `acks_late` Celery redelivers a task whose worker died, so it must not repeat its effect. A task whose
duplicate is running retries when that lease has ended. Run it: `celery -A celery_worker worker`.
"""

import os

from celery import Celery, Task

from idemproof import IdempotencyConfig, RedisCachePersistenceLayer, idempotent_function
from idemproof.errors import IdempotencyAlreadyInProgressError

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

app = Celery("billing", broker=REDIS_URL)
store = RedisCachePersistenceLayer(url=REDIS_URL)
config = IdempotencyConfig(
    event_key_jmespath="[subscription, month]",
    payload_validation_jmespath="cents",
    expires_after_seconds=60 * 24 * 3600,
    in_progress_expires_after_seconds=120,
)


@idempotent_function(data_keyword_argument="bill", persistence_store=store, config=config)
def charge(bill: dict) -> dict:
    print(f"charging {bill['cents']} cents for {bill['subscription']} in {bill['month']}")
    return {"invoice": f"{bill['subscription']}/{bill['month']}"}


def send_invoice(invoice: str) -> None:
    """Simulate a mail server, which may be down."""
    print(f"sending {invoice}")


@app.task(
    bind=True,
    acks_late=True,
    reject_on_worker_lost=True,
    autoretry_for=(OSError,),
    retry_backoff=True,
    max_retries=5,
)
def bill_subscription(self: Task, subscription: str, month: str, cents: int) -> str:
    try:
        charged = charge(bill={"subscription": subscription, "month": month, "cents": cents})
    except IdempotencyAlreadyInProgressError as error:
        raise self.retry(exc=error, countdown=(error.retry_after_ms or 1000) / 1000) from error
    send_invoice(charged["invoice"])
    return charged["invoice"]
