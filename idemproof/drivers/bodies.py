"""Runs the body of an ``async def`` call, and distinguishes its own exceptions from a close from outside."""

import types
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Any

from ..spec.commands import RunBody


@types.coroutine
def run_body(
    call: RunBody, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Generator[Any, Any, None]:
    """Await the body and record its result or its exception on ``call``.

    An exception of the body is recorded, even a ``GeneratorExit``. A ``GeneratorExit`` from outside, for
    example when the event loop has ended, is raised, because nothing can be awaited any more.
    """
    reply: Any = None
    error: BaseException | None = None
    closed = False
    try:
        steps = _awaited(function(*args, **kwargs))
        while True:
            waiting = steps.send(reply) if error is None else steps.throw(error)
            reply = error = None
            try:
                reply = yield waiting
            except GeneratorExit as closing:
                closed = True
                _close(steps, closing)
                raise
            except BaseException as thrown:  # noqa: BLE001 - thrown into the body
                error = thrown
    except StopIteration as done:
        call.result = done.value
        call.returned = True
    except BaseException as failure:
        if closed:
            raise
        call.failure = failure
    finally:
        del call, error  # the failure's traceback refers to this frame


async def _awaited(body: Awaitable[Any]) -> Any:
    return await body


def _close(steps: Any, closing: GeneratorExit) -> None:
    try:
        steps.close()
    except BaseException as failure:  # noqa: BLE001 - from the body, whose caller is gone
        closing.__cause__ = failure
