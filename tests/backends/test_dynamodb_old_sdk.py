"""An SDK that cannot return the item that prevented a write costs one read, and nothing else.

test_contract.py checks the whole contract with such an SDK.
"""

from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ParamValidationError

from idemproof import Record
from idemproof.spec.record import COMPLETED, INPROGRESS
from places import Table, recent_sdk
from sides import KEY, Recording, Side

FAR = 32_503_680_000
CLAIM = Record("key", INPROGRESS, FAR, 1, None, "hash", "mine")
OTHER = CLAIM._replace(owner="another")
READ = ["get_item"]


def refuse(side: Side, client: Any, current: Record | None, expected: Record | None, new: Any) -> list[str]:
    """Return the requests of a swap that is refused."""
    recording = Recording(client)
    layer = side.dynamodb(recording)
    if current is not None:
        side.swap(layer, "key", None, current)
    recording.asked.clear()
    assert side.swap(layer, "key", expected, new) == current
    return recording.methods


@recent_sdk
@pytest.mark.parametrize(
    ("current", "expected", "new", "asked"),
    [
        (OTHER, None, CLAIM, "put_item"),
        (OTHER, CLAIM, CLAIM._replace(status=COMPLETED), "update_item"),
        (OTHER, CLAIM, None, "delete_item"),
        (None, CLAIM, CLAIM._replace(status=COMPLETED), "update_item"),
        (None, CLAIM, None, "delete_item"),
    ],
    ids=["claim", "completion", "release", "completion of nothing", "release of nothing"],
)
def test_an_old_sdk_reads_after_each_refusal_and_a_new_one_only_without_a_record(
    moto_table: Table, old_moto_table: Table, side: Side, current: Any, expected: Any, new: Any, asked: str
) -> None:
    requests = [asked] if current is not None else [asked, *READ]
    assert refuse(side, moto_table.client, current, expected, new) == requests
    moto_table.client.delete_item(TableName="records", Key={"id": {"S": "key"}})
    assert refuse(side, old_moto_table.client, current, expected, new) == [asked, *READ]


def test_an_old_sdk_reads_nothing_where_it_succeeds(old_moto_table: Table, side: Side) -> None:
    client = Recording(old_moto_table.client)
    layer = side.dynamodb(client)
    assert side.swap(layer, "key", None, CLAIM) == CLAIM
    assert side.swap(layer, "key", CLAIM, OTHER) == OTHER
    assert side.swap(layer, "key", OTHER, None) is None
    assert client.methods == ["put_item", "put_item", "delete_item"]


def test_the_old_sdk_of_these_tests_really_knows_no_such_parameter(old_moto_table: Table) -> None:
    with pytest.raises(ParamValidationError, match="ReturnValuesOnConditionCheckFailure"):
        old_moto_table.client.put_item(
            TableName="records", Item={"id": {"S": "key"}}, ReturnValuesOnConditionCheckFailure="ALL_OLD"
        )


@recent_sdk
@pytest.mark.parametrize("version", ["1.44.0.dev1", "2.0.0rc1+local", "unreleased"])
def test_the_sdks_version_does_not_matter(
    moto_table: Table, side: Side, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("boto3", "botocore", "aiobotocore"):
        monkeypatch.setattr(f"{module}.__version__", version)
    assert refuse(side, moto_table.client, OTHER, None, CLAIM) == ["put_item"]


@recent_sdk
@pytest.mark.parametrize("meta", [None, SimpleNamespace(region_name="here")], ids=["none", "no model"])
def test_a_stand_in_without_a_model_is_taken_to_be_recent(moto_table: Table, side: Side, meta: Any) -> None:
    client = Recording(moto_table.client)
    client.meta = meta
    side.swap(side.dynamodb(client), "key", None, CLAIM)
    assert client.asked[0].kwargs["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"


def test_a_replay_by_an_old_sdk_takes_two_requests(old_moto_table: Table, side: Side) -> None:
    client = Recording(old_moto_table.client)
    call = side.function(side.dynamodb(client), lambda: "done")
    assert call() == "done"
    client.asked.clear()
    assert call() == "done"
    assert client.methods == ["put_item", "get_item"]
    assert old_moto_table.item(KEY) is not None


@pytest.mark.parametrize("new", [OTHER, None], ids=["completion", "release"])
def test_the_record_is_read_if_the_server_does_not_return_it(
    moto_table: Table, side: Side, new: Record | None
) -> None:
    def forget(parsed: dict[str, Any], **_: Any) -> None:
        if "Error" in parsed:
            parsed.pop("Item", None)

    holder = CLAIM._replace(owner="holder")
    side.swap(side.dynamodb(moto_table.client), "key", None, holder)
    events = moto_table.client.meta.events
    events.register("after-call.dynamodb", forget, "forget")
    try:
        assert side.swap(side.dynamodb(moto_table.client), "key", CLAIM, new) == holder
    finally:
        events.unregister("after-call.dynamodb", unique_id="forget")
