"""Requests that are interrupted between the calls of the layer's own client: it fails, or the worker dies."""

import contextlib
import importlib
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

from ...spec.commands import Load
from ...spec.events import Claim
from ...spec.record import Record, deadline_ms
from ...spec.transition import transition
from ..suite.checks import Broken, Case, NotOffered
from ..suite.subjects import Subject, as_a_sentence, came_from_the_layer
from ..suite.trace import CLOCK, Trace
from . import requests
from .interception import Interception
from .linearizability import Get, Operation, linearization
from .race_traces import in_words
from .races import KEEP_MS, Make
from .scheduled_client import Kind, What, reporting_to

Way = Literal["fails before", "fails after", "dies before", "dies after"]
"""What happens at a call of the client: it raises though nothing was done, or though it was done; or the
worker dies just before it, or just after."""

WAYS: tuple[Way, ...] = get_args(Way)

MOST_CALLS = 20
"""At how many calls of one request it may be interrupted."""

_LATER_MS = 3_600_000
_COARSEST_MS = 1000
"""How much later than asked for a layer may let a deadline be over, or keep others out by a lock of its own
that a dead worker has left behind, and still let newcomers in."""


class Died(BaseException):
    """Ends the work of a worker that dies; it reaches no store any more, whatever it does on its way out."""


class Saboteur:
    """Is told of the client's calls while one request is made, and interrupts one of them.

    Parameters
    ----------
    at
        The number of the call, from 1; 0 lets all of them pass.
    way
        What happens there.
    """

    pauses_disabled = False
    inside = False

    def __init__(self, at: int = 0, way: Way = "fails before") -> None:
        self.calling: Any = None
        self.calls = 0
        self.happened: str | None = None
        self._at = at
        self._way = way
        self._dead = False

    @property
    def skips_call(self) -> bool:
        """Whether what was to happen cannot happen to the client that was called."""
        return self.calling is sqlite3 and self._way != "fails before"

    def pause(self, what: What, kind: Kind) -> None:
        """Take note of a call, before it or after; interrupt it if it is the one."""
        if self._dead:
            raise Died
        self.calls += kind == "call"
        fails, _, when = self._way.partition(" ")
        if self.calls != self._at or kind != ("call" if when == "before" else "reply") or self.happened:
            return
        if self.skips_call:  # what is in this process answers, and its death is not this thread's
            return
        words = what if isinstance(what, str) else what()
        self.happened = (
            f"{'the client fails' if fails == 'fails' else 'dies'} {when} {words.removeprefix('has done ')}"
        )
        if fails == "dies":
            self._dead = True
            raise Died
        raise _failure_of(self.calling)

    async def pause_async(self, what: What, kind: Kind) -> None:
        """As :meth:`pause`."""
        self.pause(what, kind)

    def wait(self, _what: What, free: Callable[[], bool] | None = None, **_: object) -> bool:
        """Let it go on at once where it would sleep; where it waits for another, nobody will come."""
        return free is None


def interrupt(case: Case, stage: Make, ways: tuple[Way, ...]) -> None:
    """Interrupt a request at each call of the layer's client, one at a time, in each of ``ways``.

    Parameters
    ----------
    case
        Where the findings go; the first ends the check.
    stage
        Gives what stands at first, and the first client's request, which is interrupted.
    ways
        How to interrupt.
    """
    calls = _try(case, stage, Saboteur())
    if not calls:
        raise NotOffered("the layer has no client whose calls could be interrupted")
    if case.restarted is None and any(way.startswith("dies") for way in ways):
        # What the dead leave undone within their own object, a death of the process would undo.
        raise NotOffered("another layer from the factory does not see what a dead one has left behind")
    for number in range(1, min(calls, MOST_CALLS) + 1):
        for way in ways:
            _try(case, stage, Saboteur(number, way))


@contextlib.contextmanager
def _intercepted(case: Case) -> Iterator[None]:
    for worker in case.workers:  # some make their clients when they are first used
        worker.load(case.new_key())
    with Interception([worker.layer for worker in case.workers], case.capabilities.client_methods):
        yield


def _try(case: Case, stage: Make, saboteur: Saboteur) -> int:
    """Make the request once, and judge what came of it; return how many calls it made."""
    replaced = len(case.workers) == 1
    if replaced:  # the victim has died: another does what it did
        assert case.restarted is not None
        case.workers.append(case.restarted())
    with _intercepted(case):
        if replaced:  # some do more at their first request
            _interrupted(case, stage, Saboteur())
        return _interrupted(case, stage, saboteur)


