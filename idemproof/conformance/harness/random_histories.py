"""Random histories of a layer, drawn and shrunk by Hypothesis."""

import time
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from ..suite.checks import Broken, Case
from .history import FATES, HASHES, LEASES_MS, OWNERS, Act, History, Step

_FATES = (FATES[0], FATES[0], FATES[0], *FATES[1:])
_MANY = st.integers(0, 40)
_FEW = st.integers(0, 9)

# Small numbers are drawn together: Hypothesis's time goes by the number of draws.
_WHERE = st.integers(0, 4 * len(_FATES) - 1)
_WITH = st.integers(0, len(OWNERS) * len(LEASES_MS) * len(HASHES) - 1)


def _step(act: Act, where: int, with_what: int = 0, writes: int = 0, expects: int = 0) -> Step:
    fate, place = divmod(where, 4)
    others, owner = divmod(with_what, len(OWNERS))
    payload_hash, lease = divmod(others, len(LEASES_MS))
    return Step(act, place % 2, place // 2, owner, expects, writes, payload_hash, lease, _FATES[fate])


_CLOCK = st.builds(
    lambda near, how_far: Step("clock", expects=how_far, writes=near), st.integers(0, 3), _MANY
)
_READ = st.builds(_step, st.just("read"), st.integers(0, 3))
_SWAP = st.builds(_step, st.just("swap"), _WHERE, _WITH, _FEW, _MANY)
_PUT, _UPDATE, _DELETE = (
    st.builds(_step, st.just(act), _WHERE, _WITH, _FEW) for act in ("put", "update", "delete")
)


class _Search:
    """Looks for a broken history, and notes those that it finds."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.found: list[tuple[list[Step], Broken]] = []
        self._until: float | None = None

    def begin(self) -> History | None:
        """Begin a history, unless the time is up: then none that are drawn are taken."""
        if self._until is None:
            self._until = time.perf_counter() + self.case.profile.tour_seconds
        if time.perf_counter() > self._until:
            self.case.cut_short = True
            return None
        self.case.histories += 1
        return History(self.case)

    def take(self, history: History | None, step: Step) -> None:
        """Take a step, and note what it breaks."""
        if history is None:
            return
        try:
            history.take(step)
        except Broken as broken:
            if not self.found:
                # From here on it is only made shorter, which may take as long again.
                self._until = time.perf_counter() + self.case.profile.tour_seconds
            self.found.append((list(history.steps), broken))
            raise

    def taking(self, steps: st.SearchStrategy[Step]) -> Any:
        """Return a rule that takes one of these steps."""

        @rule(step=steps)
        def taken(machine: Any, step: Step) -> None:
            self.take(machine.history, step)

        return taken

    def machine(self) -> type[RuleBasedStateMachine]:
        """Return the machine that Hypothesis runs."""
        search = self

        class Machine(RuleBasedStateMachine):
            def __init__(self) -> None:
                super().__init__()
                self.history = search.begin()

            @rule(clock=_CLOCK, step=_PUT)
            def put_then(self, clock: Step, step: Step) -> None:
                search.take(self.history, clock)
                search.take(self.history, step)

            clock, read, swap = map(search.taking, (_CLOCK, _READ, _SWAP))
            put, update, delete = map(search.taking, (_PUT, _UPDATE, _DELETE))

        return Machine


def judge(case: Case) -> None:
    """Draw histories, as many as the profile says or its time allows; tell the shortest that is broken.

    Raises
    ------
    Broken
        The layer did what the specification does not allow.
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
        # Flaky: the layer itself is not the same each time, or the time to make it shorter was over.
        if not search.found:
            raise
    if search.found:
        steps, broken = min(search.found, key=lambda each: len(each[0]))
        raise _reported(case, steps, broken)


def _reported(case: Case, steps: list[Step], broken: Broken) -> Broken:
    """Return the finding with a trace that tells what stood after each step, if looking changes nothing."""
    history = History(case, looks=True)
    try:
        for step in steps:
            history.take(step)
    except Broken as again:
        if again.clauses == broken.clauses:
            return again
    return broken
