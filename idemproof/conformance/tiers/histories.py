"""The time tier: random histories with previous owners, lost replies and the clock at deadlines."""

from ..harness import random_histories
from ..suite.checks import Case
from .clock_control import check_by_the_clock


@check_by_the_clock(
    "time",
    "CAS-1",
    "CAS-2",
    "CAS-3",
    "CAS-5",
    "CAS-6",
    "CAS-7",
    "CAS-8",
    "CAS-9",
    "TIME-2",
    "ROW-1",
    "INV-7",
)
def a_random_history_follows_the_protocol(case: Case) -> None:
    """Random operations by two workers on two keys, with lost requests and replies, follow the table."""
    random_histories.judge(case)
