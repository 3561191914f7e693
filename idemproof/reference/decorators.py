"""The decorators: ``idempotent`` for Lambda handlers, ``idempotent_function`` for any function."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ParamSpec, TypedDict, TypeVar, Unpack, overload

from ..backends.base import AsyncBasePersistenceLayer, BasePersistenceLayer, keeps_owners
from ..spec.errors import IdempotencyConfigError
from .config import IdempotencyConfig
from .core import Layer, require_layer_and_config
from .durable import lambda_context_of, refuse_outside
from .engine import Engine
from .functions import (
    argument_of,
    called_in_order,
    handler_arguments,
    is_async,
    name_of,
    refuse_unprotectable,
)
from .plan import KeyFunction
from .protected import AsyncDecorator, Decorator, Protected
from .protection import protect
from .results.codec import Codec
from .serialization import BaseIdempotencyModelSerializer, BaseIdempotencySerializer, resolve_serializer
from .takeover import question_for

P = ParamSpec("P")
R = TypeVar("R")

# With an async layer, a type checker refuses a plain function, as the decorator does.
AsyncReturned = Coroutine[Any, Any, R]

OnTakeover = Callable[..., Any]
"""A function with the parameters of the protected one, which returns its result or ``NOT_DONE``."""

OutputSerializer = BaseIdempotencySerializer | type[BaseIdempotencyModelSerializer]


class Options(TypedDict, total=False):
    """The keyword arguments of ``idempotent`` that may be left out."""

    config: IdempotencyConfig | None
    key_prefix: str | None
    on_takeover: OnTakeover | None


class FunctionOptions(Options, total=False):
    """The keyword arguments of ``idempotent_function`` that may be left out, without the key's."""

    output_serializer: OutputSerializer | None


