"""For type checkers, not to be run: what is decorated keeps its signature.

Both ``mypy --strict`` and ``basedpyright`` must accept this file. Every ignored error must stay an error:
an ignore that is not needed is an error itself.
"""

import functools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal, assert_type

from idemproof import (
    NOT_DONE,
    Answer,
    AsyncInMemoryPersistenceLayer,
    CompareAndSwapLayer,
    DataRecord,
    Idempotency,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    Kind,
    NotDone,
    Occurrence,
    Record,
    SQLitePersistenceLayer,
    current_attempt,
    idempotent,
    idempotent_function,
)
from idemproof.errors import IdempotencyLeaseLostError, IdempotencyValidationError
from idemproof.serialization import CustomDictSerializer, DataclassSerializer

layer = InMemoryPersistenceLayer()


@dataclass
class Order:
    id: int


# A plain function.


@idempotent_function(data_keyword_argument="order", persistence_store=layer)
def pay(order: Order, *, note: str = "") -> str:
    return f"{order.id}{note}"


assert_type(pay(Order(1)), str)
assert_type(pay(order=Order(1), note="x"), str)
pay("no order")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
pay(Order(1), "x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
pay(Order(1), other=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
pay()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
number: int = pay(Order(1))  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


# The same, called rather than written above.


def refund(order: Order, amount: int) -> list[int]:
    return [order.id, amount]


refund_once = idempotent_function(refund, data_keyword_argument="order", persistence_store=layer)
assert_type(refund_once(Order(1), 5), list[int])
refund_once(Order(1))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

partial = idempotent_function(
    functools.partial(refund, amount=5), data_keyword_argument="order", persistence_store=layer
)
assert_type(partial(Order(1)), list[int])


# An async function.


@idempotent_function(
    data_keyword_argument="order",
    persistence_store=AsyncInMemoryPersistenceLayer(),
    config=IdempotencyConfig(event_key_jmespath="id", expires_after_seconds=0.5),
    output_serializer=DataclassSerializer,
    key_prefix="ship",
)
async def ship(order: Order, days: int = 1) -> Order:
    return Order(order.id + days)


later: Coroutine[Any, Any, Order] = ship(Order(1))
wrong = ship("no order")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def use() -> None:
    assert_type(await ship(Order(1), 2), Order)
    assert_type(await shop.buy_async(order=Order(1)), int)
    await ship(Order(1), "2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    text: str = await ship(Order(1))  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    assert text


# Methods of all kinds.


class Shop:
    @idempotent_function(data_keyword_argument="order", persistence_store=layer)
    def buy(self, order: Order) -> int:
        return order.id

    @staticmethod
    @idempotent_function(data_keyword_argument="order", persistence_store=layer)
    def static_below(order: Order) -> int:
        return order.id

    @idempotent_function(data_keyword_argument="order", persistence_store=layer)
    @staticmethod
    def static_above(order: Order) -> int:
        return order.id

    @classmethod
    @idempotent_function(data_keyword_argument="order", persistence_store=layer)
    def class_below(cls, order: Order) -> int:
        return order.id

    @idempotent_function(data_keyword_argument="order", persistence_store=layer)
    @classmethod
    def class_above(cls, order: Order) -> int:
        return order.id

    @idempotent_function(data_keyword_argument="order", persistence_store=layer)
    async def buy_async(self, order: Order) -> int:
        return order.id


shop = Shop()
assert_type(shop.buy(Order(1)), int)
assert_type(Shop.buy(shop, Order(1)), int)
for method in (Shop.static_below, Shop.static_above, Shop.class_below, Shop.class_above, shop.class_above):
    assert_type(method(Order(1)), int)
shop.buy(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Shop.buy(Order(1))  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
Shop.static_below(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Shop.static_above(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Shop.class_below(1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
Shop.class_above(1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


class Market:
    def buy(self, order: Order) -> int:
        return 1


class Sale(Market):
    @idempotent_function(data_keyword_argument="order", persistence_store=layer)
    def buy(self, order: Order) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]  # as for functools.cache
        return 2


market: Market = Sale()


class Webhooks:
    @staticmethod
    @idempotent(persistence_store=layer)
    def receive(event: Any, context: Any) -> str:
        return ""


assert_type(Webhooks.receive({}, None), str)
assert_type(Webhooks.receive(event={}, context=None), str)
assert_type(Webhooks().receive({}, None), str)


# The records of its calls.

assert_type(pay.idempotency.key(Order(1), note="x"), str)
assert_type(pay.idempotency.inspect(Order(1)), Record | None)
assert_type(pay.idempotency.forget(Order(1)), Record | None)
assert_type(pay.idempotency.resolve(Order(1), result="paid"), Record)
assert_type(shop.buy.idempotency.key(Order(1)), str)
assert_type(Shop.static_below.idempotency.key(Order(1)), str)
assert_type(Shop.static_above.idempotency.key(Order(1)), str)
assert_type(Shop.class_below.idempotency.key(Order(1)), str)
assert_type(Shop.class_above.idempotency.key(Order(1)), str)
pay.idempotency.key("no order")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
shop.buy.idempotency.inspect(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
pay.idempotency.resolve(Order(1))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def look() -> None:
    assert_type(await ship.idempotency.ainspect(Order(1), days=2), Record | None)
    assert_type(await shop.buy_async.idempotency.aforget(Order(1)), Record | None)
    assert_type((await core.arun("ship-1", later_order)).value, Order)


# The core, and observers.


async def later_order() -> Order:
    return Order(1)


def count(occurrence: Occurrence) -> None:
    assert_type(occurrence.kind, Kind)
    assert_type(occurrence.record, Record | None)


attempt = current_attempt()
attempt.check()  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
if attempt is not None:
    assert_type(attempt.remaining_ms(), int)
    assert_type(attempt.took_over, Record | Literal[False])
core = Idempotency(layer, IdempotencyConfig(observers=[count]))
answer = core.run("order-1", lambda: 5)
assert_type(answer, Answer[int])
assert_type(answer.value, int)
assert_type(core.run("order-1", lambda: 5, on_takeover=lambda: NOT_DONE), Answer[int])
assert_type(core.run("order-1", lambda: 5, on_takeover=lambda: 6), Answer[int])
Idempotency(layer, on_takeover=len)
Idempotency(layer, on_takeover="refuse")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
core.run(5, lambda: 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
IdempotencyConfig(observers=[count, 5])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


# Takeovers.


def looks_up(order: Order) -> Order | NotDone:
    return NOT_DONE


@idempotent_function(data_keyword_argument="order", persistence_store=layer, on_takeover=looks_up)
def asks_first(order: Order) -> Order:
    return order


assert_type(asks_first(Order(1)), Order)
IdempotencyConfig(on_takeover="refuse", released_errors=(ValueError,))
IdempotencyConfig(on_takeover="ask")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
idempotent_function(data_keyword_argument="order", persistence_store=layer, on_takeover="refuse")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


# Handlers.


@idempotent(persistence_store=SQLitePersistenceLayer("records.db"), key_prefix="handler")
def handler(event: dict[str, int], context: object) -> dict[str, int]:
    return event


assert_type(handler({"id": 1}, None), dict[str, int])
handler({"id": "1"}, None)  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
handler({"id": 1})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

take: Callable[[dict[str, int], object], dict[str, int]] = idempotent(handler, persistence_store=layer)


# What the decorators and the configuration take.

idempotent(persistence_store=InMemoryPersistenceLayer)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
idempotent(handler)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
idempotent_function(persistence_store=layer)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
idempotent_function(5, data_keyword_argument="x", persistence_store=layer)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
IdempotencyConfig(expires_after_seconds="60")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def hook(response: Any, idempotent_data: DataRecord) -> Any:
    assert_type(idempotent_data.status, str)
    assert_type(idempotent_data.expiry_timestamp, int | None)
    return response


def no_hook(response: Any) -> Any:
    return response


IdempotencyConfig(response_hook=hook)
IdempotencyConfig(response_hook=no_hook)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
CustomDictSerializer(to_dict=lambda order: {"id": order.id}, from_dict=lambda data: Order(data["id"]))
CustomDictSerializer(to_dict=5, from_dict=str)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# A layer of one's own, and errors.


class MyLayer(CompareAndSwapLayer):
    def _load(self, key: str) -> Record | None:
        return None

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        return new


class HalfALayer(CompareAndSwapLayer):
    def _load(self, key: str) -> Record | None:
        return None


MyLayer()
HalfALayer()  # type: ignore[abstract]  # pyright: ignore[reportAbstractUsage]

try:
    pay(Order(1))
except IdempotencyValidationError as refusal:
    assert_type(refusal.details, str | None)
except IdempotencyLeaseLostError as lost:
    carried: object = lost.result


# An async layer protects async functions only.

async_layer = AsyncInMemoryPersistenceLayer()


def plain_handler(event: dict[str, Any], context: Any) -> str:
    return ""


idempotent_function(refund, data_keyword_argument="order", persistence_store=async_layer)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
idempotent(plain_handler, persistence_store=async_layer)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
idempotent(persistence_store=async_layer)(plain_handler)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]


@idempotent(persistence_store=async_layer)
async def async_handler(event: dict[str, Any], context: Any) -> str:
    return ""


class Held:
    @idempotent_function(data_keyword_argument="order", persistence_store=async_layer)
    @staticmethod
    async def still(order: Order) -> int:
        return 1
