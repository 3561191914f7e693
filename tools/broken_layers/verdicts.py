"""Runs the suite on the registered layers, and reports where its verdicts are wrong."""

import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import NamedTuple

from idemproof.conformance.suite.checks import TIERS
from idemproof.conformance.suite.runner import check

from .exhibits import BROKEN, CORRECT, Sample

_AT_ONCE = 2

_STRESS = ("concurrency", "durability")
"""The tiers whose stress tests with threads and processes find faults only by chance."""


class Verdict(NamedTuple):
    """The findings of the suite in one sample.

    Parameters
    ----------
    name
        The name of the sample.
    found
        Each broken clause, with the tiers that found it, in the order of the tiers.
    by
        Each broken clause, with the checks that found it.
    seconds
        The duration (seconds).
    failure
        The traceback if the suite itself failed, else None.
    """

    name: str
    found: Mapping[str, tuple[str, ...]]
    by: Mapping[str, tuple[str, ...]]
    seconds: float
    failure: str | None = None


def judged(sample: Sample, profile: str, seed: int = 1, tiers: Sequence[str] = TIERS) -> Verdict:
    """Run the suite on one sample, and return the verdict."""
    began = time.perf_counter()
    report = check(sample.make(), profile=profile, seed=seed, capabilities=sample.capabilities, tiers=tiers)
    found: dict[str, dict[str, None]] = {}
    by: dict[str, dict[str, None]] = {}
    for finding in sorted(report.findings, key=lambda each: TIERS.index(each.tier)):
        for clause in finding.clauses:
            found.setdefault(clause, {})[finding.tier] = None
            by.setdefault(clause, {})[finding.check] = None
    return Verdict(
        sample.name,
        {clause: tuple(seen) for clause, seen in found.items()},
        {clause: tuple(seen) for clause, seen in by.items()},
        time.perf_counter() - began,
    )


def judge_all(profile: str, progress: Callable[[Verdict], object] = lambda _: None) -> list[Verdict]:
    """Run the suite on all samples, two at a time, and return the verdicts in the order of the registry."""
    names = [*CORRECT, *BROKEN]
    verdicts = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(_AT_ONCE, mp_context=context) as pool:
        for done in as_completed([pool.submit(_judged_by_name, name, profile) for name in names]):
            verdict = done.result()
            verdicts[verdict.name] = verdict
            progress(verdict)
    return [verdicts[name] for name in names]


def _judged_by_name(name: str, profile: str) -> Verdict:
    """Run all tiers on a sample; the stress tiers only if the others find no fault, or if it names them."""
    began = time.perf_counter()
    try:
        sample = (BROKEN | CORRECT)[name]
        if profile == "quick":
            profile = sample.profile
        steady = judged(sample, profile, tiers=[tier for tier in TIERS if tier not in _STRESS])
        left = [tier for tier in _STRESS if not steady.found or tier in sample.tiers]
        if not left:
            return steady
        stressed = judged(sample, profile, tiers=left)
    except Exception:  # noqa: BLE001 - one sample must not end the run
        return Verdict(name, {}, {}, time.perf_counter() - began, traceback.format_exc())
    return Verdict(
        name, _both(steady.found, stressed.found), _both(steady.by, stressed.by), time.perf_counter() - began
    )


def _both(
    one: Mapping[str, tuple[str, ...]], other: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    return {clause: one.get(clause, ()) + other.get(clause, ()) for clause in {**one, **other}}


def complaints(
    broken: Mapping[str, Sample],
    correct: Mapping[str, Sample],
    verdicts: Sequence[Verdict],
    asked: Sequence[str],
) -> Iterator[str]:
    """Yield a sentence for each fault of the suite.

    Parameters
    ----------
    broken, correct
        The samples.
    verdicts
        The verdicts on all samples.
    asked
        The clauses that checks cover.
    """
    of = {verdict.name: verdict for verdict in verdicts}
    for name in [*correct, *broken]:
        failure = of[name].failure
        if failure is not None:
            yield f"The suite failed on {name}: {failure.strip().splitlines()[-1]}"
    for name in correct:
        if of[name].found:
            yield f"{name} is correct, but the suite reports that it breaks {', '.join(of[name].found)}."
    for name, sample in broken.items():
        for clause, tier in sample.violates.items():
            if tier not in of[name].found.get(clause, ()):
                yield f"{name} breaks {clause}, but the {tier} tier does not find it."
    killed = {clause for name in broken for clause in of[name].found}
    for clause in sorted(set(asked) - killed):
        yield f"No broken layer shows that a check would find {clause} broken."
