"""Runs the commands of the owner: bounded in time, and ended with everything that they started."""

import contextlib
import os
import signal
import subprocess
import tempfile

_LONGEST = 300


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
            code = process.wait(max(0.1, seconds))
        except subprocess.TimeoutExpired:
            _end(process)
            raise CommandFailedError(f"{command!r} did not end within {seconds:.0f} seconds") from None
        except BaseException:
            _end(process)
            raise
        output.seek(0)
        printed = output.read().decode(errors="replace").strip()
    if code != 0:
        raise CommandFailedError(f"{command!r} ended with exit code {code}: {printed[-_LONGEST:]}")
    return printed


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
