"""The shop on FastAPI, Flask and Django, with the middleware as the documentation says."""

from typing import Any

from http_apps import WHO, Application, Order


def fastapi(built: Application) -> Any:
    """Return the shop on FastAPI."""
    from fastapi import FastAPI, Request, Response  # noqa: PLC0415 - one framework in one server
    from fastapi.responses import StreamingResponse  # noqa: PLC0415 - as above

    app, shop = FastAPI(), built.shop

    @app.get(WHO)
    async def who() -> Response:
        return Response(shop.name)

    @app.post("/orders")
    async def order(request: Request) -> Response:
        asked = await order_of(request)
        effect = shop.begin(asked)
        await shop.arest(asked)
        status, headers, parts = shop.end(asked, effect)
        if "stream" in asked.how:
            return StreamingResponse(iter(parts), status, dict(headers))
        return Response(b"".join(parts), status, dict(headers))

    if not built.spec.bare:
        from idemproof.http import IdempotencyMiddleware  # noqa: PLC0415 - the bare application does without

        app.add_middleware(IdempotencyMiddleware, **built.options(asynchronous=True))
    return app


async def order_of(request: Any) -> Order:
    """Return the order in a request of Starlette."""
    headers, body = request.headers, await request.body()
    return Order.of(headers.get("authorization"), headers.get("idempotency-key"), body, request.url.query)


def flask(built: Application) -> Any:
    """Return the shop on Flask."""
    from flask import Flask, Response, request  # noqa: PLC0415 - one framework in one server

    app, shop = Flask("shop"), built.shop

    @app.get(WHO)
    def who() -> str:
        return shop.name

    @app.post("/orders")
    def order() -> Response:
        asked = Order.of(
            request.headers.get("authorization"),
            request.headers.get("idempotency-key"),
            request.get_data(),
            request.query_string.decode(),
        )
        effect = shop.begin(asked)
        shop.rest(asked)
        status, headers, parts = shop.end(asked, effect)
        return Response(iter(parts) if "stream" in asked.how else b"".join(parts), status, headers)

    if not built.spec.bare:
        from idemproof.http import FlaskIdempotency  # noqa: PLC0415 - the bare application does without

        FlaskIdempotency(app, **built.options(asynchronous=False))
    return app


def django_wsgi(built: Application) -> Any:
    """Return the shop on Django, as a WSGI application with a blocking view."""
    set_up_django(built, _Urls(built, asynchronous=False), asynchronous=False)
    from django.core.wsgi import get_wsgi_application  # noqa: PLC0415 - one framework in one server

    return get_wsgi_application()


def django_asgi(built: Application) -> Any:
    """Return the shop on Django, as an ASGI application with an async view."""
    set_up_django(built, _Urls(built, asynchronous=True), asynchronous=True)
    from django.core.asgi import get_asgi_application  # noqa: PLC0415 - one framework in one server

    return get_asgi_application()


def set_up_django(built: Application, urls: Any, *, asynchronous: bool, **more: Any) -> None:
    """Configure Django with ``urls``, an object with ``urlpatterns``, and ``more`` settings."""
    from django.conf import settings  # noqa: PLC0415 - one framework in one server

    middleware = [] if built.spec.bare else ["idemproof.http.DjangoIdempotencyMiddleware"]
    settings.configure(
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=urls,
        MIDDLEWARE=middleware,
        SECRET_KEY="of a test",
        IDEMPROOF={} if built.spec.bare else built.options(asynchronous=asynchronous),
        **more,
    )


def django_order_of(request: Any) -> Order:
    """Return the order in a request of Django."""
    headers, query = request.headers, request.META["QUERY_STRING"]
    return Order.of(headers.get("authorization"), headers.get("idempotency-key"), request.body, query)


class _Urls:
    """The routes of the shop, in place of a module."""

    def __init__(self, built: Application, *, asynchronous: bool) -> None:
        from django.http import HttpRequest, HttpResponse, StreamingHttpResponse  # noqa: PLC0415 - as above
        from django.urls import path  # noqa: PLC0415 - as above

        shop = built.shop

        def answer(order: Order, effect: Any) -> Any:
            status, headers, parts = shop.end(order, effect)
            if "stream" in order.how:
                return StreamingHttpResponse(parts, status=status, headers=dict(headers))
            return HttpResponse(b"".join(parts), status=status, headers=dict(headers))

        def order(request: HttpRequest) -> Any:
            found = django_order_of(request)
            effect = shop.begin(found)
            shop.rest(found)
            return answer(found, effect)

        async def async_order(request: HttpRequest) -> Any:
            found = django_order_of(request)
            effect = shop.begin(found)
            await shop.arest(found)
            return answer(found, effect)

        self.urlpatterns = [
            path(WHO.removeprefix("/"), lambda _: HttpResponse(shop.name)),
            path("orders", async_order if asynchronous else order),
        ]
