"""The concurrency tier: after a fork, a layer serves both processes, each for itself.

A child inherits locks that no thread of its own will release, and sockets that its parent goes on using. So
the process forks while the layer is idle, and while another thread has a request open; and then both of them
send requests at once.
"""

import asyncio
import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn

from ...spec.commands import Load
from ..harness import requests
from ..harness.evidence import is_explained, lines_of
from ..harness.forks import (
    CHILD,
    PARENT,
    Child,
    Ended,
    Hung,
    Reply,
    Sent,
    can_fork,
    in_a_child,
    replied,
    sent,
)
from ..harness.linearizability import Get, Operation, Request
from ..harness.open_requests import OpenRequest, reply_while_open, sqlite_connections, stoppable
from ..harness.recording import key_of
from ..suite.adapters import adapted
from ..suite.checks import Case, NotOffered, check
from ..suite.subjects import Subject
from .exclusion import Scene

_SECONDS = 6.0
"""How long a child, and a request next to it, may take to answer on a fast store."""
_SLOWER = 15
"""For how many requests there is time, on a slow store."""
_BOTH_SECONDS = 0.25
_HEAD_START_SECONDS = 0.03
_KEYS = 150
"""How many keys of their own, and how many of each other, parent and child use at once."""
_TAKEN = "The child may have taken its reply from a connection that both use."
_ADVICE = "Make new locks and connections in each process, or do not claim forks."


@check("concurrency", "CAS-13", "CAS-4", needs=("inside", "shared", "forks"))
def a_fork_leaves_both_processes_a_layer(case: Case) -> None:
    """After a fork, parent and child both get their own answers, whatever the parent did at that moment."""
    if not can_fork():
        raise NotOffered("this platform cannot fork a process that has threads")
    if case.layer.asynchronous and not case.capabilities.loops:
        raise NotOffered("a child needs an event loop of its own, which is not claimed (loops)")
    assert case.temporary is not None
    _require_one_store(case)
    with case.temporary() as layer:
        seconds = _fork_while_idle(case, layer)
        if case.capabilities.threads:
            _fork_while_a_request_is_open(case, layer, seconds)
            _use_both_at_once(case, layer, seconds)


class _Visit:
    """The keys that a child uses, and the requests that it sends."""

    def __init__(self, case: Case, layer: Subject) -> None:
        self._case = case
        self._layer = layer
        self.stored, self.new, self.contested = (
            Scene(case.new_key(), case.now, layer.swaps) for _ in range(3)
        )
        self.claim = self.stored.claim("alice", 3)
        self._before = _in_the_parent(case, layer, [self.stored.ask(None, self.claim)])
        took = max((each.end or 0) - each.start for each in self._before) / 1e9
        self.seconds = max(_SECONDS, _SLOWER * took)
        """How long its child may take to answer (seconds)."""

    def in_child(self) -> Sent:
        """Send the requests of the child."""
        return sent(self._case, in_a_child(self._layer), CHILD, self._requests())

    def judge(self, reply: Reply, opened: Sent | None = None) -> None:
        """Require that the answers of the child, of the open request, and of final reads fit."""
        case = self._case
        operations = [*self._before, *(opened.operations if opened else [])]
        if opened is not None and opened.error is not None:
            _fail(case, f"A request that was open in the parent failed. {opened.error}", operations)
        there = _of_child(case, reply, operations)
        operations += there.operations
        if there.error is not None and case.capabilities.forks:
            _fail(
                case,
                f"The layer claims that a child may use it (forks), but refuses it. {there.error}",
                operations,
            )
        reads = map(_read, (self.stored, self.new, self.contested))
        _judge(case, [*operations, *_in_the_parent(case, self._layer, reads)])

    def _requests(self) -> Iterator[Request]:
        yield _read(self.stored)
        yield self.new.ask(None, self.new.claim("bob", 1))
        yield _read(self.new)
        yield self.contested.ask(None, self.contested.claim("bob", 1))
        yield _read(self.contested)


