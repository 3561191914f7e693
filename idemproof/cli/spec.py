"""``idemproof spec``: the clauses of the protocol, and the tests that prove each clause.

It reads data that is installed with the package, so it works without a checkout.
"""

import difflib
import inspect
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ..conformance.clauses import Clause, Proof

_NEAREST = 3


def spec(
    clause: Annotated[
        str | None, typer.Argument(help="The clause's id, such as ROW-7. Default: all clauses.")
    ] = None,
) -> None:
    """Show the clauses of the protocol with their tests, or one clause in full.

    Exit code 2: there is no such clause. The message names the nearest ids.
    """
    from rich.console import Console  # noqa: PLC0415 - other commands do without

    from ..conformance.clauses import clauses_of, proofs, protocol_text  # noqa: PLC0415 - same

    console = Console(highlight=False, markup=False, emoji=False)
    clauses, proven = clauses_of(protocol_text()), proofs()
    if clause is None:
        _show_all(console, clauses, proven)
        return
    name = clause.strip().upper()
    if name not in clauses:
        nearest = difflib.get_close_matches(name, clauses, n=_NEAREST, cutoff=0)
        typer.echo(f"There is no clause {clause!r}. The nearest are {', '.join(nearest)}.", err=True)
        raise typer.Exit(2)
    _show_one(console, clauses[name], proven.get(name))


def _show_all(console: "Console", clauses: "dict[str, Clause]", proven: "dict[str, Proof]") -> None:
    """Print one table for each section, one line for each clause."""
    from rich.table import Table  # noqa: PLC0415 - as in spec

    for heading, group in groupby(clauses.values(), key=lambda clause: clause.heading):
        table = Table(title=heading, title_justify="left", expand=True)
        table.add_column("clause", no_wrap=True)
        table.add_column("keyword", no_wrap=True)
        table.add_column("says", no_wrap=True, overflow="ellipsis", ratio=1)
        table.add_column("tests", no_wrap=True, justify="right")
        for clause in group:
            tests = proven[clause.id].tests if clause.id in proven else ()
            table.add_row(clause.id, clause.keyword, clause.text, str(len(tests)))
        console.print(table)
    console.print("Run `idemproof spec CLAUSE` to show one clause with its tests.")


def _show_one(console: "Console", clause: "Clause", proof: "Proof | None") -> None:
    """Print one clause with its rule and its tests."""
    from ..spec.invariants import INVARIANTS  # noqa: PLC0415 - as in spec
    from ..spec.transition import TABLE  # noqa: PLC0415 - same

    console.print(f"{clause.id} ({clause.keyword}), in: {clause.heading}", style="bold")
    row = next((row for row in TABLE if row.clause == clause.id), None)
    if row is None:
        console.print(clause.text)
    else:
        console.print(f"event    {row.event.__name__}")
        console.print(f"when     {row.when}")
        console.print(f"next     {row.then}")
        console.print(f"outcome  {row.outcome}")
        console.print(f"code     {row.guard.__name__}, {row.step.__name__} of spec/transition.py")
    for rule in INVARIANTS:
        if rule.clause == clause.id:
            console.print(f"\nPredicate {rule.predicate.__name__} on a {rule.of}:")
            console.print(inspect.getdoc(rule.predicate))
    tests = proof.tests if proof else ()
    console.print(f"\nTests: {len(tests)}")
    for test in tests:
        console.print(test, soft_wrap=True)
