"""Checks of how long an answer is kept."""

import time

from ...suite.checks import NotOffered
from ...suite.consequences import TWICE
from ..answers import difference
from ..case import HttpCase
from ..checking import check
from ..topics import RACES

_LONGEST = 30.0
_EARLY, _LATE = 0.75, 1.25
_CROWD = 5


@check("expiry", *RACES, needs=("window",))
def an_answer_is_kept_for_its_window(case: HttpCase) -> None:
    """An answer is repeated until its window ends; then equal requests that arrive at once run one time."""
    window = case.target.window_seconds
    assert window is not None
    if window > _LONGEST:
        raise NotOffered(
            f"a window of {window:g} seconds is longer than the judge waits ({_LONGEST:g} seconds)"
        )
    case.outlives_window = True
    request = case.request(case.make.new_key())
    began = time.monotonic()
    first = case.first(request)
    answered = time.monotonic()
    case.service.budget.wait(began + _EARLY * window - time.monotonic())
    repeat = case.until_decided(request)
    if time.monotonic() - began < window:
        case.require_repeat(first, repeat, f"A request was repeated after {_EARLY:.0%} of its window")
    case.service.budget.wait(answered + _LATE * window - time.monotonic())
    before = case.effects()
    answers = case.together([request] * min(_CROWD, case.target.limits.connections))
    after = case.effects()
    if before is not None and after is not None and after - before > 1:
        case.fail(
            f"After the window of {window:g} seconds, {len(answers)} equal requests arrived at once, and the "
            "effect "
            f"happened {after - before} times.",
            TWICE,
        )
    if all(each.succeeded and difference(first, each, case.target.ignore) is None for each in answers):
        case.note(f"The answer was still repeated after {_LATE:.0%} of the window of {window:g} seconds.")
