"""A table for idempotency records, and a function that may use it and nothing else: `cdk deploy`.

Before, put the function and what it imports together:
`pip install -r ../src/requirements.txt --target ../build && cp ../src/*.py ../build`.
"""

from aws_cdk import App, Duration, RemovalPolicy, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_lambda as lambda_
from constructs import Construct


class BillingStack(Stack):
    def __init__(self, scope: Construct, name: str) -> None:
        super().__init__(scope, name)
        table = dynamodb.Table(
            self,
            "IdempotencyTable",
            partition_key=dynamodb.Attribute(name="id", type=dynamodb.AttributeType.STRING),
            time_to_live_attribute="expiration",
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            removal_policy=RemovalPolicy.RETAIN,
        )
        function = lambda_.Function(
            self,
            "BillingFunction",
            code=lambda_.Code.from_asset(self.node.try_get_context("code") or "../build"),
            handler="subscription.handler",
            runtime=lambda_.Runtime.PYTHON_3_13,
            timeout=Duration.seconds(30),
            environment={"TABLE_NAME": table.table_name},
        )
        table.grant(
            function,
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:UpdateItem",
            "dynamodb:DeleteItem",
        )


if __name__ == "__main__":
    app = App()
    BillingStack(app, "Billing")
    app.synth()
