"""Worker processes with a layer from the same factory: they get orders, and always end."""

import base64
import contextlib
import io
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..suite.checks import NotJudged, NotOffered
from .messages import FactoryLocation, Failed, Start, Up

_PROGRAM = f"""
import idemproof.conformance.without_pytest
from {__package__}.stress_worker import main
main()
"""
"""The program of a process."""

SECONDS_AT_MOST = 60.0
"""How long a process may take to start, or to carry out one order, on a busy machine."""

_POSIX = os.name == "posix"


def place_of(factory: Callable[[], object] | None) -> FactoryLocation:
    """Return where a new process finds ``factory``.

    Raises
    ------
    NotOffered
        Another process cannot import the factory; the message says order to do.
    """
    try:
        pickled = pickle.dumps(factory)
        modules = _modules_of(pickled)
    except Exception:  # noqa: BLE001 - pickling may raise anything
        modules = set()
    if not modules or "__main__" in modules:
        name = getattr(factory, "__qualname__", factory)
        raise NotOffered(
            f"another process cannot import the factory {name}: define it with def at the top of a module "
            "that is not the main program, or make it an object that pickle supports; it must open "
            "the same store in each process"
        )
    return FactoryLocation(
        pickled,
        {module: getattr(sys.modules[module], "__file__", None) for module in modules},
        tuple(each or str(Path.cwd()) for each in sys.path),
    )


def _modules_of(pickled: bytes) -> set[str]:
    """Return the modules that a pickled object needs; raise if it cannot be unpickled."""
    names = set()

    class Reader(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            names.add(module)
            return super().find_class(module, name)

    Reader(io.BytesIO(pickled)).load()
    return names


class Process:
    """A worker process with its own layer, which carries out orders.

    Parameters
    ----------
    start
        The location of the factory, and the clock that the process uses.
    """

    def __init__(self, start: Start) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(  # noqa: S603 - the current interpreter
            [sys.executable, "-P", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(start.location.paths)},
            process_group=0 if _POSIX else None,
        )
        self._replies: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="conformance-process", daemon=True)
        self._reader.start()
        self._began = time.perf_counter_ns()
        self.send(start)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def wait_until_up(self) -> None:
        """Wait until the process has created its layer."""
        up: Up = self.hear()
        if not self._began <= up.timer <= time.perf_counter_ns():
            raise NotJudged(
                "processes on this machine do not share a timer, so the order of their requests is unknown"
            )

    def send(self, order: object) -> None:
        """Send an order."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # the process has ended; `hear` reports it
            self._process.stdin.write(base64.b64encode(pickle.dumps(order)) + b"\n")
            self._process.stdin.flush()

    def hear(self) -> Any:
        """Return the next reply.

        Raises
        ------
        NotJudged
            The process failed, ended, or sent no reply in time.
        """
        try:
            reply = self._replies.get(timeout=SECONDS_AT_MOST)
        except queue.Empty:
            raise NotJudged(
                f"another process with the factory's layer sent no reply for {SECONDS_AT_MOST:.0f} seconds"
            ) from None
        if isinstance(reply, _Ended):
            self._replies.put(reply)
            reason = self._last_error_line()
            raise NotJudged(f"another process with the factory's layer ended unexpectedly: {reason}")
        if isinstance(reply, Failed):
            raise NotJudged(f"another process with the factory's layer failed: {reply.why}")
        return reply

    def rest(self) -> list[Any]:
        """Return all remaining replies of a process that has ended."""
        replies = []
        while not isinstance(each := self._replies.get(timeout=SECONDS_AT_MOST), _Ended):
            replies.append(each)
        return replies

    def kill(self) -> None:
        """Kill the process, as the operating system may, and wait for its end. Its replies stay readable.

        If its layer is a command, the command is killed with it.
        """
        if _POSIX:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):  # the process can no longer read what is still buffered
                stream.close()
        self._errors.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith(b"\n"):  # an incomplete line: the process was killed while writing it
                self._replies.put(pickle.loads(base64.b64decode(line)))  # noqa: S301 - from our own process
        self._replies.put(_Ended())

    def _last_error_line(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self._process.returncode}"


class _Ended:
    """Marks the end of the replies."""
