"""Runs the checks on a layer, one after the other, and reports."""

import contextlib
import io
import secrets
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from .capabilities import Capabilities
from .checks import CHECKS, TIERS, Broken, Case, Check, NotOffered
from .clock import MovedClock
from .factories import Bench, Factory
from .profiles import PROFILES, Profile
from .report import CheckResult, Finding, Report
from .subjects import Subject

Progress = Callable[[Check, int, int], None]
"""Told the check that begins, its number from 0, and how many there are."""

_LONGEST_NOTE = 200


def check(
    factory: Factory,
    *,
    profile: str = "default",
    seed: int | None = None,
    capabilities: Capabilities | None = None,
    tiers: Sequence[str] = TIERS,
    progress: Progress | None = None,
) -> Report:
    """Judge a persistence layer.

    Parameters
    ----------
    factory
        Takes nothing; returns a fresh layer, or a pair of layers over one store. If two layers that it
        returned see each other's records, they are taken for two workers; else two threads share one layer.
        Layers that have ``close`` are closed in the end. Each history uses keys of its own, so the store need
        not be empty.
    profile
        ``quick``, ``default`` or ``thorough``.
    seed
        What decides all that is drawn; drawn itself if None. The report tells it.
    capabilities
        What the layer claims; see :class:`~idemproof.conformance.Capabilities` for what is assumed.
    tiers
        The tiers to judge.
    progress
        Called as each check begins.

    Returns
    -------
    Report
        What was found. An interruption by Ctrl-C gives what was found so far.

    Raises
    ------
    FactoryError
        The factory gives nothing that can be judged; the message says what to do.
    ValueError
        There is no such profile or tier.
    """
    if profile not in PROFILES:
        raise ValueError(f"There is no profile {profile!r}. There are: {', '.join(PROFILES)}.")
    if unknown := [tier for tier in tiers if tier not in TIERS]:
        raise ValueError(f"There is no tier {unknown[0]!r}. There are: {', '.join(TIERS)}.")
    run = _Run(factory, PROFILES[profile], secrets.randbelow(2**32) if seed is None else seed, capabilities)
    return run.report([each for each in checks() if each.tier in tiers], progress)


def checks() -> list[Check]:
    """Return all checks, in the order of their tiers."""
    from .. import tiers  # noqa: F401, PLC0415 - defining them needs this module's neighbours

    return sorted(CHECKS, key=lambda each: TIERS.index(each.tier))


