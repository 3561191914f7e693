"""Writes the kill matrix: which check finds which broken layer.

``python tools/regenerate.py kill-matrix`` tests every broken layer with the default profile, which takes
about half an hour. It fails with a message if the suite misses a fault or raises a false alarm.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from idemproof.conformance.suite.checks import TIERS
from idemproof.conformance.suite.runner import checks

from .exhibits import BROKEN, CORRECT, Sample
from .verdicts import Verdict, complaints, judge_all

REPORT = "kill-matrix.md"

_HEAD = """\
# Kill matrix

The conformance suite tested {broken} broken layers, each with one fault, and {correct} correct layers, each
with a different design, with the `{profile}` profile in {minutes} minutes. The tables list the clauses that
it finds broken. A clause in **bold** is one that the fault itself breaks; "(missed)" means that the suite
does not find it. The other clauses are broken as a consequence.

The suite writes this page itself: `python tools/regenerate.py kill-matrix`. The layers are in
[tools/broken_layers](../tools/broken_layers), a few lines each.
"""

_SHOWN = 3
"""The number of checks of a clause that are shown before the fold."""


def page(
    broken: Mapping[str, Sample],
    correct: Mapping[str, Sample],
    verdicts: Sequence[Verdict],
    profile: str,
    minutes: int,
) -> str:
    """Return the kill matrix, in Markdown."""
    of = {verdict.name: verdict for verdict in verdicts}
    lines = [
        _HEAD.format(broken=len(broken), correct=len(correct), profile=profile, minutes=minutes),
        *("## Broken layers\n", "Grouped by the first tier that finds them."),
    ]
    first = {name: _first_tier(sample, of[name]) for name, sample in broken.items()}
    for tier in (*TIERS, ""):
        names = [name for name in broken if first[name] == tier]
        if names:
            title = f"Found in the {tier} tier" if tier else "Not found"
            lines += [f"\n### {title}: {len(names)}\n", "| layer | fault | clauses |", "|---|---|---|"]
            lines += [
                f"| {name} | {_escaped(broken[name].sentence)} | {_marks(broken[name], of[name])} |"
                for name in names
            ]
    lines += ["\n## Seen in published software\n", "| layer | seen in |", "|---|---|"]
    lines += [f"| {name} | {_escaped(sample.seen_in)} |" for name, sample in broken.items() if sample.seen_in]
    lines += ["\n## Checks by clause\n", "| clause | layers | found by |", "|---|---|---|"]
    for clause in _clauses(broken, of):
        layers = [name for name in broken if clause in of[name].found]
        by = sorted({check for name in layers for check in of[name].by[clause]})
        lines.append(f"| {clause} | {len(layers)} | {_folded([f'`{check}`' for check in by], _SHOWN)} |")
    lines += ["\n## Correct layers\n", "| layer | design | false alarms |", "|---|---|---|"]
    lines += [
        f"| {name} | {_escaped(sample.sentence)} | {', '.join(of[name].found) or 'none'} |"
        for name, sample in correct.items()
    ]
    return "\n".join(lines) + "\n"


def _first_tier(sample: Sample, verdict: Verdict) -> str:
    seen = {tier for tiers in verdict.found.values() for tier in tiers}
    return next((tier for tier in sample.tiers if tier in seen), "")


def _clauses(broken: Mapping[str, Sample], of: Mapping[str, Verdict]) -> list[str]:
    named = {clause for sample in broken.values() for clause in sample.violates}
    found = {clause for name in broken for clause in of[name].found}
    return sorted(named | found, key=_in_order)


def _in_order(clause: str) -> tuple[str, int]:
    family, _, number = clause.partition("-")
    return family, int(number)


def _marks(sample: Sample, verdict: Verdict) -> str:
    """Return the clauses that the fault breaks, and in a fold those that are broken as a consequence."""
    named = sorted(sample.violates, key=_in_order)
    found = [clause for clause in named if sample.violates[clause] in verdict.found.get(clause, ())]
    marks = [f"**{clause}**" if clause in found else f"**{clause} (missed)**" for clause in named]
    return _folded([*marks, *sorted(set(verdict.found) - set(named), key=_in_order)], len(marks))


def _folded(items: Sequence[str], shown: int) -> str:
    """Return a list with all but the first items in a fold; a single further item is not folded."""
    if len(items) <= shown + 1:
        return ", ".join(items)
    summary = f"<summary>and {len(items) - shown} others</summary>"
    return f"{', '.join(items[:shown])}<details>{summary}{', '.join(items[shown:])}</details>"


def _escaped(sentence: str) -> str:
    return sentence.replace("|", "\\|")


def files(root: Path) -> dict[str, str]:  # noqa: ARG001 - it comes from the layers
    """Test all layers, and return the page.

    Raises
    ------
    ValueError
        The suite missed a fault, or raised a false alarm.
    """
    began = time.perf_counter()
    verdicts = judge_all(
        "default", lambda verdict: sys.stderr.write(f"{verdict.seconds:6.1f} s  {verdict.name}\n")
    )
    minutes = round((time.perf_counter() - began) / 60)
    asked = [clause for each in checks() for clause in each.clauses]
    wrong = list(complaints(BROKEN, CORRECT, verdicts, asked))
    if wrong:
        raise ValueError("\n".join(wrong))
    return {REPORT: page(BROKEN, CORRECT, verdicts, "default", minutes)}
