"""Support for tests of applications: another clock or layer for all functions, and a count of runs.

While a test needs it, the hook :attr:`Core.stand_in` is set. Every call goes through it, over any layer,
``async def`` or not. An observer counts the runs.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ..backends.base import CompareAndSwapLayer
from ..backends.clock import wall_clock_ms
from ..spec.occurrences import OF_RENEWAL, Kind, Occurrence
from ..spec.record import ceil_seconds
from .cache import LocalCache
from .core import Core
from .engine import Engine
from .functions import name_of
from .keys import private_store
from .operations import operations_of


class MovableClock:
    """A clock that only moves when a test moves it.

    Give it to :func:`use_clock`, or to ``IdempotencyConfig(clock=...)``.

    Parameters
    ----------
    now_ms
        The first time (epoch milliseconds). By default, the next whole second, because results expire at
        whole seconds.
    """

    def __init__(self, now_ms: int | None = None) -> None:
        self._now_ms = ceil_seconds(wall_clock_ms()) * 1000 if now_ms is None else now_ms

    def __call__(self) -> int:
        """Return the current time (epoch milliseconds)."""
        return self._now_ms

    def advance(self, seconds: float) -> None:
        """Move the clock forward by ``seconds``, or back if the number is negative."""
        self._now_ms += round(seconds * 1000)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._now_ms})"


class Runs:
    """The runs of one idempotent function, by idempotency key. :func:`count_runs` yields it.

    Parameters
    ----------
    name
        The name of the function in messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._runs: list[tuple[str, str | None, str]] = []
        self._lock = threading.Lock()

    @property
    def by_key(self) -> dict[str, int]:
        """The number of runs for each idempotency key."""
        return {key: len(ends) for key, ends in self._grouped().items()}

    def assert_once(self, *, operations: int = 1) -> None:
        """Fail unless the function ran once for each of this number of operations.

        All calls with one idempotency key are one operation. A run that raised counts.

        Parameters
        ----------
        operations
            The expected number of different operations.

        Raises
        ------
        AssertionError
            The message says how often each key ran, how each run ended, and what may be the reason.
        """
        __tracebackhide__ = True
        found = self._grouped()
        if len(found) == operations and all(len(ends) == 1 for ends in found.values()):
            return
        raise AssertionError("\n".join(self._complaint(found, operations)))

    def _observe(self, occurrence: Occurrence) -> None:
        """Record the begin and the end of a run; forget a run that never began."""
        kind, key, owner = occurrence.kind, occurrence.key, occurrence.owner
        with self._lock:
            runs = self._runs
            if kind in _BEGINNINGS:
                runs.append((key, owner, _UNDER_WAY))
            elif kind is Kind.REPLAYED and occurrence.ran:  # a durable execution met its own result
                runs.append((key, owner, "returned"))
            elif kind not in _NO_ENDINGS and (key, owner, _UNDER_WAY) in runs:
                place = runs.index((key, owner, _UNDER_WAY))
                if occurrence.ran:
                    runs[place] = (key, owner, _ending(occurrence))
                else:
                    del runs[place]

    def _grouped(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        with self._lock:
            for key, _, end in self._runs:
                found.setdefault(key, []).append(end)
        return found

    def _complaint(self, found: dict[str, list[str]], operations: int) -> Iterator[str]:
        yield (
            f"{self._name} should have run once for {_counted(operations, 'operation')}; it ran "
            f"{_counted(sum(map(len, found.values())), 'time')} under {_counted(len(found), 'key')}."
        )
        for key, ends in found.items():
            yield f"  {key}: {_counted(len(ends), 'run')} ({', '.join(ends)})"
        if not found:
            yield (
                "It was not called, or ran unprotected: its payload has no key, or "
                "idempotency is switched off."
            )
        elif len(found) > operations:
            yield "Does event_key_jmespath select something that differs between tries of one operation?"
        elif len(found) < operations:
            yield "Does event_key_jmespath select too little, so that different operations have one key?"
        if any(len(ends) > 1 for ends in found.values()):
            yield "A key runs again if its run raised, or if its window or lease was over."

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r}, {self.by_key!r})"


