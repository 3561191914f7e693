"""The settings of a middleware, checked when it is made (HTTP-26)."""

import copy
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal, TypedDict

from ...spec.errors import IdempotencyConfigError
from ..config import IdempotencyConfig
from ..config_values import require_window
from ..core import Layer, require_layer_and_config
from ..functions import name_of
from ..prefixes import ALLOWED_SERVICE, is_service_name
from .execution import ReleasedAnswerError, ReleasedFailureError
from .header import KeyForm
from .messages import Request
from .profiles import IETF, PROFILES, Profile
from .routes import Route
from .scope import AuthorizationScope

LEASE_SECONDS = 60
"""The lease, unless the configuration has one."""

MEBIBYTE = 1024 * 1024

_DEFAULT_WINDOW = IdempotencyConfig().expires_after_seconds


class Options(TypedDict, total=False):
    """The parameters of the middlewares. :class:`Settings` describes them."""

    config: IdempotencyConfig | None
    profile: Profile | str
    scope: Callable[[Request], Any] | Literal["authorization"] | None
    authorize: Callable[[Request], Any] | None
    on_takeover: Callable[[Request], Any] | Literal["refuse", "run"]
    service: str | None
    routes: Sequence[Route]
    key_form: KeyForm | None
    window_seconds: float | None
    fingerprint_headers: Sequence[str]
    request_limit: int
    response_limit: int
    complete_when: Literal["response", "app"]
    drop_headers: Collection[str]
    keep_headers: Collection[str]
    documentation: str | None
    shutdown_seconds: float


class Settings:
    """The checked settings of a middleware.

    Parameters
    ----------
    persistence_store
        The store of the records.
    config
        The settings of the calls, such as the observers, renewal and waiting. Its lease is 60 seconds if it
        has none. Its window counts unless it is the default of `IdempotencyConfig`; see ``window_seconds``.
    profile
        The rules of the API, or their name: ``"ietf"``, ``"stripe"``, ``"acp"``, ``"iceberg"``.
    scope
        Whose key it is. ``"authorization"``: the credentials of the ``Authorization`` header. A function
        that gets the :class:`Request` and returns the verified user, as a text or a whole number: if it
        raises or returns nothing, the request is refused. None: all callers share their keys and their
        answers.
    authorize
        A function that gets the :class:`Request` before each replay, and returns whether the caller may
        have the answer; or None.
    on_takeover
        What a request does if the server of an earlier one may have stopped before its effect or after it.
        ``"refuse"``: it is answered with 409, until the key is resolved, is forgotten or expires.
        ``"run"``: the application runs again. A function that gets the :class:`Request`: it returns the
        :class:`Response`, or `NOT_DONE`. This counts, and not ``on_takeover`` of the configuration.
    service
        The name of the service, which its stored keys begin with; None for that of the configuration.
    routes
        The rules of single routes. The first that matches counts.
    key_form
        The form of keys: ``"quoted"``, ``"bare"`` or ``"either"``; None for that of the profile.
    window_seconds
        How long an answer is replayed (seconds); None for the window of the configuration or the profile.
    fingerprint_headers
        Names of headers that must be equal in all requests with one key.
    request_limit, response_limit
        The largest body of a request and of a response (bytes).
    complete_when
        When an answer is stored and sent: ``"response"``, as soon as it is complete; ``"app"``, once the
        application has ended, which it needs if it commits after its response.
    drop_headers, keep_headers
        Names of headers that replays leave out as well, or repeat nevertheless.
    documentation
        The address of the page for users of the API, which refusals link to.
    shutdown_seconds
        How long a shutdown waits for running requests (seconds). After that, they are cancelled.

    Raises
    ------
    TypeError
        The store or the configuration has the wrong type.
    IdempotencyConfigError
        A setting is not allowed.
    """

    def __init__(  # noqa: C901, PLR0912 - one check after the other
        self,
        persistence_store: Layer,
        *,
        config: IdempotencyConfig | None = None,
        profile: Profile | str = IETF,
        scope: Callable[[Request], Any] | Literal["authorization"] | None = "authorization",
        authorize: Callable[[Request], Any] | None = None,
        on_takeover: Callable[[Request], Any] | Literal["refuse", "run"] = "refuse",
        service: str | None = None,
        routes: Sequence[Route] = (),
        key_form: KeyForm | None = None,
        window_seconds: float | None = None,
        fingerprint_headers: Sequence[str] = (),
        request_limit: int = MEBIBYTE,
        response_limit: int = MEBIBYTE,
        complete_when: Literal["response", "app"] = "response",
        drop_headers: Collection[str] = (),
        keep_headers: Collection[str] = (),
        documentation: str | None = None,
        shutdown_seconds: float = 10,
    ) -> None:
        require_layer_and_config(persistence_store, config)
        if isinstance(profile, str):
            if profile not in PROFILES:
                raise _refusal("profile", profile, f"one of {', '.join(map(repr, PROFILES))}")
            profile = PROFILES[profile]
        if not isinstance(profile, Profile):
            raise _refusal("profile", profile, "a Profile or the name of one")
        if scope is not None and scope != "authorization" and not callable(scope):
            raise _refusal("scope", scope, "'authorization', a function, or None")
        if authorize is not None and not callable(authorize):
            raise _refusal("authorize", authorize, "a function or None")
        if on_takeover not in ("refuse", "run") and not callable(on_takeover):
            raise _refusal("on_takeover", on_takeover, "'refuse', 'run' or a function")
        if service is not None and not is_service_name(service):
            raise _refusal("service", service, ALLOWED_SERVICE)
        if key_form not in (None, "quoted", "bare", "either"):
            raise _refusal("key_form", key_form, "'quoted', 'bare', 'either' or None")
        if complete_when not in ("response", "app"):
            raise _refusal("complete_when", complete_when, "'response' or 'app'")
        for name, names in (
            ("fingerprint_headers", fingerprint_headers),
            ("drop_headers", drop_headers),
            ("keep_headers", keep_headers),
        ):
            if isinstance(names, str) or not all(isinstance(each, str) and each.isascii() for each in names):
                raise _refusal(name, names, "a list of names")
        for name, limit in (("request_limit", request_limit), ("response_limit", response_limit)):
            if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
                raise _refusal(name, limit, "a number of bytes")
        if not all(isinstance(route, Route) for route in routes):
            raise _refusal("routes", routes, "a list of Route")
        if window_seconds is not None:
            require_window("window_seconds", window_seconds)
        require_window("shutdown_seconds", shutdown_seconds)
        if documentation is not None and (
            not isinstance(documentation, str)
            or not documentation.isascii()
            or set(documentation) & set("<>\r\n ")
        ):
            raise _refusal("documentation", documentation, "an address")
        self.profile = profile
        self.scope = AuthorizationScope() if scope == "authorization" else scope
        self.scope_kind = "principal" if callable(scope) else "everyone" if scope is None else "credentials"
        self.authorize = authorize
        self.question = on_takeover if callable(on_takeover) else None
        self.routes = tuple(routes)
        self.default_route = Route("*")
        self.key_form: KeyForm = profile.key_form if key_form is None else key_form
        self.fingerprint_headers = frozenset(name.lower().encode() for name in fingerprint_headers)
        self.request_limit = request_limit
        self.response_limit = response_limit
        self.complete_when = complete_when
        self.drop_headers = frozenset(name.lower().encode() for name in drop_headers)
        self.keep_headers = frozenset(name.lower().encode() for name in keep_headers)
        self.documentation = documentation
        self.shutdown_seconds = shutdown_seconds
        self.store = persistence_store
        self.released_errors = () if config is None else config.released_errors
        policy = on_takeover if isinstance(on_takeover, str) else "run"
        self.config = _http_config(config, profile, policy, service, window_seconds)

    def refuse_to_wait_for_the_app(self, why: str) -> None:
        """Raise :class:`IdempotencyConfigError` if an answer should wait for the end of the application."""
        if "app" in (self.complete_when, *(route.complete_when for route in self.routes)):
            raise IdempotencyConfigError(f"complete_when='app' does not work {why}")


