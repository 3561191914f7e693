"""The parts that all forms of the report share: groups of findings, and sentences."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from ..clauses import Clause, clauses_of, protocol_text
from .consequences import CONSEQUENCES, Consequence
from .kinds import Kind
from .report import CheckResult, Finding, Report, Verdict
from .trace import Line

_FEW = 5
"""The maximum number of checks that are listed by name."""


class Group(NamedTuple):
    """Similar findings that a report shows as one.

    Parameters
    ----------
    clauses
        All clauses that they break.
    why, lines
        The sentence and the trace of the finding with the shortest trace.
    seen_in
        The published software in which such faults were seen.
    found_by
        The checks that found them, each with its tier.
    others
        The number of findings that are not shown.
    members
        All findings of the group.
    """

    clauses: tuple[str, ...]
    why: str
    lines: tuple[Line, ...]
    seen_in: tuple[str, ...]
    found_by: tuple[str, ...]
    others: int
    members: tuple[Finding, ...]

    @property
    def consequence(self) -> Consequence:
        """The most severe consequence of its findings."""
        return worst_of(self.members)


class TierCounts(NamedTuple):
    """The counts of one tier: its clauses, histories, schedules and duration (seconds)."""

    tier: str
    verdict: Verdict
    kept: tuple[str, ...]
    broken: tuple[str, ...]
    histories: int
    schedules: int
    seconds: float


class LeftOut(NamedTuple):
    """Checks that were left out for the same reason; ``summary`` lists them, or counts them if many."""

    verdict: Verdict
    why: str
    names: tuple[str, ...]
    summary: str


_NOT_JUDGED = "Not judged: it could not be tested, so nothing is known about it."


def meanings_of(kind: Kind) -> dict[str, str]:
    """Return what a verdict means for checks that were left out."""
    return {"not offered": kind.not_offered, "not judged": _NOT_JUDGED, "not run": kind.not_run}


class Contents(NamedTuple):
    """The contents that every form of a report has."""

    verdict: str
    keeps: bool
    command: str
    tiers: list[TierCounts]
    left_out: list[LeftOut]
    notes: list[str]


def groups_of(findings: Sequence[Finding], shape: Callable[[str], str] = str) -> list[Group]:
    """Group the findings of each check, and checks with similar findings; show the shortest trace.

    ``shape`` returns the part of a sentence by which findings are grouped; by default, all of it.
    """
    alike: dict[str, list[Finding]] = {}
    for members in by_check(findings):
        alike.setdefault(shape(shortest(members).why), []).extend(members)
    return [group_of(members) for members in alike.values()]


def worst_of(findings: Sequence[Finding]) -> Consequence:
    """Return the most severe consequence of some findings."""
    return min((each.consequence for each in findings), key=CONSEQUENCES.index)


def by_check(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Return the findings of each check, in the order of the checks."""
    found: dict[str, list[Finding]] = {}
    for each in findings:
        found.setdefault(each.check, []).append(each)
    return list(found.values())


def shortest(members: Sequence[Finding]) -> Finding:
    """Return the finding with the shortest trace."""
    return min(members, key=lambda each: (not each.lines, len(each.lines)))


def group_of(members: Sequence[Finding]) -> Group:
    """Return findings as one group, shown by the shortest trace."""
    shown = shortest(members)
    return Group(
        in_order({clause for each in members for clause in each.clauses}),
        clean(shown.why),
        shown.lines,
        tuple(dict.fromkeys(clean(each.seen_in) for each in members if each.seen_in)),
        tuple(dict.fromkeys(f"{each.check} ({each.tier})" for each in members)),
        len(members) - 1,
        tuple(members),
    )


def counted(report: Report) -> list[TierCounts]:
    """Return the counts of each tier that was tested."""
    return [
        _counts(tier, verdict, [each for each in report.checks if each.tier == tier])
        for tier, verdict in report.tiers.items()
        if any(each.tier == tier for each in report.checks)
    ]


def _counts(tier: str, verdict: Verdict, asked: list[CheckResult]) -> TierCounts:
    broken = {clause for each in asked for finding in each.findings for clause in finding.clauses}
    not_run = {clause for each in asked if each.verdict == "not run" for clause in each.clauses}
    kept = {clause for each in asked if each.verdict == "kept" for clause in each.clauses} - broken - not_run
    return TierCounts(
        tier,
        verdict,
        in_order(kept),
        in_order(broken),
        sum(each.histories for each in asked),
        sum(each.schedules for each in asked),
        sum(each.seconds for each in asked),
    )


def unasked(report: Report) -> dict[tuple[Verdict, str], list[str]]:
    """Return which checks were not offered, not judged or not run, by verdict and reason."""
    reasons: dict[tuple[Verdict, str], list[str]] = {}
    for each in report.checks:
        if each.why_not is not None and each.verdict not in ("kept", "broken"):
            reasons.setdefault((each.verdict, clean(each.why_not)), []).append(each.name)
    return reasons


def left_out(report: Report) -> list[LeftOut]:
    """Return the checks without a verdict on the layer, by reason; many as a number for each tier."""
    tier_of = {each.name: each.tier for each in report.checks}
    all_of = Counter(tier_of.values())
    return [
        LeftOut(verdict, why, tuple(names), _folded(Counter(tier_of[name] for name in names), all_of, names))
        for (verdict, why), names in unasked(report).items()
    ]


