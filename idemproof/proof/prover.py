"""The proof: every property, on every path of the transition function."""

import time
from collections.abc import Callable, Collection
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

from ..spec import transition as rules
from ..spec.events import Event
from ..spec.explorer import Trace, TraceLine
from ..spec.happenings import Step
from ..spec.record import Record
from .cases import EVENTS, POLICIES, Situation, Symbols
from .execution import Discarded, Execution, Unsupported
from .properties import ANY_EVENT, ASSUMPTIONS, OF_THE_MODEL, TOTAL, Property, properties
from .symbols import Values

ANY = "any"
"""The name of the event of a state."""


class Counterexample(NamedTuple):
    """Real values for which a property does not hold.

    Parameters
    ----------
    trace
        The steps, as the explorer shows them.
    step
        The step, or None if the transition function raised an error.
    event, now
        What was decided, and when.
    rest
        The rest of the situation, by name.
    problem
        Why the counterexample is not confirmed by executing the code with these values; empty if it is.
    """

    trace: Trace
    step: Step | None
    event: Event
    now: int
    rest: dict[str, Any]
    problem: str


class Cell:
    """The result for one property and one kind of event."""

    def __init__(self, rule: Property, event: str) -> None:
        self.property = rule
        self.event = event
        self.paths = 0
        self.seconds = 0.0
        self.counterexample: Counterexample | None = None
        self.problem = ""

    @property
    def is_proved(self) -> bool:
        """Whether the property holds on every path, and there is one."""
        return self.paths > 0 and self.counterexample is None and not self.problem


class Proof(NamedTuple):
    """The result.

    Parameters
    ----------
    cells
        The results by property and event.
    rows
        How many paths each row of the table decided.
    replayed
        How many paths were executed with real values too, with the same result.
    assumed
        The clauses that were assumed.
    seconds
        How long it took.
    """

    cells: list[Cell]
    rows: dict[str, int]
    replayed: int
    assumed: list[str]
    seconds: float

    @property
    def is_complete(self) -> bool:
        """Whether every property is proved, and every row of the table was reached."""
        return all(cell.is_proved for cell in self.cells) and all(self.rows.values())

    @property
    def counterexamples(self) -> list[Counterexample]:
        """All counterexamples."""
        return [cell.counterexample for cell in self.cells if cell.counterexample is not None]


class _Path(NamedTuple):
    """One path of the transition function; ``error`` is what it raised, or None."""

    step: Step
    row: str
    error: Exception | None


