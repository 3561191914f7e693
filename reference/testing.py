"""What tests may change about all idempotent functions at once, and see of them.

The only place that is changed, for as long as a test asks, is :meth:`Engine.steps`: every decorated function
goes through it, whatever its layer, and whether it is ``async def``.
"""

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from ..backends.base import CompareAndSwapLayer
from ..backends.clock import wall_clock_ms
from ..backends.commands import Call, Swap
from ..backends.drivers import Steps
from ..spec.record import ceil_seconds
from .cache import LocalCache
from .engine import Engine
from .functions import name_of


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
    watchers = (*_world.watchers, (_engine_of(function), runs))
    with _in(_world._replace(watchers=watchers)):
        yield runs


@contextmanager
def use_clock(clock: Callable[[], int]) -> Iterator[None]:
    """Let all idempotent functions go by ``clock``, whatever their configuration says.

    Parameters
    ----------
    clock
        Returns the time now in milliseconds since the epoch, as :class:`MovableClock` does.
    """
    with _in(_world._replace(clock=clock)):
        yield


@contextmanager
def use_layer(layer: CompareAndSwapLayer) -> Iterator[None]:
    """Let all idempotent functions keep their records in ``layer``, which never blocks."""
    with _in(_world._replace(layer=layer)):
        yield


class _World(NamedTuple):
    """What stands in for what functions were decorated with."""

    layer: CompareAndSwapLayer | None = None
    clock: Callable[[], int] | None = None
    watchers: tuple[tuple[Engine, Runs], ...] = ()


_world = _World()
_usual_steps = Engine.steps


@contextmanager
def _in(world: _World) -> Iterator[None]:
    """Make ``world`` that of all calls which begin meanwhile."""
    global _world
    twins: dict[Engine, Engine] = {}

    def steps(engine: Engine, key: str, payload_hash: str | None, lambda_context: Any = None) -> Steps:
        twin = twins.get(engine) or twins.setdefault(engine, _twin(engine, world))
        return _observed(_usual_steps(twin, key, payload_hash, lambda_context), key, engine, world)

    before = _world, Engine.steps
    _world, Engine.steps = world, steps  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        _world, Engine.steps = before  # type: ignore[method-assign]


def _twin(engine: Engine, world: _World) -> Engine:
    """Return what ``engine`` is in ``world``; a new layer's records are in no old local cache."""
    twin = copy.copy(engine)
    twin._keeps_owners = engine._keeps_owners or world.layer is not None
    if world.clock is not None:
        twin._clock = world.clock
    if world.layer is not None and engine._cache is not None:
        twin._cache = LocalCache(engine._config.local_cache_max_items)
        twin._answers = copy.copy(engine._answers)
        twin._answers._cache = twin._cache
    return twin


def _observed(steps: Steps, key: str, engine: Engine, world: _World) -> Steps:
    """Pass on what ``steps`` ask for: requests to the world's layer, if it has one, else to the driver."""
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
                for watched, runs in world.watchers:
                    if watched is engine:
                        runs._note(key, command)
            try:
                if world.layer is not None and isinstance(command, Swap):
                    reply = world.layer._swap(*command)
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
