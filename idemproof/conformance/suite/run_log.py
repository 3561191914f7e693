"""The log of a run, as events: another process can send them, and the report is made from them."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

from ...spec.record import Record
from .checks import Check
from .report import CheckResult, Finding, Report, Verdict
from .trace import Line

INTERRUPTED = "it was interrupted"


class Opened(NamedTuple):
    """The factory has made the layers; ``subject`` describes them."""

    subject: str


class Began(NamedTuple):
    """The check of this number begins."""

    number: int


class Closed(NamedTuple):
    """The layers are closed. ``finished`` and ``aborted`` are as in :class:`Report`."""

    finished: bool
    notes: tuple[str, ...]
    aborted: str | None


RunEvent = Opened | Began | CheckResult | Closed


class RunLog:
    """The log of one run: collects its events, and makes the report.

    Parameters
    ----------
    wanted
        The checks of the run, in order.
    subject
        What the report calls the layer until the factory has made one.
    profile, seed
        As in :class:`Report`.
    """

    def __init__(self, wanted: Sequence[Check], subject: str, profile: str, seed: int) -> None:
        self.wanted = wanted
        self._subject = subject
        self._profile = profile
        self._seed = seed
        self._results: list[CheckResult] = []
        self._notes: tuple[str, ...] = ()
        self._finished = False
        self._aborted: str | None = None
        self.is_open = False
        """Whether the factory has made the layers."""
        self.running: Check | None = None
        """The check that has begun and not ended."""

    def add(self, event: RunEvent) -> None:
        """Add the next event."""
        if isinstance(event, Opened):
            self.is_open = True
            self._subject = event.subject
        elif isinstance(event, Began):
            self.running = self.wanted[event.number]
        elif isinstance(event, CheckResult):
            self.running = None
            self._results.append(event)
        else:
            self._finished, self._notes, self._aborted = event

    @property
    def ended(self) -> bool:
        """Whether every check has ended."""
        return len(self._results) == len(self.wanted)

    def abort(self, why: str) -> None:
        """End the run because the layer has ended or blocks the process; the running check is broken."""
        self._finished, self._aborted = False, why
        if self.running is not None:
            found = Finding(self.running.name, self.running.tier, ("INV-9",), why, (), None)
            self.add(without(self.running, "broken", None)._replace(findings=(found,)))

    def report(self) -> Report:
        """Return the report; checks without a result are not judged."""
        why = INTERRUPTED
        if self._aborted is not None:
            why = (
                "an earlier check ended the run" if self._results else "the run ended before the first check"
            )
        rest = [without(each, "not judged", why) for each in self.wanted[len(self._results) :]]
        return Report(
            self._subject,
            self._profile,
            self._seed,
            version("idemproof"),
            (*self._results, *rest),
            self._finished,
            self._notes,
            self._aborted,
        )


def without(asked: Check, verdict: Verdict, why: str | None) -> CheckResult:
    """Return the result of a check that did not run."""
    return CheckResult(asked.name, asked.tier, asked.clauses, asked.asks, verdict, why, (), 0, 0, 0.0)


_KINDS: dict[str, Any] = {each.__name__: each for each in (Opened, Began, CheckResult, Closed)}


def as_plain(event: NamedTuple) -> list[Any]:
    """Return an event as data that JSON can represent. It contains no object of the layer."""
    return [type(event).__name__, event]


def from_plain(plain: list[Any]) -> RunEvent:
    """Return the event that :func:`as_plain` and JSON have represented."""
    kind, fields = plain
    event: RunEvent = _KINDS[kind](*fields)
    if isinstance(event, CheckResult):
        findings = tuple(map(_finding, event.findings))
        return event._replace(clauses=tuple(event.clauses), findings=findings)
    if isinstance(event, Closed):
        return event._replace(notes=tuple(event.notes))
    return event


def _finding(plain: Any) -> Finding:
    finding = Finding(*plain)
    lines = tuple(_line(Line(*line)) for line in finding.lines)
    return finding._replace(clauses=tuple(finding.clauses), lines=lines, commands=tuple(finding.commands))


def _line(line: Line) -> Line:
    return line._replace(current=Record(*line.current)) if isinstance(line.current, list) else line
