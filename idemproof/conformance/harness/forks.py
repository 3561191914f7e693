"""Forked children of a process with a layer: what they send, what they reply, and how they end."""

import asyncio
import contextlib
import gc
import math
import os
import pickle
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ..suite.checks import Case, NotJudged
from ..suite.subjects import Subject, as_a_sentence
from . import requests
from .linearizability import Operation, Request

PARENT, CHILD = "the parent", "the child"

_BLOCK = 65_536
_LONGEST_SECONDS = 600
"""After which a child ends in any case."""
_MORE_TIME = 4
_BUSY = 0.1
"""How often a child gets more time, if it has used a processor for that part of it."""
_TIMES = slice(11, 13)
"""The fields of the times of a process in its ``stat``, after its name."""


class Hung(NamedTuple):
    """There was no answer in time."""


class Ended(NamedTuple):
    """The child has ended without a reply.

    Parameters
    ----------
    how
        A predicate.
    """

    how: str


class Sent(NamedTuple):
    """Requests that were sent one after the other.

    Parameters
    ----------
    operations
        The requests, with their answers.
    error
        What the last one raised, as a sentence, or None.
    """

    operations: list[Operation]
    error: str | None


Reply = Any
"""What a child has replied, or :class:`Hung` or :class:`Ended`."""


class Child:
    """A forked child, which does some work, replies and ends without any cleanup.

    Parameters
    ----------
    work
        The work. It returns the reply, which can be pickled.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        self._out, reply = os.pipe()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of a fork in a process with threads
                self._process = os.fork()
        except OSError as failure:
            os.close(self._out)
            os.close(reply)
            raise NotJudged(f"this process cannot be forked: {failure}") from failure
        if self._process == 0:
            self._be_the_child(work, reply)
        os.close(reply)
        self._received = bytearray()
        self._runs = True

    def reply(self, seconds: float) -> Reply:
        """Return the reply of the child, if it comes in time; a child that is busy gets more time."""
        worked = self._worked()
        for _ in range(_MORE_TIME):
            reply = self._reply(seconds)
            before, worked = worked, self._worked()
            if not isinstance(reply, Hung) or worked - before < _BUSY * seconds:
                break
        return reply

    def _reply(self, seconds: float) -> Reply:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if not select.select([self._out], [], [], left)[0]:
                break
            block = os.read(self._out, _BLOCK)
            if block:
                self._received += block
                continue
            try:
                return pickle.loads(self._received)  # noqa: S301 - from this program
            except (EOFError, pickle.UnpicklingError):
                return Ended(self._how_it_ended())
        return Hung()

    def end(self) -> None:
        """Kill the child if it still runs."""
        os.close(self._out)
        if self._runs:
            with _where_others_wait_for_children():
                os.kill(self._process, signal.SIGKILL)  # it has not been waited for
                os.waitpid(self._process, 0)

    def switches(self) -> str | None:
        """Return how often the child has gone to sleep, if it sleeps now; None if it runs."""
        try:
            status = Path(f"/proc/{self._process}/status").read_text(encoding="utf-8")
        except OSError:  # another system than Linux
            return None
        return status.partition("voluntary_ctxt_switches:")[2] if "State:\tS" in status else None

    def _worked(self) -> float:
        """Return for how long the child has used a processor (seconds)."""
        try:
            stat = Path(f"/proc/{self._process}/stat").read_text(encoding="utf-8")
        except OSError:  # another system than Linux
            return 0
        return sum(map(int, stat.rpartition(")")[2].split()[_TIMES])) / os.sysconf("SC_CLK_TCK")

    def _how_it_ended(self) -> str:
        self._runs = False
        status = None
        with _where_others_wait_for_children():
            _, status = os.waitpid(self._process, 0)
        if status is None:
            return "ended"
        code = os.waitstatus_to_exitcode(status)
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit status {code}"

    def _be_the_child(self, work: Callable[[], object], reply: int) -> None:
        code = 1
        try:
            # A finalizer of what the parent has left may wait for a thread that the child does not have.
            gc.disable()
            # If the parent ends in the middle, the child must not stay.
            os.close(self._out)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(_LONGEST_SECONDS)
            text = pickle.dumps(work())
            while text:
                text = text[os.write(reply, text) :]
            code = 0
        finally:
            os._exit(code)


def _where_others_wait_for_children() -> contextlib.suppress:
    """Return a context for a process that ignores SIGCHLD, or waits for any child elsewhere."""
    return contextlib.suppress(ProcessLookupError, ChildProcessError)


def in_a_child(layer: Subject) -> Subject:
    """Return the layer for requests in a forked child, which the end of the run in its parent does not stop.

    An async layer gets an event loop of the child.
    """
    loop: Any = _OwnLoop() if layer.asynchronous else layer.loop
    return Subject(layer.layer, loop)


class _OwnLoop:
    """An event loop in the current thread."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run ``work`` to its end, and return its result."""
        return self._runner.run(work)


def sent(case: Case, layer: Subject, who: str, wanted: Iterable[Request], seconds: float = math.inf) -> Sent:
    """Send requests until one raises an error or the time is over."""
    operations: list[Operation] = []
    until = time.monotonic() + seconds
    for request in wanted:
        operation = Operation(who, time.perf_counter_ns(), None, case.now, request)
        try:
            answer = requests.ask(case, layer, request)
        except Exception as failure:  # noqa: BLE001 - reported by the check
            return Sent([*operations, operation], as_a_sentence(failure))
        operations.append(operation._replace(end=time.perf_counter_ns(), answer=answer))
        if time.monotonic() > until:
            break
    return Sent(operations, None)


def replied(work: Callable[[], object], seconds: float) -> Reply:
    """Return what a forked child replies after its work."""
    child = Child(work)
    try:
        return child.reply(seconds)
    finally:
        child.end()


def can_fork() -> bool:
    """Return whether a process with threads can be forked here. On macOS its own libraries may fail then."""
    return hasattr(os, "fork") and sys.platform != "darwin"
