"""``idemproof prove``: a proof of the invariants for any number of clients, with its assumptions."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ..proof.prover import Cell, Counterexample, Proof

_MISSING = 'The proof needs z3-solver, which is not installed: pip install "idemproof[cli,proof]"'


def prove(
    only: Annotated[
        str | None,
        typer.Option(help="Clauses, separated by commas, such as INV-1,ROW-0. Default: everything."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Prove the invariants for all records and times, any number of clients, and histories of any length.

    INV-8 is not among them: it is about the engine. The shipped code of the specification is executed with
    symbolic values. Exit code 0: everything is proved. 1: a counterexample is shown, or the solver could not
    decide. 2: there is no such property, or z3-solver is missing.
    """
    from rich.console import Console  # noqa: PLC0415 - other commands do without

    try:
        from ..proof.properties import ASSUMPTIONS, clauses  # noqa: PLC0415 - needs the `proof` extra
        from ..proof.prover import Prover  # noqa: PLC0415 - same
    except ModuleNotFoundError as missing:
        if missing.name != "z3":
            raise
        typer.echo(_MISSING, err=True)
        raise typer.Exit(2) from None

    chosen = None if only is None else [name.strip().upper() for name in only.split(",") if name.strip()]
    unknown = [name for name in chosen or [] if name not in clauses()]
    if unknown or chosen == []:
        names = ", ".join(unknown) or "nothing"
        raise typer.BadParameter(f"there is no property of {names}; there are some of {', '.join(clauses())}")
    console = Console(highlight=False, stderr=as_json)
    with console.status("proving") as status:
        proof = Prover(chosen).prove(lambda event: status.update(f"proving, for the event: {event}"))
    if as_json:
        typer.echo(json.dumps(_as_data(proof), indent=2))
    else:
        _show(console, proof, ASSUMPTIONS)
    raise typer.Exit(0 if proof.is_complete else 1)


def _show(console: "Console", proof: "Proof", assumptions: dict[str, str]) -> None:
    from rich.table import Column, Table  # noqa: PLC0415 - as in prove

    table = Table("clause", "property", Column("paths", justify="right"), Column("s", justify="right"))
    for (clause, name), cells in _by_property(proof):
        verdict, seconds = _verdict(cells), sum(cell.seconds for cell in cells)
        table.add_row(clause, name, verdict, f"{seconds:.1f}")
    console.print(table)
    reached = [row for row, paths in proof.rows.items() if paths]
    silent = [row for row, paths in proof.rows.items() if not paths]
    console.print(f"Rows reached: {len(reached)} of {len(proof.rows)}", end="")
    console.print(f" (not {', '.join(silent)})." if silent else ".")
    console.print(f"Paths of transition also executed with real values: {proof.replayed:,}.")
    console.print("Assumptions:")
    for clause in proof.assumed:
        console.print(f"  {clause}: {assumptions[clause]}", soft_wrap=True)
    for cell in proof.cells:
        if cell.problem:
            console.print(
                f"{cell.property.clause} {cell.property.name}, {cell.event}: {cell.problem}", style="red"
            )
        if cell.counterexample is not None:
            _show_counterexample(console, cell.counterexample)
    if proof.is_complete:
        console.print(f"[bold green]Proved, in {proof.seconds:.0f} s.")
    else:
        console.print(f"[bold red]Not proved, after {proof.seconds:.0f} s.")


def _by_property(proof: "Proof") -> Iterator[tuple[tuple[str, str], list["Cell"]]]:
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in proof.cells:
        groups.setdefault((cell.property.clause, cell.property.name), []).append(cell)
    yield from groups.items()


def _verdict(cells: list["Cell"]) -> str:
    """Return on how many paths a property is proved, or for which events it is not."""
    wrong = [cell for cell in cells if not cell.is_proved]
    if not wrong:
        return f"{sum(cell.paths for cell in cells):,}"
    refuted = any(cell.counterexample is not None for cell in wrong)
    return f"[bold red]{'refuted' if refuted else 'undecided'}: {', '.join(cell.event for cell in wrong)}"


def _show_counterexample(console: "Console", found: "Counterexample") -> None:
    from .explore import show_trace  # noqa: PLC0415 - as in prove

    show_trace(console, found.trace.lines, f"This breaks {', '.join(found.trace.broken)}")
    how = found.problem or "the code does this with these values"
    console.print(f"Executed again: {how}.", style="red" if found.problem else "")


def _as_data(proof: "Proof") -> dict[str, Any]:
    return {
        "proved": proof.is_complete,
        "seconds": round(proof.seconds, 1),
        "assumptions": proof.assumed,
        "rows": proof.rows,
        "replayed": proof.replayed,
        "properties": [
            {
                "clause": cell.property.clause,
                "property": cell.property.name,
                "event": cell.event,
                "proved": cell.is_proved,
                "paths": cell.paths,
                "seconds": round(cell.seconds, 2),
                "problem": cell.problem,
                "counterexample": None
                if cell.counterexample is None
                else [line.what for line in cell.counterexample.trace.lines],
            }
            for cell in proof.cells
        ],
    }
