"""Runs the commands of the owner: bounded in time, and ended with everything that they started."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from typing import IO

_LONGEST = 300
_LARGEST = 1_000_000
"""How much a command may print (bytes), while it is waited for."""
_BETWEEN_LOOKS = 0.1


class CommandFailedError(Exception):
    """A command of the owner failed; the message says how."""


def run(command: str, seconds: float) -> str:
    """Run a shell command, and return what it printed.

    The command may leave processes in the background: only its own end is waited for.

    Parameters
    ----------
    command
        The command.
    seconds
        How long it may take. Then it is ended, with the processes of its group.

    Raises
    ------
    CommandFailedError
        It failed, or did not end in time.
    """
    with tempfile.TemporaryFile() as output:  # a pipe would wait for processes in the background
        process = subprocess.Popen(  # noqa: S602 - the owner's own command
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_for(process, output, command, seconds)
        except BaseException:
            _end(process)
            raise
        code = process.returncode
        output.seek(0)
        printed = output.read(_LARGEST).decode(errors="replace").strip()
    if code != 0:
        raise CommandFailedError(f"{command!r} ended with exit code {code}: {printed[-_LONGEST:]}")
    return printed


def _wait_for(process: subprocess.Popen[bytes], output: IO[bytes], command: str, seconds: float) -> None:
    """Wait for the end of a command; raise :class:`CommandFailedError` if it runs or prints too long."""
    ends = time.monotonic() + max(_BETWEEN_LOOKS, seconds)
    while process.poll() is None:
        if os.fstat(output.fileno()).st_size > _LARGEST:
            raise CommandFailedError(f"{command!r} printed more than {_LARGEST:,} bytes")
        if time.monotonic() > ends:
            raise CommandFailedError(f"{command!r} did not end within {seconds:.0f} seconds")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_BETWEEN_LOOKS)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
