"""The middleware for ASGI applications."""

import asyncio
import logging
from functools import partial
from typing import Unpack
from urllib.parse import quote_from_bytes, unquote_to_bytes

from ...backends.logs import log
from ...drivers.asynchronous import require_event_loop
from ..core import Layer
from .asgi_run import Application, Message, Receive, Run, Scope, Send, scope_of_the_application
from .awaiting import advance
from .commands import (
    GUARDS,
    BodyRefusedError,
    ClientGoneError,
    Execute,
    Gone,
    Pass,
    ReadBody,
    Respond,
)
from .messages import Request, lowered
from .protection import Protection
from .routes import SAFE_METHODS
from .settings import Options, Settings

LONGEST_ABANDONING_SECONDS = 5
"""How long a shutdown waits for requests that it has cancelled, so that they can abandon their claims."""


class IdempotencyMiddleware:
    """Answers repeated requests with the stored answer of the first one, for ASGI applications.

    It belongs inside of authentication, CORS and compression: next to the application.

    Parameters
    ----------
    app
        The application.
    persistence_store
        The store of the records, blocking or async.
    protection
        The rules, if they are made already; then without ``options``.
    **options
        The settings; see :class:`Settings`.

    Raises
    ------
    TypeError, IdempotencyConfigError
        A setting is not allowed.
    """

    def __init__(
        self,
        app: Application,
        *,
        persistence_store: Layer,
        protection: Protection | None = None,
        **options: Unpack[Options],
    ) -> None:
        self.app = app
        self.protection = protection or Protection(Settings(persistence_store, **options))
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, self._draining(receive), send)
            return
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS:
            await self.app(scope, receive, send)
            return
        guards = tuple(scope.get(GUARDS, ()))
        steps = self.protection.steps(request_of(scope), guards)
        command = await advance(steps, partial(_read, receive))
        if isinstance(command, Pass):
            await self.app(scope, receive, send)
        elif isinstance(command, Respond):
            await _send(send, command)
        elif isinstance(command, Execute):
            require_event_loop()
            inner = scope_of_the_application(scope, command.request, (*guards, command.guard))
            run = Run(self.app, inner, command, steps, self.protection, receive, send)
            await self._shielded(run)
        else:
            assert isinstance(command, Gone)  # nothing else comes before an execution

    async def drain(self) -> None:
        """Wait until no request runs any more, at most ``shutdown_seconds``, and cancel the others.

        A cancelled request abandons its claim, so that its key stays parked. With the event
        ``lifespan.shutdown``, this happens by itself. Call it if the server sends none.
        """
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=self.protection.settings.shutdown_seconds)
        late = set(self._tasks)
        for task in late:
            task.cancel()
        if late:
            log(logging.WARNING, "The shutdown has cancelled %d requests that were still running.", len(late))
            await asyncio.wait(late, timeout=LONGEST_ABANDONING_SECONDS)

    def _draining(self, receive: Receive) -> Receive:
        async def receive_and_drain() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self.drain()
            return message

        return receive_and_drain

    async def _shielded(self, run: Run) -> None:
        """Wait for a run. If the server cancels this, the run goes on without it (HTTP-13)."""
        # The run sets this future itself, because with asyncio.shield its end takes another turn of the loop.
        ended = asyncio.get_running_loop().create_future()
        self._tasks.add(asyncio.create_task(self._perform(run, ended)))
        await ended

    async def _perform(self, run: Run, ended: "asyncio.Future[None]") -> None:
        """Perform a run in a task of its own, and tell its end to the request that waits for it."""
        try:
            await run.handle()
            if not ended.done():
                ended.set_result(None)
        except asyncio.CancelledError:
            ended.cancel()
            raise
        except Exception as failure:  # noqa: BLE001 - the request raises it
            if not ended.done():
                ended.set_exception(failure)
            else:
                log(logging.ERROR, "A request failed after the server had given it up.", exc_info=failure)
        finally:
            self._tasks.discard(asyncio.current_task())


def request_of(scope: Scope) -> Request:
    """Return the request of an ASGI scope, without its body."""
    query = bytes(scope.get("query_string") or b"")
    return Request(
        str(scope["method"]).upper(),
        raw_path(scope),
        query,
        lowered(scope["headers"]),
        native=scope,
        root=scope.get("root_path", "").rstrip("/"),
    )


def raw_path(scope: Scope) -> bytes:
    """Return the path in percent-encoded form: as the client sent it, if the server keeps that.

    ``raw_path`` counts only if it names the path on which the application works, because a middleware may
    have changed that.
    """
    path = str(scope["path"])
    raw = bytes(scope.get("raw_path") or b"").partition(b"?")[0]
    if unquote_to_bytes(raw).decode("utf-8", "replace") not in (path, scope.get("root_path", "") + path):
        raw = quote_from_bytes(path.encode("utf-8", "surrogateescape"), safe="/:@!$&'()*+,;=~").encode()
    return raw


async def _read(receive: Receive, command: ReadBody) -> bytes:
    """Return the body of the request."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > command.limit:
            raise BodyRefusedError("body-too-large")
        chunks.append(bytes(chunk))
        if not message.get("more_body", False):
            break
    if command.length is not None and size != command.length:
        raise BodyRefusedError("incomplete-body")
    return b"".join(chunks)


async def _send(send: Send, end: Respond) -> None:
    response = end.response
    headers = list(response.headers)
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
