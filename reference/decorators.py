"""The decorators: ``idempotent`` for Lambda handlers, ``idempotent_function`` for any function."""

import functools
import os
import warnings
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, overload

from ..backends.base import (
    AsyncBasePersistenceLayer,
    BasePersistenceLayer,
    async_compare_and_swap,
    compare_and_swap,
)
from ..backends.drivers import drive
from ..spec.errors import IdempotencyConfigError
from .config import IdempotencyConfig, IdempotencyWarning
from .engine import Engine
from .functions import Argument, handler_arguments, hidden_code, is_async, name_of, refuse_unprotectable
from .keys import KeyDerivation, function_prefix
from .payload import as_plain_data
from .serialization import BaseIdempotencyModelSerializer, BaseIdempotencySerializer, resolve_serializer

F = TypeVar("F", bound="Callable[..., Any] | staticmethod[..., Any] | classmethod[Any, ..., Any]")

# With an async layer, a type checker refuses a plain function, as the decorator does.
_Returned = Coroutine[Any, Any, Any]
AsyncF = TypeVar(
    "AsyncF",
    bound="Callable[..., _Returned] | staticmethod[..., _Returned] | classmethod[Any, ..., _Returned]",
)

Layer = BasePersistenceLayer | AsyncBasePersistenceLayer
OutputSerializer = BaseIdempotencySerializer | type[BaseIdempotencyModelSerializer]

DISABLED = "POWERTOOLS_IDEMPOTENCY_DISABLED"
"""The environment variable that switches all protection off, for tests."""

# The environment raises an error inside for each name that it lacks: a twentieth of a replay's time. Where it
# shows what it keeps, one look at that tells; where not, it is asked.
_SWITCH = getattr(os.environ, "encodekey", str)(DISABLED)
_SWITCHED = frozenset((_SWITCH,))

_TRUE = frozenset(("1", "y", "yes", "t", "true", "on"))
_FALSE = frozenset(("", "0", "n", "no", "f", "false", "off"))


