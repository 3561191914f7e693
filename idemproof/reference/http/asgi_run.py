"""One run of an ASGI application for a key: collects its answer, and lets it go on once that is sent."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from ..config import IdempotencyConfig
from .execution import Execution, IncompleteResponseError
from .messages import Headers, Request, Response, lowered

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_DROPPED = frozenset(
    {"http.response.trailers", "http.response.push", "http.response.early_hint", "http.response.debug"}
)
"""Messages that are not part of the answer. They are dropped: a replay could not repeat them (HTTP-18)."""

NOT_MODIFIED = 304
"""The status whose Content-Length is that of another answer."""

_KEPT_EXTENSIONS = frozenset({"tls"})
"""Extensions that only inform. All others offer another way to answer."""


class Run:
    """Runs the application in a task of its own.

    Parameters
    ----------
    application
        The application.
    scope
        Its scope.
    request
        The request, with its body.
    execution
        What is noted about it.
    config
        Recognizes interrupts.
    receive, send
        The functions of the server, which the application gets only after its answer was handed on.
    """

    def __init__(
        self,
        application: Application,
        scope: Scope,
        request: Request,
        execution: Execution,
        config: IdempotencyConfig,
        receive: Receive,
        send: Send,
    ) -> None:
        self._application = application
        self._scope = scope
        self._execution = execution
        self._interrupts = config.interruptions
        self._server_receive, self._server_send = receive, send
        self._request: bytes | None = request.body
        self._start: tuple[int, Headers] | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._complete = self._overflowed = self._discards = self._was_cancelled = False
        self._turn = asyncio.Event()
        self._goes_on = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def body(self) -> Response:
        """Run the application until its answer is known. This is the body of the call."""
        self._execution.begin()
        self._task = task = asyncio.create_task(self._run())
        task.add_done_callback(lambda _: self._turn.set())
        try:
            await self._turn.wait()
        except asyncio.CancelledError:
            self.cancel()
            await asyncio.wait({task})
            if not self._is_answered():
                raise
        return self._result()

    async def _run(self) -> None:
        await self._application(self._scope, self._receive, self._send)

    def _is_answered(self) -> bool:
        """Return whether there is an answer that the application cannot take back any more."""
        task = self._task
        assert task is not None  # it has begun
        if self._overflowed or not self._complete or not self._execution.rules.waits_for_the_app:
            return self._overflowed or self._complete
        return task.done() and not task.cancelled() and task.exception() is None

    def _result(self) -> Response:
        """Return what is stored, or raise what the engine gets instead."""
        task = self._task
        assert task is not None  # it has begun
        if self._is_answered():
            assert self._start is not None  # the answer has begun
            status, headers = self._start
            if self._overflowed:
                return self._execution.overflowed(status, headers)
            return self._execution.answered(Response(status, headers, b"".join(self._chunks)))
        if task.cancelled():
            raise asyncio.CancelledError
        failure = task.exception()
        if failure is None:
            failure = IncompleteResponseError(
                "The application ended without a complete answer. It ran, and its effect may have happened."
            )
        if not isinstance(failure, Exception) or self._interrupts.includes(failure):
            raise failure
        raise self._execution.failed(failure)

    async def deliver(self, head: Response, *, with_body: bool) -> None:
        """Send an answer to the client, if it is still there.

        ``with_body`` is whether it is the whole answer. If not, the body of the application follows.
        """
        body = head.body if with_body else b"".join(self._chunks)
        self._chunks.clear()
        headers = [list(line) for line in head.headers]
        await self._to_client({"type": "http.response.start", "status": head.status, "headers": headers})
        more = not with_body and not self._complete
        await self._to_client({"type": "http.response.body", "body": body, "more_body": more})

    async def _to_client(self, message: Message) -> None:
        with suppress(Exception):  # the client is gone, and its answer is stored
            await self._server_send(message)

    def go_on(self, *, discards: bool) -> None:
        """Let the application go on. If it ``discards``, nothing more of it is sent."""
        self._discards = discards
        self._goes_on.set()

    async def ended(self) -> None:
        """Wait until the application has ended, and raise what it raised."""
        task = self._task
        if task is None:
            return
        await asyncio.wait({task})
        if not (self._was_cancelled and task.cancelled()):
            task.result()

    def cancel(self) -> None:
        """Cancel the application, if it runs."""
        if self._task is not None and not self._task.done():
            self._was_cancelled = True
            self._task.cancel()

    async def _receive(self) -> Message:
        """Return the body of the request. A disconnection is hidden until the answer is sent."""
        if self._request is not None:
            body, self._request = self._request, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._goes_on.wait()
        if self._complete or self._discards:
            return {"type": "http.disconnect"}
        return await self._server_receive()

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            if self._start is not None:
                raise RuntimeError("The application began a second answer, which was dropped.")
            self._start = int(message["status"]), lowered(message.get("headers", ()))
        elif kind == "http.response.body":
            await self._collect(message.get("body", b""), more=message.get("more_body", False))
        elif kind not in _DROPPED:
            raise RuntimeError(f"The application sent {kind!r}, which cannot be stored. It was dropped.")

    async def _collect(self, body: bytes, *, more: bool) -> None:
        if self._start is None:
            raise RuntimeError("The application sent a body before the start of its answer.")
        if self._complete:
            raise RuntimeError("The application sent a body after the end of its answer, which was dropped.")
        self._size += len(body)
        if not more:
            if self._start[0] != NOT_MODIFIED:
                self._require_length(self._start[1])
            self._complete = True
        if self._goes_on.is_set():
            if not self._discards:
                await self._server_send({"type": "http.response.body", "body": body, "more_body": more})
            return
        self._chunks.append(bytes(body))
        if self._size > self._execution.rules.response_limit:
            self._overflowed = True
        if self._complete and not self._overflowed and self._execution.rules.waits_for_the_app:
            self._goes_on.set()  # so that it does not wait for a disconnection
        elif self._complete or self._overflowed:
            self._turn.set()
            await self._goes_on.wait()

    def _require_length(self, headers: Headers) -> None:
        declared = [value for name, value in headers if name == b"content-length"]
        if declared and declared != [str(self._size).encode()]:
            raise RuntimeError(
                f"The body of the answer has {self._size} bytes, and its Content-Length is another. It "
                "was dropped."
            )


def scope_of_the_application(scope: Scope, key: str, guards: tuple[Any, ...]) -> Scope:
    """Return the scope of a protected request: without ways around the answer, and marked by ``guards``."""
    headers = [line for line in scope.get("headers", ()) if bytes(line[0]).lower() != b"accept-encoding"]
    extensions = scope.get("extensions") or {}
    kept = {name: value for name, value in extensions.items() if name in _KEPT_EXTENSIONS}
    return {**scope, "headers": headers, "extensions": kept, key: guards}
