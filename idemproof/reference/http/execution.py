"""One execution of the application for a key: what it answered, and how the engine hears of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from ...drivers.interrupts import Interrupts
from .decisions import Durations
from .messages import Headers, Response
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
    released
        Returns whether a response releases the key.
    replayed
        Returns the headers that a replay repeats.
    released_errors
        The exceptions of the application that say that nothing has happened.
    durations
        Where its duration is counted.
    response_limit
        The largest body of a response (bytes).
    waits_for_the_app
        Whether the answer is stored only once the application has ended.
    """

    __slots__ = (
        "_began",
        "_durations",
        "_released",
        "_released_errors",
        "_replayed",
        "failure",
        "is_unfinished",
        "response",
        "response_limit",
        "waits_for_the_app",
    )

    def __init__(
        self,
        released: Callable[[Response], bool],
        replayed: Callable[[Headers], Headers],
        released_errors: tuple[type[Exception], ...],
        durations: Durations,
        response_limit: int,
        *,
        waits_for_the_app: bool,
    ) -> None:
        self._released = released
        self._replayed = replayed
        self._released_errors = released_errors
        self._durations = durations
        self._began = 0.0
        self.response_limit = response_limit
        self.waits_for_the_app = waits_for_the_app
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
        """Note the answer of the application, and return what is stored of it.

        Raises
        ------
        ReleasedAnswerError
            It is not stored: a repeat runs again.
        """
        self._durations.add(monotonic() - self._began)
        self.response = response
        if self._released(response):
            raise ReleasedAnswerError
        return Response(response.status, self._replayed(response.headers), response.body)

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
        released = isinstance(error, self._released_errors)
        failure = ReleasedFailureError(error) if released else FailureError(error)
        failure.__cause__ = error
        return failure
