"""How a call names its operation: arguments, a key function, a service; and the warnings about it."""

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pydantic
import pytest

from idemproof import (
    IdempotencyConfig,
    IdempotencyWarning,
    InMemoryPersistenceLayer,
    SQLitePersistenceLayer,
    idempotent_function,
)
from idemproof.errors import IdempotencyConfigError, IdempotencyKeyError, IdempotencyValidationError
from idemproof.reference.keys import function_prefix, warned

LEASE = 30


def protect(
    layer: Any = None,
    *,
    names: Any = None,
    key: Any = None,
    function: Any = None,
    prefix: Any = None,
    **settings: Any,
) -> Any:
    runs: list[Any] = []

    def ship(customer: Any, order: Any = 1, note: str = "") -> int:
        runs.append((customer, order, note))
        return len(runs)

    protected = idempotent_function(
        function or ship,
        data_keyword_argument=names,
        key=key,
        persistence_store=layer or InMemoryPersistenceLayer(),
        config=IdempotencyConfig(in_progress_expires_after_seconds=LEASE, **settings),
        key_prefix=prefix,
    )
    protected.runs = runs
    return protected


@pytest.mark.parametrize("names", [["customer", "order"], ("customer", "order"), ["order", "customer"]])
def test_several_arguments_name_the_operation(names: Any) -> None:
    ship = protect(names=names)
    assert (
        ship("a", 1, note="x")
        == ship("a", order=1)
        == ship(order=1, customer="a", note="y")
        == ship("a")
        == 1
    )
    assert (ship("a", 2), ship("b", 1)) == (2, 3)


def test_several_arguments_are_searched_by_their_names() -> None:
    ship = protect(names=["customer", "order"], event_key_jmespath="[customer.id, order]")
    assert ship({"id": 1, "at": 1}, 1) == ship({"id": 1, "at": 2}, 1) == 1
    assert ship({"id": 2}, 1) == 2


def test_a_list_of_one_name_is_searched_by_that_name() -> None:
    ship = protect(names=["customer"], event_key_jmespath="customer")
    assert ship("a", 1) == ship("a", 2) == 1


@pytest.mark.parametrize("names", [[], (), ["customer", "customer"], [1], {"customer"}, 5, {"customer": 1}])
def test_what_names_no_arguments_is_refused_by_the_settings_name(names: Any) -> None:
    with pytest.raises(IdempotencyConfigError, match=r"data_keyword_argument must be .* list or tuple"):
        protect(names=names)


def test_a_name_that_the_function_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="'costumer'"):
        protect(names=["costumer", "order"])


def test_a_function_of_the_arguments_names_the_operation() -> None:
    ship = protect(key=lambda customer, order, **_others: [customer.lower(), order])
    assert ship("A", 1, note="x") == ship("a", order=1) == 1
    assert ship("a", 2) == 2


def test_a_key_function_has_the_key_of_what_it_returns() -> None:
    layer = InMemoryPersistenceLayer()
    by_function = protect(layer, key=lambda customer, order: {"c": customer, "o": order}, prefix="p")
    by_argument = protect(layer, names="customer", prefix="p")
    assert by_function("a", 1) == by_argument({"c": "a", "o": 1}) == 1
    assert by_argument.runs == []


def test_a_key_function_of_a_method_gets_what_the_method_gets() -> None:
    class Desk:
        def __init__(self, name: str) -> None:
            self.name = name

        @idempotent_function(
            key=lambda self, order: [self.name, order], persistence_store=InMemoryPersistenceLayer()
        )
        def sell(self, order: int) -> str:
            return f"{self.name} {order} {id(self)}"

    desk = Desk("a")
    assert desk.sell(1) == Desk("a").sell(order=1) != Desk("b").sell(1)


