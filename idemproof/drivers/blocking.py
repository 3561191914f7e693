"""The blocking driver: protocol code is written once, as generators; drivers perform its commands.

Both drivers keep the same promises. A failing request is thrown into the generator, at the very command.
A body's exception never is: it is noted on the command, and raised at the end unless the generator raises
first.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from ..spec.commands import (
    AskWithin,
    CallMethod,
    Command,
    Emit,
    Load,
    RunBody,
    Sleep,
    StartRenewal,
    Steps,
    StopRenewal,
    Swap,
    Wait,
)
from ..spec.occurrences import Occurrence
from . import running as current
from .exchanges import perform
from .running import NOT_SET

pause = time.sleep

NOTHING: Mapping[str, Any] = {}


def request(layer: Any, command: Command) -> Any:
    """Ask ``layer`` what ``command`` asks; of an async layer this gives the coroutine."""
    if isinstance(command, Swap):
        return layer._swap(*command)
    if isinstance(command, Load):
        return layer._load(*command)
    assert isinstance(command, CallMethod)  # each driver performs the others itself
    return getattr(layer, command.method)(command.argument)


def wait(layer: Any, command: Wait) -> bool:
    """Wait as the layer offers it, or until the time is over; return whether the layer signalled a change."""
    offered = getattr(layer, "_wait_for_change", None)
    if offered is None:
        pause(command.milliseconds / 1000)
        return False
    signalled: bool = offered(command.key, command.seen, command.milliseconds / 1000)
    return signalled


def drive(  # noqa: C901, PLR0912, PLR0915 - one flat loop, each branch a kind of command or failure
    steps: Steps,
    layer: Any,
    function: Callable[..., Any] | None = None,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] = NOTHING,
    observe: Callable[[Occurrence], None] | None = None,
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
    observe
        Takes what the steps report.
    """
    reply: Any = None
    error: BaseException | None = None
    call: RunBody | None = None
    outer = NOT_SET
    send = steps.send
    while True:
        try:
            while True:
                command = send(reply) if error is None else steps.throw(error)
                reply = error = None
                try:
                    if isinstance(command, Swap):  # without the detour: there are most of them
                        key, expected, new, ttl_ms = command
                        reply = layer._swap(key, expected, new, ttl_ms)
                    elif isinstance(command, RunBody):
                        call = command
                        call.layer = layer
                        if current.wanted:
                            outer = current.running.get()  # kept before an interrupt can strike
                            current.running.set(call)
                        call.result = (call.asked or function)(*args, **kwargs)  # type: ignore[misc]  # it has one
                        call.returned = True
                        if outer is not NOT_SET:
                            current.running.set(outer)
                    elif isinstance(command, Emit):
                        if observe is not None:
                            observe(command.occurrence)
                    elif isinstance(command, Sleep):
                        pause(command.milliseconds / 1000)
                    elif isinstance(command, Wait):
                        reply = wait(layer, command)
                    elif isinstance(command, StartRenewal | StopRenewal):
                        _renew_beside(command, layer, observe)
                    elif isinstance(command, AskWithin):
                        reply = perform(command.exchange, command.client)
                    else:
                        reply = request(layer, command)
                except BaseException as failure:  # noqa: BLE001 - every failure belongs to the protocol
                    if isinstance(command, RunBody) and not command.returned:
                        # An interrupt may strike before it was noted which call this is.
                        call = command
                        call.failure = failure  # before an interrupt can strike
                        if outer is not NOT_SET:
                            current.running.set(outer)
                    else:
                        error = failure if not isinstance(failure, GeneratorExit) else _renamed(failure)
        except StopIteration as done:
            if call is not None:
                if outer is not NOT_SET:
                    current.running.set(outer)  # again: an interrupt may have struck before
                if call.failure is not None:
                    break
            return done.value
        except BaseException as interrupt:
            if getattr(steps, "gi_frame", None) is None:
                if outer is not NOT_SET:
                    current.running.set(outer)
                error = None  # its traceback refers to this frame
                raise  # the protocol's own word
            error = interrupt  # it struck between two commands: for the protocol it is a lost reply
    try:
        raise call.failure
    finally:
        del call, error  # the traceback refers to this frame


def _renew_beside(
    command: StartRenewal | StopRenewal, layer: Any, observe: Callable[[Occurrence], None] | None
) -> None:
    from . import heartbeats  # noqa: PLC0415 - few programs renew leases

    renewal = command.renewal
    if isinstance(command, StartRenewal):
        renewal.beat = heartbeats.start(renewal.steps, layer, observe)
    elif renewal.beat is not None:
        heartbeats.stop(renewal.beat, command.milliseconds)


def _renamed(failure: GeneratorExit) -> Exception:
    """Return the failure to throw into the steps for an error of a layer that would close them."""
    error = RuntimeError("the persistence layer raised GeneratorExit")
    error.__cause__ = failure
    return error
