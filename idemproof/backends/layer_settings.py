"""The settings of the call in progress, which a layer may read.

Functions share a layer, so the layer does not keep their settings. While one of its methods runs for a call,
a context variable holds the settings of that call. Threads and tasks do not see each other's.
"""

import warnings
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from ..spec.errors import IdempotencyPersistenceConfigError
from ..spec.record import Record
from .records import DataRecord
from .warning import IdempotencyWarning


class Settings(Protocol):
    """The settings of one function, named as in Powertools, and values derived from them."""

    def key_of(self, data: Any) -> str | None:
        """Return the idempotency key of a payload, or None if it has no key."""

    def payload_hash_of(self, data: Any) -> str:
        """Return the hash of the validated part of a payload, or '' if nothing is validated."""

    def hash_of(self, data: Any) -> str:
        """Return the hash of plain data."""

    def expiry_from_now(self) -> int:
        """Return the epoch seconds at which a result that is stored now expires."""

    def claim(self, key: str, data: Any, remaining_ms: int | None) -> DataRecord:
        """Return the claim of an attempt that starts now."""

    def result(self, key: str, data: Any, result: Any) -> DataRecord:
        """Return the result record of an attempt that ends now."""

    def encode(self, result: Any) -> str:
        """Return the JSON text of a result."""


@dataclass(eq=False)
class Visit:
    """A method of a layer that runs for a call.

    Parameters
    ----------
    layer
        The layer.
    settings
        The settings of the call's function.
    record
        The record that the call writes, or None while it only reads.
    expected
        The record that the call expects to be stored.
    now
        The time of the call, in epoch milliseconds.
    """

    layer: Any
    settings: Settings | None
    record: DataRecord | None = None
    expected: Record | None = None
    now: int = 0
    known: DataRecord | None = None
    """The stored record, if a refused claim has already returned it."""
    reached: bool = False
    """Whether the layer's own method was called. An override may replace it."""
    stored: Record | None = None
    """The record that was stored after the last request of the layer's own method."""


CONFIGURED = "_configured_settings"
"""The attribute of a layer with the settings from :meth:`configure`. Layers have `_settings` of their own."""

ACTIVE: ContextVar[Visit | None] = ContextVar("idemproof_visit", default=None)


def visit_of(layer: Any) -> Visit | None:
    """Return the visit to exactly this layer, or None. A layer may call another layer."""
    visit = ACTIVE.get()
    return visit if visit is not None and visit.layer is layer else None


def settings_of(layer: Any) -> Settings:
    """Return the settings of the call in progress, else those from :meth:`configure`.

    Raises
    ------
    IdempotencyPersistenceConfigError
        No call is in progress, and the layer is not configured.
    """
    visit = visit_of(layer)
    found: Settings | None = None if visit is None else visit.settings
    if found is None:
        found = vars(layer).get(CONFIGURED)
    if found is None:
        raise IdempotencyPersistenceConfigError(
            f"{type(layer).__name__} is not configured, and no call is in progress, so its function is "
            "unknown. Nothing ran. Call layer.configure(config, function_name, key_prefix) first, with the "
            "arguments of the decorator."
        )
    return found


class Setting:
    """An attribute of a layer that has the value of the call in progress.

    Outside of calls it has the value that was set, else the one from :meth:`configure`, else the default.

    Parameters
    ----------
    default
        The default value.
    """

    def __init__(self, default: Any) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, layer: Any, owner: type | None = None) -> Any:
        if layer is None:
            return self
        visit = visit_of(layer)
        if visit is not None and visit.settings is not None:
            return getattr(visit.settings, self._name)
        own = vars(layer)
        if self._name in own:
            return own[self._name]
        return getattr(own.get(CONFIGURED), self._name, self._default)

    def __set__(self, layer: Any, value: Any) -> None:
        if not layer._settings_can_be_set or _SERVES in vars(layer):
            raise AttributeError(
                f"{self._name} of {type(layer).__name__} cannot be set, because functions share the layer. "
                "Set it in the IdempotencyConfig of the function."
            )
        vars(layer)[self._name] = value


_SERVES = "_serves_functions"


def begin_to_serve(layer: Any, settings: Settings) -> None:
    """Record that ``layer`` is used by a decorated function, and warn of its settings that are overridden.

    From then on its settings cannot be set, because they would have no effect.
    """
    own = vars(layer)
    own[_SERVES] = True
    overridden = [
        f"{name}={own[name]!r}"
        for kind in type(layer).__mro__
        for name, attribute in vars(kind).items()
        if isinstance(attribute, Setting) and name in own and own[name] != getattr(settings, name)
    ]
    if overridden:
        warnings.warn(
            f"{type(layer).__name__} sets {', '.join(overridden)}, which the function's IdempotencyConfig "
            "overrides. Set it there.",
            IdempotencyWarning,
            stacklevel=2,
        )
