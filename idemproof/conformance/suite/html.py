"""The report as a self-contained HTML page, without network access or scripts."""

import re
from collections.abc import Sequence
from html import escape

from ..clauses import clauses_of, protocol_text
from .html_style import STYLE
from .kinds import Kind
from .report import Report, Verdict
from .report_text import OTHER_KEY, commands_of, grouped, summary
from .trace_diagram import diagram
from .trace_table import plain
from .wording import (
    Contents,
    Group,
    LeftOut,
    TierCounts,
    clause_text,
    clean,
    contents_of,
    found_by,
    meanings_of,
    shortest,
)

_DESKTOP, _PHONE = 840, 344
"""The widths of a diagram (CSS pixels)."""

_COLUMNS = 100
"""The width of a trace as text (characters)."""

_CLASSES: dict[Verdict, str] = {
    "kept": "kept",
    "broken": "broken",
    "not offered": "not-offered",
    "not judged": "not-judged",
    "not run": "not-judged",
}


def page(report: Report, command: str | None = None, required: Sequence[str] = ()) -> str:
    """Return a report as an HTML page.

    Parameters
    ----------
    report
        The report.
    command
        The command that repeats the run; a Python expression if None.
    required
        The tiers that were required.
    """
    contents = contents_of(report, command, required)
    groups = grouped(report.findings)
    preface = summary(groups).preface
    title = f"Conformance of {report.subject}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="verdict {_verdict_of(contents, broken=bool(groups))}">{escape(contents.verdict)}</p>',
        f"<p>{report.kind.purpose}</p>",
        *([f"<p>{escape(report.kind.terms)}</p>"] if report.kind.terms else []),
        _facts(report, contents.command),
        "<h2>Tiers</h2>",
        _tiers(contents.tiers, report.kind),
        *(["<h2>What is broken</h2>"] if groups else []),
        *([f"<p>{escape(preface)}</p>"] if preface else []),
        *(_finding(group, index) for index, group in enumerate(groups, 1)),
        "<h2>Clauses</h2>",
        _matrix(report),
        *_left_out(contents.left_out, report.kind),
        *_notes(contents.notes),
    ]
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        "</body>\n</html>\n"
    )


def _verdict_of(contents: Contents, *, broken: bool) -> str:
    return "kept" if contents.keeps else "broken" if broken else "not-judged"


def _facts(report: Report, command: str) -> str:
    facts = {
        "Profile": escape(report.profile),
        "Seed": str(report.seed),
        "Judged by": f"idemproof {escape(report.version)}",
        "To run it again": f"<code>{escape(command)}</code>",
    }
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items()) + "</dl>"


def _tiers(tiers: Sequence[TierCounts], kind: Kind) -> str:
    rows = [
        f"<tr><th scope=row>{each.tier}</th><td>{_badge(each.verdict)}</td><td class=n>{len(each.kept)}</td>"
        f"<td>{_ids(each.broken)}</td><td class=n>{each.histories:,}</td>"
        f"<td class=n>{each.schedules:,}</td><td class=n>{each.seconds:.1f}</td></tr>"
        for each in tiers
    ]
    heads = (
        "<th>tier</th><th>verdict</th><th class=n>clauses kept</th><th>clauses broken</th>"
        f"<th class=n>{kind.counts[0]}</th><th class=n>{kind.counts[1]}</th><th class=n>seconds</th>"
    )
    return f'<div class="wide"><table class="tiers"><tr>{heads}</tr>{"".join(rows)}</table></div>'


def _finding(group: Group, index: int) -> str:
    clauses = "".join(f"<dt>{name}</dt><dd>{_marked_up(clause_text(name))}</dd>" for name in group.clauses)
    seen = "".join(f"<p>Seen in: {escape(fault)}</p>" for fault in group.seen_in)
    diagrams = ""
    if group.lines:
        name = f"What happened, step by step. {group.why}"
        diagrams = (
            f'<div class="wide desktop">{diagram(group.lines, _DESKTOP, name)}</div>'
            f'<div class="wide phone">{diagram(group.lines, _PHONE, name)}</div>'
        )
    consequence = group.consequence
    return (
        f'<section id="finding-{index}"><h3>{index}. {escape(group.why)}</h3>'
        f'<p><span class="badge broken">{consequence.name}</span> {escape(consequence.says)}</p>{diagrams}'
        f'<dl class="clauses">{clauses}</dl>{seen}<p class="small">{escape(found_by(group))}</p>'
        f"{_commands(group)}{_others(group)}</section>"
    )


def _commands(group: Group) -> str:
    """Return the commands that send the requests of a group again, in a fold."""
    lines = "\n".join(escape(each) for each in commands_of(group))
    if not lines:
        return ""
    return (
        f"<details><summary>send these requests again, {OTHER_KEY}</summary>"
        f'<div class="wide"><pre>{lines}</pre></div></details>'
    )


def _others(group: Group) -> str:
    """Return the other findings of a group, each with its own trace, in a fold."""
    first = shortest(group.members)
    others = [each for each in group.members if each is not first]
    if not others:
        return ""
    items = "".join(
        f"<li>{escape(each.check)} ({each.tier}), {_ids(each.clauses)}: {escape(clean(each.why))}"
        + (f'<div class="wide"><pre>{escape(plain(each.lines, _COLUMNS))}</pre></div>' if each.lines else "")
        + "</li>"
        for each in others
    )
    summary = f"{len(others)} more finding{'s' * (len(others) != 1)} of the same kind"
    return f"<details><summary>{summary}</summary><ol>{items}</ol></details>"


def _matrix(report: Report) -> str:
    verdicts = report.clauses
    rows = []
    for name, clause in clauses_of(protocol_text()).items():
        if name not in verdicts:
            continue
        checks = [each.name for each in report.checks if name in each.clauses]
        checks += [
            each.check for each in report.findings if name in each.clauses and each.check not in checks
        ]
        rows.append(
            f'<tr id="{name}"><th scope=row>{name}</th><td>{_badge(verdicts[name])}</td>'
            f"<td>{_marked_up(clause_text(name))}"
            f"<details><summary>{clause.heading}; {len(checks)} check{'s' * (len(checks) != 1)}</summary>"
            f"{escape(', '.join(checks))}</details></td></tr>"
        )
    heads = "<th>clause</th><th>verdict</th><th>says</th>"
    return f'<table class="matrix"><tr>{heads}</tr>{"".join(rows)}</table>'


def _left_out(left_out: Sequence[LeftOut], kind: Kind) -> list[str]:
    items = [
        f"<li>{_badge(each.verdict)} because {escape(each.why)}: {escape(each.summary)}{_names(each)}</li>"
        for each in left_out
    ]
    meanings = [
        f"<p>{escape(meaning)}</p>"
        for verdict, meaning in meanings_of(kind).items()
        if any(each.verdict == verdict for each in left_out)
    ]
    return ["<h2>What was not tested</h2>", *meanings, f"<ul>{''.join(items)}</ul>"] if items else []


def _names(each: LeftOut) -> str:
    names = ", ".join(each.names)
    return "" if names == each.summary else f"<details><summary>which</summary>{escape(names)}</details>"


def _notes(notes: Sequence[str]) -> list[str]:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return ["<h2>Notes</h2>", f"<ul>{items}</ul>"] if items else []


def _badge(verdict: Verdict) -> str:
    return f'<span class="badge {_CLASSES[verdict]}">{verdict}</span>'


def _ids(clauses: Sequence[str]) -> str:
    return ", ".join(f'<span class="id">{name}</span>' for name in clauses) or "none"


def _marked_up(clause: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(clause))
