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
    """The function of a call has ended, and its body had ended before. The answer is known already."""


class EarlyEnd:
    """Ends the body of one call while its function goes on, which then is no part of the call any more.

    The function calls :meth:`begin` first, and awaits :meth:`end` once its result is known. After that, it
    must not return: it raises its own exception, or else :class:`BodyEndedError`, which the call then raises.
    """

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
        """Note that the body begins. If idempotency is switched off, there is no call that could end."""
        self._call = None if self._steps is None else running.get()

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
        if call is None or steps is None:
            return Answer(body(), replayed=False, record=None)
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
        return answer_of(value, call.outcome)
