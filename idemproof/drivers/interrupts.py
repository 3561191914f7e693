"""Interrupts: exceptions that stop a call from outside, and are never treated as a failure of the call."""

import sys
from collections.abc import Iterator

TIME_LIMITS = frozenset({"AirflowTaskTimeout", "JobTimeoutException", "SoftTimeLimitExceeded"})
"""Subclasses of ``Exception`` that job queues raise from signal handlers: old releases of Airflow, RQ, and
Celery. They are recognized by name, so that none of these packages is imported."""


_OF_CLIENTS = frozenset({"CancelledError", "GeneratorExit"})
"""Exceptions with which clients end their own waits and generators. As a cause they are not interrupts."""


class Interrupts:
    """Recognizes interrupts.

    Parameters
    ----------
    declared
        Subclasses of ``Exception`` that are interrupts, in addition to the known time limits and to every
        ``BaseException`` that is not an ``Exception``.
    """

    __slots__ = ("_declared",)

    def __init__(self, declared: tuple[type[Exception], ...] = ()) -> None:
        self._declared = declared
        _declared_anywhere.update(declared)

    def includes(self, error: BaseException) -> bool:
        """Return whether ``error`` itself is an interrupt."""
        return is_interrupt(type(error), self._declared)

    def behind(self, error: BaseException) -> BaseException | None:
        """Return the interrupt that ``error`` is, or that other code has converted into it; None if neither.

        Do not call it while ``error`` is being handled. An exception that the caller was handling when it
        made the call is in the context of ``error`` too, but did not interrupt the call.
        """
        if self.includes(error):
            return error
        known = {id(link) for link in _links(sys.exc_info()[1])}
        for link in _links(error):
            if id(link) not in known and self.includes(link) and type(link).__name__ not in _OF_CLIENTS:
                return link
        return None


def is_interrupt(kind: type[BaseException], declared: tuple[type[Exception], ...]) -> bool:
    """Return whether exceptions of this type are interrupts if these types are declared to be."""
    return (
        not issubclass(kind, Exception)
        or issubclass(kind, declared)
        or any(base.__name__ in TIME_LIMITS for base in kind.__mro__)
    )


_declared_anywhere: set[type[Exception]] = set()
"""The interrupts that any configuration declares."""

KNOWN_INTERRUPTS = Interrupts()
"""The interrupts that need no declaration."""


def any_interrupts() -> Interrupts:
    """Return an object that recognizes the interrupts of all configurations."""
    return Interrupts(tuple(_declared_anywhere))


def raise_interrupt(error: BaseException) -> None:
    """Raise the interrupt that ``error`` is, or was raised from; return if neither.

    Use it in handlers that ignore an exception and continue. They serve all configurations, so the interrupts
    of all of them count. The implicit context does not count, because it also contains exceptions that the
    caller was handling before.
    """
    interrupts = any_interrupts()
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        if interrupts.includes(link) and type(link).__name__ not in _OF_CLIENTS:
            raise link
        seen.add(id(link))
        link = link.__cause__


def hidden_interrupt(error: BaseException, before: BaseException | None) -> BaseException | None:
    """Return the interrupt that a client's clean-up has replaced with ``error``, or None.

    Parameters
    ----------
    error
        The exception that the client raised.
    before
        The exception that was being handled before the request. It does not belong to this request.
    """
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and link is not before and id(link) not in seen:
        if not isinstance(link, Exception):
            return link
        seen.add(id(link))
        link = link.__context__
    return None


def _links(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, its causes, its contexts, and the members of groups."""
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
