"""Interrupts requests of a layer: at each line of its source, at each await, at each call of its client.

An interrupt that arrives between the acquisition of a lock and the ``try`` that releases it, or while it is
released, keeps it locked, whatever the layer does. So none arrives there.
"""

import ast
import asyncio
import contextlib
import sys
from collections.abc import Callable, Coroutine, Generator, Iterator
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from ...backends.records import DataRecord
from ...spec.commands import Load, Swap
from ...spec.record import Record
from ..suite.checks import Case
from ..suite.subjects import Subject, as_a_sentence
from . import requests
from .interception import Interception
from .linearizability import Delete, Get, Operation, Put, Request, Update, linearization
from .preemption import own_files
from .race_traces import in_words
from .races import RETENTION_MS, Make
from .recording import key_of
from .scheduled_client import PauseKind, What, reporting_to
from .suspensions import Suspensions

_BLOCKING = (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError)
_MOST = 60
"""The number of places of one request at which it is interrupted."""
_TRIES = 10
"""How many requests are sent at least, if the plan of a run on a slow store shortens the check."""
_ENDS = frozenset({"__exit__", "__aexit__", "__del__", "close"})
"""Methods that release what others have acquired."""


class Raised(NamedTuple):
    """What a request has raised."""

    error: BaseException


class Interrupt:
    """Interrupts a request at one place; receives the pauses at the calls of the layer's client.

    Parameters
    ----------
    at
        The number of the place, from 1; 0 interrupts nowhere.
    error
        What is raised there.
    """

    pauses_disabled = False
    inside = False
    calling: Any = None

    def __init__(self, at: int = 0, error: BaseException | None = None) -> None:
        self.places = 0
        self.happened = False
        self._at = at
        self.error = error

    def reach(self) -> bool:
        """Count a place, and return whether to interrupt the request there."""
        self.places += 1
        self.happened = self.happened or self.places == self._at
        return self.places == self._at

    def strike(self) -> None:
        """Count a place, and interrupt the request if it is the chosen one."""
        if self.reach():
            assert self.error is not None
            raise self.error

    def pause(self, _what: What, _kind: PauseKind) -> None:
        """Interrupt the request before a call of its client or after it, if that is the place."""
        self.strike()

    def wait(self, _what: What, free: Callable[[], bool] | None = None, **_: object) -> bool:
        """Return True for a sleep, which ends at once, and False for a lock, which no client will release."""
        return free is None


Ask = Callable[[Interrupt], Any]
Way = Callable[[Subject, Request, Interrupt], Any]
"""Sends a request, and returns its answer, or :class:`Raised`."""


def interrupt_everywhere(case: Case, stages: list[Make]) -> None:
    """Interrupt the request of each stage at each place, one at a time; each finding ends the check."""
    layer = case.layer
    limit = case.limit(case.profile.race_seconds)
    with contextlib.ExitStack() as undo:
        ways: list[Way] = [at_awaits] if layer.asynchronous else [at_lines(layer)]
        if not layer.asynchronous:
            layer.load(case.new_key())  # some layers create their clients on first use
            undo.enter_context(Interception([layer.layer], case.capabilities.client_methods))
            ways.append(at_calls)
        kinds = (asyncio.CancelledError,) if layer.asynchronous else _BLOCKING
        for way in ways:
            for number, stage in enumerate(stages):
                places = _try(case, way, stage, Interrupt())
                for at in range(1, min(places, _MOST) + 1):
                    for kind in dict.fromkeys((kinds[0], kinds[(at + number) % len(kinds)])):
                        if limit.over and not (case.is_shortened and case.histories < _TRIES):
                            case.cut_short = True
                            return
                        _try(case, way, stage, Interrupt(at, kind()))


def at_lines(layer: Subject) -> Way:
    """Return the way that interrupts at the lines of the layer's own source."""
    files = own_files([layer.layer])

    def ask(subject: Subject, request: Request, interrupt: Interrupt) -> Any:
        with lines_of(files, interrupt):
            return _call(subject, request)

    return ask


def at_calls(subject: Subject, request: Request, interrupt: Interrupt) -> Any:
    """Interrupt before or after a call of the layer's client."""
    with reporting_to(interrupt):
        return _call(subject, request)


def at_awaits(subject: Subject, request: Request, interrupt: Interrupt) -> Any:
    """Cancel the task while it awaits."""

    async def run() -> Any:
        try:
            return await _Cancelled(_method(subject, request), interrupt)
        except BaseException as error:  # noqa: BLE001 - judged, and kept from the loop
            return Raised(error)

    return subject.loop.run(run())


class _Cancelled(Suspensions):
    """Awaits work, and cancels the task at one of its awaits."""

    def __init__(self, work: Coroutine[Any, Any, Any], interrupt: Interrupt) -> None:
        super().__init__(work)
        self._interrupt = interrupt

    def _on_suspend(self) -> Generator[Any, Any, None]:
        task = asyncio.current_task()
        if not _may_swallow(self._work) and self._interrupt.reach() and task is not None:
            task.cancel()
        yield from ()


