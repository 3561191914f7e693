"""The async driver: what :mod:`~idemproof.backends.drivers` does, for event loops."""

import asyncio
import contextvars
import functools
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from ..spec.errors import IdempotencyConfigError
from .commands import Call, Sleep
from .drivers import NOTHING, Steps, request

pause_async = asyncio.sleep


async def drive_async(  # noqa: C901, PLR0912, PLR0915 - one flat loop, as its blocking twin
    steps: Steps,
    layer: Any,
    function: Callable[..., Coroutine[Any, Any, Any]] | None = None,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] = NOTHING,
) -> Any:
    """Perform ``steps`` on an async layer and return their result.

    A cancellation never abandons a request: it is remembered, the protocol finishes, then it is raised.
    One that arrives before the body keeps the body from running.
    """
    if layer.blocks:
        _require_event_loop()
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
            error = None  # its traceback refers to this frame
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
                task, interrupted = await _shielded(request(layer, command))
                cancelled = cancelled or interrupted
                reply = task.result()
            else:
                reply = await request(layer, command)
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


def _require_event_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise IdempotencyConfigError(
            "Functions that are async def are protected under asyncio only, and no event loop of asyncio "
            "runs here. Nothing ran. Under trio, protect a plain function and call it by "
            "trio.to_thread.run_sync, or run the program by anyio's asyncio backend."
        ) from None


async def _shielded(
    request: Coroutine[Any, Any, Any],
) -> tuple["asyncio.Task[Any]", asyncio.CancelledError | None]:
    """Await ``request`` to its end whatever happens; return it and the cancellation that came meanwhile."""
    task = asyncio.ensure_future(request)
    return task, await _end_of(task)


async def _end_of(future: "asyncio.Future[Any]") -> asyncio.CancelledError | None:
    """Wait until ``future`` is done, and return the cancellation that came meanwhile."""
    interrupted = None
    while not future.done():
        # As asyncio.wait does, at half its price: there is one future, and no time limit.
        waiter = future.get_loop().create_future()
        wake = functools.partial(_wake, waiter)
        future.add_done_callback(wake)
        try:
            await waiter
        except asyncio.CancelledError as cancellation:
            interrupted = cancellation
        finally:
            future.remove_done_callback(wake)
    return interrupted


def _wake(waiter: "asyncio.Future[None]", _done: "asyncio.Future[Any]") -> None:
    if not waiter.done():  # a cancellation may have been faster
        waiter.set_result(None)


async def in_thread(method: Callable[..., Any], *args: Any) -> Any:
    """Call a blocking method in a worker thread.

    A thread cannot be stopped, so a cancellation waits for it: what it does must not happen unobserved.
    """
    call = functools.partial(contextvars.copy_context().run, _without_stop_iteration, method, *args)
    future = asyncio.get_running_loop().run_in_executor(None, call)
    interrupted = await _end_of(future)
    if interrupted is not None:
        future.exception()  # observed, though the cancellation is what is raised
        raise interrupted
    return future.result()


def _without_stop_iteration(method: Callable[..., Any], *args: Any) -> Any:
    try:
        return method(*args)
    except StopIteration as stop:
        # A future cannot hold it, and would never be done.
        raise RuntimeError(f"{method!r} raised StopIteration") from stop
