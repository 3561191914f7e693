"""Subclasses of the built-in layers, as users of Powertools write them: what they override is called.

Each runs against the original too: what happens there is what has to happen here.
"""

from contextlib import suppress
from typing import Any
from unittest.mock import MagicMock, Mock, patch

import pytest

from both_sides import CONTEXT, EVENT, Handler, fakeredis_client, items

pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore:Couldn't determine the remaining time:UserWarning"),
    pytest.mark.filterwarnings("ignore:Redis.* will be removed:DeprecationWarning"),
]

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


@pytest.mark.parametrize("method", ["_put_record", "_update_record", "save_inprogress", "save_success"])
@pytest.mark.parametrize("whose", ["the instance's", "the class's"])
def test_a_method_that_a_test_replaces_later_is_called(
    side: Any, place: Any, method: str, whose: str
) -> None:
    base, arguments = place
    layer = type("Kind", (base,), {})(**arguments)
    handler = Handler(side, layer)
    assert handler() == {"done": 1}
    target = layer if whose == "the instance's" else type(layer)
    with patch.object(target, method, side_effect=getattr(layer, method)) as replaced:
        assert handler({"id": 2}) == {"done": 2}
    assert replaced.call_count == 1
    assert handler({"id": 3}) == {"done": 3}
    assert replaced.call_count == 1


def test_an_overridden_get_record_of_the_documented_four_is_called_on_hits(side: Any) -> None:
    seen = []

    class Looking(side.Cache):  # type: ignore[misc,name-defined]
        def _get_record(self, idempotency_key: str) -> Any:
            seen.append(idempotency_key.partition("#")[0])
            return super()._get_record(idempotency_key)

    handler = Handler(side, Looking(client=fakeredis_client()))
    assert [handler(), handler()] == [{"done": 1}] * 2
    assert set(seen) == {"pay"}


def test_a_body_that_changes_its_event_does_not_change_what_a_layer_is_reported(side: Any) -> None:
    mock = MagicMock(spec=side.DynamoDB)

    @side.idempotent(persistence_store=mock)
    def handler(event: Any, context: Any) -> int:
        event.clear()
        return 1

    assert handler({"id": 1}, CONTEXT) == 1
    assert mock.save_success.call_args.kwargs["data"] == {"id": 1}


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
