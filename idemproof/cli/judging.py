"""Judges in another process, so that a layer cannot end, block or replace the process that reports."""

import contextlib
import json
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

from idemproof.conformance.suite.profiles import Profile
from idemproof.conformance.suite.run_log import Began, Closed, RunLog

from .messages import Blocked, Busy, Imported, Interrupted, Job, Leaving, Message, Refused, message_of

_TICK_SECONDS = 0.1
_LONGEST_START_SECONDS = 60.0
"""How long Python may take to start, and to import this package."""
_SLOW_IMPORT = 3
"""How many times longer than a request the import of the user's module may take."""
_GRACE_SECONDS = 5.0
"""How much longer this process waits than the other one, whose message is more exact (seconds)."""
_MOMENT_SECONDS = 1.0
_FAREWELLS = range(64, 114)
"""Exit codes that no program uses for the end of a process by a signal."""


class NothingToJudge(Exception):  # noqa: N818 - an outcome, not an error
    """There is nothing to judge, and the message says why; without a message, the run was interrupted."""


def farewell() -> int:
    """Return a random exit code for :class:`Job`."""
    return random.SystemRandom().choice(_FAREWELLS)


def follow(job: Job, profile: Profile, course: RunLog, begin: Callable[[int], None]) -> None:
    """Judge in another process, and add the events of its run to ``course``.

    Parameters
    ----------
    job
        What it judges.
    profile
        The profile of the job, which says how long the layer may take.
    course
        Gets the events. If the layer ends or blocks the process, its report says so.
    begin
        Called with the number of each check that begins.

    Raises
    ------
    NothingToJudge
        There is no layer, or Ctrl-C came before the first check.
    """
    with _Judge(job) as judge:
        watch = _Watch(job, profile, course)
        for message in judge.messages():
            why = watch.hears(message, begin) if message is not None else watch.hears_nothing(_TICK_SECONDS)
            if why is not None:
                course.abort(why)
                return
            if watch.has_all and "broken" in course.report().tiers.values():
                return  # the verdict is known, however the process ends
        if judge.interrupted and not watch.has_all:
            if not course.is_open:
                raise NothingToJudge
            return
        end = judge.end()
        if end != job.farewell or not watch.has_all:
            course.abort(watch.ended(end))


class _Watch:
    """Adds messages to the course, and finds out whether the process hangs."""

    def __init__(self, job: Job, profile: Profile, course: RunLog) -> None:
        self._job = job
        self._patience = profile.patience
        self._course = course
        self._silent = 0.0
        self._heard = False
        self._imported = False
        self._threads: list[str] = []
        self.has_all = False
        """Whether the layers are closed, so that only the end of the process is open."""

    def hears(self, message: Message, begin: Callable[[int], None]) -> str | None:
        """Add a message to the course; return a sentence if the process hangs."""
        if self.has_all and isinstance(message, Busy):
            return self.hears_nothing(_TICK_SECONDS)  # the end of the process has begun
        self._silent = 0.0
        self._heard = True
        if isinstance(message, Busy):
            if message.seconds > self._limit:
                return self._hangs(
                    f"A call at {message.where} did not end within {message.seconds:.0f} seconds"
                )
        elif isinstance(message, Refused):
            raise NothingToJudge(message.why)
        elif isinstance(message, Blocked):
            return message.why
        elif isinstance(message, Interrupted):
            raise NothingToJudge
        elif isinstance(message, Imported):
            self._imported = True
        elif isinstance(message, Leaving):
            self._threads = message.threads
        else:
            self._course.add(message)
            self.has_all = isinstance(message, Closed)
            if isinstance(message, Began):
                begin(message.number)
        return None

    def hears_nothing(self, seconds: float) -> str | None:
        """Count the time without a message; return a sentence if it is too long."""
        self._silent += seconds
        if self._silent <= (self._limit if self._heard else _LONGEST_START_SECONDS):
            return None
        if not self.has_all:
            return self._hangs(f"The process that used the layer sent nothing for {self._silent:.0f} seconds")
        if self._threads:
            kept = f"the thread {self._threads[0]!r} is no daemon, and does not end"
        else:
            kept = "an exit handler or a destructor does not end"
        return (
            f"The process that used the layer did not end within {self._silent:.0f} seconds after the last "
            f"check: {kept}. A program that uses the layer does not end either."
        )

    def ended(self, code: int | None) -> str:
        """Return a sentence about a process that has ended with ``code``, or is no longer ours."""
        if code is None:
            how = "closed its connection to this command, or was replaced by another program"
        elif code < 0:
            how = f"was ended by {_signal(-code)}"
        else:
            how = f"ended with exit code {code}"
        return f"The process that used the layer {how} {self._when}.{self._consequence}"

    def _hangs(self, what: str) -> str:
        return f"{what} {self._when}: it hangs.{self._consequence}"

    @property
    def _limit(self) -> float:
        return self._patience * (1 if self._imported else _SLOW_IMPORT) + _GRACE_SECONDS

    @property
    def _when(self) -> str:
        if self._course.running is not None:
            return f"in the middle of the check {self._course.running.name}"
        if self.has_all:
            return "after the last check, before its regular end"
        if self._course.is_open:
            return "while the layers were closed" if self._course.ended else "between two checks"
        if self._imported:
            return "while the factory made the layers, or in their first request"
        return f"while the module {self._job.target.partition(':')[0]!r} was imported"

    @property
    def _consequence(self) -> str:
        return " No further check ran." if self._course.is_open and not self._course.ended else ""


