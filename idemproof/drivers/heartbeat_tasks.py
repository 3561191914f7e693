"""Renews the leases of ``async def`` bodies: one task for each attempt."""

import asyncio
from collections.abc import Callable
from typing import Any

from ..spec.commands import CancelBody, Emit, RunBody, Sleep, Steps
from ..spec.occurrences import Occurrence
from .blocking import request

pause = asyncio.sleep
"""Waits until the next renewal is due."""

wait = asyncio.wait
"""Waits for a request in flight."""


class TaskBeat:
    """The renewal of one attempt, as a task of its own.

    Parameters
    ----------
    steps
        The steps to perform.
    layer, observe
        The layer, and what takes occurrences.
    """

    def __init__(self, steps: Steps, layer: Any, observe: Callable[[Occurrence], None] | None) -> None:
        self._layer, self._observe = layer, observe
        self._body = asyncio.current_task()
        self._cancellations = 0 if self._body is None else self._body.cancelling()
        self._performing = self._stopped = self._cancelled = False
        self._task = task = asyncio.get_running_loop().create_task(
            self._perform(steps), name="idemproof-renewal"
        )
        task.add_done_callback(_forget)

    async def _perform(self, steps: Steps) -> None:
        reply: Any = None
        error: BaseException | None = None
        while True:
            try:
                command = steps.send(reply) if error is None else steps.throw(error)
            except StopIteration:
                return
            reply = error = None
            try:
                if isinstance(command, Sleep):
                    if self._stopped:
                        return
                    await pause(command.milliseconds / 1000)
                elif isinstance(command, Emit):
                    if self._observe is not None:
                        self._observe(command.occurrence)
                elif isinstance(command, CancelBody):
                    self._cancel_body()
                else:
                    self._performing = True
                    try:
                        reply = await request(self._layer, command)
                    finally:
                        self._performing = False
            except Exception as failure:  # noqa: BLE001 - every failure belongs to the protocol
                error = failure

    def _cancel_body(self) -> None:
        if self._body is not None:
            self._cancelled = True
            self._body.cancel("the attempt has lost its claim")

    def judge(self, call: RunBody, loss: Callable[[BaseException], BaseException]) -> None:
        """Once the body has ended, replace a cancellation that was only this renewal's by the loss."""
        body = self._body
        if not self._cancelled or body is None:
            return
        only_ours = body.uncancel() <= self._cancellations
        if only_ours and isinstance(call.failure, asyncio.CancelledError):
            call.failure = loss(call.failure)

    async def stop(self, milliseconds: int) -> None:
        """Perform no further step. Wait for a request in flight, at most so many milliseconds."""
        self._stopped = True
        if self._performing:
            await wait([self._task], timeout=milliseconds / 1000)
        self._task.cancel()
        if not self._performing:
            await wait([self._task])


def _forget(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()  # retrieved, so that nothing is logged: the protocol has judged it
