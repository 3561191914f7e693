"""The prefixes of keys: the service, Lambda function and Python function that derive them."""

import functools
import os
import re
from collections.abc import Callable
from typing import Any

from ..spec.errors import IdempotencyConfigError

SERVICE = "IDEMPROOF_SERVICE"
"""The environment variable with the service's name, used if the configuration has none."""

_LAMBDA = "AWS_LAMBDA_FUNCTION_NAME"
_OUTSIDE = "test-func"
_NAME = re.compile(r"[A-Za-z0-9_-]+")

ALLOWED_SERVICE = f"letters, digits, hyphens and underscores, other than {_OUTSIDE!r}"


def is_service_name(name: Any) -> bool:
    """Return whether ``name`` is valid and unambiguous at the beginning of keys."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None and name != _OUTSIDE


def service_name(configured: str | None) -> str | None:
    """Return the name of this service, from the configuration or else the environment.

    Parameters
    ----------
    configured
        The ``service`` of the configuration.

    Raises
    ------
    IdempotencyConfigError
        The environment variable has an invalid name.
    """
    name = configured or os.environ.get(SERVICE) or None
    if name is not None and not is_service_name(name):
        raise IdempotencyConfigError(f"{SERVICE} must be {ALLOWED_SERVICE}; it is {name!r}.")
    return name


def in_lambda() -> bool:
    """Return whether the environment names a Lambda function. Then keys begin with its name."""
    return _LAMBDA in os.environ


def function_prefix(function: Callable[..., Any], key_prefix: str | None, service: str | None = None) -> str:
    """Return the prefix of a function's keys.

    Parameters
    ----------
    function
        A function, method, partial or callable object.
    key_prefix
        Replaces the default prefix. It stays the same if you rename or move the function.
    service
        The name of the service, or None.

    Returns
    -------
    str
        ``key_prefix``, or these parts joined with dots: the service and the Lambda function's name
        (``test-func`` if there is neither), the module and the qualified name.
    """
    if key_prefix:
        return key_prefix
    named: Any = function
    while isinstance(named, functools.partial | functools.partialmethod):
        named = named.func
    if not isinstance(getattr(named, "__qualname__", None), str):
        named = type(named)
    return named_prefix(f"{named.__module__}.{named.__qualname__}", None, service)


def named_prefix(function_name: str, key_prefix: str | None, service: str | None = None) -> str:
    """Return the prefix for ``module.qualified_name`` of a function; see `function_prefix`."""
    if key_prefix:
        return key_prefix
    host = os.environ.get(_LAMBDA)
    if service is not None:
        host = service if host is None else f"{service}.{host}"
    elif host is None:
        host = _OUTSIDE
    return f"{host}.{function_name}"
