"""Keys and payload hashes: derived once, or refused with a reason before anything runs."""

import enum
import functools
import gzip
import hashlib
import json
import warnings
from base64 import b64encode
from collections import OrderedDict
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from idemproof.backends.warning import IdempotencyWarning
from idemproof.errors import IdempotencyKeyError
from idemproof.reference.config import IdempotencyConfig
from idemproof.reference.keys import KeyDerivation, function_prefix, is_missing


def derive(payload: Any, expression: str = "", validation: str = "", **settings: Any) -> Any:
    config = IdempotencyConfig(expression, validation, **settings)
    return KeyDerivation(config, "prefix").derive(payload)


def refused(payload: Any, expression: str = "", validation: str = "") -> str:
    with pytest.raises(IdempotencyKeyError) as refusal:
        derive(payload, expression, validation)
    assert refusal.value.__cause__ is not None
    return str(refusal.value)


def hexdigest(value: Any, name: str = "md5") -> str:
    return hashlib.new(name, json.dumps(value, sort_keys=True).encode()).hexdigest()


def test_a_key_is_the_prefix_and_the_digest_of_the_payload() -> None:
    assert derive({"b": 1, "a": [2]}) == (f"prefix#{hexdigest({'a': [2], 'b': 1})}", None)


def test_a_key_is_the_digest_of_what_the_expression_selects() -> None:
    assert derive({"a": {"b": "x"}, "c": 1}, "a.b")[0] == f"prefix#{hexdigest('x')}"


def test_the_order_of_names_does_not_matter_and_the_order_of_items_does() -> None:
    assert derive({"a": 1, "b": 2}) == derive({"b": 2, "a": 1})
    assert derive([1, 2]) != derive([2, 1])


def test_the_payload_hash_is_the_digest_of_what_is_validated() -> None:
    key, payload_hash = derive({"id": 1, "amount": 5}, "id", "amount", hash_function="sha256")
    assert key == f"prefix#{hexdigest(1, 'sha256')}"
    assert payload_hash == hexdigest(5, "sha256")


def test_validating_what_is_not_there_still_gives_a_hash() -> None:
    with pytest.warns(IdempotencyWarning, match="payload_validation_jmespath='amount'"):
        assert derive({"id": 1}, "id", "amount")[1] == hexdigest(None)


MISSING = [None, "", [], {}, (), [None, None], {"a": None}, Decimal(0), b""]
PRESENT = [0, 0.0, False, "0", [0], [None, 1], {"a": False}, [[]], {"a": {}}, Decimal(1)]


@pytest.mark.parametrize("selected", MISSING, ids=repr)
def test_nothing_is_no_key(selected: Any) -> None:
    assert is_missing(selected)


@pytest.mark.parametrize("selected", PRESENT, ids=repr)
def test_zero_and_false_are_keys(selected: Any) -> None:
    assert not is_missing(selected)
    assert derive({"key": selected}, "key")[0] is not None


def test_a_call_without_a_key_is_warned_of_where_it_was_made() -> None:
    with pytest.warns(IdempotencyWarning, match="event_key_jmespath='order_id' selects nothing") as caught:
        assert derive({"id": 1}, "order_id", "amount") == (None, None)
    assert caught[0].filename == __file__


def test_an_empty_payload_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="payload is empty"):
        assert derive({}) == (None, None)


def test_a_call_without_a_key_is_refused_where_a_key_is_required() -> None:
    with pytest.raises(IdempotencyKeyError, match=r"'order_id'.*raise_on_no_idempotency_key=False"):
        derive({"id": 1}, "order_id", raise_on_no_idempotency_key=True)


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("[tenant, order_id]", "position 1 (order_id) of"),
        ("[order.id, tenant]", "position 0 (order.id) of"),
        ("[tenant, order_id, items[0]]", "position 1 (order_id), position 2 of"),
        ("{t: tenant, o: order_id}", "'o' of"),
        ("@.[tenant, order_id]", "position 1 (order_id) of"),
        ("@ | {t: tenant, o: order_id}", "'o' of"),
        ("powertools_json(body).[user, product]", "position 1 (product) of"),
    ],
)
def test_half_a_key_is_warned_of_and_used(expression: str, named: Any) -> None:
    payload = {"tenant": "t", "items": [], "body": '{"user": 1}'}
    config = IdempotencyConfig(expression)
    selected = config.key_expression.search(payload, config.search_options)
    with pytest.warns(IdempotencyWarning) as caught:
        key, _ = KeyDerivation(config, "prefix").derive(payload)
    assert named in str(caught[0].message)
    assert caught[0].filename == __file__
    assert key == f"prefix#{hexdigest(selected)}"


