"""Runs the checks on a layer, one after the other, and reports."""

import contextlib
import io
import logging
import secrets
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version

from .capabilities import Capabilities
from .checks import CHECKS, TIERS, Broken, Case, Check, NotJudged, NotOffered
from .clock import MovedClock
from .factories import Bench, Factory
from .options import claimed, profile_named, refuse_what_cannot_be_told, seed_given, tiers_named
from .profiles import Profile
from .report import CheckResult, Finding, Report, Verdict
from .subjects import Subject, as_a_sentence, came_from_the_layer, clause_of
from .workers import Task

Progress = Callable[[Check, int, int], None]
"""Told the check that begins, its number from 0, and how many there are."""

_Open = tuple[Verdict, str]
"""What a check that was not asked to its end gives: that it is not offered, or not judged; and why."""

_LONGEST_NOTE = 200
_GRACE = 1.0
"""How many seconds a check that is interrupted has to come to its end."""


def check(
    factory: Factory,
    *,
    profile: str | Profile = "default",
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
        ``quick``, ``default`` or ``thorough``; or bounds of your own.
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
        There is no such profile or tier, or something else is of the wrong kind. Nothing has run then.
    """
    bounds, wanted, given = profile_named(profile), checks(tiers), seed_given(seed)
    claims = claimed(capabilities)
    refuse_what_cannot_be_told(progress)
    session = Session(factory, bounds, secrets.randbelow(2**32) if given is None else given, claims)
    results: list[CheckResult] = []
    try:
        for number, each in enumerate(wanted):
            if progress is not None:
                progress(each, number, len(wanted))
            results.append(session.judge(each))
    except KeyboardInterrupt:
        finished = False
        results += [_without(each, "not judged", "it was interrupted") for each in wanted[len(results) :]]
    else:
        finished = True
    finally:
        session.close()
    return Report(
        session.subject,
        bounds.name,
        session.seed,
        version("idemproof"),
        tuple(results),
        finished,
        session.notes,
    )


def checks(tiers: Sequence[str] = TIERS) -> list[Check]:
    """Return all checks of the tiers, in their order, or raise ``ValueError`` with the names of all tiers."""
    from .. import tiers as _  # noqa: F401, PLC0415 - defining them needs this module's neighbours

    wanted = tiers_named(tiers)
    return sorted((each for each in CHECKS if each.tier in wanted), key=lambda each: TIERS.index(each.tier))


class Session:
    """The layers of one run, and the checks that are asked of them, one by one. Close it in the end.

    The process's clock is moved only while it works, and what layers print is kept for the report.

    Parameters
    ----------
    factory, capabilities
        As of :func:`check`.
    profile, seed
        Chosen.
    """

    def __init__(
        self, factory: Factory, profile: Profile, seed: int, capabilities: Capabilities | None = None
    ) -> None:
        self.profile = profile
        self.seed = seed
        self._capabilities = capabilities or Capabilities()
        self._printed = io.StringIO()
        self._notes: list[str] = []
        self._cut_short: list[str] = []
        self._hung: str | None = None
        self._interrupted = False
        self._reported = False
        # The same seed again, over the same store, must not meet its own records.
        self._keys = f"conformance-{secrets.token_hex(4)}"
        self._clock = MovedClock(moves_the_process=self._capabilities.movable_clock)
        with self._working():
            self._bench = Bench(factory, self._clock, profile.patience, self._capabilities.client_methods)
        self.subject = _in_words(self._bench)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the report should know besides."""
        notes = list(self._notes)
        if self._cut_short:
            notes.append(
                "Time was over before all was tried, and a more thorough profile gives more of it, in: "
                f"{', '.join(self._cut_short)}."
            )
        said = self._printed.getvalue().strip()
        if not said:
            return tuple(notes)
        if len(said) > _LONGEST_NOTE:
            said = f"{said[:_LONGEST_NOTE]}…"
        return (*notes, f"While it was judged, this was printed: {said}")

    def judge(self, asked: Check) -> CheckResult:
        """Ask one check. After a request that hung, nothing is asked any more."""
        if self._hung is not None:
            return _without(asked, "not judged", self._hung)
        if self._bench.at_first is not None:
            return self._of_no_use(asked, self._bench.at_first)
        lacking = self._lacking(asked, self._bench)
        if lacking is not None:
            return _without(asked, "not offered", lacking)
        bench = self._bench
        own = zlib.crc32(asked.name.encode())  # the same examples, whatever else is judged
        case = Case(
            bench.workers,
            self._clock,
            self._capabilities,
            self.profile,
            self.seed + own,
            asked.clauses,
            bench.restarted if bench.reopens else None,
            bench.factory if bench.shared else None,
            f"{self._keys}-{own:08x}",
        )
        began = time.perf_counter()
        with self._working():
            open_question, broken = self._run(asked, case, bench.subjects)
        if case.cut_short:
            self._cut_short.append(asked.name)
        findings = tuple(_finding(asked, each) for each in (*case.findings, *broken))
        verdict: Verdict
        verdict, why_not = ("broken", None) if findings else open_question or ("kept", None)
        return CheckResult(
            asked.name,
            asked.tier,
            asked.clauses,
            asked.asks,
            verdict,
            why_not,
            findings,
            case.histories,
            case.schedules,
            time.perf_counter() - began,
        )

    def _of_no_use(self, asked: Check, failure: Exception) -> CheckResult:
        """Tell once of a layer that raises at its first write."""
        why = "the layer raised at its first write"
        if self._reported:
            return _without(asked, "not judged", why)
        self._reported = True
        broken = Broken(
            f"{as_a_sentence(failure)} It was its first write; nothing else was judged.", [clause_of(failure)]
        )
        return _without(asked, "broken", None)._replace(findings=(_finding(asked, broken),))

    def close(self) -> None:
        """Close the layers, unless one of them hangs or was left in the middle of a request."""
        with self._working():
            self._notes += self._bench.close(
                abandon=self._hung is not None or (self._interrupted and self._busy())
            )

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        with self._clock, contextlib.redirect_stdout(self._printed), _silence():
            yield

    def _busy(self) -> bool:
        return any(subject.waited() for subject in self._bench.subjects)

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

    def _run(self, asked: Check, case: Case, subjects: list[Subject]) -> tuple[_Open | None, list[Broken]]:
        """Run a check in the thread of the layers, which may hang; return why not, or what broke it."""
        task = self._bench.worker.begin(lambda: asked.run(case))
        hung = self._hangs(task, asked, subjects)
        if hung is not None:
            return None, [Broken(hung, ["INV-9"])]
        failure = task.failure
        if failure is None:
            return None, []
        if isinstance(failure, NotOffered):
            return ("not offered", str(failure)), []
        if isinstance(failure, NotJudged):
            return ("not judged", str(failure)), []
        if isinstance(failure, Broken):
            return None, [failure]
        if not came_from_the_layer(failure):
            raise failure
        return None, [Broken(as_a_sentence(failure), [clause_of(failure)])]

    def _hangs(self, task: Task, asked: Check, subjects: list[Subject]) -> str | None:
        """Wait for a check to end; say so if a request of it hangs."""
        try:
            while not task.ended(0.05):
                waited = max(self._bench.waited(), *(subject.waited() for subject in subjects))
                if waited > self.profile.patience:
                    self._hung = f"a request of {asked.name} was not answered within {waited:.0f} seconds"
                    return (
                        f"The layer has not answered a request for {waited:.0f} seconds: it hangs. "
                        "Nothing else was judged."
                    )
        except KeyboardInterrupt:
            self._interrupted = True
            for subject in subjects:
                subject.stop()
            task.ended(_GRACE)
            raise
        return None


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Let the engine's warnings not reach the terminal: they are about calls that a check makes go wrong."""
    logger = logging.getLogger("idemproof")
    usual, handler = logger.propagate, logging.NullHandler()
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = usual
        logger.removeHandler(handler)


def _without(asked: Check, verdict: Verdict, why: str | None) -> CheckResult:
    return CheckResult(asked.name, asked.tier, asked.clauses, asked.asks, verdict, why, (), 0, 0, 0.0)


def _finding(asked: Check, broken: Broken) -> Finding:
    # What merely raises is no fault that is known.
    seen_in = (
        asked.seen_in if broken.lines and {*broken.clauses} & {*(asked.seen_as or broken.clauses)} else None
    )
    return Finding(asked.name, asked.tier, broken.clauses, broken.why, broken.lines, seen_in)


def _in_words(bench: Bench) -> str:
    kinds = {True: "two methods", False: "four methods"}
    layer = bench.layer
    parts = [kinds[layer.swaps], "async" if layer.asynchronous else "blocking"]
    parts.append("two objects over one store" if bench.shared else "one object shared by threads")
    name = type(getattr(layer.layer, "theirs", layer.layer)).__name__
    return f"{name} ({', '.join(parts)})"
