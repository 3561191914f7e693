"""The middleware for Django, under WSGI and ASGI."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import chain
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.core.signals import got_request_exception
from django.http import HttpResponse, RawPostDataException, UnreadablePostError
from django.utils.module_loading import import_string

from ...backends.logs import log
from ...spec.errors import IdempotencyConfigError
from .asgi import raw_path
from .awaiting import advance, finish
from .blocking import blocking_protection, is_own_answer, perform
from .commands import GUARDS, BodyRefusedError, Execute, Pass, PassOn, Raise, ReadBody
from .execution import Execution
from .messages import Request, Response, decoded
from .native import django_headers
from .protection import Protection
from .routes import SAFE_METHODS
from .settings import Settings
from .wsgi_request import headers_of, request_of

SETTING = "IDEMPROOF"
_DOTTED = frozenset({"persistence_store", "config", "profile", "scope", "authorize", "on_takeover"})
_ACCEPT_ENCODING = "HTTP_ACCEPT_ENCODING"
_RAISED = "_idemproof_raised"


class DjangoIdempotencyMiddleware:
    """Answers repeated requests to the views of a Django project with the first answer.

    Make it the last entry of ``MIDDLEWARE``. The setting ``IDEMPROOF`` is a dictionary with the parameters of
    :class:`Settings`, except ``complete_when="app"``. A text is the dotted path of a store, a configuration
    or a function. Functions get the :class:`Request`, whose ``native`` is Django's request.

    Parameters
    ----------
    get_response
        The rest of the project, as Django gives it.

    Raises
    ------
    TypeError, IdempotencyConfigError
        The setting is missing, or as :class:`Settings` says. Or the layer or a function is async, although
        Django calls the middleware blocking.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        options = _options()
        store = options.pop("persistence_store", None)
        if self._is_async:
            self.protection = Protection(Settings(store, **options))
            markcoroutinefunction(self)
        else:
            self.protection = blocking_protection(store, options)
        got_request_exception.connect(_note_exception, dispatch_uid=_RAISED)
        self.protection.settings.refuse_to_wait_for_the_app(
            "in Django's MIDDLEWARE: Django ends a request after the response has been sent. Leave it out."
        )

    def __call__(self, request: Any) -> Any:
        """Answer a request; as a coroutine if Django runs asynchronously."""
        if request.method in SAFE_METHODS:
            return self._get_response(request)
        if self._is_async:
            return self._aanswer(request)
        call = _Call(self._get_response, request, is_async=self._is_async)
        steps = self.protection.steps(call.request, call.guards)
        end = perform(steps, self.protection, call.read_body, call.run)
        return self._get_response(request) if isinstance(end, Pass) else call.answer(end)

    async def _aanswer(self, request: Any) -> Any:
        call = _Call(self._get_response, request, is_async=self._is_async)
        steps = self.protection.steps(call.request, call.guards)
        end = await advance(steps, call.aread_body)
        if isinstance(end, Execute):
            end = await finish(steps, _to_its_end(self._execute(end, call)))
        return await self._get_response(request) if isinstance(end, Pass) else call.answer(end)

    async def _execute(self, command: Execute, call: "_Call") -> Any:
        """Make the call whose body is the view."""
        interrupts = self.protection.settings.config.interruptions

        async def body() -> Response:
            with command.execution.running(interrupts):
                return await call.arun(command)

        return await self.protection.idempotency.arun(
            command.key, body, payload_hash=command.payload_hash, on_takeover=command.question
        )


def django_user(request: Request) -> Any:
    """Return the user whom ``AuthenticationMiddleware`` has verified, for ``scope``.

    Return None if no user is logged in; the request is then refused.
    """
    native = request.native
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # of a blocking middleware, under WSGI or in a thread of ASGI
        return _key_of_user(native.user)
    return _user_of(native)


async def _user_of(native: Any) -> Any:
    return _key_of_user(await native.auser())


def _key_of_user(user: Any) -> str | None:
    return f"{user._meta.label}:{user.pk}" if user.is_authenticated else None


