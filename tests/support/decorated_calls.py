"""Calls of functions of all four kinds, over any layer; each answers how often its body has run."""

import asyncio
from collections.abc import Callable
from typing import Any

from idemproof import IdempotencyConfig, idempotent, idempotent_function

LAMBDA_EVENT = {"order": 1}


def handler(layer: Any, **settings: Any) -> Callable[[], Any]:
    @idempotent(persistence_store=layer, config=IdempotencyConfig(**settings))
    def handle(event: Any, context: Any) -> list[Any]:
        runs.append(event)
        return [len(runs)]

    runs: list[Any] = []
    return as_called(handle, lambda: handle(LAMBDA_EVENT, None))


def function(layer: Any, **settings: Any) -> Callable[[], Any]:
    @idempotent_function(
        data_keyword_argument="order", persistence_store=layer, config=IdempotencyConfig(**settings)
    )
    def pay(order: Any) -> list[Any]:
        runs.append(order)
        return [len(runs)]

    runs: list[Any] = []
    return as_called(pay, lambda: pay(order=1))


def async_handler(layer: Any, **settings: Any) -> Callable[[], Any]:
    @idempotent(persistence_store=layer, config=IdempotencyConfig(**settings))
    async def handle(event: Any, context: Any) -> list[Any]:
        runs.append(event)
        return [len(runs)]

    runs: list[Any] = []
    return as_called(handle, lambda: asyncio.run(handle(LAMBDA_EVENT, None)))


def async_function(layer: Any, **settings: Any) -> Callable[[], Any]:
    @idempotent_function(
        data_keyword_argument="order", persistence_store=layer, config=IdempotencyConfig(**settings)
    )
    async def pay(order: Any) -> list[Any]:
        runs.append(order)
        return [len(runs)]

    runs: list[Any] = []
    return as_called(pay, lambda: asyncio.run(pay(order=1)))


def as_called(decorated: Callable[..., Any], call: Callable[[], Any]) -> Any:
    called: Any = call
    called.decorated = decorated
    return called
