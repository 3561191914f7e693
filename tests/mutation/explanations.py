"""Why mutants live: the reasons that were written down, what needs one, and the report of both."""

import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from selections import UNEXPLAINED
from wording import RULE

HERE = Path(__file__).resolve().parent
REPORT = Path("docs", "mutation.md")


class Change(NamedTuple):
    """What a mutation changes, by which it is known again."""

    where: str
    removed: str
    added: str


class Tally(NamedTuple):
    """What became of the mutants of one module.

    Parameters
    ----------
    path
        The module.
    mutants, wording
        How many there are, and how many of them lived and change only words.
    living
        What the others change that lived.
    """

    path: str
    mutants: int
    wording: int
    living: list[Change]


def explanations(folder: Path = HERE) -> dict[Change, str]:
    """Return the reasons that are written down in every ``explained*.toml`` of ``folder``.

    Raises
    ------
    ValueError
        An entry is not complete, or is there twice.
    """
    reasons: dict[Change, str] = {}
    for path in sorted(folder.glob("explained*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("survivor", []):
            if set(entry) != {"where", "removed", "added", "reason"} or not entry["reason"].strip():
                raise ValueError(f"{path.name}: where, removed, added and a reason are needed: {entry}")
            change = Change(entry["where"], entry["removed"], entry["added"])
            if change in reasons:
                raise ValueError(f"{path.name}: explained twice: {change}")
            reasons[change] = " ".join(entry["reason"].split())
    return reasons


def complaints(tallies: Iterable[Tally], reasons: dict[Change, str]) -> list[str]:
    """Return what is wrong: survivors without a reason, and reasons for mutants that did not survive."""
    tallies = list(tallies)
    living = {change for tally in tallies for change in tally.living}
    judged = {tally.path for tally in tallies}
    wrong = [f"unexplained:\n{_entry(change)}" for change in sorted(living - reasons.keys())]
    stale = sorted(change for change in reasons.keys() - living if change.where.partition(":")[0] in judged)
    return wrong + [f"explained, but it does not survive:\n{_entry(change)}" for change in stale]


def _entry(change: Change) -> str:
    def quoted(text: str) -> str:
        return f"'''{text}'''" if "\n" in text or "'" in text else f"'{text}'"

    removed, added = quoted(change.removed), quoted(change.added)
    return f'[[survivor]]\nwhere = "{change.where}"\nremoved = {removed}\nadded = {added}\nreason = ""\n'


def report(tallies: Iterable[Tally], reasons: dict[Change, str]) -> str:
    """Return the text of the report."""
    tallies = list(tallies)
    rows = []
    for tally in tallies:
        one_by_one = len(tally.living)
        killed = tally.mutants - tally.wording - one_by_one
        rows.append((f"`{tally.path}`", tally.mutants, killed, tally.wording, one_by_one))
    rows.append(("all", *(sum(column) for column in zip(*(row[1:] for row in rows), strict=True))))
    lines = [
        "# Mutation testing",
        "",
        "mutmut changes each function of the specification, and of the code that runs it, in every small way",
        "that it knows, one at a time. The tests run against each of these mutants. Every surviving mutant",
        "has a reason on this page, or the run fails. It also fails if a mutant with a reason is killed.",
        "A test run that does not end or cannot begin counts as a kill. `tox -e mutation` repeats all of it,",
        "rewrites this page, and lists survivors without a reason.",
        "",
        "| module | mutants | killed | wording | equivalent |",
        "|---|--:|--:|--:|--:|",
        *(f"| {' | '.join(map(str, row))} |" for row in rows),
        "",
        "**Wording.** " + RULE,
        "",
        "**Not mutated**: code outside of functions, such as the table of rows. A test compares the table",
        "with the normative text, and [faults are injected into it](seeded-faults.md). Nor are the modules",
        f"whose survivors have no reasons yet: {', '.join(f'`{each.path}`' for each in UNEXPLAINED)}.",
        "",
        "## The other survivors",
    ]
    for tally in tallies:
        if tally.living:
            lines += ["", f"### `{tally.path}`", "", "| in | change | reason |", "|---|---|---|"]
            for change, times in sorted(Counter(tally.living).items()):
                function = change.where.partition(": ")[2]
                change_text = f"{_code(change.removed)} → {_code(change.added)}"
                often = f" ({times} times)" if times > 1 else ""
                lines.append(f"| `{function}` | {change_text}{often} | {_cell(reasons[change])} |")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    return (
        "<br>".join(
            f"`` {_cell(line)} ``" if "`" in line else f"`{_cell(line)}`" for line in text.split("\n")
        )
        if text
        else "nothing"
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
