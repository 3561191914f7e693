"""What a check of a layer found, as data."""

import json
from typing import Any, Literal, NamedTuple

from ...spec.record import Record
from .checks import TIERS
from .options import tiers_named
from .trace import Line

Verdict = Literal["kept", "broken", "not offered", "not judged"]
"""Of a clause or a tier. "not offered" is what the layer does not claim; "not judged", what it
claims, but could not be tried: an earlier fault hid it, an interruption left it out, or something failed that
is no part of the layer."""


class Finding(NamedTuple):
    """A broken clause, with its evidence.

    Parameters
    ----------
    check, tier, clauses
        What found it, and what it breaks.
    why
        What went wrong.
    lines
        The shortest trace that shows it.
    seen_in
        In which published software this fault was seen, or None.
    """

    check: str
    tier: str
    clauses: tuple[str, ...]
    why: str
    lines: tuple[Line, ...]
    seen_in: str | None


class CheckResult(NamedTuple):
    """How one check went.

    Parameters
    ----------
    name, tier, clauses, asks
        The check.
    verdict
        How it went.
    why_not
        Why it was not offered or not judged, or None.
    findings
        What it found.
    histories, schedules
        How many it tried.
    seconds
        How long it took.
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


class Report(NamedTuple):
    """All that was found out about a layer.

    Parameters
    ----------
    subject
        What was judged, in words.
    profile, seed
        How; the same again gives the same examples.
    version
        Of this library.
    checks
        Every check, in order.
    finished
        False if it was interrupted.
    notes
        What the reader should know, such as that the factory printed something.
    """

    subject: str
    profile: str
    seed: int
    version: str
    checks: tuple[CheckResult, ...]
    finished: bool = True
    notes: tuple[str, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that is wrong."""
        return tuple(finding for check in self.checks for finding in check.findings)

    @property
    def tiers(self) -> dict[str, Verdict]:
        """The verdict on each tier that was asked about."""
        asked = {each.tier for each in self.checks}
        return {
            tier: _all_of([each.verdict for each in self.checks if each.tier == tier])
            for tier in TIERS
            if tier in asked
        }

    @property
    def clauses(self) -> dict[str, Verdict]:
        """The verdict on each clause that some check asked about."""
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
            elif "kept" in known:
                verdicts[clause] = "kept"
            else:
                verdicts[clause] = "not judged" if {"broken", "not judged"} & {*known} else "not offered"
        return verdicts

    def keeps(self, *tiers: str) -> bool:
        """Tell whether the tiers are kept; without any, whether nothing that is offered is broken.

        A tier that is required must be offered, too; and a report that was interrupted keeps nothing. What
        could not be judged is not kept either. ``ValueError`` if there is no such tier.
        """
        if tiers:
            tiers_named(tiers)
        if not self.finished:
            return False
        found = self.tiers
        if tiers:
            return all(found.get(tier) == "kept" for tier in tiers)
        return all(verdict in ("kept", "not offered") for verdict in found.values())

    def as_json(self) -> str:
        """Return it as JSON, for other programs."""
        return json.dumps(
            {
                "subject": self.subject,
                "profile": self.profile,
                "seed": self.seed,
                "version": self.version,
                "finished": self.finished,
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
    severity: tuple[Verdict, ...] = ("broken", "not judged", "kept", "not offered")
    return next((verdict for verdict in severity if verdict in verdicts), "not offered")


def _plain(finding: Finding) -> dict[str, Any]:
    lines = [
        {
            **line._asdict(),
            "standing": line.current._asdict() if isinstance(line.current, Record) else line.current,
        }
        for line in finding.lines
    ]
    return {**finding._asdict(), "lines": lines}
