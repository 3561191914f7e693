"""Counting runs of idempotent functions, and messages about too many or too few runs."""

import functools
import unittest.mock
from collections.abc import Iterator
from typing import Any

import pytest

from decorated_calls import async_function, function
from idemproof import (
    IdempotencyConfig,
    IdempotencyWarning,
    InMemoryPersistenceLayer,
    Record,
    idempotent_function,
)
from idemproof.testing import MovableClock, Runs, count_runs, disabled, in_memory, use_clock

# Whose runs.


def test_runs_are_counted_over_the_own_store_in_whatever_order_blocks_are_nested() -> None:
    call = function(InMemoryPersistenceLayer(), use_local_cache=True)
    with count_runs(call.decorated) as all_runs:
        call()
        with count_runs(call.decorated) as second, in_memory(), use_clock(MovableClock()):
            call()
            call()
        call()
    second.assert_once()
    assert list(all_runs.by_key.values()) == [2]
    call()
    assert list(all_runs.by_key.values()) == [2]


@pytest.mark.parametrize("make", [function, async_function])
def test_failures_of_the_own_store_are_what_they_are_without_counting(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FailingOnce(InMemoryPersistenceLayer):
        requests = 0

        def _swap(self, *args: Any) -> Record | None:
            self.requests += 1
            if self.requests == 1:
                raise ConnectionError
            return super()._swap(*args)

    pauses = []

    async def pause_async(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("idemproof.drivers.blocking.pause", pauses.append)
    monkeypatch.setattr("idemproof.drivers.asynchronous.pause_async", pause_async)
    layer = FailingOnce()
    call = make(layer)
    with count_runs(call.decorated) as runs:
        assert call() == [1]
    runs.assert_once()
    assert (layer.requests, pauses) == (3, [0.025])


def test_only_the_function_s_own_runs_are_counted() -> None:
    first, second = function(InMemoryPersistenceLayer()), function(InMemoryPersistenceLayer())
    with count_runs(first.decorated) as runs:
        second()
        assert runs.by_key == {}
        first()
    runs.assert_once()


class Shop:
    @idempotent_function(data_keyword_argument="order", persistence_store=InMemoryPersistenceLayer())
    def method(self, order: int) -> int:
        return order

    @classmethod
    @idempotent_function(data_keyword_argument="order", persistence_store=InMemoryPersistenceLayer())
    def of_class(cls, order: int) -> int:
        return order

    @staticmethod
    @idempotent_function(data_keyword_argument="order", persistence_store=InMemoryPersistenceLayer())
    def static(order: int) -> int:
        return order


@pytest.mark.parametrize("name", ["method", "of_class", "static"])
def test_methods_are_counted_by_class_and_by_instance(name: str) -> None:
    shop = Shop()
    for counted in (getattr(Shop, name), getattr(shop, name)):
        with in_memory(), count_runs(counted) as runs:
            assert getattr(shop, name)(order=1) == getattr(shop, name)(order=1) == 1
        runs.assert_once()


def test_a_function_is_found_behind_other_decorators() -> None:
    def logged(function: Any, later: bool = False) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return unset if later else function(*args, **kwargs)

        if later:
            unset = function
        return wrapper

    call = function(InMemoryPersistenceLayer())
    for outer in (logged(call.decorated), functools.partial(logged(call.decorated), order=1)):
        with in_memory(), count_runs(outer) as runs:
            outer(order=1)
            outer(order=1)
        runs.assert_once()


@pytest.mark.parametrize("wrong", [len, lambda order: order, unittest.mock.Mock(), Shop.method.__wrapped__])
def test_what_is_not_idempotent_is_refused_at_once(wrong: Any) -> None:
    with (
        pytest.raises(TypeError, match="is not idempotent: decorate it with @idempotent or"),
        count_runs(wrong),
    ):
        raise AssertionError


def complaint(runs: Runs, **expected: int) -> str:
    with pytest.raises(AssertionError) as caught:
        runs.assert_once(**expected)
    return str(caught.value)


@idempotent_function(
    data_keyword_argument="order",
    persistence_store=InMemoryPersistenceLayer(),
    config=IdempotencyConfig(event_key_jmespath="id"),
    key_prefix="pay",
)
def pay(order: dict[str, Any]) -> None:
    if order.get("fails"):
        raise ValueError


KEY_1, KEY_2 = "pay#c4ca4238a0b923820dcc509a6f75849b", "pay#c81e728d9d4c2f636f067f89cc14862c"


@pytest.fixture
def runs() -> Iterator[Runs]:
    with in_memory(), count_runs(pay) as counted:
        yield counted


def test_a_complaint_shows_keys_that_differ(runs: Runs) -> None:
    pay({"id": 1})
    pay({"id": 2})
    assert complaint(runs) == (
        "pay should have run once for 1 operation; it ran 2 times under 2 keys.\n"
        f"  {KEY_1}: 1 run (returned)\n"
        f"  {KEY_2}: 1 run (returned)\n"
        "Does event_key_jmespath select something that differs between tries of one operation?"
    )
    runs.assert_once(operations=2)


def test_a_complaint_shows_keys_that_are_the_same(runs: Runs) -> None:
    pay({"id": 1, "seat": "A1"})
    pay({"id": 1, "seat": "A2"})
    runs.assert_once()
    assert complaint(runs, operations=2) == (
        "pay should have run once for 2 operations; it ran 1 time under 1 key.\n"
        f"  {KEY_1}: 1 run (returned)\n"
        "Does event_key_jmespath select too little, so that different operations have one key?"
    )


def test_a_complaint_shows_how_runs_ended(runs: Runs) -> None:
    with pytest.raises(ValueError):
        pay({"id": 1, "fails": True})
    pay({"id": 1})
    assert complaint(runs) == (
        "pay should have run once for 1 operation; it ran 2 times under 1 key.\n"
        f"  {KEY_1}: 2 runs (raised ValueError, returned)\n"
        "A key runs again if its run raised, or if its window or lease was over."
    )


def test_as_many_runs_as_operations_are_not_one_for_each(runs: Runs) -> None:
    with pytest.raises(ValueError):
        pay({"id": 1, "fails": True})
    pay({"id": 1})
    assert "ran 2 times under 1 key" in complaint(runs, operations=2)


def test_a_complaint_shows_a_run_that_has_not_ended() -> None:
    seen = []

    @idempotent_function(data_keyword_argument="order", persistence_store=InMemoryPersistenceLayer())
    def ask(order: int) -> None:
        seen.append(complaint(counted, operations=2))

    with in_memory(), count_runs(ask) as counted:
        ask(1)
    assert "1 run (did not end)" in seen[0]
    counted.assert_once()


@pytest.mark.parametrize("how", ["uncalled", "no key", "disabled"])
def test_a_complaint_shows_no_run_at_all(runs: Runs, how: str) -> None:
    if how == "no key":
        with pytest.warns(IdempotencyWarning, match="without idempotency"):
            pay({"other": 1})
    elif how == "disabled":
        with disabled():
            pay({"id": 1})
    assert complaint(runs) == (
        "pay should have run once for 1 operation; it ran 0 times under 0 keys.\n"
        "It was not called, or ran unprotected: its payload has no key, or "
        "idempotency is switched off."
    )
