"""The exact requests to DynamoDB."""

import math
import re
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from idemproof import DynamoDBPersistenceLayer, Record
from idemproof.errors import IdempotencyAlreadyInProgressError, IdempotencyPersistenceConfigError
from idemproof.spec.record import COMPLETED, INPROGRESS
from places import SORT_KEY, Table, recent_sdk
from sides import KEY, Recording, Side

pytestmark = pytest.mark.once

CLAIM = Record("key", INPROGRESS, 1000, 999_000, None, "hash", "mine")
RESULT = Record("key", COMPLETED, 2000, None, "{}", "hash", "mine")
RECORDS = st.builds(
    Record,
    st.just("key"),
    st.sampled_from([INPROGRESS, COMPLETED]),
    st.integers(0, 2**62),
    st.none() | st.integers(0, 2**62),
    *[st.none() | st.text(max_size=5)] * 2,
    st.none() | st.text(max_size=5),
)
NAMES = {
    "key_attr": "Key",
    "expiry_attr": "ttl",
    "in_progress_expiry_attr": "lease time",
    "status_attr": "select",
    "data_attr": "a.b",
    "validation_key_attr": "#hash",
    "owner_attr": ":owner",
}


class Silent:
    """A client that records requests and returns empty replies."""

    def put_item(self, **request: Any) -> dict[str, Any]:
        return {}

    get_item = delete_item = put_item


def asked(
    expected: Record | None, new: Record | None, key: str = "key", **options: Any
) -> tuple[str, dict[str, Any]]:
    client = Recording(Silent())
    DynamoDBPersistenceLayer("records", boto3_client=client, **options)._swap(key, expected, new, 1)
    (ask,) = client.asked
    return ask.method, dict(ask.kwargs)


WHOLE_CLAIM = {
    "id": {"S": "key"},
    "status": {"S": "INPROGRESS"},
    "expiration": {"N": "1000"},
    "in_progress_expiration": {"N": "999000"},
    "validation": {"S": "hash"},
    "owner": {"S": "mine"},
}


def test_a_claim_is_put_without_a_record() -> None:
    assert asked(None, CLAIM) == (
        "put_item",
        {
            "TableName": "records",
            "Item": WHOLE_CLAIM,
            "ConditionExpression": "attribute_not_exists(#key)",
            "ExpressionAttributeNames": {"#key": "id"},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        },
    )


def test_a_table_with_a_sort_key_has_the_idempotency_key_there() -> None:
    key = {"id": {"S": "tenant"}, SORT_KEY: {"S": "key"}}
    options = {"sort_key_attr": SORT_KEY, "static_pk_value": "tenant"}
    assert asked(None, CLAIM, **options)[1]["Item"] == WHOLE_CLAIM | key
    assert asked(CLAIM, None, **options)[1]["Key"] == key
    assert asked(None, None, **options)[1]["Key"] == key