def _read(scene: Scene) -> Request:
    return Load(scene.key) if scene.swaps else Get(scene.key)


def _require_one_store(case: Case) -> None:
    """Require that a layer that a child makes shares its store with this process."""
    scene = Scene(case.new_key(), case.now, case.layer.swaps)

    def put() -> Sent:
        assert case.factory is not None
        made: Any = case.factory()
        if asyncio.iscoroutine(made):
            made = asyncio.run(made)
        layer = adapted(made[0] if isinstance(made, tuple | list) else made)
        subject = in_a_child(Subject(layer, case.layer.loop))
        return sent(case, subject, CHILD, [scene.ask(None, scene.claim("bob"))])

    reply = replied(put, max(_SECONDS, case.profile.patience))
    if isinstance(reply, Hung | Ended) or reply.error is not None:
        if case.capabilities.forks:
            _fail(case, "The layer claims that a child may use it (forks), but a child cannot make one.", [])
        raise NotOffered("a forked child cannot make a layer of its own")
    if requests.read(case.layer, scene.key) is None:
        raise NotOffered("a forked child does not share its records with this process")


def _fork_while_idle(case: Case, layer: Subject) -> float:
    """Fork while no request is open; return how long a child may take to answer (seconds)."""
    visit = _Visit(case, layer)
    case.histories += 1
    reply = replied(visit.in_child, visit.seconds)
    visit.judge(reply)
    if reply.error is not None:
        raise NotOffered(f"a forked child is refused: {reply.error}")
    return visit.seconds


def _fork_while_a_request_is_open(case: Case, layer: Subject, seconds: float) -> None:
    waited = 0
    for stage, most in _STAGES.items():
        with stoppable(case, layer) as send:

            def opened(at: int, visit: _Visit, stage: Stage = stage, send: Send = send) -> OpenRequest:
                return OpenRequest(lambda request: send(request, stage(visit)), at, 2 * seconds)

            over_sqlite = bool(sqlite_connections())
            counting = opened(0, _Visit(case, layer))
            counting.begin(seconds)
            counting.finish(seconds)
            for at in case.some(_spread(counting.places, most), least=2):
                visit = _Visit(case, layer)
                connections = sqlite_connections() if over_sqlite else []  # the search takes its time
                waited = waited + 1 if _fork_during(case, opened(at, visit), visit, connections) else 0
                if waited == _SURELY:
                    return  # the layer delays forks until no request is open


Stage = Callable[[_Visit], Request]
Send = Callable[[OpenRequest, Request], Sent]


def _claims(visit: _Visit) -> Request:
    return visit.contested.ask(None, visit.contested.claim("alice"))


def _completes(visit: _Visit) -> Request:
    return visit.stored.ask(visit.claim, visit.stored.result(visit.claim))


def _reads(visit: _Visit) -> Request:
    return _read(visit.stored)


def _fork_during(
    case: Case, opened: OpenRequest, visit: _Visit, connections: list[sqlite3.Connection]
) -> bool:
    """Fork while a request stops at its place; return whether the fork waited for the request."""
    opened.begin(visit.seconds)
    case.schedules += 1
    child, late = opened.fork(visit.in_child, connections)
    try:
        reply = reply_while_open(child, opened, visit.seconds)
    finally:
        child.end()
    finished = opened.finish(visit.seconds)
    if finished is None:
        _of_child(case, reply, [])
        _fail(case, f"The process was forked while it had a request open, which never ended. {_TAKEN}", [])
    visit.judge(reply, finished)
    return late


_STAGES: dict[Stage, int] = {_claims: 20, _completes: 4, _reads: 4}
"""The requests during which the process is forked, each with the number of places in it, at most."""
_SURELY = 2
"""How many forks in a row have to wait for the request; a single one may be slow for another reason."""


