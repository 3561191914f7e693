"""The ``Idempotency-Key`` of HTTP: middlewares for ASGI and WSGI, the profiles of APIs, and their data.

Names load when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .reference.http.asgi import IdempotencyMiddleware
    from .reference.http.django import DjangoIdempotencyMiddleware, django_user
    from .reference.http.flask import FlaskIdempotency
    from .reference.http.messages import Request, Response
    from .reference.http.problems import PROBLEMS, ErrorFormat, Problem
    from .reference.http.profiles import ACP, ICEBERG, IETF, PROFILES, STRIPE, Profile, PublishedAnswer
    from .reference.http.protection import Protection
    from .reference.http.routes import Route
    from .reference.http.settings import Settings
    from .reference.http.starlette import protect
    from .reference.http.wsgi import WSGIIdempotencyMiddleware

_HOMES = {
    "ACP": "profiles",
    "ICEBERG": "profiles",
    "IETF": "profiles",
    "PROBLEMS": "problems",
    "PROFILES": "profiles",
    "STRIPE": "profiles",
    "DjangoIdempotencyMiddleware": "django",
    "ErrorFormat": "problems",
    "FlaskIdempotency": "flask",
    "IdempotencyMiddleware": "asgi",
    "Problem": "problems",
    "Profile": "profiles",
    "Protection": "protection",
    "PublishedAnswer": "profiles",
    "Request": "messages",
    "Response": "messages",
    "Route": "routes",
    "Settings": "settings",
    "WSGIIdempotencyMiddleware": "wsgi",
    "django_user": "django",
    "protect": "starlette",
}

__all__ = [
    "ACP",
    "ICEBERG",
    "IETF",
    "PROBLEMS",
    "PROFILES",
    "STRIPE",
    "DjangoIdempotencyMiddleware",
    "ErrorFormat",
    "FlaskIdempotency",
    "IdempotencyMiddleware",
    "Problem",
    "Profile",
    "Protection",
    "PublishedAnswer",
    "Request",
    "Response",
    "Route",
    "Settings",
    "WSGIIdempotencyMiddleware",
    "django_user",
    "protect",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".reference.http.{home}", __package__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
