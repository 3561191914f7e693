"""Performs the steps of a request on a thread, for the middlewares of WSGI, Flask and Django."""

from collections.abc import Callable
from inspect import isawaitable, iscoroutine
from typing import Any

from ...spec.errors import IdempotencyConfigError
from ..functions import is_async, name_of
from .commands import Ask, End, Execute, ReadBody, Respond, Steps
from .execution import Execution
from .messages import Response
from .protection import Protection
from .settings import Settings


def blocking_protection(persistence_store: Any, options: dict[str, Any]) -> Protection:
    """Return the rules of a middleware that blocks.

    Raises
    ------
    TypeError, IdempotencyConfigError
        As :class:`Settings` says. Or the layer is async, or a function is ``async def``, or the application
        is to be cancelled.
    """
    settings = Settings(persistence_store, **options)
    if settings.config.cancel_when_lost:
        raise IdempotencyConfigError(
            "cancel_when_lost=True cancels async code, and this middleware runs plain code. Leave it out, "
            "and call current_attempt().check() in the application."
        )
    for name in ("scope", "authorize", "on_takeover"):
        function = options.get(name)
        if callable(function) and is_async(function):
            raise IdempotencyConfigError(
                f"{name} is {name_of(function)}, which is async, and this middleware awaits nothing. Give it "
                "a plain function."
            )
    protection = Protection(settings)
    if protection.idempotency._core.store is None:
        raise IdempotencyConfigError(
            f"{type(persistence_store).__name__} is an async layer, and this middleware awaits nothing. Give "
            "it the blocking layer of the same store."
        )
    return protection


def perform(
    steps: Steps,
    protection: Protection,
    read_body: Callable[[ReadBody], bytes],
    run: Callable[[Execute], Response],
) -> End:
    """Perform ``steps``, and return their end.

    Parameters
    ----------
    steps
        The steps of :class:`Protection`.
    protection
        Makes the calls.
    read_body
        Reads the body of the request.
    run
        Runs the application, and returns what is stored: what :meth:`Execution.answered` or
        :meth:`Execution.overflowed` returned. What it raises is an exception of the application.
    """
    reply: Any = None
    error: Exception | None = None
    while True:
        try:
            command = steps.send(reply) if error is None else steps.throw(error)
        except StopIteration as done:
            end: End = done.value
            return end
        reply = error = None
        try:
            if isinstance(command, Execute):
                reply = _execute(command, protection, run)
            elif isinstance(command, ReadBody):
                reply = read_body(command)
            else:
                reply = _ask(command)
        except Exception as failure:  # noqa: BLE001 - the steps decide
            error = failure


def is_own_answer(end: End, execution: Execution | None) -> bool:
    """Return whether ``end`` sends the answer of the application, and no refusal instead of it."""
    if execution is None or execution.response is None:
        return False
    # Their headers may differ: the body is the same object, and every refusal has a body of its own.
    return not isinstance(end, Respond) or end.response.body is execution.response.body


def _execute(command: Execute, protection: Protection, run: Callable[[Execute], Response]) -> Any:
    interrupts = protection.settings.config.interruptions

    def body() -> Response:
        with command.execution.running(interrupts):
            return run(command)

    return protection.idempotency.run(
        command.key, body, payload_hash=command.payload_hash, on_takeover=command.question
    )


def _ask(command: Ask) -> Any:
    found = command.function(*command.arguments)
    if isawaitable(found):
        if iscoroutine(found):
            found.close()
        raise TypeError(f"{name_of(command.function)} returned an awaitable, which nothing awaits here")
    return found
