"""The report in the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from .report import Report
from .story_table import laid_out
from .wording import (
    Group,
    again,
    clause_text,
    clean,
    counted,
    found_by,
    groups_of,
    unasked,
    verdict_line,
)

_STYLES = {
    "frame": "dim",
    "head": "bold",
    "time": "dim",
    "act": "",
    "across": "cyan",
    "quiet": "dim",
    "crash": "red",
    "ABSENT": "dim",
    "INPROGRESS": "yellow",
    "COMPLETED": "green",
}
_VERDICTS = {"kept": "green", "broken": "bold red", "not offered": "dim", "not judged": "yellow"}
_WIDEST = 120
_MOST = 3
"""How many clauses are told in full where nothing but an exception was seen: it breaks whatever is asked."""


def show(report: Report, console: Console, command: str | None = None, required: Sequence[str] = ()) -> None:
    """Print a report.

    Parameters
    ----------
    report
        What was found.
    console
        Where to.
    command
        How to run it again; in Python's words if None.
    required
        The tiers that were required.
    """
    width = min(console.width, _WIDEST)
    console.print(Text(report.subject, "bold"), highlight=False)
    _say(console, f"profile {report.profile}, seed {report.seed}, idemproof {report.version}")
    console.print()
    console.print(_tiers(report), width=width)
    for group in groups_of(report.findings):
        _tell(console, group, width)
    _show_unasked(console, report)
    for note in report.notes:
        _say(console, f"Note: {clean(note)}")
        console.print()
    style = "bold green" if report.keeps(*required) else "bold red"
    _say(console, verdict_line(report, required), style)
    console.print(
        f"To run it again: {command or again(report)}", soft_wrap=True, highlight=False, markup=False
    )


def _tiers(report: Report) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("tier", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("kept", justify="right")
    table.add_column("clauses broken", overflow="fold")
    for heading in ("histories", "schedules", "seconds"):
        table.add_column(heading, justify="right")
    for each in counted(report):
        table.add_row(
            each.tier,
            Text(each.verdict, _VERDICTS[each.verdict]),
            str(len(each.kept)),
            ", ".join(each.broken) or "none",
            f"{each.histories:,}",
            f"{each.schedules:,}",
            f"{each.seconds:.1f}",
        )
    return table


def _tell(console: Console, group: Group, width: int) -> None:
    console.print()
    console.print(Rule(Text(f"BROKEN: {', '.join(group.clauses)}", "bold red"), align="left"), width=width)
    for row in laid_out(group.lines, width):
        line = Text.assemble(*((piece.text, _STYLES[piece.kind]) for piece in row))
        line.rstrip()
        console.print(line, no_wrap=True, crop=False, highlight=False)
    if group.lines:
        console.print()
    _say(console, group.why, "bold")
    for name in group.clauses if group.lines else group.clauses[:_MOST]:
        _indented(console, Text.assemble((name, "bold"), " ", clause_text(name)))
    for fault in group.seen_in:
        _say(console, f"Seen in: {fault.rstrip('.')}.")
    _say(console, found_by(group), "dim")


def _show_unasked(console: Console, report: Report) -> None:
    reasons = unasked(report)
    console.print()
    for (verdict, why), names in reasons.items():
        _say(console, f"{verdict.capitalize()}, for {why}:", _VERDICTS[verdict])
        _indented(console, Text(", ".join(names)))
    if reasons:
        console.print()


def _say(console: Console, sentence: str, style: str = "") -> None:
    for line in Text(sentence, style).wrap(console, min(console.width, _WIDEST)):
        console.print(line, highlight=False)


def _indented(console: Console, words: Text) -> None:
    for line in words.wrap(console, min(console.width, _WIDEST) - 2):
        console.print(Text("  ").append_text(line), highlight=False)
