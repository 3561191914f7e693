"""The application of this package behind our own middleware."""

from typing import Any

from idemproof import InMemoryPersistenceLayer
from idemproof.http import IdempotencyMiddleware, Profile, Request

from .foundation import (
    PRINCIPALS,
    Call,
    Receive,
    Send,
    Service,
    encoded,
    json_reply,
    send_reply,
)

WINDOW_SECONDS = 3


class Unprotected(Service):
    """The application without any protection."""

    async def answer(self, call: Call, receive: Receive, send: Send) -> None:
        """Run each request."""
        body = await self.read(receive)
        if body is not None:
            await send_reply(send, encoded(await self.run(call._replace(body=body)), call))


class Authenticated:
    """Authentication around an application."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Refuse unknown clients."""
        if scope["path"] == "/effects" or caller(scope["headers"]) is not None:
            await self.application(scope, receive, send)
        else:
            await send_reply(send, json_reply(401, {"title": "unknown client"}))


def caller(headers: list[tuple[bytes, bytes]]) -> str | None:
    """Return who sends a request."""
    return PRINCIPALS.get(dict(headers).get(b"authorization", b"").decode("latin-1"))


def principal(request: Request) -> str | None:
    """Return the scope of a key."""
    return PRINCIPALS.get(request.header("authorization") or "")


def ours(profile: Profile | str) -> Authenticated:
    """Return the application behind our middleware."""
    application: Any = Unprotected()
    middleware = IdempotencyMiddleware(
        application,
        persistence_store=InMemoryPersistenceLayer(),
        profile=profile,
        scope=principal,
        window_seconds=WINDOW_SECONDS,
        service="orders",
    )
    return Authenticated(middleware)
