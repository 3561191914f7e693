"""Sends the same requests as in production, to DynamoDB Local.

Start it with ``docker run -p 8000:8000 amazon/dynamodb-local``.
"""

import os

import boto3
import pytest
import seats


@pytest.fixture(autouse=True)
def _dynamodb_local() -> None:
    seats.store.client = boto3.client(
        "dynamodb",
        endpoint_url=os.environ.get("DYNAMODB_ENDPOINT", "http://localhost:8000"),
        region_name="eu-central-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )
    seats.store.create_table()  # unless it is there already


def test_a_booking_that_comes_twice_sells_one_seat() -> None:
    booking = {"booking_id": os.urandom(8).hex(), "seat": "F12"}  # the table may outlive the test
    before = len(seats.sold)
    first = seats.handler(booking, None)
    assert seats.handler(booking, None) == first
    assert len(seats.sold) == before + 1
