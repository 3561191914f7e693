"""One run of an ASGI application for a key: its answer is stored and sent before the application goes on."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from ..early import BodyEndedError, EarlyEnd
from .awaiting import finish
from .commands import GUARDS, End, Execute, Guard, PassOn, Raise, Respond, Steps
from .execution import IncompleteResponseError
from .messages import Headers, Request, Response, lowered
from .protection import Protection

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
    """Runs the application for its key, in a task that the server does not cancel.

    Parameters
    ----------
    application
        The application.
    scope
        Its scope.
    command, steps
        What the steps of the request have asked for, and these steps.
    protection
        Makes the call.
    receive, send
        The functions of the server, which the application gets only after its answer was handed on.
    """

    def __init__(
        self,
        application: Application,
        scope: Scope,
        command: Execute,
        steps: Steps,
        protection: Protection,
        receive: Receive,
        send: Send,
    ) -> None:
        self._application = application
        self._scope = scope
        self._command, self._steps = command, steps
        self._execution = command.execution
        self._protection = protection
        self._server_receive, self._server_send = receive, send
        self._request: bytes | None = command.request.body
        self._start: tuple[int, Headers] | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._complete = self._overflowed = self._is_over = False
        self._goes_on = asyncio.Event()
        self._early = EarlyEnd()
        self._end: End | None = None

    async def handle(self) -> None:
        """Run the application for its key, answer, and wait until it has ended."""
        command = self._command
        call = self._protection.idempotency.arun(
            command.key,
            self._body,
            payload_hash=command.payload_hash,
            on_takeover=command.question,
            early=self._early,
        )
        try:
            end = await finish(self._steps, call)
            if self._end is None:
                await self._hand_on(end)
        except BodyEndedError:
            assert self._end is not None  # it was handed on while the application ran
        finally:
            self._goes_on.set()
        if isinstance(self._end, Raise):
            raise self._end.error

    async def _body(self) -> Response:
        """Run the application. This is the function of the call, whose body may end before it."""
        execution = self._execution
        self._early.begin()
        execution.begin()
        try:
            await self._application(self._scope, self._receive, self._send)
        except (Exception, asyncio.CancelledError) as failure:
            await self._application_ended()
            interrupts = self._protection.settings.config.interruptions
            if self._end is not None or not isinstance(failure, Exception) or interrupts.includes(failure):
                raise
            raise execution.failed(failure) from failure
        await self._application_ended()
        if self._end is not None:
            response: Response = self._early.ended()
            return response
        if not self._complete:
            raise execution.failed(
                IncompleteResponseError(
                    "The application ended without a complete answer. It ran, and its effect may have "
                    "happened."
                )
            )
        return self._answered()

    def _answered(self) -> Response:
        """Return what is stored, or raise what the engine gets instead."""
        assert self._start is not None  # the answer has begun
        status, headers = self._start
        if self._overflowed:
            return self._execution.overflowed(status, headers)
        return self._execution.answered(Response(status, headers, b"".join(self._chunks)))

    async def _answer(self) -> None:
        """End the call and hand its answer on, while the application waits."""
        self._is_over = True
        try:
            await self._hand_on(await finish(self._steps, self._early.end(self._answered)))
        except BaseException as failure:
            self._end = self._end or Raise(failure)
            raise
        finally:
            self._goes_on.set()
        if self._early.cancellation is not None:
            raise self._early.cancellation

    async def _application_ended(self) -> None:
        """Wait for a task of the application that is answering, even if this is cancelled. No other may."""
        interrupt: asyncio.CancelledError | None = None
        while self._is_over and not self._goes_on.is_set():
            try:
                await self._goes_on.wait()
            except asyncio.CancelledError as cancelled:
                interrupt = cancelled
        self._is_over = True
        if interrupt is not None:
            raise interrupt

    async def _hand_on(self, end: End) -> None:
        """Send the answer to the client, if it is still there. Let the application go on."""
        self._end = end
        if isinstance(end, PassOn):
            await self._deliver(end.head, b"".join(self._chunks), more=not self._complete)
        elif isinstance(end, Respond):
            await self._deliver(end.response, end.response.body, more=False)
        self._chunks.clear()
        self._goes_on.set()

    async def _deliver(self, head: Response, body: bytes, *, more: bool) -> None:
        headers = list(head.headers)
        with suppress(Exception):  # the client is gone, and its answer is stored
            await self._server_send(
                {"type": "http.response.start", "status": head.status, "headers": headers}
            )
            await self._server_send({"type": "http.response.body", "body": body, "more_body": more})

    async def _receive(self) -> Message:
        """Return the body of the request. A disconnection is hidden until the answer is sent."""
        if self._request is not None:
            body, self._request = self._request, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._goes_on.wait()
        if self._complete or not isinstance(self._end, PassOn):
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
        if self._is_over:
            await self._goes_on.wait()
            if isinstance(self._end, PassOn):
                await self._server_send({"type": "http.response.body", "body": body, "more_body": more})
            return
        self._chunks.append(bytes(body))
        rules = self._execution.rules
        self._overflowed = self._size > rules.response_limit
        if self._complete and not self._overflowed and rules.waits_for_the_app:
            self._goes_on.set()  # so that it does not wait for a disconnection
        elif self._complete or self._overflowed:
            await self._answer()

    def _require_length(self, headers: Headers) -> None:
        declared = [value for name, value in headers if name == b"content-length"]
        if declared and declared != [str(self._size).encode()]:
            raise RuntimeError(
                f"The body of the answer has {self._size} bytes, and its Content-Length is another. It "
                "was dropped."
            )


def scope_of_the_application(scope: Scope, request: Request, guards: tuple[Guard, ...]) -> Scope:
    """Return the scope of a protected request: without ways around the answer, and marked by ``guards``."""
    headers = [line for line in request.headers if line[0] != b"accept-encoding"]
    extensions = scope.get("extensions") or {}
    kept = {name: value for name, value in extensions.items() if name in _KEPT_EXTENSIONS}
    return {**scope, "headers": headers, "extensions": kept, GUARDS: guards}
