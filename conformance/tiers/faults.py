"""The faults tier: requests and replies are lost, workers die, and nobody is locked out."""

from ..machines.whole_calls import Bounds, walk, without_late_requests
from ..suite.checks import Case, check

_RULES = ("CAS-2", "CAS-3", "INV-1", "INV-2", "INV-3", "INV-4", "INV-5", "INV-9")


@check(
    "faults",
    *_RULES,
    "INV-6",
    seen_in="Powertools for AWS Lambda 3.37: a put that was applied while its reply was lost refuses its own "
    "caller, and nobody runs until the lease ends",
    needs=("time",),
)
def a_lost_request_or_reply_costs_a_retry_only(case: Case) -> None:
    """Any one request of two calls is lost, or its reply: the caller gets in, and nothing runs twice."""
    # Without owners two calls cannot be told apart: of layers without fencing one call is asked about.
    walk(case, Bounds(clients=2 if case.capabilities.fenced else 1, faults=1), without_late_requests)


@check("faults", *_RULES, needs=("time", "fenced"))
def a_late_request_changes_nothing(case: Case) -> None:
    """Any one request of two calls arrives long after its sender gave up: it costs waiting, never safety."""
    walk(
        case, Bounds(faults=1, ticks=min(case.profile.depth, 1)), lambda path: not without_late_requests(path)
    )


@check("faults", *_RULES, needs=("time",))
def a_death_costs_a_lease_only(case: Case) -> None:
    """The worker of either call dies at any point: the other takes over once the lease has ended."""
    walk(case, Bounds(crashes=1, ticks=1 if case.capabilities.fenced else 0))