@contextmanager
def count_runs(function: Callable[..., Any]) -> Iterator[Runs]:
    """Count how often the body of an idempotent function runs, over any layer.

    Parameters
    ----------
    function
        The decorated function or method. It may have other decorators around it.

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
    with _in(_Stand(watcher=(operations_of(function).core, runs))):
        yield runs


@contextmanager
def use_clock(clock: Callable[[], int]) -> Iterator[None]:
    """Make all idempotent functions use ``clock`` instead of the clock of their configuration.

    Parameters
    ----------
    clock
        Returns the current time (epoch milliseconds), as :class:`MovableClock` does.
    """
    with _in(_Stand(clock=clock)):
        yield


@contextmanager
def use_layer(layer: CompareAndSwapLayer) -> Iterator[None]:
    """Make all idempotent functions use ``layer``, which must never block."""
    with private_store(), _in(_Stand(layer=layer)):
        yield


class _Stand:
    """The layer, clock or observer of one test, which replaces those of the decorated functions."""

    def __init__(
        self,
        layer: CompareAndSwapLayer | None = None,
        clock: Callable[[], int] | None = None,
        watcher: tuple[Core, Runs] | None = None,
    ) -> None:
        self.layer = layer
        self.clock = clock
        self.watcher = watcher
        # A new layer's records are in no old local cache.
        self.caches: dict[Engine, LocalCache] = {}


_stands: tuple[_Stand, ...] = ()
_stands_here: ContextVar[tuple[_Stand, ...]] = ContextVar("idemproof_stands", default=())
_lock = threading.RLock()

_BEGINNINGS = (Kind.CLAIMED, Kind.TOOK_OVER)
_NO_ENDINGS = OF_RENEWAL | {Kind.NO_LEASE, Kind.WAITING}
_UNDER_WAY = "did not end"
_RETURNED = (
    *(Kind.COMPLETED, Kind.RESULT_NOT_STORED, Kind.SUPERSEDED, Kind.LEASE_LOST),
    Kind.OUTCOME_UNKNOWN,
)


@contextmanager
def _in(stand: _Stand) -> Iterator[None]:
    """Use ``stand`` for all calls that begin in this context.

    Tests may overlap: threads and tasks end in any order. Each uses the stand-in of its own context. A thread
    that a test starts has no such context, and uses the newest stand-in.
    """
    global _stands  # noqa: PLW0603 - what all threads look at
    with _lock:
        _stands = (*_stands, stand)
        Core.stand_in = _stand_in
    _stands_here.set((*_stands_here.get(), stand))
    try:
        yield
    finally:
        _stands_here.set(tuple(each for each in _stands_here.get() if each is not stand))
        with _lock:
            _stands = tuple(each for each in _stands if each is not stand)
            if not _stands:
                Core.stand_in = None


def _stand_in(core: Core) -> Core:
    """Return the core that makes a call instead of ``core``."""
    anywhere, here = _stands, _stands_here.get()
    # The newest of its own context first, then the newest of any.
    stands = [each for each in reversed(here) if each in anywhere]
    stands += [each for each in reversed(anywhere) if each not in here]
    layer = next((each for each in stands if each.layer is not None), None)
    clock = next((each.clock for each in stands if each.clock is not None), None)
    watching = [each.watcher[1]._observe for each in stands if each.watcher and each.watcher[0] is core]
    engine = core.engine
    if layer is None:
        return core.over(None, engine.standing_in(clock, observers=watching))
    cache = engine.new_cache()
    if cache is not None:
        cache = layer.caches.setdefault(engine, cache)
    return core.over(layer.layer, engine.standing_in(clock, cache, watching, keeps_owners=True))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _ending(occurrence: Occurrence) -> str:
    kind, error = occurrence.kind, occurrence.error
    if kind in _RETURNED and (error is None or kind in (Kind.RESULT_NOT_STORED, Kind.OUTCOME_UNKNOWN)):
        return "returned"
    if kind is Kind.RELEASE_FAILED:
        return "raised, and its claim is still stored"
    return f"raised {type(error).__name__}"
