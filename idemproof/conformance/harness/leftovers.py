"""Counts what a process holds: files, sockets, threads, child processes and tasks; and finds what grows.

Nothing that stays constant is a fault, nor what grows to a bound, such as a pool or an executor. So the
counts are compared over windows of equal work, until they stay the same, or have grown so much, and in the
second half as much as in the first one, that no bound explains it.
"""

import asyncio
import builtins
import contextlib
import gc
import io
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

_DESCRIPTORS = next(filter(Path.is_dir, map(Path, ("/proc/self/fd", "/dev/fd"))), None)
_TASKS = Path("/proc/self/task")
_MAKES_FILES = frozenset("wax")

_AT_LEAST = 64
"""How many more of one kind must be left behind, so that they count as a leak."""
_SLOWLY_AT_LEAST = 24
"""The same, if the time is over."""
_STEADY = 0.75
"""How many of a leak the second half of the work leaves behind at least, in parts of the first half."""
_QUIET_WINDOWS = 3
"""How many windows without growth end the search, because a rare leak may skip one."""
_LONG = 0.3
"""How long a window takes that counts as several (seconds)."""
_MOMENT = 0.02
_SETTLES_WITHIN = 0.15
_ENDS_WITHIN = 1.0
"""How long what a request has started in the background may take to end (seconds)."""

Held = Mapping[str, Collection[str]]
"""What is held, by kind, each with its name."""


class Growth(NamedTuple):
    """What has been left behind.

    Parameters
    ----------
    kind
        What it is, in the plural.
    number
        How many of it.
    windows
        The number of windows of work.
    example
        One of them.
    """

    kind: str
    number: int
    windows: int
    example: str


def growth(
    work: Callable[[], object],
    held: Callable[[], Held],
    seconds: float,
    *,
    at_least: int = _AT_LEAST,
    slowly: int = _SLOWLY_AT_LEAST,
    quiet: int = _QUIET_WINDOWS,
) -> Growth | None:
    """Repeat ``work`` until nothing grows any more, and return None, or what grows without a bound.

    Parameters
    ----------
    work
        One window of work, always of the same size. It has been done before, so that pools are filled.
    held
        Returns what is held.
    seconds
        For how long to repeat the work while something grows.
    at_least, slowly
        How many must be left behind; and if the time is over.
    quiet
        How many windows without growth end the search.
    """
    with _new_objects_alone():
        return _growth(work, held, time.perf_counter() + seconds, (at_least, slowly), quiet)


def _growth(
    work: Callable[[], object], held: Callable[[], Held], deadline: float, least: tuple[int, int], quiet: int
) -> Growth | None:
    first = held()
    history = [_sizes(first)]
    still: dict[str, int] = dict.fromkeys(first, 0)
    while True:
        began = time.perf_counter()
        work()
        enough = quiet if time.perf_counter() - began > _LONG else 1
        most = {kind: max(each[kind] for each in history) for kind in first}
        now = _settled(held, most, _SETTLES_WITHIN)
        history.append(_sizes(now))
        for kind in first:
            still[kind] = still[kind] + enough if history[-1][kind] <= most[kind] else 0
        growing = [kind for kind in first if still[kind] < quiet]
        if not growing:
            return None
        over = time.perf_counter() > deadline
        for kind in growing:
            sizes = [each[kind] for each in history]
            if not _is_steady(sizes, least[over]):
                continue
            now = _settled(held, history[0], _ENDS_WITHIN)
            left = len(now[kind]) - sizes[0]
            if left >= (least[over]):
                new = [each for each in now[kind] if each not in first[kind]] or [*now[kind]]
                return Growth(kind, left, len(sizes) - 1, new[-1])
        if over:
            return None


def _is_steady(sizes: list[int], at_least: int) -> bool:
    """Return whether a count has grown by so much, and in its second half at the rate of the first one."""
    steps = len(sizes) - 1
    if steps % 2:  # halves of equal size
        sizes = sizes[1:]
    middle = len(sizes) // 2
    earlier, later = sizes[middle] - sizes[0], sizes[-1] - sizes[middle]
    return steps > 1 and earlier + later >= at_least and later >= _STEADY * earlier


