"""Strikes every call with a signal, at every point in turn, and prints what went wrong as JSON.

A program of its own: exceptions raised by a trace function leave traces in the interpreter that runs it.
"""

import dis
import json
import sys
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from types import CodeType, FrameType
from typing import Any

from idemproof import IdempotencyConfig, InMemoryPersistenceLayer, idempotent_function
from idemproof.backends import drivers
from idemproof.reference import engine
from idemproof.spec.record import COMPLETED

WATCHED = (drivers.__file__, engine.__file__)
MAY_BE_INTERRUPTED_AFTER = {"CALL", "CALL_FUNCTION_EX", "CALL_KW", "RESUME", "JUMP_BACKWARD"}
THE_ONE_WINDOW = "call.result = function("  # OUT-5: the body has returned, and it is not yet noted


@cache
def points(code: CodeType) -> frozenset[int]:
    """Return the offsets before which the interpreter looks for signals."""
    instructions = list(dis.get_instructions(code))
    return frozenset(
        instruction.offset
        for before, instruction in pairwise(instructions)
        if before.opname in MAY_BE_INTERRUPTED_AFTER
    )


class Signal:
    """Raises ``KeyboardInterrupt`` at the n-th such point, and knows where that was."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.struck: tuple[str, int] | None = None

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in WATCHED:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_lasti in points(frame.f_code):
            self.left -= 1
            if self.left == 0:
                self.struck = (frame.f_code.co_filename, frame.f_lineno)
                sys.settrace(None)
                raise KeyboardInterrupt
        return self


def source_line(place: tuple[str, int]) -> str:
    path, number = place
    with open(path, encoding="utf-8") as source:  # noqa: PTH123 - a path from a code object
        return source.readlines()[number - 1]


def strike(number: int, body: Callable[[], Any]) -> tuple[Signal, bool, Any]:
    """Call once with a signal at the n-th point; tell whether the body had its effect, and the record."""
    layer = InMemoryPersistenceLayer()
    effects: list[int] = []

    @idempotent_function(
        data_keyword_argument="data",
        persistence_store=layer,
        config=IdempotencyConfig(in_progress_expires_after_seconds=30),
    )
    def work(data: int) -> Any:
        result = body()
        effects.append(data)
        return result

    signal = Signal(number)
    sys.settrace(signal)
    try:
        work(data=1)
    except (KeyboardInterrupt, ValueError):
        pass
    finally:
        sys.settrace(None)
    return signal, bool(effects), next(iter(layer._records.values()), None)


def declined() -> None:
    raise ValueError("declined")


def wrong_with(signal: Signal, record: Any, *, effect: bool) -> str | None:
    """Say what is wrong after a signal, or nothing."""
    if effect and record is None:
        return (
            None if THE_ONE_WINDOW in source_line(signal.struck) else "the effect happened, and nothing knows"
        )
    if effect:
        stored = (record.status, record.response_data) == (COMPLETED, '"result"')
        return None if stored else f"the effect happened, and {record} stands"
    return None if record is None else f"no effect, and {record} stands"


def sweep(body: Callable[[], Any]) -> dict[str, Any]:
    """Strike at one point after the other until there are no more."""
    wrong, number = [], 0
    while True:
        number += 1
        signal, effect, record = strike(number, body)
        if signal.struck is None:
            return {"points": number - 1, "wrong": wrong}
        what = wrong_with(signal, record, effect=effect)
        if what is not None:
            wrong.append([*signal.struck, what])


if __name__ == "__main__":
    strike(sys.maxsize, lambda: None)  # some releases of Python tell of opcodes only from the second trace on
    sys.stdout.write(json.dumps({"returns": sweep(lambda: "result"), "raises": sweep(declined)}))
