"""Measure the cost of protection without a remote store: derivation, engine, local cache, threads, tasks."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from libraries import (
    BARE,
    IDEMKIT,
    IDEMPROOF,
    POWERTOOLS,
    InDictionary,
    by_idemkit,
    by_jmespath,
    closing,
    derivation,
    first_and_replay,
    idemkit_memory,
    powertools,
)
from measuring import FIRST, Contestant, Scenario, Size, Step, by_steps, in_tasks, in_threads, in_turn
from payloads import HUGE, LARGE, ORDER, WEBHOOK, Kind
from stores import Places

import idemproof

_Enter = Callable[[Places, contextlib.ExitStack], list[Contestant]]

_REMARKS = (
    "Bare is the work, and the search, JSON encoding and hash that a key needs. "
    "idemkit's store scans all its records at each claim; it is meant for tests."
)


def _blocking(kind: Kind) -> _Enter:
    def enter(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:  # noqa: ARG001 - others need it
        contestants = [by_steps(BARE, [Step(FIRST, in_turn(derivation(kind)), kind.answer)])]
        for name, protect in _libraries(kind):
            runs: list[Any] = []
            plain, cached = (in_turn(protect(runs, cached=cached)) for cached in (False, True))
            contestants.append(first_and_replay(name, kind, runs, plain, cached))
        return contestants

    return enter


def _threads(count: int) -> _Enter:
    def enter(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:  # noqa: ARG001
        contestants = []
        for name, protect in _libraries(ORDER):
            runs: list[Any] = []
            act = in_threads(protect(runs, cached=False), count, stack)
            contestants.append(first_and_replay(name, ORDER, runs, act))
        return contestants

    return enter


def _tasks(count: int) -> _Enter:
    def enter(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:  # noqa: ARG001
        runner = stack.enter_context(asyncio.Runner())
        our_runs: list[Any] = []
        their_runs: list[Any] = []
        layer = idemproof.AsyncInMemoryPersistenceLayer()
        ours = by_jmespath(idemproof, layer, ORDER, our_runs, asynchronous=True)
        backend = idemkit_memory()
        stack.callback(closing(runner, backend.aclose))
        theirs = by_idemkit(backend, ORDER, their_runs, asynchronous=True)
        return [
            first_and_replay(IDEMPROOF, ORDER, our_runs, in_tasks(ours, count, runner)),
            first_and_replay(IDEMKIT, ORDER, their_runs, in_tasks(theirs, count, runner)),
        ]

    return enter


def _libraries(kind: Kind) -> list[tuple[str, Callable[..., Any]]]:
    """Return a function for each library that protects the work with a new store."""

    def ours(runs: list[Any], *, cached: bool) -> Any:
        return by_jmespath(idemproof, idemproof.InMemoryPersistenceLayer(), kind, runs, cached=cached)

    def original(runs: list[Any], *, cached: bool) -> Any:
        return by_jmespath(powertools, InDictionary(), kind, runs, cached=cached)

    def other(runs: list[Any], *, cached: bool) -> Any:
        return by_idemkit(idemkit_memory(), kind, runs, cached=cached)

    return [(IDEMPROOF, ours), (POWERTOOLS, original), (IDEMKIT, other)]


def _scenario(how: str, enter: _Enter, reference: str, size: Size, kind: Kind = ORDER) -> Scenario:
    smoke = Size(1, min(size.calls, 8))
    return Scenario(f"memory, {how}", enter, reference, size, smoke, kind, anew=True, remark=_REMARKS)


SCENARIOS = [
    *(
        _scenario(kind.name, _blocking(kind), POWERTOOLS, size, kind)
        for kind, size in (
            (ORDER, Size(15, 400)),
            (WEBHOOK, Size(15, 300)),
            (LARGE, Size(11, 60)),
            (HUGE, Size(5, 3)),
        )
    ),
    _scenario("16 threads", _threads(16), POWERTOOLS, Size(15, 320)),
    _scenario("async, 1 task", _tasks(1), IDEMKIT, Size(15, 400)),
    _scenario("async, 200 tasks", _tasks(200), IDEMKIT, Size(15, 400)),
]