def test_beside_a_key_function_an_argument_is_validated() -> None:
    ship = protect(key=lambda customer, order: order, names="customer", payload_validation_jmespath="cents")
    assert ship({"cents": 1}, 7) == ship({"cents": 1}, 7) == 1
    with pytest.raises(IdempotencyValidationError):
        ship({"cents": 2}, 7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "needs data_keyword_argument"),
        ({"key": lambda: 1, "names": "customer"}, "Both key and data_keyword_argument"),
        ({"key": lambda: 1, "event_key_jmespath": "id"}, "Both key and event_key_jmespath"),
        ({"key": lambda: 1, "payload_validation_jmespath": "id"}, "needs an argument: give"),
        ({"key": "id"}, "key must be a plain function"),
    ],
)
def test_a_key_that_is_named_in_no_way_or_in_two_is_refused_at_decoration(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(IdempotencyConfigError, match=message):
        protect(**settings)


def test_an_async_key_function_is_refused() -> None:
    async def key(*_arguments: Any) -> int:
        return 1

    with pytest.raises(IdempotencyConfigError, match="key must be a plain function"):
        protect(key=key)
    ship = protect(key=lambda customer: key(customer, 1))
    with pytest.raises(IdempotencyKeyError, match="has to be awaited"):
        ship("a")
    assert ship.runs == []


@pytest.mark.parametrize("key", [lambda: 1, lambda customer: customer.s3cret, lambda customer: object()])
def test_a_key_function_that_fails_is_a_key_error_and_nothing_runs(key: Any) -> None:
    ship = protect(key=key)
    with pytest.raises(IdempotencyKeyError, match=r"ship.*did not run") as refusal:
        ship("4929")
    assert "4929" not in str(refusal.value)
    assert ship.runs == []


@pytest.mark.parametrize("nothing", [None, "", [], {}, [None, None]])
def test_a_key_function_that_returns_nothing_gives_no_key(nothing: Any) -> None:
    with pytest.warns(IdempotencyWarning, match=r"ship\(\).*key function returned nothing"):
        assert protect(key=lambda _customer: nothing)("a") == 1
    with pytest.raises(IdempotencyKeyError, match="key function returned nothing"):
        protect(key=lambda _customer: nothing, raise_on_no_idempotency_key=True)("a")


# Messages.


@pytest.mark.clause("KEY-14")
def test_two_functions_without_a_key_are_warned_of_each_by_its_name() -> None:
    def charge(customer: Any) -> None: ...

    def refund(customer: Any) -> None: ...

    endpoints = [
        protect(names="customer", function=each, event_key_jmespath="id") for each in (charge, refund)
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            for endpoint in endpoints:
                endpoint({"other": 1})
    assert len(caught) == 2
    for warning, name in zip(caught, ("charge", "refund"), strict=True):
        assert f"{name}()" in str(warning.message)
        assert "event_key_jmespath='id'" in str(warning.message)


class Order(pydantic.BaseModel):
    number: int = 1


@pytest.mark.clause("KEY-14")
@pytest.mark.parametrize(
    ("payload", "kind"), [({"x": 1}, "dict"), ([], "list"), (Order(), "Order"), (5, "int"), ("text", "str")]
)
def test_a_missing_key_names_function_expression_type_and_reason(payload: Any, kind: str) -> None:
    ship = protect(names="customer", event_key_jmespath="id", raise_on_no_idempotency_key=True)
    with pytest.raises(IdempotencyKeyError) as refusal:
        ship(payload)
    for part in ("ship()", "did not run", "event_key_jmespath='id'", "selects nothing", kind):
        assert part in str(refusal.value)


@pytest.mark.clause("KEY-14")
def test_an_object_that_cannot_be_read_is_named_where_a_key_is_required() -> None:
    ship = protect(names="customer", event_key_jmespath="id", raise_on_no_idempotency_key=True)
    with pytest.raises(IdempotencyKeyError, match=r"ship\(\).*event_key_jmespath='id'.*SimpleNamespace"):
        ship(SimpleNamespace(id="evt_1"))


LINES = {"id": 1, "cents": 900, "lines": [{"cents": 1, "sku": "a"}, {"cents": 2, "sku": None}], "none": []}
MISSPELT = [
    ("cent", ""),
    ("lines.cents.x", ""),
    ("lines[*].cent", ""),
    ("[cents, currncy]", "position 1 (currncy)"),
    ("{c: cents, d: currncy}", "'d'"),
    ("[id, lines[*].cent]", "position 1"),
    ("lines[*].[cents, skew]", "position 1 (skew)"),
    ("lines[*].{c: cent}", "'c'"),
    ("lines[?cents].cent", ""),
    ("@ | lines[].cent", ""),
    ("nonee[*].cents", ""),
]
FOUND = ["cents", "lines[*].cents", "lines[*].sku", "lines[*].[cents, sku]", "none", "none[*].cents",
         "[id, none]", "lines[?cents > `5`].cents", "lines[0].sku || id", "none[].x", "!id"]  # fmt: skip


@pytest.mark.clause("KEY-14")
@pytest.mark.parametrize(("check", "part"), MISSPELT)
def test_validation_that_finds_nothing_is_warned_of_once(check: str, part: str) -> None:
    ship = protect(names="customer", event_key_jmespath="id", payload_validation_jmespath=check)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            assert ship(LINES) == 1
    [message] = [str(warning.message) for warning in caught]
    for said in ("payload_validation_jmespath", repr(check), "ship()", part):
        assert said in message


@dataclass
class Paid:
    id: int
    cents: int


class PaidModel(pydantic.BaseModel):
    id: int
    cents: int


@pytest.mark.clause("KEY-14")
@pytest.mark.parametrize("check", ["cent", "[cents, cent]"])
@pytest.mark.parametrize("kind", [Paid, PaidModel])
def test_a_misspelt_field_of_an_object_is_warned_of_too(kind: Any, check: str) -> None:
    ship = protect(names="customer", event_key_jmespath="id", payload_validation_jmespath=check)
    with pytest.warns(IdempotencyWarning, match=r"payload_validation_jmespath=.*cent.* of .*ship\(\)"):
        assert ship(kind(id=1, cents=900)) == 1


@pytest.mark.parametrize("check", FOUND)
def test_validation_that_finds_what_there_is_says_nothing(check: str) -> None:
    ship = protect(names="customer", event_key_jmespath="id", payload_validation_jmespath=check)
    assert ship(LINES) == 1


def test_an_optional_field_may_be_missing_and_a_repeat_that_has_it_differs() -> None:
    ship = protect(names="customer", event_key_jmespath="id", payload_validation_jmespath="note")
    with pytest.warns(IdempotencyWarning):
        assert ship({"id": 1}) == 1
    assert ship({"id": 1}) == 1
    with pytest.raises(IdempotencyValidationError):
        ship({"id": 1, "note": "n"})


# Services.


@pytest.fixture
def shared(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(warned, "_warned_about", set())
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    layer = SQLitePersistenceLayer(tmp_path / "records.db")
    yield layer
    layer.close()


def warned_of(call: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(warning.message) for warning in caught if "service" in str(warning.message)]


def both(layer: Any, one: dict[str, Any], other: dict[str, Any]) -> int:
    """Return how many of two services with the same function ran."""
    ships = [protect(layer, names="customer", **settings) for settings in (one, other)]
    for ship in ships:
        ship("a")
    return sum(len(ship.runs) for ship in ships)


@pytest.mark.clause("KEY-13")
def test_services_with_names_do_not_share_keys(shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert both(shared, {"service": "orders"}, {"service": "billing"}) == 2
    assert both(shared, {"service": "orders"}, {"service": "billing"}) == 0
    monkeypatch.setenv("IDEMPROOF_SERVICE", "orders")
    assert both(shared, {}, {"service": "stock"}) == 1


@pytest.mark.clause("KEY-13")
def test_prefixes_name_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{__name__}.protect"
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    assert function_prefix(protect, None) == f"test-func.{name}"
    assert function_prefix(protect, None, "orders") == f"orders.{name}"
    assert function_prefix(protect, "mine", "orders") == "mine"
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "fn")
    assert function_prefix(protect, None) == f"fn.{name}"
    assert function_prefix(protect, None, "orders") == f"orders.fn.{name}"


def said_of_services(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "has no name" in record.getMessage()]


def test_a_shared_store_without_a_service_is_said_once_in_the_log(
    shared: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert warned_of(lambda: protect(shared, names="customer")("a")) == []
    (said,) = said_of_services(caplog)
    assert "IDEMPROOF_SERVICE" in said
    protect(shared, names="customer")("b")
    assert said_of_services(caplog) == [said]


@pytest.mark.parametrize("how", ["memory", "service", "environment", "prefix", "lambda"])
def test_where_nothing_can_collide_nothing_is_said(
    how: str, shared: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    layer = InMemoryPersistenceLayer() if how == "memory" else shared
    if how == "environment":
        monkeypatch.setenv("IDEMPROOF_SERVICE", "orders")
    if how == "lambda":
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "fn")
    ship = protect(
        layer,
        names="customer",
        prefix="p" if how == "prefix" else None,
        service="orders" if how == "service" else None,
    )
    ship("a")
    assert said_of_services(caplog) == []


@pytest.mark.parametrize("service", ["", "a.b", "a#b", "a b", "test-func", 5, b"x", "a/b"])
def test_a_name_that_could_be_taken_for_another_is_refused(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(IdempotencyConfigError, match="service"):
        IdempotencyConfig(service=service)
    if isinstance(service, str) and service:
        monkeypatch.setenv("IDEMPROOF_SERVICE", service)
        ship = protect(names="customer")
        with pytest.raises(IdempotencyConfigError, match="IDEMPROOF_SERVICE"):
            ship("a")
        assert ship.runs == []


def test_the_signature_says_what_has_to_be_given() -> None:
    parameters = inspect.signature(idempotent_function).parameters
    assert parameters["key"].default is parameters["data_keyword_argument"].default is None
