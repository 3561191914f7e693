"""The main program of a worker process: it creates a layer with the factory and carries out orders."""

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
from ..suite.subjects import LoopThread, Subject, error_text
from .durable_writes import written
from .messages import FactoryLocation, Failed, Go, Join, Look, Seen, Start, Up, Write
from .stress import Round, stress

_LONGEST_WAIT_NS = 1_000_000_000


def main() -> None:
    """Carry out the orders of the parent process, and end when it ends."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a layer's prints must not mix with the replies

    def reply(what: object) -> None:
        out.write(base64.b64encode(pickle.dumps(what)) + b"\n")
        out.flush()

    orders: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(orders,), daemon=True).start()
    start: Start = orders.get()
    with MovedClock(moves_the_process=start.movable_clock) as clock:
        clock.move_to(start.now)
        try:
            subject = subject_of(start.location)
        except Exception as failure:  # noqa: BLE001 - every failure is reported to the parent
            reply(Failed(error_text(failure)))
            return
        reply(Up(time.perf_counter_ns()))
        while True:
            reply(_carried_out(orders.get(), subject, reply, orders.get))


def subject_of(location: FactoryLocation) -> Subject:
    """Create a layer with the factory at ``location``."""
    made: Any = _Factories(location).load()()
    loop = LoopThread()
    if asyncio.iscoroutine(made):
        made = loop.run(made)
    layer = adapted(made[0] if isinstance(made, tuple | list) else made)
    if not isinstance(layer, BasePersistenceLayer | AsyncBasePersistenceLayer):
        raise TypeError(f"the factory returned a {type(layer).__name__}, not a layer")
    return Subject(layer, loop)


class _Factories(pickle.Unpickler):
    def __init__(self, location: FactoryLocation) -> None:
        super().__init__(io.BytesIO(location.pickled))
        self._files = location.files

    def find_class(self, module: str, name: str) -> Any:
        return functools.reduce(getattr, name.split("."), _imported(module, self._files.get(module)))


def _imported(module: str, file: str | None) -> Any:
    """Import a module by its name, or from ``file`` if it is not on the search path."""
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
    os._exit(0)  # the parent has ended


def _carried_out(
    order: Any, subject: Subject, reply: Callable[[object], None], next_order: Callable[[], Any]
) -> object:
    try:
        if isinstance(order, Join):
            return _take_part(order, subject, reply, next_order)
        if isinstance(order, Write):
            for acknowledged in written(order.claims, subject):
                reply(acknowledged)
            return "written"
        if isinstance(order, Look):
            return Seen(_stored(subject, order.key))
    except Exception as failure:  # noqa: BLE001 - reported to the parent
        return Failed(error_text(failure))
    raise AssertionError(f"unknown order: {order!r}")


def _take_part(
    order: Join, subject: Subject, reply: Callable[[object], None], next_order: Callable[[], Any]
) -> Round:
    def begin() -> None:
        reply("ready")
        go: Go = next_order()
        latest = time.perf_counter_ns() + _LONGEST_WAIT_NS
        while time.perf_counter_ns() < min(go.at, latest):
            pass  # a sleep would wake up too late

    return stress(order.plan, [(who, subject) for who in order.clients], begin)


def _stored(subject: Subject, key: str) -> Record | None:
    found = subject.load(key)
    return None if found is None else Record(*found)
