"""Creating a table for development: once, with its time to live, and never in place of another table."""

from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from idemproof import Record
from idemproof.errors import (
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
)
from idemproof.spec.record import COMPLETED
from places import Table
from sides import Recording, Side


@pytest.fixture
def client(moto_clients: Any) -> Any:
    with mock_aws():
        yield moto_clients(old=False)


def described(client: Any) -> dict[str, Any]:
    return client.describe_table(TableName="made")["Table"]


def lifetime(client: Any, name: str = "made") -> dict[str, Any]:
    return client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]


def test_a_table_is_made_with_its_key_its_time_to_live_and_payment_by_request(
    client: Any, side: Side
) -> None:
    layer = side.dynamodb(client, "made", key_attr="pk", expiry_attr="gone_at")
    assert side.wait(layer.create_table()) is None
    description = described(client)
    assert description["KeySchema"] == [{"AttributeName": "pk", "KeyType": "HASH"}]
    assert description["AttributeDefinitions"] == [{"AttributeName": "pk", "AttributeType": "S"}]
    assert description["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert lifetime(client)["AttributeName"] == "gone_at"
    record = Record("key", COMPLETED, 2**40)
    assert side.swap(layer, "key", None, record) == record


def test_a_table_with_a_sort_key_has_both_keys(client: Any, side: Side) -> None:
    side.wait(side.dynamodb(client, "made", sort_key_attr="sk").create_table())
    assert described(client)["KeySchema"] == [
        {"AttributeName": "id", "KeyType": "HASH"},
        {"AttributeName": "sk", "KeyType": "RANGE"},
    ]


def test_dynamodb_itself_accepts_the_requests(dynamodb_client: Any, side: Side, request: Any) -> None:
    request.addfinalizer(lambda: dynamodb_client.delete_table(TableName="made"))
    layer = side.dynamodb(dynamodb_client, "made", sort_key_attr="sk")
    for _ in range(2):
        side.wait(layer.create_table())
    description = lifetime(dynamodb_client)
    assert (description["TimeToLiveStatus"], description["AttributeName"]) == ("ENABLED", "expiration")


def test_making_it_again_changes_nothing_and_keeps_the_records(client: Any, side: Side) -> None:
    layer = side.dynamodb(client, "made")
    side.wait(layer.create_table())
    record = Record("key", COMPLETED, 2**40)
    side.swap(layer, "key", None, record)
    recording = Recording(client)
    side.wait(side.dynamodb(recording, "made").create_table())
    assert recording.methods == ["create_table", "describe_table", "describe_time_to_live"]
    assert side.load(layer, "key") == record


def test_a_table_that_has_no_time_to_live_yet_gets_it(moto_table: Table, side: Side) -> None:
    side.wait(side.dynamodb(moto_table.client).create_table())
    assert lifetime(moto_table.client, "records")["AttributeName"] == "expiration"


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"key_attr": "pk"}, "key"),
        ({"sort_key_attr": "sk"}, "key"),
        ({"expiry_attr": "other"}, "time to live"),
        ({"sort_key_attr": "sk", "expiry_attr": "other"}, "key"),
    ],
    ids=["key", "sort key", "time to live", "both"],
)
@pytest.mark.parametrize("lives", [True, False], ids=["with time to live", "without"])
def test_a_table_of_another_kind_is_refused_and_left_alone(
    moto_table: Table, side: Side, options: dict[str, str], difference: str, lives: bool
) -> None:
    if lives:
        side.wait(side.dynamodb(moto_table.client).create_table())
    elif difference != "key":
        moto_table.client.update_time_to_live(
            TableName="records", TimeToLiveSpecification={"Enabled": True, "AttributeName": "somebody's"}
        )
    before = lifetime(moto_table.client, "records")
    with pytest.raises(
        IdempotencyPersistenceConfigError, match=f"'records' already exists, but its {difference}"
    ):
        side.wait(side.dynamodb(moto_table.client, **options).create_table())
    assert lifetime(moto_table.client, "records") == before


