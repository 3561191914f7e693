"""Sends itself real signals while it makes calls, and prints as JSON what went wrong.

A separate program, whose main thread handles only its own signals. The system decides where a signal strikes,
and the assertions hold at every point.
"""

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from idemproof import IdempotencyConfig, InMemoryPersistenceLayer, SQLitePersistenceLayer, idempotent_function
from idemproof.drivers import asynchronous, blocking, bodies

CALLS = 500
PATIENCE_SECONDS = 30

SENDER = """
import os, sys, time
for line in sys.stdin:
    time.sleep(float(line))
    os.kill(int(sys.argv[1]), int(sys.argv[2]))
"""


class TimeLimit(Exception):  # noqa: N818 - as those of job queues
    """The error that the handler of SIGALRM raises."""


struck_at: list[str] = []
"""Where the last SIGALRM struck: what swallowed it, should it be lost."""


def limit(_: int, frame: FrameType | None) -> None:
    struck_at[:] = traceback.format_stack(frame)
    raise TimeLimit


class ByTimer:
    """SIGALRM, from a timer of this process."""

    kind = TimeLimit

    def __init__(self) -> None:
        signal.signal(signal.SIGALRM, limit)

    def send(self, seconds: float) -> None:
        struck_at.clear()
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))

    def close(self) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


class FromOutside:
    """SIGINT, from another process: Ctrl-C."""

    kind = KeyboardInterrupt

    def __init__(self) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        command = [sys.executable, "-c", SENDER, str(os.getpid()), str(int(signal.SIGINT))]
        self._sender = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        self._orders: Any = self._sender.stdin

    def send(self, seconds: float) -> None:
        os.write(self._orders.fileno(), f"{seconds}\n".encode())

    def close(self) -> None:
        self._orders.close()
        self._sender.wait()


class Work:
    """A function with its own layer, and how often it ran for each key."""

    def __init__(self, layer: Any, *, asynchronous: bool) -> None:
        self.effects: dict[int, int] = {}
        self._asynchronous = asynchronous
        self._function = idempotent_function(
            self._body_async if asynchronous else self._body,
            data_keyword_argument="p",
            persistence_store=layer,
            config=IdempotencyConfig(in_progress_expires_after_seconds=3600, interrupts=(TimeLimit,)),
            key_prefix="work",
        )

    def _body(self, p: int) -> int:
        self.effects[p] = self.effects.get(p, 0) + 1
        return p

    async def _body_async(self, p: int) -> int:
        await asyncio.sleep(0)
        return self._body(p)

    async def awaited(self, p: int) -> int:
        answer: int = await self._function(p=p)
        return answer

    def __call__(self, p: int) -> int:
        answer: int = asyncio.run(self.awaited(p)) if self._asynchronous else self._function(p=p)
        return answer


MAY_BE_THE_BODY_S_OWN = {blocking.__file__, asynchronous.__file__, bodies.__file__, __file__}
"""OUT-5: the body has returned, but this is not yet recorded."""


def place_of(interrupt: BaseException) -> str:
    """Return the file in which a signal struck."""
    return traceback.extract_tb(interrupt.__traceback__)[-1].filename


dropped: list[Any] = []
"""Reports of signals during finalizers, whose exceptions Python drops."""


def interrupted_call(work: Work, p: int, sender: Any, seconds: float) -> BaseException | None:
    """Call once while a signal is under way; return it if it struck in the call."""
    returned = False
    try:
        sender.send(seconds)
        work(p)
        returned = True
        wait_for_signal(sender.kind)
    except sender.kind as interrupt:
        return None if returned else interrupt
    return None


def wait_for_signal(kind: type[BaseException]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not any(isinstance(report.exc_value, kind) for report in dropped):
        if time.monotonic() > until:
            raise RuntimeError("the signal is lost that struck here:\n" + "".join(struck_at))
        time.sleep(0.001)
    dropped.clear()


def cancelled_call(work: Work, p: int, sender: Any, seconds: float) -> BaseException | None:
    """Do the same in an event loop, which turns the signal into a cancellation of its main task."""
    returned = False

    async def main() -> None:
        nonlocal returned
        sender.send(seconds)
        await work.awaited(p)
        returned = True
        await asyncio.sleep(PATIENCE_SECONDS)

    try:
        asyncio.run(main())
    except sender.kind as interrupt:
        return None if returned else interrupt
    raise RuntimeError("the signal is lost")


def judge(work: Work, p: int, interrupt: BaseException | None) -> str | None:
    """Return the faults after a call, if any."""
    before = work.effects.get(p, 0)
    try:
        answers = [work(p), work(p)]
    except Exception as error:
        return f"after {before} effects a repeat gets {error!r}"
    if answers != [p, p]:
        return f"answers {answers}"
    in_the_window = interrupt is not None and place_of(interrupt) in MAY_BE_THE_BODY_S_OWN
    if work.effects[p] != 1 and not in_the_window:
        return f"{work.effects[p]} effects"
    return None


def storm(make_layer: Callable[[], Any], make_sender: Callable[[], Any], *, asynchronous: bool) -> Any:
    work = Work(make_layer(), asynchronous=asynchronous)
    begun = time.perf_counter()
    for p in range(-20, 0):
        work(p)
    usual = (time.perf_counter() - begun) / 20
    sender, struck, wrong = make_sender(), 0, []
    # The collector closes generators that earlier signals left behind.
    # A signal that strikes there is not raised, and Python 3.13.0 does not even report it.
    gc.disable()
    for p in range(CALLS):
        gc.collect()
        call = cancelled_call if asynchronous else interrupted_call
        interrupt = call(work, p, sender, 1.3 * usual * p / CALLS)
        struck += interrupt is not None
        what = judge(work, p, interrupt)
        if what is not None:
            wrong.append(what)
    gc.enable()
    sender.close()
    return {"struck": struck, "wrong": wrong}


if __name__ == "__main__":
    # Not a function of Python: a signal could strike in it, and be dropped without a report.
    sys.unraisablehook = dropped.append
    with tempfile.TemporaryDirectory() as directory:

        def sqlite() -> SQLitePersistenceLayer:
            return SQLitePersistenceLayer(Path(directory) / f"{time.time_ns()}.db", durable=False)

        found = {
            "def, memory, SIGALRM": storm(InMemoryPersistenceLayer, ByTimer, asynchronous=False),
            "def, memory, SIGINT": storm(InMemoryPersistenceLayer, FromOutside, asynchronous=False),
            "def, sqlite, SIGALRM": storm(sqlite, ByTimer, asynchronous=False),
            "def, sqlite, SIGINT": storm(sqlite, FromOutside, asynchronous=False),
            "async def, memory, SIGINT": storm(InMemoryPersistenceLayer, FromOutside, asynchronous=True),
        }
    sys.stdout.write(json.dumps(found))
