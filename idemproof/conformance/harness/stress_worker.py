"""The main program of another process: it makes a layer by the factory, and does what it is told."""

import asyncio
import base64
import functools
import importlib
import importlib.util
import io
import os
import pickle
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from ...backends.base import AsyncBasePersistenceLayer, BasePersistenceLayer
from ...spec.record import Record
from ..suite.adapters import adapted
from ..suite.clock import MovedClock
from ..suite.subjects import LoopThread, Subject
from .durable_writes import written
from .messages import Failed, Go, Join, Look, Place, Seen, Start, Up, Write
from .stress import Round, stress

_LONGEST_WAIT_NS = 1_000_000_000


def main() -> None:
    """Serve whoever started this process, and end with it."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a layer prints is no answer

    def say(what: object) -> None:
        out.write(base64.b64encode(pickle.dumps(what)) + b"\n")
        out.flush()

    orders: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(orders,), daemon=True).start()
    start: Start = orders.get()
    with MovedClock(moves_the_process=start.movable_clock) as clock:
        clock.move_to(start.now)
        try:
            subject = subject_of(start.place)
        except Exception as failure:  # noqa: BLE001 - whatever it is, it is told
            say(Failed(f"{type(failure).__name__}: {failure}"))
            return
        say(Up(time.perf_counter_ns()))
        while True:
            say(_done(orders.get(), subject, say, orders.get))


def subject_of(place: Place) -> Subject:
    """Make a layer by the factory that stands at ``place``."""
    made: Any = _Factories(place).load()()
    loop = LoopThread()
    if asyncio.iscoroutine(made):
        made = loop.run(made)
    layer = adapted(made[0] if isinstance(made, tuple | list) else made)
    if not isinstance(layer, BasePersistenceLayer | AsyncBasePersistenceLayer):
        raise TypeError(f"it returned a {type(layer).__name__}, and no layer")
    return Subject(layer, loop)


class _Factories(pickle.Unpickler):
    def __init__(self, place: Place) -> None:
        super().__init__(io.BytesIO(place.pickled))
        self._files = place.files

    def find_class(self, module: str, name: str) -> Any:
        return functools.reduce(getattr, name.split("."), _imported(module, self._files.get(module)))


def _imported(module: str, file: str | None) -> Any:
    """Import a module by its name, or by its file where its package cannot be found."""
    if module in sys.modules:
        return sys.modules[module]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        if file is None:
            raise
        spec = importlib.util.spec_from_file_location(module, file)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[module] = made = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
        return made


def _read(orders: "queue.SimpleQueue[Any]") -> None:
    for line in sys.stdin.buffer:
        orders.put(pickle.loads(base64.b64decode(line)))  # noqa: S301 - from the process that started this
    os._exit(0)  # nobody is there any more to tell it to


def _done(
    order: Any, subject: Subject, say: Callable[[object], None], next_order: Callable[[], Any]
) -> object:
    try:
        if isinstance(order, Join):
            return _take_part(order, subject, say, next_order)
        if isinstance(order, Write):
            for acknowledged in written(order.claims, subject):
                say(acknowledged)
            return "written"
        if isinstance(order, Look):
            return Seen(_found(subject, order.key))
    except Exception as failure:  # noqa: BLE001 - told to whoever asked
        return Failed(f"{type(failure).__name__}: {failure}")
    raise AssertionError(f"an unknown order: {order!r}")


def _take_part(
    order: Join, subject: Subject, say: Callable[[object], None], next_order: Callable[[], Any]
) -> Round:
    def begin() -> None:
        say("ready")
        go: Go = next_order()
        latest = time.perf_counter_ns() + _LONGEST_WAIT_NS
        while time.perf_counter_ns() < min(go.at, latest):
            pass  # to the moment: waiting would wake up too late

    return stress(order.plan, [(who, subject) for who in order.clients], begin)


def _found(subject: Subject, key: str) -> Record | None:
    found = subject.load(key)
    return None if found is None else Record(*found)


if __name__ == "__main__":
    main()
