"""The wrapper of a decorated function: it derives the key of a call, and drives the engine."""

import functools
import os
import warnings
from collections.abc import Callable
from typing import Any

from ..backends.doubles import is_double
from ..backends.warning import IdempotencyWarning
from ..spec.errors import IdempotencyConfigError
from .config import IdempotencyConfig
from .core import Core, Layer
from .engine import Engine
from .functions import Argument, Arguments, is_async
from .keys import function_prefix
from .operations import Operations
from .plan import KeyFunction, Plan
from .renewal import refuse_renewal

DISABLED = "POWERTOOLS_IDEMPOTENCY_DISABLED"
"""The environment variable that switches all protection off, for tests."""

_TRUE = frozenset(("1", "y", "yes", "t", "true", "on"))
_FALSE = frozenset(("", "0", "n", "no", "f", "false", "off"))


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
    """Return the wrapper of ``function``.

    ``data`` is the argument that identifies the operation. ``prepare`` runs before the first key is derived.
    ``body`` runs instead of ``function``, if it is given.
    """
    refuse_renewal(config, layer, function)
    shared = layer.blocks and not is_double(layer)
    plan = Plan(function, data, config, key_prefix, key, prepare, shared=shared)
    body = function if body is None else body
    name = function_prefix(function, None).partition(".")[2]
    core = Core(engine, config, layer, plan.prefix, name, key_prefix, plan.payload)

    if is_async(function):
        acall = core.acall

        @functools.wraps(function)
        async def protected(*args: Any, **kwargs: Any) -> Any:
            if disabled():
                return await body(*args, **kwargs)
            context = None if context_of is None else context_of(args, kwargs)
            name, payload_hash = plan.key(args, kwargs)
            if name is None:
                return await body(*args, **kwargs)
            return await acall(name, payload_hash, body, args, kwargs, context)
    else:
        call = core.call

        @functools.wraps(function)
        def protected(*args: Any, **kwargs: Any) -> Any:
            if disabled():
                return body(*args, **kwargs)
            context = None if context_of is None else context_of(args, kwargs)
            name, payload_hash = plan.key(args, kwargs)
            if name is None:
                return body(*args, **kwargs)
            return call(name, payload_hash, body, args, kwargs, context)

    protected.idempotency = Operations(core, plan, function)  # type: ignore[attr-defined]  # a function's own
    return protected


def disabled() -> bool:
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
