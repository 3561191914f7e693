"""Interrupts every call at every point in turn, and prints what went wrong as JSON.

A separate program, because exceptions of a trace function leave traces in the interpreter.

Points are found in two ways. By instruction: wherever CPython looks for signals in the drivers and the
engine. By event: wherever a function of the library is called, or a function written in C has returned to it.
"""

import asyncio
import dis
import json
import sys
import warnings
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import idemproof
from idemproof import (
    AsyncCompareAndSwapLayer,
    AsyncInMemoryPersistenceLayer,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    Record,
    idempotent_function,
)
from idemproof.drivers import asynchronous as async_drivers
from idemproof.drivers import blocking as drivers
from idemproof.reference import (
    attempt,
    changes,
    engine,
    finishing,
    protection,
    releases,
    requests,
    waiter,
    waiting,
)
from idemproof.reference.final_errors import error_text
from idemproof.spec import settle
from idemproof.spec.record import COMPLETED, INPROGRESS

WATCHED = {
    module.__file__
    for module in (
        *(async_drivers, drivers, settle, attempt, changes, engine, finishing, releases, requests, waiter),
        waiting,
    )
}
LIBRARY = tuple(str(Path(path).resolve()) for path in idemproof.__path__)
MAY_BE_INTERRUPTED_AFTER = {"CALL", "CALL_FUNCTION_EX", "CALL_KW", "RESUME", "JUMP_BACKWARD"}
# OUT-5: the body has returned or raised, but this is not yet recorded.
THE_ONE_WINDOW = "call.result = "
ITS_TWIN = "isinstance(command, RunBody) and not command.returned"


class TimeLimit(Exception):  # noqa: N818 - as those of job queues
    """The error that a signal's handler raises."""


class Suspending(AsyncCompareAndSwapLayer):
    """An in-memory layer whose requests suspend."""

    def __init__(self) -> None:
        self._layer = InMemoryPersistenceLayer()

    async def _load(self, key: str) -> Record | None:
        await asyncio.sleep(0)
        return self._layer._load(key)

    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, ttl_ms: int
    ) -> Record | None:
        await asyncio.sleep(0)
        current = self._layer._swap(key, expected, new, ttl_ms)
        await asyncio.sleep(0)
        return current


class Busy(InMemoryPersistenceLayer):
    """An in-memory layer in which another attempt has a claim, until so many pauses are over."""

    claims = 0

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        if self.claims and new is not None and expected is None:
            return Record(key, INPROGRESS, 2**40, 2**45, None, None, "another")
        return super()._swap(key, expected, new, ttl_ms)

    def _wait_for_change(self, key: str, seen: Record, seconds: float) -> bool:
        self.claims -= 1
        return False


class AsyncBusy(AsyncInMemoryPersistenceLayer):
    """The same for async functions."""

    async def _wait_for_change(self, key: str, seen: Record, seconds: float) -> bool:
        await asyncio.sleep(0)
        return self._layer._wait_for_change(key, seen, seconds)


class SuspendingBusy(Suspending):
    """The same, with requests that suspend."""

    async def _wait_for_change(self, key: str, seen: Record, seconds: float) -> bool:
        await asyncio.sleep(0)
        return self._layer._wait_for_change(key, seen, seconds)


@cache
def points(code: CodeType) -> frozenset[int]:
    """Return the offsets before which the interpreter looks for signals."""
    return frozenset(
        instruction.offset
        for before, instruction in pairwise(dis.get_instructions(code))
        if before.opname in MAY_BE_INTERRUPTED_AFTER
    )


@cache
def of_library(code: CodeType) -> bool:
    """Return whether a function is the library's."""
    if code.co_filename.startswith("<"):
        return False  # of the interpreter's frozen modules, which are no files
    return str(Path(code.co_filename).resolve()).startswith(LIBRARY)


class Strike:
    """Raises at the n-th point, and records the place."""

    def __init__(self, number: int, kind: type[BaseException]) -> None:
        self.left = number
        self.interrupt = kind("struck")
        self.struck: tuple[str, int] | None = None

    def now(self, frame: FrameType, stop: Callable[[None], None]) -> None:
        self.left -= 1
        if self.left == 0:
            self.struck = (frame.f_code.co_filename, frame.f_lineno)
            stop(None)
            raise self.interrupt


class ByInstruction(Strike):
    start = staticmethod(sys.settrace)

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in WATCHED:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_lasti in points(frame.f_code):
            self.now(frame, sys.settrace)
        return self


class ByEvent(Strike):
    start = staticmethod(sys.setprofile)

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event in ("call", "c_return") and of_library(frame.f_code):
            self.now(frame, sys.setprofile)


def returns() -> str:
    return "result"


def declines() -> None:
    raise ValueError("declined")


def waits() -> str:
    return "result"


