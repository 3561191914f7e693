"""The middleware for WSGI."""

from collections.abc import Callable, Iterable, Iterator
from http.client import responses
from typing import Any, Unpack

from ..core import Layer
from .blocking import blocking_protection, is_own_answer, perform
from .commands import GUARDS, BodyRefusedError, Execute, Pass, PassOn, Raise, ReadBody
from .messages import Response, decoded
from .routes import SAFE_METHODS
from .settings import Options
from .wsgi_request import Environ, read_body, request_of, stated_length, with_body
from .wsgi_response import Application, Collected, StartResponse


class WSGIIdempotencyMiddleware:
    """Answers repeated requests to a WSGI application with the first answer.

    The application runs at most once for each key, caller and service. Its answer is collected, stored, and
    then sent. A worker that serves several requests at once, in threads or greenlets, shares one instance.

    Put it inside authentication, CORS and compression: a replay does not reach what is inside the middleware.

    Parameters
    ----------
    app
        The application.
    persistence_store
        The store of the records: a blocking layer.
    **options
        The other parameters of :class:`Settings`.

    Raises
    ------
    TypeError, IdempotencyConfigError
        As :class:`Settings` says. Or the layer or a function is async.
    """

    def __init__(self, app: Application, *, persistence_store: Layer, **options: Unpack[Options]) -> None:
        self.app = app
        self.protection = blocking_protection(persistence_store, {**options})

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if environ["REQUEST_METHOD"] in SAFE_METHODS:
            return self.app(environ, start_response)
        protection = self.protection
        call = _Call(self.app, environ)
        steps = protection.steps(request_of(environ), environ.get(GUARDS, ()))
        try:
            end = perform(steps, protection, call.read_body, call.run)
            if not isinstance(end, Pass):
                return call.answer(end, start_response)
        except BaseException:
            call.close()
            raise
        return self.app(environ, start_response)


class _Call:
    """One request: the reading of its body, the run of the application, and what is sent."""

    def __init__(self, app: Application, environ: Environ) -> None:
        self._app = app
        self._environ = environ
        self._collected: Collected | None = None
        self._execution: Any = None

    def read_body(self, command: ReadBody) -> bytes:
        return read_whole_body(self._environ, command)

    def run(self, command: Execute) -> Response:
        """Run the application, and return what is stored."""
        execution = self._execution = command.execution
        environ = with_body(self._environ, command.request.body)
        environ[GUARDS] = (*environ.get(GUARDS, ()), command.guard)
        environ.pop("HTTP_ACCEPT_ENCODING", None)
        collected = self._collected = Collected(execution.rules.response_limit)
        collected.collect(self._app, environ)
        if execution.rules.waits_for_the_app and collected.is_whole:
            collected.close()
        response = collected.response()
        if collected.is_whole:
            return execution.answered(response)
        return execution.overflowed(response.status, response.headers)

    def answer(self, end: Any, start_response: StartResponse) -> Iterable[bytes]:
        """Send the answer. What the server closes then closes the iterable of the application."""
        collected = self._collected
        if isinstance(end, Raise):
            raise end.error
        own = is_own_answer(end, self._execution)
        response = end.head if isinstance(end, PassOn) else end.response
        line = collected.status if own and collected is not None else _status_line(response.status)
        parts = collected if isinstance(end, PassOn) and collected is not None else iter([response.body])
        start_response(line, decoded(response.headers))
        return _Sent(parts, self.close)

    def close(self) -> None:
        """Close the iterable of the application, if there is one."""
        if self._collected is not None:
            self._collected.close()


class _Sent(Iterator[bytes]):
    """The body that the server sends, and what it closes."""

    def __init__(self, parts: Iterator[bytes], close: Callable[[], object]) -> None:
        self._parts = parts
        self.close = close

    def __next__(self) -> bytes:
        return next(self._parts)


def read_whole_body(environ: Environ, command: ReadBody) -> bytes:
    """Return the body of a request.

    Raises
    ------
    BodyRefusedError
        It is not complete, is larger than the limit, or has no known end.
    """
    try:
        length = stated_length(environ)
    except ValueError:
        raise BodyRefusedError("incomplete-body") from None
    if length is None and not environ.get("wsgi.input_terminated"):
        raise BodyRefusedError("length-required")
    body = read_body(environ, command.limit + 1 if length is None else length)
    if len(body) > command.limit:
        raise BodyRefusedError("body-too-large")
    if length is not None and len(body) < length:
        raise BodyRefusedError("incomplete-body")
    return body


def _status_line(status: int) -> str:
    return f"{status} {responses.get(status, 'Unknown')}"
