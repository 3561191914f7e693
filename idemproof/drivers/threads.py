"""Runs blocking layers for ``async def`` functions in threads of the layer, never in the loop's executor.

The executor of a loop belongs to the application. Its threads may be busy, or wait for the same call that
needs a thread, and it accepts no work once the interpreter has started to exit.
"""

import asyncio
import contextlib
import contextvars
import functools
import os
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

THREADS_PER_LAYER = 32
"""How many requests of one layer run at the same time. Further requests wait."""


async def in_thread(layer: Any, method: Callable[..., Any], *args: Any) -> Any:
    """Call a blocking ``method`` of ``layer`` in one of the layer's threads.

    A cancellation drops a request that has not started. A request that has started is awaited, because a
    thread cannot be stopped and its effect must be observed.
    """
    call = functools.partial(contextvars.copy_context().run, _without_stop_errors, method, *args)
    future = _threads_of(layer).submit(call)
    loop = asyncio.get_running_loop()
    cancelling: Any = getattr(asyncio.current_task(), "cancelling", int)
    interrupted: BaseException | None = None
    while not future.done():
        # The waiter is woken by a function in C, in which no signal handler can run, because a lost wake-up
        # would block forever. The task's number of cancellations distinguishes it from a cancellation.
        waiter = loop.create_future()
        cancellations = cancelling()
        future.add_done_callback(functools.partial(_wake_loop, loop, waiter.cancel))
        try:
            await waiter
        except BaseException as interrupt:
            is_cancellation = isinstance(interrupt, asyncio.CancelledError)
            if is_cancellation and future.done() and cancelling() == cancellations:
                break
            if future.cancel():
                interrupt.nothing_written = True  # type: ignore[attr-defined]  # so there is nothing to undo
                raise
            if not is_cancellation:
                raise
            interrupted = interrupt
    if interrupted is None:
        return future.result()
    try:
        raise interrupted
    finally:
        del interrupted  # because its traceback refers to this frame


def _wake_loop(loop: asyncio.AbstractEventLoop, wake: Callable[[], object], _done: "Future[Any]") -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed, so there is no waiter
        loop.call_soon_threadsafe(wake)


def _without_stop_errors(method: Callable[..., Any], *args: Any) -> Any:
    try:
        return method(*args)
    except (StopIteration, GeneratorExit) as stop:
        # A coroutine cannot raise StopIteration, and GeneratorExit would look like a close.
        raise RuntimeError(f"{method!r} raised {type(stop).__name__}") from stop


class _Threads:
    """The threads of one layer: started when needed, ended with it, joined when the interpreter exits."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Start over with no threads, as in a forked child, which does not inherit threads."""
        self._pool = ThreadPoolExecutor(THREADS_PER_LAYER, thread_name_prefix="idemproof")
        self.process = os.getpid()

    def submit(self, call: Callable[[], Any]) -> "Future[Any]":
        """Run ``call`` in a thread, or in the current one if no thread can be started."""
        future: Future[Any] = Future()
        job = functools.partial(_perform, future, [call])
        try:
            self._pool.submit(job)
        except RuntimeError:
            # No thread can be started: there are too many, or the interpreter exits while loops still run.
            # Their results must be stored, so the loop waits for the request.
            job()
        return future


def _perform(future: "Future[Any]", call: list[Callable[[], Any]]) -> None:
    try:
        perform = call.pop()
    except IndexError:
        return  # the pool raised because it could not start a thread, but kept the job
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = perform()
    except BaseException as error:  # noqa: BLE001 - raised where it is awaited
        future.set_exception(error)
    else:
        future.set_result(result)


_threads: dict[int, _Threads] = {}
_inherited: list[Any] = []


def _threads_of(layer: Any) -> _Threads:
    """Return the threads of ``layer``. Each layer has its own, so that a hanging store blocks no other."""
    found = _threads.get(id(layer))
    if found is None:
        # By identity, because layers may be equal and need not be hashable.
        found = _threads.setdefault(id(layer), _Threads())
        weakref.finalize(layer, _threads.pop, id(layer), None).atexit = False
    if found.process != os.getpid():  # forked without Python's knowledge
        _renew(found)
    return found


def _renew(threads: _Threads) -> None:
    _inherited.append(threads._pool)  # ending it would wait for locks that no thread can release
    threads.renew()


def _renew_all() -> None:
    for threads in _threads.values():
        _renew(threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
