"""A command as a child process that receives and prints lines. It always ends, and sending never blocks."""

import contextlib
import os
import queue
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import IO

_CHUNK = 65_536
_ERRORS_SHOWN = 600
"""How much of the end of its stderr a message shows (characters)."""
_GRACE_SECONDS = 2.0
"""How long it may take to end after its stdin is closed, and again after it is terminated."""
_MOMENT_SECONDS = 0.5

_POSIX = os.name == "posix"


class Child:
    """A running command.

    Parameters
    ----------
    command
        The program and its arguments.
    longest
        The maximal length of a line (bytes).
    own_group
        Whether it gets a process group of its own, which Ctrl-C does not reach, and which ends with it. A
        worker process shares its group with its commands instead, and is killed together with them.
    on_line
        Receives each line, in another thread.
    on_fault
        Receives what is wrong with a line that is too long, as a predicate.
    on_end
        Receives how the command ended, as a predicate.

    Raises
    ------
    OSError
        The command cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        longest: int,
        on_line: Callable[[bytes], None],
        on_fault: Callable[[str], None],
        on_end: Callable[[str], None],
        *,
        own_group: bool,
    ) -> None:
        self.name = f"The command {shlex.join(command)!r}"
        self._longest = longest
        self._on_line = on_line
        self._on_fault = on_fault
        self._on_end = on_end
        self._own_group = own_group and _POSIX
        self._process = subprocess.Popen(  # noqa: S603 - the command that the user gives
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            process_group=0 if self._own_group else None,
        )
        self._unsent: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._errors = ""
        self._ending = threading.Lock()
        self._threads = [
            threading.Thread(target=work, name=f"conformance-command-{work.__name__}", daemon=True)
            for work in (self._write, self._read, self._read_errors)
        ]

    def start_reading(self) -> None:
        """Begin to write and to read lines."""
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def send(self, line: bytes) -> None:
        """Send a line, as soon as it reads."""
        self._unsent.put(line)

    def what_it_said(self) -> str:
        """Return the end of its stderr as a sentence, or empty text."""
        if self._process.poll() is not None:
            self._threads[-1].join(_MOMENT_SECONDS)
        said = " | ".join(self._errors.split("\n")).strip(" |")
        return f" Its stderr ends with: {said}" if said else ""

    def end(self, *, at_once: bool = False) -> int:
        """End it: close its stdin, then terminate it, then kill it. Return its exit status.

        Parameters
        ----------
        at_once
            Kill it immediately, as the operating system may.
        """
        self._unsent.put(None)
        with self._ending:
            if at_once:
                self._signal(signal.SIGKILL if _POSIX else signal.SIGTERM)
            elif not self._ended_within(_GRACE_SECONDS):
                self._signal(signal.SIGTERM)
                if not self._ended_within(_GRACE_SECONDS):
                    self._process.kill()
            status = self._process.wait()
            if self._own_group:  # what it has started, and left behind
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)
            for thread in self._threads:
                if thread is not threading.current_thread():
                    thread.join(_MOMENT_SECONDS)
        return status

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _ended_within(self, seconds: float) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode is not None

    def _write(self) -> None:
        with (
            _opened(self._process.stdin) as stream,
            contextlib.suppress(OSError),
        ):  # the reader reports its end
            while (line := self._unsent.get()) is not None:
                rest = memoryview(line)
                while rest:
                    rest = rest[stream.write(rest) :]

    def _read(self) -> None:
        with _opened(self._process.stdout) as stream:
            unfinished = bytearray()
            while chunk := stream.read(_CHUNK):
                seen = len(unfinished)
                unfinished += chunk
                while (at := unfinished.find(b"\n", seen)) >= 0:
                    if at > self._longest:
                        break
                    line = bytes(unfinished[:at])
                    del unfinished[: at + 1]
                    seen = 0
                    self._on_line(line)
                if len(unfinished) > self._longest:
                    self._on_fault(f"printed a line of more than {self._longest:,} bytes")
                    return
        self._on_end(self._how_it_ended(within_a_line=bool(unfinished)))

    def _read_errors(self) -> None:
        with _opened(self._process.stderr) as stream:
            while chunk := stream.read(_CHUNK):
                self._errors = (self._errors + chunk.decode(errors="replace"))[-_ERRORS_SHOWN:]

    def _how_it_ended(self, *, within_a_line: bool) -> str:
        where = " in the middle of a line" if within_a_line else ""
        if not self._ended_within(_MOMENT_SECONDS):
            return f"closed its stdout{where}"
        status = self._process.returncode
        how = f"exit status {status}" if status >= 0 else f"signal {-status}"
        return f"ended with {how}{where}"


def _opened(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream
