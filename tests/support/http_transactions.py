"""The shop with its effects in the database that has the records: on Starlette, and on Django.

An order is a row. With ``within``, a view completes its attempt in the transaction that writes the row.
"""

import contextlib
from dataclasses import astuple
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from http_apps import WHO, Application, Effect, Order
from http_frameworks import django_order_of, order_of, set_up_django
from idemproof import PostgresPersistenceLayer, current_attempt

TABLE = "CREATE TABLE effects (tenant text, key text, payload text, number text, process int)"
INSERT = "INSERT INTO effects VALUES (%s, %s, %s, %s, %s)"


def create_tables(dsn: str) -> None:
    """Create the tables of the shop and of the records."""
    with contextlib.closing(PostgresPersistenceLayer(dsn)) as layer:
        layer.create_table()
    with psycopg.connect(dsn) as connection:
        connection.execute(TABLE)


def effects(dsn: str) -> list[Effect]:
    """Return all effects that are committed."""
    with psycopg.connect(dsn) as connection:
        return [Effect(*row) for row in connection.execute("SELECT * FROM effects")]


def starlette(built: Application) -> Any:
    """Return the shop on Starlette, over async connections of psycopg."""
    from starlette.applications import Starlette  # noqa: PLC0415 - one framework in one server
    from starlette.requests import Request  # noqa: PLC0415 - as above
    from starlette.responses import Response  # noqa: PLC0415 - as above
    from starlette.routing import Route  # noqa: PLC0415 - as above

    from idemproof.http import protect  # noqa: PLC0415 - as above

    shop, spec = built.shop, built.spec

    async def who(_: Request) -> Response:
        return Response(shop.name)

    async def order(request: Request) -> Response:
        asked = await order_of(request)
        async with await psycopg.AsyncConnection.connect(spec.address) as connection:
            effect = Effect.of(asked)
            await connection.execute(INSERT, astuple(effect))
            await shop.arest(asked)
            status, headers, parts = shop.end(asked, effect)
            answer = Response(b"".join(parts), status, dict(headers))
            if spec.within:
                attempt = current_attempt()
                assert attempt is not None
                await attempt.acomplete(answer, within=connection)
            shop.reach("before the commit", asked)
        shop.reach("after the commit", asked)
        return answer

    app = Starlette(routes=[Route(WHO, who), Route("/orders", order, methods=["POST"])])
    protect(app, **built.options(asynchronous=True))
    return app


def django(built: Application) -> Any:
    """Return the shop on Django, over its own connections."""
    database = conninfo_to_dict(built.spec.address)
    names = {"HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password", "NAME": "dbname"}
    found = {name: database.get(part, "") for name, part in names.items()}
    databases = {"default": {"ENGINE": "django.db.backends.postgresql", **found}}
    set_up_django(built, _Urls(built), asynchronous=False, DATABASES=databases)
    from django.core.wsgi import get_wsgi_application  # noqa: PLC0415 - one framework in one server

    return get_wsgi_application()


class _Urls:
    """The routes of the shop, in place of a module."""

    def __init__(self, built: Application) -> None:
        from django.http import HttpResponse  # noqa: PLC0415 - as above
        from django.urls import path  # noqa: PLC0415 - as above

        self._built = built
        self.urlpatterns = [
            path(WHO.removeprefix("/"), lambda _: HttpResponse(built.shop.name)),
            path("orders", self._order),
        ]

    def _order(self, request: Any) -> Any:
        from django.db import connection, transaction  # noqa: PLC0415 - as above

        asked = django_order_of(request)
        with transaction.atomic():
            answer = self._answer(asked, connection)
            self._built.shop.reach("before the commit", asked)
        self._built.shop.reach("after the commit", asked)
        return answer

    def _answer(self, asked: Order, connection: Any) -> Any:
        from django.http import HttpResponse  # noqa: PLC0415 - as above

        effect = Effect.of(asked)
        with connection.cursor() as cursor:
            cursor.execute(INSERT, astuple(effect))
        self._built.shop.rest(asked)
        status, headers, parts = self._built.shop.end(asked, effect)
        answer = HttpResponse(b"".join(parts), status=status, headers=dict(headers))
        if self._built.spec.within:
            attempt = current_attempt()
            assert attempt is not None
            attempt.complete(answer, within=connection)
        return answer
