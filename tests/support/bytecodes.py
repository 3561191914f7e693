"""Count the bytecodes that code executes. Unlike its time, other load on the machine does not change that."""

import sys
import types
from collections import Counter
from typing import Any, Self


class Bytecodes:
    """Counts the bytecodes that a ``with`` block executes in functions that it calls.

    Parameters
    ----------
    folder
        The folder whose files count; by default, all files do.
    """

    def __init__(self, folder: str = "") -> None:
        self._folder = folder
        self.by_function: Counter[str] = Counter()
        """The bytecodes of each function, by its file and name."""

    @property
    def total(self) -> int:
        return self.by_function.total()

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: types.FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        if code.co_filename == __file__ or not code.co_filename.startswith(self._folder):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        name = f"{code.co_filename}:{code.co_qualname}"

        def count(_: types.FrameType, event: str, __: Any) -> Any:
            self.by_function[name] += event == "opcode"
            return count

        return count
