"""Runs the checks on the registered layers, and reports where their verdicts are wrong.

The record, ``docs/kill-matrix.json``, lists which check finds which broken layer. CI runs on each broken
layer the recorded checks that suffice (:func:`sufficient`), and ``tox -e nightly`` runs every check.
"""

import json
import math
import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from idemproof.conformance.suite.checks import Check
from idemproof.conformance.suite.profiles import PROFILES
from idemproof.conformance.suite.runner import Session, checks

from .exhibits import BROKEN, Sample

RECORD = "kill-matrix.json"

Found = Mapping[str, Sequence[str]]
"""The clauses that a layer breaks, by the name of the check that finds them."""

_AT_ONCE = 2

_STRESS = ("concurrency", "durability")
"""The tiers whose stress tests with threads and processes find faults only by chance."""

_SECONDS = 600
"""The time limit of an exploration, so that the verdict does not depend on the speed of the machine."""


class Verdict(NamedTuple):
    """The findings of the checks in one sample.

    Parameters
    ----------
    name
        The name of the sample.
    found
        The broken clauses, by the check that found them.
    seconds
        The duration (seconds).
    failure
        The traceback if the suite itself failed, else None.
    """

    name: str
    found: Found
    seconds: float
    failure: str | None = None


def asked(sample: Sample) -> list[Check]:
    """Return the checks for a sample: all, but stress tests only if it names their tier."""
    return [each for each in checks() if each.tier not in _STRESS or each.tier in sample.tiers]


def judged(sample: Sample, wanted: Iterable[Check], seed: int = 1) -> Verdict:
    """Run each check on new layers of a sample, so that no check depends on another."""
    began = time.perf_counter()
    bounds = PROFILES[sample.profile]._replace(
        tour_seconds=_SECONDS, race_seconds=_SECONDS, total_seconds=math.inf
    )
    found: dict[str, Sequence[str]] = {}
    for each in wanted:
        session = Session(sample.make(), bounds, seed, sample.capabilities)
        try:
            result = session.judge(each)
        finally:
            session.close()
        clauses = {clause for finding in result.findings for clause in finding.clauses}
        if clauses:
            found[each.name] = sorted(clauses, key=in_order)
    return Verdict(sample.name, found, time.perf_counter() - began)


def in_order(clause: str) -> tuple[str, int]:
    """Return the place of a clause in the order of families and numbers."""
    family, _, number = clause.partition("-")
    return family, int(number)


def judge_all(progress: Callable[[Verdict], object] = lambda _: None) -> list[Verdict]:
    """Run the checks on all broken layers, two at a time; return the verdicts in their order."""
    verdicts = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(_AT_ONCE, mp_context=context) as pool:
        for done in as_completed([pool.submit(_judged_by_name, name) for name in BROKEN]):
            verdict = done.result()
            verdicts[verdict.name] = verdict
            progress(verdict)
    return [verdicts[name] for name in BROKEN]


def _judged_by_name(name: str) -> Verdict:
    began = time.perf_counter()
    try:
        return judged(BROKEN[name], asked(BROKEN[name]))
    except Exception:  # noqa: BLE001 - one sample must not end the run
        return Verdict(name, {}, time.perf_counter() - began, traceback.format_exc())


def complaints(
    broken: Mapping[str, Sample], verdicts: Sequence[Verdict], suite: Sequence[Check]
) -> Iterator[str]:
    """Yield a sentence for each fault that the suite misses, and for each check and clause without a fault.

    Parameters
    ----------
    broken
        The broken layers.
    verdicts
        The verdicts on them.
    suite
        All checks.
    """
    for verdict in verdicts:
        if verdict.failure is not None:
            yield f"The suite failed on {verdict.name}: {verdict.failure.strip().splitlines()[-1]}"
    of = {verdict.name: verdict.found for verdict in verdicts}
    for name, sample in broken.items():
        for clause, tier in sorted(set(sample.violates.items()) - breaches(of[name], suite)):
            yield f"{name} breaks {clause}, but the {tier} tier does not find it."
    finders = {check for found in of.values() for check in found}
    for each in suite:
        if each.name not in finders and each.tier not in _STRESS:
            yield f"No broken layer is found by {each.name}."
    clauses = {clause for found in of.values() for named in found.values() for clause in named}
    for clause in sorted({clause for each in suite for clause in each.clauses} - clauses):
        yield f"No broken layer shows that a check would find {clause} broken."


def breaches(found: Found, suite: Sequence[Check]) -> set[tuple[str, str]]:
    """Return each broken clause with each tier that found it."""
    tiers = {each.name: each.tier for each in suite}
    return {(clause, tiers[name]) for name, clauses in found.items() for clause in clauses}


def recorded(root: Path) -> dict[str, dict[str, list[str]]]:
    """Return the record: for each broken layer, the clauses by the check that finds them."""
    record: dict[str, dict[str, list[str]]]
    record = json.loads((root / "docs" / RECORD).read_text(encoding="utf-8"))
    return record


def sufficient(
    broken: Mapping[str, Sample], record: Mapping[str, Found], suite: Sequence[Check]
) -> dict[str, list[Check]]:
    """Return a few checks for each broken layer: they find what it names, and every check occurs.

    Parameters
    ----------
    broken
        The broken layers.
    record
        What each check finds in them.
    suite
        All checks.
    """
    chosen = {name: _covering(sample, record[name], suite) for name, sample in broken.items()}
    used = {each.name for few in chosen.values() for each in few}
    for check in suite:
        finds = [name for name in broken if check.name in record[name]]
        if finds and check.name not in used:
            chosen[min(finds, key=lambda name: len(record[name]))].append(check)
    return chosen


def _covering(sample: Sample, found: Found, suite: Sequence[Check]) -> list[Check]:
    """Return checks that find all clauses which a sample names, each step taking the one that finds most."""
    left, chosen = set(sample.violates.items()), []
    while left:
        finds = {each: {(clause, each.tier) for clause in found.get(each.name, ())} & left for each in suite}
        best = max(suite, key=lambda each: len(finds[each]))
        if not finds[best]:
            break  # the test says what is missing
        chosen.append(best)
        left -= finds[best]
    return chosen
