"""The targets for the figures, and whether the figures meet them."""

from typing import NamedTuple

from libraries import BARE, IDEMPROOF, POWERTOOLS
from measuring import CACHED, FIRST, REPLAY, Outcome
from over_http import CORE
from processes import COLD, IMPORT

MET, NOT_MET, OPEN, INVALID = "met", "not met", "not measured", "not valid: wrong answers"


class Target(NamedTuple):
    """A bound on a figure of Idemproof, or on its ratio to ``other`` if that is given."""

    says: str
    scenario: str
    case: str
    bound: float
    other: str | None = None
    throughput: bool = False
    """Whether the bound is the smallest allowed inverse of the ratio."""


class Judgement(NamedTuple):
    """The measurement for a target."""

    target: Target
    figure: float | None
    verdict: str


_ASYNC = "Valkey, async, 200 tasks"

TARGETS = [
    Target(
        "in process, first call: fraction of the time of Powertools", "memory, 200 B", FIRST, 0.5, POWERTOOLS
    ),
    Target(
        "in process, replay: fraction of the time of Powertools", "memory, 200 B", REPLAY, 0.45, POWERTOOLS
    ),
    Target(
        "in process, cached replay: fraction of the time of Powertools",
        "memory, 200 B",
        CACHED,
        0.3,
        POWERTOOLS,
    ),
    *(
        Target(
            f"in process, first call with a {kind}: fraction of the time of Powertools",
            f"memory, {kind}",
            FIRST,
            0.95,
            POWERTOOLS,
        )
        for kind in ("dataclass", "Pydantic model")
    ),
    Target("Valkey, first call: multiple of two bare SETs", "Valkey, 200 B", FIRST, 1.15, BARE),
    Target("Valkey, replay: multiple of a bare GET", "Valkey, 200 B", REPLAY, 1.3, BARE),
    Target(
        "Valkey, 200 tasks, first calls: fraction of the bare client's throughput",
        *(_ASYNC, FIRST, 0.8, BARE),
        throughput=True,
    ),
    Target(
        "Valkey, 200 tasks, replays: fraction of the bare client's throughput",
        *(_ASYNC, REPLAY, 0.8, BARE),
        throughput=True,
    ),
    *(
        Target(
            f"PostgreSQL{side}, first call: multiple of two bare committed statements",
            *(f"PostgreSQL{scenario}", FIRST, 1.3, BARE),
        )
        for side, scenario in (("", ", 200 B"), (", async", ", async, 1 task"))
    ),
    *(
        Target(
            f"PostgreSQL, 1 ms away{side}, {case}: multiple of the bare statements",
            *(f"PostgreSQL, 1 ms away{side}", case, 1.1, BARE),
        )
        for side in ("", ", async")
        for case in (FIRST, REPLAY)
    ),
    Target(
        "SQLite, durable, first call: multiple of two bare committed transactions",
        *("SQLite, durable", FIRST, 1.25, BARE),
    ),
    *(
        Target(
            f"HTTP over {store}, {case}: multiple of the bare application with arun",
            *(f"HTTP, {store}", case, 1.15, CORE),
        )
        for store in ("memory", "Valkey", "PostgreSQL")
        for case in (FIRST, REPLAY)
    ),
    Target("import of the names in use: milliseconds", "import", IMPORT, 20),
    Target(
        "first call of a process on DynamoDB: fraction of the time of Powertools",
        *("cold start, DynamoDB", COLD, 0.7, POWERTOOLS),
    ),
]


def judged(target: Target, outcomes: dict[str, Outcome]) -> Judgement:
    """Return the verdict on ``target``."""
    outcome = outcomes.get(target.scenario)
    if outcome is None or IDEMPROOF not in outcome.values.get(target.case, {}):
        return Judgement(target, None, OPEN)
    figure = _figure(target, outcome)
    if figure is None:
        return Judgement(target, None, OPEN)
    if any((target.case, name) in outcome.wrong for name in (IDEMPROOF, target.other)):
        return Judgement(target, figure, INVALID)
    met = figure >= target.bound if target.throughput else figure <= target.bound
    return Judgement(target, figure, MET if met else NOT_MET)


def _figure(target: Target, outcome: Outcome) -> float | None:
    if target.other is None:
        return outcome.summary(target.case, IDEMPROOF).median
    pair = (target.other, IDEMPROOF) if target.throughput else (IDEMPROOF, target.other)
    ratio = outcome.ratio(target.case, *pair)
    return None if ratio is None else ratio.median
