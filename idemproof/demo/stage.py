"""The worker processes: started, killed and ended by their own handles, with every wait bounded."""

import multiprocessing
import signal
from collections.abc import Iterable
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .worker import PATIENCE_SECONDS, serve

# "spawn": each worker is a fresh interpreter that inherits no lock, connection or memory, as on another
# machine, and in the same way on every operating system.
_PROCESSES = multiprocessing.get_context("spawn")

KILLED_BY = "SIGKILL" if hasattr(signal, "SIGKILL") else "terminated"
_START_SECONDS = 30.0
_END_SECONDS = 5.0


class StageError(Exception):
    """A worker did not do its part."""


class Worker:
    """One worker process and the pipe to it.

    Parameters
    ----------
    name
        What it is called in the timeline.
    directory
        Where the files are.
    protected
        Whether Idemproof protects the handler.
    """

    def __init__(self, name: str, directory: Path, *, protected: bool = True) -> None:
        self.name = name
        self.pipe, theirs = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(
            target=serve,
            args=(theirs, directory),
            kwargs={"protected": protected},
            name=f"idemproof demo {name}",
            daemon=True,
        )
        try:
            self._process.start()
        finally:
            theirs.close()
        self.pid = self._process.pid or 0

    def send(self, message: Any) -> None:
        """Send a message."""
        try:
            self.pipe.send(message)
        except OSError as gone:
            raise self._has_ended() from gone

    def receive(self) -> Any:
        """Return the message that has arrived."""
        try:
            return self.pipe.recv()
        except (EOFError, OSError) as gone:
            raise self._has_ended() from gone

    def kill(self) -> None:
        """Kill the process, SIGKILL where there is such a thing, and see it dead."""
        self._process.kill()
        self._process.join(_END_SECONDS)
        if self._process.exitcode is None:
            raise StageError(f"worker {self.name} ({self.pid}) was killed and still runs")

    def dismiss(self) -> None:
        """Close the pipe, which ends the process unless it is stuck."""
        self.pipe.close()

    def end(self) -> None:
        """See the process ended, whatever state it is in."""
        self._process.join(_END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(_END_SECONDS)
        if not self._process.is_alive():
            self._process.close()

    def _has_ended(self) -> StageError:
        self._process.join(_END_SECONDS)
        code = self._process.exitcode
        return StageError(f"worker {self.name} ({self.pid}) ended unexpectedly, exit code {code}")


class Stage:
    """All workers. A context manager: on leaving, every process is gone.

    Parameters
    ----------
    directory
        Where the files are.
    names
        The workers to start.
    protected
        Whether Idemproof protects their handlers.
    """

    def __init__(self, directory: Path, names: Iterable[str], *, protected: bool = True) -> None:
        self._directory = directory
        self._protected = protected
        self._names = sorted(set(names))
        self._workers: dict[str, Worker] = {}

    def __enter__(self) -> Self:
        try:
            for name in self._names:
                self._workers[name] = Worker(name, self._directory, protected=self._protected)
            for worker in self._workers.values():
                self.receive([worker], _START_SECONDS)  # it says Ready, before anything else
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def __getitem__(self, name: str) -> Worker:
        return self._workers[name]

    def receive(self, workers: Iterable[Worker], seconds: float = PATIENCE_SECONDS) -> tuple[Worker, Any]:
        """Return the first message of any of ``workers``, and whose it is.

        Raises
        ------
        StageError
            None of them says anything in time, or one has ended.
        """
        by_pipe = {worker.pipe: worker for worker in workers}
        for pipe in wait(list(by_pipe), timeout=seconds):
            worker = by_pipe[pipe]  # type: ignore[index]  # what goes in comes out
            return worker, worker.receive()
        silent = " and ".join(f"worker {worker.name} ({worker.pid})" for worker in by_pipe.values())
        raise StageError(f"no word from {silent} in {seconds:.0f} seconds")

    def _end(self) -> None:
        for worker in self._workers.values():
            worker.dismiss()
        for worker in self._workers.values():
            worker.end()
        self._workers.clear()
