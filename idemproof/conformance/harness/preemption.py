"""Pauses for layers that call no client of a store.

A blocking layer pauses before each line of its own source. An async layer pauses after each await: it is used
by tasks of one event loop, where no other task runs between two awaits.
"""

import contextlib
import linecache
import sys
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from types import CodeType, FrameType, FunctionType
from typing import Any

from ..suite.subjects import LoopThread
from .scheduled_client import Client, current_client
from .suspensions import Suspensions

_PACKAGE = __name__.partition(".harness.")[0].rpartition(".")[0]
_NOT_ITS_OWN = tuple(
    f"{_PACKAGE}.{name}"
    for name in ("backends.base", "backends.public_methods", "conformance.suite.adapters")
)

_PAUSES = 4
"""How often a line that repeats at once pauses."""
_RARELY = 100
"""The repetitions between two later pauses, so that a line which waits for another client lets it go on."""


class SourceLine:
    """A line of a layer's source, which is the next step of a client."""

    __slots__ = ("_file", "_number")

    def __init__(self, file: str, number: int) -> None:
        self._file = file
        self._number = number

    def __call__(self) -> str:
        """Return the line in words."""
        return f"line {self._number}: {linecache.getline(self._file, self._number).strip()}"


def own_files(layers: Iterable[Any]) -> frozenset[str]:
    """Return the source files of the layers' classes, without the library's base classes."""
    files = set()
    for layer in layers:
        for kind in type(getattr(layer, "theirs", layer)).__mro__:
            root = kind.__module__.partition(".")[0]
            if kind.__module__ not in _NOT_ITS_OWN and root not in sys.stdlib_module_names:
                files |= {code.co_filename for code in _codes(kind)}
    return frozenset(files)


@contextlib.contextmanager
def lines_pausing(files: frozenset[str]) -> Iterator[None]:
    """Pause this client's thread before each line of ``files``."""

    def on_call(frame: FrameType, _event: str, _argument: Any) -> Any:
        return _line_by_line() if frame.f_code.co_filename in files else None

    usual = sys.gettrace()
    sys.settrace(on_call)
    try:
        yield
    finally:
        sys.settrace(usual)


def _line_by_line() -> Callable[[FrameType, str, Any], Any]:
    """Return a trace function for one frame.

    A line that repeats at once, as in a comprehension over all records, pauses a few times, and then rarely.
    Otherwise a request to a store with many records would take very long.
    """
    last = repeats = 0

    def on_line(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal last, repeats
        if event == "line":
            repeats = repeats + 1 if frame.f_lineno == last else 0
            last = frame.f_lineno
            client = current_client() if repeats < _PAUSES or repeats % _RARELY == 0 else None
            if client is not None:
                client.pause(SourceLine(frame.f_code.co_filename, frame.f_lineno), "line")
        return on_line

    return on_line


class AwaitsPausing:
    """An event loop on which a client's task pauses after each await that lets other tasks run."""

    def __init__(self, loop: LoopThread) -> None:
        self._loop = loop

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run ``work`` to its end, and return its result."""
        client = current_client()
        return self._loop.run(work if client is None else _awaiting(work, client))


async def _awaiting(work: Coroutine[Any, Any, Any], client: Client) -> Any:
    return await _Pausing(work, client)


class _Pausing(Suspensions):
    """Awaits work, and pauses a client after each of its awaits."""

    def __init__(self, work: Coroutine[Any, Any, Any], client: Client) -> None:
        super().__init__(work)
        self._client = client

    def _on_suspend(self) -> Generator[Any, Any, None]:
        self._in_a_pause = self._client.pauses_disabled  # the task awaits one of our own pauses
        yield from ()

    def _on_resume(self) -> Generator[Any, Any, None]:
        if not self._in_a_pause and not self._client.pauses_disabled:
            yield from self._client.pause_async("goes on after an await", "await").__await__()


def _codes(kind: type) -> Iterator[CodeType]:
    for member in vars(kind).values():
        plain = getattr(member, "__func__", getattr(member, "fget", member))
        if isinstance(plain, FunctionType):
            yield plain.__code__
