"""What tests may change about all idempotent functions at once, and see of them.

The only place that is changed, for as long as a test asks, is :meth:`Engine.steps`: every decorated function
goes through it, whatever its layer, and whether it is ``async def``.
"""

import copy
import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from ..backends.base import CompareAndSwapLayer
from ..backends.clock import wall_clock_ms
from ..drivers.blocking import Steps
from ..spec.commands import Call, Swap
from ..spec.record import ceil_seconds
from .cache import LocalCache
from .durable import Execution
from .engine import Engine
from .functions import name_of
from .keys import private_store


class MovableClock:
    """A clock that stands still until a test moves it.

    Give it to :func:`use_clock`, or to ``IdempotencyConfig(clock=...)``.

    Parameters
    ----------
    now_ms
        Where it starts, in milliseconds since the epoch. If not given: at the next whole second, because
        results expire at whole seconds.
    """

    def __init__(self, now_ms: int | None = None) -> None:
        self._now_ms = ceil_seconds(wall_clock_ms()) * 1000 if now_ms is None else now_ms

    def __call__(self) -> int:
        """Return the time now, in milliseconds since the epoch."""
        return self._now_ms

    def advance(self, seconds: float) -> None:
        """Move the clock; back, if ``seconds`` is negative."""
        self._now_ms += round(seconds * 1000)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._now_ms})"


