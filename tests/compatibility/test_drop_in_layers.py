"""Uses of a layer in code for Powertools: call it, read it, set it, replace it by a mock.

Each runs against the original too, where it can: what happens there is what has to happen here.
"""

import os
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock, create_autospec

import pytest
import sqlalchemy as sa
import time_machine

import idemproof
import idemproof.errors
from both_sides import (
    EVENT,
    OURS,
    STORES,
    THEIRS,
    Handler,
    fakeredis_client,
    items,
)

pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore:Couldn't determine the remaining time:UserWarning"),
    pytest.mark.filterwarnings("ignore:Redis.* will be removed:DeprecationWarning"),
]

# Attributes.

SHOWN = {
    "dynamodb": {
        *("table_name", "key_attr", "static_pk_value", "sort_key_attr", "expiry_attr", "status_attr"),
        *("in_progress_expiry_attr", "data_attr", "validation_key_attr"),
    },
    "cache": {"expiry_attr", "in_progress_expiry_attr", "status_attr", "data_attr", "validation_key_attr"},
}


@pytest.mark.parametrize("kind", STORES)
def test_names_can_be_read_and_are_the_original_s(client: Any, kind: str) -> None:
    ours, theirs = (
        layer(**arguments) for layer, arguments in (STORES[kind](one, client) for one in (OURS, THEIRS))
    )
    for name in SHOWN[kind]:
        assert getattr(ours, name) == getattr(theirs, name)


def test_a_table_name_that_is_set_later_counts(side: Any, client: Any) -> None:
    layer = side.DynamoDB("placeholder", boto3_client=client)
    handler = Handler(side, layer)
    layer.table_name = "orders"
    assert handler() == {"done": 1}
    assert len(items(client)) == 1
    layer.table_name = "others"
    assert handler() == {"done": 1}
    assert (handler.runs, len(items(client, "others"))) == (2, 1)


@pytest.mark.parametrize(
    ("attribute", "default"),
    [("expiry_attr", "expiration"), ("status_attr", "status"), ("data_attr", "data")],
)
def test_an_attributes_name_that_is_set_later_counts(
    side: Any, client: Any, attribute: str, default: str
) -> None:
    layer = side.DynamoDB("orders", boto3_client=client)
    handler = Handler(side, layer)
    setattr(layer, attribute, "other")
    assert [handler(), handler()] == [{"done": 1}] * 2
    (item,) = items(client)
    assert "other" in item
    assert default not in item
    assert handler.runs == 1


def test_an_attributes_name_counts_in_the_cache_too(side: Any) -> None:
    client = fakeredis_client()
    layer = side.Cache(client=client)
    handler = Handler(side, layer)
    layer.data_attr = "answer"
    assert [handler(), handler()] == [{"done": 1}] * 2
    (key,) = [one for one in client.scan_iter() if not one.endswith(b":lock")]
    assert b'"answer"' in client.get(key)


def test_a_name_that_cannot_be_is_refused_where_it_is_set_and_changes_nothing() -> None:
    layer = idemproof.DynamoDBPersistenceLayer("orders")
    for name, value in (("status_attr", "data"), ("expiry_attr", 5), ("sort_key_attr", "id")):
        before = getattr(layer, name)
        with pytest.raises(ValueError, match=name):
            setattr(layer, name, value)
        assert getattr(layer, name) == before


def test_a_setting_of_functions_is_refused_on_a_shared_layer() -> None:
    layer = idemproof.DynamoDBPersistenceLayer("orders")
    with pytest.raises(AttributeError, match=r"expires_after_seconds.*IdempotencyConfig"):
        layer.expires_after_seconds = 5


# Calling public methods.


def test_a_support_script_looks_at_a_record_and_frees_its_key(side: Any, client: Any) -> None:
    layer = side.DynamoDB("orders", boto3_client=client)
    handler = Handler(side, layer, event_key_jmespath="id")
    tool = side.DynamoDB("orders", boto3_client=client)
    tool.configure(side.Config(event_key_jmespath="id"), key_prefix="pay")
    with pytest.raises(side.errors.IdempotencyItemNotFoundError):
        tool.get_record(data=EVENT)

    def inside() -> None:
        record = tool.get_record(data=EVENT)
        assert (record.status, record.idempotency_key.partition("#")[0]) == ("INPROGRESS", "pay")
        tool.delete_record(data=EVENT, exception=Exception())
        with pytest.raises(side.errors.IdempotencyItemNotFoundError):
            tool.get_record(data=EVENT)
        tool.save_inprogress(data=EVENT, remaining_time_in_millis=1000)
        with pytest.raises(side.errors.IdempotencyItemAlreadyExistsError):
            tool.save_inprogress(data=EVENT, remaining_time_in_millis=1000)
        tool.save_success(data=EVENT, result={"done": "by hand"})

    handler.inside = inside
    handler()
    record = tool.get_record(data=EVENT)
    assert record.status == "COMPLETED"
    if side is OURS:  # the original's zombie overwrites what the script has stored
        assert record.response_json_as_dict() == {"done": "by hand"}


