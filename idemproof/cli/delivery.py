"""What commands that judge have in common: options, progress, where reports go, and exit codes."""

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from .targets import refusal

if TYPE_CHECKING:
    from idemproof.conformance import Report

INTERRUPTED = 130
_NOT_JUDGED = 3

SeedOption = Annotated[int | None, typer.Option(help="The random seed, as shown in a report.")]
RequireOption = Annotated[
    list[str] | None,
    typer.Option(metavar="TIER", help="A tier that must be kept. Repeat the option for more tiers."),
]
TierOption = Annotated[
    list[str] | None,
    typer.Option(metavar="TIER", help="Judge only this tier. Repeat the option for more tiers."),
]
JsonOption = Annotated[
    str | None, typer.Option(metavar="FILE", help="Write the report as JSON. Use - for stdout.")
]
HtmlOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the report as a self-contained HTML page.")
]


class Named(Protocol):
    """A check with a name and a tier."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def tier(self) -> str:
        """Its tier."""


def exit_code(report: "Report", required: Sequence[str]) -> int:
    """Return the exit code that a report means."""
    if report.aborted is not None:
        return _NOT_JUDGED if all(each.verdict == "not judged" for each in report.checks) else 1
    if not report.finished:
        return INTERRUPTED
    if report.keeps(*required):
        return 0
    verdicts = {report.tiers[tier] for tier in required or report.tiers}
    wanting = {"broken", "not offered"} if required else {"broken"}
    if verdicts & wanting:
        return 1
    ran = any(each.verdict == "kept" for each in report.checks)
    only_time_was_missing = not required and ran and "not judged" not in verdicts
    return 0 if only_time_was_missing else _NOT_JUDGED


def refuse_places_that_cannot_be_written(json: str | None, html: Path | None) -> None:
    """Refuse the command if a report cannot be written, before anything is judged."""
    if json is not None and html is not None and json != "-" and Path(json).resolve() == html.resolve():
        raise refusal(
            f"Both reports cannot be written to {json!r}: use different files for --json and --html."
        )
    for place in (None if json == "-" else json, html):
        if place is None:
            continue
        folder = Path(place).parent
        if not folder.is_dir() or Path(place).is_dir():
            raise refusal(
                f"{str(place)!r} cannot be written: it is a directory, or its directory does not exist."
            )


@contextmanager
def show_checks(before: str) -> "Iterator[Callable[[Named, int, int], None]]":
    """Show which check runs, on a terminal; ``before`` is what happens before the first one."""
    from rich.console import Console  # noqa: PLC0415 - other commands do without
    from rich.progress import (  # noqa: PLC0415 - same
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(before, total=None)

        def show_progress(check: Named, number: int, total: int) -> None:
            description = f"{check.tier}: {check.name}"
            progress.update(task, total=total, completed=number, description=description)

        yield show_progress


def deliver(
    report: "Report", command: str, required: Sequence[str], json: str | None, html: Path | None
) -> None:
    """Print a report, and write it where it is wanted."""
    from rich.console import Console  # noqa: PLC0415 - as in show_checks

    from idemproof.conformance.suite.html import page  # noqa: PLC0415 - as in check
    from idemproof.conformance.suite.terminal import show  # noqa: PLC0415 - same

    if json == "-":
        typer.echo(report.as_json())
    else:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")
        show(report, Console(), command, required)
    try:
        if json not in (None, "-"):
            Path(str(json)).write_text(report.as_json() + "\n", encoding="utf-8")
        if html is not None:
            html.write_text(page(report, command, required), encoding="utf-8")
    except OSError as failure:
        raise refusal(f"The report cannot be written: {failure}") from None
