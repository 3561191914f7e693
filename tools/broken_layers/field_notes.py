"""Generates ``docs/reports``: the findings of the suite in layers of published packages.

The pages contain no times and no keys, so that the same layers give the same pages.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from idemproof.conformance.suite.report import Report
from idemproof.conformance.suite.runner import check
from idemproof.conformance.suite.trace_table import plain
from idemproof.conformance.suite.wording import clause_text, counted, groups_of, unasked, verdict_line

from .published import SPECIMENS, Specimen

SEED = 1

_PLAIN = (
    (re.compile(r"conformance-[0-9a-f]+-[0-9a-f]+#\d+"), "the-key"),
    (re.compile(r"/\S+/site-packages/"), ""),
    (re.compile(r"\b\d{13}\b"), "epoch-ms"),
    (re.compile(r"\b\d{10}\b"), "epoch-s"),
)
"""The parts that differ between runs or machines, and their placeholders."""
_WIDTH = 108


def judged(specimen: Specimen) -> Report:
    """Run the suite on a published layer, and return the report."""
    with ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # one package announces its next version
        factory = specimen.make(stack)
        return check(factory, seed=SEED, capabilities=specimen.capabilities, tiers=specimen.tiers)


def page(specimen: Specimen, report: Report) -> str:
    """Return the report on a layer as Markdown."""
    return "\n".join(_lines(specimen, report)) + "\n"


def index(pages: dict[str, tuple[Specimen, Report]]) -> str:
    """Return the index page."""
    lines = [
        "# Published packages",
        "",
        "These are layers of published packages. The conformance suite tested them unmodified, each on a",
        "store that is simulated in one process, with a clock that the suite moves.",
        "`python tools/regenerate.py reports` writes the pages, with the shortest trace of each",
        "fault.",
        "",
        "The code that calls a layer may protect it against some of these faults. Otherwise a caller loses a",
        "result, or an effect happens twice.",
        "",
        "| layer | package | verdict |",
        "|---|---|---|",
    ]
    lines += [
        f"| [{name}]({name}.md) | {specimen.package} | {verdict_line(report)} |"
        for name, (specimen, report) in pages.items()
    ]
    return "\n".join(lines) + "\n"


def _lines(specimen: Specimen, report: Report) -> Iterator[str]:
    yield f"# {specimen.name}"
    yield ""
    yield f"{report.subject}, of {specimen.package}, on {specimen.store}."
    yield f"Profile {report.profile}, seed {report.seed}."
    yield ""
    yield verdict_line(report)
    yield ""
    yield from _table(
        ("tier", "verdict", "broken", "kept"),
        [(each.tier, each.verdict, ", ".join(each.broken), ", ".join(each.kept)) for each in counted(report)],
    )
    for number, group in enumerate(groups_of(report.findings), 1):
        yield ""
        yield f"## {number}. {', '.join(group.clauses)}"
        yield ""
        yield _plainly(group.why)
        if group.lines:
            lines = [line._replace(what=_plainly(line.what)) for line in group.lines]
            yield ""
            yield "```text"
            yield from (line.rstrip() for line in plain(lines, _WIDTH).splitlines())
            yield "```"
        yield ""
        yield from (f"- **{name}** {clause_text(name)}" for name in group.clauses)
        yield ""
        yield f"Found by {', '.join(group.found_by)}."
    open_checks = unasked(report)
    if open_checks:
        yield ""
        yield "## Not tested"
        yield ""
        yield from (
            f"- {', '.join(f'`{name}`' for name in names)}: {verdict}, because {why}."
            for (verdict, why), names in open_checks.items()
        )


def _plainly(text: str) -> str:
    for found, instead in _PLAIN:
        text = found.sub(instead, text)
    return text


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def files(root: Path) -> dict[str, str]:  # noqa: ARG001 - they come from the layers
    """Run the suite on all published layers, and return the pages by name."""
    pages = {specimen.name: (specimen, judged(specimen)) for specimen in SPECIMENS}
    return {"README.md": index(pages), **{f"{name}.md": page(*found) for name, found in pages.items()}}
