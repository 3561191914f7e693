"""Runs the checks on a layer, one by one, and makes the report."""

import contextlib
import secrets
import zlib
from collections.abc import Callable, Iterator, Sequence

from ..commands.layer import CommandLayer
from .adapters import original
from .capabilities import Capabilities
from .checks import CHECKS, TIERS, Broken, Case, Check, NotJudged, NotOffered
from .clock import MovedClock
from .factories import Bench, Factory, FactoryError
from .findings import finding_of
from .measuring import seconds_at_once
from .offered import commands, lacking, unmet
from .options import claimed, profile_named, require_callable_progress, seed_given, tiers_named
from .pace import AT_ONCE, Asked, Pace
from .printed import Printed, silence
from .profiles import Profile
from .report import CheckResult, Report, Verdict
from .run_log import Began, Closed, Opened, RunEvent, RunLog, without
from .subjects import Stopped, Subject, as_a_sentence, came_from_the_layer, clause_of
from .workers import Task

Progress = Callable[[Check, int, int], None]
"""Called with the check that begins, its number from 0, and the number of checks."""

_Open = tuple[Verdict, str]
"""The verdict of a check that was not completed, and the reason."""

_LONGEST_NOTE = 200
_WITHOUT_STEPS = (
    "The command announces no steps. Races send requests at the same time, but the suite cannot interleave "
    "what the command does with its store, so it may miss a fault there."
)
_GRACE = 1.0
"""How long an interrupted check may take to end (seconds)."""


def check(
    factory: Factory,
    *,
    profile: str | Profile = "default",
    seed: int | None = None,
    capabilities: Capabilities | None = None,
    tiers: Sequence[str] = TIERS,
    progress: Progress | None = None,
) -> Report:
    """Test a persistence layer against the protocol.

    Parameters
    ----------
    factory
        A function without parameters that returns a new layer, or a pair of layers over one store. If two
        returned layers see each other's records, they are used as two workers; otherwise two threads share
        one layer. Layers that have a ``close`` method are closed at the end. Each history uses new keys, so
        the store need not be empty.
    profile
        ``quick``, ``default`` or ``thorough``; or your own bounds.
    seed
        The seed of all random choices; a random one if None. The report contains it.
    capabilities
        What the layer claims; see :class:`~idemproof.conformance.Capabilities` for the defaults.
    tiers
        The tiers to test.
    progress
        Called when a check begins, with the check, its number from 0 and the number of checks.

    Returns
    -------
    Report
        The findings. If Ctrl-C interrupts the run, the report contains the findings so far.

    Raises
    ------
    FactoryError
        The factory does not return a layer that can be tested; the message says what to do.
    ValueError
        There is no such profile or tier, or an argument has the wrong type. No check has run then.
    """
    bounds, wanted, given = profile_named(profile), checks(tiers), seed_given(seed)
    claims = claimed(capabilities)
    require_callable_progress(progress)
    drawn = secrets.randbelow(2**32) if given is None else given
    course = RunLog(wanted, "the layer", bounds.name, drawn)

    def emit(event: RunEvent) -> None:
        if isinstance(event, Began) and progress is not None:
            progress(wanted[event.number], event.number, len(wanted))
        course.add(event)

    run(factory, bounds, drawn, claims, wanted, emit)
    return course.report()


def run(
    factory: Factory,
    bounds: Profile,
    seed: int,
    claims: Capabilities,
    wanted: Sequence[Check],
    emit: Callable[[RunEvent], None],
    pace: Pace | None = None,
) -> None:
    """Run the checks, and ``emit`` each event of the run. Ctrl-C ends it after the first layer is made."""
    session = Session(factory, bounds, seed, claims, wanted, pace)
    finished = False
    try:
        emit(Opened(session.subject))
        for number, each in enumerate(wanted):
            emit(Began(number))
            emit(session.judge(each))
        finished = True
    except KeyboardInterrupt:
        pass
    finally:
        aborted = session.close()
    emit(Closed(finished and aborted is None, session.notes, aborted))


def checks(tiers: Sequence[str] = TIERS) -> list[Check]:
    """Return all checks of the tiers, in their order, or raise ``ValueError`` with the names of all tiers."""
    from .. import tiers as _  # noqa: F401, PLC0415 - the checks import modules of this package

    wanted = tiers_named(tiers)
    # A layer that is closed may take the client of all others with it.
    return sorted(
        (each for each in CHECKS if each.tier in wanted),
        key=lambda each: ("closes" in each.needs, TIERS.index(each.tier)),
    )


