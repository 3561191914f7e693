"""Rules of single routes, which replace those of the profile."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from ...spec.errors import IdempotencyConfigError
from .decisions import Durations

KeyRule = Literal["required", "optional", "ignored"]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY"})
"""The methods that never have an effect, so that their keys are ignored."""

_RULES = ("required", "optional", "ignored")
_FIELD = re.compile(r"\{[^{}/]*\}")


@dataclass(frozen=True)
class Route:
    """The rules of the requests whose path matches.

    The first route in a list that matches counts. What it leaves out is as the middleware says.

    Parameters
    ----------
    path
        The path in the application, without a query and without the prefix under which the server has
        mounted the application. ``{name}`` stands for one segment, and ``*`` at the end for any rest.
    methods
        The methods that it is about, or None for all.
    key
        ``"required"``, ``"optional"``, or ``"ignored"`` for a route without protection, such as one that
        streams events. None: as the profile says for the method.
    keep, release
        Statuses that are final here, even with ``Retry-After``; and statuses that release the key.
    request_limit, response_limit
        The largest body of a request and of a response (bytes).
    complete_when
        When an answer is stored: ``"response"``, as soon as it is complete, or ``"app"``, once the
        application has ended.
    """

    path: str
    methods: Collection[str] | None = None
    key: KeyRule | None = None
    keep: Collection[int] = ()
    release: Collection[int] = ()
    request_limit: int | None = None
    response_limit: int | None = None
    complete_when: Literal["response", "app"] | None = None
    durations: Durations = field(default_factory=Durations, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or not self.path.startswith(("/", "*")):
            raise IdempotencyConfigError(
                f"path of a Route is {self.path!r}. It must be a text that begins with a slash."
            )
        if "*" in self.path[:-1]:
            raise IdempotencyConfigError(f"path of a Route is {self.path!r}. An asterisk may only end it.")
        if isinstance(self.methods, str):
            raise IdempotencyConfigError(
                f"methods of a Route is {self.methods!r}. It must be a list of names."
            )
        if self.key is not None and self.key not in _RULES:
            raise IdempotencyConfigError(
                f"key of a Route is {self.key!r}. It must be one of {', '.join(map(repr, _RULES))}, or None."
            )
        named = {method.upper() for method in self.methods or ()}
        if self.key in ("required", "optional") and named and named <= SAFE_METHODS:
            raise IdempotencyConfigError(
                f"The Route {self.path!r} has a key for {', '.join(sorted(named))}. Safe methods have no "
                "effect that "
                "could happen twice, and their keys are ignored."
            )
        if self.complete_when not in (None, "response", "app"):
            raise IdempotencyConfigError(
                f"complete_when of a Route is {self.complete_when!r}. It must be 'response' or 'app'."
            )
        self._check_numbers()
        both = set(self.keep) & set(self.release)
        if both:
            raise IdempotencyConfigError(
                f"The Route {self.path!r} both keeps and releases the status {min(both)}."
            )
        rest = self.path.endswith("*")
        exact = self.path[:-1] if rest else self.path
        pieces = [re.escape(piece) for piece in _FIELD.split(exact)]
        object.__setattr__(
            self, "_pattern", re.compile("[^/]+".join(pieces) + (".*" if rest else ""), re.DOTALL)
        )
        methods = None if self.methods is None else frozenset(method.upper() for method in self.methods)
        object.__setattr__(self, "_methods", methods)

    def _check_numbers(self) -> None:
        for name, statuses in (("keep", self.keep), ("release", self.release)):
            if not all(type(status) is int and 100 <= status <= 599 for status in statuses):  # noqa: PLR2004 - what a status can be
                raise IdempotencyConfigError(
                    f"{name} of a Route is {statuses!r}. It must be a list of statuses."
                )
        for name, limit in (("request_limit", self.request_limit), ("response_limit", self.response_limit)):
            if limit is not None and (type(limit) is not int or limit < 0):
                raise IdempotencyConfigError(
                    f"{name} of a Route is {limit!r}. It must be a number of bytes, or None."
                )

    def matches(self, method: str, path: str) -> bool:
        """Return whether the route is about a request with this method and decoded path."""
        methods: frozenset[str] | None = self._methods  # type: ignore[attr-defined]  # of __post_init__
        pattern: re.Pattern[str] = self._pattern  # type: ignore[attr-defined]  # of __post_init__
        return (methods is None or method in methods) and pattern.fullmatch(path) is not None
