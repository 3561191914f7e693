"""The fencing tier: an attempt that outlives its lease changes no record that others have stored since."""

from ..harness.end_to_end import Bounds, walk
from ..suite.checks import Case
from .clock_control import check_by_the_clock


@check_by_the_clock(
    "fencing",
    "CAS-2",
    "CAS-3",
    "INV-1",
    "INV-2",
    "INV-3",
    "INV-4",
    "INV-5",
    "INV-9",
    seen_in="Powertools for AWS Lambda 3.37: an attempt that outlived its lease overwrites the result of its "
    "successor, or raises and deletes it, and a third call runs the body again",
    seen_as=("INV-2", "INV-3"),
    needs=("fenced",),
)
def calls_that_outlive_their_leases_change_nothing(case: Case) -> None:
    """Two calls, in every order, while leases and windows end: no body runs twice, each answer is final."""
    walk(case, Bounds(ticks=1 + case.profile.depth))


@check_by_the_clock("fencing", "INV-1", "INV-4", "INV-5", "INV-9", needs=("fenced",))
def calls_with_different_payloads_are_kept_apart(case: Case) -> None:
    """Two calls with different payloads, in every order: neither gets the result of the other."""
    walk(case, Bounds(ticks=min(case.profile.depth, 1), payloads=2))