@overload
def idempotent(
    handler: Callable[P, R], *, persistence_store: BasePersistenceLayer, **options: Unpack[Options]
) -> Protected[P, R]: ...
@overload
def idempotent(
    handler: None = None, *, persistence_store: BasePersistenceLayer, **options: Unpack[Options]
) -> Decorator: ...
@overload
def idempotent(
    handler: Callable[P, AsyncReturned[R]],
    *,
    persistence_store: AsyncBasePersistenceLayer,
    **options: Unpack[Options],
) -> Protected[P, AsyncReturned[R]]: ...
@overload
def idempotent(
    handler: None = None, *, persistence_store: AsyncBasePersistenceLayer, **options: Unpack[Options]
) -> AsyncDecorator: ...
def idempotent(
    handler: Any = None,
    *,
    persistence_store: Layer,
    config: IdempotencyConfig | None = None,
    key_prefix: str | None = None,
    on_takeover: OnTakeover | None = None,
) -> Any:
    """Run a Lambda handler once for each event, and return the stored result for repeats.

    The key is derived from the whole event, unless ``config`` selects parts of it. The lease ends no later
    than the remaining time of the Lambda context.

    Parameters
    ----------
    handler
        The handler, ``def`` or ``async def``. It is called with (event, context).
    persistence_store
        The store of the records. Several functions may share it.
    config
        The settings, such as the key, the window and the lease. By default, each has its default.
    key_prefix
        Replaces the function's name at the beginning of keys. Set it, so that you can rename the function.
    on_takeover
        A function with the handler's own parameters, ``def`` or ``async def`` as the handler is. It is called
        instead of the handler if an earlier attempt held the key, and its lease has ended without a result.
        It returns the result if the operation has happened, :data:`NOT_DONE` if it has not and will not any
        more (then the handler runs), or raises if it cannot tell. It replaces the ``on_takeover`` of the
        configuration.

    Raises
    ------
    TypeError
        The handler cannot be protected. This is raised at decoration, before any call.
    IdempotencyConfigError
        ``key_prefix`` is invalid, or ``on_takeover`` does not fit the handler or the layer.
    """

    def decorate(function: Any) -> Any:
        arguments = event, of_context = handler_arguments(function)
        question = question_for(function, on_takeover)
        if question is not None:
            question = called_in_order(question, arguments)

        def lambda_context(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if of_context is None:
                return None
            found = lambda_context_of(of_context.of(args, kwargs))
            # Functions that the handler calls may share the configuration.
            settings.register_lambda_context(found)
            return found

        return protect(
            function,
            event,
            lambda_context,
            Engine(
                settings,
                function=function,
                keeps_owners=keeps_owners(persistence_store),
                on_takeover=question,
            ),
            settings,
            persistence_store,
            key_prefix,
            body=called_in_order(function, arguments),
        )

    settings = IdempotencyConfig() if config is None else config
    return _decorator(decorate, handler, persistence_store, config, key_prefix)


@overload
def idempotent_function(
    function: Callable[P, R],
    *,
    data_keyword_argument: str | Sequence[str],
    persistence_store: BasePersistenceLayer,
    key: KeyFunction | None = None,
    **options: Unpack[FunctionOptions],
) -> Protected[P, R]: ...
@overload
def idempotent_function(
    function: Callable[P, R],
    *,
    data_keyword_argument: None = None,
    persistence_store: Layer,
    key: KeyFunction,
    **options: Unpack[FunctionOptions],
) -> Protected[P, R]: ...
@overload
def idempotent_function(
    function: None = None,
    *,
    data_keyword_argument: str | Sequence[str],
    persistence_store: BasePersistenceLayer,
    key: KeyFunction | None = None,
    **options: Unpack[FunctionOptions],
) -> Decorator: ...
@overload
def idempotent_function(
    function: None = None,
    *,
    data_keyword_argument: None = None,
    persistence_store: Layer,
    key: KeyFunction,
    **options: Unpack[FunctionOptions],
) -> Decorator: ...
@overload
def idempotent_function(
    function: Callable[P, AsyncReturned[R]],
    *,
    data_keyword_argument: str | Sequence[str],
    persistence_store: AsyncBasePersistenceLayer,
    key: KeyFunction | None = None,
    **options: Unpack[FunctionOptions],
) -> Protected[P, AsyncReturned[R]]: ...
@overload
def idempotent_function(
    function: None = None,
    *,
    data_keyword_argument: str | Sequence[str],
    persistence_store: AsyncBasePersistenceLayer,
    key: KeyFunction | None = None,
    **options: Unpack[FunctionOptions],
) -> AsyncDecorator: ...
def idempotent_function(
    function: Any = None,
    *,
    data_keyword_argument: str | Sequence[str] | None = None,
    persistence_store: Layer,
    config: IdempotencyConfig | None = None,
    output_serializer: OutputSerializer | None = None,
    key_prefix: str | None = None,
    key: KeyFunction | None = None,
    on_takeover: OnTakeover | None = None,
) -> Any:
    """Run a function once for each value of an argument, and return the stored result for repeats.

    Parameters
    ----------
    function
        The function, ``def`` or ``async def``: plain, method, static or class method, partial, or callable
        object.
    data_keyword_argument
        The name of the parameter from which the key is derived, or a list of names. For a list, the data is
        an object with one member for each name. Callers may pass the arguments by keyword or position, or
        omit them if they have defaults.
    persistence_store
        The store of the records. Several functions may share it.
    config
        The settings, such as the key, the window and the lease. By default, each has its default.
    output_serializer
        Converts results to JSON data and back: an instance, or a class that takes its model from the return
        annotation. Without a serializer, all callers get plain JSON values, including the first. A call
        that runs without protection (no key, or switched off) gets the function's own result.
    key_prefix
        Replaces the function's name at the beginning of keys, so that they survive a renaming.
    key
        A function that gets the arguments of each call, and returns plain data from which the key is derived.
        Use it instead of ``data_keyword_argument``, or together with it if ``payload_validation_jmespath``
        needs an argument.
    on_takeover
        A function with the function's own parameters, ``def`` or ``async def`` as that is. It is called
        instead of the function if an earlier attempt held the key, and its lease has ended without a result.
        It returns the result if the operation has happened, :data:`NOT_DONE` if it has not and will not any
        more (then the function runs), or raises if it cannot tell. It replaces the ``on_takeover`` of the
        configuration.

    Raises
    ------
    TypeError
        The function cannot be protected. This is raised at decoration, before any call.
    IdempotencyConfigError
        ``key_prefix`` is invalid, or the key has no source, or two, or ``on_takeover`` does not fit the
        function or the layer.
    IdempotencyModelTypeError, IdempotencyNoSerializationModelError
        The serializer does not fit the return annotation.
    """

    def decorate(function: Any) -> Any:
        serializer = resolve_serializer(output_serializer, function)
        for direction in ("to_dict", "from_dict"):
            if serializer is not None and is_async(getattr(serializer, direction)):
                raise TypeError(
                    f"{direction} of {serializer!r} is async, but it would not be awaited: use def."
                )
        codec: Any = Codec(serializer, function, settings.result_check)
        codec.prepare(for_a_call=False)
        engine = Engine(
            settings,
            codec,
            function=function,
            keeps_owners=keeps_owners(persistence_store),
            on_takeover=question_for(function, on_takeover),
        )
        data = None if data_keyword_argument is None else argument_of(function, data_keyword_argument)
        return protect(
            function, data, None, engine, settings, persistence_store, key_prefix, key, codec.prepare
        )

    settings = IdempotencyConfig() if config is None else config
    apply = _decorator(decorate, None, persistence_store, config, key_prefix)
    _refuse_ambiguous_key(key, data_keyword_argument, settings)
    return apply if function is None else apply(function)


def _refuse_ambiguous_key(key: Any, names: Any, config: IdempotencyConfig) -> None:
    """Raise if the key has no source, or two."""
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
            f"Both key and event_key_jmespath={config.event_key_jmespath!r} name the operation: remove one."
        )
    validated = config.payload_validation_jmespath
    if validated and names is None:
        raise IdempotencyConfigError(
            f"payload_validation_jmespath={validated!r} needs an argument: give "
            "data_keyword_argument together with key."
        )
    if names is not None and not validated:
        raise IdempotencyConfigError(
            "Both key and data_keyword_argument name the operation: remove one. Together with key, "
            "data_keyword_argument only serves payload_validation_jmespath."
        )


def _decorator(
    decorate: Callable[[Any], Any], function: Any, layer: Any, config: Any, key_prefix: str | None
) -> Callable[[Any], Any]:
    """Check the other arguments, and decorate the function if it is given already."""
    require_layer_and_config(layer, config)
    if key_prefix is not None and (not isinstance(key_prefix, str) or not key_prefix):
        raise IdempotencyConfigError(f"key_prefix must be a non-empty string, not {key_prefix!r}.")

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