def _http_config(  # noqa: C901 - one check after the other
    given: IdempotencyConfig | None,
    profile: Profile,
    policy: str,
    service: str | None,
    window_seconds: float | None,
) -> IdempotencyConfig:
    """Return the configuration of the calls."""
    config = IdempotencyConfig(hash_function="sha256") if given is None else copy.copy(given)
    for name in ("event_key_jmespath", "payload_validation_jmespath"):
        if getattr(config, name):
            raise IdempotencyConfigError(
                f"{name}={getattr(config, name)!r} selects from a payload. A middleware takes the key "
                "from the "
                "header, and compares the request. Leave it out."
            )
    if config.response_hook is not None:
        raise IdempotencyConfigError(
            f"response_hook={name_of(config.response_hook)} would change replays, which are the first answer "
            "byte for byte. Leave it out."
        )
    if config.final_errors:
        raise IdempotencyConfigError(
            f"final_errors has {config.final_errors[0].__name__}. The answers of an HTTP service are its "
            "responses: return a 4xx response, which is final, and leave final_errors out."
        )
    if config.keyed and config.hash_function != "sha256":
        raise IdempotencyConfigError(
            f"hash_function is {config.hash_function!r}, and the keys of a middleware are hashes of SHA-256. "
            "Set hash_function='sha256' together with hash_secret."
        )
    if service is not None and config.service not in (None, service):
        raise IdempotencyConfigError(
            f"The service is {service!r} in the middleware and {config.service!r} in its configuration. "
            "Name it once."
        )
    changes: dict[str, Any] = {
        "on_takeover": policy,
        "released_errors": (*config.released_errors, ReleasedAnswerError, ReleasedFailureError),
    }
    if not config.keyed and config.hash_function != "sha256":
        plain = IdempotencyConfig(hash_function="sha256")
        changes |= {"hash_function": plain.hash_function, "digest": plain.digest}
    if service is not None:
        changes["service"] = service
    if config.in_progress_expires_after_seconds is None:
        changes["in_progress_expires_after_seconds"] = LEASE_SECONDS
    if window_seconds is not None:
        changes["expires_after_seconds"] = window_seconds
    elif given is None or given.expires_after_seconds == _DEFAULT_WINDOW:
        changes["expires_after_seconds"] = profile.window_seconds
    config.__dict__.update(changes)
    return config


def _refusal(name: str, value: Any, allowed: str) -> IdempotencyConfigError:
    return IdempotencyConfigError(f"{name} is {value!r}. It must be {allowed}.")
