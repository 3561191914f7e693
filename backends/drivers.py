"""The two drivers: protocol code is written once, as generators; these perform what it asks.

Both keep the same promises. A failing request is thrown into the generator, at the very command. A body's
exception never is: it is noted on the command, and raised at the end unless the generator raises first.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import Any

from .commands import Call, Command, Invoke, Load, Sleep, Swap

Steps = Generator[Command, Any, Any]

pause = time.sleep
pause_async = asyncio.sleep

_NOTHING: Mapping[str, Any] = {}


def _request(layer: Any, command: Load | Swap | Invoke) -> Any:
    if isinstance(command, Swap):
        return layer._swap(command.key, command.expected, command.new, command.keep_ms)
    if isinstance(command, Load):
        return layer._load(command.key)
    return getattr(layer, command.method)(command.argument)


def drive(
    steps: Steps,
    layer: Any,
    function: Callable[..., Any] | None = None,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] = _NOTHING,
) -> Any:
    """Perform ``steps`` on a blocking layer and return their result.

    Parameters
    ----------
    steps
        The protocol code.
    layer
        The persistence layer.
    function, args, kwargs
        The body, if the steps run one.
    """
    reply: Any = None
    error: BaseException | None = None
    call: Call | None = None
    while True:
        try:
            command = steps.send(reply) if error is None else steps.throw(error)
        except StopIteration as done:
            if call is not None and call.failure is not None:
                break
            return done.value
        reply = error = None
        try:
            if isinstance(command, Call):
                call = command
                call.result = function(*args, **kwargs)  # type: ignore[misc]  # steps with a Call have one
                call.returned = True
            elif isinstance(command, Sleep):
                pause(command.milliseconds / 1000)
            else:
                reply = _request(layer, command)
        except BaseException as failure:  # noqa: BLE001 - every failure belongs to the protocol
            if isinstance(command, Call) and not command.returned:
                command.failure = failure
            else:
                error = failure
    try:
        raise call.failure
    finally:
        del call, error  # the traceback refers to this frame


async def drive_async(  # noqa: C901, PLR0912, PLR0915 - one flat loop, as its blocking twin
    steps: Steps,
    layer: Any,
    function: Callable[..., Coroutine[Any, Any, Any]] | None = None,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] = _NOTHING,
) -> Any:
    """Perform ``steps`` on an async layer and return their result.

    A cancellation never abandons a request: it is remembered, the protocol finishes, then it is raised.
    One that arrives before the body keeps the body from running.
    """
    reply: Any = None
    error: BaseException | None = None
    call: Call | None = None
    cancelled: asyncio.CancelledError | None = None
    while True:
        try:
            command = steps.send(reply) if error is None else steps.throw(error)
        except StopIteration as done:
            if call is not None and call.failure is not None:
                break
            if cancelled is not None:
                raise cancelled from None
            return done.value
        except Exception as failure:
            if cancelled is not None:
                raise cancelled from failure
            raise
        reply = error = None
        try:
            if isinstance(command, Call):
                call = command
                if cancelled is not None:
                    raise cancelled  # noqa: TRY301 - exactly as if the body had been cancelled at once
                call.result = await function(*args, **kwargs)  # type: ignore[misc]
                call.returned = True
            elif isinstance(command, Sleep):
                if cancelled is None:
                    await pause_async(command.milliseconds / 1000)
            elif layer.blocks:
                task, interrupted = await _shielded(_request(layer, command))
                cancelled = cancelled or interrupted
                reply = task.result()
            else:
                reply = await _request(layer, command)
        except GeneratorExit:
            raise  # the event loop is gone: nothing can be awaited any more
        except BaseException as failure:  # noqa: BLE001 - every failure belongs to the protocol
            if isinstance(command, Call) and not command.returned:
                command.failure = failure
            elif isinstance(command, Sleep) and isinstance(failure, asyncio.CancelledError):
                cancelled = failure
            else:
                error = failure
    try:
        if cancelled is not None and cancelled is not call.failure and isinstance(call.failure, Exception):
            raise cancelled from call.failure
        raise call.failure
    finally:
        del call, error, cancelled  # the traceback refers to this frame


async def _shielded(
    request: Coroutine[Any, Any, Any],
) -> tuple["asyncio.Task[Any]", asyncio.CancelledError | None]:
    """Await ``request`` to its end whatever happens; return it and the cancellation that came meanwhile."""
    task = asyncio.ensure_future(request)
    interrupted = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as cancellation:
            interrupted = cancellation
    return task, interrupted