def _may_swallow(work: Any) -> bool:
    """Return whether work awaits in ``wait_for``, which before Python 3.12 may lose a cancellation."""
    innermost = None
    while hasattr(work, "cr_code"):
        innermost, work = work.cr_code, work.cr_await
    return innermost is asyncio.wait_for.__code__ and sys.version_info < (3, 12)


def _method(subject: Subject, request: Request) -> Any:
    """Call the method of the layer itself; for an async layer, the result is to be awaited."""
    face = subject.face
    if isinstance(request, Swap):
        return face._swap(*request)
    if isinstance(request, Load):
        return face._load(request.key)
    if isinstance(request, Get):
        return subject.layer._get_record(request.key)
    names: dict[type, str] = {Put: "_put_record", Update: "_update_record", Delete: "_delete_record"}
    return getattr(subject.layer, names[type(request)])(DataRecord.of(request.record))


def _call(subject: Subject, request: Request) -> Any:
    try:
        return _method(subject, request)
    except BaseException as error:  # noqa: BLE001 - judged
        return Raised(error)


def _try(case: Case, way: Way, stage: Make, interrupt: Interrupt) -> int:
    """Send a request, judge what came of its interrupt, and return the number of places."""
    key = case.new_key()
    race = stage(key, case.now)
    request = race.clients[0][0]
    trace = case.trace(key)
    if race.current is not None:
        requests.establish(case.layer, race.current, RETENTION_MS)
    answer = way(case.layer, request, interrupt)
    if not interrupt.happened:
        return interrupt.places
    name = type(interrupt.error).__name__ if interrupt.error else ""
    trace.log("client 1", f"{in_words(request)}, and is interrupted by {name}")
    if not isinstance(answer, Raised):
        case.fail(
            f"{name} interrupted a request, and the layer swallowed it: the program goes on as if nothing "
            "had asked it to stop.",
            trace,
            ["CAS-10"],
        )
    if not isinstance(answer.error, type(interrupt.error)):
        case.fail(
            f"{name} interrupted a request, and came out as an error: {as_a_sentence(answer.error)} The "
            "program takes it for a failure of the store, and goes on.",
            trace,
            ["CAS-10"],
        )
    answer.error.__traceback__ = None  # its frames hold connections
    _require_that_the_layer_goes_on(case, race.current, request, name)
    return interrupt.places


def _require_that_the_layer_goes_on(case: Case, current: Record | None, request: Request, name: str) -> None:
    layer, key = case.layer, key_of(request)
    trace = case.trace(key)
    try:
        found = requests.ask(case, layer, Load(key) if layer.swaps else Get(key))
    except Exception as failure:  # noqa: BLE001 - reported
        case.fail(f"After a request that {name} interrupted: {as_a_sentence(failure)}", trace, ["CAS-10"])
    read = Load(key) if layer.swaps else Get(key)
    history = [
        Operation("client 1", 1, None, case.now, request),
        Operation("client 2", 2, 3, case.now, read, found),
    ]
    fenced = case.fenced
    if linearization(history, current, swaps=layer.swaps, fenced=fenced) is None:
        trace.log("client 2", "reads the record")
        why = (
            f"After a request that {name} interrupted, neither its outcome nor the earlier record is stored."
        )
        case.fail(why, trace, ["CAS-4"])


@contextlib.contextmanager
def lines_of(files: frozenset[str], interrupt: Interrupt) -> Iterator[None]:
    """Interrupt this thread at the lines of ``files``, except where it acquires or releases something."""

    def on_line(frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line" and not _releases(frame, files):
            interrupt.strike()
        return on_line

    def on_call(frame: FrameType, _event: str, _argument: Any) -> Any:
        return on_line if frame.f_code.co_filename in files else None

    usual = sys.gettrace()
    sys.settrace(on_call)
    try:
        yield
    finally:
        sys.settrace(usual)


def _releases(frame: FrameType, files: frozenset[str]) -> bool:
    """Return whether the code at a line acquires or releases something, or was called to release it."""
    each: FrameType | None = frame
    own = True
    while each is not None:
        file = each.f_code.co_filename
        if file in files:
            lines = _releasing_lines(file)
            if each.f_lineno in lines.around if own else each.f_lineno in lines.inside:
                return True
            if each.f_code.co_name in _ENDS:
                return True
            own = False
        each = each.f_back
    return False


class _Lines(NamedTuple):
    """Lines of a file: inside handlers and ``finally``; and these together with ``try`` and ``with``."""

    inside: frozenset[int]
    around: frozenset[int]


@cache
def _releasing_lines(file: str) -> _Lines:
    inside: set[int] = set()
    around: set[int] = set()
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return _Lines(frozenset(), frozenset())
    for node in ast.walk(tree):
        if isinstance(node, ast.Try):
            around.update(range(node.lineno, node.body[0].lineno))
            parts: list[ast.stmt | ast.excepthandler] = [*node.handlers, *node.finalbody]
            for part in parts:
                inside.update(range(part.lineno, (part.end_lineno or part.lineno) + 1))
        elif isinstance(node, ast.With | ast.AsyncWith):
            around.update(range(node.lineno, node.body[0].lineno))
            around.add(node.lineno)
    return _Lines(frozenset(inside), frozenset(inside | around))
