"""Start, kill and end worker processes by their handles, with a time limit for every wait."""

import multiprocessing
import signal
from collections.abc import Iterable
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .worker import PATIENCE_SECONDS, serve

# "spawn" starts a new interpreter without inherited locks, connections or memory, as on another machine, and
# it works the same way on every operating system.
_PROCESSES = multiprocessing.get_context("spawn")

KILLED_BY = "SIGKILL" if hasattr(signal, "SIGKILL") else "terminated"
_START_SECONDS = 30.0
_END_SECONDS = 5.0


class StageError(Exception):
    """A worker ended, hung or could not be killed."""


class Worker:
    """One worker process and the pipe to it.

    Parameters
    ----------
    name
        Its name in the timeline.
    directory
        The directory of the files.
    protected
        Whether Idemproof protects the handler.
    asks
        Whether the handler asks the bank before it repeats a charge.
    """

    def __init__(self, name: str, directory: Path, *, protected: bool = True, asks: bool = False) -> None:
        self.name = name
        self.pipe, theirs = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(
            target=serve,
            args=(theirs, directory),
            kwargs={"protected": protected, "asks": asks},
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
        """Kill the process, with SIGKILL if the system has it, and wait until it is dead."""
        self._process.kill()
        self._process.join(_END_SECONDS)
        if self._process.exitcode is None:
            raise StageError(f"worker {self.name} ({self.pid}) was killed and still runs")

    def dismiss(self) -> None:
        """Close the pipe. This ends the process unless it is stuck."""
        self.pipe.close()

    def end(self) -> None:
        """End the process, whatever its state."""
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
    """All workers, as a context manager that ends every process on exit.

    Parameters
    ----------
    directory
        The directory of the files.
    names
        The workers to start.
    protected
        Whether Idemproof protects their handlers.
    asks
        Whether their handlers ask the bank before they repeat a charge.
    """

    def __init__(
        self, directory: Path, names: Iterable[str], *, protected: bool = True, asks: bool = False
    ) -> None:
        self._directory = directory
        self._protected = protected
        self._asks = asks
        self._names = sorted(set(names))
        self._workers: dict[str, Worker] = {}

    def __enter__(self) -> Self:
        try:
            for name in self._names:
                self._workers[name] = Worker(
                    name, self._directory, protected=self._protected, asks=self._asks
                )
            for worker in self._workers.values():
                self.receive([worker], _START_SECONDS)  # its first message is Ready
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
        """Return the next worker with a message, and the message.

        Raises
        ------
        StageError
            No worker sends a message in time, or one has ended.
        """
        by_pipe = {worker.pipe: worker for worker in workers}
        for pipe in wait(list(by_pipe), timeout=seconds):
            worker = by_pipe[pipe]  # type: ignore[index]  # what goes in comes out
            return worker, worker.receive()
        silent = " and ".join(f"worker {worker.name} ({worker.pid})" for worker in by_pipe.values())
        raise StageError(f"no message from {silent} in {seconds:.0f} seconds")

    def _end(self) -> None:
        for worker in self._workers.values():
            worker.dismiss()
        for worker in self._workers.values():
            worker.end()
        self._workers.clear()
