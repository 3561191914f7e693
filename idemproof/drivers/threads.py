"""Where blocking layers work for ``async def`` functions: threads of their own, never the loop's executor.

The executor of a loop belongs to the application: its threads may be busy, or wait for the very call that
would need one, and it takes no work once the interpreter has begun to exit.
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
"""How many requests of one layer may be under way at once; more wait for their turn."""


async def in_thread(layer: Any, method: Callable[..., Any], *args: Any) -> Any:
    """Call a blocking ``method`` of ``layer`` in one of the layer's threads.

    A cancellation gives up what has not begun. A thread cannot be stopped, so what has begun is awaited: it
    must not happen unobserved.
    """
    call = functools.partial(contextvars.copy_context().run, _with_nameable_errors, method, *args)
    future = _threads_of(layer).submit(call)
    loop = asyncio.get_running_loop()
    cancelling: Any = getattr(asyncio.current_task(), "cancelling", int)
    interrupted: BaseException | None = None
    while not future.done():
        # Woken by a function that is written in C, in which no signal's handler can strike: a lost call would
        # be waited for without end. How often the task was cancelled tells that from a cancellation.
        waiter = loop.create_future()
        cancellations = cancelling()
        future.add_done_callback(functools.partial(_tell, loop, waiter.cancel))
        try:
            await waiter
        except BaseException as interrupt:
            is_cancellation = isinstance(interrupt, asyncio.CancelledError)
            if is_cancellation and future.done() and cancelling() == cancellations:
                break
            if future.cancel():
                interrupt.nothing_written = True  # type: ignore[attr-defined]  # so nothing is to be taken back
                raise
            if not is_cancellation:
                raise
            interrupted = interrupt
    if interrupted is None:
        return future.result()
    try:
        raise interrupted
    finally:
        del interrupted  # its traceback refers to this frame


def _tell(loop: asyncio.AbstractEventLoop, wake: Callable[[], object], _done: "Future[Any]") -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(wake)


def _with_nameable_errors(method: Callable[..., Any], *args: Any) -> Any:
    try:
        return method(*args)
    except (StopIteration, GeneratorExit) as stop:
        # A coroutine cannot raise the one, and would seem to be closed by the other.
        raise RuntimeError(f"{method!r} raised {type(stop).__name__}") from stop


class _Threads:
    """The threads of one layer: started when needed, ended with it, joined by an exiting interpreter."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin anew, as a forked child has to: it has none of its parent's threads."""
        self._pool = ThreadPoolExecutor(THREADS_PER_LAYER, thread_name_prefix="idemproof")
        self.process = os.getpid()

    def submit(self, call: Callable[[], Any]) -> "Future[Any]":
        """Have ``call`` made in a thread, or here if there is none."""
        future: Future[Any] = Future()
        job = functools.partial(_perform, future, [call])
        try:
            self._pool.submit(job)
        except RuntimeError:
            # There is no thread to be had: there are too many, or the interpreter exits, which waits for the
            # loops that still run. What has run there must be stored, so the loop waits for the request.
            job()
        return future


def _perform(future: "Future[Any]", call: list[Callable[[], Any]]) -> None:
    try:
        perform = call.pop()
    except IndexError:
        return  # a pool that could not start a thread has refused it, and kept it
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = perform()
    except BaseException as error:  # noqa: BLE001 - raised where it is awaited
        future.set_exception(error)
    else:
        future.set_result(result)


_threads: dict[int, _Threads] = {}
_of_parents: list[Any] = []


def _threads_of(layer: Any) -> _Threads:
    """Return the threads of ``layer``, its own, so that a store that hangs does not hold up others."""
    found = _threads.get(id(layer))
    if found is None:
        # By identity: a layer may be equal to another, and need not be hashable.
        found = _threads.setdefault(id(layer), _Threads())
        weakref.finalize(layer, _threads.pop, id(layer), None).atexit = False
    if found.process != os.getpid():  # forked by other means than Python's
        _renew(found)
    return found


def _renew(threads: _Threads) -> None:
    _of_parents.append(threads._pool)  # ending it would take locks that nobody is left to release
    threads.renew()


def _renew_all() -> None:
    for threads in _threads.values():
        _renew(threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
