"""The async driver: what :mod:`~idemproof.drivers.blocking` does, for event loops."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from ..spec.commands import AskWithin, Command, Emit, RunBody, Sleep, StartRenewal, Steps, StopRenewal, Wait
from ..spec.errors import IdempotencyConfigError
from ..spec.occurrences import Occurrence
from . import running as current
from .blocking import NOTHING, request
from .bodies import run_body
from .exchanges import perform, perform_async
from .running import NOT_SET

pause_async = asyncio.sleep


async def drive_async(  # noqa: C901, PLR0912, PLR0915 - one flat loop, as its blocking twin
    steps: Steps,
    layer: Any,
    function: Callable[..., Coroutine[Any, Any, Any]] | None = None,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] = NOTHING,
    observe: Callable[[Occurrence], None] | None = None,
    call: RunBody | None = None,
) -> Any:
    """Perform ``steps`` on an async layer and return their result.

    ``call`` is given if the body has ended before: it is the last command that they have yielded.

    A cancellation is thrown into the steps as any failure is, at the request that it breaks off. From then
    on, and once the body has begun, requests go on to their end: a cancellation is noted on the call, which
    raises it at its own end.
    """
    if layer.blocks:
        require_event_loop()
    reply: Any = None
    error: BaseException | None = None
    renewal: Any = None
    outer = NOT_SET
    cancelled = False
    while True:
        try:
            while True:
                command = steps.send(reply) if error is None else steps.throw(error)
                reply = error = None
                try:
                    if isinstance(command, RunBody):
                        call = command
                        call.layer = layer
                        call.loop = asyncio._get_running_loop()  # None under trio
                        if current.wanted:
                            outer = current.running.get()  # kept before an interrupt can strike
                            current.running.set(call)
                        await run_body(call, call.asked or function, args, kwargs)  # type: ignore[arg-type]  # it has one
                        if outer is not NOT_SET:
                            current.running.set(outer)
                        if renewal is not None:
                            renewal.beat.judge(call, renewal.cancelled_by)
                    elif isinstance(command, Emit):
                        if observe is not None:
                            observe(command.occurrence)
                    elif isinstance(command, Wait):  # before the body, so that a cancellation ends it
                        reply = await _wait(layer, command)
                    elif isinstance(command, StartRenewal):
                        require_event_loop()
                        from .heartbeat_tasks import TaskBeat  # noqa: PLC0415 - few programs renew leases

                        renewal = command.renewal
                        renewal.beat = TaskBeat(renewal.steps, layer, observe)
                    elif isinstance(command, StopRenewal):
                        beat = command.renewal.beat
                        if beat is not None:
                            stopped = asyncio.ensure_future(beat.stop(command.milliseconds))
                            error = await _end_of(stopped)
                    elif (call is not None or cancelled) and (isinstance(command, Sleep) or layer.blocks):
                        task = asyncio.ensure_future(_perform(layer, command))
                        interrupted = await _end_of(task)
                        if interrupted is not None and call is not None and call.interrupt is None:
                            call.interrupt = interrupted
                        reply = task.result()
                    elif isinstance(command, Sleep | AskWithin):
                        reply = await _perform(layer, command)
                    else:
                        reply = await request(layer, command)
                except GeneratorExit:
                    if outer is not NOT_SET:
                        current.running.set(outer)
                    raise  # the event loop is gone: nothing can be awaited any more
                except BaseException as failure:  # noqa: BLE001 - every failure belongs to the protocol
                    cancelled = cancelled or isinstance(failure, asyncio.CancelledError)
                    if isinstance(command, RunBody) and not command.returned and command.failure is None:
                        call = command
                        call.failure = failure
                        if outer is not NOT_SET:
                            current.running.set(outer)
                    else:
                        error = failure
        except StopIteration as done:
            if call is not None:
                if outer is not NOT_SET:
                    current.running.set(outer)  # again: an interrupt may have struck before
                if call.failure is not None:
                    break
            return done.value
        except BaseException as interrupt:
            if isinstance(interrupt, GeneratorExit) or getattr(steps, "gi_frame", None) is None:
                error = None  # its traceback refers to this frame
                raise  # the protocol's own word
            error = interrupt  # it struck between two commands: for the protocol it is a lost reply
    try:
        raise call.failure
    finally:
        del call, error  # the traceback refers to this frame


def require_event_loop() -> None:
    """Raise :class:`IdempotencyConfigError` unless an event loop of asyncio runs here."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise IdempotencyConfigError(
            "Functions that are async def are protected under asyncio only, and no event loop of asyncio "
            "runs here. Nothing ran. Under trio, protect a plain function and call it by "
            "trio.to_thread.run_sync, or run the program by anyio's asyncio backend."
        ) from None


async def _wait(layer: Any, command: Wait) -> bool:
    """Wait as the layer offers it, or until the time is over; return whether the layer signalled a change."""
    if not layer.blocks:
        require_event_loop()
    offered = getattr(layer, "_wait_for_change", None)
    if offered is None:
        await pause_async(command.milliseconds / 1000)
        return False
    signalled: bool = await offered(command.key, command.seen, command.milliseconds / 1000)
    return signalled


async def _perform(layer: Any, command: Command) -> Any:
    if isinstance(command, Sleep):
        return await pause_async(command.milliseconds / 1000)
    if isinstance(command, AskWithin):
        if command.client.asynchronous:
            return await perform_async(command.exchange, command.client)
        return perform(command.exchange, command.client)
    return await request(layer, command)


async def _end_of(future: "asyncio.Future[Any]") -> asyncio.CancelledError | None:
    """Wait until ``future`` is done, and return a cancellation that arrived before."""
    interrupted = None
    task: Any = asyncio.current_task()
    while not future.done():
        # As asyncio.wait does, at half its price: there is one future, and no time limit. It is woken by a
        # function that is written in C, in which no signal's handler can strike: a lost call would be waited
        # for without end. The count of cancellation requests distinguishes that from a cancellation.
        waiter = future.get_loop().create_future()
        wake = waiter.cancel
        cancellations = task.cancelling()
        future.add_done_callback(wake)
        try:
            await waiter
        except asyncio.CancelledError as cancellation:
            if task.cancelling() > cancellations:
                interrupted = cancellation
        finally:
            future.remove_done_callback(wake)
    return interrupted