@pytest.mark.parametrize(
    "expression", ["[a, b]", "{x: a, y: b}", "list", "object", "items[*].[a, b]", "[a, b][1]"]
)
def test_a_whole_key_or_data_that_holds_none_is_not_warned_of(expression: str) -> None:
    payload = {"a": 0, "b": "", "list": [1, None], "object": {"a": 1, "b": None}, "items": [{"a": 1, "b": 2}]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        derive({**payload, "b": "x"}, expression)


def test_half_a_key_is_noticed_with_another_class_for_dicts_too() -> None:
    with pytest.warns(IdempotencyWarning, match="'y'"):
        derive({"a": 1}, "{x: a, y: b}", jmespath_options={"dict_cls": OrderedDict})


class Colour(enum.Enum):
    RED = "r"


def _cycle() -> Any:
    value = {}
    value["self"] = [value]
    return value


def _deep() -> Any:
    value = []
    for _ in range(100_000):
        value = [value]
    return value


UNHASHABLE = [
    ({"items": [{}, {}, {"price": {1}}]}, "$.items[2].price", "set"),
    ({"order": object()}, "$.order", "object"),
    ({"a": {1: "x", "b": "y"}}, "$.a", "int and str"),
    ({"a": {(1, 2): "x"}}, "$.a", "tuple"),
    ({"a": {Colour.RED: "x"}}, "$.a", "Colour"),
    (_cycle(), "$.self[0]", "contains itself"),
    (_deep(), "$[0][0]", "nested"),
    ({"a": [b"raw"]}, "$.a[0]", "bytes"),
    ({"a": SimpleNamespace}, "$.a", "type"),
]


@pytest.mark.clause("KEY-10")
@pytest.mark.parametrize(("payload", "path", "kind"), UNHASHABLE, ids=[path for _, path, _ in UNHASHABLE])
def test_what_cannot_be_hashed_is_named_by_path_and_type(payload: Any, path: str, kind: Any) -> None:
    message = refused(payload)
    assert f"{path}" in message
    assert kind in message
    assert "Convert it to plain JSON data" in message


def test_the_path_starts_at_what_the_expression_selects() -> None:
    assert "$.id of what event_key_jmespath='order' selects is of type set" in refused(
        {"order": {"id": {1}}}, "order"
    )


def test_what_cannot_be_validated_is_named_too() -> None:
    message = refused({"id": 1, "amount": {1}}, "id", "amount")
    assert "$ of what payload_validation_jmespath='amount' selects is of type set" in message


BAD_GZIP = b64encode(gzip.compress(b"s3cret")[:-6]).decode()
UNSEARCHABLE = [
    ("powertools_json(body)", {"body": '{"s3cret": '}, "JSONDecodeError"),
    ("powertools_json(body)", {"body": None}, "powertools_json() got null"),
    ("powertools_json(body)", {"body": {"s3cret": 1}}, "powertools_json() got object"),
    ("powertools_json(body)", {"body": "[" * 100_000}, "RecursionError"),
    ("powertools_base64(body)", {"body": "s3cret!"}, "Error"),
    ("powertools_base64(body)", {"body": "/w=="}, "UnicodeDecodeError"),
    ("powertools_base64_gzip(body)", {"body": "czNjcmV0"}, "BadGzipFile"),
    ("powertools_base64_gzip(body)", {"body": BAD_GZIP}, "EOFError"),
    ("join('-', ids)", {"ids": ["s3cret", 1]}, "join() got int"),
    ("length(total)", {"total": 5}, "length() got number"),
    ("ceil(total)", {"total": float("inf")}, "OverflowError"),
]


@pytest.mark.clause("KEY-10")
@pytest.mark.parametrize(
    ("expression", "payload", "detail"), UNSEARCHABLE, ids=[f"{each[0]} {each[2]}" for each in UNSEARCHABLE]
)
def test_what_cannot_be_searched_names_the_expression_and_no_value(
    expression: str, payload: Any, detail: str
) -> None:
    message = refused(payload, expression)
    assert f"event_key_jmespath={expression!r}" in message
    assert detail in message
    assert "s3cret" not in message
    assert f"payload_validation_jmespath={expression!r}" in refused({"id": 1, **payload}, "id", expression)


def test_a_value_without_truth_is_a_key_error() -> None:
    class Array:
        def __bool__(self) -> bool:
            raise ValueError("ambiguous")

    assert "Array" in refused(Array())


def test_messages_show_no_values() -> None:
    message = refused({"card": "s3cret", "cvv": {"s3cret"}})
    assert "s3cret" not in message


def plain_function() -> None:
    pass


class Service:
    def method(self) -> None:
        pass

    @classmethod
    def by_class(cls) -> None:
        pass

    @staticmethod
    def static() -> None:
        pass

    def __call__(self) -> None:
        pass


@functools.wraps(plain_function)
def wrapper() -> None:
    pass


PREFIXES = [
    (plain_function, "plain_function"),
    (functools.partial(plain_function), "plain_function"),
    (functools.partial(functools.partial(plain_function)), "plain_function"),
    (functools.partialmethod(plain_function), "plain_function"),
    (functools.lru_cache(plain_function), "plain_function"),
    (wrapper, "plain_function"),
    (Service.method, "Service.method"),
    (Service().method, "Service.method"),
    (Service.by_class, "Service.by_class"),
    (Service().static, "Service.static"),
    (vars(Service)["static"], "Service.static"),
    (Service(), "Service"),
    (functools.partial(Service()), "Service"),
    (Service, "Service"),
]


@pytest.mark.parametrize(("function", "name"), PREFIXES, ids=[str(n) for n in range(len(PREFIXES))])
def test_a_prefix_names_the_function_that_does_the_work(
    function: Any, name: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    assert function_prefix(function, None) == f"test-func.{__name__}.{name}"


def test_a_prefix_begins_with_the_lambda_functions_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "payments")
    assert function_prefix(plain_function, "") == f"payments.{__name__}.plain_function"


def test_a_given_prefix_is_the_whole_prefix() -> None:
    assert function_prefix(plain_function, "pay-v1") == "pay-v1"