def _spread(places: int, most: int) -> list[int]:
    """Return numbers of places at even distances; the middle one first, because the time may end."""
    most = min(places, most)
    middle_first = sorted(range(most), key=lambda number: abs(2 * number + 1 - most))
    return [1 + (number * (places - 1) // (most - 1) if most > 1 else 0) for number in middle_first]


def _use_both_at_once(case: Case, layer: Subject, seconds: float) -> None:
    scenes = [Scene(case.new_key(), case.now, layer.swaps) for _ in range(3 * _KEYS)]
    begin_at = time.monotonic() + _HEAD_START_SECONDS

    def wanted(who: str, own: list[Scene]) -> Iterator[Request]:
        time.sleep(max(0, begin_at - time.monotonic()))
        for mine, ours in zip(own, scenes[2 * _KEYS :], strict=True):
            yield mine.ask(None, mine.claim(who))
            yield _read(mine)
            yield ours.ask(None, ours.claim(who, int(who == CHILD)))

    def in_child() -> Sent:
        requests_ = wanted(CHILD, scenes[_KEYS : 2 * _KEYS])
        return sent(case, in_a_child(layer), CHILD, requests_, _BOTH_SECONDS)

    case.histories += 1
    child = Child(in_child)
    try:
        operations = _in_the_parent(case, layer, wanted(PARENT, scenes[:_KEYS]), _BOTH_SECONDS)
        there = _of_child(case, child.reply(seconds), operations)
    finally:
        child.end()
    if there.error is not None:
        why = f"Parent and child sent requests at once, after the child had got answers alone. {there.error}"
        _fail(case, f"{why} {_TAKEN}", operations)
    _judge(case, [*operations, *there.operations])


def _in_the_parent(
    case: Case, layer: Subject, wanted: Iterable[Request], seconds: float = math.inf
) -> list[Operation]:
    """Send requests in this process, which may never get their replies; return them with their answers."""
    if case.capabilities.threads:
        opened = OpenRequest(lambda _: sent(case, layer, PARENT, wanted, seconds), 0, 0)
        opened.begin(_SECONDS)
        outcome = opened.finish(case.profile.patience)
    else:
        outcome = sent(case, layer, PARENT, wanted, seconds)
    if outcome is None:
        _fail(case, f"After a fork, a request of the parent was not answered: it hangs. {_TAKEN}", [])
    if outcome.error is not None:
        _fail(case, f"After a fork, a request of the parent failed. {outcome.error}", outcome.operations)
    return outcome.operations


def _of_child(case: Case, reply: Reply, operations: list[Operation]) -> Sent:
    """Return the reply of a child, which must have ended by itself."""
    if isinstance(reply, Hung):
        why = "A forked child got no answer in time: it hangs."
        _fail(case, f"{why} It may wait for a lock that its parent held at the fork.", operations)
    if isinstance(reply, Ended):
        _fail(case, f"A forked child that used the layer {reply.how}.", operations)
    there: Sent = reply
    return there


def _judge(case: Case, operations: list[Operation]) -> None:
    of: dict[str, list[Operation]] = {}
    for each in operations:
        of.setdefault(key_of(each.request), []).append(each)
    for history in of.values():
        if not is_explained(history, swaps=case.layer.swaps, fenced=case.fenced):
            why = "No order of the requests of a parent and its forked child explains their answers."
            why = f"{why} They got each other's replies, or both held one lock."
            _fail(case, why, history, ["CAS-13", "CAS-4"])


def _fail(
    case: Case, why: str, operations: list[Operation], clauses: Sequence[str] = ("CAS-13",)
) -> NoReturn:
    """Report what a fork breaks: a finding if forks are claimed. Many layers are made in each process."""
    if not case.capabilities.forks:
        raise NotOffered(f"it is not claimed (forks), and this was seen: {why}")
    case.fail(f"{why} {_ADVICE}", lines_of(operations), [*clauses])