@overload
def idempotent(
    handler: F,
    *,
    persistence_store: BasePersistenceLayer,
    config: IdempotencyConfig | None = None,
    key_prefix: str | None = None,
) -> F: ...
@overload
def idempotent(
    handler: None = None,
    *,
    persistence_store: BasePersistenceLayer,
    config: IdempotencyConfig | None = None,
    key_prefix: str | None = None,
) -> Callable[[F], F]: ...
@overload
def idempotent(
    handler: AsyncF,
    *,
    persistence_store: AsyncBasePersistenceLayer,
    config: IdempotencyConfig | None = None,
    key_prefix: str | None = None,
) -> AsyncF: ...
@overload
def idempotent(
    handler: None = None,
    *,
    persistence_store: AsyncBasePersistenceLayer,
    config: IdempotencyConfig | None = None,
    key_prefix: str | None = None,
) -> Callable[[AsyncF], AsyncF]: ...
def idempotent(
    handler: Any = None,
    *,
    persistence_store: Layer,
    config: IdempotencyConfig | None = None,
    key_prefix: str | None = None,
) -> Any:
    """Run a Lambda handler once for each event, and answer repeats with the stored result.

    The whole event is the key, unless ``config`` selects parts of it. The remaining time of the Lambda
    context bounds the lease.

    Parameters
    ----------
    handler
        The handler, ``def`` or ``async def``, called with (event, context).
    persistence_store
        Where records are kept; may be shared by any number of functions.
    config
        Key, window, validation, cache, hook. Default: everything at its default.
    key_prefix
        Replaces the function's name at the beginning of keys, so that they survive a renaming.

    Raises
    ------
    TypeError
        The handler cannot be protected. Raised here, before any call.
    IdempotencyConfigError
        ``key_prefix`` is invalid.
    """

    def decorate(function: Any) -> Any:
        event, of_context = handler_arguments(function)

        def lambda_context(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if of_context is None:
                return None
            found = of_context.of(args, kwargs)
            # Functions that the handler calls may share the configuration.
            settings.register_lambda_context(found)
            return found

        return _protected(
            function,
            event,
            lambda_context,
            Engine(settings, hidden=hidden_code(function)),
            settings,
            persistence_store,
            key_prefix,
        )

    settings = IdempotencyConfig() if config is None else config
    return _decorator(decorate, handler, persistence_store, config, key_prefix)


@overload
def idempotent_function(
    function: F,
    *,
    data_keyword_argument: str,
    persistence_store: BasePersistenceLayer,
    config: IdempotencyConfig | None = None,
    output_serializer: OutputSerializer | None = None,
    key_prefix: str | None = None,
) -> F: ...
@overload
def idempotent_function(
    function: None = None,
    *,
    data_keyword_argument: str,
    persistence_store: BasePersistenceLayer,
    config: IdempotencyConfig | None = None,
    output_serializer: OutputSerializer | None = None,
    key_prefix: str | None = None,
) -> Callable[[F], F]: ...
@overload
def idempotent_function(
    function: AsyncF,
    *,
    data_keyword_argument: str,
    persistence_store: AsyncBasePersistenceLayer,
    config: IdempotencyConfig | None = None,
    output_serializer: OutputSerializer | None = None,
    key_prefix: str | None = None,
) -> AsyncF: ...
@overload
def idempotent_function(
    function: None = None,
    *,
    data_keyword_argument: str,
    persistence_store: AsyncBasePersistenceLayer,
    config: IdempotencyConfig | None = None,
    output_serializer: OutputSerializer | None = None,
    key_prefix: str | None = None,
) -> Callable[[AsyncF], AsyncF]: ...
def idempotent_function(
    function: Any = None,
    *,
    data_keyword_argument: str,
    persistence_store: Layer,
    config: IdempotencyConfig | None = None,
    output_serializer: OutputSerializer | None = None,
    key_prefix: str | None = None,
) -> Any:
    """Run a function once for each value of one of its arguments, and answer repeats with the stored result.

    Parameters
    ----------
    function
        The function, ``def`` or ``async def``: plain, method, static or class method, partial, or callable
        object.
    data_keyword_argument
        The parameter from which the key is derived. Callers may pass it by keyword or position, or leave it
        to its default.
    persistence_store
        Where records are kept; may be shared by any number of functions.
    config
        Key, window, validation, cache, hook. Default: everything at its default.
    output_serializer
        Stores results and rebuilds them: an instance, or a class that finds its model in the return
        annotation. Without one, all callers get plain JSON values, the first one too; a call that runs
        unprotected (no key, or switched off) gets what the function returned.
    key_prefix
        Replaces the function's name at the beginning of keys, so that they survive a renaming.

    Raises
    ------
    TypeError
        The function cannot be protected. Raised here, before any call.
    IdempotencyConfigError
        ``key_prefix`` is invalid.
    IdempotencyModelTypeError, IdempotencyNoSerializationModelError
        The serializer does not fit the return annotation.
    """

    def decorate(function: Any) -> Any:
        serializer = resolve_serializer(output_serializer, function)
        engine = Engine(settings, serializer, hidden=hidden_code(function))
        data = Argument(function, data_keyword_argument)
        return _protected(function, data, None, engine, settings, persistence_store, key_prefix)

    settings = IdempotencyConfig() if config is None else config
    return _decorator(decorate, function, persistence_store, config, key_prefix)


def _decorator(
    decorate: Callable[[Any], Any], function: Any, layer: Any, config: Any, key_prefix: str | None
) -> Callable[[Any], Any]:
    """Check what needs no function; decorate now if there is one."""
    if not isinstance(layer, Layer):
        raise TypeError(f"persistence_store must be a persistence layer, not {layer!r}.{_hint_on(layer)}")
    if not isinstance(config, IdempotencyConfig | None):
        raise TypeError(f"config must be an idemproof.IdempotencyConfig, not {config!r}.{_hint_on(config)}")
    if key_prefix is not None and (not isinstance(key_prefix, str) or not key_prefix):
        raise IdempotencyConfigError(f"key_prefix must be a text that is not empty, not {key_prefix!r}.")

    def apply(function: Any) -> Any:
        if isinstance(function, staticmethod | classmethod):
            return type(function)(apply(function.__func__))
        refuse_unprotectable(function)
        if isinstance(layer, AsyncBasePersistenceLayer) and not is_async(function):
            raise TypeError(
                f"{name_of(function)} is a plain function, and {type(layer).__name__} an async layer. "
                "Make the function async def, or use the layer's blocking twin."
            )
        return decorate(function)

    return apply if function is None else apply(function)


def _hint_on(misfit: Any) -> str:
    if isinstance(misfit, type):
        return " Pass an instance, not the class."
    if type(misfit).__module__.startswith("aws_lambda_powertools"):
        return " Import it from idemproof: the names and parameters are the same."
    return ""


class _Plan:
    """How the calls of one function find their key."""

    __slots__ = ("_config", "_data", "_derivation", "_function", "_key_prefix")

    def __init__(
        self, function: Any, data: Argument, config: IdempotencyConfig, key_prefix: str | None
    ) -> None:
        self._function = function
        self._data = data
        self._config = config
        self._key_prefix = key_prefix
        self._derivation: KeyDerivation | None = None

    def key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str | None, str | None]:
        """Return the call's key and payload hash; no key if it is to run unprotected."""
        derivation = self._derivation
        if derivation is None:
            # Not at decoration: the Lambda function's name is part of it, and may be set after the import.
            derivation = KeyDerivation(self._config, function_prefix(self._function, self._key_prefix))
            self._derivation = derivation
        return derivation.derive(as_plain_data(self._data.of(args, kwargs)))


