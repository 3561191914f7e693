"""What stands in a decorated function's place: it finds the call's key, and drives the engine."""

import functools
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

from ..backends.base import (
    AsyncBasePersistenceLayer,
    BasePersistenceLayer,
    async_compare_and_swap,
    compare_and_swap,
)
from ..backends.called_layers import CalledByMethods, called_by_methods
from ..backends.doubles import is_double
from ..backends.layer_settings import begin_to_serve
from ..backends.overrides import replaced_later
from ..backends.warning import IdempotencyWarning
from ..drivers.blocking import drive
from ..spec.errors import IdempotencyConfigError, IdempotencyKeyError
from .config import IdempotencyConfig
from .durable import SDK, current
from .engine import Engine
from .functions import Argument, Arguments, is_async, name_of
from .keys import KeyDerivation, function_prefix, key_data, warn_of_no_service
from .layer_settings import LayerSettings
from .payload import data_for_methods
from .prefixes import service_name

Layer = BasePersistenceLayer | AsyncBasePersistenceLayer
KeyFunction = Callable[..., Any]

DISABLED = "POWERTOOLS_IDEMPOTENCY_DISABLED"
"""The environment variable that switches all protection off, for tests."""

_TRUE = frozenset(("1", "y", "yes", "t", "true", "on"))
_FALSE = frozenset(("", "0", "n", "no", "f", "false", "off"))


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
            self._refuse_lost_interrupts(layer)
            begin_to_serve(layer, self.settings())
        if called_by_methods(layer):
            called = self.called(layer)
            return lambda: called
        return replaced_later(layer, lambda: self.called(layer))

    def _refuse_lost_interrupts(self, layer: Any) -> None:
        for kind in self._config.interrupts:
            if layer._loses(kind):
                raise IdempotencyConfigError(
                    f"interrupts has {kind.__name__}, which the client of {layer!r} would take for a failure "
                    "of its own: it tries again, and the interrupt is lost. Make the client without "
                    "retries, let the layer make it, or give a class that is not derived from OSError."
                )

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


def protect(
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
    """Return what stands in the place of ``function``.

    ``data`` is the argument that identifies the operation, ``prepare`` what is done before the first key is
    derived, and ``body`` what is run, if it is not ``function`` itself.
    """
    shared = layer.blocks and not is_double(layer)
    plan = _Plan(function, data, config, key_prefix, key, prepare, shared=shared)
    body = function if body is None else body
    by_methods = plan.serve(layer)

    if is_async(function):
        from ..drivers.asynchronous import drive_async  # noqa: PLC0415 - blocking programs never need asyncio

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
    """Return whether protection is switched off for tests; warn if so."""
    value = os.environ.get(DISABLED)
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
