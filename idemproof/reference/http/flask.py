"""The extension for Flask, which stands around the views."""

from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import chain
from typing import Any, Unpack

import flask

from ...spec.errors import IdempotencyConfigError
from ..core import Layer
from .blocking import blocking_protection, is_own_answer, perform
from .commands import GUARDS, BodyRefusedError, Execute, Pass, PassOn, Raise, ReadBody
from .messages import Response, decoded, encoded
from .protection import Protection
from .routes import SAFE_METHODS
from .settings import Options
from .wsgi import read_whole_body
from .wsgi_request import request_of

_ACCEPT_ENCODING = "HTTP_ACCEPT_ENCODING"


class FlaskIdempotency:
    """Answers repeated requests to the views of a Flask application with the first answer.

    It stands around the view and its error handlers. All functions of ``before_request`` and
    ``after_request`` run for every request, also for one that gets a replay. ``scope`` and ``authorize`` can
    use ``g`` and the session.

    Parameters
    ----------
    app
        The application; None if :meth:`init_app` gets it.
    persistence_store, **options
        As for :meth:`init_app`.
    """

    def __init__(
        self,
        app: flask.Flask | None = None,
        *,
        persistence_store: Layer | None = None,
        **options: Unpack[Options],
    ) -> None:
        if app is not None:
            self.init_app(app, persistence_store=persistence_store, **options)
        elif persistence_store is not None or options:
            raise TypeError("Give the parameters to init_app, together with the application.")

    def init_app(
        self, app: flask.Flask, *, persistence_store: Layer | None, **options: Unpack[Options]
    ) -> None:
        """Protect the views of ``app``.

        Parameters
        ----------
        app
            The application.
        persistence_store
            The store of the records: a blocking layer.
        **options
            The other parameters of :class:`Settings`, except ``complete_when="app"``.

        Raises
        ------
        TypeError, IdempotencyConfigError
            As :class:`Settings` says. Or the layer or a function is async, or an answer should wait for the
            end of the application, which Flask reaches only after the response.
        """
        protection = blocking_protection(persistence_store, {**options})
        protection.settings.refuse_to_wait_for_the_app(
            "with FlaskIdempotency: Flask ends a request after the response has been sent. Put "
            "WSGIIdempotencyMiddleware around app.wsgi_app instead."
        )
        dispatch = app.dispatch_request

        def protected(*args: Any) -> Any:
            if flask.request.method in SAFE_METHODS:
                return dispatch(*args)
            return _Call(app, protection, lambda: dispatch(*args), args).answer()

        # A public method, which is made to be replaced.
        vars(app)["dispatch_request"] = protected
        app.extensions["idemproof"] = self


class _Call:
    """One request."""

    def __init__(
        self,
        app: Any,
        protection: Protection,
        dispatch: Callable[[], Any],
        context: tuple[Any, ...],
    ) -> None:
        self._app = app
        self._protection = protection
        self._dispatch = dispatch
        self._context = context
        self._request: Any = flask.request
        self._made: Any = None
        self._execution: Any = None
        self._rest: Iterator[bytes] = iter(())

    def answer(self) -> Any:
        """Return what the view returns, or a response instead of it."""
        environ = self._request.environ
        steps = self._protection.steps(request_of(environ), environ.get(GUARDS, ()))
        end = perform(steps, self._protection, self._read_body, self._run)
        if isinstance(end, Pass):
            return self._dispatch()
        made = self._made
        if isinstance(end, Raise):
            if made is not None:
                made.close()
            raise end.error
        head = end.head if isinstance(end, PassOn) else end.response  # type: ignore[union-attr]  # nothing else
        response = self._app.response_class(status=head.status)
        if is_own_answer(end, self._execution):
            response = made
            response.call_on_close(getattr(made.response, "close", lambda: None))
            response.direct_passthrough = False
        elif made is not None:
            response.call_on_close(made.close)
        response.response = self._rest if isinstance(end, PassOn) else [head.body]
        response.headers.clear()
        response.headers.extend(decoded(head.headers))
        return response

    def _read_body(self, command: ReadBody) -> bytes:
        request = self._request
        if "stream" in vars(request._get_current_object()):
            kept = getattr(request, "_cached_data", None) is not None
            body = bytes(request.get_data())
            if not kept and (command.length or request.environ.get("wsgi.input_terminated")):
                raise IdempotencyConfigError(
                    "A before_request function has read the form of this request, so its body cannot be "
                    "compared. Nothing ran. Read it in the view, or call request.get_data() before."
                )
            if len(body) > command.limit:
                raise BodyRefusedError("body-too-large")
            if command.length is not None and len(body) < command.length:
                raise BodyRefusedError("incomplete-body")
            return body
        environ = request.environ
        body = read_whole_body(environ, command)
        environ.update(
            {"wsgi.input": BytesIO(body), "wsgi.input_terminated": True, "CONTENT_LENGTH": str(len(body))}
        )
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        return body

    def _run(self, command: Execute) -> Response:
        """Run the view, and return what is stored."""
        self._execution = command.execution
        environ = self._request.environ
        guards, accepted = environ.get(GUARDS, ()), environ.pop(_ACCEPT_ENCODING, None)
        environ[GUARDS] = (*guards, command.guard)
        try:
            response = self._made = self._view()
            return self._collect(command, response)
        finally:
            environ[GUARDS] = guards
            if accepted is not None:
                environ[_ACCEPT_ENCODING] = accepted

    def _view(self) -> Any:
        """Return the response of the view, or of the error handler for what it raises."""
        try:
            answer = self._dispatch()
        except Exception as error:  # noqa: BLE001 - an error handler decides, and raises it if there is none
            answer = self._app.handle_user_exception(*self._context, error)
        return self._app.make_response(answer)

    def _collect(self, command: Execute, response: Any) -> Response:
        execution = command.execution
        parts: list[bytes] = []
        size, rest = 0, iter(response.iter_encoded())
        for part in rest:
            parts.append(part)
            size += len(part)
            if size > execution.rules.response_limit:
                break
        headers = encoded(response.headers.items())
        if size > execution.rules.response_limit:
            self._rest = chain(parts, rest)
            return execution.overflowed(response.status_code, headers)
        return execution.answered(Response(response.status_code, headers, b"".join(parts)))
