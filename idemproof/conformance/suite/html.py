"""The report as one page of HTML, which needs nothing else: no network, no script."""

import re
from collections.abc import Sequence
from html import escape

from ..clauses import clauses_of, protocol_text
from .html_style import STYLE
from .report import Report, Verdict
from .report_text import grouped
from .trace_diagram import picture
from .trace_table import plain
from .wording import Group, LeftOut, TierCounts, Told, clause_text, clean, found_by, reported, shortest

_PURPOSE = (
    "This page says which clauses of the idempotency protocol a persistence layer keeps, and shows, for each "
    "that is broken, the shortest trace that breaks it. A <em>persistence layer</em> keeps the records that "
    "let an operation run once although it is asked for twice."
)

_DESKTOP, _PHONE = 840, 344
"""How wide a picture is."""

_COLUMNS = 100
"""How wide a trace is that is told as text."""

_CLASSES: dict[Verdict, str] = {
    "kept": "kept",
    "broken": "broken",
    "not offered": "not-offered",
    "not judged": "not-judged",
}


def page(report: Report, command: str | None = None, required: Sequence[str] = ()) -> str:
    """Return a report as a page.

    Parameters
    ----------
    report
        What was found.
    command
        How to run it again; in Python's words if None.
    required
        The tiers that were required.
    """
    tells = reported(report, command, required)
    groups = grouped(report.findings)
    title = f"Conformance of {report.subject}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="verdict {_verdict_of(tells, broken=bool(groups))}">{escape(tells.verdict)}</p>',
        f"<p>{_PURPOSE}</p>",
        _facts(report, tells.command),
        "<h2>Tiers</h2>",
        _tiers(tells.tiers),
        *(["<h2>What is broken</h2>"] if groups else []),
        *(_finding(group, index) for index, group in enumerate(groups, 1)),
        "<h2>Clauses</h2>",
        _matrix(report),
        *_left_out(tells.left_out),
        *_notes(tells.notes),
    ]
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        "</body>\n</html>\n"
    )


def _verdict_of(tells: Told, *, broken: bool) -> str:
    return "kept" if tells.keeps else "broken" if broken else "not-judged"


def _facts(report: Report, command: str) -> str:
    facts = {
        "Profile": escape(report.profile),
        "Seed": str(report.seed),
        "Judged by": f"idemproof {escape(report.version)}",
        "To run it again": f"<code>{escape(command)}</code>",
    }
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{said}</dd>" for name, said in facts.items()) + "</dl>"


def _tiers(tiers: Sequence[TierCounts]) -> str:
    rows = [
        f"<tr><th scope=row>{each.tier}</th><td>{_badge(each.verdict)}</td><td class=n>{len(each.kept)}</td>"
        f"<td>{_ids(each.broken)}</td><td class=n>{each.histories:,}</td>"
        f"<td class=n>{each.schedules:,}</td><td class=n>{each.seconds:.1f}</td></tr>"
        for each in tiers
    ]
    heads = (
        "<th>tier</th><th>verdict</th><th class=n>kept</th><th>clauses broken</th><th class=n>histories</th>"
        "<th class=n>schedules</th><th class=n>seconds</th>"
    )
    return f'<div class="wide"><table><tr>{heads}</tr>{"".join(rows)}</table></div>'


def _finding(group: Group, index: int) -> str:
    clauses = "".join(f"<dt>{name}</dt><dd>{_marked_up(clause_text(name))}</dd>" for name in group.clauses)
    seen = "".join(f"<p>Seen in: {escape(fault)}</p>" for fault in group.seen_in)
    pictures = ""
    if group.lines:
        name = f"What happened, step by step. {group.why}"
        pictures = (
            f'<div class="wide desktop">{picture(group.lines, _DESKTOP, name)}</div>'
            f'<div class="wide phone">{picture(group.lines, _PHONE, name)}</div>'
        )
    return (
        f'<section id="finding-{index}"><h3>{index}. {escape(group.why)}</h3>{pictures}'
        f'<dl class="clauses">{clauses}</dl>{seen}<p class="small">{escape(found_by(group))}</p>'
        f"{_others(group)}</section>"
    )


def _others(group: Group) -> str:
    """Return the findings that are told by another's trace, each with its own, to be unfolded."""
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
    summary = (
        f"{len(others)} more finding{'s' * (len(others) != 1)} that say{'s' * (len(others) == 1)} the same"
    )
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


def _left_out(left_out: Sequence[LeftOut]) -> list[str]:
    items = [
        f"<li>{_badge(each.verdict)} for {escape(each.why)}: {escape(each.reported)}{_names(each)}</li>"
        for each in left_out
    ]
    return ["<h2>What was not asked</h2>", f"<ul>{''.join(items)}</ul>"] if items else []


def _names(each: LeftOut) -> str:
    names = ", ".join(each.names)
    return "" if names == each.reported else f"<details><summary>which</summary>{escape(names)}</details>"


def _notes(notes: Sequence[str]) -> list[str]:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return ["<h2>Notes</h2>", f"<ul>{items}</ul>"] if items else []


def _badge(verdict: Verdict) -> str:
    return f'<span class="badge {_CLASSES[verdict]}">{verdict}</span>'


def _ids(clauses: Sequence[str]) -> str:
    return ", ".join(f'<span class="id">{name}</span>' for name in clauses) or "none"


def _marked_up(clause: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(clause))
