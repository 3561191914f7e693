"""Checks of what remains after the process of the service has ended."""

import socket
import time

from ...suite.checks import NotJudged
from ...suite.consequences import LOCKED_OUT, LOST, TWICE
from ..answers import is_busy
from ..case import HttpCase
from ..checking import check
from ..topics import INTERRUPTED, STORED_FIRST
from ..wire import Answer, Request
from .races import sent

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_OF_GATEWAYS = frozenset({502, 503, 504})
_EARLY, _LATE = 0.25, 0.75
"""When the process ends in the midst of a request, as parts of its duration."""


@check("crashes", *STORED_FIRST, needs=("restart",))
def an_answer_survives_a_restart(case: HttpCase) -> None:
    """A request that was answered before a restart gets the same answer after it."""
    request = case.request(case.make.new_key())
    first = case.first(request)
    case.command(case.target.process.restart or "", "restarts the service")
    _wait_until_ready(case)
    _judge_answered(case, first, request, "a restart")


@check("crashes", *STORED_FIRST, needs=("terminate",))
def an_answer_survives_a_termination(case: HttpCase) -> None:
    """A request that was answered before SIGTERM gets the same answer after it."""
    request = case.request(case.make.new_key())
    first = case.first(request)
    _end(case, case.target.process.terminate or "", "terminates the service (SIGTERM)")
    _judge_answered(case, first, request, "SIGTERM")


@check("crashes", *STORED_FIRST, needs=("kill",))
def an_answer_survives_a_kill(case: HttpCase) -> None:
    """A request that was answered before SIGKILL gets the same answer after it."""
    request = case.request(case.make.new_key())
    first = case.first(request)
    _end(case, case.target.process.kill or "", "kills the service (SIGKILL)")
    _judge_answered(case, first, request, "SIGKILL")


@check("crashes", *INTERRUPTED, needs=("terminate",))
def a_termination_in_a_request_runs_once(case: HttpCase) -> None:
    """A request in whose midst SIGTERM arrives, and that is sent again, has the effects that are promised."""
    _judge_interrupted(
        case, case.target.process.terminate or "", "terminates the service (SIGTERM)", "SIGTERM"
    )


@check("crashes", *INTERRUPTED, needs=("kill",))
def a_kill_in_a_request_runs_once(case: HttpCase) -> None:
    """A request in whose midst SIGKILL arrives, and that is sent again, has the effects that are promised."""
    command = case.target.process.kill or ""
    if not _judge_interrupted(case, command, "kills the service (SIGKILL)", "SIGKILL"):
        raise NotJudged(
            "the requests were answered before SIGKILL arrived: describe one that takes longer, slow"
        )


def _judge_answered(case: HttpCase, first: Answer, request: Request, after: str) -> None:
    """Break the clause unless a request that was answered is repeated after the end of the process."""
    promised = case.target.process.keeps_answers
    repeat, _ = case.tried(request)
    number = case.effects()
    if number is not None and number > 1:
        if promised:
            case.fail(
                f"A request was answered, and repeated after {after}: the effect happened {number} times. "
                "Its answer was not stored before it was sent, or not durably.",
                TWICE,
            )
        case.note(f"An answered request runs again after {after}; the target promises nothing else.")
        return
    if promised:
        if not repeat.succeeded:
            case.fail(
                f"A request was answered, and its repeat after {after} got {case.outcome(repeat)}.", LOST
            )
        case.require_repeat(first, repeat, f"A request was repeated after {after}")


def _judge_interrupted(case: HttpCase, command: str, what: str, name: str) -> bool:
    """End the process in a request, early and as soon as the effect is counted, and send it again.

    Returns
    -------
    bool
        Whether the process ended before it had answered, at least once.
    """
    template, seconds = case.longest_request()
    interrupted = False
    for is_late in (False, True):
        case.begin()
        request = case.request(case.make.new_key(), template=template)
        with case.open() as link:
            link.send(sent(request, case.service.place.authority))
            if is_late:
                case.wait_for_effect(_LATE * seconds)
            else:
                case.service.budget.wait(_EARLY * seconds)
            case.log("client 1", f"{case.described(request)}, and waits")
            case.command(command, what)
            answer = link.read(request.method)
        case.log("client 1", f"→ {case.outcome(answer)}")
        _start(case)
        if answer.succeeded:
            _judge_answered(case, answer, request, f"{name} in its midst")
        else:
            interrupted = True
            _judge_unanswered(case, request, name)
    return interrupted


def _judge_unanswered(case: HttpCase, request: Request, name: str) -> None:
    """Break the clause if the repeat of a request without an answer does what the owner excludes."""
    repeat, _ = case.tried(request)
    number = case.effects()
    once = case.target.process.runs_once
    if number is not None and number > 1:
        if once:
            case.fail(
                f"{name} arrived in the midst of a request, and its retry ran again: {number} effects.", TWICE
            )
        case.note(
            f"A request repeats its effect after {name} in its midst; the target promises nothing else."
        )
    elif is_busy(repeat):
        if case.target.lease_seconds is not None and not once:
            case.fail(
                f"{name} arrived in the midst of a request, and its key stays refused with {repeat.status} "
                "after the lease. If an operator decides about such keys, write runs_once = true.",
                LOCKED_OUT,
            )
        case.note(f"A key whose request was ended by {name} stays refused with {repeat.status}.")
    elif repeat.succeeded and number == 0:
        case.fail(
            f"{name} arrived in the midst of a request, and its retry succeeded although no effect happened.",
            LOST,
        )


def _end(case: HttpCase, command: str, what: str) -> None:
    """End the process, and start it again."""
    case.command(command, what)
    _start(case)


def _start(case: HttpCase) -> None:
    """Start the process, unless something else does, and wait until it accepts connections."""
    if case.target.process.start is not None:
        case.command(case.target.process.start, "starts it again")
    _wait_until_ready(case)


def _wait_until_ready(case: HttpCase) -> None:
    """Wait until the service answers: a gateway in front of it answers before it does."""
    place, seconds = case.service.place, case.target.process.ready_seconds
    ask = case.request(None, method="GET", body=b"")
    ends, pause = time.monotonic() + seconds, _FIRST_PAUSE
    while time.monotonic() < ends:
        case.service.budget.wait(pause)
        try:
            socket.create_connection((place.address, place.port), timeout=1).close()
        except OSError:
            continue
        status = case.service.exchange(ask).status
        if status is not None and status not in _OF_GATEWAYS:
            return
        pause = min(2 * pause, _LONGEST_PAUSE)
    raise NotJudged(f"the service did not answer a GET within {seconds:g} seconds after a command")
