"""The report of a run, as data."""

import json
from typing import Any, Literal, NamedTuple

from ...spec.record import Record
from .consequences import Consequence, consequence_of
from .kinds import LAYER, Kind
from .options import tiers_named
from .subjects import RAISED
from .trace import Line

Verdict = Literal["kept", "broken", "not offered", "not judged", "not run"]
"""The verdict on a clause, a check or a tier. "not offered": the layer does not claim it. "not judged": the
layer claims it, but it could not be tested, because of an earlier fault, an interruption, or a failure
outside the layer. "not run": on this store, the profile's time was not enough for it."""


class Finding(NamedTuple):
    """A broken clause, with its evidence.

    Parameters
    ----------
    check, tier, clauses
        The check that found it, its tier, and the clauses that are broken.
    why
        What went wrong, as a sentence.
    lines
        The shortest trace that shows it.
    seen_in
        The published software in which this fault was seen, or None.
    severity
        The consequence that the check has seen; None if it follows from the clauses.
    commands
        Shell commands that repeat the trace by hand.
    """

    check: str
    tier: str
    clauses: tuple[str, ...]
    why: str
    lines: tuple[Line, ...]
    seen_in: str | None
    severity: Consequence | None = None
    commands: tuple[str, ...] = ()

    @property
    def consequence(self) -> Consequence:
        """What a user of the layer or the service suffers from it."""
        if self.severity is not None:
            return self.severity
        return consequence_of(self.clauses, raised=self.why.startswith(RAISED))


class CheckResult(NamedTuple):
    """The result of one check.

    Parameters
    ----------
    name, tier, clauses, asks
        The check.
    verdict
        Its verdict.
    why_not
        Why it was not offered, not judged or not run, or None.
    findings
        The faults that it found.
    histories, schedules
        How many it tried.
    seconds
        The duration (seconds).
    shortened
        Whether it has tried less than the profile's other bounds allow, because the store is slow.
    """

    name: str
    tier: str
    clauses: tuple[str, ...]
    asks: str
    verdict: Verdict
    why_not: str | None
    findings: tuple[Finding, ...]
    histories: int
    schedules: int
    seconds: float
    shortened: bool = False


class Report(NamedTuple):
    """The report on a layer or a service.

    Parameters
    ----------
    subject
        A description of the layer or the service.
    profile, seed
        The name of the profile, and the seed. The same seed gives the same examples.
    version
        The version of this library.
    checks
        The result of every check, in order.
    finished
        False if the run was interrupted or aborted.
    notes
        Remarks, such as the text that the factory printed.
    aborted
        How the layer ended, replaced or blocked the process that judged it, as a sentence; or None.
    kind
        What the report is about.
    """

    subject: str
    profile: str
    seed: int
    version: str
    checks: tuple[CheckResult, ...]
    finished: bool = True
    notes: tuple[str, ...] = ()
    aborted: str | None = None
    kind: Kind = LAYER

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings of all checks."""
        return tuple(finding for check in self.checks for finding in check.findings)

    @property
    def tiers(self) -> dict[str, Verdict]:
        """The verdict on each tier that was tested."""
        asked = {each.tier for each in self.checks}
        return {
            tier: _all_of([each.verdict for each in self.checks if each.tier == tier])
            for tier in self.kind.tiers
            if tier in asked
        }

    @property
    def clauses(self) -> dict[str, Verdict]:
        """The verdict on each clause that a check covers or a finding names."""
        broken = {clause for finding in self.findings for clause in finding.clauses}
        asked: dict[str, list[Verdict]] = {}
        for each in self.checks:
            for clause in each.clauses:
                asked.setdefault(clause, []).append(each.verdict)
        verdicts: dict[str, Verdict] = {}
        for clause in sorted(broken | asked.keys()):
            known = asked.get(clause, [])
            if clause in broken:
                verdicts[clause] = "broken"
            elif "not run" in known:
                verdicts[clause] = "not run"
            elif "kept" in known:
                verdicts[clause] = "kept"
            else:
                verdicts[clause] = "not judged" if {"broken", "not judged"} & {*known} else "not offered"
        return verdicts

    def keeps(self, *tiers: str) -> bool:
        """Return whether the layer keeps the tiers; without any, whether it keeps all that it offers.

        A tier that is not offered, not judged or not completely run is not kept. An interrupted or aborted
        run keeps nothing.

        Parameters
        ----------
        *tiers
            The names of the required tiers.

        Raises
        ------
        ValueError
            There is no such tier.
        """
        if tiers:
            tiers_named(tiers, self.kind.tiers)
        if not self.finished:
            return False
        found = self.tiers
        if tiers:
            return all(found.get(tier) == "kept" for tier in tiers)
        return all(verdict in ("kept", "not offered") for verdict in found.values())

    def as_json(self) -> str:
        """Return the report as JSON."""
        return json.dumps(
            {
                "subject": self.subject,
                "profile": self.profile,
                "seed": self.seed,
                "version": self.version,
                "finished": self.finished,
                "aborted": self.aborted,
                "keeps": self.keeps(),
                "notes": self.notes,
                "tiers": self.tiers,
                "clauses": self.clauses,
                "checks": [
                    {**each._asdict(), "findings": [_plain(finding) for finding in each.findings]}
                    for each in self.checks
                ],
            },
            indent=1,
        )


def _all_of(verdicts: list[Verdict]) -> Verdict:
    severity: tuple[Verdict, ...] = ("broken", "not judged", "not run", "kept", "not offered")
    return next((verdict for verdict in severity if verdict in verdicts), "not offered")


def _plain(finding: Finding) -> dict[str, Any]:
    lines = [
        {
            **line._asdict(),
            "current": line.current._asdict() if isinstance(line.current, Record) else line.current,
        }
        for line in finding.lines
    ]
    name, says = finding.consequence
    return {**finding._asdict(), "severity": name, "consequence": says, "lines": lines}
