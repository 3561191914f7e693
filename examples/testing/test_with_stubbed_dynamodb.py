"""Sends no request: botocore's Stubber checks each request and returns a prepared answer."""

from collections.abc import Iterator

import boto3
import pytest
import seats
from botocore.stub import ANY, Stubber

BOOKING = {"booking_id": "b-1", "seat": "F12"}
WRITE = {
    "TableName": "IdempotencyTable",
    "Item": ANY,
    "ConditionExpression": ANY,
    "ExpressionAttributeNames": ANY,
    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
}

COMPLETION = {
    "TableName": "IdempotencyTable",
    "Key": ANY,
    "UpdateExpression": ANY,
    "ConditionExpression": ANY,
    "ExpressionAttributeNames": ANY,
    "ExpressionAttributeValues": ANY,
    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
}


@pytest.fixture
def dynamodb() -> Iterator[Stubber]:
    client = boto3.client(
        "dynamodb", region_name="eu-central-1", aws_access_key_id="none", aws_secret_access_key="none"
    )
    seats.store.client = client
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def test_a_first_call_claims_its_key_and_stores_its_result(dynamodb: Stubber) -> None:
    dynamodb.add_response("put_item", {}, WRITE)
    dynamodb.add_response("update_item", {}, COMPLETION)
    assert seats.handler(BOOKING, None)["seat"] == "F12"


def test_a_repeat_is_answered_with_what_is_stored(dynamodb: Stubber) -> None:
    stored = {
        "id": {"S": "any"},
        "status": {"S": "COMPLETED"},
        "expiration": {"N": "32503680000"},
        "data": {"S": '{"ticket": "T-7", "seat": "F12"}'},
    }
    dynamodb.add_client_error(
        "put_item",
        service_error_code="ConditionalCheckFailedException",
        expected_params=WRITE,
        modeled_fields={"Item": stored},
    )
    before = len(seats.sold)
    assert seats.handler(BOOKING, None) == {"ticket": "T-7", "seat": "F12"}
    assert len(seats.sold) == before
