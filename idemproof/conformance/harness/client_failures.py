"""Interrupts requests between the calls of the layer's client: the client fails, or the worker dies."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

from ...spec.commands import Load
from ...spec.events import Claim
from ...spec.record import Record, deadline_ms
from ...spec.transition import transition
from ..suite.checks import Broken, Case, NotOffered
from ..suite.subjects import Subject, as_a_sentence, came_from_the_layer, error_text
from ..suite.trace import CLOCK, Trace
from . import requests
from .interception import Interception
from .known_clients import end_session, lost_connection, may_fail_alone, undoes
from .linearizability import Get, Operation, linearization
from .race_traces import in_words
from .races import RETENTION_MS, Make
from .scheduled_client import Died, PauseKind, What, reporting_to

FailureMode = Literal["fails before", "fails after", "dies before", "dies after"]
"""The interruption of a call: the client raises before or after the call takes effect, or the worker dies
before or after it."""

WAYS: tuple[FailureMode, ...] = get_args(FailureMode)

MOST_CALLS = 20
"""The maximal number of calls of one request that are interrupted."""

_LATER_MS = 3_600_000
_TOLERANCE_MS = 1000
"""How late a layer may notice that a deadline has passed, or release a lock that a dead worker has left, in
milliseconds."""


class Saboteur:
    """Receives the pauses at a client's calls during one request, and interrupts one call.

    Parameters
    ----------
    at
        The number of the call, from 1; 0 interrupts none.
    way
        The kind of interruption.
    """

    def __init__(self, at: int = 0, way: FailureMode = "fails before") -> None:
        self.inside = False
        self.calling: Any = None
        self.calls = 0
        self.happened: str | None = None
        self._at = at
        self._way = way
        self._dead = False

    @property
    def pauses_disabled(self) -> bool:
        """Whether it is inside a call; nested calls are not interrupted."""
        return self.inside

    @property
    def skips_call(self) -> bool:
        """Whether this interruption is impossible for the called client."""
        return self.calling is sqlite3 and self._way != "fails before"

    def pause(self, what: What, kind: PauseKind) -> None:
        """Count a call, before it or after it, and interrupt it if it is the chosen one."""
        words = (what if isinstance(what, str) else what()).removeprefix("has done ")
        if undoes(self.calling, words):
            return
        if self._dead:
            raise Died
        if not may_fail_alone(self.calling, words):
            return
        self.calls += kind == "call"
        fails, _, when = self._way.partition(" ")
        if self.calls != self._at or kind != ("call" if when == "before" else "reply") or self.happened:
            return
        if self.skips_call:  # SQLite runs in this process: no reply is lost, and no thread dies alone
            return
        self.happened = f"{'the client fails' if fails == 'fails' else 'dies'} {when} {words}"
        self.inside = True
        try:
            end_session(self.calling)
        finally:
            self.inside = False
        if fails == "dies":
            self._dead = True
            raise Died
        raise lost_connection(self.calling)

    async def pause_async(self, what: What, kind: PauseKind) -> None:
        """Do as :meth:`pause`."""
        self.pause(what, kind)

    def wait(self, _what: What, free: Callable[[], bool] | None = None, **_: object) -> bool:
        """Return True for a sleep, which ends at once, and False for a lock, which no client will release."""
        return free is None


def interrupt(case: Case, stage: Make, ways: tuple[FailureMode, ...]) -> None:
    """Interrupt a request at each call of the layer's client, one call at a time, in each of ``ways``.

    Parameters
    ----------
    case
        The case of the check; the first finding ends it.
    stage
        Returns the stored record at the beginning, and the first client's request, which is interrupted.
    ways
        The kinds of interruption.
    """
    calls = _attempt(case, stage, Saboteur())
    if not calls:
        raise NotOffered("the layer has no client whose calls could be interrupted")
    if case.restarted is None and any(way.startswith("dies") for way in ways):
        # The death of a whole process also ends the state of the layer object, which stays here.
        raise NotOffered("another layer from the factory does not see what a dead one has left behind")
    for number in range(1, min(calls, MOST_CALLS) + 1):
        for way in ways:
            _attempt(case, stage, Saboteur(number, way))


@contextlib.contextmanager
def _intercepted(case: Case) -> Iterator[None]:
    for worker in case.workers:  # some layers create their clients on first use
        worker.load(case.new_key())
    with Interception([worker.layer for worker in case.workers], case.capabilities.client_methods):
        yield


def _attempt(case: Case, stage: Make, saboteur: Saboteur) -> int:
    """Send the request once, and check the outcome; return the number of calls."""
    replaced = len(case.workers) == 1
    if replaced:  # the victim has died: a new worker replaces it
        assert case.restarted is not None
        case.workers.append(case.restarted())
    with _intercepted(case):
        if replaced:  # some layers make more calls at their first request
            _run_once(case, stage, Saboteur())
        return _run_once(case, stage, saboteur)


def _run_once(case: Case, stage: Make, saboteur: Saboteur) -> int:
    key = case.new_key()
    race = stage(key, case.now)
    request = race.clients[0][0]
    trace = case.trace(key)
    other, victim = case.workers[:2]
    if race.current is not None:
        requests.establish(victim, race.current, RETENTION_MS)
        trace.log("client 2", "has written this")
    if race.pass_ms:
        case.pass_time(race.pass_ms, trace)
    operation = Operation("client 2", 1, None, case.now, request)
    try:
        with reporting_to(saboteur):
            answer = requests.ask(case, victim, request)
    except Died:
        case.workers.remove(victim)
        trace.log("client 2", f"{in_words(request)}, and {saboteur.happened}")
    except Exception as failure:
        if saboteur.happened is None:
            raise
        trace.log("client 2", f"{in_words(request)}; {saboteur.happened}; it gets {error_text(failure)}")
    else:
        if saboteur.happened is None:  # requests without interruptions are checked elsewhere
            return saboteur.calls
        operation = operation._replace(end=2, answer=answer)
        trace.log(
            "client 2",
            f"{in_words(request)}; {saboteur.happened}; it {in_words(operation)}",
        )
    seen = requests.ask(case, other, Load(key) if other.swaps else Get(key))
    final = Operation("client 1", 3, 4, case.now, Load(key) if other.swaps else Get(key), seen)
    trace.log("client 1", f"then {in_words(final)}")
    fenced = case.fenced
    if linearization([operation, final], race.current, swaps=other.swaps, fenced=fenced) is None:
        raise Broken(
            "The layer's client failed, or its worker died, in the middle of a request. Neither of the "
            "possible outcomes, done or not done, explains the stored record and the answer.",
            ("CAS-1",) if isinstance(request, Load | Get) else ("CAS-3", "CAS-4"),
            trace.lines,
        )
    _require_that_a_new_client_gets_the_key(case, other, key, trace)
    return saboteur.calls


def _require_that_a_new_client_gets_the_key(case: Case, worker: Subject, key: str, trace: Trace) -> None:
    """Let every deadline pass; a new client must then get the key."""
    current = requests.ask(case, worker, Load(key) if worker.swaps else Get(key))
    if isinstance(current, Record):
        case.clock.move_to(max(case.now, deadline_ms(current)) + _TOLERANCE_MS)
        trace.log(CLOCK, "every stored record is over")
    else:  # a short lock on the key may have to expire
        case.pass_time(_TOLERANCE_MS, trace)
    lease = case.now + _LATER_MS
    claim = Claim("newcomer", lease, lease // 1000 + 1, None, key)
    new, _ = transition(None, claim, case.now)
    assert new is not None
    try:
        if worker.swaps:
            current = worker.load(key)
            granted = requests.plain(worker.swap(key, current, new, RETENTION_MS), key, swaps=True) == new
        else:
            granted = requests.put(case, worker, new).how == "done"
    except Exception as failure:
        if not came_from_the_layer(failure):
            raise
        trace.log("client 1", "claims the key, and gets an error")
        raise Broken(as_a_sentence(failure), case.clauses, trace.lines) from failure
    trace.log("client 1", f"claims the key, and {'gets it' if granted else 'is refused'}")
    if not granted:
        raise Broken(
            "After a request that was interrupted between two calls of the layer's client, a new caller is "
            "refused, although no live record is stored.",
            ("CAS-2",) if worker.swaps else ("CAS-7", "ROW-1"),
            trace.lines,
        )
