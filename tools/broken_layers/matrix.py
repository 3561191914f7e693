"""Writes the kill matrix: which check finds which broken layer, as a page and as the record that tests read.

``python tools/regenerate.py kill-matrix`` runs every check on every broken layer, which takes about six
minutes. It fails with a message if the suite misses a fault, or if a check finds none.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from idemproof.conformance.suite.checks import TIERS, Check
from idemproof.conformance.suite.runner import checks

from .exhibits import BROKEN, CORRECT, Sample
from .verdicts import RECORD, Found, Verdict, breaches, complaints, in_order, judge_all

REPORT = "kill-matrix.md"

_HEAD = """\
# Kill matrix

The conformance suite tested {broken} broken layers, each with one fault, with the bounds of the `quick`
profile. The tables list the clauses that it finds broken. A clause in **bold** is one that the fault itself
breaks; "(missed)" means that the suite does not find it. The other clauses are broken as a consequence.

`python tools/regenerate.py kill-matrix` writes this page and its data, [kill-matrix.json](kill-matrix.json).
The layers are in [tools/broken_layers](../tools/broken_layers), a few lines each.

On each change, CI runs on each broken layer the checks that find the clauses in bold, and the whole suite on
each correct layer. Only the nightly run judges all of by-a-file, which is slow, and of the counterparts of
layers that break CAS-12 or CAS-13. `tox -e nightly` runs every check on every layer, and the named tiers with
20 seeds.
"""

_SHOWN = 3
"""The number of layers of a check that are shown before the fold."""


def page(
    broken: Mapping[str, Sample],
    correct: Mapping[str, Sample],
    verdicts: Sequence[Verdict],
    suite: Sequence[Check],
) -> str:
    """Return the kill matrix, in Markdown."""
    of = {verdict.name: verdict.found for verdict in verdicts}
    lines = [
        _HEAD.format(broken=len(broken)),
        *("## Broken layers\n", "Grouped by the first tier that finds them."),
    ]
    tiers = {name: {tier for _, tier in breaches(of[name], suite)} for name in broken}
    first = {name: next((tier for tier in broken[name].tiers if tier in tiers[name]), "") for name in broken}
    for tier in (*TIERS, ""):
        names = [name for name in broken if first[name] == tier]
        if names:
            title = f"Found in the {tier} tier" if tier else "Not found"
            lines += [f"\n### {title}: {len(names)}\n", "| layer | fault | clauses |", "|---|---|---|"]
            lines += [
                f"| {name} | {escaped(broken[name].sentence)} | {_marks(broken[name], of[name], suite)} |"
                for name in names
            ]
    lines += ["\n## Seen in published software\n", "| layer | seen in |", "|---|---|"]
    lines += [f"| {name} | {escaped(sample.seen_in)} |" for name, sample in broken.items() if sample.seen_in]
    lines += ["\n## Checks\n", "Stress tests find faults by chance, so they are not counted.\n"]
    lines += ["| check | layers that it finds | layers that only it finds |", "|---|---:|---|"]
    for check in suite:
        finds = [name for name in broken if check.name in of[name]]
        if finds:
            only = [name for name in finds if len(of[name]) == 1]
            lines.append(f"| {check.name} | {len(finds)} | {folded(only, _SHOWN)} |")
    lines += ["\n## Clauses\n", "| clause | layers | checks |", "|---|---:|---:|"]
    lines += [_clause_line(clause, of) for clause in _clauses(broken, of)]
    lines += [
        "\n## Correct layers\n",
        "No check has a finding in these.\n",
        "| layer | design |",
        "|---|---|",
    ]
    lines += [f"| {name} | {escaped(sample.sentence)} |" for name, sample in correct.items()]
    return "\n".join(lines) + "\n"


def _clause_line(clause: str, of: Mapping[str, Found]) -> str:
    by = {
        name: {check for check, clauses in found.items() if clause in clauses} for name, found in of.items()
    }
    layers = [name for name in of if by[name]]
    return f"| {clause} | {len(layers)} | {len(set().union(*by.values()))} |"


def _clauses(broken: Mapping[str, Sample], of: Mapping[str, Found]) -> list[str]:
    named = {clause for sample in broken.values() for clause in sample.violates}
    return sorted(named.union(*(_all(found) for found in of.values())), key=in_order)


def _all(found: Found) -> set[str]:
    return {clause for clauses in found.values() for clause in clauses}


def _marks(sample: Sample, found: Found, suite: Sequence[Check]) -> str:
    """Return the clauses that the fault breaks, and in a fold those that are broken as a consequence."""
    named = sorted(sample.violates, key=in_order)
    seen = breaches(found, suite)
    marks = [
        f"**{clause}**" if (clause, sample.violates[clause]) in seen else f"**{clause} (missed)**"
        for clause in named
    ]
    return folded([*marks, *sorted(_all(found) - set(named), key=in_order)], len(marks))


def folded(items: Sequence[str], shown: int) -> str:
    """Return a list with all but the first items in a fold; a single further item is not folded."""
    if len(items) <= shown + 1:
        return ", ".join(items)
    summary = f"<summary>and {len(items) - shown} others</summary>"
    return f"{', '.join(items[:shown])}<details>{summary}{', '.join(items[shown:])}</details>"


def escaped(sentence: str) -> str:
    """Return a sentence for a cell of a table."""
    return sentence.replace("|", "\\|")


def files(root: Path) -> dict[str, str]:  # noqa: ARG001 - it comes from the layers
    """Test all broken layers, and return the page and the record.

    Raises
    ------
    ValueError
        The suite missed a fault, or a check found none.
    """
    verdicts = judge_all(lambda verdict: sys.stderr.write(f"{verdict.seconds:6.1f} s  {verdict.name}\n"))
    suite = checks()
    wrong = list(complaints(BROKEN, verdicts, suite))
    if wrong:
        raise ValueError("\n".join(wrong))
    lines = (f" {json.dumps(each.name)}: {json.dumps(each.found)}" for each in verdicts)
    record = "{\n" + ",\n".join(lines) + "\n}\n"
    return {REPORT: page(BROKEN, CORRECT, verdicts, suite), RECORD: record}
