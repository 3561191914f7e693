"""What happens to a request, step by step, for the middlewares of ASGI and WSGI.

:meth:`Protection.steps` yields commands, which a middleware performs, and returns what to do at the end. It
knows no framework and does no I/O.
"""

import logging
import re
from collections.abc import Awaitable, Callable, Generator, Sequence
from functools import partial
from inspect import isawaitable
from typing import Any
from urllib.parse import unquote_to_bytes

from ...backends.logs import log
from ...spec.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyConfigError,
    IdempotencyError,
    IdempotencyInconsistentStateError,
    IdempotencyLeaseLostError,
    IdempotencyPersistenceLayerError,
    IdempotencyResultUnavailableError,
    IdempotencySerializationError,
    IdempotencyTransactionError,
    IdempotencyUnknownOutcomeError,
    IdempotencyValidationError,
)
from ..idempotency import Answer, Idempotency
from ..not_done import NOT_DONE
from .commands import (
    Ask,
    BodyRefusedError,
    ClientGoneError,
    Command,
    End,
    Execute,
    Gone,
    Guard,
    Pass,
    PassOn,
    Raise,
    ReadBody,
    Respond,
    Steps,
)
from .decisions import NOT_REPLAYED
from .execution import Execution, FailureError, IncompleteResponseError, ReleasedAnswerError
from .fingerprint import Fingerprint, packed
from .header import MalformedKeyError, parse_key
from .messages import Request, Response
from .routes import SAFE_METHODS, KeyRule, Route
from .rules import Rules
from .scope import NoScopeError, checked_scope
from .settings import Settings
from .stored import ResponseSerializer

_WITHOUT_LENGTH = frozenset({204, 304})
_LENGTH = re.compile(rb"[0-9]{1,18}")


