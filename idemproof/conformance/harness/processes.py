"""Other processes with layers of the same factory: started, told what to do, and always ended."""

import base64
import contextlib
import io
import os
import pickle
import queue
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
from .messages import Failed, Place, Start, Up

SECONDS_AT_MOST = 60.0
"""How long a process may take to start or to do one thing, on a machine that is busy with others."""


def place_of(factory: Callable[[], object] | None) -> Place:
    """Return where a new process finds ``factory``; raise that there is no such place, and what to do."""
    try:
        pickled = pickle.dumps(factory)
        modules = _modules_of(pickled)
    except Exception:  # noqa: BLE001 - what is pickled may raise anything
        modules = set()
    if not modules or "__main__" in modules:
        name = getattr(factory, "__qualname__", factory)
        raise NotOffered(
            f"another process cannot be given the factory {name}: define it by a def at the top of a module "
            "that is not the main program, or as something else that pickle takes, and let it open the same "
            "store in each process"
        )
    return Place(
        pickled,
        {module: getattr(sys.modules[module], "__file__", None) for module in modules},
        tuple(each or str(Path.cwd()) for each in sys.path),
    )


def _modules_of(pickled: bytes) -> set[str]:
    """Return the modules that a pickled object needs; raise if it cannot be read."""
    names = set()

    class Reader(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            names.add(module)
            return super().find_class(module, name)

    Reader(io.BytesIO(pickled)).load()
    return names


class Process:
    """A process that has a layer of its own, and does what it is told.

    Parameters
    ----------
    start
        Where it finds the factory, and by which clock it lives.
    """

    def __init__(self, start: Start) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(  # noqa: S603 - this very interpreter
            [sys.executable, "-P", "-m", f"{__package__}.crowd_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(start.place.paths)},
        )
        self._said: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="conformance-process", daemon=True)
        self._reader.start()
        self._began = time.perf_counter_ns()
        self.tell(start)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def wait_until_up(self) -> None:
        """Wait until its layer is made."""
        up: Up = self.hear()
        if not self._began <= up.timer <= time.perf_counter_ns():
            raise NotJudged("processes on this machine do not share a timer, so none can tell who was first")

    def tell(self, what: object) -> None:
        """Give it something to do."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it has ended, or was killed: reading tells
            self._process.stdin.write(base64.b64encode(pickle.dumps(what)) + b"\n")
            self._process.stdin.flush()

    def hear(self) -> Any:
        """Return the next thing that it says; raise that it could not do what it was told."""
        try:
            said = self._said.get(timeout=SECONDS_AT_MOST)
        except queue.Empty:
            raise NotJudged(
                f"another process with the factory's layer said nothing for {SECONDS_AT_MOST:.0f} seconds"
            ) from None
        if isinstance(said, _Ended):
            self._said.put(said)
            raise NotJudged(f"another process with the factory's layer ended by itself: {self._last_words()}")
        if isinstance(said, Failed):
            raise NotJudged(f"another process with the factory's layer failed: {said.why}")
        return said

    def rest(self) -> list[Any]:
        """Return all else that it has said, once it is dead."""
        said = []
        while not isinstance(each := self._said.get(timeout=SECONDS_AT_MOST), _Ended):
            said.append(each)
        return said

    def kill(self) -> None:
        """Kill it, as the lack of memory would, and wait for its end. What it has said can still be read."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):  # what was not written, it would not have read
                stream.close()
        self._errors.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith(b"\n"):  # else it was killed in the middle of saying it
                self._said.put(pickle.loads(base64.b64decode(line)))  # noqa: S301 - of a process of our own
        self._said.put(_Ended())

    def _last_words(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self._process.returncode}"


class _Ended:
    """Nothing more will be said."""