def free(layer: Any) -> None:
    layer.delete_record(data=EVENT, exception=Exception())


def store_by_hand(layer: Any) -> None:
    layer.save_success(data=EVENT, result={"done": "by hand"})


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("change", [free, store_by_hand])
def test_a_result_that_a_support_script_may_not_change_is_not_passed_over_in_silence(
    side: Any, place: Any, change: Callable[[Any], None], cached: bool
) -> None:
    kind, arguments = place
    layer = kind(**arguments)
    handler = Handler(side, layer, use_local_cache=cached)
    assert handler() == {"done": 1}
    layer.configure(side.Config(use_local_cache=cached), key_prefix="pay")
    if side is OURS:
        with pytest.raises(idemproof.errors.IdempotencyLeaseLostError, match="Nothing changed"):
            change(layer)
        assert handler() == {"done": 1}
        assert handler.runs == 1
    else:
        change(layer)
        assert handler() == ({"done": 1} if change is free else {"done": "by hand"})
        assert handler.runs == (2 if change is free else 1)


@pytest.mark.parametrize("change", [free, store_by_hand])
def test_a_result_that_has_expired_is_changed_by_a_support_script(
    side: Any, place: Any, change: Callable[[Any], None]
) -> None:
    kind, arguments = place
    layer = kind(**arguments)
    with time_machine.travel(time.time(), tick=False) as clock:
        handler = Handler(side, layer, expires_after_seconds=60)
        handler()
        layer.configure(side.Config(), key_prefix="pay")
        clock.shift(61)
        change(layer)
        assert handler() == ({"done": 1} if change is free else {"done": "by hand"})