class Protection:
    """The rules of one middleware.

    Parameters
    ----------
    settings
        The settings.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        profile = settings.profile
        self._header = profile.header.lower()
        self._echo = self._header.encode("latin-1")
        self._marker: tuple[bytes, bytes] | None = None
        if profile.marker is not None:
            name, value = profile.marker
            self._marker = (name.lower().encode("latin-1"), value.encode("latin-1"))
        marker = set() if self._marker is None else {self._marker[0]}
        self.idempotency = Idempotency(
            settings.store,
            settings.config,
            output_serializer=ResponseSerializer(
                NOT_REPLAYED | settings.drop_headers | marker, settings.keep_headers - marker
            ),
        )
        self._default_rules = Rules(settings, settings.default_route)
        self._rules = [Rules(settings, route) for route in settings.routes]
        self._digest = settings.config.digest
        self._fingerprint = Fingerprint(
            self._digest, profile.parts, settings.fingerprint_headers, profile.numbers
        )
        lease = settings.config.in_progress_expires_after_seconds
        assert lease is not None  # the settings give it one
        self._lease_ms = lease * 1000

    def route_of(self, method: str, path: bytes, root: str = "") -> Route:
        """Return the route whose rules count for a request to an application under ``root``."""
        return self._rules_of(method, path, root).route

    def _rules_of(self, method: str, path: bytes, root: str) -> Rules:
        if self._rules:
            decoded = unquote_to_bytes(path).decode("utf-8", "replace")
            if root and f"{decoded}/".startswith(f"{root}/"):
                decoded = decoded.removeprefix(root) or "/"
            for rules in self._rules:
                if rules.route.matches(method, decoded):
                    return rules
        return self._default_rules

    def rule_of(self, method: str, route: Route) -> KeyRule:
        """Return whether a request needs a key, may have one, or is not protected."""
        if method in SAFE_METHODS:
            return "ignored"
        if route.key is not None:
            return route.key
        profile = self.settings.profile
        required, optional = profile.required, profile.optional
        name = method if method in required or method in optional else "*"
        return "required" if name in required else "optional" if name in optional else "ignored"

    def key_of(self, client_key: str, scope: str | int = "", path: bytes = b"") -> str:
        """Return the key of a record, without the prefix of the service.

        Parameters
        ----------
        client_key
            The text in the header, unescaped and without its quotes.
        scope
            What the scope function returned, of which 7 and "7" are two callers; empty if all callers share
            their keys.
        path
            The path of the request, which counts if the profile says so.
        """
        settings = self.settings
        kind = settings.scope_kind.encode()
        if isinstance(scope, int):
            kind, scope = kind + b" number", f"{scope:x}"
        place = path if settings.profile.path_in_key else b""
        text = packed(
            (
                b"idemproof http 1",
                kind,
                str(scope).encode("utf-8", "surrogatepass"),
                place,
                client_key.encode(),
            )
        )
        return f"http:{self._digest(text)}"

    def steps(self, request: Request, guards: Sequence[Guard] = ()) -> Steps:
        """Handle a request.

        Parameters
        ----------
        request
            The request, without its body.
        guards
            The guards of the middlewares outside, from :data:`GUARDS`.
        """
        settings = self.settings
        rules = self._rules_of(request.method, request.path, request.root)
        rule = self.rule_of(request.method, rules.route)
        if rule == "ignored" or (guards and any(guard.store is settings.store for guard in guards)):
            return Pass()
        lines = request.lines(self._header)
        if not lines:
            return Pass() if rule == "optional" else self._refuse("key-missing")
        try:
            client_key = parse_key(lines, settings.key_form, settings.profile.longest_key)
            pattern = settings.profile.key_pattern
            if pattern is not None and not pattern.fullmatch(client_key):
                raise MalformedKeyError("it does not have the form that this API needs")  # noqa: TRY301 - as the parser's
        except MalformedKeyError as error:
            return self._refuse("key-malformed", f"{settings.profile.header} is malformed: {error}.")
        end = yield from self._protected(request, rules, client_key, guards)
        if settings.profile.echoes_key and isinstance(end, Respond):
            return Respond(end.response.with_headers((self._echo, lines[0])))
        if settings.profile.echoes_key and isinstance(end, PassOn):
            return PassOn(end.head.with_headers((self._echo, lines[0])))
        return end

    def _protected(  # noqa: PLR0911 - one check after the other
        self, request: Request, rules: Rules, client_key: str, guards: Sequence[Guard]
    ) -> Steps:
        settings = self.settings
        try:
            scope = yield from self._scope_of(request)
        except NoScopeError as error:
            return self._refuse("no-scope", str(error))
        key = self.key_of(client_key, scope, request.path)
        stored_key = partial(self.idempotency.stored_key, key)
        if guards and stored_key() in [guard.stored_key() for guard in guards]:
            return Pass()
        limit = rules.request_limit
        try:
            length = _content_length(request)
            if length is not None and length > limit:
                return self._refuse("body-too-large", f"The limit is {limit} bytes.")
            body = yield ReadBody(limit, length)
        except BodyRefusedError as error:
            detail = f"The limit is {limit} bytes." if error.problem == "body-too-large" else ""
            return self._refuse(error.problem, detail)
        except ClientGoneError:
            return Gone()
        request = request.with_body(body)
        payload_hash = self._fingerprint(request)
        question = settings.question
        execution = Execution(rules)
        asked = None if question is None else self._asking(question, request, execution)
        try:
            guard = Guard(settings.store, stored_key)
            answer = yield Execute(key, payload_hash, request, execution, asked, guard)
        except (ReleasedAnswerError, FailureError):
            return self._as_answered(execution)
        except IdempotencyError as error:
            return self._refused(error, execution, stored_key)
        if not answer.replayed and execution.response is not None:
            return self._as_answered(execution)
        return (yield from self._replay(request, answer))

    def _scope_of(self, request: Request) -> Generator[Command, Any, str | int]:
        function = self.settings.scope
        if function is None:
            return ""
        if self.settings.scope_kind == "credentials":
            return checked_scope(function(request))
        try:
            found = yield Ask(function, (request,))
        except Exception as error:
            log(logging.WARNING, "The scope function failed, and the request was refused.", exc_info=error)
            raise NoScopeError("The request names no caller.") from error
        return checked_scope(found)

    def _asking(
        self, question: Callable[[Request], Any], request: Request, execution: Execution
    ) -> Callable[[], Any]:
        """Return a question that is called without arguments. Its exceptions are those of the application."""
        interrupts = self.settings.config.interruptions

        def found(answer: Any) -> Any:
            if isinstance(answer, Response) and execution.rules.is_released(answer):
                raise ValueError(
                    f"on_takeover answered with the status {answer.status}, which says that nothing final "
                    "has happened. The application did not run. Raise an exception if you cannot tell, "
                    "or return NOT_DONE."
                )
            if answer is NOT_DONE or isinstance(answer, Response):
                return answer
            raise TypeError(
                f"on_takeover answered with a {type(answer).__name__}. It must be a Response of "
                "idemproof.http, or "
                "NOT_DONE. The application did not run."
            )

        def failed(error: Exception) -> Exception:
            return error if interrupts.includes(error) else execution.failed(error)

        async def awaited(answer: Awaitable[Any]) -> Any:
            try:
                return found(await answer)
            except Exception as error:
                raise failed(error) from error

        def ask() -> Any:
            try:
                answer = question(request)
                return awaited(answer) if isawaitable(answer) else found(answer)
            except Exception as error:
                raise failed(error) from error

        return ask

    def _as_answered(self, execution: Execution) -> End:
        """Return the application's own answer, or its exception."""
        response = execution.response
        if response is None:
            failure = execution.failure
            assert failure is not None  # it has ended
            if isinstance(failure, IncompleteResponseError):
                log(logging.ERROR, "%s", failure)
                return self._refuse("incomplete-response")
            return Raise(failure)
        if self._marker is not None:
            response = response.without_headers(self._marker[0])
        return PassOn(response) if execution.is_unfinished else Respond(response)

    def _replay(self, request: Request, answer: Answer[Response | None]) -> Steps:
        authorize = self.settings.authorize
        if authorize is not None:
            try:
                allowed = yield Ask(authorize, (request,))
            except Exception as error:  # noqa: BLE001 - of any kind: nothing is disclosed
                log(logging.WARNING, "authorize failed, and the replay was refused.", exc_info=error)
                allowed = False
            if not allowed:
                return self._refuse("not-authorized")
        response = answer.value
        if response is None:  # the record was resolved with nothing
            return self._refuse("result-unavailable")
        lines = () if self._marker is None else (self._marker,)
        if response.status not in _WITHOUT_LENGTH:
            lines = (*lines, (b"content-length", str(len(response.body)).encode()))
        return Respond(response.with_headers(*lines))

    def _refused(  # noqa: C901, PLR0911 - one error after the other
        self, error: IdempotencyError, execution: Execution, stored_key: Callable[[], str]
    ) -> End:
        """Return the end of a request whose call was refused, or failed."""
        durations = execution.rules.durations
        if isinstance(error, IdempotencyConfigError):
            return Raise(error)
        if isinstance(error, IdempotencyLeaseLostError):
            log(logging.ERROR, "%s", error)
            return self._refuse("lease-lost", retry_after=durations.retry_after())
        if isinstance(error, IdempotencyTransactionError):  # HTTP-27
            log(logging.ERROR, "%s", error)
            return self._refuse("answer-not-recorded")
        if isinstance(error, IdempotencyResultUnavailableError):
            return self._refuse("result-unavailable")
        if execution.response is not None or execution.failure is not None:
            if not (execution.is_unfinished and isinstance(error, IdempotencySerializationError)):
                log(logging.ERROR, "The answer for %r was sent, and not stored: %s", stored_key(), error)
            return self._as_answered(execution)
        if isinstance(error, IdempotencyAlreadyInProgressError):
            left = self._lease_ms if error.retry_after_ms is None else error.retry_after_ms
            passed = (self._lease_ms - left) / 1000
            return self._refuse("in-progress", retry_after=durations.retry_after(passed))
        if isinstance(error, IdempotencyValidationError):
            return self._refuse("payload-mismatch")
        if isinstance(error, IdempotencyUnknownOutcomeError):
            return self._refuse("unknown-outcome")
        if isinstance(error, IdempotencySerializationError):
            log(logging.ERROR, "%s", error)
            return self._refuse("result-unavailable")
        if isinstance(error, IdempotencyPersistenceLayerError | IdempotencyInconsistentStateError):
            log(logging.ERROR, "%s", error)
            return self._refuse("store-failed")
        return Raise(error)

    def _refuse(self, problem: str, detail: str = "", *, retry_after: int | None = None) -> Respond:
        settings = self.settings
        return Respond(
            settings.profile.errors.response(
                problem, detail, retry_after=retry_after, documentation=settings.documentation
            )
        )


def _content_length(request: Request) -> int | None:
    """Return the Content-Length of a request, or None without one.

    Raises
    ------
    BodyRefusedError
        It is not a number, or there are several.
    """
    lines = request.lines("content-length")
    if not lines:
        return None
    if len(lines) != 1 or _LENGTH.fullmatch(lines[0]) is None:
        raise BodyRefusedError("incomplete-body")
    return int(lines[0])
