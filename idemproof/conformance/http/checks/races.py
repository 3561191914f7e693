"""Checks of requests that arrive at the same time."""

import contextlib
import math
import threading

from ...suite.consequences import DIFFERS, LEAKED, LOCKED_OUT, REFUSED, TWICE, UNCLEAR, WRONG
from ..answers import BUSY, difference
from ..budget import Spent
from ..case import HttpCase
from ..checking import check
from ..shell import curl
from ..topics import IN_PROGRESS, PAYLOAD, RACES, REPLAYED, SCOPE
from ..wire import Answer, Request

_SIZES = (2, 2, 2, 2, 2, 2, 5, 5, 5, 10, 10, 50)
_SERVER_ERROR = 500
_BETWEEN_REPEATS = 0.3
_MOST_REPEATS = 12


@check("races", *RACES, *REPLAYED)
def racing_requests_have_one_effect(case: HttpCase) -> None:
    """Of 2 to 50 equal requests that arrive at once, one has an effect, and all answers agree."""
    for size in _sizes(case):
        case.begin()
        request = case.request(case.make.new_key())
        answers = case.together([request] * size)
        case.require_once(f"Equal requests arrived at once ({size})")
        _judge_answers(case, answers)
        final = case.until_decided(request)
        case.require_once(f"Equal requests arrived at once ({size}), and one more later")
        winner = next((each for each in answers if each.succeeded), None)
        if winner is not None:
            case.require_repeat(winner, final, "A request was repeated after a race")


@check("races", *IN_PROGRESS)
def a_request_in_progress_is_answered_clearly(case: HttpCase) -> None:
    """A request that is refused because the first one runs says so, as the profile requires."""
    for size in (2, 3, 5):
        case.begin()
        request = case.request(case.make.new_key())
        answers = case.together([request] * min(size, case.target.limits.connections))
        refused = [each for each in answers if each.failure is None and not each.succeeded]
        for each in refused:
            if case.expects.demands.in_progress not in (None, each.status) and each.status not in (429, 503):
                case.fail(
                    f"A request that arrived while the first one ran was refused with {each.status}; the "
                    "profile "
                    f"{case.expects.name} says {case.expects.demands.in_progress}.",
                    UNCLEAR,
                )
            if case.expects.demands.retry_after and each.header("retry-after") is None:
                case.fail(
                    f"A request that arrived while the first one ran was refused with {each.status}, but "
                    "without "
                    f"Retry-After, which the profile {case.expects.name} requires.",
                    UNCLEAR,
                )


@check("races", *PAYLOAD, needs=("other",))
def racing_payloads_have_one_effect(case: HttpCase) -> None:
    """Of two payloads that arrive at once under one key, one has an effect, and the other no answer of it."""
    for _ in range(5):
        case.begin()
        key = case.make.new_key()
        one, other = case.request(key), case.request(key, template=case.target.other)
        answers = case.together([one, other] if case.random.random() < 0.5 else [other, one])  # noqa: PLR2004
        case.require_once("Two payloads arrived at once under one key")
        if all(each.succeeded for each in answers):
            same = answers[0].body == answers[1].body
            got = "the answer to the other one" if same else "success as well"
            case.fail(f"Two payloads arrived at once under one key, and the second got {got}.", WRONG)


@check("races", *SCOPE)
def other_keys_do_not_wait(case: HttpCase) -> None:
    """Requests with different keys that arrive at once all run, each once."""
    count = min(10, case.target.limits.connections)
    requests = [case.request(case.make.new_key(), unique=case.make.unique()) for _ in range(count)]
    answers = case.together(requests)
    number = case.effects()
    succeeded = sum(each.succeeded for each in answers)
    blocked = [each.status for each in answers if each.status in (409, 422, 423)]
    if blocked:
        case.fail(f"Requests with different keys arrived at once, and some got {blocked[0]}.", LOCKED_OUT)
    if number is not None and number < succeeded:
        case.fail(
            f"Requests with different keys arrived at once: {succeeded} succeeded, {number} had an effect.",
            WRONG,
        )
    for request, answer in zip(requests, answers, strict=True):
        if answer.succeeded:
            repeat = case.until_decided(request)
            differs = difference(answer, repeat, case.target.ignore)
            if differs is not None:
                case.fail(f"After a race of different keys, a repeat differs: {differs}.", LEAKED)
    if number is not None and number > count:
        case.fail(f"Requests with different keys had {number} effects instead of {count}.", TWICE)


@check("races", *RACES, needs=("slow",))
def a_slow_request_runs_once(case: HttpCase) -> None:
    """A request that takes long, and is sent again while it runs, has one effect."""
    request = case.request(case.make.new_key(), template=case.target.requests["slow"])
    answers: list[Answer] = []

    def send() -> None:
        with contextlib.suppress(Spent):  # the next request shows that
            answers.append(case.service.exchange(request))

    threads: list[threading.Thread] = []
    while len(threads) < _MOST_REPEATS and not answers:  # a repeat may wait, so each has its own thread
        threads.append(threading.Thread(target=send, name="http-judge", daemon=True))
        threads[-1].start()
        case.log(f"client {len(threads)}", case.described(request))
        case.repeatable(curl(case.masked(request), case.service.place, in_background=True))
        case.service.budget.wait(_BETWEEN_REPEATS)
    for thread in threads:
        thread.join(case.target.limits.timeout_seconds + 1)
    for answer in answers:
        case.log("client 1", f"→ {case.outcome(answer)}")
    final = case.until_decided(request)
    case.require_once("A request was repeated while it ran")
    first = next((each for each in answers if each.succeeded), None)
    if first is not None:
        case.require_repeat(first, final, "A slow request was repeated when it had ended")


def _sizes(case: HttpCase) -> list[int]:
    """Return the sizes of the races, in random order but for the largest."""
    most = case.target.limits.connections
    sizes = [min(size, most) for size in _SIZES]
    small = sizes[:-1]
    case.random.shuffle(small)
    return [*small, sizes[-1]]


def _judge_answers(case: HttpCase, answers: list[Answer]) -> None:
    """Break the clause if the answers of equal requests contradict each other."""
    winners = [each for each in answers if each.succeeded]
    for each in answers:
        if each.failure is not None or each.status in BUSY:
            continue
        if each.succeeded:
            differs = difference(winners[0], each, case.target.ignore)
            if differs is not None:
                case.fail(f"Equal requests arrived at once, and two answers differ: {differs}.", DIFFERS)
        elif (each.status or math.inf) >= _SERVER_ERROR or each.refused:
            case.fail(
                f"Equal requests arrived at once, and one was answered {case.outcome(each)}: a client that "
                "gets "
                "it does not know that the operation succeeds.",
                REFUSED,
            )


def sent(request: Request, authority: str) -> bytes:
    """Return all bytes of a request."""
    return request.head(authority) + request.payload()
