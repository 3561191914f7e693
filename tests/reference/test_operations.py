"""The records of a protected function, by the arguments of its calls."""

import asyncio
import functools
from dataclasses import dataclass
from typing import Any

import pytest

from idemproof import (
    AsyncInMemoryPersistenceLayer,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    idempotent,
    idempotent_function,
)
from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyArgumentError,
    IdempotencyConfigError,
    IdempotencyItemAlreadyExistsError,
    IdempotencyKeyError,
    IdempotencyPayloadError,
    IdempotencyValidationError,
)
from idemproof.serialization import DataclassSerializer
from idemproof.testing import in_memory


@dataclass
class Order:
    id: int


LAYER = InMemoryPersistenceLayer()
CONFIG = IdempotencyConfig(in_progress_expires_after_seconds=30)


def once(function: Any = None, **options: Any) -> Any:
    settings = {"data_keyword_argument": "order", "persistence_store": LAYER, "config": CONFIG, **options}
    return idempotent_function(function, **settings)


class Shop:
    name = "shop"

    @once
    def buy(self, order: int, note: int = 0) -> int:
        return order

    @once
    async def buy_async(self, order: int) -> int:
        return order

    @staticmethod
    @once
    def static_below(order: int) -> int:
        return order

    @once
    @staticmethod
    def static_above(order: int) -> int:
        return order

    @classmethod
    @once
    def class_below(cls, order: int) -> int:
        return order

    @once
    @classmethod
    def class_above(cls, order: int) -> int:
        return order

    @once(data_keyword_argument=None, key=lambda self, order: {"shop": self.name, "order": order})
    def of_this_shop(self, order: int) -> int:
        return order


class Branch(Shop):
    name = "branch"


@pytest.fixture(autouse=True)
def _empty() -> Any:
    LAYER._records.clear()


def only_key() -> str:
    (key,) = LAYER._records
    return key


KINDS = ["buy", "static_below", "static_above", "class_below", "class_above"]


class TestKeys:
    @pytest.mark.parametrize("name", KINDS)
    def test_methods_of_all_kinds_give_the_key_of_the_call(self, name: str) -> None:
        shop = Shop()
        for called in (getattr(shop, name), getattr(Branch(), name)):
            LAYER._records.clear()
            called(7)
            for asked in (called, getattr(Shop, name), getattr(shop, name)):
                assert asked.idempotency.key(7) == only_key()
                assert asked.idempotency.key(order=7) == only_key()
                assert asked.idempotency.inspect(7).response_data == "7"

    def test_the_instance_or_class_may_be_given_first(self) -> None:
        shop = Shop()
        shop.buy(7)
        assert {Shop.buy.idempotency.key(shop, 7), Shop.buy.idempotency.key(Branch(), 7)} == {only_key()}
        assert Shop.buy.idempotency.key(shop, 7, 1) == only_key()
        assert Shop.class_above.idempotency.key(Shop, 7) == Shop.class_above.idempotency.key(Branch, order=7)
        assert Shop.buy.idempotency.key(self=shop, order=7) == only_key()

    def test_a_key_that_depends_on_the_instance_needs_it(self) -> None:
        shop = Shop()
        shop.of_this_shop(7)
        assert Shop.of_this_shop.idempotency.key(shop, 7) == only_key()
        assert Shop.of_this_shop.idempotency.key(Branch(), 7) != only_key()
        with pytest.raises(IdempotencyPayloadError) as raised:
            shop.of_this_shop.idempotency.key(7)
        assert "give the instance first" in str(raised.value.__cause__)

    def test_partials_inside_and_outside(self) -> None:
        def add(amount: int, order: int) -> int:
            return order + amount

        inside = once(functools.partial(add, 5))
        inside(order=1)
        assert inside.idempotency.key(order=1) == only_key()
        LAYER._records.clear()
        outside = functools.partial(once(add), 5)
        outside(1)
        assert outside.func.idempotency.key(*outside.args, 1) == only_key()

    def test_handlers_are_asked_with_their_event(self) -> None:
        @idempotent(persistence_store=LAYER, config=CONFIG)
        def handle(event: Any, context: Any) -> str:
            return "done"

        handle({"id": 1}, None)
        assert handle.idempotency.key({"id": 1}, None) == only_key()

    def test_other_decorators_around_hand_it_on(self) -> None:
        @functools.wraps(Shop.buy)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return Shop.buy(*args, **kwargs)

        wrapper(Shop(), 7)
        assert wrapper.idempotency.key(7) == only_key()

    def test_a_call_without_a_key_has_none(self) -> None:
        @once(config=IdempotencyConfig(event_key_jmespath="id"))
        def pay(order: Any) -> None:
            pass

        with pytest.raises(IdempotencyKeyError, match="selects nothing"):
            pay.idempotency.key({})
        with pytest.raises(IdempotencyArgumentError):
            pay.idempotency.key()


