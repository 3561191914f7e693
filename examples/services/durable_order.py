"""An order that waits for an approval, perhaps for weeks, in a Lambda durable execution. Charged once."""

from typing import Any

from aws_durable_execution_sdk_python import DurableContext, StepContext, durable_execution, durable_step

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent

records = DynamoDBPersistenceLayer("idempotency")
config = IdempotencyConfig(event_key_jmespath="order_id", execution_timeout_seconds=30 * 24 * 3600)
charged: list[str] = []


@durable_step
def charge(step: StepContext, order_id: str) -> str:
    charged.append(order_id)
    return f"charge of {order_id}"


@durable_execution
@idempotent(persistence_store=records, config=config)
def handler(event: dict[str, Any], context: DurableContext) -> dict[str, Any]:
    receipt = context.step(charge(event["order_id"]))
    approval = context.create_callback(name="approval")
    return {"receipt": receipt, "approved": approval.result()}  # suspends here until the decision