class Runs:
    """The runs of one idempotent function, by idempotency key, as :func:`count_runs` sees them.

    Parameters
    ----------
    name
        What messages call the function.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: list[tuple[str, Call]] = []

    @property
    def by_key(self) -> dict[str, int]:
        """How often the function ran, for each idempotency key under which it did."""
        return {key: len(calls) for key, calls in self._grouped().items()}

    def assert_once(self, *, operations: int = 1) -> None:
        """Fail unless the function ran once for each of so many operations.

        An operation is what calls of one idempotency key ask for. A run that raised counts.

        Parameters
        ----------
        operations
            How many different operations were asked for.

        Raises
        ------
        AssertionError
            The message says how often each key ran, how each run ended, and what may be the reason.
        """
        __tracebackhide__ = True
        found = self._grouped()
        if len(found) == operations and all(len(calls) == 1 for calls in found.values()):
            return
        raise AssertionError("\n".join(self._complaint(found, operations)))

    def _note(self, key: str, call: Call) -> None:
        self._calls.append((key, call))

    def _grouped(self) -> dict[str, list[Call]]:
        found: dict[str, list[Call]] = {}
        for key, call in list(self._calls):
            found.setdefault(key, []).append(call)
        return found

    def _complaint(self, found: dict[str, list[Call]], operations: int) -> Iterator[str]:
        yield (
            f"{self._name} should have run once for {_counted(operations, 'operation')}; it ran "
            f"{_counted(sum(map(len, found.values())), 'time')} under {_counted(len(found), 'key')}."
        )
        for key, calls in found.items():
            yield f"  {key}: {_counted(len(calls), 'run')} ({', '.join(map(_ending, calls))})"
        if not found:
            yield (
                "It was not called, or ran unprotected: its payload has no key, or "
                "idempotency is switched off."
            )
        elif len(found) > operations:
            yield "Does event_key_jmespath select something that differs between tries of one operation?"
        elif len(found) < operations:
            yield "Does event_key_jmespath select too little, so that different operations have one key?"
        if any(len(calls) > 1 for calls in found.values()):
            yield "A key runs again if its run raised, or if its window or lease was over."

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r}, {self.by_key!r})"


@contextmanager
def count_runs(function: Callable[..., Any]) -> Iterator[Runs]:
    """Count how often the body of an idempotent function runs, over whatever layer.

    Parameters
    ----------
    function
        The decorated function or method, possibly with other decorators around.

    Yields
    ------
    Runs
        What ran since; it can be asked afterwards too.

    Raises
    ------
    TypeError
        The function is not idempotent.
    """
    runs = Runs(name_of(function))
    with _in(_Stand(watcher=(_engine_of(function), runs))):
        yield runs


@contextmanager
def use_clock(clock: Callable[[], int]) -> Iterator[None]:
    """Let all idempotent functions go by ``clock``, whatever their configuration says.

    Parameters
    ----------
    clock
        Returns the time now in milliseconds since the epoch, as :class:`MovableClock` does.
    """
    with _in(_Stand(clock=clock)):
        yield


@contextmanager
def use_layer(layer: CompareAndSwapLayer) -> Iterator[None]:
    """Let all idempotent functions keep their records in ``layer``, which never blocks."""
    with private_store(), _in(_Stand(layer=layer)):
        yield


class _Stand:
    """What one test lets stand in for what functions were decorated with, until it ends."""

    def __init__(
        self,
        layer: CompareAndSwapLayer | None = None,
        clock: Callable[[], int] | None = None,
        watcher: tuple[Engine, Runs] | None = None,
    ) -> None:
        self.layer = layer
        self.clock = clock
        self.watcher = watcher
        # A new layer's records are in no old local cache.
        self.caches: dict[Engine, LocalCache] = {}


_stands: tuple[_Stand, ...] = ()
_stands_here: ContextVar[tuple[_Stand, ...]] = ContextVar("idemproof_stands", default=())
_lock = threading.RLock()
_usual_steps = Engine.steps


@contextmanager
def _in(stand: _Stand) -> Iterator[None]:
    """Let ``stand`` be used by all calls that begin meanwhile.

    Tests may overlap: threads and tasks end in any order. Each gets what stands in its own context; a thread
    that a test starts, and that has no context of it, gets what the newest test lets stand.
    """
    global _stands  # noqa: PLW0603 - what all threads look at
    with _lock:
        _stands = (*_stands, stand)
        Engine.steps = _steps  # type: ignore[assignment, method-assign]
    _stands_here.set((*_stands_here.get(), stand))
    try:
        yield
    finally:
        _stands_here.set(tuple(each for each in _stands_here.get() if each is not stand))
        with _lock:
            _stands = tuple(each for each in _stands if each is not stand)
            if not _stands:
                Engine.steps = _usual_steps  # type: ignore[method-assign]


def _steps(
    engine: Engine,
    key: str,
    payload_hash: str | None,
    lambda_context: Any = None,
    execution: Execution | None = None,
) -> Steps:
    """Stand in for :meth:`Engine.steps`."""
    anywhere, here = _stands, _stands_here.get()
    # The newest of its own context first, then the newest of any.
    stands = [each for each in reversed(here) if each in anywhere]
    stands += [each for each in reversed(anywhere) if each not in here]
    layer = next((each for each in stands if each.layer is not None), None)
    clock = next((each.clock for each in stands if each.clock is not None), None)
    watching = [each.watcher[1] for each in stands if each.watcher and each.watcher[0] is engine]
    twin = copy.copy(engine)
    if clock is not None:
        twin._clock = clock
    if layer is not None:
        twin._keeps_owners = True
        if engine._cache is not None:
            new = LocalCache(engine._config.local_cache_max_items)
            twin._cache = layer.caches.setdefault(engine, new)
            twin._answers = copy.copy(engine._answers)
            twin._answers._cache = twin._cache
    steps = _usual_steps(twin, key, payload_hash, lambda_context, execution)
    return _observed(steps, key, None if layer is None else layer.layer, watching)


def _observed(steps: Steps, key: str, layer: CompareAndSwapLayer | None, watching: list[Runs]) -> Steps:
    """Pass on what ``steps`` ask for: requests to ``layer``, if there is one, else to the driver."""
    reply: Any = None
    error: BaseException | None = None
    try:
        while True:
            try:
                command = steps.send(reply) if error is None else steps.throw(error)
            except StopIteration as done:
                return done.value
            reply = error = None
            if isinstance(command, Call):
                for runs in watching:
                    runs._note(key, command)
            try:
                if layer is not None and isinstance(command, Swap):
                    reply = layer._swap(*command)
                else:
                    reply = yield command
            except BaseException as failure:  # noqa: BLE001 - every failure belongs to the protocol
                error = failure
    finally:
        del error  # its traceback refers to this frame


def _engine_of(function: Any) -> Engine:
    """Find the engine that a decorated function calls, behind decorators around it too."""
    layer: Any = function
    while layer is not None:
        if isinstance(layer, functools.partial):
            layer = layer.func
        for cell in getattr(layer, "__closure__", None) or ():
            with suppress(ValueError):  # nothing was put into it yet
                if isinstance(cell.cell_contents, Engine):
                    return cell.cell_contents
        layer = getattr(layer, "__wrapped__", None)
    raise TypeError(
        f"{name_of(function)} is not idempotent: decorate it with @idempotent or @idempotent_function, "
        "and give the decorated function."
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _ending(call: Call) -> str:
    if call.failure is not None:
        return f"raised {type(call.failure).__name__}"
    return "returned" if call.returned else "did not end"