class _Judge:
    """The process that judges. It and all processes that it has started end with the ``with`` block."""

    def __init__(self, job: Job) -> None:
        self.interrupted = False
        """Whether Ctrl-C was pressed."""
        self._left: float | None = None
        self._usual: dict[int, Any] = {}
        paths = os.pathsep.join(each or os.getcwd() for each in sys.path)  # noqa: PTH109 - as in sys.path
        warnings = [f"-W{each}" for each in sys.warnoptions]
        self._process = subprocess.Popen(  # noqa: S603 - the current interpreter
            [sys.executable, *warnings, "-P", "-m", f"{__package__}.judged"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,  # so that Ctrl-C reaches it once, and all its processes end with it
        )
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._send(json.dumps(job).encode() + b"\n")
        self._threads = [
            threading.Thread(target=work, name="conformance-judge", daemon=True)
            for work in (self._read, self._show_output)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # the only one that may handle signals
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                self._usual[signal.SIGINT] = signal.signal(signal.SIGINT, self._interrupt)
            self._usual[signal.SIGTERM] = signal.signal(signal.SIGTERM, _end)
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        for number, handler in self._usual.items():
            signal.signal(number, handler)

    def messages(self) -> Iterator[Message | None]:
        """Yield each message of the process, and None when it sends none for a moment, until it ends."""
        while self._left is None or time.perf_counter() < self._left:
            try:
                message = self._messages.get(timeout=_TICK_SECONDS)
            except queue.Empty:
                if self._process.poll() is not None and self._messages.empty():
                    return  # a fork of it still has the connection
                yield None
            else:
                if message is None:
                    return
                yield message

    def end(self) -> int | None:
        """Return the exit code, or None if the process does not end."""
        try:
            return self._process.wait(_MOMENT_SECONDS)
        except subprocess.TimeoutExpired:
            return None

    def _interrupt(self, *_: object) -> None:
        """Interrupt the process, which then reports its findings so far. The second time, end it."""
        again, self.interrupted = self.interrupted, True
        self._left = time.perf_counter() + (0.0 if again or os.name != "posix" else _GRACE_SECONDS)
        if os.name == "posix":
            self._process.send_signal(signal.SIGINT)

    def _send(self, line: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended, which `messages` finds out
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError, TypeError, LookupError):  # not one of our messages: it is lost
            for line in self._process.stdout:
                self._messages.put(message_of(line))
        self._messages.put(None)

    def _show_output(self) -> None:
        """Copy the output of the process to stderr, because stdout is for the report."""
        assert self._process.stderr is not None
        while chunk := os.read(self._process.stderr.fileno(), 65536):
            sys.stderr.write(chunk.decode(errors="replace"))
            sys.stderr.flush()

    def _kill(self) -> None:
        with contextlib.suppress(OSError):  # there is none left
            if os.name == "posix":
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.wait()
        for thread, stream in zip(self._threads, (self._process.stdout, self._process.stderr), strict=True):
            thread.join(_MOMENT_SECONDS)
            if stream is not None and not thread.is_alive():  # else a process that has left us still writes
                stream.close()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()


def _end(number: int, _: object) -> None:
    """End this process by an exception, so that no other process stays."""
    raise SystemExit(128 + number)


def _signal(number: int) -> str:
    try:
        return f"{signal.Signals(number).name} (signal {number})"
    except ValueError:
        return f"signal {number}"
