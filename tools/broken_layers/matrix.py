"""Which check finds which broken layer: writes the kill matrix.

``python tools/regenerate.py kill-matrix`` judges every broken layer by the default profile, which takes about
half an hour, and fails with a sentence if the suite has missed something or raised a false alarm.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from idemproof.conformance.suite.runner import checks

from .exhibits import BROKEN, CORRECT, Animal
from .verdicts import Verdict, complaints, judge_all

REPORT = "kill-matrix.md"

_HEAD = """\
# Does the suite see?

{broken} layers, each wrong in one way, and {correct} that are right, each in its own way, judged by the
`{profile}` profile in {minutes} minutes. **x**: the layer breaks this clause, and is found to. **+**: found
besides, for one fault has many consequences. **?**: broken, and not found. This page is written by the suite
itself: `python tools/regenerate.py kill-matrix`. The layers are in
[tools/broken_layers](../tools/broken_layers), a few lines each.
"""


def page(
    broken: Mapping[str, Animal],
    correct: Mapping[str, Animal],
    verdicts: Sequence[Verdict],
    profile: str,
    minutes: int,
) -> str:
    """Return the kill matrix, in Markdown."""
    of = {verdict.name: verdict for verdict in verdicts}
    clauses = _clauses(broken, of)
    lines = [
        _HEAD.format(broken=len(broken), correct=len(correct), profile=profile, minutes=minutes),
        "## Broken layers\n",
        f"| layer | what is wrong | found in | seconds | {' | '.join(clauses)} |",
        f"|{'---|' * (4 + len(clauses))}",
    ]
    for name, animal in broken.items():
        seen = {tier for tiers in of[name].found.values() for tier in tiers}
        first = next((tier for tier in animal.tiers if tier in seen), "")
        marks = [_mark(animal, of[name], clause) for clause in clauses]
        wrong = _escaped(animal.sentence)
        lines.append(f"| {name} | {wrong} | {first} | {of[name].seconds:.0f} | {' | '.join(marks)} |")
    lines += ["\n## Seen in published software\n", "| layer | seen in |", "|---|---|"]
    lines += [f"| {name} | {_escaped(animal.seen_in)} |" for name, animal in broken.items() if animal.seen_in]
    lines += ["\n## What finds it\n", "| clause | layers | found by |", "|---|---|---|"]
    for clause in clauses:
        layers = [name for name in broken if clause in of[name].found]
        by = sorted({check for name in layers for check in of[name].by[clause]})
        lines.append(f"| {clause} | {len(layers)} | {', '.join(by)} |")
    lines += [
        "\n## Right layers\n",
        "| layer | how it is made | told broken | seconds |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {_escaped(animal.sentence)} | {', '.join(of[name].found) or 'nothing'} | "
        f"{of[name].seconds:.0f} |"
        for name, animal in correct.items()
    ]
    return "\n".join(lines) + "\n"


def _clauses(broken: Mapping[str, Animal], of: Mapping[str, Verdict]) -> list[str]:
    named = {clause for animal in broken.values() for clause in animal.violates}
    found = {clause for name in broken for clause in of[name].found}
    return sorted(named | found, key=lambda clause: (clause.partition("-")[0], int(clause.partition("-")[2])))


def _mark(animal: Animal, verdict: Verdict, clause: str) -> str:
    found = clause in verdict.found
    if clause in animal.violates:
        return "x" if animal.violates[clause] in verdict.found.get(clause, ()) else "?"
    return "+" if found else ""


def _escaped(sentence: str) -> str:
    return sentence.replace("|", "\\|")


def files(root: Path) -> dict[str, str]:  # noqa: ARG001 - it comes from the layers
    """Judge all layers and return the page.

    Raises
    ------
    ValueError
        The suite is to blame: it missed a fault, or raised a false alarm.
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