class Prover:
    """Proves properties of the specification.

    Parameters
    ----------
    only
        The clauses whose properties are proved; None for all.
    events
        The kinds of events for which they are proved.
    without
        The clauses that are not assumed.
    stop
        Whether to stop at the first counterexample.
    policies
        The policies of the claims for which they are proved.
    """

    def __init__(
        self,
        only: Collection[str] | None = None,
        events: Collection[type[Event]] = EVENTS,
        without: Collection[str] = (),
        *,
        stop: bool = False,
        policies: Collection[str] = POLICIES,
    ) -> None:
        chosen = [rule for rule in properties() if only is None or rule.clause in only]
        self._of_steps = [rule for rule in chosen if rule.about != "state"]
        self._of_states = [rule for rule in chosen if rule.about == "state"]
        self._is_total = only is None or TOTAL.clause in only
        self._events = events
        self._without = frozenset(without)
        self._stop = stop
        self._policies = policies
        self._cells: dict[tuple[str, str, str], Cell] = {}
        self._rows = {row.clause: 0 for row in rules.TABLE if row.event in events}
        self._assumed: set[str] = set()
        self._replayed = 0

    def prove(self, progress: Callable[[str], None] | None = None) -> Proof:
        """Prove the properties.

        Parameters
        ----------
        progress
            Called with the name of the kind of event that is next.
        """
        started = time.perf_counter()
        parts = [(kind.__name__, kind) for kind in self._events]
        for name, kind in [*parts, (ANY, None)]:
            if progress is not None:
                progress(name)
            if self._stop and any(cell.counterexample for cell in self._cells.values()):
                break
            self._prove(name, kind)
        assumed = [
            clause for clause in ASSUMPTIONS if clause in {*OF_THE_MODEL, *self._assumed} - self._without
        ]
        seconds = time.perf_counter() - started
        return Proof(list(self._cells.values()), self._rows, self._replayed, assumed, seconds)

    def _prove(self, name: str, kind: type[Event] | None) -> None:
        execution = Execution()
        symbols = Symbols(execution)
        now = symbols.number("now")
        if kind is None:
            for record in symbols.records():
                step = Step(record, ANY_EVENT, now, record, ANY_EVENT)  # type: ignore[arg-type]
                for rule in self._of_states:
                    self._check(rule, name, step, execution, symbols)
            return
        for event in symbols.events(kind, self._policies):
            for record in symbols.records():
                try:
                    for path in execution.paths(partial(_decided, record, event, now)):
                        self._follow(path, name, execution, symbols)
                        if self._stop and any(cell.counterexample for cell in self._cells.values()):
                            return
                except Unsupported as refusal:  # of the solver
                    for rule in (TOTAL, *self._of_steps):
                        self._cell(rule, name).problem = str(refusal)

    def _follow(self, path: _Path, name: str, execution: Execution, symbols: Symbols) -> None:
        """Prove the properties of steps on one path of the transition function."""
        step = path.step
        values = _values(execution, symbols)
        real = _decided(*(values.real(part) for part in step[:3]))
        problem = ""
        if path.error is not None:
            same = type(real.error) is type(path.error)
            problem = "" if same else f"{type(path.error).__name__}: {path.error}"
        elif real.error is not None or (real.row, *real.step[3:]) != (path.row, *values.real(step[3:])):
            problem = f"with real values, transition does something else than with symbolic ones: {real.step}"
        self._replayed += 1
        if self._is_total:
            cell = self._cell(TOTAL, name)
            cell.paths += 1
            cell.problem = cell.problem or problem
            if path.error is not None and not problem and cell.counterexample is None:
                cell.counterexample = _counterexample(TOTAL, real, {}, f"raises {real.error!r}", "")
        if path.error is not None or problem:
            for rule in self._of_steps:
                cell = self._cell(rule, name)
                cell.problem = cell.problem or problem or "the transition function raises an error"
            return
        self._rows[path.row] = self._rows.get(path.row, 0) + 1
        for rule in self._of_steps:
            if not isinstance(step.event, rule.events):
                continue
            self._check(rule, name, step, execution, symbols)

    def _check(self, rule: Property, name: str, step: Step, execution: Execution, symbols: Symbols) -> None:
        """Prove ``rule`` for one step."""
        cell = self._cell(rule, name)
        if cell.counterexample is not None or cell.problem:
            return
        started = time.perf_counter()

        def check() -> tuple[bool, Situation]:
            situation = Situation(step, symbols, self._without)
            try:
                return bool(rule.holds(situation)), situation
            finally:
                self._assumed |= situation.assumed

        try:
            with closing(execution.paths(check)) as paths:
                for holds, situation in paths:
                    cell.paths += 1
                    if not holds:
                        cell.counterexample = _refuted(rule, situation, _values(execution, symbols))
                        break
        except Unsupported as refusal:
            cell.problem = str(refusal)
        except Exception as error:  # noqa: BLE001 - whatever a predicate raises, nothing is proved
            cell.problem = f"{rule.name} raises {error!r}"
        cell.seconds += time.perf_counter() - started

    def _cell(self, rule: Property, event: str) -> Cell:
        return self._cells.setdefault((rule.clause, rule.name, event), Cell(rule, event))


def _decided(record: Record | None, event: Event, now: int) -> _Path:
    """Execute the shipped transition function."""
    try:
        after, outcome = rules.transition(record, event, now)
        row = rules.deciding_row(record, event, now).clause
    except Exception as error:  # noqa: BLE001 - whatever it raises, it is not total
        return _Path(Step(record, event, now, None, None), "", error)  # type: ignore[arg-type]
    return _Path(Step(record, event, now, after, outcome), row, None)


def _values(execution: Execution, symbols: Symbols) -> Values:
    """Return real values for the current path: small ones, if possible."""
    return Values(execution.model(list(symbols.readable.values())))


def _refuted(rule: Property, situation: Situation, values: Values) -> Counterexample:
    """Return a counterexample, after executing everything again with real values."""
    step = situation.step
    record, event, now = (values.real(part) for part in step[:3])
    if rule.about == "state":
        real = _Path(Step(record, event, now, record, event), "", None)
    else:
        real = _decided(record, event, now)
    again = situation.real(values, real.step)
    try:
        problem = "with real values, the property holds" if rule.holds(again) else ""
    except Discarded:
        problem = "with real values, it contradicts an assumption"
    rest = {name: value for name, value in vars(again).items() if name in Situation.PARTS}
    return _counterexample(rule, real, rest, f"breaks {rule.name}", problem)


def _counterexample(
    rule: Property, path: _Path, rest: dict[str, Any], what: str, problem: str
) -> Counterexample:
    step = path.step
    lines = [TraceLine("stored record", "", step.before)]
    lines += [TraceLine(f"{name}: {value}", "", step.before) for name, value in rest.items()]
    if rule.about != "state":
        owner = getattr(step.event, "owner", None) or ""
        outcome = "" if path.error is not None else f", and gets {type(step.outcome).__name__} ({path.row})"
        lines.append(TraceLine(f"{step.now} ms: {step.event}{outcome}", owner, step.after))
    lines.append(TraceLine(what, "", step.after))
    trace = Trace((f"{rule.clause} {rule.name}",), tuple(lines))
    return Counterexample(trace, None if path.error else step, step.event, step.now, rest, problem)