class _Call:
    """One request of Django."""

    def __init__(self, get_response: Callable[[Any], Any], native: Any, *, is_async: bool) -> None:
        self._get_response = get_response
        self._native = native
        self._is_async = is_async
        self._response: Any = None
        self._execution: Execution | None = None
        self._rest: Any = None
        self._raised: BaseException | None = None
        self.request = _request_of(native)
        self.guards = native.META.get(GUARDS, ())

    def read_body(self, command: ReadBody) -> bytes:
        """Return the body. Django keeps it for the view."""
        native = self._native
        if "HTTP_TRANSFER_ENCODING" in native.META and getattr(native, "scope", None) is None:
            raise BodyRefusedError("length-required")  # of which Django reads nothing under WSGI
        try:
            body: bytes = native.body
        except UnreadablePostError:
            raise BodyRefusedError("incomplete-body") from None
        except RawPostDataException:
            raise IdempotencyConfigError(
                "A middleware above DjangoIdempotencyMiddleware has read the form of this request, so its "
                "body cannot be compared. Nothing ran. Let it read request.body before request.POST."
            ) from None
        if len(body) > command.limit:
            raise BodyRefusedError("body-too-large")
        if command.length is not None and len(body) < command.length:
            raise BodyRefusedError("incomplete-body")
        return body

    async def aread_body(self, command: ReadBody) -> bytes:
        """Return the body as :meth:`read_body` does: under ASGI, Django has received it before."""
        return self.read_body(command)

    def run(self, command: Execute) -> Response:
        """Run the view, and return what is stored."""
        restore = self._prepare(command)
        try:
            response = self._response = self._get_response(self._native)
            self._raise_again()
            if not response.streaming:
                return self._whole(response.content)
            parts: list[bytes] = []
            size, rest = 0, iter(response)
            for part in rest:
                parts.append(part)
                size += len(part)
                if size > command.execution.rules.response_limit:
                    self._rest = chain(parts, rest)
                    return self._overflowed()
            return self._answered(b"".join(parts))
        finally:
            restore()

    async def arun(self, command: Execute) -> Response:
        """Run the view as :meth:`run` does, on the event loop."""
        restore = self._prepare(command)
        try:
            response = self._response = await self._get_response(self._native)
            self._raise_again()
            if not response.streaming:
                return self._whole(response.content)
            parts: list[bytes] = []
            size, rest = 0, _parts_of(response)
            async for part in rest:
                parts.append(part)
                size += len(part)
                if size > command.execution.rules.response_limit:
                    self._rest = _chained(parts, rest)
                    return self._overflowed()
            return self._answered(b"".join(parts))
        finally:
            restore()

    def answer(self, end: Any) -> Any:
        """Return the response that Django sends."""
        own = self._response
        if isinstance(end, Raise):
            if own is not None and end.error is self._raised:
                return own
            if own is not None:
                own.close()
            raise end.error
        head = end.head if isinstance(end, PassOn) else end.response
        headers = decoded(head.headers)
        if is_own_answer(end, self._execution):
            self._replace_body(end, head)
        else:
            if own is not None:
                own.close()
            own = HttpResponse(head.body, status=head.status)
        kept = {name for name, _ in headers}
        for name in [name for name in own.headers if name.lower() not in kept]:
            del own[name]
        for name, value in headers:
            if name != "set-cookie":
                own[name] = value
            elif own is not self._response:  # Django keeps cookies elsewhere
                own.cookies.load(value)
        return own

    def _raise_again(self) -> None:
        """Raise what the view has raised, of which Django has made a response with status 500."""
        self._raised = vars(self._native).pop(_RAISED, None)
        if self._raised is not None:
            raise self._raised

    def _replace_body(self, end: Any, head: Response) -> None:
        """Give the view's streaming response the body that was read from it."""
        own = self._response
        if not own.streaming:
            return
        if isinstance(end, PassOn):
            own.streaming_content = self._rest
        else:
            own.streaming_content = _whole(head.body) if self._is_async else [head.body]

    def _prepare(self, command: Execute) -> Callable[[], None]:
        """Mark the request for the view, and return what undoes that."""
        self._execution = command.execution
        meta = self._native.META
        before = {name: meta[name] for name in (_ACCEPT_ENCODING,) if name in meta}
        meta.pop(_ACCEPT_ENCODING, None)
        meta[GUARDS] = (*self.guards, command.guard)

        def restore() -> None:
            meta[GUARDS] = self.guards
            meta.update(before)

        return restore

    def _whole(self, body: bytes) -> Response:
        assert self._execution is not None  # it runs
        return (
            self._overflowed() if len(body) > self._execution.rules.response_limit else self._answered(body)
        )

    def _answered(self, body: bytes) -> Response:
        assert self._execution is not None  # it runs
        return self._execution.answered(
            Response(self._response.status_code, django_headers(self._response), body)
        )

    def _overflowed(self) -> Response:
        assert self._execution is not None  # it runs
        return self._execution.overflowed(self._response.status_code, django_headers(self._response))


def _note_exception(request: Any = None, **_: Any) -> None:
    """Note an exception that nothing in the project has handled, if the request is protected."""
    if request is not None and request.META.get(GUARDS):
        setattr(request, _RAISED, sys.exc_info()[1])


def _request_of(native: Any) -> Request:
    """Return Django's request without its body."""
    scope, meta = getattr(native, "scope", None), native.META
    if scope is None:
        return request_of(meta, native)
    query = meta["QUERY_STRING"].encode("utf-8", "surrogateescape")  # of ASGI, Django decodes it
    root = meta["SCRIPT_NAME"].rstrip("/")
    return Request(native.method, raw_path(scope), query, headers_of(meta), native=native, root=root)


def _options() -> dict[str, Any]:
    """Return the parameters in the settings of the project."""
    options = getattr(settings, SETTING, None)
    if not isinstance(options, dict) or "persistence_store" not in options:
        raise IdempotencyConfigError(
            f"The setting {SETTING} must be a dictionary with the parameters of the middleware, and have the "
            "persistence_store."
        )
    return {
        name: import_string(value) if name in _DOTTED and isinstance(value, str) and "." in value else value
        for name, value in options.items()
    }


async def _to_its_end(work: Awaitable[Any]) -> Any:
    """Await ``work`` to its end, even if Django cancels the request because the client is gone."""
    task = asyncio.ensure_future(work)
    interrupt: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as cancelled:
            interrupt = cancelled
        except Exception:  # noqa: BLE001 - raised below
            break
    if interrupt is None or task.cancelled():
        return task.result()
    failure = task.exception()
    if failure is not None:
        log(logging.INFO, "A request ended with %s after its client had gone.", type(failure).__name__)
    raise interrupt


async def _parts_of(response: Any) -> AsyncIterator[bytes]:
    """Yield the parts of a streaming response; those of a blocking one from a thread."""
    if response.is_async:
        async for part in response.streaming_content:
            yield part
        return
    parts: Iterator[bytes] = iter(response.streaming_content)
    following = sync_to_async(lambda: next(parts, None))
    while (part := await following()) is not None:
        yield part


async def _chained(first: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for part in first:
        yield part
    async for part in rest:
        yield part


async def _whole(body: bytes) -> AsyncIterator[bytes]:
    yield body
