"""Checks of connections that end too early."""

from ...suite.checks import NotOffered
from ...suite.consequences import LOCKED_OUT, LOST, TWICE
from ..case import HttpCase
from ..checking import check
from ..shell import part
from ..topics import BODY, RUN
from ..wire import Request
from .races import sent

_PAUSE = 0.05
_LATE = 0.75
"""Until when an effect is waited for, as a part of the duration of its request."""
_SERVER_ERROR = 500
_HALF_RAN = "A request of which half of the body arrived had an effect."


@check("connections", *RUN)
def a_cut_before_the_answer_runs_once(case: HttpCase) -> None:
    """A client that closes its connection before the answer, and sends the request again, has one effect."""
    template, seconds = case.longest_request()
    for is_late in (False, True):
        for reset in (True, False):
            case.begin()
            request = case.request(case.make.new_key(), template=template)
            data = sent(request, case.service.place.authority)
            with case.open() as link:
                link.send(data)
                if is_late:
                    case.wait_for_effect(_LATE * seconds)
                link.close(reset=reset)
            _log_cut(case, request, data, "it whole", reset=reset)
            _require_success(case, request, "A connection was closed before the answer", running=seconds)


@check("connections", *RUN)
def a_cut_in_the_answer_runs_once(case: HttpCase) -> None:
    """A client that closes its connection in the midst of the answer, and asks again, has one effect."""
    for most in (0, 1):
        case.begin()
        request = case.request(case.make.new_key())
        with case.open() as link:
            link.send(sent(request, case.service.place.authority))
            if most:
                link.read(request.method, at_most=most)
            else:
                link.wait_for_answer()
            link.close(reset=True)
        case.log("client 1", f"{case.described(request)} → closes the connection in the midst of the answer")
        case.repeatable(part(sent(case.masked(request), case.service.place.authority), case.service.place))
        _require_success(case, request, "A connection was closed in the midst of the answer")


@check("connections", *RUN)
def a_half_closed_connection_runs_once(case: HttpCase) -> None:
    """A client that sends nothing more, and asks again on another connection, has one effect."""
    request = case.request(case.make.new_key())
    with case.open() as link:
        link.send(sent(request, case.service.place.authority))
        link.end_sending()
        answer = link.read(request.method)
    case.log("client 1", f"{case.described(request)}, half closed → {case.outcome(answer)}")
    case.repeatable(part(sent(case.masked(request), case.service.place.authority), case.service.place))
    _require_success(case, request, "A connection was half closed")


@check("connections", *BODY)
def half_a_body_claims_nothing(case: HttpCase) -> None:
    """A request whose body is cut has no effect, and its key can be used by the whole request."""
    for chunked in (False, True):
        for reset in (False, True):
            case.begin()
            whole = case.request(case.make.new_key())
            if len(whole.body) < 2:  # noqa: PLR2004
                raise NotOffered("the request of the target has no body")
            half = _half(whole._replace(chunked=chunked), case.service.place.authority)
            with case.open() as link:
                link.send(half)
                case.service.budget.wait(_PAUSE + case.service.seconds)
                link.close(reset=reset)
            _log_cut(case, whole, half, "half of its body", reset=reset)
            if case.effects():
                case.fail(_HALF_RAN, TWICE)
            answer = case.until_decided(whole)
            if answer.refused and case.effects():  # which may come late
                case.fail(_HALF_RAN, TWICE)
            _require_success(case, whole, "Half of a body was sent, and then the whole request")


def _half(request: Request, authority: str) -> bytes:
    """Return a request up to the middle of its body."""
    payload = request.payload()
    if request.chunked:
        return request.head(authority) + payload[: payload.index(b"\r\n") + 2 + len(request.body) // 2 + 2]
    return request.head(authority) + payload[: len(payload) // 2]


def _log_cut(case: HttpCase, request: Request, data: bytes, what: str, *, reset: bool) -> None:
    """Add to the trace that some bytes of a request were sent, and the connection was closed."""
    how = "resets" if reset else "closes"
    case.log("client 1", f"{case.described(request)}: sends {what}, and {how} the connection")
    masked = case.service.texts.masked(data.decode("utf-8", "surrogateescape"))
    case.repeatable(part(masked.encode("utf-8", "surrogateescape"), case.service.place))


def _require_success(case: HttpCase, request: Request, why: str, *, running: float = 0) -> None:
    """Send the whole request until it is decided; break the clause unless it succeeds with one effect."""
    answer = case.until_decided(request, running=running)
    if answer.status is not None and answer.status >= _SERVER_ERROR:
        answer = case.until_decided(request)
    number = case.require_once(why)
    if answer.refused:
        case.fail(
            f"{why}, and the retry is refused with {answer.status}: the key is occupied by the broken "
            "request.",
            LOCKED_OUT,
        )
    if not answer.succeeded:
        case.fail(f"{why}, and the retry got {case.outcome(answer)}: the result is lost.", LOST)
    if number == 0:
        case.fail(f"{why}, and the retry succeeded although no effect happened.", LOST)