class TestChanges:
    def test_what_is_forgotten_runs_again(self) -> None:
        runs: list[int] = []

        @once
        def pay(order: int) -> int:
            runs.append(order)
            return len(runs)

        assert (pay(7), pay(7)) == (1, 1)
        assert pay.idempotency.forget(7).response_data == "1"
        assert pay.idempotency.forget(order=7) is None
        assert pay(7) == 2

    def test_a_claim_is_refused_and_then_forgotten_or_resolved(self) -> None:
        @once
        def pay(order: int) -> str:
            with pytest.raises(IdempotencyAlreadyInProgressError):
                pay.idempotency.forget(order)
            if order == 1:
                assert pay.idempotency.forget(order, even_in_progress=True) is not None
            else:
                assert pay.idempotency.resolve(order, result="resolved").response_data == '"resolved"'
            return "own"

        assert pay(1) == "own"
        assert (pay(2), pay(2)) == ("resolved", "resolved")
        with pytest.raises(IdempotencyItemAlreadyExistsError):
            pay.idempotency.resolve(2, result="other")

    @pytest.mark.clause("OPS-4")
    def test_a_result_of_other_arguments_is_refused(self) -> None:
        config = IdempotencyConfig(
            event_key_jmespath="id",
            payload_validation_jmespath="amount",
            in_progress_expires_after_seconds=30,
        )
        stuck = {"id": 1, "amount": 10}

        @once(config=config)
        def pay(order: dict[str, int]) -> str:
            with pytest.raises(IdempotencyValidationError, match="another payload"):
                pay.idempotency.resolve(stuck | {"amount": 20}, result="of another")
            pay.idempotency.resolve(stuck, result="resolved")
            return "own"

        assert pay(stuck) == "resolved"

    def test_a_result_is_stored_as_the_function_s_own(self) -> None:
        @once(output_serializer=DataclassSerializer)
        def pay(order: int) -> Order:
            pay.idempotency.resolve(order, result=Order(id=order))
            return Order(id=0)

        assert pay(7) == pay(7) == Order(id=7)

    def test_parameters_of_the_same_name_are_refused_with_a_way_out(self) -> None:
        @once
        def save(order: int, result: str = "", even_in_progress: bool = False) -> str:
            save.idempotency.records.resolve(save.idempotency.key(order), "resolved")
            return result

        with pytest.raises(IdempotencyArgumentError, match=r"\.idempotency\.records"):
            save.idempotency.resolve(7, result="x")
        with pytest.raises(IdempotencyArgumentError, match="even_in_progress"):
            save.idempotency.forget(7)
        assert save(7) == "resolved"

    def test_a_local_cache_forgets_too(self) -> None:
        runs: list[int] = []

        @once(config=IdempotencyConfig(use_local_cache=True))
        def pay(order: int) -> int:
            runs.append(order)
            return len(runs)

        assert (pay(7), pay.idempotency.forget(7) is None, pay(7)) == (1, False, 2)

    def test_a_local_cache_forgets_what_a_call_has_read_meanwhile(self) -> None:
        runs: list[int] = []

        class Slow(InMemoryPersistenceLayer):
            """Calls again between the look of an operator and the deletion."""

            def _swap(self, key: str, expected: Any, new: Any, ttl_ms: int) -> Any:
                if new is None:
                    assert pay(7) == 1
                return super()._swap(key, expected, new, ttl_ms)

        @once(persistence_store=Slow(), config=IdempotencyConfig(use_local_cache=True))
        def pay(order: int) -> int:
            runs.append(order)
            return len(runs)

        assert (pay(7), pay.idempotency.forget(7) is None, pay(7), pay(7)) == (1, False, 2, 2)
        assert len(runs) == 2

    def test_in_tests_it_asks_what_stands_in_for_the_store(self) -> None:
        with in_memory():
            Shop().buy(7)
            assert Shop.buy.idempotency.inspect(7) is not None
        assert Shop.buy.idempotency.inspect(7) is None


class TestAsync:
    @pytest.mark.parametrize("layer", [InMemoryPersistenceLayer(), AsyncInMemoryPersistenceLayer()])
    def test_over_layers_of_either_side(self, layer: Any) -> None:
        @once(persistence_store=layer)
        async def pay(order: int) -> str:
            await pay.idempotency.aresolve(order, result="resolved")
            return "own"

        async def main() -> None:
            assert await pay(7) == "resolved"
            assert (await pay.idempotency.ainspect(7)).response_data == '"resolved"'
            assert await pay.idempotency.aforget(7) is not None
            assert await pay.idempotency.ainspect(7) is None

        asyncio.run(main())

    def test_without_an_await_only_a_blocking_layer_is_asked(self) -> None:
        asyncio.run(Shop().buy_async(7))
        assert Shop.buy_async.idempotency.inspect(7) is not None

        @once(persistence_store=AsyncInMemoryPersistenceLayer())
        async def pay(order: int) -> int:
            return order

        for ask in (pay.idempotency.inspect, pay.idempotency.forget):
            with pytest.raises(IdempotencyConfigError, match="is an async layer"):
                ask(7)
