"""How findings are told: those that say the same once, the most basic first, and only a few in full."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import starmap
from pathlib import Path
from typing import NamedTuple

from .checks import TIERS
from .report import Finding
from .wording import Group, clean, groups_of

IN_FULL = 3
"""How many groups the terminal tells with their traces."""

_NAMED = 3
"""How many of the checks that saw the same are named."""

_RAISED = re.compile(r"The layer raised \w+(?:: (?:(?!\. (?:No interleaving|Found by) )[^:(])*)?")
"""What a layer raised, up to where its words turn to particulars, or to the place."""

_PLACE = re.compile(rf"\(line \d+ of (?!{re.escape(str(Path(__file__).parents[1]))})")
"""Where the layer raised, unless it is in this package."""

_PARTICULARS = (
    (re.compile(r"\('[^']*', '(?:INPROGRESS|COMPLETED)'.*?\)|\bRecord\(.*?\)"), "a record"),
    (re.compile(r"conformance-[0-9a-f]+-[0-9a-f]+#[^'\"\s,]*"), "a key"),
    (re.compile(r"\b(?:alice|bob|carol|client \d+)\b"), "somebody"),
    (re.compile(r"\d[\d,]*"), "0"),
)
"""What differs between findings that say the same, and what stands for it."""

_DETAILS = re.compile(r": .+?(?=\. [A-Z]|\.?$)")
"""What follows a colon, up to the end of the sentence."""


class Summary(NamedTuple):
    """What a short report tells of all groups.

    Parameters
    ----------
    full
        Those that are told with their traces.
    brief
        The others, for which a line is enough.
    preface
        What explains most of it, as a sentence; or None.
    hidden
        How many findings there are besides those whose traces are told.
    """

    full: list[Group]
    brief: list[Group]
    preface: str | None
    hidden: int


def grouped(findings: Sequence[Finding]) -> list[Group]:
    """Group the findings that say the same, and put first what is most basic: its tier, then its trace."""
    return sorted(map(_with_place, groups_of(findings, shape)), key=_how_involved)


def shape(why: str) -> str:
    """Return a sentence without its keys, records, names and numbers: what it shares with others like it."""
    for found, instead in _PARTICULARS:
        why = found.sub(instead, why)
    raised = _RAISED.match(why)
    return raised[0].rstrip(" .") if raised else without_details(why)


def without_details(why: str) -> str:
    """Return a sentence without what follows its colon; what a layer raised is no detail."""
    return why if _RAISED.match(why) else _DETAILS.sub("", why, count=1)


def summary(groups: Sequence[Group]) -> Summary:
    """Choose what to tell in full: the first few of which each breaks a clause that none before it breaks."""
    full: list[Group] = []
    shown: set[str] = set()
    for each in groups:
        if len(full) < IN_FULL and not shown.issuperset(each.clauses):
            full.append(each)
            shown.update(each.clauses)
    brief = [each for each in groups if each not in full]
    later = any(tier_of(each) != TIERS[0] for each in groups)
    preface = None
    if later and tier_of(groups[0]) == TIERS[0]:
        preface = (
            f"The {TIERS[0]} tier is broken, and all other tiers build on it: fix it first, because it may "
            "explain the rest."
        )
    return Summary(full, brief, preface, sum(len(each.members) for each in groups) - len(full))


def tier_of(group: Group) -> str:
    """Return the first tier that shows it."""
    return min((each.tier for each in group.members), key=TIERS.index)


def seen_by(group: Group) -> str:
    """Return which checks found it: the first of them, and of many others how many in each tier."""
    first, *others = dict.fromkeys((each.check, each.tier) for each in group.members)
    said = f"Found by {first[0]} ({first[1]})"
    if others:
        more = f"{len(others)} more check{'s' * (len(others) != 1)}"
        counts = Counter(tier for _, tier in others)
        reported = starmap("{} ({})".format, others if len(others) <= _NAMED else counts.items())
        said += f"; seen by {more}: {', '.join(reported)}"
    elif group.others:
        said += f"; {group.others + 1} findings"
    return f"{said}."


def _with_place(group: Group) -> Group:
    """Tell where the layer raised, if any of the findings knows, whichever trace is told."""
    if not _RAISED.match(group.why) or _PLACE.search(group.why):
        return group
    knowing = (each.why for each in group.members if _PLACE.search(each.why))
    return group._replace(why=clean(next(knowing, group.why)))


def _how_involved(group: Group) -> tuple[int, bool, int]:
    tier = tier_of(group)
    lengths = [len(each.lines) for each in group.members if each.tier == tier and each.lines]
    return TIERS.index(tier), not lengths, min(lengths, default=0)
