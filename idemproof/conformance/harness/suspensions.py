"""Runs a coroutine step by step, and acts each time that it suspends and resumes."""

from collections.abc import Coroutine, Generator
from typing import Any


class Suspensions:
    """Awaits a coroutine. A subclass acts at its suspensions.

    Parameters
    ----------
    work
        The coroutine.
    """

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work = work

    def __await__(self) -> Generator[Any, Any, Any]:
        error: BaseException | None = None
        while True:
            try:
                awaited = self._work.send(None) if error is None else self._work.throw(error)
            except StopIteration as done:
                return done.value
            error = None
            yield from self._on_suspend()
            try:
                yield awaited
            except BaseException as failure:  # noqa: BLE001 - passed on to the work
                error = failure
            yield from self._on_resume()

    def _on_suspend(self) -> Generator[Any, Any, None]:
        """Act when the work has suspended, before other tasks run; may itself suspend."""
        yield from ()

    def _on_resume(self) -> Generator[Any, Any, None]:
        """Act after other tasks have run, before the work resumes; may itself suspend."""
        yield from ()