def _protected(
    function: Any,
    data: Argument,
    context_of: Callable[[tuple[Any, ...], dict[str, Any]], Any] | None,
    engine: Engine,
    config: IdempotencyConfig,
    layer: Layer,
    key_prefix: str | None,
) -> Any:
    plan = _Plan(function, data, config, key_prefix)

    if is_async(function):
        from ..backends.async_drivers import drive_async  # noqa: PLC0415 - blocking programs never need asyncio

        async_store = async_compare_and_swap(layer)

        @functools.wraps(function)
        async def protected_async(*args: Any, **kwargs: Any) -> Any:
            if _disabled():
                return await function(*args, **kwargs)
            context = None if context_of is None else context_of(args, kwargs)
            key, payload_hash = plan.key(args, kwargs)
            if key is None:
                return await function(*args, **kwargs)
            return await drive_async(
                engine.steps(key, payload_hash, context), async_store, function, args, kwargs
            )

        return protected_async

    assert isinstance(layer, BasePersistenceLayer)
    store = compare_and_swap(layer)

    @functools.wraps(function)
    def protected(*args: Any, **kwargs: Any) -> Any:
        if _disabled():
            return function(*args, **kwargs)
        context = None if context_of is None else context_of(args, kwargs)
        key, payload_hash = plan.key(args, kwargs)
        if key is None:
            return function(*args, **kwargs)
        return drive(engine.steps(key, payload_hash, context), store, function, args, kwargs)

    return protected


def _disabled() -> bool:
    """Tell whether protection is switched off for tests; warn if so."""
    environment = os.environ
    if _SWITCH not in getattr(environment, "_data", _SWITCHED):
        return False
    value = environment.get(DISABLED)
    if value is None or value.lower() in _FALSE:
        return False
    if value.lower() not in _TRUE:
        raise IdempotencyConfigError(f"{DISABLED} must be true or false, not {value!r}.")
    warnings.warn(
        f"Idempotency is switched off by {DISABLED}: every call runs. Never do this in production.",
        IdempotencyWarning,
        stacklevel=3,
    )
    return True
