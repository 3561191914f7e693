"""Run contestants in turns, and compute medians, quartiles and paired ratios of their samples.

Each round gives all contestants the same new payloads, and a different contestant begins, so that other load
on the machine affects all of them. Ratios are computed within each round, and then their median.
"""

import asyncio
import contextlib
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from payloads import ORDER, Kind, Payload
from stores import Places

Act = Callable[[Sequence[Payload]], Sequence[Any]]
"""Processes a round's payloads, and returns an answer for each."""

FIRST, REPLAY, CACHED = "first call", "replay", "cached replay"

WARMING_CALLS = 10
"""Calls before each round of a scenario that begins with empty stores; others warm up with a full round."""

_numbers = itertools.count()


class Sample(NamedTuple):
    """The time of one contestant in one round, and the fault in its answers, if any."""

    case: str
    value: float
    wrong: str | None = None


class Contestant(NamedTuple):
    """A participant in a scenario. ``round`` runs and measures one round."""

    name: str
    round: Callable[[Sequence[Payload]], list[Sample]]


class Step(NamedTuple):
    """One step of a contestant with a round's payloads. Without a case it is preparation."""

    case: str | None
    act: Act
    answer: Callable[[Payload], Any] | None = None
    """Returns the expected answer for a payload."""
    runs: bool | None = None
    """Whether the work should run for each payload, or for none."""


class Size(NamedTuple):
    """The number of rounds, and of calls in a round."""

    rounds: int
    calls: int


class Scenario(NamedTuple):
    """Contestants that do the same work."""

    name: str
    contestants: Callable[[Places, contextlib.ExitStack], list[Contestant]]
    reference: str
    """The contestant to which the others are compared."""
    size: Size
    smoke: Size = Size(1, 8)
    kind: Kind = ORDER
    unit: str = "µs"
    anew: bool = False
    """Whether each round begins with empty stores."""
    remark: str = ""


class Summary(NamedTuple):
    """A median and its quartiles."""

    median: float
    low: float
    high: float


class Outcome:
    """The measurements of one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.values: dict[str, dict[str, dict[int, float]]] = {}
        """By case, contestant and round."""
        self.wrong: dict[tuple[str, str], str] = {}

    def add(self, contestant: str, turn: int, sample: Sample) -> None:
        """Add a sample, and the first fault of its contestant in this case."""
        self.values.setdefault(sample.case, {}).setdefault(contestant, {})[turn] = sample.value
        if sample.wrong is not None:
            self.wrong.setdefault((sample.case, contestant), sample.wrong)

    def summary(self, case: str, contestant: str) -> Summary:
        """Return the median of a contestant's samples."""
        return summarised(self.values[case][contestant].values())

    def ratio(self, case: str, contestant: str, reference: str) -> Summary | None:
        """Return the median of the rounds' ratios, or None if there is no common case."""
        of_case = self.values.get(case, {})
        mine, other = of_case.get(contestant, {}), of_case.get(reference, {})
        ratios = [mine[turn] / other[turn] for turn in mine if other.get(turn)]
        return summarised(ratios) if ratios else None


def summarised(values: Any) -> Summary:
    """Return the median and the quartiles of ``values``."""
    ordered = sorted(values)
    if len(ordered) == 1:
        return Summary(ordered[0], ordered[0], ordered[0])
    low, median, high = statistics.quantiles(ordered, n=4, method="inclusive")
    return Summary(median, low, high)


def measured(scenario: Scenario, size: Size, places: Places) -> Outcome:
    """Run all rounds of ``scenario``."""
    outcome = Outcome(scenario)
    with contextlib.ExitStack() as stack:
        contestants = _entered(scenario, size, places, stack)
        for turn in range(size.rounds):
            if scenario.anew and turn:
                stack.close()
                contestants = _entered(scenario, size, places, stack)
            payloads = _payloads(scenario, size.calls)
            first = turn % len(contestants)
            for contestant in contestants[first:] + contestants[:first]:
                for sample in contestant.round(payloads):
                    outcome.add(contestant.name, turn, sample)
    return outcome


