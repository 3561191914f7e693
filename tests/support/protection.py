"""Functions that are protected as they are, or as coroutines, and called plainly in either case."""

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from idemproof import BasePersistenceLayer, IdempotencyConfig, idempotent_function


class Protection:
    """Protects a plain function as it is, or as the body of an ``async def``."""

    def __init__(self, layer: BasePersistenceLayer, *, asynchronous: bool) -> None:
        self.asynchronous = asynchronous
        self._layer = layer

    def __call__(
        self, function: Callable[..., Any], serializer: Any = None, **settings: Any
    ) -> Callable[..., Any]:
        protected = idempotent_function(
            self._as_coroutine(function) if self.asynchronous else function,
            data_keyword_argument="data",
            persistence_store=self._layer,
            output_serializer=serializer,
            config=IdempotencyConfig(**settings),
        )
        return (lambda *args, **kwargs: run(protected(*args, **kwargs))) if self.asynchronous else protected

    @staticmethod
    def _as_coroutine(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def body(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        # The wrapper passes its arguments on as they are.
        body.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
        return body


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end without a loop of its own: nothing in memory ever waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waited")


class Counter:
    """Returns the given result, and counts."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.runs = 0

    def __call__(self, data: Any) -> Any:
        self.runs += 1
        return self.result
