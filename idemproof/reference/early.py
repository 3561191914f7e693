"""The end of an async call before the end of its function."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from ..drivers.asynchronous import drive_async
from ..drivers.running import running
from ..spec.commands import Steps
from ..spec.events import Completed
from ..spec.occurrences import Occurrence
from .current import current_attempt as _  # noqa: F401 - from then on, drivers set `running`
from .idempotency import Answer, answer_of

T = TypeVar("T")


class BodyEndedError(Exception):
    """The function of a call has ended, and its body had failed before. What that led to is known already."""


class EarlyEnd:
    """Ends the body of one call while its function goes on, which then is no part of the call any more.

    The function calls :meth:`begin` first, and awaits :meth:`end` once its result is known. At its own end it
    returns :meth:`ended`, unless it raises something. The call then returns and raises the same.
    """

    answer: Answer[Any] | None = None
    """The answer of the call; None until its body has ended, and if it has none."""

    cancellation: asyncio.CancelledError | None = None
    """What the function has to raise once it has used the answer, or None."""

    _call: Any = None
    _steps: Steps | None = None
    _layer: Any
    _observe: Callable[[Occurrence], None]

    def may_end(self, steps: Steps, layer: Any, observe: Callable[[Occurrence], None]) -> None:
        """Note the steps of the call, its layer, and what takes its occurrences."""
        self._steps, self._layer, self._observe = steps, layer, observe

    def begin(self) -> None:
        """Note that the body begins."""
        self._call = running.get()

    async def end(self, body: Callable[[], T]) -> Answer[T]:
        """End the body with what ``body`` returns or raises, which awaits nothing; return the call's answer.

        A cancellation does not interrupt this. If the result is stored nevertheless, the cancellation is in
        :attr:`cancellation`, and the function raises it once it has used the answer.

        Raises
        ------
        Exception
            What ``body`` raised, or an error of the call.
        """
        call, steps = self._call, self._steps
        if steps is None:  # idempotency is switched off, so there is no call that could end
            self.answer = Answer(body(), replayed=False, record=None)
            return self.answer
        try:
            call.result = body()
            call.returned = True
        except Exception as failure:  # noqa: BLE001 - the steps judge it
            call.failure = failure
        try:
            value: T = await drive_async(steps, self._layer, observe=self._observe, call=call)
        except asyncio.CancelledError as cancellation:
            if not isinstance(call.outcome, Completed):
                raise
            self.cancellation = cancellation
            value = call.result
        self.answer = answer_of(value, call.outcome)
        return self.answer

    def ended(self) -> Any:
        """Return what the function returns once its body has ended.

        Raises
        ------
        BodyEndedError
            The call has no answer.
        """
        if self.answer is None:
            raise BodyEndedError
        return self.answer.value
