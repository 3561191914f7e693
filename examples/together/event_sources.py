"""Read an API Gateway request as a data class, and start a subscription once for each Idempotency-Key.

The handler and a function that it calls both take the data class. Expressions search the raw event behind it.
"""

import json
import os
import uuid

from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2, event_source

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent, idempotent_function

store = DynamoDBPersistenceLayer(table_name=os.environ.get("TABLE_NAME", "IdempotencyTable"))
by_header = IdempotencyConfig(
    event_key_jmespath='headers."idempotency-key"', raise_on_no_idempotency_key=True
)
by_customer = IdempotencyConfig(event_key_jmespath="powertools_json(body).customer")
started: list[str] = []
welcomed: list[str] = []


@idempotent_function(data_keyword_argument="request", persistence_store=store, config=by_customer)
def welcome(request: APIGatewayProxyEventV2) -> None:
    customer = request.json_body["customer"]
    welcomed.append(customer)
    print(f"sending {customer} a letter of welcome")


@event_source(data_class=APIGatewayProxyEventV2)
@idempotent(persistence_store=store, config=by_header)
def handler(event: APIGatewayProxyEventV2, context: object) -> dict:
    by_customer.register_lambda_context(context)
    plan = event.json_body["plan"]
    started.append(plan)
    print(f"starting a {plan} subscription")
    welcome(request=event)
    return {"statusCode": 201, "body": json.dumps({"subscription": str(uuid.uuid4()), "plan": plan})}
