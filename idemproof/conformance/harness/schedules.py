"""Explores schedules: all within bounds, those with the fewest preemptions first.

A schedule is the list of choices for the first steps. After them, each client runs until it ends or must
wait. So every schedule can be replayed, and the first that shows a fault is short.
"""

import random
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import pairwise
from typing import Generic, NamedTuple, TypeVar

from .scheduler import Choose, ScheduleStep

T = TypeVar("T")

_TURNS_IN_A_ROW = 200
"""The number of steps in a row after which another client runs, in case this one polls."""


class Schedule(NamedTuple):
    """The choices for the first steps, and how many of them preempt a client that could have gone on."""

    choices: tuple[int, ...] = ()
    preemptions: int = 0


class ScheduledRun(NamedTuple, Generic[T]):
    """A schedule, the steps that were taken, and the result."""

    schedule: Schedule
    steps: Sequence[ScheduleStep]
    result: T


RunOnce = Callable[[Choose], tuple[Sequence[ScheduleStep], T]]
"""Runs one interleaving with these choices, and returns its steps and its result."""


def chooser(choices: Sequence[int]) -> Choose:
    """Return a function that makes these choices first, and then lets the running client go on."""
    made = iter(choices)
    in_a_row = 0
    last = -1

    def choose(runnable: tuple[int, ...], before: int | None) -> int:
        nonlocal in_a_row, last
        wanted = next(made, before)
        if wanted is None or wanted not in runnable:
            wanted = before
        too_long = in_a_row >= _TURNS_IN_A_ROW
        if wanted is None or (too_long and wanted == before):
            wanted = _next_after(last, runnable)
        in_a_row = in_a_row + 1 if wanted == last else 0
        last = wanted
        return wanted

    return choose


def round_robin(runnable: tuple[int, ...], before: int | None) -> int:
    """Choose the client after the one that made the previous step."""
    return runnable[0] if before is None else _next_after(before, runnable)


def turns(steps_in_a_row: int) -> Choose:
    """Return a function that lets each client make so many steps before the next one goes on."""
    made = 0

    def choose(runnable: tuple[int, ...], before: int | None) -> int:
        nonlocal made
        made = made % steps_in_a_row + 1
        return round_robin(runnable, before) if made == 1 or before is None else before

    return choose


def explore(
    run_once: RunOnce[T],
    *,
    preemptions: int,
    most: int,
    seconds: float,
    preempted: Collection[int] | None = None,
) -> Iterator[ScheduledRun[T]]:
    """Run one schedule after the other: none twice, those with fewer preemptions first.

    Parameters
    ----------
    run_once
        Runs one schedule.
    preemptions, most, seconds
        The bounds: preemptions in a schedule, number of schedules, duration in seconds. If ``most`` is too
        small for all schedules with the same number of preemptions, they are drawn from all parts of the
        trace, with a fixed seed.
    preempted
        The numbers of the clients that may be preempted; all if None.
    """
    until = time.perf_counter() + seconds
    waiting: list[list[Schedule]] = [[Schedule()], *([] for _ in range(preemptions))]
    draw = random.Random(0)  # noqa: S311 - samples schedules
    for level in waiting:
        while level:
            if most <= 0 or time.perf_counter() > until:
                return
            most -= 1
            # In order if there is capacity for all of them, else a random sample.
            schedule = level.pop(0 if len(level) <= most else draw.randrange(len(level)))
            steps, result = run_once(chooser(schedule.choices))
            yield ScheduledRun(schedule, steps, result)
            for new in _deviations(schedule, steps, preempted):
                if new.preemptions <= preemptions:
                    waiting[new.preemptions].append(new)


def shortest(
    failing: ScheduledRun[T], run_once: RunOnce[T], fails: Callable[[T], bool], tries: int = 40
) -> ScheduledRun[T]:
    """Return a failing schedule with as few switches as can be reached by leaving out choices."""
    best = failing
    for at in range(len(best.schedule.choices) - 1, -1, -1):
        if tries <= 0:
            break
        tries -= 1
        kept = best.schedule.choices[:at]
        steps, result = run_once(chooser(kept))
        if fails(result) and _switches(steps) < _switches(best.steps):
            best = ScheduledRun(Schedule(kept, _preemptions(steps)), steps, result)
    return best


def _deviations(
    schedule: Schedule, steps: Sequence[ScheduleStep], preempted: Collection[int] | None
) -> Iterator[Schedule]:
    made = tuple(step.chosen for step in steps)
    for at in range(len(schedule.choices), len(steps)):
        step = steps[at]
        if preempted is not None and step.before is not None and step.before not in preempted:
            continue
        cost = schedule.preemptions + (step.before is not None)
        for other in step.runnable:
            if other != step.chosen:
                yield Schedule((*made[:at], other), cost)


def _next_after(number: int, runnable: Sequence[int]) -> int:
    return next((other for other in runnable if other > number), runnable[0])


def _switches(steps: Sequence[ScheduleStep]) -> int:
    return sum(before.chosen != after.chosen for before, after in pairwise(steps))


def _preemptions(steps: Sequence[ScheduleStep]) -> int:
    return sum(step.before is not None and step.before != step.chosen for step in steps)
