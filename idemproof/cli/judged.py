"""The main program of the process that judges for ``idemproof check``: the layer runs only here."""

import faulthandler
import json
import os
import re
import signal
import sys
import sysconfig
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import hypothesis
from hypothesis.configuration import set_hypothesis_home_dir

import idemproof.conformance.without_pytest  # noqa: F401 - before the others import time_machine
from idemproof.conformance.suite.factories import FactoryError, FactoryHangsError
from idemproof.conformance.suite.options import profile_named
from idemproof.conformance.suite.pace import Pace
from idemproof.conformance.suite.runner import checks, run

from .commands import factory_of
from .messages import Blocked, Busy, Imported, Interrupted, Job, Leaving, Message, Refused, line_of
from .targets import TargetError, imported

_BEAT_SECONDS = 0.5
_LONGEST_START_SECONDS = 60.0
"""How long this process may take to start."""
_OURS = (str(Path(__file__).parents[1]), str(Path(hypothesis.__file__).parent))
"""The folders of code that calls the layer. Hypothesis may be installed elsewhere than this environment."""
_STDLIB = sysconfig.get_path("stdlib")
_INSTALLED = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))


def main() -> None:
    """Judge as the first line of stdin says, send messages to stdout, and end when stdin does."""
    channel = _Channel()
    job = channel.job()
    # Before the user's module is imported. On some systems, each process has its own timer.
    now = time.perf_counter()
    is_shared = 0 <= now - job.began < _LONGEST_START_SECONDS
    pace = Pace(profile_named(job.profile), job.began if is_shared else now)
    threading.Thread(target=channel.end_with_parent, name="conformance-parent", daemon=True).start()
    threading.Thread(target=_beat, args=(channel, job.target), name="conformance-beat", daemon=True).start()
    set_hypothesis_home_dir(job.scratch)
    try:
        _judge(job, channel, pace)
    except FactoryHangsError as failure:
        channel.send(Blocked(str(failure)))
    except (FactoryError, TargetError) as failure:
        channel.send(Refused(str(failure)))
    except KeyboardInterrupt:
        channel.send(Interrupted())
    mine = threading.current_thread()
    kept = [each.name for each in threading.enumerate() if not each.daemon and each is not mine]
    channel.send(Leaving(kept))
    raise SystemExit(job.farewell)


def _judge(job: Job, channel: "_Channel", pace: Pace) -> None:
    claims = job.claims()
    factory: Any
    if job.is_command:  # it shares the group of this process, and ends with it
        factory = factory_of(job.target, job.profile, claims, own_group=False)
    else:
        factory = imported(job.target)
    channel.send(Imported())
    run(factory, profile_named(job.profile), job.seed, claims, checks(job.tiers), channel.send, pace)


class _Channel:
    """The streams to the command, out of reach of code that reads stdin or writes to stdout."""

    def __init__(self) -> None:
        self._in, self._out = os.dup(0), os.dup(1)
        os.dup2(2, 1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        self._lock = threading.Lock()
        self._write = os.write
        faulthandler.enable(all_threads=False)  # it prints where native code has crashed

    def job(self) -> Job:
        line = b""
        while not line.endswith(b"\n"):
            line += os.read(self._in, 65536)
        return Job(*json.loads(line))

    def end_with_parent(self, end: Any = os._exit, read: Any = os.read) -> None:
        """Wait for the end of the command, and end this process and all that it has started."""
        while read(self._in, 1):
            pass
        if os.name == "posix":
            os.killpg(os.getpgrp(), signal.SIGKILL)
        end(1)

    def send(self, message: Message) -> None:
        line = line_of(message)
        with self._lock:
            while line:
                line = line[self._write(self._out, line) :]


def _beat(channel: _Channel, target: str) -> None:
    """Tell again and again that the process is alive, and for how long the user's code has been running."""
    watch = _Watch(target)
    sleep = time.sleep
    while True:
        channel.send(watch.longest())
        sleep(_BEAT_SECONDS)


class _Watch:
    """Looks for calls of the user's code that do not end, wherever the suite has made them.

    Parameters
    ----------
    target
        The user's factory. Other installed packages are not the user's code.
    """

    def __init__(self, target: str) -> None:
        self._since: dict[int, tuple[FrameType, float]] = {}
        self._clock = time.perf_counter
        self._frames = sys._current_frames
        root = re.split("[.:]", target)[0]
        self._own = tuple(os.path.join(place, root) for place in _INSTALLED)  # noqa: PTH118 - a prefix

    def longest(self) -> Busy:
        now = self._clock()
        since: dict[int, tuple[FrameType, float]] = {}
        longest = Busy(0.0, None)
        for thread, frame in self._frames().items():
            stack = _outermost_first(frame)
            outermost = self._first_of_the_user(stack)
            if outermost is None:
                continue
            known = self._since.get(thread)
            began = known[1] if known is not None and known[0] is outermost else now
            since[thread] = outermost, began
            if now - began > longest.seconds:
                inner = next(each for each in reversed(stack) if self._is_of_the_user(each))
                place = f"line {inner.f_lineno} of {inner.f_code.co_filename}, in {inner.f_code.co_name}"
                longest = Busy(now - began, place)
        self._since = since
        return longest

    def _first_of_the_user(self, stack: list[FrameType]) -> FrameType | None:
        """Return the outermost frame of the user's code in a thread of the suite, or None."""
        ours = False
        for frame in stack:
            if frame.f_code.co_filename.startswith(_OURS):
                ours = True
            elif self._is_of_the_user(frame):
                return frame if ours else None
        return None

    def _is_of_the_user(self, frame: FrameType) -> bool:
        name = frame.f_code.co_filename
        if name.startswith(_INSTALLED):
            return name.startswith(self._own)
        return not name.startswith((*_OURS, _STDLIB, "<frozen "))


def _outermost_first(frame: FrameType | None) -> list[FrameType]:
    stack = []
    while frame is not None:
        stack.append(frame)
        frame = frame.f_back
    return stack[::-1]


if __name__ == "__main__":
    main()