def _entered(scenario: Scenario, size: Size, places: Places, stack: contextlib.ExitStack) -> list[Contestant]:
    contestants = scenario.contestants(places, stack)
    if scenario.unit == "µs":
        # Connections, code caches and objects created on first use have their own scenarios.
        warming = _payloads(scenario, min(size.calls, WARMING_CALLS) if scenario.anew else size.calls)
        for contestant in contestants:
            contestant.round(warming)
    return contestants


def _payloads(scenario: Scenario, calls: int) -> list[Payload]:
    return [scenario.kind.make(next(_numbers)) for _ in range(calls)]


def by_steps(name: str, steps: Sequence[Step], runs: list[Any] | None = None) -> Contestant:
    """Return a contestant that runs ``steps``, timed in microseconds per call; ``runs`` counts its work."""

    def one_round(payloads: Sequence[Payload]) -> list[Sample]:
        samples = []
        spoilt = None
        for step in steps:
            before = 0 if runs is None else len(runs)
            wrong, answers = None, None
            started = time.perf_counter()
            try:
                answers = step.act(payloads)
            except Exception as error:  # noqa: BLE001 - reported beside the figure
                wrong = f"{type(error).__name__}: {error}"
            elapsed = time.perf_counter() - started
            if answers is not None:
                done = None if runs is None else len(runs) - before
                wrong = _fault(step, payloads, answers, done)
            if step.case is not None:
                samples.append(Sample(step.case, elapsed / len(payloads) * 1e6, spoilt or wrong))
            elif wrong is not None:
                spoilt = f"could not be prepared: {wrong}"
        return samples

    return Contestant(name, one_round)


def _fault(step: Step, payloads: Sequence[Payload], answers: Sequence[Any], done: int | None) -> str | None:
    if step.answer is not None:
        if len(answers) != len(payloads):
            return f"{len(answers)} answers to {len(payloads)} calls"
        for payload, answer in zip(payloads, answers, strict=True):
            if answer != step.answer(payload):
                return f"a wrong answer: {str(answer)[:100]}"
    expected = None if step.runs is None else len(payloads) * step.runs
    if None not in (expected, done) and done != expected:
        return f"the work was done {done} times instead of {expected}"
    return None


def in_turn(function: Callable[..., Any]) -> Act:
    """Return a function that calls ``function`` with one payload after the other."""
    return lambda payloads: [function(payload=payload) for payload in payloads]


def in_threads(function: Callable[..., Any], threads: int, stack: contextlib.ExitStack) -> Act:
    """Return a function that distributes the payloads to threads."""
    pool = stack.enter_context(ThreadPoolExecutor(threads))

    def act(payloads: Sequence[Payload]) -> list[Any]:
        shares = _shares(payloads, threads)
        return _joined(pool.map(in_turn(function), shares), len(payloads), threads)

    return act


def in_tasks(function: Callable[..., Any], tasks: int, runner: asyncio.Runner) -> Act:
    """Return a function that distributes the payloads to tasks in the runner's event loop."""

    async def one(share: Sequence[Payload]) -> list[Any]:
        return [await function(payload=payload) for payload in share]

    async def every(payloads: Sequence[Payload]) -> list[list[Any]]:
        return await asyncio.gather(*(one(share) for share in _shares(payloads, tasks)))

    return lambda payloads: _joined(runner.run(every(payloads)), len(payloads), tasks)


def _shares(payloads: Sequence[Payload], count: int) -> list[Sequence[Payload]]:
    return [payloads[number::count] for number in range(count)]


def _joined(parts: Iterator[list[Any]] | list[list[Any]], total: int, count: int) -> list[Any]:
    answers: list[Any] = [None] * total
    for number, part in enumerate(parts):
        answers[number::count] = part
    return answers