class _Run:
    def __init__(
        self, factory: Factory, profile: Profile, seed: int, capabilities: Capabilities | None
    ) -> None:
        self._factory = factory
        self._profile = profile
        self._seed = seed
        self._capabilities = capabilities or Capabilities()
        self._printed = io.StringIO()
        self._hung: str | None = None

    def report(self, wanted: Sequence[Check], progress: Progress | None) -> Report:
        results: list[CheckResult] = []
        finished = True
        subject = ""
        with MovedClock(moves_the_process=self._capabilities.movable_clock) as clock:
            with contextlib.redirect_stdout(self._printed):
                bench = Bench(self._factory, clock, self._profile.patience)
            try:
                subject = _in_words(bench)
                for number, each in enumerate(wanted):
                    if progress is not None:
                        progress(each, number, len(wanted))
                    results.append(self._judge(each, bench, clock, number))
            except KeyboardInterrupt:
                finished = False
                left = wanted[len(results) :]
                results += [_without(each, "not judged", "interrupted") for each in left]
            finally:
                if self._hung is None:
                    with contextlib.redirect_stdout(self._printed):
                        bench.close()
        said = self._printed.getvalue().strip()
        notes = [f"It printed: {said[:_LONGEST_NOTE]}"] if said else []
        return Report(
            subject,
            self._profile.name,
            self._seed,
            version("idemproof"),
            tuple(results),
            finished,
            tuple(notes),
        )

    def _judge(self, asked: Check, bench: Bench, clock: MovedClock, number: int) -> CheckResult:
        if self._hung is not None:
            return _without(asked, "not judged", self._hung)
        lacking = self._lacking(asked, bench)
        if lacking is not None:
            return _without(asked, "not offered", lacking)
        case = Case(
            bench.workers,
            clock,
            self._capabilities,
            self._profile,
            self._seed + number,
            asked.clauses,
            bench.restarted if bench.shared else None,
            bench.factory if bench.shared else None,
            f"conformance-{self._seed}-{number}",
        )
        began = time.perf_counter()
        not_offered, broken = self._run(asked, case, bench.subjects)
        findings = tuple(_finding(asked, each) for each in (*case.findings, *broken))
        verdict: Any = "broken" if findings else "not offered" if not_offered else "kept"
        return CheckResult(
            asked.name,
            asked.tier,
            asked.clauses,
            asked.asks,
            verdict,
            not_offered,
            findings,
            case.histories,
            case.schedules,
            time.perf_counter() - began,
        )

    def _lacking(self, asked: Check, bench: Bench) -> str | None:
        """Return the first thing that the check needs and the layer does not offer, in words."""
        claims = self._capabilities
        reasons = {
            "swaps": (bench.layer.swaps, "the layer has the four documented methods only"),
            "shared": (bench.shared, "another layer from the factory does not see this one's records"),
            "time": (
                bench.layer.swaps or claims.movable_clock,
                "the layer decides by the wall clock, which may not be moved under it",
            ),
        }
        for need in asked.needs:
            met, why = reasons.get(need, (getattr(claims, need, None), f"it is not claimed ({need})"))
            assert met is not None, f"the check {asked.name} needs the unknown {need!r}"
            if not met:
                return why
        return None

    def _run(self, asked: Check, case: Case, subjects: list[Subject]) -> tuple[str | None, list[Broken]]:
        """Run a check in a thread of its own, for the layer may hang; return why not, or what broke it."""
        outcome: list[BaseException] = []

        def run() -> None:
            try:
                asked.run(case)
            except BaseException as failure:  # noqa: BLE001 - judged below, in the thread that waits
                outcome.append(failure)

        worker = threading.Thread(target=run, name=f"conformance-{asked.name}", daemon=True)
        with contextlib.redirect_stdout(self._printed):
            worker.start()
            while worker.is_alive():
                worker.join(0.05)
                waited = max((subject.waited() for subject in subjects), default=0.0)
                if waited > self._profile.patience and worker.is_alive():
                    self._hung = f"a request of {asked.name} was not answered within {waited:.0f} seconds"
                    why = (
                        f"The layer has not answered a request for {waited:.0f} seconds: it hangs. "
                        "Nothing else was judged."
                    )
                    return None, [Broken(why, case.clauses)]
        if not outcome:
            return None, []
        failure = outcome[0]
        if isinstance(failure, NotOffered):
            return str(failure), []
        if isinstance(failure, Broken):
            return None, [failure]
        if not _came_from_the_layer(failure):
            raise failure
        return None, [Broken(_as_a_sentence(failure), case.clauses)]


def _came_from_the_layer(failure: BaseException) -> bool:
    return any(frame.f_code is Subject._ask.__code__ for frame, _ in traceback.walk_tb(failure.__traceback__))


def _as_a_sentence(failure: BaseException) -> str:
    last = traceback.extract_tb(failure.__traceback__)[-1]
    return (
        f"The layer raised {type(failure).__name__}: {failure} (line {last.lineno} of {last.filename}, "
        f"in {last.name})."
    )


def _without(asked: Check, verdict: Any, why: str) -> CheckResult:
    return CheckResult(asked.name, asked.tier, asked.clauses, asked.asks, verdict, why, (), 0, 0, 0.0)


def _finding(asked: Check, broken: Broken) -> Finding:
    return Finding(asked.name, asked.tier, broken.clauses, broken.why, broken.lines, asked.seen_in)


def _in_words(bench: Bench) -> str:
    kinds = {True: "two methods", False: "four methods"}
    layer = bench.layer
    parts = [kinds[layer.swaps], "async" if layer.asynchronous else "blocking"]
    parts.append("two objects over one store" if bench.shared else "one object shared by threads")
    name = type(getattr(layer.layer, "theirs", layer.layer)).__name__
    return f"{name} ({', '.join(parts)})"
