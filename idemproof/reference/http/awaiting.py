"""Performs the steps of a request on an event loop, for the middlewares of ASGI and of Django."""

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any

from .commands import End, Execute, ReadBody, Steps

Read = Callable[[ReadBody], Awaitable[bytes]]


async def advance(
    steps: Steps, read_body: Read | None = None, reply: Any = None, error: BaseException | None = None
) -> End | Execute:
    """Perform ``steps`` until the application has to run, or to their end.

    Parameters
    ----------
    steps
        The steps of :class:`Protection`.
    read_body
        Reads the body of the request; None once the application has run.
    reply, error
        What the last step has led to.
    """
    while True:
        try:
            command = steps.send(reply) if error is None else steps.throw(error)
        except StopIteration as done:
            end: End = done.value
            return end
        if isinstance(command, Execute):
            return command
        reply = error = None
        try:
            if isinstance(command, ReadBody):
                assert read_body is not None  # the application has not run
                reply = await read_body(command)
            else:
                found = command.function(*command.arguments)
                reply = await found if isawaitable(found) else found
        except BaseException as failure:  # noqa: BLE001 - the steps judge it
            error = failure


async def finish(steps: Steps, execution: Awaitable[Any]) -> End:
    """Await the execution of the application, and perform the ``steps`` after it."""
    reply: Any = None
    error: BaseException | None = None
    try:
        reply = await execution
    except BaseException as failure:  # noqa: BLE001 - the steps judge it
        error = failure
    end = await advance(steps, None, reply, error)
    assert not isinstance(end, Execute)  # the application runs once
    return end
