"""What the steps of a request ask of a middleware, and what it does at their end."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from .execution import Execution
from .messages import Request, Response

GUARDS = "idemproof.guards"
"""Where a scope or an environ has the guards of the middlewares outside: the :class:`Guard` of each."""


@dataclass(slots=True)
class Guard:
    """Marks a request that a middleware protects, for those inside of it.

    Parameters
    ----------
    store
        Its store.
    stored_key
        Returns the key of the record.
    """

    store: Any
    stored_key: Callable[[], str]


class BodyRefusedError(Exception):
    """The body of the request cannot be read. A middleware raises it for :class:`ReadBody`.

    Parameters
    ----------
    problem
        The name of the refusal: ``body-too-large``, ``incomplete-body`` or ``length-required``.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class ClientGoneError(Exception):
    """The client is gone, before its body was complete. A middleware raises it for :class:`ReadBody`."""


@dataclass(slots=True)
class Ask:
    """Call a function of the user, and await its result if it can be awaited. The reply is the result."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


@dataclass(slots=True)
class ReadBody:
    """Read the body of the request. The reply is the body, not larger than ``limit`` (bytes).

    ``length`` is its Content-Length, or None.
    """

    limit: int
    length: int | None


@dataclass(slots=True)
class Execute:
    """Run the application once for a key. The reply is the :class:`Answer` of :meth:`Idempotency.run`.

    ``key``, ``payload_hash`` and ``question`` are its arguments; ``question`` gets no argument, or is None.
    The application runs with ``request`` and reports to ``execution``. ``guard`` marks its request.
    """

    key: str
    payload_hash: str
    request: Request
    execution: Execution
    question: Callable[[], Any] | None
    guard: Guard


Command = Ask | ReadBody | Execute


@dataclass(slots=True)
class Pass:
    """Call the application, with the request as it is."""


@dataclass(slots=True)
class Respond:
    """Send this response, and drop any other of the application."""

    response: Response


@dataclass(slots=True)
class PassOn:
    """Send this head with the body of the application, which is too large to be kept, as it comes."""

    head: Response


@dataclass(slots=True)
class Raise:
    """Raise this exception of the application."""

    error: BaseException


@dataclass(slots=True)
class Gone:
    """Do nothing: the client is gone, and nothing ran."""


End = Pass | Respond | PassOn | Raise | Gone
Steps = Generator[Command, Any, End]