@pytest.mark.parametrize("sort_key", [None, "sk"])
def test_a_table_whose_keys_are_no_strings_is_refused(client: Any, side: Side, sort_key: str | None) -> None:
    odd = sort_key or "id"
    keys = ["id", *([sort_key] if sort_key else [])]
    client.create_table(
        TableName="made",
        KeySchema=[
            {"AttributeName": k, "KeyType": kind} for k, kind in zip(keys, ("HASH", "RANGE"), strict=False)
        ],
        AttributeDefinitions=[{"AttributeName": k, "AttributeType": "N" if k == odd else "S"} for k in keys],
        BillingMode="PAY_PER_REQUEST",
    )
    with pytest.raises(IdempotencyPersistenceConfigError, match="'made' already exists, but its key is"):
        side.wait(side.dynamodb(client, "made", sort_key_attr=sort_key).create_table())


class Racing:
    """A table whose time to live is set by another process first, or is being disabled."""

    def __init__(self, client: Any, *, disabling: bool = False) -> None:
        self.client = client
        self.disabling = disabling

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def update_time_to_live(self, **request: Any) -> Any:
        self.client.update_time_to_live(**request)
        raise ClientError({"Error": {"Code": "ValidationException", "Message": "already enabled"}}, "Some")

    def describe_time_to_live(self, **request: Any) -> Any:
        description = self.client.describe_time_to_live(**request)
        if self.disabling:
            description["TimeToLiveDescription"] |= {
                "TimeToLiveStatus": "DISABLING",
                "AttributeName": "expiration",
            }
        return description


def test_two_clients_can_create_a_table_at_the_same_time(client: Any, side: Side) -> None:
    side.wait(side.dynamodb(Racing(client), "made").create_table())
    assert lifetime(client)["AttributeName"] == "expiration"


def test_a_table_whose_time_to_live_is_being_disabled_is_refused(client: Any, side: Side) -> None:
    with pytest.raises(IdempotencyPersistenceConfigError, match="being disabled"):
        side.wait(side.dynamodb(Racing(client, disabling=True), "made").create_table())


class Slow:
    """A table that becomes active after ``looks`` requests."""

    def __init__(self, client: Any, looks: int) -> None:
        self.client = client
        self.looks = looks

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def describe_table(self, **request: Any) -> Any:
        self.looks -= 1
        description = self.client.describe_table(**request)
        if self.looks >= 0:
            description["Table"]["TableStatus"] = "CREATING"
        return description


@pytest.fixture
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idemproof.backends.dynamodb_table._PAUSE_MS", 0)


@pytest.mark.usefixtures("_no_waiting")
def test_it_waits_until_the_table_can_be_used(client: Any, side: Side) -> None:
    slow = Slow(client, 5)
    side.wait(side.dynamodb(slow, "made").create_table())
    assert slow.looks == -1
    assert lifetime(client)["AttributeName"] == "expiration"


@pytest.mark.usefixtures("_no_waiting")
def test_it_does_not_wait_for_ever(client: Any, side: Side) -> None:
    with pytest.raises(IdempotencyPersistenceConnectionError, match="'made' is still not active"):
        side.wait(side.dynamodb(Slow(client, 10**6), "made").create_table())


class Denying:
    """A client without permission for one method."""

    def __init__(self, client: Any, denied: str, code: str) -> None:
        self.client = client
        self.denied = denied
        self.code = code

    def __getattr__(self, name: str) -> Any:
        if name == self.denied:
            return self.deny
        return getattr(self.client, name)

    def deny(self, **request: Any) -> Any:
        raise ClientError({"Error": {"Code": self.code, "Message": "no"}}, "Some")


@pytest.mark.parametrize(
    "denied", ["create_table", "describe_table", "describe_time_to_live", "update_time_to_live"]
)
@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("AccessDeniedException", IdempotencyPersistenceConfigError),
        ("LimitExceededException", IdempotencyPersistenceConnectionError),
    ],
)
def test_each_failure_has_its_documented_name(
    client: Any, side: Side, denied: str, code: str, named: type[Exception]
) -> None:
    with pytest.raises(named, match=f"'made'.*{code}") as raised:
        side.wait(side.dynamodb(Denying(client, denied, code), "made").create_table())
    assert isinstance(raised.value.__cause__, ClientError)
