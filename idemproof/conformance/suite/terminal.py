"""The report for the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .kinds import Kind
from .report import Report
from .report_text import OTHER_KEY, Summary, commands_of, grouped, seen_by, summary, tier_of, without_details
from .trace_table import laid_out, wrapped
from .wording import Group, LeftOut, TierCounts, clause_text, contents_of, meanings_of

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
_VERDICTS = {
    "kept": "green",
    "broken": "bold red",
    "not offered": "dim",
    "not judged": "yellow",
    "not run": "yellow",
}
_WIDEST = 120
_NARROW = 78
"""The width below which the table of tiers has no space for the clauses; they follow it then."""
_MOST = 3
"""How many clauses are quoted for a finding without a trace: an exception breaks every clause it meets."""
_BRIEF = 3
"""The maximum number of lines for a group that is not shown in full."""


def show(report: Report, console: Console, command: str | None = None, required: Sequence[str] = ()) -> None:
    """Print a report.

    Parameters
    ----------
    report
        The report.
    console
        The console to print to.
    command
        The command that repeats the run; a Python expression if None.
    required
        The tiers that were required.
    """
    contents = contents_of(report, command, required)
    width = min(console.width, _WIDEST)
    console.print(Text(report.subject, "bold"), highlight=False)
    _print(console, f"profile {report.profile}, seed {report.seed}, idemproof {report.version}")
    console.print()
    console.print(_tiers(contents.tiers, report.kind, narrow=width < _NARROW), width=width)
    if width < _NARROW:
        for each in contents.tiers:
            if each.broken:
                _print(console, f"Clauses broken in {each.tier}: {', '.join(each.broken)}.")
    _show_all(console, summary(grouped(report.findings)), width, by_command=command is not None)
    if report.findings and report.kind.terms:
        console.print()
        _print(console, report.kind.terms, "dim")
    _show_left_out(console, contents.left_out, report.kind)
    for note in contents.notes:
        _print(console, f"Note: {note}")
        console.print()
    unclear = not report.findings and report.aborted is None
    style = "bold green" if contents.keeps else "bold yellow" if unclear else "bold red"
    _print(console, contents.verdict, style)
    console.print(f"To run it again: {contents.command}", soft_wrap=True, highlight=False, markup=False)


def _tiers(tiers: Sequence[TierCounts], kind: Kind, *, narrow: bool) -> Table:
    table = Table(box=None, padding=(0, 1 if narrow else 2, 0, 0))
    table.add_column("tier", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("kept", justify="right", no_wrap=True)
    if not narrow:
        table.add_column("clauses broken", overflow="fold")
    for heading in (*kind.counts, "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in tiers:
        table.add_row(
            each.tier,
            Text(each.verdict, _VERDICTS[each.verdict]),
            str(len(each.kept)),
            *([] if narrow else [", ".join(each.broken) or "none"]),
            f"{each.histories:,}",
            f"{each.schedules:,}",
            f"{each.seconds:.1f}",
        )
    return table


def _show_all(console: Console, found: Summary, width: int, *, by_command: bool) -> None:
    if found.preface:
        console.print()
        _print(console, found.preface)
    for group in found.full:
        _show_in_full(console, group, width)
    if found.brief:
        console.print()
        _print(console, f"ALSO BROKEN, after {'this' if len(found.full) == 1 else 'these'}:", "bold red")
        for group in found.brief:
            _show_briefly(console, group)
    if found.hidden:
        where = (
            "--html FILE writes a page with all of them"
            if by_command
            else "report.findings holds all of them"
        )
        console.print()
        _print(console, f"{found.hidden} more finding{'s' * (found.hidden != 1)}: {where}.", "dim")


def _show_briefly(console: Console, group: Group) -> None:
    named = ", ".join(group.clauses[:_MOST])
    if len(group.clauses) > _MOST:
        named += f" and {len(group.clauses) - _MOST} more"
    count = len(group.found_by)
    by = f"{tier_of(group)}, {count} check{'s' * (count != 1)}"
    width = min(console.width, _WIDEST) - 4
    heading = f"{named} ({group.consequence.name}; {by})"
    lines = wrapped(f"{heading}: {group.why}", width)
    if len(lines) > _BRIEF:
        lines = wrapped(f"{heading}: {without_details(group.why)}", width)
    if len(lines) > _BRIEF:
        del lines[_BRIEF:]
        lines[-1] = f"{lines[-1][: width - 2].rstrip(' ,;:')} …"
    for number, line in enumerate(lines):
        text = Text(f"{'    ' if number else '  '}{line}")
        if not number:
            text.stylize("bold", 2, 2 + len(named))
        console.print(text, no_wrap=True, crop=False, highlight=False)


def _show_in_full(console: Console, group: Group, width: int) -> None:
    console.print()
    heading = Text(f"BROKEN: {', '.join(group.clauses)}", "bold red").wrap(console, width)
    for line in heading:
        line.rstrip()
    heading[-1].append(f" {'─' * (width - len(heading[-1]) - 1)}", "bright_green")
    for line in heading:
        console.print(line, no_wrap=True, highlight=False)
    for row in laid_out(group.lines, width):
        line = Text.assemble(*((piece.text, _STYLES[piece.kind]) for piece in row))
        line.rstrip()
        console.print(line, no_wrap=True, crop=False, highlight=False)
    if group.lines:
        console.print()
    _print(console, group.why, "bold")
    _print(console, f"Consequence: {group.consequence.says}", "red")
    for name in group.clauses if group.lines else group.clauses[:_MOST]:
        _indented(console, Text.assemble((name, "bold"), " ", clause_text(name)))
    for fault in group.seen_in:
        _print(console, f"Seen in: {fault.rstrip('.')}.")
    _print(console, seen_by(group), "dim")
    if commands := commands_of(group):
        _print(console, f"To send these requests again, {OTHER_KEY}:")
        for each in commands:
            console.print(f"  {each}", soft_wrap=True, highlight=False, markup=False)


def _show_left_out(console: Console, left_out: Sequence[LeftOut], kind: Kind) -> None:
    console.print()
    for each in left_out:
        _print(console, f"{each.verdict.capitalize()}, because {each.why}:", _VERDICTS[each.verdict])
        _indented(console, Text(each.summary))
    for verdict, meaning in meanings_of(kind).items():
        if any(each.verdict == verdict for each in left_out):
            _print(console, meaning, "dim")
    if left_out:
        console.print()


def _print(console: Console, sentence: str, style: str = "") -> None:
    for line in Text(sentence, style).wrap(console, min(console.width, _WIDEST)):
        console.print(line, highlight=False)


def _indented(console: Console, words: Text) -> None:
    for line in words.wrap(console, min(console.width, _WIDEST) - 2):
        console.print(Text("  ").append_text(line), highlight=False)
