"""The decorators: ``idempotent`` for Lambda handlers, ``idempotent_function`` for any function."""

import functools
import os
import sys
import warnings
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar, overload

from ..backends.base import (
    AsyncBasePersistenceLayer,
    BasePersistenceLayer,
    async_compare_and_swap,
    compare_and_swap,
    keeps_owners,
)
from ..backends.called_layers import CalledByMethods, called_by_methods
from ..backends.doubles import is_double
from ..backends.drivers import drive
from ..backends.layer_settings import begin_to_serve
from ..backends.overrides import replaced_later
from ..backends.warning import IdempotencyWarning
from ..spec.errors import IdempotencyConfigError, IdempotencyKeyError
from .config import IdempotencyConfig
from .durable import SDK, current, lambda_context_of, refuse_outside
from .engine import Engine
from .functions import (
    Argument,
    Arguments,
    argument_of,
    called_in_order,
    handler_arguments,
    is_async,
    name_of,
    refuse_unprotectable,
)
from .keys import KeyDerivation, function_prefix, key_data, warn_of_no_service
from .layer_settings import LayerSettings
from .payload import data_for_methods
from .prefixes import service_name
from .results.codec import Codec
from .serialization import BaseIdempotencyModelSerializer, BaseIdempotencySerializer, resolve_serializer

F = TypeVar("F", bound="Callable[..., Any] | staticmethod[..., Any] | classmethod[Any, ..., Any]")

# With an async layer, a type checker refuses a plain function, as the decorator does.
_Returned = Coroutine[Any, Any, Any]
AsyncF = TypeVar(
    "AsyncF",
    bound="Callable[..., _Returned] | staticmethod[..., _Returned] | classmethod[Any, ..., _Returned]",
)

