"""Performs steps of an async call in another thread: what asks a connection there, all else on the loop."""

import asyncio
from collections.abc import Callable
from typing import Any

from ..spec.commands import AskWithin, Command, Steps
from ..spec.occurrences import Occurrence
from .asynchronous import drive_async
from .exchanges import perform


def may_wait_for(loop: Any) -> bool:
    """Return whether this thread may wait for ``loop``: it runs none itself."""
    return loop is not None and asyncio._get_running_loop() is None


def drive_from_thread(
    steps: Steps, layer: Any, loop: asyncio.AbstractEventLoop, observe: Callable[[Occurrence], None] | None
) -> Any:
    """Perform ``steps`` of an async call in another thread than its event loop, and return their result.

    The connection of the application is used in this thread alone, as many drivers demand.

    Parameters
    ----------
    steps
        The protocol code.
    layer
        The async layer of the call.
    loop
        The event loop of the call.
    observe
        Takes what the steps report.
    """
    reply: Any = None
    error: BaseException | None = None
    try:
        while True:
            command = steps.send(reply) if error is None else steps.throw(error)
            reply = error = None
            try:
                if isinstance(command, AskWithin):
                    reply = perform(command.exchange, command.client)
                else:
                    asked = drive_async(_only(command), layer, observe=observe)
                    reply = asyncio.run_coroutine_threadsafe(asked, loop).result()
            except BaseException as failure:  # noqa: BLE001 - every failure belongs to the protocol
                error = failure
    except StopIteration as done:
        return done.value
    finally:
        del error  # its traceback refers to this frame


def _only(command: Command) -> Steps:
    return (yield command)
