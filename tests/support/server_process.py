"""One server process, which is started on a free port, can be suspended, and is stopped by its handle."""

import atexit
import importlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

HOST = "127.0.0.1"
START_ATTEMPTS = 5
START_SECONDS = 120
STOP_SECONDS = 5


class Missing(Exception):  # noqa: N818 - what it says, not an error of the server
    """A program that a server needs is not installed."""

    def __init__(self, what: str, how_to_install: str) -> None:
        super().__init__(f"{what} is missing: {how_to_install}")
        self.what = what
        self.how_to_install = how_to_install


def missing(what: str, how_to_install: str) -> NoReturn:
    """Fail the test in CI, where everything must be installed; elsewhere skip it."""
    pytest = module("pytest")
    (pytest.fail if os.environ.get("CI") else pytest.skip)(str(Missing(what, how_to_install)))
    raise AssertionError  # not reached


class Server:
    """One server process that answers.

    ``command`` returns its command line for a port, ``answers`` returns whether this server answers. Its
    output and its files are in ``directory``. It runs as ``user``, by default as the current user, with the
    variables of ``environment`` besides its own. With ``own_group``, its children end with it.
    """

    host = HOST

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        answers: Callable[["Server"], bool],
        directory: Path,
        *,
        working_directory: Path | None = None,
        password: str | None = None,
        ca_file: Path | None = None,
        user: str | None = None,
        stop_signal: int = signal.SIGTERM,
        environment: Mapping[str, str] | None = None,
        own_group: bool = False,
    ) -> None:
        self.port = 0
        self.password = password
        self.ca_file = ca_file
        self.directory = directory
        self.process: subprocess.Popen[bytes] | None = None
        self._answers = answers
        self._command = command
        self._working_directory = working_directory or directory
        self._user = user
        self._stop_signal = stop_signal
        self._environment = environment
        self._own_group = own_group
        self._starter = os.getpid()
        try:
            for _ in range(START_ATTEMPTS):
                self.port = free_port()
                self._start(command(self.port), self._working_directory)
                if self._comes_up():
                    return
                self.stop()
                if not self._port_was_taken():
                    break
        except BaseException:
            self.stop()
            raise
        raise RuntimeError(f"{self.process.args!r} did not come up:\n{self.output()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def output(self) -> str:
        """Return what the process has written."""
        return (self.directory / "output.txt").read_text("utf-8", "replace")

    def alive(self) -> bool:
        if self.process is None or not self._own_group:
            return self.process is not None and self.process.poll() is None
        # Not reaped: as long as it is a zombie, its number remains that of its group.
        options = os.WEXITED | os.WNOWAIT | os.WNOHANG
        return self.process.returncode is None and os.waitid(os.P_PID, self.process.pid, options) is None

    def pause(self) -> None:
        """Suspend the process: connections stay open, and nothing is answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        # Its threads stop one after the other, and answer until then.
        os.waitpid(self.process.pid, os.WUNTRACED)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process, and its children if it has a group of its own."""
        assert self.process is not None
        self._kill()
        self.process.wait()

    def restart(self, *options: str) -> None:
        """Kill the process, and start it again on its port, with further ``options``."""
        self.kill()
        atexit.unregister(self._stop_at_exit)
        self._start([*self._command(self.port), *options], self._working_directory)
        if not self._comes_up():
            raise RuntimeError(f"it did not come up again:\n{self.output()}")

    def stop(self) -> None:
        """End the process, even if it is paused. Further calls do nothing."""
        atexit.unregister(self._stop_at_exit)
        if self.process is None or self.process.returncode is not None:
            return
        if self.alive():
            os.kill(self.process.pid, self._stop_signal)
            os.kill(self.process.pid, signal.SIGCONT)
        until = time.monotonic() + STOP_SECONDS
        while self.alive() and time.monotonic() < until:
            time.sleep(0.005)
        self._kill()
        self.process.wait()

    def _kill(self) -> None:
        assert self.process is not None
        if not self._own_group:
            self.process.kill()
        elif self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)

    def _start(self, command: Sequence[str], working_directory: Path) -> None:
        atexit.register(self._stop_at_exit)
        with (self.directory / "output.txt").open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=working_directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                user=self._user,
                env=None if self._environment is None else {**os.environ, **self._environment},
                start_new_session=self._own_group,
            )

    def _comes_up(self) -> bool:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            # Some live on without their port, so the output is asked as well.
            if not self.alive() or self._port_was_taken():
                return False
            if self._answers(self):
                return True
            time.sleep(0.02)
        return False

    def _port_was_taken(self) -> bool:
        return "Address already in use" in self.output()

    def _stop_at_exit(self) -> None:
        # A fork inherits the registration, not the process.
        if os.getpid() == self._starter:
            self.stop()


def free_port() -> int:
    """Return a port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def module(name: str) -> Any:
    # Each server needs other packages, and benchmarks do not need all servers.
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.split(".", 1)[0]
        raise Missing(package, f"python -m pip install {package}") from None
