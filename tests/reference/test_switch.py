"""The environment variable that switches protection off for tests."""

import asyncio
import functools
import os
from collections.abc import Callable
from typing import Any

import pytest

from idemproof import InMemoryPersistenceLayer, idempotent_function
from idemproof.backends.warning import IdempotencyWarning
from idemproof.errors import IdempotencyConfigError

SWITCH = "POWERTOOLS_IDEMPOTENCY_DISABLED"


class Untouchable(InMemoryPersistenceLayer):
    """Fails the test that asks it for anything."""

    def _load(self, key: str) -> Any:
        raise AssertionError(f"asked for {key}")

    def _swap(self, key: str, *_: Any) -> Any:
        raise AssertionError(f"asked for {key}")


class Payer:
    def __init__(self) -> None:
        self.runs: list[int] = []

    def __call__(self, data: int) -> int:
        self.runs.append(data)
        return len(self.runs)


@pytest.fixture
def protect() -> Callable[..., Any]:
    """`idempotent_function` on ``data``."""
    return functools.partial(
        idempotent_function, data_keyword_argument="data", persistence_store=InMemoryPersistenceLayer()
    )


@pytest.mark.parametrize("value", ["1", "true", "YES", "on", "T"])
def test_switched_off_every_call_runs_with_a_warning_at_the_caller(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(SWITCH, value)
    protect: Any = functools.partial(
        idempotent_function, data_keyword_argument="data", persistence_store=Untouchable()
    )
    payer = Payer()
    pay = protect(payer)

    async def pay_async(data: int) -> int:
        return payer(data)

    async def call_async() -> int:
        result: int = await protect(pay_async)(1)
        return result

    for number, call in enumerate((lambda: pay(1), lambda: pay(1), lambda: asyncio.run(call_async())), 1):
        with pytest.warns(IdempotencyWarning, match="switched off") as caught:
            assert call() == number
        assert [warning.filename for warning in caught] == [__file__]


def test_the_switch_is_found_in_an_environment_of_any_kind(
    monkeypatch: pytest.MonkeyPatch, protect: Callable[..., Any]
) -> None:
    payer = Payer()
    pay = protect(payer)
    monkeypatch.setattr(os, "environ", {})
    assert pay(1) == pay(1) == 1
    monkeypatch.setattr(os, "environ", {SWITCH: "true"})
    with pytest.warns(IdempotencyWarning, match="switched off"):
        assert pay(1) == 2


@pytest.mark.parametrize("value", ["0", "false", "No", "off", "f", ""])
def test_not_switched_off_by_a_false_value(
    monkeypatch: pytest.MonkeyPatch, protect: Callable[..., Any], value: str
) -> None:
    monkeypatch.setenv(SWITCH, value)
    payer = Payer()
    pay = protect(payer)
    assert pay(1) == pay(1) == len(payer.runs) == 1


def test_a_nonsense_switch_is_an_error_and_nothing_runs(
    monkeypatch: pytest.MonkeyPatch, protect: Callable[..., Any]
) -> None:
    monkeypatch.setenv(SWITCH, "maybe")
    payer = Payer()

    async def pay(data: int) -> int:
        return payer(data)

    for call in (lambda: protect(payer)(1), lambda: asyncio.run(protect(pay)(1))):
        with pytest.raises(IdempotencyConfigError, match=f"{SWITCH} must be true or false, not 'maybe'"):
            call()
    assert payer.runs == []