class OwnSettings(idemproof.InMemoryPersistenceLayer):
    """A layer that has settings of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._settings = {"host": "db"}


LAYERS: list[Callable[[], Any]] = [
    idemproof.InMemoryPersistenceLayer,
    OwnSettings,
    lambda: idemproof.SQLitePersistenceLayer("unused.db"),
    lambda: idemproof.PostgresPersistenceLayer("postgresql://user@db/shop"),
    lambda: idemproof.SQLAlchemyPersistenceLayer(sa.create_engine("sqlite:///unused.db")),
    lambda: idemproof.DynamoDBPersistenceLayer("orders"),
    lambda: idemproof.RedisCachePersistenceLayer(url="redis://db"),
]


@pytest.mark.parametrize("make", LAYERS)
def test_a_layer_that_is_not_configured_says_what_to_call(make: Callable[[], Any]) -> None:
    layer = make()
    for call in (
        lambda: layer.get_record(EVENT),
        lambda: layer.delete_record(EVENT, Exception()),
        lambda: layer.save_inprogress(EVENT, 5),
        lambda: layer.save_success(EVENT, 5),
    ):
        with pytest.raises(idemproof.errors.IdempotencyPersistenceLayerError, match=r"layer\.configure"):
            call()


@pytest.mark.parametrize("make", LAYERS)
def test_configuring_a_layer_changes_nothing_that_its_class_has_set(make: Callable[[], Any]) -> None:
    layer = make()
    before, shown = dict(vars(layer)), repr(layer)
    layer.configure(idemproof.IdempotencyConfig(), key_prefix="pay")
    assert before.items() <= vars(layer).items()
    assert repr(layer) == shown


def test_a_payload_of_another_hash_is_refused_by_get_record(side: Any, client: Any) -> None:
    layer = side.DynamoDB("orders", boto3_client=client)
    layer.configure(
        side.Config(event_key_jmespath="id", payload_validation_jmespath="amount"), function_name="module.pay"
    )
    layer.save_inprogress({"id": 1, "amount": 5}, 1000)
    assert layer.get_record({"id": 1, "amount": 5}).status == "INPROGRESS"
    with pytest.raises(side.errors.IdempotencyValidationError):
        layer.get_record({"id": 1, "amount": 6})


# Attributes of other software.


def test_attributes_of_other_software_stay(side: Any, client: Any) -> None:
    handler = Handler(side, side.DynamoDB("orders", boto3_client=client))

    def tag() -> None:
        (item,) = items(client)
        client.update_item(
            TableName="orders",
            Key={"id": item["id"]},
            UpdateExpression="SET team = :t",
            ExpressionAttributeValues={":t": {"S": "billing"}},
        )

    handler.inside = tag
    assert [handler(), handler()] == [{"done": 1}] * 2
    (item,) = items(client)
    assert (item["team"], item["data"]) == ({"S": "billing"}, {"S": '{"done": 1}'})


# Doubles.

DOUBLES: dict[str, Callable[[Any], Any]] = {
    "spec": lambda side: MagicMock(spec=side.DynamoDB),
    "cache": lambda side: MagicMock(spec=side.Cache),
    "base": lambda side: MagicMock(spec=side.Base),
    "autospec": lambda side: create_autospec(side.DynamoDB, instance=True),
    "no spec": lambda _side: MagicMock(),
}


@pytest.mark.parametrize("double", DOUBLES)
def test_a_mock_of_a_layer_runs_the_body(side: Any, double: str) -> None:
    mock = DOUBLES[double](side)
    handler = Handler(side, mock)
    assert handler() == {"done": 1}
    mock.configure.assert_called_once()
    assert mock.save_inprogress.call_args.kwargs["data"] == EVENT
    mock.save_success.assert_called_once_with(data=EVENT, result={"done": 1})
    handler.failing = True
    with pytest.raises(ZeroDivisionError):
        handler()
    assert mock.delete_record.call_args.kwargs["data"] == EVENT


def test_a_mock_answers_as_it_is_reported(side: Any) -> None:
    mock = MagicMock(spec=side.DynamoDB)
    mock.event_key_jmespath = ""
    handler = Handler(side, mock)
    mock.save_inprogress.side_effect = side.errors.IdempotencyItemAlreadyExistsError("taken")
    mock.get_record.return_value = side.DataRecord(
        "any", status="COMPLETED", expiry_timestamp=32_503_680_000, response_data='{"done": "before"}'
    )
    assert handler() == {"done": "before"}
    mock.get_record.return_value = side.DataRecord("any", "INPROGRESS", 32_503_680_000)
    with pytest.raises(side.errors.IdempotencyAlreadyInProgressError):
        handler()
    mock.save_inprogress.side_effect = OSError("no route")
    with pytest.raises(side.errors.IdempotencyPersistenceLayerError):
        handler()
    assert handler.runs == 0


def test_a_mock_of_a_client_sees_the_requests_alone() -> None:
    layer = idemproof.DynamoDBPersistenceLayer("orders")
    layer.client = client = MagicMock()
    handler = Handler(OURS, layer)
    assert client.method_calls == []
    handler()
    assert [call[0] for call in client.method_calls] == ["put_item", "update_item"]


@pytest.mark.parametrize("value", ["true", "1", "Yes"])
def test_a_client_that_must_not_be_asked_is_not(
    side: Any, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("POWERTOOLS_IDEMPOTENCY_DISABLED", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    layer = side.DynamoDB(os.getenv("IDEMPOTENCY_TABLE", ""))
    layer.client = client = MagicMock()
    handler = Handler(side, layer)
    with pytest.warns(UserWarning, match="dempotency"):
        assert handler() == {"done": 1}
    assert client.method_calls == []


def test_a_mock_of_a_cache_client_is_asked_what_the_original_asks(side: Any) -> None:
    client = MagicMock()
    if side is OURS:
        with pytest.warns(idemproof.IdempotencyWarning, match="not fenced"):
            layer = side.Cache(client=client)
    else:
        layer = side.Cache(client=client)
    handler = Handler(side, layer)
    client.get.return_value = None
    assert handler() == {"done": 1}
    assert {call[0] for call in client.method_calls} <= {"get", "set", "delete"}
    assert client.set.call_args_list[0].kwargs["nx"] is True
    assert client.set.call_args_list[0].kwargs["name"].startswith("pay#")


# Missing names.


@pytest.mark.parametrize("missing", ["", None])
def test_without_a_table_the_module_is_imported_and_the_call_fails(
    side: Any, client: Any, missing: Any
) -> None:
    handler = Handler(side, side.DynamoDB(missing, boto3_client=client))
    with pytest.raises(side.errors.IdempotencyPersistenceLayerError):
        handler()
    assert handler.runs == 0


@pytest.mark.parametrize("nowhere", [{"host": ""}, {"host": None}, {"url": "", "host": ""}], ids=repr)
def test_without_a_host_the_module_is_imported_and_runs_switched_off(
    side: Any, monkeypatch: pytest.MonkeyPatch, nowhere: Any
) -> None:
    monkeypatch.setenv("POWERTOOLS_IDEMPOTENCY_DISABLED", "true")
    handler = Handler(side, side.Cache(**nowhere))
    with pytest.warns(UserWarning, match="dempotency"):
        assert handler() == {"done": 1}


@pytest.mark.parametrize("port", ["6379", 6379])
@pytest.mark.parametrize("db_index", ["1", 1])
def test_texts_of_digits_are_numbers(side: Any, port: Any, db_index: Any) -> None:
    layer = side.Cache(host="cache.internal", port=port, db_index=db_index)
    assert int(layer.client.connection_pool.connection_kwargs["port"]) == 6379