@pytest.mark.parametrize(
    ("function", "partition"), [("billing", "idempotency#billing"), (None, "idempotency#")]
)
def test_the_partition_is_named_after_the_lambda_function_if_not_given(
    function: str | None, partition: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    if function is not None:
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", function)
    assert asked(None, CLAIM, sort_key_attr=SORT_KEY)[1]["Item"]["id"] == {"S": partition}


def test_a_key_is_always_in_the_same_of_the_given_number_of_partitions() -> None:
    options = {"sort_key_attr": SORT_KEY, "static_pk_value": "tenant", "static_pk_shards": 4}
    partitions = {}
    for key in (f"pay#{number}" for number in range(100)):
        requests = [asked(*pair, key, **options) for pair in ((None, CLAIM), (CLAIM, None), (None, None))]
        [partitions[key]] = {(kwargs.get("Item") or kwargs["Key"])["id"]["S"] for _, kwargs in requests}
    assert set(partitions.values()) == {f"tenant#{shard}" for shard in range(4)}
    # What was stored must be found by all later releases.
    assert [partitions[f"pay#{number}"][-1] for number in range(6)] == ["2", "0", "2", "0", "3", "1"]


@pytest.mark.parametrize(("expected", "new"), [(None, None), (None, CLAIM), (CLAIM, None)])
def test_a_key_that_is_no_text_is_refused_before_it_meets_another(
    expected: Record | None, new: Record | None
) -> None:
    # On the wire all lone surrogates would be the same.
    client = Recording(Silent())
    with pytest.raises(IdempotencyPersistenceConfigError, match="not valid text"):
        DynamoDBPersistenceLayer("records", boto3_client=client)._swap("\ud800", expected, new, 1)
    assert client.asked == []


@pytest.mark.clause("CAS-1")
def test_reading_is_strongly_consistent() -> None:
    assert asked(None, None) == (
        "get_item",
        {"TableName": "records", "Key": {"id": {"S": "key"}}, "ConsistentRead": True},
    )


@settings(max_examples=200)
@given(expected=RECORDS, new=st.none() | RECORDS)
def test_a_record_is_replaced_under_a_condition_on_its_whole_version_and_nothing_else(
    expected: Record, new: Record | None
) -> None:
    method, request = asked(expected, new)
    assert method == ("delete_item" if new is None else "put_item")
    names, values = request["ExpressionAttributeNames"], request["ExpressionAttributeValues"]
    condition = request["ConditionExpression"]
    said = re.sub(r"[#:]\w+", lambda mark: str(names.get(mark[0]) or values[mark[0]]), condition)

    def equal(name: str, kind: str, value: Any, *none: Any) -> str:
        if value is None or value in none:
            absent = [{"NULL": True}, *({kind: each} for each in none)]
            return f"(attribute_not_exists({name}){''.join(f' OR {name} = {each}' for each in absent)})"
        return f"{name} = { ({kind: str(value)}) }"

    assert said == " AND ".join(
        [
            equal("status", "S", expected.status),
            equal("expiration", "N", expected.expiry_timestamp),
            equal("in_progress_expiration", "N", expected.in_progress_expiry_timestamp),
            equal("owner", "S", expected.owner, ""),
        ]
    )
    # DynamoDB refuses placeholders that are declared and not used.
    assert set(re.findall(r"[#:]\w+", condition)) == set(names) | set(values)
    assert request["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"


@settings(max_examples=200)
@given(expected=st.none() | RECORDS, new=st.none() | RECORDS)
def test_attributes_are_named_by_placeholders_only(expected: Record | None, new: Record | None) -> None:
    _, request = asked(expected, new, **NAMES)
    words = re.sub(r"[#:]\w+", "", request.get("ConditionExpression", ""))
    assert set(re.findall(r"\w+", words)) <= {"attribute_not_exists", "AND", "OR"}


@settings(max_examples=200)
@given(expected=st.none() | RECORDS, new=RECORDS)
def test_an_attribute_without_a_value_is_not_written(expected: Record | None, new: Record) -> None:
    _, request = asked(expected, new)
    item = request["Item"]
    assert set(item) == {
        "id",
        "status",
        "expiration",
        *(["in_progress_expiration"] if new.in_progress_expiry_timestamp is not None else []),
        *(["data"] if new.response_data is not None else []),
        *(["validation"] if new.payload_hash is not None else []),
        *(["owner"] if new.owner is not None else []),
    }
    assert {kind for value in item.values() for kind in value} <= {"S", "N"}


def test_each_attribute_can_have_any_name(dynamodb_client: Any, request: pytest.FixtureRequest) -> None:
    layer = DynamoDBPersistenceLayer("renamed", boto3_client=dynamodb_client, **NAMES)
    layer.create_table()
    request.addfinalizer(lambda: dynamodb_client.delete_table(TableName="renamed"))
    claim, result = CLAIM._replace(response_data="{}"), RESULT._replace(owner=None)
    assert layer._swap("key", None, claim, 1) == claim
    item = dynamodb_client.get_item(TableName="renamed", Key={"Key": {"S": "key"}})["Item"]
    assert item == {
        "Key": {"S": "key"},
        "ttl": {"N": "1000"},
        "lease time": {"N": "999000"},
        "select": {"S": "INPROGRESS"},
        "a.b": {"S": "{}"},
        "#hash": {"S": "hash"},
        ":owner": {"S": "mine"},
    }
    assert layer._load("key") == claim
    assert layer._swap("key", claim, result, 1) == result
    assert layer._swap("key", claim, None, 0) == result
    assert layer._swap("key", result, None, 0) is None


def test_a_table_with_a_sort_key_tells_it(partition: Table) -> None:
    layer = DynamoDBPersistenceLayer(
        partition.name,
        static_pk_value=partition.partition,
        sort_key_attr=SORT_KEY,
        boto3_client=partition.client,
    )
    layer._swap("key", None, CLAIM, 1)
    assert layer._load("key") == CLAIM
    assert partition.item("key") == WHOLE_CLAIM | {"id": {"S": partition.partition}, SORT_KEY: {"S": "key"}}


@recent_sdk
def test_a_whole_life_of_a_record_takes_one_conditional_write_for_each_step(
    moto_table: Table, side: Side
) -> None:
    clock = [1_700_000_000_000]
    client = Recording(moto_table.client)
    layer = side.dynamodb(client)

    def asked_by_a_call(body: Callable[[], Any]) -> list[str]:
        client.asked.clear()
        call = side.function(
            layer,
            body,
            clock=lambda: clock[0],
            in_progress_expires_after_seconds=10,
            expires_after_seconds=100,
        )
        with suppress(ZeroDivisionError, IdempotencyAlreadyInProgressError):
            call()
        assert all("ConditionExpression" in ask.kwargs for ask in client.asked)
        return client.methods

    def never() -> None:
        raise AssertionError("the body ran")

    assert asked_by_a_call(lambda: 1 / 0) == ["put_item", "delete_item"]
    assert asked_by_a_call(lambda: "first") == ["put_item", "update_item"]
    assert asked_by_a_call(never) == ["put_item"]  # a replay
    clock[0] += 101_000
    # Refused, it learns what is over; then it replaces that, and completes.
    assert asked_by_a_call(lambda: "again") == ["put_item", "put_item", "update_item"]
    clock[0] += 101_000
    rival = Record(KEY, INPROGRESS, clock[0] // 1000 + 100, clock[0] + 10_000, owner="rival")
    current = side.swap(layer, KEY, None, rival)
    assert side.swap(layer, KEY, current, rival) == rival
    assert asked_by_a_call(never) == ["put_item"]  # refused: in progress
    clock[0] += 10_000
    assert asked_by_a_call(lambda: "taken over") == ["put_item", "put_item", "update_item"]


class Denying:
    """A client whose role may not update items, permanently or temporarily."""

    def __init__(self, client: Any, code: str, times: float = math.inf) -> None:
        self._client = client
        self._code = code
        self._times = times
        self.meta = client.meta

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def update_item(self, **request: Any) -> Any:
        self._times -= 1
        if self._times < 0:
            return self._client.update_item(**request)
        raise ClientError({"Error": {"Code": self._code, "Message": "not allowed"}}, "UpdateItem")


@pytest.mark.parametrize("code", ["AccessDeniedException", "AccessDenied"])
def test_without_the_permission_to_update_a_completion_puts_and_says_so_once(
    moto_table: Table, side: Side, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    denying = Denying(moto_table.client, code)
    client = Recording(denying)
    layer = side.dynamodb(client)
    for key in ("one", "two"):
        claim = Record(key, INPROGRESS, 2**40, 2**50, None, "hash", "mine")
        result = claim._replace(status=COMPLETED, in_progress_expiry_timestamp=None, response_data="1")
        assert side.swap(layer, key, None, claim) == claim
        assert side.swap(layer, key, claim, result) == result
    assert client.methods == ["put_item", "update_item", "put_item"] * 2
    assert caplog.text.count("denies UpdateItem") == 1


def test_an_update_that_is_denied_once_is_put_and_the_next_is_an_update_again(
    moto_table: Table, side: Side
) -> None:
    denying = Denying(moto_table.client, "AccessDeniedException", times=1)
    client = Recording(denying)
    layer = side.dynamodb(client)
    for key in ("one", "two"):
        claim = Record(key, INPROGRESS, 2**40, 2**50, None, "hash", "mine")
        result = claim._replace(status=COMPLETED, in_progress_expiry_timestamp=None, response_data="1")
        assert side.swap(layer, key, None, claim) == claim
        assert side.swap(layer, key, claim, result) == result
        assert side.load(layer, key) == result
    denied, allowed = (["put_item", "update_item", *more, "get_item"] for more in (["put_item"], []))
    assert client.methods == denied + allowed


def test_a_client_without_update_item_puts(moto_table: Table, side: Side) -> None:
    names = ("put_item", "get_item", "delete_item", "meta")
    client = SimpleNamespace(**{name: getattr(moto_table.client, name) for name in names})
    layer = side.dynamodb(client)
    claim = Record("key", INPROGRESS, 2**40, 2**50, None, "hash", "mine")
    result = claim._replace(status=COMPLETED, in_progress_expiry_timestamp=None, response_data="1")
    assert side.swap(layer, "key", None, claim) == claim
    assert side.swap(layer, "key", claim, result) == result


@pytest.mark.parametrize("response", [None, "1"])
@pytest.mark.parametrize("payload_hash", [None, "hash"])
@pytest.mark.parametrize("owner", [None, "mine"])
@pytest.mark.parametrize("lease", [None, 2**50])
def test_an_update_leaves_the_record_and_foreign_attributes(
    moto_table: Table, side: Side, response: Any, payload_hash: Any, owner: Any, lease: Any
) -> None:
    layer = side.dynamodb(moto_table.client)
    claim = Record("key", INPROGRESS, 2**40, 2**50, None, "before", owner)
    assert side.swap(layer, "key", None, claim) == claim
    moto_table.client.update_item(
        TableName="records",
        Key={"id": {"S": "key"}},
        UpdateExpression="SET team = :t",
        ExpressionAttributeValues={":t": {"S": "billing"}},
    )
    result = Record("key", COMPLETED, 2**41, lease, response, payload_hash, owner)
    assert side.swap(layer, "key", claim, result) == result
    assert side.load(layer, "key") == result
    assert moto_table.item("key")["team"] == {"S": "billing"}
    assert side.swap(layer, "key", claim, result._replace(response_data="2")) == result  # refused
