"""Selects findings for a report: groups similar ones, sorts by severity, and shows only a few in full."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import starmap
from pathlib import Path
from typing import NamedTuple

from .consequences import CONSEQUENCES
from .kinds import LAYER_TIERS, rank_of
from .report import Finding
from .wording import Group, clean, groups_of, shortest

IN_FULL = 3
"""How many groups the terminal shows with their traces."""

OTHER_KEY = "with another key if the service still has this one"
"""How to send requests again."""

_NAMED = 3
"""How many of the checks that found the same fault are named."""

_RAISED = re.compile(r"The layer raised \w+(?:: (?:(?!\. (?:No interleaving|Found by) )[^:(])*)?")
"""The error that a layer raised, up to the particulars of its message, or the place."""

_PLACE = re.compile(rf"\(line \d+ of (?!{re.escape(str(Path(__file__).parents[1]))})")
"""Where the layer raised, unless it is in this package."""

_PARTICULARS = (
    (re.compile(r"\('[^']*', '(?:INPROGRESS|COMPLETED)'.*?\)|\bRecord\(.*?\)"), "a record"),
    (re.compile(r"conformance-[0-9a-f]+-[0-9a-f]+#[^'\"\s,]*"), "a key"),
    (re.compile(r"\b(?:alice|bob|carol|client \d+)\b"), "a client"),
    (re.compile(r"\d[\d,]*"), "0"),
)
"""The parts that differ between similar findings, and their placeholders."""

_DETAILS = re.compile(r": .+?(?=\. [A-Z]|\.?$)")
"""The text from a colon to the end of the sentence."""


class Summary(NamedTuple):
    """The selection of groups for a short report.

    Parameters
    ----------
    full
        The groups that are shown with their traces.
    brief
        The groups that are shown in a line.
    preface
        A sentence that may explain most of the findings, or None.
    hidden
        The number of findings whose traces are not shown.
    """

    full: list[Group]
    brief: list[Group]
    preface: str | None
    hidden: int


def grouped(findings: Sequence[Finding]) -> list[Group]:
    """Group similar findings, and sort the groups by severity, by tier and by the length of their traces."""
    return sorted(map(_with_place, groups_of(findings, shape)), key=_how_involved)


def shape(why: str) -> str:
    """Return a sentence without its keys, records, names and numbers, so that similar ones are equal."""
    for pattern, placeholder in _PARTICULARS:
        why = pattern.sub(placeholder, why)
    raised = _RAISED.match(why)
    return raised[0].rstrip(" .") if raised else without_details(why)


def without_details(why: str) -> str:
    """Return a sentence without the text after its colon, unless the layer raised an error."""
    return why if _RAISED.match(why) else _DETAILS.sub("", why, count=1)


def summary(groups: Sequence[Group]) -> Summary:
    """Select the first few groups that each break a new clause to be shown in full."""
    full: list[Group] = []
    shown: set[str] = set()
    for each in groups:
        if len(full) < IN_FULL and not shown.issuperset(each.clauses):
            full.append(each)
            shown.update(each.clauses)
    brief = [each for each in groups if each not in full]
    tiers = {tier_of(each) for each in groups}
    preface = None
    if LAYER_TIERS[0] in tiers and len(tiers) > 1:
        preface = (
            f"The {LAYER_TIERS[0]} tier is broken, and all other tiers build on it: fix it first, because "
            "it may explain the rest."
        )
    return Summary(full, brief, preface, sum(len(each.members) for each in groups) - len(full))


def tier_of(group: Group) -> str:
    """Return the first tier that has a finding of the group."""
    return min((each.tier for each in group.members), key=rank_of)


def seen_by(group: Group) -> str:
    """Return which checks found the fault: the first by name, many others as a number for each tier."""
    first, *others = dict.fromkeys((each.check, each.tier) for each in group.members)
    sentence = f"Found by {first[0]} ({first[1]})"
    if others:
        more = f"{len(others)} more check{'s' * (len(others) != 1)}"
        counts = Counter(tier for _, tier in others)
        parts = starmap("{} ({})".format, others if len(others) <= _NAMED else counts.items())
        sentence += f"; seen by {more}: {', '.join(parts)}"
    elif group.others:
        sentence += f"; {group.others + 1} findings"
    return f"{sentence}."


def commands_of(group: Group) -> tuple[str, ...]:
    """Return the commands that repeat the trace which represents the group."""
    return tuple(map(clean, shortest(group.members).commands))


def _with_place(group: Group) -> Group:
    """Add where the layer raised, if any finding of the group contains the place."""
    if not _RAISED.match(group.why) or _PLACE.search(group.why):
        return group
    with_place = (each.why for each in group.members if _PLACE.search(each.why))
    return group._replace(why=clean(next(with_place, group.why)))


def _how_involved(group: Group) -> tuple[int, int, bool, int]:
    tier = tier_of(group)
    lengths = [len(each.lines) for each in group.members if each.tier == tier and each.lines]
    return CONSEQUENCES.index(group.consequence), rank_of(tier), not lengths, min(lengths, default=0)