def _folded(counts: Counter[str], all_of: Counter[str], names: Sequence[str]) -> str:
    if len(names) <= _FEW:
        return ", ".join(names)
    shares = {tier: "all" if all_of[tier] == count else f"{count} of" for tier, count in counts.items()}
    return ", ".join(f"{tier} ({share} {all_of[tier]} checks)" for tier, share in shares.items())


def contents_of(report: Report, command: str | None = None, required: Sequence[str] = ()) -> Contents:
    """Return the contents that every form of a report has."""
    return Contents(
        verdict_line(report, required),
        report.keeps(*required),
        command or again(report),
        counted(report),
        left_out(report),
        [clean(note) for note in report.notes],
    )


@cache
def _clauses() -> dict[str, Clause]:
    return clauses_of(protocol_text())


def in_order(ids: "set[str] | Sequence[str]") -> tuple[str, ...]:
    """Return clauses in the order of the protocol."""
    order = {name: number for number, name in enumerate(_clauses())}
    return tuple(sorted(ids, key=lambda name: (order.get(name, len(order)), name)))


def clause_text(name: str) -> str:
    """Return the text of a clause; for a row of the table, as a sentence."""
    clause = _clauses().get(name)
    if clause is None:
        return "A clause of a later version of the protocol."
    if " | " not in clause.text:
        return clause.text
    event, when, then, outcome = clause.text.split(" | ")
    change = "the record is unchanged" if then == "unchanged" else f"the next record is {then}"
    # The last row of an event: "else", perhaps with what is left in parentheses.
    condition = "otherwise" if when == "else" else "when " + re.sub(r"^else \((.+)\)$", r"\1", when)
    return f"{event}, {condition}: {change}; the outcome is {outcome}."


def verdict_line(report: Report, required: Sequence[str] = ()) -> str:
    """Return the verdict as one line."""
    verdicts = report.clauses
    broken = in_order([name for name, verdict in verdicts.items() if verdict == "broken"])
    kept = sum(verdict == "kept" for verdict in verdicts.values())
    if broken:
        line = f"BROKEN: {_number_of_clauses(len(broken))} ({', '.join(broken)}); {kept} kept."
        if report.findings:
            line += f" Worst consequence: {worst_of(report.findings).name}."
    elif report.aborted is not None:
        nothing = all(each.verdict == "not judged" for each in report.checks)
        line = f"{'NOT JUDGED' if nothing else 'BROKEN'}: {clean(report.aborted)}"
    elif not report.finished:
        line = f"INTERRUPTED: {_number_of_clauses(kept)} kept so far, none broken."
    elif not kept and not {"not judged", "not run"} & {*verdicts.values()}:
        line = f"NOTHING JUDGED: no clause was tested, or the {report.kind.noun} offers none."
    elif open_ones := [each for each in report.checks if each.verdict == "not judged"]:
        line = (
            f"NOT ALL JUDGED: {_number_of_clauses(kept)} kept, none broken; "
            f"{len(open_ones)} check{'s' * (len(open_ones) != 1)} could not be judged."
        )
    elif any(each.verdict == "not run" for each in report.checks):
        line = f"NOT ALL RUN: {_number_of_clauses(kept)} kept, none broken."
    else:
        line = f"KEPT: {_number_of_clauses(kept)}; nothing that this {report.kind.noun} offers is broken."
    if broken and not report.finished:
        line += (
            " The run was interrupted."
            if report.aborted is None
            else f" The {report.kind.noun} ended the run."
        )
    return line + _for_lack_of_time(report) + _required(report, required)


def _required(report: Report, required: Sequence[str]) -> str:
    """Return a sentence about the required tiers, or nothing."""
    tiers = report.tiers
    found = {tier: tiers.get(tier, "not judged") for tier in required}
    missing = [f"{tier} is {verdict}" for tier, verdict in found.items() if verdict != "kept"]
    if missing:
        return f" Required, but: {', '.join(missing)}."
    if required:
        return f" Required and kept: {', '.join(tier for tier in report.kind.tiers if tier in required)}."
    return ""


def _for_lack_of_time(report: Report) -> str:
    """Return a sentence about the checks that a slow store left no time for, or nothing."""
    not_run = sum(each.verdict == "not run" for each in report.checks)
    shortened = sum(each.shortened for each in report.checks)
    parts = [f"{count} {how}" for count, how in ((not_run, "not run"), (shortened, "shortened")) if count]
    if not parts:
        return ""
    return f" Of {len(report.checks)} checks, {' and '.join(parts)}, {report.kind.is_slow}."


def again(report: Report) -> str:
    """Return the Python expression that repeats the run."""
    return f"check(factory, profile={report.profile!r}, seed={report.seed})"


def found_by(group: Group) -> str:
    """Return a sentence that names the checks of a group."""
    more = f"; {group.others + 1} findings" if group.others else ""
    return f"Found by {', '.join(group.found_by)}{more}."


def _number_of_clauses(number: int) -> str:
    return f"{number} clause{'' if number == 1 else 's'}"


def clean(text: str) -> str:
    """Return text from a layer on one line, without control characters for the terminal."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode()
        for each in " ".join(text.split())
    )
