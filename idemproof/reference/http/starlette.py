"""Protects applications of Starlette and FastAPI, in one call."""

from typing import Any, Unpack

from ...spec.errors import IdempotencyConfigError
from ..core import Layer
from .asgi import IdempotencyMiddleware
from .openapi import described
from .protection import Protection
from .settings import Options, Settings


def protect(app: Any, *, persistence_store: Layer, **options: Unpack[Options]) -> Protection:
    """Protect an application of Starlette or FastAPI, and describe this in its OpenAPI schema.

    The middleware gets the innermost place, inside of every middleware that the application has or gets.

    Parameters
    ----------
    app
        The application. It must not have handled a request.
    persistence_store
        The store of the records, blocking or async.
    **options
        The settings; see :class:`Settings`.

    Returns
    -------
    Protection
        The rules, from which the key of a record can be derived.

    Raises
    ------
    TypeError, IdempotencyConfigError
        A setting is not allowed, or the application has begun to handle requests.
    """
    if not isinstance(getattr(app, "user_middleware", None), list):
        raise TypeError(
            f"app must be an application of Starlette or FastAPI, not {app!r}. Wrap any other one in "
            "IdempotencyMiddleware."
        )
    if getattr(app, "middleware_stack", None) is not None:
        raise IdempotencyConfigError(
            "The application has begun to handle requests, and its middlewares cannot change any more. "
            "Protect it where it is made."
        )
    protection = Protection(Settings(persistence_store, **options))
    app.add_middleware(IdempotencyMiddleware, persistence_store=persistence_store, protection=protection)
    app.user_middleware.append(app.user_middleware.pop(0))  # innermost
    if callable(getattr(app, "openapi", None)):
        _describe(app, protection)
    return protection


def _describe(app: Any, protection: Protection) -> None:
    undescribed = app.openapi
    source: Any = None
    found: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        nonlocal source, found
        schema = undescribed()
        if schema is not source:
            source, found = schema, described(schema, protection)
        return found

    app.openapi = openapi
