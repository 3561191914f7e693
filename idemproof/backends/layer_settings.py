"""What a layer may ask about the function that it serves: the settings of the call in progress.

A layer is shared by any number of functions, so it keeps none of theirs. While one of its methods runs for a
call, a context variable has that call's settings; threads and tasks do not see each other's.
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
    """One function's settings under the names that Powertools' layers have for them, and what follows."""

    def key_of(self, data: Any) -> str | None:
        """Return the idempotency key of a payload, None if it has none."""

    def payload_hash_of(self, data: Any) -> str:
        """Return the hash of a payload's validated part, '' if nothing is validated."""

    def hash_of(self, data: Any) -> str:
        """Return the hash of plain data."""

    def expiry_from_now(self) -> int:
        """Return the epoch seconds at which a result that is stored now is over."""

    def claim(self, key: str, data: Any, remaining_ms: int | None) -> DataRecord:
        """Return the record of a run that begins now."""

    def result(self, key: str, data: Any, result: Any) -> DataRecord:
        """Return the record of a run that ends now."""

    def encode(self, result: Any) -> str:
        """Return a result as it is stored."""


@dataclass(eq=False)
class Visit:
    """One method of a layer at work for a call.

    Parameters
    ----------
    layer
        The layer.
    settings
        The settings of the call's function.
    record
        The record that the call is about, None while it only looks.
    expected
        What the call believes to stand.
    now
        The call's time.
    """

    layer: Any
    settings: Settings | None
    record: DataRecord | None = None
    expected: Record | None = None
    now: int = 0
    known: DataRecord | None = None
    """What stands, if a refusal has told already."""
    reached: bool = False
    """Whether the layer's own method was reached, or an override did without it."""
    stands: Record | None = None
    """What stood after the last request of the layer's own method."""


ACTIVE: ContextVar[Visit | None] = ContextVar("idemproof_visit", default=None)


def visit_of(layer: Any) -> Visit | None:
    """Return the visit to this very layer, None if there is none: a layer may call another."""
    visit = ACTIVE.get()
    return visit if visit is not None and visit.layer is layer else None


def settings_of(layer: Any) -> Settings:
    """Return the settings of the call in progress, else what the layer was configured with.

    Raises
    ------
    IdempotencyPersistenceConfigError
        There is neither.
    """
    visit = visit_of(layer)
    found: Settings | None = None if visit is None else visit.settings
    if found is None:
        found = vars(layer).get("_settings")
    if found is None:
        raise IdempotencyPersistenceConfigError(
            f"{type(layer).__name__} serves any number of functions, and does not know which is meant. Call "
            "layer.configure(config, function_name, key_prefix) first, with what the decorator got."
        )
    return found


class Setting:
    """An attribute of a layer that follows the call in progress.

    Outside of calls it is what was set, else what :meth:`configure` was given, else the default.

    Parameters
    ----------
    default
        Its value where nothing says another.
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
        return getattr(own.get("_settings"), self._name, self._default)

    def __set__(self, layer: Any, value: Any) -> None:
        if not layer._settings_can_be_set or _SERVES in vars(layer):
            raise AttributeError(
                f"{self._name} of {type(layer).__name__} cannot be set: a layer serves any number of "
                "functions. Set it in the IdempotencyConfig of the function."
            )
        vars(layer)[self._name] = value


_SERVES = "_serves_functions"


def begin_to_serve(layer: Any, settings: Settings) -> None:
    """Note that a function is decorated with ``layer``; warn of settings of its own that give way.

    From then on they cannot be set, because that would not count.
    """
    own = vars(layer)
    own[_SERVES] = True
    given_way = [
        f"{name}={own[name]!r}"
        for kind in type(layer).__mro__
        for name, attribute in vars(kind).items()
        if isinstance(attribute, Setting) and name in own and own[name] != getattr(settings, name)
    ]
    if given_way:
        warnings.warn(
            f"{type(layer).__name__} sets {', '.join(given_way)}, which gives way to the function's "
            "IdempotencyConfig. Set it there.",
            IdempotencyWarning,
            stacklevel=2,
        )