class Session:
    """The layers of one run. :meth:`judge` runs a check on them; call :meth:`close` at the end.

    The clock of the process is moved only while a check runs. Output that a layer prints goes to the report.

    Parameters
    ----------
    factory, capabilities
        As for :func:`check`.
    profile, seed
        The bounds of the run, and the seed of all random choices.
    wanted
        The checks that will be judged: on a slow store, they share the time of the profile.
    pace
        Keeps the time, if it does not begin now.
    """

    def __init__(
        self,
        factory: Factory,
        profile: Profile,
        seed: int,
        capabilities: Capabilities | None = None,
        wanted: Sequence[Check] = (),
        pace: Pace | None = None,
    ) -> None:
        self.profile = profile
        self.seed = seed
        self._capabilities = capabilities or Capabilities()
        self._pace = Pace(profile) if pace is None else pace
        self._left = {each.name: each for each in wanted}
        self._measured: set[str] = set()
        self._printed = Printed()
        self._notes: list[str] = []
        self._cut_short: list[str] = []
        self._shortened: list[str] = []
        self._hung: str | None = None
        self._out_of_time = False
        """Whether a check did not end when its time was over."""
        self._command_failed: str | None = None
        self._interrupted = False
        self._reported = False
        # The same seed again, over the same store, must not meet its own records.
        self._keys = f"conformance-{secrets.token_hex(4)}"
        self._clock = MovedClock(moves_the_process=self._capabilities.movable_clock)
        with self._working():
            methods = self._capabilities.client_methods
            self._bench = Bench(factory, self._clock, profile.patience, methods, self._pace)
        self.subject = _in_words(self._bench)
        if any(not each.hello.steps for each in commands(self._bench)):
            self._notes.append(_WITHOUT_STEPS)

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the reader of the report."""
        notes = list(self._notes)
        if self._cut_short:
            notes.append(
                "These checks ran out of time before they tried everything; a more thorough profile gives "
                f"them more: {', '.join(self._cut_short)}."
            )
        if self._shortened:
            notes.append(
                "The store is slow, so these checks tried less than usual; a more thorough profile, or one "
                f"tier alone, gives them more time: {', '.join(self._shortened)}."
            )
        printed = self._printed.getvalue().strip()
        if not printed:
            return tuple(notes)
        if len(printed) > _LONGEST_NOTE:
            printed = f"{printed[:_LONGEST_NOTE]}…"
        return (*notes, f"The layer or its factory printed: {printed}")

    def judge(self, asked: Check) -> CheckResult:
        """Run one check, and return its result. After a request has hung, no further check runs.

        On a slow store, a check may be shortened or not run, so that the profile ends in time.
        """
        self._pace.begin_check()
        self._left.pop(asked.name, None)
        try:
            return self._judged(asked)
        finally:
            self._pace.end_check()

    def _judged(self, asked: Check) -> CheckResult:
        result = self._without_running(asked)
        if result is not None:
            return result
        bench = self._bench
        self._measure_requests_at_once(asked)
        share = self._pace.share(_known(asked), self._others())
        if share.why_not is not None:
            return without(asked, "not run", share.why_not)
        own = zlib.crc32(asked.name.encode())  # the same examples, whichever other checks run
        case = Case(
            bench.workers,
            self._clock,
            self._capabilities,
            self.profile,
            self.seed + own,
            asked.clauses,
            bench.restarted if bench.reopens else None,
            bench.factory if bench.shared or bench.is_one_object else None,
            f"{self._keys}-{own:08x}",
            bench.temporary,
            self._pace.limit(share.seconds),
            is_shortened=share.seconds is not None,
        )
        began = self._pace.now()
        with self._working():
            open_question, broken = self._run(asked, case, bench.subjects)
        if asked.tier == "exclusion":
            self._pace.note_races(self._pace.now() - began, case.schedules)
        self._notes += sorted(case.notes - {*self._notes})
        shortened = case.cut_short and case.is_shortened
        if case.cut_short:
            (self._shortened if shortened else self._cut_short).append(asked.name)
        fault = next((each.fault for each in commands(bench) if each.fault is not None), None)
        if fault is not None:
            self._command_failed = f"the command failed in {asked.name}"
            if not (case.findings or broken):
                broken = [Broken(fault, ["CAS-1", "CAS-3"])]
        findings = tuple(finding_of(asked, each) for each in (*case.findings, *broken))
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
            self._pace.now() - began,
            shortened,
        )

    def _without_running(self, asked: Check) -> CheckResult | None:
        """Return the result of a check that cannot run, or None."""
        stopped = self._hung or self._command_failed
        if stopped is not None:
            return without(asked, "not judged", stopped)
        if self._out_of_time:
            return without(asked, "not run", self._pace.too_late)
        if self._bench.at_first is not None:
            return self._failed_at_first(asked, self._bench.at_first)
        broken = unmet(asked, self._bench, self._capabilities)
        if broken is not None:
            return without(asked, "broken", None)._replace(findings=(finding_of(asked, broken),))
        why_not = lacking(asked, self._bench, self._capabilities)
        return None if why_not is None else without(asked, "not offered", why_not)

    def _failed_at_first(self, asked: Check, failure: Exception) -> CheckResult:
        """Report once that the layer raised at its first write."""
        why = "the layer raised at its first write"
        if self._reported:
            return without(asked, "not judged", why)
        self._reported = True
        broken = Broken(
            f"{as_a_sentence(failure)} This was its first write, so no check ran.", [clause_of(failure)]
        )
        return without(asked, "broken", None)._replace(findings=(finding_of(asked, broken),))

    def close(self) -> str | None:
        """Close the layers, unless one of them hangs or was interrupted; return a sentence if that hangs."""
        with self._working():
            notes, hangs = self._bench.close(
                abandon=self._hung is not None or self._out_of_time or (self._interrupted and self._busy())
            )
        self._notes += notes
        return hangs

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        with self._clock, contextlib.redirect_stdout(self._printed), silence():
            yield

    def _busy(self) -> bool:
        return any(subject.waited() for subject in self._bench.subjects)

    def _others(self) -> list[Asked]:
        """Return the checks that want to run later."""
        return [
            _known(each)
            for each in self._left.values()
            if lacking(each, self._bench, self._capabilities) is None
        ]

    def _measure_requests_at_once(self, asked: Check) -> None:
        """Before a tier that sends requests at once, measure them: some stores let them wait."""
        if asked.tier not in AT_ONCE or asked.tier in self._measured or not self._pace.promises:
            return
        self._measured.add(asked.tier)
        if self._capabilities.threads:
            with self._working():
                seconds = seconds_at_once(
                    self._bench.workers, f"{self._keys}-at-once", self.profile.patience, self._pace.now
                )
            self._pace.note_at_once(seconds)

    def _run(self, asked: Check, case: Case, subjects: list[Subject]) -> tuple[_Open | None, list[Broken]]:
        """Run a check in the thread of the layers; return why it was not completed, or what is broken."""
        task = self._bench.worker.begin(lambda: asked.run(case))
        hung = self._hangs(task, asked, subjects)
        if hung is not None:
            return None, [Broken(hung, ["INV-9"])]
        failure = task.failure
        if not task.has_ended or isinstance(failure, Stopped):
            return ("not run", self._pace.in_the_middle), [
                case.suspected
            ] if case.suspected and not case.findings else []
        if failure is None:
            return None, []
        if isinstance(failure, NotOffered | NotJudged | FactoryError):  # a factory may fail after many layers
            return ("not offered" if isinstance(failure, NotOffered) else "not judged", str(failure)), []
        if isinstance(failure, Broken):
            return None, [failure]
        if not came_from_the_layer(failure):
            raise failure
        return None, [Broken(as_a_sentence(failure), [clause_of(failure)])]

    def _hangs(self, task: Task, asked: Check, subjects: list[Subject]) -> str | None:
        """Wait until a check ends; return a sentence if one of its requests hangs, else None."""
        try:
            while not task.ended(0.05):
                waited = max(self._bench.waited(), *(subject.waited() for subject in subjects))
                if waited > self.profile.patience:
                    self._hung = f"a request of {asked.name} was not answered within {waited:.0f} seconds"
                    return (
                        f"The layer has not answered a request for {waited:.0f} seconds: it hangs. "
                        "No further check ran."
                    )
                if self._is_left_behind(task, subjects):
                    return None
        except KeyboardInterrupt:
            self._interrupted = True
            for subject in subjects:
                subject.stop()
            task.ended(_GRACE)
            raise
        return None

    def _is_left_behind(self, task: Task, subjects: list[Subject]) -> bool:
        """If the time is over, let a check end at its next request; return whether it does not end."""
        # Many requests at once wait for each other, not for the store alone.
        alone = max(each.waited(self._bench.worker.thread) for each in subjects)
        if not self._pace.is_over(alone):
            return False
        for subject in subjects:
            subject.stop()
        self._out_of_time = not task.ended(_GRACE) and self._pace.is_late
        return self._out_of_time


def _known(asked: Check) -> Asked:
    return Asked(asked.name, asked.tier)


def _in_words(bench: Bench) -> str:
    contracts = {True: "two methods", False: "four methods"}
    layer = bench.layer
    made = original(layer.layer)
    how = "a command" if isinstance(made, CommandLayer) else "async" if layer.asynchronous else "blocking"
    parts = [contracts[layer.swaps], how]
    parts.append("two objects over one store" if bench.shared else "one object shared by threads")
    name = made.hello.layer if isinstance(made, CommandLayer) else type(made).__name__
    return f"{name} ({', '.join(parts)})"
