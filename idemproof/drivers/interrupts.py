"""What stops a call from outside: interrupts, which are never taken for a failure of anything."""

import sys
from collections.abc import Iterator

TIME_LIMITS = frozenset({"AirflowTaskTimeout", "JobTimeoutException", "SoftTimeLimitExceeded"})
"""What job queues raise from a signal's handler, though it is an ``Exception``: old releases of Airflow, RQ,
Celery. Known by name, so that none of them is imported."""


_OF_CLIENTS = frozenset({"CancelledError", "GeneratorExit"})
"""What clients end their own waits and generators with, and turn into errors: behind these, no interrupt."""


class Interrupts:
    """Recognizes interrupts.

    Parameters
    ----------
    declared
        Classes of ``Exception`` that are interrupts besides the known time limits, and besides every
        BaseException that is no ``Exception``.
    """

    __slots__ = ("_declared",)

    def __init__(self, declared: tuple[type[Exception], ...] = ()) -> None:
        self._declared = declared
        _declared_anywhere.update(declared)

    def includes(self, error: BaseException) -> bool:
        """Return whether ``error`` itself is an interrupt."""
        return (
            not isinstance(error, Exception)
            or isinstance(error, self._declared)
            or any(kind.__name__ in TIME_LIMITS for kind in type(error).__mro__)
        )

    def behind(self, error: BaseException) -> BaseException | None:
        """Return the interrupt that ``error`` is, or that other code has turned into it; None if neither.

        Not to be called while ``error`` is being handled: what the caller was handling when it made the call
        is behind ``error`` too, and did not interrupt the call.
        """
        if self.includes(error):
            return error
        known = {id(link) for link in _links(sys.exc_info()[1])}
        for link in _links(error):
            if id(link) not in known and self.includes(link) and type(link).__name__ not in _OF_CLIENTS:
                return link
        return None


_declared_anywhere: set[type[Exception]] = set()
"""What any configuration declares."""

KNOWN_INTERRUPTS = Interrupts()
"""Those that nobody has to declare."""


def any_interrupts() -> Interrupts:
    """Return what recognizes all that any configuration declares."""
    return Interrupts(tuple(_declared_anywhere))


def raise_interrupt(error: BaseException) -> None:
    """Raise the interrupt that ``error`` is, or was raised from; return if neither.

    For handlers that take an exception for an answer and go on. They serve all configurations, so what any of
    them declares is an interrupt here. An implicit context does not count: while an exception is handled, it
    also leads to what the caller was handling before.
    """
    interrupts = any_interrupts()
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        if interrupts.includes(link) and type(link).__name__ not in _OF_CLIENTS:
            raise link
        seen.add(id(link))
        link = link.__cause__


def _links(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all that is behind it, or in it if it is a group."""
    waiting, seen = [error], set()
    while waiting:
        link = waiting.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        waiting += (link.__context__, link.__cause__)
        if isinstance(link, BaseExceptionGroup):
            waiting += link.exceptions