Layer = BasePersistenceLayer | AsyncBasePersistenceLayer
KeyFunction = Callable[..., Any]
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
        arguments = event, of_context = handler_arguments(function)

        def lambda_context(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if of_context is None:
                return None
            found = lambda_context_of(of_context.of(args, kwargs))
            # Functions that the handler calls may share the configuration.
            settings.register_lambda_context(found)
            return found

        return _protected(
            function,
            event,
            lambda_context,
            Engine(settings, function=function, keeps_owners=keeps_owners(persistence_store)),
            settings,
            persistence_store,
            key_prefix,
            body=called_in_order(function, arguments),
        )

    settings = IdempotencyConfig() if config is None else config
    return _decorator(decorate, handler, persistence_store, config, key_prefix)


@overload
def idempotent_function(
    function: F,
    *,
    data_keyword_argument: str | Sequence[str],
    persistence_store: BasePersistenceLayer,
    config: IdempotencyConfig | None = None,
    output_serializer: OutputSerializer | None = None,
    key_prefix: str | None = None,
    key: KeyFunction | None = None,
) -> F: ...
@overload
def idempotent_function(
    function: F,
    *,
    data_keyword_argument: None = None,
    persistence_store: Layer,
    config: IdempotencyConfig | None = None,
    output_serializer: OutputSerializer | None = None,
    key_prefix: str | None = None,
    key: KeyFunction,
) -> F: ...
@overload
def idempotent_function(
    function: None = None,
    *,
    data_keyword_argument: str | Sequence[str],
    persistence_store: BasePersistenceLayer,
    config: IdempotencyConfig | None = None,
    output_serializer: OutputSerializer | None = None,
    key_prefix: str | None = None,
    key: KeyFunction | None = None,
) -> Callable[[F], F]: ...
@overload
def idempotent_function(
    function: None = None,
    *,
    data_keyword_argument: None = None,
    persistence_store: Layer,
    config: IdempotencyConfig | None = None,
    output_serializer: OutputSerializer | None = None,
    key_prefix: str | None = None,
    key: KeyFunction,
) -> Callable[[F], F]: ...
@overload
def idempotent_function(
    function: AsyncF,
    *,
    data_keyword_argument: str | Sequence[str],
    persistence_store: AsyncBasePersistenceLayer,
    config: IdempotencyConfig | None = None,
    output_serializer: OutputSerializer | None = None,
    key_prefix: str | None = None,
    key: KeyFunction | None = None,
) -> AsyncF: ...
@overload
def idempotent_function(
    function: None = None,
    *,
    data_keyword_argument: str | Sequence[str],
    persistence_store: AsyncBasePersistenceLayer,
    config: IdempotencyConfig | None = None,
    output_serializer: OutputSerializer | None = None,
    key_prefix: str | None = None,
    key: KeyFunction | None = None,
) -> Callable[[AsyncF], AsyncF]: ...
def idempotent_function(
    function: Any = None,
    *,
    data_keyword_argument: str | Sequence[str] | None = None,
    persistence_store: Layer,
    config: IdempotencyConfig | None = None,
    output_serializer: OutputSerializer | None = None,
    key_prefix: str | None = None,
    key: KeyFunction | None = None,
) -> Any:
    """Run a function once for each value of one of its arguments, and answer repeats with the stored result.

    Parameters
    ----------
    function
        The function, ``def`` or ``async def``: plain, method, static or class method, partial, or callable
        object.
    data_keyword_argument
        The parameter from which the key is derived, or several: then their values are searched as an object,
        by their names. Callers may pass them by keyword or position, or leave them to their defaults.
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
    key
        Called with the arguments of each call; returns the plain data that names the operation. Instead of
        ``data_keyword_argument``, or beside it if ``payload_validation_jmespath`` is to look at an argument.

    Raises
    ------
    TypeError
        The function cannot be protected. Raised here, before any call.
    IdempotencyConfigError
        ``key_prefix`` is invalid, or the key is named in no way or in two.
    IdempotencyModelTypeError, IdempotencyNoSerializationModelError
        The serializer does not fit the return annotation.
    """

    def decorate(function: Any) -> Any:
        serializer = resolve_serializer(output_serializer, function)
        for direction in ("to_dict", "from_dict"):
            if serializer is not None and is_async(getattr(serializer, direction)):
                raise TypeError(f"{direction} of {serializer!r} is async: it is called, and not awaited.")
        codec: Any = Codec(serializer, function, settings.result_check)
        codec.prepare(for_a_call=False)
        engine = Engine(settings, codec, function=function, keeps_owners=keeps_owners(persistence_store))
        data = None if data_keyword_argument is None else argument_of(function, data_keyword_argument)
        return _protected(
            function, data, None, engine, settings, persistence_store, key_prefix, key, codec.prepare
        )

    settings = IdempotencyConfig() if config is None else config
    apply = _decorator(decorate, None, persistence_store, config, key_prefix)
    _refuse_ambiguous_key(key, data_keyword_argument, settings)
    return apply if function is None else apply(function)


def _refuse_ambiguous_key(key: Any, names: Any, config: IdempotencyConfig) -> None:
    """Raise if the key is named in no way, or in two."""
    if key is None:
        if names is None:
            raise IdempotencyConfigError(
                "idempotent_function needs data_keyword_argument, the name of the parameter that identifies "
                "the operation, or key, a function of the call's arguments."
            )
        return
    if not callable(key) or is_async(key):
        raise IdempotencyConfigError(
            f"key must be a plain function of the call's arguments that returns plain data, not {key!r}."
        )
    if config.event_key_jmespath:
        raise IdempotencyConfigError(
            f"Both key and event_key_jmespath={config.event_key_jmespath!r} name the operation: give one of "
            "them."
        )
    validated = config.payload_validation_jmespath
    if validated and names is None:
        raise IdempotencyConfigError(
            f"payload_validation_jmespath={validated!r} needs an argument to look at: give "
            "data_keyword_argument beside key."
        )
    if names is not None and not validated:
        raise IdempotencyConfigError(
            "Both key and data_keyword_argument name the operation: give one of them. Beside key, "
            "data_keyword_argument is only what payload_validation_jmespath looks at."
        )


def _decorator(
    decorate: Callable[[Any], Any], function: Any, layer: Any, config: Any, key_prefix: str | None
) -> Callable[[Any], Any]:
    """Check what needs no function; decorate now if there is one."""
    if not isinstance(layer, Layer) and not is_double(layer):
        raise TypeError(f"persistence_store must be a persistence layer, not {layer!r}.{_hint_on(layer)}")
    if not isinstance(config, IdempotencyConfig | None):
        raise TypeError(f"config must be an idemproof.IdempotencyConfig, not {config!r}.{_hint_on(config)}")
    if key_prefix is not None and (not isinstance(key_prefix, str) or not key_prefix):
        raise IdempotencyConfigError(f"key_prefix must be a text that is not empty, not {key_prefix!r}.")

    def apply(function: Any) -> Any:
        if isinstance(function, staticmethod | classmethod):
            return type(function)(apply(function.__func__))
        refuse_unprotectable(function)
        refuse_outside(function)
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

    __slots__ = (
        "_config",
        "_derivation",
        "_function",
        "_key",
        "_key_prefix",
        "_names_no_argument",
        "_payload",
        "_prepare",
        "_shared",
    )

    def __init__(
        self,
        function: Any,
        data: Argument | Arguments | None,
        config: IdempotencyConfig,
        key_prefix: str | None,
        key: KeyFunction | None,
        prepare: Callable[[], None] | None,
        *,
        shared: bool,
    ) -> None:
        self._prepare = prepare
        self._function = function
        self._names_no_argument = data is None
        self._payload = (lambda _args, _kwargs: None) if data is None else data.of
        self._config = config
        self._key_prefix = key_prefix
        self._key = key
        self._shared = shared
        self._derivation: KeyDerivation | None = None

    def key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str | None, str | None]:
        """Return the call's key and payload hash; no key if it is to run unprotected."""
        derivation = self._derivation
        if derivation is None:
            derivation = self._derivation = self._prepared()
        try:
            if self._key is None:
                return derivation.derive(self._payload(args, kwargs))
            identity = key_data(self._key, name_of(self._function), args, kwargs)
            return derivation.derive_from(identity, self._payload(args, kwargs))
        except IdempotencyKeyError as error:
            refusal = error
        raise self._config.interruptions.behind(refusal) or refusal

    def _prepared(self) -> KeyDerivation:
        if self._prepare is not None:
            self._prepare()
        # Not at decoration: the Lambda function's name is part of it, and may be set after the import.
        if self._shared and not self._key_prefix and service_name(self._config.service) is None:
            warn_of_no_service()
        return KeyDerivation(self._config, self.prefix(), name_of(self._function))

    def prefix(self) -> str:
        """Return what the function's keys begin with."""
        return function_prefix(self._function, self._key_prefix, service_name(self._config.service))

    def settings(self) -> LayerSettings:
        """Return the function's settings as its layer sees them."""
        return LayerSettings(self._config, self.prefix)

    def serve(self, layer: Any) -> Callable[[], CalledByMethods | None] | None:
        """Let ``layer`` serve the function; return what tells in each call how, if by its methods.

        None if that need not be asked: nothing is overridden, and nothing tells of what tests replace.
        """
        if not is_double(layer):
            begin_to_serve(layer, self.settings())
        if called_by_methods(layer):
            called = self.called(layer)
            return lambda: called
        return replaced_later(layer, lambda: self.called(layer))

    def called(self, layer: Any) -> CalledByMethods:
        """Return how to call a layer whose methods are not to be passed over."""
        return CalledByMethods(layer, self.settings(), functools.partial(self._configure, layer))

    def payload(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
        """Return what gives the data that the layer's methods get."""
        if self._names_no_argument:
            key = self._key
            assert key is not None  # one of the two names the operation
            return lambda: key_data(key, name_of(self._function), args, kwargs)
        return lambda: data_for_methods(self._payload(args, kwargs))

    def _configure(self, layer: Any) -> None:
        name = function_prefix(self._function, None).partition(".")[2]
        layer.configure(config=self._config, function_name=name, key_prefix=self._key_prefix)


def _protected(
    function: Any,
    data: Argument | Arguments | None,
    context_of: Callable[[tuple[Any, ...], dict[str, Any]], Any] | None,
    engine: Engine,
    config: IdempotencyConfig,
    layer: Layer,
    key_prefix: str | None,
    key: KeyFunction | None = None,
    prepare: Callable[[], None] | None = None,
    body: Any = None,
) -> Any:
    shared = layer.blocks and not is_double(layer)
    plan = _Plan(function, data, config, key_prefix, key, prepare, shared=shared)
    body = function if body is None else body
    by_methods = plan.serve(layer)

    if is_async(function):
        from ..backends.async_drivers import drive_async  # noqa: PLC0415 - blocking programs never need asyncio

        async_store = async_compare_and_swap(layer, plan.settings())

        @functools.wraps(function)
        async def protected_async(*args: Any, **kwargs: Any) -> Any:
            if _disabled():
                return await body(*args, **kwargs)
            context = None if context_of is None else context_of(args, kwargs)
            name, payload_hash = plan.key(args, kwargs)
            if name is None:
                return await body(*args, **kwargs)
            execution = current(args, kwargs) if SDK in sys.modules else None
            steps = engine.steps(name, payload_hash, context, execution)
            by = None if by_methods is None else by_methods()
            if by is None:
                return await drive_async(steps, async_store, body, args, kwargs)
            call, own_store = by.async_call(plan.payload(args, kwargs))
            return await drive_async(steps, own_store, call.async_body(body), args, kwargs)

        return protected_async

    assert isinstance(layer, BasePersistenceLayer) or is_double(layer)
    store = compare_and_swap(layer, plan.settings())  # type: ignore[arg-type]  # or what stands in for one

    @functools.wraps(function)
    def protected(*args: Any, **kwargs: Any) -> Any:
        if _disabled():
            return body(*args, **kwargs)
        context = None if context_of is None else context_of(args, kwargs)
        name, payload_hash = plan.key(args, kwargs)
        if name is None:
            return body(*args, **kwargs)
        execution = current(args, kwargs) if SDK in sys.modules else None
        steps = engine.steps(name, payload_hash, context, execution)
        by = None if by_methods is None else by_methods()
        if by is None:
            return drive(steps, store, body, args, kwargs)
        call, own_store = by.call(plan.payload(args, kwargs))
        return drive(steps, own_store, call.body(body), args, kwargs)

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
