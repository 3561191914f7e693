"""Which interleavings are tried: all within bounds, those with the fewest preemptions first.

A schedule is the choices that are made at its first steps; after them whoever runs goes on until it ends or
must wait. So every schedule can be played again, and the first that shows a fault is a short one.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Generic, NamedTuple, TypeVar

from .scheduler import Choose, Step

T = TypeVar("T")

_TURNS_IN_A_ROW = 200
"""After how many steps in a row a client that waits actively lets the others go, unasked."""


class Schedule(NamedTuple):
    """The choices at the first steps, and how many of them preempt a client that could have gone on."""

    choices: tuple[int, ...] = ()
    preemptions: int = 0


class ScheduledRun(NamedTuple, Generic[T]):
    """A schedule, the steps that it came to, and what was found in the end."""

    schedule: Schedule
    steps: Sequence[Step]
    result: T


Player = Callable[[Choose], tuple[Sequence[Step], T]]
"""Plays once, with these choices."""


def chooser(choices: Sequence[int]) -> Choose:
    """Return what makes these choices first, and then lets whoever runs go on."""
    made = iter(choices)
    in_a_row = 0
    last = -1

    def choose(able: tuple[int, ...], before: int | None) -> int:
        nonlocal in_a_row, last
        wanted = next(made, before)
        if wanted is None or wanted not in able:
            wanted = before
        tired = in_a_row >= _TURNS_IN_A_ROW
        if wanted is None or (tired and wanted == before):
            wanted = _next_to(last, able)
        in_a_row = in_a_row + 1 if wanted == last else 0
        last = wanted
        return wanted

    return choose


def taking_turns(able: tuple[int, ...], before: int | None) -> int:
    """Choose whoever comes after the one that went before."""
    return able[0] if before is None else _next_to(before, able)


def explore(run_once: Player[T], *, preemptions: int, most: int, seconds: float) -> Iterator[ScheduledRun[T]]:
    """Run schedule after schedule: none twice, those with fewer preemptions first.

    Parameters
    ----------
    play
        Plays once.
    preemptions, most, seconds
        The bounds: preemptions in one schedule, schedules, time. Where the number of schedules is what ends
        it, those with as many preemptions are drawn from all parts of the trace, and always the same ones.
    """
    until = time.perf_counter() + seconds
    waiting: list[list[Schedule]] = [[Schedule()], *([] for _ in range(preemptions))]
    draw = random.Random(0)  # noqa: S311 - which of too many are tried
    for level in waiting:
        while level:
            if most <= 0 or time.perf_counter() > until:
                return
            most -= 1
            # In order if all of them can be played; else from everywhere.
            schedule = level.pop(0 if len(level) <= most else draw.randrange(len(level)))
            steps, result = run_once(chooser(schedule.choices))
            yield ScheduledRun(schedule, steps, result)
            for new in _deviations(schedule, steps):
                if new.preemptions <= preemptions:
                    waiting[new.preemptions].append(new)


def shortest(
    failing: ScheduledRun[T], run_once: Player[T], fails: Callable[[T], bool], tries: int = 40
) -> ScheduledRun[T]:
    """Return a schedule that fails as well, with as few switches as can be found by leaving choices out."""
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


def _deviations(schedule: Schedule, steps: Sequence[Step]) -> Iterator[Schedule]:
    made = tuple(step.chosen for step in steps)
    for at in range(len(schedule.choices), len(steps)):
        step = steps[at]
        cost = schedule.preemptions + (step.before is not None)
        for other in step.able:
            if other != step.chosen:
                yield Schedule((*made[:at], other), cost)


def _next_to(number: int, able: Sequence[int]) -> int:
    return next((other for other in able if other > number), able[0])


def _switches(steps: Sequence[Step]) -> int:
    return sum(before.chosen != after.chosen for before, after in pairwise(steps))


def _preemptions(steps: Sequence[Step]) -> int:
    return sum(step.before is not None and step.before != step.chosen for step in steps)
