"""Checks that move the clock. They run only on layers that use the clock that is moved."""

import functools
import time
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

from ...spec.record import INPROGRESS, Record, ceil_seconds
from ..harness import requests
from ..suite.checks import Case, NotOffered, check
from ..suite.subjects import Subject
from .contract import HOUR_MS

_ANOTHER_CLOCK = "the layer uses a clock other than this process's: claim movable_clock = False"

_MINUTES_MS = 300_000
_MOMENT_MS = 300
_REAL_WAIT_SECONDS = 0.5

_LONG_AGO_MS = 1_000_000_000_000
"""In 2001 (epoch milliseconds): in the past by any clock."""
_DAYS_MS = 72 * HOUR_MS
"""More than the error of a clock in the wrong time zone, but less than the distance to the moved clock."""

_other_clocks: WeakKeyDictionary[Subject, bool] = WeakKeyDictionary()
"""Whether each four-method layer uses a clock that the suite cannot move, once that is known."""


def check_by_the_clock(
    tier: str,
    *clauses: str,
    seen_in: str | None = None,
    seen_as: Sequence[str] = (),
    needs: Sequence[str] = (),
) -> Callable[[Callable[[Case], None]], Callable[[Case], None]]:
    """Register a check that moves the clock, as :func:`..suite.checks.check` does; it also needs ``time``.

    The check is not offered to a four-method layer that uses a clock which cannot be moved, such as the
    clock of its store. The suite finds out by a few requests to the layer.
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
    """Return whether the layer's claims lapse by a clock other than the moved one; test each layer once."""
    if case.layer not in _other_clocks:
        try:
            another = not _lapses_as_the_clock_is_moved(case) and (
                _lapses_as_real_time_passes(case) or _lapses_by_a_real_date(case)
            )
        except Exception:  # noqa: BLE001 - the checks will raise it too, and report it
            another = False
        _other_clocks[case.layer] = another
    return _other_clocks[case.layer]


def _lapses_as_the_clock_is_moved(case: Case) -> bool:
    is_over = _put_until(case, case.now + _MINUTES_MS)
    case.pass_time(2 * _MINUTES_MS)
    return is_over()


def _lapses_as_real_time_passes(case: Case) -> bool:
    """Return whether a claim ends as real time passes, as with a native time to live."""
    is_over = _put_until(case, case.now + _MOMENT_MS)
    time.sleep(_REAL_WAIT_SECONDS)
    return is_over()


def _lapses_by_a_real_date(case: Case) -> bool:
    """Return whether a claim ends by the real date, as with a server's ``now()``.

    By the real date, a lease that has ended by the moved clock, years ahead, still lies in the future.
    """
    return _put_until(case, _LONG_AGO_MS)() and not _put_until(case, case.now - _DAYS_MS)()


def _put_until(case: Case, lease: int) -> Callable[[], bool]:
    """Put a claim with this lease (epoch milliseconds); return a function that tests if it has ended."""
    key = case.new_key()
    claim = Record(key, INPROGRESS, ceil_seconds(lease), lease, payload_hash="a hash", owner="alice")
    requests.put(case, case.layer, claim)
    later = lease + HOUR_MS
    rival = Record(key, INPROGRESS, ceil_seconds(later), later, payload_hash="a hash", owner="bob")
    return lambda: requests.put(case, case.workers[1], rival).how == "done"
