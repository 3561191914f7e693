"""Layers that are called by their methods, as stores of the engine: one store for each call."""

from collections.abc import Callable
from typing import Any

from ..drivers.blocking import drive
from ..spec.record import Record
from . import overrides
from .base import (
    AsyncBasePersistenceLayer,
    AsyncCompareAndSwapLayer,
    BasePersistenceLayer,
    CompareAndSwapLayer,
    InThreads,
    drive_lazily,
)
from .doubles import is_double
from .layer_settings import Settings
from .overrides import AsyncMethods, CallOfMethods, Methods


class _OneCall(CompareAndSwapLayer):
    """One call of a layer that is called by its public methods."""

    def __init__(self, call: CallOfMethods, layer: Any) -> None:
        self._call = call
        self._methods = Methods(layer)

    def _load(self, key: str) -> Record | None:
        record: Record | None = drive(self._call.load(key), self._methods)
        return record

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        record: Record | None = drive(self._call.swap(key, expected, new, keep_ms), self._methods)
        return record


class _AsyncOneCall(AsyncCompareAndSwapLayer):
    """One call of an async layer that is called by its public methods."""

    def __init__(self, call: CallOfMethods, layer: Any) -> None:
        self._call = call
        self._methods = AsyncMethods(layer)

    async def _load(self, key: str) -> Record | None:
        record: Record | None = await drive_lazily(self._call.load(key), self._methods)
        return record

    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, keep_ms: int
    ) -> Record | None:
        record: Record | None = await drive_lazily(
            self._call.swap(key, expected, new, keep_ms), self._methods
        )
        return record


class CalledByMethods:
    """A layer whose methods are overridden, or a mock of a layer: for one function.

    Parameters
    ----------
    layer
        The layer.
    settings
        Those of the function.
    configure
        Calls the layer's ``configure`` with what the decorator got.
    """

    def __init__(self, layer: Any, settings: Settings, configure: Callable[[], None]) -> None:
        self._layer = layer
        self._settings = settings
        self._configure = configure
        self._fenced = isinstance(layer, CompareAndSwapLayer | AsyncCompareAndSwapLayer)

    def call(self, payload: Callable[[], Any]) -> tuple[CallOfMethods, CompareAndSwapLayer]:
        """Return a blocking function's next call: what notes how its body went, and its store."""
        call = self._next(payload)
        return call, _OneCall(call, self._layer)

    def async_call(self, payload: Callable[[], Any]) -> tuple[CallOfMethods, AsyncCompareAndSwapLayer]:
        """Return an async function's next call."""
        call = self._next(payload)
        if isinstance(self._layer, AsyncBasePersistenceLayer):
            return call, _AsyncOneCall(call, self._layer)
        return call, InThreads(_OneCall(call, self._layer), self._layer)

    def _next(self, payload: Callable[[], Any]) -> CallOfMethods:
        self._configure()
        return CallOfMethods(self._layer, self._settings, payload, fenced=self._fenced)


def called_by_methods(layer: Any) -> bool:
    """Return whether the layer has methods that a call must not pass over."""
    for kind in (
        CompareAndSwapLayer,
        AsyncCompareAndSwapLayer,
        BasePersistenceLayer,
        AsyncBasePersistenceLayer,
    ):
        if isinstance(layer, kind):
            return bool(overrides.overridden(layer, kind))
    return is_double(layer)
