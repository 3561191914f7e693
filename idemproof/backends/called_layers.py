"""Adapters for layers whose public methods must be called: one adapter for each call."""

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
    """One call over a layer whose public methods must be called."""

    def __init__(self, call: CallOfMethods, layer: Any) -> None:
        self._call = call
        self._methods = Methods(layer)

    def _load(self, key: str) -> Record | None:
        record: Record | None = drive(self._call.load(key), self._methods)
        return record

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        record: Record | None = drive(self._call.swap(key, expected, new, ttl_ms), self._methods)
        return record


class _AsyncOneCall(AsyncCompareAndSwapLayer):
    """One call over an async layer whose public methods must be called."""

    def __init__(self, call: CallOfMethods, layer: Any) -> None:
        self._call = call
        self._methods = AsyncMethods(layer)

    async def _load(self, key: str) -> Record | None:
        record: Record | None = await drive_lazily(self._call.load(key), self._methods)
        return record

    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, ttl_ms: int
    ) -> Record | None:
        record: Record | None = await drive_lazily(self._call.swap(key, expected, new, ttl_ms), self._methods)
        return record


class CalledByMethods:
    """A layer with overridden methods, or a mock of a layer, for one function.

    Parameters
    ----------
    layer
        The layer.
    settings
        The settings of the function.
    configure
        Calls the layer's ``configure`` with the arguments of the decorator.
    """

    def __init__(self, layer: Any, settings: Settings, configure: Callable[[], None]) -> None:
        self._layer = layer
        self._settings = settings
        self._configure = configure
        self._fenced = isinstance(layer, CompareAndSwapLayer | AsyncCompareAndSwapLayer)

    def call(self, payload: Callable[[], Any]) -> tuple[CallOfMethods, CompareAndSwapLayer]:
        """Return the next call of a blocking function: the object that records its outcome, and its store."""
        call = self._next(payload)
        return call, _OneCall(call, self._layer)

    def async_call(self, payload: Callable[[], Any]) -> tuple[CallOfMethods, AsyncCompareAndSwapLayer]:
        """Return the next call of an async function."""
        call = self._next(payload)
        if isinstance(self._layer, AsyncBasePersistenceLayer):
            return call, _AsyncOneCall(call, self._layer)
        return call, InThreads(_OneCall(call, self._layer), self._layer)

    def _next(self, payload: Callable[[], Any]) -> CallOfMethods:
        self._configure()
        return CallOfMethods(self._layer, self._settings, payload, fenced=self._fenced)


def calls_methods(store: Any) -> bool:
    """Return whether ``store`` makes one call by a layer's public methods."""
    return isinstance(getattr(store, "_layer", store), _OneCall | _AsyncOneCall)


def called_by_methods(layer: Any) -> bool:
    """Return whether the layer overrides methods that a call must not bypass."""
    for kind in (
        CompareAndSwapLayer,
        AsyncCompareAndSwapLayer,
        BasePersistenceLayer,
        AsyncBasePersistenceLayer,
    ):
        if isinstance(layer, kind):
            return bool(overrides.overridden(layer, kind))
    return is_double(layer)
