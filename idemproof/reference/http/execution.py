"""One execution of the application for a key: what it answered, and how the engine hears of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from ...drivers.interrupts import Interrupts
from .messages import Headers, Response
from .rules import Rules
from .stored import Unfinished


class ReleasedAnswerError(Exception):
    """The application answered, and the key is released: a repeat runs again."""


class FailureError(Exception):
    """Carries an exception of the application past the engine, so that it is not taken for the engine's own.

    Parameters
    ----------
    cause
        The exception.
    """

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"the application raised {type(cause).__name__}")
        self.cause = cause


class ReleasedFailureError(FailureError):
    """The same, for an exception that says that nothing has happened."""


class IncompleteResponseError(RuntimeError):
    """The application ended without a complete response."""


class Execution:
    """What a middleware notes while the application runs, and what it tells the engine.

    The body of the call is the application. It returns :meth:`answered` or :meth:`overflowed`, or raises
    :meth:`failed`.

    Parameters
    ----------
    rules
        The rules of its route.
    """

    __slots__ = ("_began", "failure", "is_unfinished", "response", "rules")

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._began = 0.0
        self.response: Response | None = None
        self.is_unfinished = False
        self.failure: Exception | None = None

    def begin(self) -> None:
        """Note that the application begins."""
        self._began = monotonic()

    @contextmanager
    def running(self, interrupts: Interrupts) -> Iterator[None]:
        """Run the application in a ``with`` block. Its exceptions pass the engine as :meth:`failed` says."""
        self.begin()
        try:
            yield
        except ReleasedAnswerError:
            raise
        except Exception as failure:
            if interrupts.includes(failure):
                raise
            raise self.failed(failure)  # noqa: B904 - it has its cause

    def answered(self, response: Response) -> Response:
        """Note the answer of the application, and return it.

        Raises
        ------
        ReleasedAnswerError
            It is not stored: a repeat runs again.
        """
        rules = self.rules
        rules.durations.add(monotonic() - self._began)
        self.response = response
        if rules.is_released(response):
            raise ReleasedAnswerError
        return response

    def overflowed(self, status: int, headers: Headers) -> Response:
        """Note that the answer is larger than the limit; return what is stored of it.

        Raises
        ------
        ReleasedAnswerError
            It is not stored: a repeat runs again.
        """
        self.is_unfinished = True
        self.answered(Response(status, headers))
        return Unfinished(status)

    def failed(self, error: Exception) -> FailureError:
        """Note an exception of the application, and return what its body raises instead."""
        self.failure = error
        released = isinstance(error, self.rules.released_errors)
        failure = ReleasedFailureError(error) if released else FailureError(error)
        failure.__cause__ = error
        return failure
