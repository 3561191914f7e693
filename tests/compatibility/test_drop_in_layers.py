"""What users of Powertools do with a layer: subclass it, call it, read it, set it, replace it by a mock.

Each runs against the original too, where it can: what it does there is what it has to do here.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, Mock, create_autospec

import boto3
import fakeredis
import pytest
from aws_lambda_powertools.utilities import idempotency as original
from aws_lambda_powertools.utilities.idempotency import exceptions as original_errors
from aws_lambda_powertools.utilities.idempotency.persistence.cache import (
    CachePersistenceLayer as OriginalCachePersistenceLayer,
)
from aws_lambda_powertools.utilities.idempotency.persistence.datarecord import (
    DataRecord as OriginalDataRecord,
)
from moto import mock_aws

import idemproof
import idemproof.errors

pytestmark = [
    pytest.mark.filterwarnings("ignore:Couldn't determine the remaining time:UserWarning"),
    pytest.mark.filterwarnings("ignore:RedisCachePersistenceLayer will be removed:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:RedisConnection will be removed:DeprecationWarning"),
]

OURS = SimpleNamespace(
    name="ours",
    idempotent=idemproof.idempotent,
    idempotent_function=idemproof.idempotent_function,
    Config=idemproof.IdempotencyConfig,
    DynamoDB=idemproof.DynamoDBPersistenceLayer,
    Cache=idemproof.CachePersistenceLayer,
    Base=idemproof.BasePersistenceLayer,
    DataRecord=idemproof.DataRecord,
    errors=idemproof.errors,
)
THEIRS = SimpleNamespace(
    name="original",
    idempotent=original.idempotent,
    idempotent_function=original.idempotent_function,
    Config=original.IdempotencyConfig,
    DynamoDB=original.DynamoDBPersistenceLayer,
    Cache=OriginalCachePersistenceLayer,
    Base=original.BasePersistenceLayer,
    DataRecord=OriginalDataRecord,
    errors=original_errors,
)
CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 30_000)
EVENT = {"id": 1}


@pytest.fixture(params=[OURS, THEIRS], ids=lambda side: side.name)
def side(request: pytest.FixtureRequest) -> SimpleNamespace:
    return request.param


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        made = boto3.client("dynamodb")
        for table in ("orders", "others"):
            made.create_table(
                TableName=table,
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )
        yield made


def items(client: Any, table: str = "orders") -> list[Any]:
    return client.scan(TableName=table)["Items"]


def fakeredis_client() -> Any:
    return fakeredis.FakeRedis(server=fakeredis.FakeServer())


STORES: dict[str, Callable[[SimpleNamespace, Any], tuple[type, dict[str, Any]]]] = {
    "dynamodb": lambda side, client: (side.DynamoDB, {"table_name": "orders", "boto3_client": client}),
    "cache": lambda side, _client: (side.Cache, {"client": fakeredis_client()}),
}


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, side: SimpleNamespace, client: Any) -> tuple[type, dict[str, Any]]:
    return STORES[request.param](side, client)


class Handler:
    """A handler that counts, and may raise."""

    def __init__(self, side: SimpleNamespace, layer: Any, **config: Any) -> None:
        self.runs = 0
        self.failing = False
        self.inside: Callable[[], None] = lambda: None

        def handler(event: Any, context: Any) -> Any:
            self.runs += 1
            self.inside()
            if self.failing:
                raise ZeroDivisionError
            return {"done": event["id"]}

        self.call = side.idempotent(
            persistence_store=layer, config=side.Config(**config) if config else None, key_prefix="pay"
        )(handler)

    def __call__(self, event: Any = EVENT) -> Any:
        return self.call(event, CONTEXT)


# Overriding the four documented methods.


def counting(base: type, calls: list[str]) -> type:
    class Counted(base):  # type: ignore[misc]
        def _put_record(self, data_record: Any) -> None:
            calls.append(f"put {data_record.status}")
            super()._put_record(data_record)

        def _update_record(self, data_record: Any) -> None:
            calls.append(f"update {data_record.status} {data_record.response_data}")
            super()._update_record(data_record)

        def _delete_record(self, data_record: Any) -> None:
            calls.append("delete")
            super()._delete_record(data_record)

    return Counted


def test_overridden_documented_methods_are_called(side: Any, place: Any) -> None:
    base, arguments = place
    calls: list[str] = []
    handler = Handler(side, counting(base, calls)(**arguments))
    assert [handler(), handler()] == [{"done": 1}] * 2
    handler.failing = True
    with pytest.raises(ZeroDivisionError):
        handler({"id": 2})
    assert calls == [
        *("put INPROGRESS", 'update COMPLETED {"done": 1}'),
        "put INPROGRESS",
        *("put INPROGRESS", "delete"),
    ]
    handler.failing = False
    assert handler({"id": 2}) == {"done": 2}
    assert handler.runs == 3


@pytest.mark.parametrize("method", ["_put_record", "_update_record", "_delete_record"])
def test_one_overridden_method_is_called(side: Any, place: Any, method: str) -> None:
    base, arguments = place
    called = []

    def override(self: Any, data_record: Any) -> None:
        called.append(method)
        getattr(super(kind, self), method)(data_record)

    kind = type("Kind", (base,), {method: override})
    handler = Handler(side, kind(**arguments))
    handler.failing = method == "_delete_record"
    with suppress(ZeroDivisionError):
        handler()
    assert called == [method]


def test_an_override_on_the_instance_is_called(side: Any, client: Any) -> None:
    layer = side.DynamoDB("orders", boto3_client=client)
    layer._put_record = Mock(wraps=layer._put_record)
    handler = Handler(side, layer)
    assert handler() == {"done": 1}
    layer._put_record.assert_called_once()


def test_an_error_of_an_override_keeps_the_handler_from_running(side: Any, place: Any) -> None:
    base, arguments = place

    class Strict(base):  # type: ignore[misc]
        def _put_record(self, data_record: Any) -> None:
            raise PermissionError("not today")

    handler = Handler(side, Strict(**arguments))
    with pytest.raises(side.errors.IdempotencyPersistenceLayerError) as raised:
        handler()
    assert isinstance(raised.value.args[1], PermissionError)
    assert handler.runs == 0


def test_an_override_may_add_an_attribute_after_the_claim(side: Any, client: Any) -> None:
    class Tagged(side.DynamoDB):  # type: ignore[misc,name-defined]
        def _put_record(self, data_record: Any) -> None:
            super()._put_record(data_record)
            self.client.update_item(
                TableName=self.table_name,
                Key=self._get_key(data_record.idempotency_key),
                UpdateExpression="SET team = :t",
                ExpressionAttributeValues={":t": {"S": "billing"}},
            )

    handler = Handler(side, Tagged("orders", boto3_client=client))
    assert [handler(), handler()] == [{"done": 1}] * 2
    (item,) = items(client)
    assert (item["team"], item["status"]) == ({"S": "billing"}, {"S": "COMPLETED"})


def test_an_override_may_do_without_the_layers_own(side: Any, client: Any) -> None:
    class OwnPut(side.DynamoDB):  # type: ignore[misc,name-defined]
        def _put_record(self, data_record: Any) -> None:
            self.client.put_item(
                TableName=self.table_name,
                Item={
                    **self._get_key(data_record.idempotency_key),
                    self.expiry_attr: {"N": str(data_record.expiry_timestamp)},
                    self.status_attr: {"S": data_record.status},
                    "team": {"S": "billing"},
                },
                ConditionExpression="attribute_not_exists(id)",
            )

    handler = Handler(side, OwnPut("orders", boto3_client=client))
    assert handler() == {"done": 1}
    (item,) = items(client)
    assert (item["team"], item["status"]) == ({"S": "billing"}, {"S": "COMPLETED"})
    handler.failing = True
    with pytest.raises(ZeroDivisionError):
        handler({"id": 2})
    assert len(items(client)) == 1  # the claim of the one that failed is gone


def test_an_override_may_change_what_is_stored(side: Any, place: Any) -> None:
    base, arguments = place

    class Upper(base):  # type: ignore[misc]
        def _update_record(self, data_record: Any) -> None:
            data_record.response_data = data_record.response_data.replace("1", "2")
            data_record.note = "changed"
            super()._update_record(data_record)

    handler = Handler(side, Upper(**arguments))
    assert [handler(), handler()] == [{"done": 1}, {"done": 2}]


# Overriding the public methods.


def test_overridden_public_methods_are_called(side: Any, place: Any) -> None:
    base, arguments = place
    calls: list[Any] = []

    class Observed(base):  # type: ignore[misc]
        def configure(self, config: Any, *args: Any, **kwargs: Any) -> None:
            calls.append("configure")
            super().configure(config, *args, **kwargs)

        def save_inprogress(self, data: Any, remaining_time_in_millis: int | None = None) -> None:
            calls.append(("save_inprogress", data, 0 < remaining_time_in_millis <= 30_000))  # type: ignore[operator]
            super().save_inprogress(data, remaining_time_in_millis)

        def save_success(self, data: Any, result: Any) -> None:
            calls.append(("save_success", data, result))
            super().save_success(data, result)

        def delete_record(self, data: Any, exception: Exception) -> None:
            calls.append(("delete_record", data, type(exception)))
            super().delete_record(data, exception)

    handler = Handler(side, Observed(**arguments))
    assert handler() == {"done": 1}
    handler.failing = True
    with pytest.raises(ZeroDivisionError):
        handler({"id": 2})
    assert calls == [
        "configure",
        ("save_inprogress", {"id": 1}, True),
        ("save_success", {"id": 1}, {"done": 1}),
        "configure",
        ("save_inprogress", {"id": 2}, True),
        ("delete_record", {"id": 2}, ZeroDivisionError),
    ]
    assert handler() == {"done": 1}
    assert handler.runs == 2


def test_an_override_may_change_the_result_that_is_stored(side: Any, place: Any) -> None:
    base, arguments = place

    class Masked(base):  # type: ignore[misc]
        def save_success(self, data: Any, result: Any) -> None:
            super().save_success(data=data, result={"done": "masked"})

    handler = Handler(side, Masked(**arguments))
    assert [handler(), handler()] == [{"done": 1}, {"done": "masked"}]


def test_an_overridden_get_record_sees_hits(side: Any) -> None:
    seen = []

    class Observed(side.Cache):  # type: ignore[misc,name-defined]
        def get_record(self, data: Any) -> Any:
            seen.append(data)
            return super().get_record(data)

    handler = Handler(side, Observed(client=fakeredis_client()))
    assert [handler(), handler()] == [{"done": 1}] * 2
    assert seen == [EVENT]


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


def test_a_layer_that_is_not_configured_says_what_to_call() -> None:
    layer = idemproof.InMemoryPersistenceLayer()
    for call in (
        lambda: layer.get_record(EVENT),
        lambda: layer.delete_record(EVENT, Exception()),
        lambda: layer.save_inprogress(EVENT, 5),
        lambda: layer.save_success(EVENT, 5),
    ):
        with pytest.raises(idemproof.errors.IdempotencyPersistenceLayerError, match=r"layer\.configure"):
            call()


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


def test_a_mock_answers_as_it_is_told(side: Any) -> None:
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
def test_without_a_table_the_module_is_imported_and_the_call_told(
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
