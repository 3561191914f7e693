"""Checks of what happens to a key after an error."""

from ...suite.checks import NotJudged
from ...suite.consequences import DIFFERS, LOCKED_OUT, REFUSED
from ..answers import difference
from ..case import HttpCase
from ..checking import check
from ..topics import FINAL
from ..wire import Answer, Request

_SERVER_ERROR = 500


@check("errors", *FINAL, needs=("fails",))
def a_server_error_leaves_the_key_usable(case: HttpCase) -> None:
    """A retry after a 5xx runs again or gets the same error, as the profile says; it is never locked out."""
    request = case.request(case.make.new_key(), template=case.target.requests["fails"])
    first = case.send(request)
    if first.status is None or first.status < _SERVER_ERROR:
        raise NotJudged(f"the request of the target does not fail: {case.outcome(first)}")
    again = case.until_decided(request)
    if again.refused:
        case.fail(
            f"A request failed with {first.status}, and its retry is refused with {again.status}: the client "
            "can "
            "neither repeat the operation nor learn its result.",
            LOCKED_OUT,
        )
    wanted = case.expects.demands.server_errors
    stored = _is_stored(case, request, first, again)
    if stored and wanted == "released":
        case.fail(
            f"A retry after {first.status} got the stored error. The profile {case.expects.name} says "
            "that it "
            "runs again.",
            REFUSED,
        )
    if stored is False and wanted == "kept":
        case.fail(
            f"A retry after {first.status} ran again. The profile {case.expects.name} says that it gets "
            "the "
            "stored error.",
            DIFFERS,
        )
    if stored is None:
        case.note("A retry after a 5xx got the same error; whether it ran again cannot be seen.")
    if again.succeeded:
        case.require_repeat(again, case.until_decided(request), "A retry after an error was repeated")


def _is_stored(case: HttpCase, request: Request, first: Answer, again: Answer) -> bool | None:
    """Return whether a retry got the stored error; None if that cannot be seen."""
    if difference(first, again, case.target.ignore) is not None:
        return False
    if case.service.has_marker(again):
        return True
    template = case.target.requests["fails"]
    fresh = case.send(case.request(case.make.new_key(), template=template), "client 2")
    once_more = case.send(request)
    if difference(first, once_more, case.target.ignore) is not None:
        return False
    return True if difference(first, fresh, case.target.ignore) is not None else None


@check("errors", *FINAL, needs=("declined",))
def a_refusal_of_the_application_is_answered_again(case: HttpCase) -> None:
    """A retry after a 4xx of the application gets it again or runs again; it is never locked out."""
    request = case.request(case.make.new_key(), template=case.target.requests["declined"])
    first = case.send(request)
    if not first.refused:
        raise NotJudged(f"the request of the target is not refused: {case.outcome(first)}")
    again = case.until_decided(request)
    if again.failure is not None or (again.status or 0) >= _SERVER_ERROR:
        case.fail(
            f"A retry of a request that was refused with {first.status} got {case.outcome(again)}.",
            LOCKED_OUT,
        )
    if again.refused and again.status != first.status:
        case.fail(
            f"A request was refused with {first.status}, and its retry with {again.status}: the reason is "
            "lost.",
            DIFFERS,
        )
    case.require_once("A refused request was repeated")
