"""What keys begin with: who derives them."""

import functools
import os
import re
from collections.abc import Callable
from typing import Any

from ..spec.errors import IdempotencyConfigError

SERVICE = "IDEMPROOF_SERVICE"
"""The environment variable that names the service, where the configuration does not."""

_LAMBDA = "AWS_LAMBDA_FUNCTION_NAME"
_OUTSIDE = "test-func"
_NAME = re.compile(r"[A-Za-z0-9_-]+")

ALLOWED_SERVICE = f"letters, digits, hyphens and underscores, other than {_OUTSIDE!r}"


def is_service_name(name: Any) -> bool:
    """Return whether ``name`` can stand at the beginning of keys without being taken for something else."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None and name != _OUTSIDE


def service_name(configured: str | None) -> str | None:
    """Return the name of this service: as configured, else as the environment says.

    Parameters
    ----------
    configured
        The ``service`` of the configuration.

    Raises
    ------
    IdempotencyConfigError
        The environment names an invalid one.
    """
    name = configured or os.environ.get(SERVICE) or None
    if name is not None and not is_service_name(name):
        raise IdempotencyConfigError(f"{SERVICE} must be {ALLOWED_SERVICE}; it is {name!r}.")
    return name


def in_lambda() -> bool:
    """Return whether the environment names a Lambda function, which keys begin with."""
    return _LAMBDA in os.environ


def function_prefix(function: Callable[..., Any], key_prefix: str | None, service: str | None = None) -> str:
    """Return what the keys of a function begin with.

    Parameters
    ----------
    function
        A function, method, partial or callable object.
    key_prefix
        Used instead, if given. It survives renaming and moving the function.
    service
        The name of the service, if it has one.

    Returns
    -------
    str
        ``key_prefix``, or these joined with dots: the service and the Lambda function's name (``test-func``
        if there is neither), the module and the qualified name.
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
    """Return what the keys of a function of this module and name begin with; see `function_prefix`."""
    if key_prefix:
        return key_prefix
    host = os.environ.get(_LAMBDA)
    if service is not None:
        host = service if host is None else f"{service}.{host}"
    elif host is None:
        host = _OUTSIDE
    return f"{host}.{function_name}"