def _interrupted(case: Case, stage: Make, saboteur: Saboteur) -> int:
    key = case.new_key()
    race = stage(key, case.now)
    request = race.clients[0][0]
    trace = case.trace(key)
    other, victim = case.workers[:2]
    if race.current is not None:
        requests.establish(victim, race.current, KEEP_MS)
        trace.tell("client 2", "has written this")
    if race.pass_ms:
        case.pass_time(race.pass_ms, trace)
    operation = Operation("client 2", 1, None, case.now, request)
    try:
        with reporting_to(saboteur):
            answer = requests.ask(case, victim, request)
    except Died:
        case.workers.remove(victim)
        trace.tell("client 2", f"{in_words(request)}, and {saboteur.happened}")
    except Exception as failure:
        if saboteur.happened is None:
            raise
        trace.tell("client 2", f"{in_words(request)}; {saboteur.happened}; it gets {failure!r}")
    else:
        if saboteur.happened is None:  # with nothing in between it is judged elsewhere
            return saboteur.calls
        operation = operation._replace(end=2, answer=answer)
        trace.tell(
            "client 2",
            f"{in_words(request)}; {saboteur.happened}; it {in_words(operation)}",
        )
    seen = requests.ask(case, other, Load(key) if other.swaps else Get(key))
    last = Operation("client 1", 3, 4, case.now, Load(key) if other.swaps else Get(key), seen)
    trace.tell("client 1", f"then {in_words(last)}")
    fenced = case.capabilities.fenced
    if linearization([operation, last], race.current, swaps=other.swaps, fenced=fenced) is None:
        raise Broken(
            "The layer's client failed, or its worker died, in the middle of a request. Neither of the "
            "possible outcomes, done or not done, explains the stored record and the answer.",
            ("CAS-1",) if isinstance(request, Load | Get) else ("CAS-3", "CAS-4"),
            trace.lines,
        )
    _let_a_newcomer_in(case, other, key, trace)
    return saboteur.calls


def _let_a_newcomer_in(case: Case, worker: Subject, key: str, trace: Trace) -> None:
    """Let every deadline pass; somebody else must then be given the key."""
    current = requests.ask(case, worker, Load(key) if worker.swaps else Get(key))
    if isinstance(current, Record):
        case.clock.move_to(max(case.now, deadline_ms(current)) + _COARSEST_MS)
        trace.tell(CLOCK, "every stored record is over")
    else:  # somebody's short lock on the key may have to lapse
        case.pass_time(_COARSEST_MS, trace)
    lease = case.now + _LATER_MS
    claim = Claim("newcomer", lease, lease // 1000 + 1, None, key)
    new, _ = transition(None, claim, case.now)
    assert new is not None
    try:
        if worker.swaps:
            current = worker.load(key)
            got_in = requests.plain(worker.swap(key, current, new, KEEP_MS), key, swaps=True) == new
        else:
            got_in = requests.put(case, worker, new).how == "done"
    except Exception as failure:
        if not came_from_the_layer(failure):
            raise
        trace.tell("client 1", "claims the key, and gets an error")
        raise Broken(as_a_sentence(failure), case.clauses, trace.lines) from failure
    trace.tell("client 1", f"claims the key, and {'has it' if got_in else 'is refused'}")
    if not got_in:
        raise Broken(
            "After a request that was interrupted between two calls of the layer's client, a new caller is "
            "refused, although no live record is stored.",
            ("CAS-2",) if worker.swaps else ("CAS-7", "ROW-1"),
            trace.lines,
        )


def _failure_of(client: Any) -> Exception:
    """Return what the library of ``client`` raises when a connection is lost."""
    if client is sqlite3:
        return sqlite3.OperationalError("disk I/O error")
    for kind in type(client).__mro__:
        library = kind.__module__.partition(".")[0]
        if library in ("redis", "valkey"):
            lost: Exception = importlib.import_module(f"{library}.exceptions").ConnectionError(
                "the connection is lost"
            )
            return lost
        if library == "botocore":
            exceptions = importlib.import_module("botocore.exceptions")
            timed_out: Exception = exceptions.ReadTimeoutError(endpoint_url="http://127.0.0.1")
            return timed_out
    return ConnectionError("the connection is lost")
