"""Random histories of a layer, generated and shrunk by Hypothesis."""

from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from ..suite.checks import Broken, Case
from ..suite.pace import Limit
from .history import FATES, HASHES, LEASES_MS, OWNERS, Act, History, HistoryStep

_FATES = (FATES[0], FATES[0], FATES[0], *FATES[1:])
_MANY = st.integers(0, 40)
_FEW = st.integers(0, 9)

# Several small numbers are drawn as one, because the number of draws decides how long Hypothesis takes.
_TARGETS = st.integers(0, 4 * len(_FATES) - 1)
_RECORDS = st.integers(0, len(OWNERS) * len(LEASES_MS) * len(HASHES) - 1)


def _step(act: Act, target: int, record: int = 0, writes: int = 0, expects: int = 0) -> HistoryStep:
    fate, place = divmod(target, 4)
    others, owner = divmod(record, len(OWNERS))
    payload_hash, lease = divmod(others, len(LEASES_MS))
    return HistoryStep(act, place % 2, place // 2, owner, expects, writes, payload_hash, lease, _FATES[fate])


_CLOCK = st.builds(
    lambda near, how_far: HistoryStep("clock", expects=how_far, writes=near), st.integers(0, 3), _MANY
)
_READ = st.builds(_step, st.just("read"), st.integers(0, 3))
_SWAP = st.builds(_step, st.just("swap"), _TARGETS, _RECORDS, _FEW, _MANY)
_PUT, _UPDATE, _DELETE = (
    st.builds(_step, st.just(act), _TARGETS, _RECORDS, _FEW) for act in ("put", "update", "delete")
)


_HISTORIES = 3
"""How many histories are tried at least, if the plan of a run on a slow store shortens the check."""


class _Search:
    """Searches for broken histories, and records them."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.found: list[tuple[list[HistoryStep], Broken]] = []
        self._limit: Limit | None = None

    def begin(self) -> History | None:
        """Begin a history; return None if the time is up."""
        if self._limit is None:
            self._limit = self.case.limit(self.case.profile.tour_seconds)
        if self._limit.over and not (self.case.is_shortened and self.case.histories < _HISTORIES):
            self.case.cut_short = True
            return None
        self.case.histories += 1
        return History(self.case)

    def take(self, history: History | None, step: HistoryStep) -> None:
        """Take a step, and record the history if it is broken."""
        if history is None:
            return
        try:
            history.take(step)
        except Broken as broken:
            if not self.found:
                # From here on, Hypothesis shrinks the history, which gets the same time again.
                self._limit = self.case.limit(self.case.profile.tour_seconds)
            self.case.suspected = broken
            self.found.append((list(history.steps), broken))
            raise

    def rule_for(self, steps: st.SearchStrategy[HistoryStep]) -> Any:
        """Return a rule of the state machine that takes one of these steps."""

        @rule(step=steps)
        def take_step(machine: Any, step: HistoryStep) -> None:
            self.take(machine.history, step)

        return take_step

    def machine(self) -> type[RuleBasedStateMachine]:
        """Return the state machine that Hypothesis runs."""
        search = self

        class Machine(RuleBasedStateMachine):
            def __init__(self) -> None:
                super().__init__()
                self.history = search.begin()

            @rule(clock=_CLOCK, step=_PUT)
            def put_then(self, clock: HistoryStep, step: HistoryStep) -> None:
                search.take(self.history, clock)
                search.take(self.history, step)

            clock, read, swap = map(search.rule_for, (_CLOCK, _READ, _SWAP))
            put, update, delete = map(search.rule_for, (_PUT, _UPDATE, _DELETE))

        return Machine


def judge(case: Case) -> None:
    """Run as many histories as the profile and its time allow, and report the shortest broken one.

    Raises
    ------
    Broken
        The specification does not allow what the layer did.
    """
    search = _Search(case)
    machine: Any = seed(case.seed)(search.machine())
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=case.profile.examples,
                stateful_step_count=case.profile.steps,
                database=None,
                deadline=None,
                derandomize=False,  # the seed decides
                print_blob=False,
                report_multiple_bugs=False,
                verbosity=Verbosity.quiet,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            ),
        )
    except (Broken, Flaky):
        # Flaky: the layer does not behave the same each time, or the time for shrinking was over.
        if not search.found:
            raise
    if search.found:
        steps, broken = min(search.found, key=lambda each: len(each[0]))
        raise _with_trace(case, steps, broken)


def _with_trace(case: Case, steps: list[HistoryStep], broken: Broken) -> Broken:
    """Return the finding with a trace that shows the stored record after each step, if it repeats."""
    history = History(case, looks=True)
    try:
        for step in steps:
            history.take(step)
    except Broken as again:
        if again.clauses == broken.clauses:
            return again
    return broken
