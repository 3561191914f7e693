"""What type checkers see of a decorated function: its own signature, and ``idempotency``."""

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from .operations import Operations

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)

MYPY = False
"""True for mypy: the two checkers recognize a class method's first parameter by different means."""
if MYPY:
    from collections.abc import Callable as Called
else:

    class Called(Protocol[P, R_co]):
        """What can be called."""

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
            """Call it."""


class Protected(Protocol[P, R_co]):
    """A function or method that is protected."""

    __name__: str
    __qualname__: str
    __module__: str

    @property
    def idempotency(self) -> Operations[P]:
        """The records of its calls."""

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """What was decorated."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call it, protected."""

    @overload
    def __get__(  # type: ignore[misc]  # as above
        self: "Called[Concatenate[type[T], Q], R]", instance: T | None, owner: type[T], /
    ) -> "ProtectedOfClass[P, Q, R_co]": ...
    @overload
    def __get__(self, instance: None, owner: type | None = None, /) -> "Protected[P, R_co]": ...
    @overload
    def __get__(
        self: "Protected[Concatenate[T, Q], R_co]", instance: T, owner: type | None = None, /
    ) -> "Protected[Q, R_co]": ...


class ProtectedOfClass(Protocol[P, Q, R_co]):
    """A class method, or a static method whose first parameter may be a class."""

    @property
    def idempotency(self) -> Operations[Q]:
        """The records of its calls."""

    @overload
    def __call__(self, *args: Q.args, **kwargs: Q.kwargs) -> R_co: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class ProtectedDescriptor(Protocol[P, R_co]):
    """A static or class method that was decorated as such."""

    @property
    def idempotency(self) -> Operations[P]:
        """The records of its calls."""

    def __get__(self, instance: Any, owner: type | None = None, /) -> Protected[P, R_co]:
        """Return the function, bound as its kind is."""


class Decorator(Protocol):
    """Protects a function, a static method or a class method."""

    @overload
    def __call__(self, function: "staticmethod[P, R]", /) -> ProtectedDescriptor[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: "classmethod[Any, P, R]", /) -> ProtectedDescriptor[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Protected[P, R]: ...


class AsyncDecorator(Protocol):
    """Protects ``async def`` functions, as an async layer requires."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: "staticmethod[P, Coroutine[Any, Any, R]]", /
    ) -> ProtectedDescriptor[P, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(
        self, function: "classmethod[Any, P, Coroutine[Any, Any, R]]", /
    ) -> ProtectedDescriptor[P, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Protected[P, Coroutine[Any, Any, R]]: ...
