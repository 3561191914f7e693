"""The application of this package behind our middlewares, on their servers, with a store that survives them.

A server runs ``asgi``, ``wsgi``, ``flask``, ``django_wsgi`` or ``django_asgi`` of this module. They find what
they need to know in an environment variable.
"""

import asyncio
import json
import os
import secrets
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from http.client import responses
from pathlib import Path
from types import MappingProxyType
from typing import Any

from idemproof import AsyncSQLitePersistenceLayer, IdempotencyConfig, SQLitePersistenceLayer
from idemproof.http import FlaskIdempotency, IdempotencyMiddleware, WSGIIdempotencyMiddleware

from .foundation import PRINCIPALS, Call, Reply, encoded, json_reply
from .ours import Authenticated, Unprotected, principal

LEASE_SECONDS = 2
WINDOW_SECONDS = 30
"""Longer than a restart on a slow machine."""
_VARIABLE = "OUR_SERVICE"
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_UVICORN = "-m uvicorn --timeout-graceful-shutdown 10 --host 127.0.0.1 --port {port} --factory"
_GUNICORN = (
    "-m gunicorn --workers 2 --worker-class gthread --threads 8 --graceful-timeout 10 --no-control-socket "
    "--bind 127.0.0.1:{port}"
)
SERVERS = MappingProxyType(
    {
        "uvicorn": f"{_UVICORN} broken_services.our_servers:asgi",
        "uvicorn-django": f"{_UVICORN} broken_services.our_servers:django_asgi",
        "gunicorn": f"{_GUNICORN} 'broken_services.our_servers:wsgi()'",
        "gunicorn-flask": f"{_GUNICORN} 'broken_services.our_servers:flask()'",
        "gunicorn-django": f"{_GUNICORN} 'broken_services.our_servers:django_wsgi()'",
    }
)
"""The servers: their modules and arguments."""


def command_of(server: str, folder: Path, port: int, profile: str, policy: str) -> str:
    """Return the command line of a server, for a shell."""
    known = json.dumps({"folder": str(folder), "profile": profile, "policy": policy})
    return f"env {_VARIABLE}={shlex.quote(known)} {sys.executable} {SERVERS[server].format(port=port)}"


def effects_in(folder: Path) -> Path:
    """Return the file with a line for each effect."""
    return folder / "effects"


class Orders(Unprotected):
    """The application. Several processes share its effects."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.log = effects_in(folder)

    def effect(self) -> None:
        """Append a line in one write, which a kill cannot divide."""
        handle = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, b"an effect\n")
        os.close(handle)

    def number(self) -> str:
        """Return a number that no other process draws."""
        return secrets.token_hex(8)

    def performed(self, environ: Mapping[str, Any], body: bytes) -> Reply:
        """Return the answer to a request, as WSGI and Django describe it."""
        lines = [
            (name.removeprefix("HTTP_").replace("_", "-").lower(), str(value))
            for name, value in environ.items()
            if name.startswith("HTTP_") or name == "CONTENT_TYPE"
        ]
        method, path, query = environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"]
        call = Call(method, path, query, lines, body=body)
        return encoded(asyncio.run(self.run(call)), call)


def _known() -> tuple[Orders, Path, dict[str, Any]]:
    """Return the application, the file of the store, and the other parameters of the middleware."""
    known = json.loads(os.environ[_VARIABLE])
    folder = Path(known["folder"])
    options = {
        "profile": known["profile"],
        "on_takeover": known["policy"],
        "config": IdempotencyConfig(in_progress_expires_after_seconds=LEASE_SECONDS, renew_lease=True),
        "scope": principal,
        "window_seconds": WINDOW_SECONDS,
        "service": "orders",
    }
    return Orders(folder), folder / "keys.db", options


def asgi() -> Any:
    """Return the application behind the middleware for ASGI."""
    orders, file, options = _known()
    application: Any = orders
    store = AsyncSQLitePersistenceLayer(file)
    return Authenticated(IdempotencyMiddleware(application, persistence_store=store, **options))


def wsgi() -> Any:
    """Return the application behind the middleware for WSGI."""
    orders, file, options = _known()

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        return _sent(orders.performed(environ, environ["wsgi.input"].read(length)), start_response)

    store = SQLitePersistenceLayer(file)
    return _authenticated(WSGIIdempotencyMiddleware(application, persistence_store=store, **options))


def flask() -> Any:
    """Return the application on Flask."""
    from flask import Flask, Response, request  # noqa: PLC0415 - one framework in one server

    orders, file, options = _known()
    app = Flask("orders")

    def perform(_: str) -> Response:
        reply = orders.performed(request.environ, request.get_data())
        return Response(reply.body, reply.status, reply.headers)

    app.add_url_rule("/<path:_>", view_func=perform, methods=_METHODS)
    FlaskIdempotency(app, persistence_store=SQLitePersistenceLayer(file), **options)
    return _authenticated(app)


def django_wsgi() -> Any:
    """Return the application on Django, with a blocking view."""
    orders, file, options = _known()
    perform = _django_view(orders)
    _set_up_django(perform, {"persistence_store": SQLitePersistenceLayer(file), **options})
    from django.core.wsgi import get_wsgi_application  # noqa: PLC0415 - as above

    return _authenticated(get_wsgi_application())


def django_asgi() -> Any:
    """Return the application on Django, with an async view."""
    from asgiref.sync import sync_to_async  # noqa: PLC0415 - as above

    orders, file, options = _known()
    perform = sync_to_async(_django_view(orders), thread_sensitive=False)
    _set_up_django(perform, {"persistence_store": AsyncSQLitePersistenceLayer(file), **options})
    from django.core.asgi import get_asgi_application  # noqa: PLC0415 - as above

    return Authenticated(get_asgi_application())


def _django_view(orders: Orders) -> Callable[[Any], Any]:
    from django.http import HttpRequest, HttpResponse  # noqa: PLC0415 - as above

    def perform(request: HttpRequest) -> HttpResponse:
        reply = orders.performed(request.META, request.body)
        return HttpResponse(reply.body, status=reply.status, headers=dict(reply.headers))

    return perform


def _set_up_django(view: Callable[[Any], Any], options: dict[str, Any]) -> None:
    from django.conf import settings  # noqa: PLC0415 - as above
    from django.urls import re_path  # noqa: PLC0415 - as above

    class Urls:
        """The routes, in place of a module."""

        urlpatterns = (re_path("", view),)

    settings.configure(
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=Urls,
        MIDDLEWARE=["idemproof.http.DjangoIdempotencyMiddleware"],
        SECRET_KEY="of a test",  # noqa: S106 - of a server on loopback
        IDEMPROOF=options,
    )


def _authenticated(application: Any) -> Any:
    def authenticate(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ.get("HTTP_AUTHORIZATION") in PRINCIPALS:
            answer: Iterable[bytes] = application(environ, start_response)
            return answer
        return _sent(json_reply(401, {"title": "unknown client"}), start_response)

    return authenticate


def _sent(reply: Reply, start_response: Any) -> Iterable[bytes]:
    length = ("content-length", str(len(reply.body)))
    start_response(f"{reply.status} {responses[reply.status]}", [*reply.headers, length])
    return [reply.body]