def _sizes(held: Held) -> dict[str, int]:
    return {kind: len(each) for kind, each in held.items()}


def _settled(held: Callable[[], Held], usual: Mapping[str, int], seconds: float) -> Held:
    """Return what is held, after waiting for what ends by itself."""
    until = time.perf_counter() + seconds
    while True:
        now = held()
        if all(len(each) <= usual[kind] for kind, each in now.items()) or time.perf_counter() > until:
            return now
        time.sleep(_MOMENT)


@contextlib.contextmanager
def _new_objects_alone() -> Iterator[None]:
    """Let the garbage collector look at no older objects, which takes most of its time."""
    gc.collect()
    if gc.get_freeze_count():  # somebody else has frozen objects, and an unfreeze would undo that
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def held_by_this_process() -> Held:
    """Return the open files and sockets, threads, child processes and tasks, after a garbage collection."""
    gc.collect()
    return {
        "open files or sockets": _descriptors(),
        "threads": _threads(),
        "child processes": _children(),
        "asyncio tasks": _tasks(),
    }


def _descriptors() -> list[str]:
    if _DESCRIPTORS is None:
        return []
    found = {each: _target(each) for each in _numbers_in(_DESCRIPTORS)}
    return [f"{each} ({target})" for each, target in found.items() if target]  # the folder's own is closed


def _numbers_in(folder: Path) -> list[str]:
    return sorted((each.name for each in folder.iterdir()), key=int)


def _target(descriptor: str) -> str | None:
    """Return what a descriptor is of; None if it is closed."""
    try:
        return str(Path("/proc/self/fd", descriptor).readlink())
    except OSError:
        return None if _TASKS.exists() else "a descriptor"


def _threads() -> list[str]:
    """Return the names of all threads; of those that Python does not know, their numbers."""
    known = {str(each.native_id): each.name for each in threading.enumerate()}
    try:
        running = _numbers_in(_TASKS)
    except OSError:
        running = [*known]
    return [f"thread {each} ({known.get(each, 'not made by threading')})" for each in running]


def _children() -> list[str]:
    children: set[str] = set()
    for each in _TASKS.glob("*/children"):
        with contextlib.suppress(OSError):
            children.update(each.read_text(encoding="ascii").split())
    return [f"process {each}" for each in sorted(children, key=int)]


def _tasks() -> list[str]:
    # Of every event loop, also of one that the layer runs in a thread of its own.
    tasks = [each for each in gc.get_objects() if issubclass(type(each), asyncio.Task)]
    return [f"task {each.get_name()}" for each in tasks if not each.done()]


class FilesMade:
    """Notes which files and folders Python code of this process makes inside its ``with`` block."""

    def __init__(self) -> None:
        self.noting = False
        self._made: dict[str, None] = {}
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Self:
        for holder, name, makes in (
            (builtins, "open", _opened_to_write),
            (io, "open", _opened_to_write),
            (os, "open", _opened_to_create),
            (os, "mkdir", lambda *_, **__: True),
        ):
            usual = getattr(holder, name)
            self._undo.callback(setattr, holder, name, usual)
            setattr(holder, name, self._noting(usual, makes))
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Note the files that are made inside."""
        self.noting = True
        try:
            yield
        finally:
            self.noting = False

    def left(self) -> list[str]:
        """Return the paths of the noted files that still exist."""
        return [each for each in list(self._made) if os.path.lexists(each)]

    def _noting(self, function: Callable[..., Any], makes: Callable[..., bool]) -> Callable[..., Any]:
        def noting(*args: Any, **kwargs: Any) -> Any:
            named = dict(kwargs)
            path, *others = args or (named.pop("file", None) or named.pop("path", None),)
            if self.noting and isinstance(path, str | bytes | os.PathLike) and makes(*others, **named):
                full = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - no link is followed
                if full not in self._made and not os.path.lexists(full):
                    self._made[full] = None
            return function(*args, **kwargs)

        return noting


def _opened_to_write(mode: str = "r", *_: Any, **__: Any) -> bool:
    return not _MAKES_FILES.isdisjoint(mode)


def _opened_to_create(flags: int = 0, *_: Any, **__: Any) -> bool:
    return bool(flags & os.O_CREAT)