BUSY = {"def": Busy, "async def": AsyncBusy, "async def that waits": SuspendingBusy}


class Final(Exception):  # noqa: N818 - it reads as what happened
    """An error that is an answer."""


class Timing:
    """An observer that also takes requests, so that they are timed."""

    def __call__(self, occurrence: object) -> None: ...

    def on_request(self, request: object) -> None: ...


def declines_finally() -> None:
    raise Final("declined")


ANSWERS = ('"result"', error_text(f"{__name__}.Final", '["declined"]'))

LAYERS = {
    "def": InMemoryPersistenceLayer,
    "async def": AsyncInMemoryPersistenceLayer,
    "async def that waits": Suspending,
}


def call_once(  # noqa: C901 - one call, in its order
    way: Strike, driver: str, body: Callable[[], Any]
) -> str | None:
    """Call once with an interrupt at one point; return the fault, if any."""
    layer = (BUSY if body is waits else LAYERS)[driver]()
    if body is waits:
        if driver != "def":
            layer._layer = Busy()
        getattr(layer, "_layer", layer).claims = 2
    effects: list[int] = []
    caught: BaseException | None = None
    config = IdempotencyConfig(
        in_progress_expires_after_seconds=30,
        interrupts=(TimeLimit,),
        wait_for_in_progress_seconds=5 if body is waits else 0,
        final_errors=(Final,),
        observers=[Timing()] if body is declines_finally else [],
    )

    def work(data: int) -> Any:
        if body is declines_finally:
            effects.append(data)  # it has declined for good
        result = body()
        effects.append(data)
        return result

    async def work_async(data: int) -> Any:
        return work(data)

    protected = idempotent_function(
        work if driver == "def" else work_async,
        data_keyword_argument="data",
        persistence_store=layer,
        config=config,
    )

    def called() -> Any:
        reply = protected(data=1)
        way.start(None)
        return reply

    async def main() -> Any:
        way.start(way)
        try:
            return await protected(data=1)
        finally:
            way.start(None)

    try:
        if driver == "def":
            way.start(way)
            called()
        else:
            asyncio.run(main())
    except (KeyboardInterrupt, TimeLimit, ValueError, Final) as error:
        caught = error
    finally:
        way.start(None)
    if way.struck is None:
        return None
    records = getattr(layer, "_layer", layer)._records
    return fault_after(way, caught, next(iter(records.values()), None), effect=bool(effects))


def fault_after(way: Strike, caught: BaseException | None, record: Any, *, effect: bool) -> str | None:
    """Return the fault after an interrupt, if any."""
    if caught is not way.interrupt:
        return f"the caller got {caught!r}"
    if effect and record is None:
        # What Python 3.13 does between a raise and its handler has no line.
        line = source_line(way.struck) if way.struck[1] else ITS_TWIN
        in_window = isinstance(way, ByInstruction) and (THE_ONE_WINDOW in line or ITS_TWIN in line)
        return None if in_window else "the effect happened, and nothing is recorded"
    if effect:
        stored = record.status == COMPLETED and record.response_data in ANSWERS
        return None if stored else f"the effect happened, and {record} stands"
    if record is not None and way.struck[0] == protection.__file__:
        return None  # as in any coroutine that awaits the call: it is dropped there, and its lease ends
    return None if record is None else f"no effect, and {record} stands"


def source_line(place: tuple[str, int]) -> str:
    path, number = place
    return Path(path).read_text(encoding="utf-8").splitlines()[number - 1]


def sweep(
    way: type[Strike], kind: type[BaseException], driver: str, body: Callable[[], Any]
) -> dict[str, Any]:
    """Strike at one point after the other until there are no more."""
    wrong, number = [], 0
    while True:
        number += 1
        strike = way(number, kind)
        what = call_once(strike, driver, body)
        if strike.struck is None:
            return {"points": number - 1, "wrong": wrong}
        if what is not None:
            wrong.append([*strike.struck, what])


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of coroutines that were struck before they were awaited
    found = {}
    # One way is enough for final errors: their engine and drivers are the same.
    final = sys.argv[1:] == ["final"]
    ways: tuple[type[Strike], ...] = (ByInstruction,) if final else (ByInstruction, ByEvent)
    kinds = (KeyboardInterrupt,) if final else (KeyboardInterrupt, TimeLimit)
    for driver in LAYERS:
        for way in ways:
            # Some releases of Python report opcodes only from the second trace on; and imports come first.
            call_once(way(sys.maxsize, KeyboardInterrupt), driver, declines_finally if final else returns)
            for kind in kinds:
                for body in (declines_finally,) if final else (returns, declines, waits):
                    named = f"{driver}, {way.__name__}, {kind.__name__}, {body.__name__}"
                    found[named] = sweep(way, kind, driver, body)
    sys.stdout.write(json.dumps(found))
