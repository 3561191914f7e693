"""Checks that move the clock: asked only of layers that live by the clock that is moved."""

import functools
import time
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

from ...spec.record import INPROGRESS, Record, ceil_seconds
from ..harness import requests
from ..suite.checks import Case, NotOffered, check
from ..suite.subjects import Subject
from .contract import HOUR_MS

_ANOTHER_CLOCK = "the layer decides by another clock than this process's: claim movable_clock = False"

_MINUTES_MS = 300_000
_MOMENT_MS = 300
_REAL_WAIT_SECONDS = 0.5

_LONG_AGO_MS = 1_000_000_000_000
"""In 2001: long ago by any clock."""
_DAYS_MS = 72 * HOUR_MS
"""More than a clock is wrong by that mistakes its time zone, and less than the years by which it is moved."""

_other_clocks: WeakKeyDictionary[Subject, bool] = WeakKeyDictionary()
"""Of each layer by the four methods whether it decides by a clock of its own, once that was asked."""


def check_by_the_clock(
    tier: str,
    *clauses: str,
    seen_in: str | None = None,
    seen_as: Sequence[str] = (),
    needs: Sequence[str] = (),
) -> Callable[[Callable[[Case], None]], Callable[[Case], None]]:
    """Register a check that moves the clock, as :func:`..suite.checks.check` does: it needs ``time``, too.

    It is not offered to a layer by the four methods that decides by a clock which cannot be moved, such as
    its store's own; whether it does is found out by asking it.
    """

    def register(run: Callable[[Case], None]) -> Callable[[Case], None]:
        @functools.wraps(run)
        def run_by_the_clock(case: Case) -> None:
            if not case.layer.swaps and _has_another_clock(case):
                raise NotOffered(_ANOTHER_CLOCK)
            run(case)

        return check(tier, *clauses, seen_in=seen_in, seen_as=seen_as, needs=("time", *needs))(
            run_by_the_clock
        )

    return register


def _has_another_clock(case: Case) -> bool:
    """Tell, asking each layer once, whether its claims lapse, but not as the clock is moved."""
    if case.layer not in _other_clocks:
        try:
            another = not _lapses_as_the_clock_is_moved(case) and (
                _lapses_as_real_time_passes(case) or _lapses_by_a_real_date(case)
            )
        except Exception:  # noqa: BLE001 - the checks themselves will meet it, and judge
            another = False
        _other_clocks[case.layer] = another
    return _other_clocks[case.layer]


def _lapses_as_the_clock_is_moved(case: Case) -> bool:
    is_over = _put_until(case, case.now + _MINUTES_MS)
    case.pass_time(2 * _MINUTES_MS)
    return is_over()


def _lapses_as_real_time_passes(case: Case) -> bool:
    """As under a time to live that the store counts down."""
    is_over = _put_until(case, case.now + _MOMENT_MS)
    time.sleep(_REAL_WAIT_SECONDS)
    return is_over()


def _lapses_by_a_real_date(case: Case) -> bool:
    """As by a server's ``now()``, for which what was over years later, by the moved clock, is yet to come."""
    return _put_until(case, _LONG_AGO_MS)() and not _put_until(case, case.now - _DAYS_MS)()


def _put_until(case: Case, lease: int) -> Callable[[], bool]:
    """Put a claim with such a lease; return what tells, by another put, whether it is over."""
    key = case.new_key()
    claim = Record(key, INPROGRESS, ceil_seconds(lease), lease, payload_hash="a hash", owner="alice")
    requests.put(case, case.layer, claim)
    later = lease + HOUR_MS
    rival = Record(key, INPROGRESS, ceil_seconds(later), later, payload_hash="a hash", owner="bob")
    return lambda: requests.put(case, case.workers[1], rival).how == "done"
