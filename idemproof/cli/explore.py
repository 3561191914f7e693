"""``idemproof explore`` and ``explore-engine``: exhaustive searches with progress and a verdict."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ..spec.explorer import Result, TraceLine
    from ..spec.record import Record


def explore(
    clients: Annotated[int, typer.Option(min=1, help="The number of clients that call with one key.")] = 3,
    payload_hashes: Annotated[
        int,
        typer.Option(
            "--payload-hashes",
            "--fingerprints",
            min=1,
            max=3,
            help="The number of payload hashes that they use. The third is no hash.",
        ),
    ] = 2,
    faults: Annotated[
        str | None,
        typer.Option(
            help="The faults to inject, separated by commas: lost, crash, raise, renew, evict; or none. "
            "Default: all."
        ),
    ] = None,
    late_requests: Annotated[
        int, typer.Option(min=0, help="The number of requests that may be delayed at the same time.")
    ] = 0,
    invocations: Annotated[
        int, typer.Option(min=0, help="The number of clients that are invocations of one durable execution.")
    ] = 0,
    on_takeover: Annotated[
        str,
        typer.Option(
            help="What claims do about a lapsed claim of another: run, refuse or ask. If not run, bodies "
            "have an effect, which must not happen twice."
        ),
    ] = "run",
    transactions: Annotated[
        bool,
        typer.Option(
            "--transactions",
            help="Let clients complete within transactions, which commit their effect and their result "
            "together. With the policy run, and without invocations.",
        ),
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many states. The search is then incomplete.")
    ] = None,
) -> None:
    """Search everything that clients of one key can do, and check every invariant except INV-8 at every step.

    Exit code 0: no invariant breaks, and from every state some client can finish. 1: the shortest trace to
    the fault is shown.
    """
    from rich.console import Console  # noqa: PLC0415 - other commands do not need it

    from ..spec.explorer import Explorer  # noqa: PLC0415 - same
    from ..spec.moves import FAULTS  # noqa: PLC0415 - same

    console = Console()
    chosen: tuple[str, ...] = FAULTS if faults is None else ()
    if faults not in (None, "none"):
        chosen = tuple(name.strip() for name in str(faults).split(",") if name.strip())
    try:
        bounds = clients, payload_hashes, chosen, late_requests, invocations, on_takeover
        explorer = Explorer(*bounds, transactions=transactions)
    except ValueError as refusal:
        raise typer.BadParameter(str(refusal)) from refusal
    started = time.perf_counter()
    with _progress(console) as show_progress:
        result = explorer.search(show_progress, limit)
    _show(console, result, time.perf_counter() - started)
    raise typer.Exit(1 if result.counterexample or result.stuck else 0)


def explore_engine(
    clients: Annotated[int, typer.Option(min=1, help="The number of processes that call with one key.")] = 2,
    faults: Annotated[
        int, typer.Option(min=0, help="The number of requests that may be lost, refused or late.")
    ] = 1,
    crashes: Annotated[int, typer.Option(min=0, help="The number of workers that may die.")] = 1,
    calls: Annotated[int, typer.Option(min=1, help="The number of calls that each process makes.")] = 1,
    seconds: Annotated[
        int, typer.Option(min=0, help="The number of seconds that may pass. A lease lasts two.")
    ] = 3,
    interrupts: Annotated[int, typer.Option(min=0, help="The number of calls that may be interrupted.")] = 0,
    outages: Annotated[
        int,
        typer.Option(min=0, help="How often the store may be unavailable, or refuse results, for a while."),
    ] = 0,
    final_errors: Annotated[
        bool, typer.Option("--final-errors", help="Let bodies raise final errors too.")
    ] = False,
    cached: Annotated[bool, typer.Option("--cached", help="Give each process a local cache.")] = False,
    on_takeover: Annotated[str, typer.Option(help="As for explore: run, refuse or ask.")] = "run",
    transactions: Annotated[
        str | None,
        typer.Option(
            help="Let bodies complete within transactions of this database: postgresql or mysql. With the "
            "policy run, and without outages."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many states.")] = None,
) -> None:
    """Search all interleavings of calls of the production engine, within the bounds.

    Exit code 0: no rule breaks. 1: the shortest trace to the fault is shown.
    """
    from rich.console import Console  # noqa: PLC0415 - as in explore

    # By its public name, because the search is not part of the reference implementation.
    from idemproof.conformance.search.engine_explorer import search_engine  # noqa: PLC0415

    from ..spec.events import ASK, REFUSE, RUN  # noqa: PLC0415 - as in explore
    from ..spec.explorer import TraceLine  # noqa: PLC0415 - as in explore

    if on_takeover not in (RUN, REFUSE, ASK):
        raise typer.BadParameter(f"--on-takeover must be run, refuse or ask, not {on_takeover!r}")
    if transactions not in (None, "postgresql", "mysql"):
        raise typer.BadParameter(f"--transactions must be postgresql or mysql, not {transactions!r}")
    if transactions and (on_takeover != RUN or outages):
        raise typer.BadParameter("--transactions needs --on-takeover run and --outages 0")
    console = Console()
    started = time.perf_counter()
    with _progress(console) as show_progress:
        result = search_engine(
            clients,
            faults,
            crashes,
            cached,
            limit,
            show_progress,
            calls=calls,
            ticks=seconds,
            interrupts=interrupts,
            outages=outages,
            final_errors=final_errors,
            policy=on_takeover,
            transactions=transactions or "",
        )
    took = time.perf_counter() - started
    console.print(f"{result.states:,} states, {result.edges:,} steps in {took:.1f} s; {result.bounds}")
    if result.counterexample is None:
        console.print(
            "[bold green]No rule breaks." if result.complete else "No rule broke in the states searched."
        )
        return
    broken, timeline, _ = result.counterexample
    lines = [TraceLine(f"{each.after_ms} ms: {each.what}", each.who, each.current) for each in timeline]
    show_trace(console, lines, f"This breaks {', '.join(broken)}")
    raise typer.Exit(1)


@contextmanager
def _progress(console: "Console") -> Iterator[Callable[[int, int], None]]:
    from rich.progress import (  # noqa: PLC0415 - as in explore
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("searching", total=None)

        def show_progress(found: int, waiting: int) -> None:
            description = f"{found:,} states found, {waiting:,} to visit"
            progress.update(task, total=found, completed=found - waiting, description=description)

        yield show_progress


def _show(console: "Console", result: "Result", seconds: float) -> None:
    from ..spec.transition import TABLE  # noqa: PLC0415 - as in explore

    how = "complete" if result.complete else "not complete"
    console.print(f"{result.states:,} states, {result.edges:,} steps, {how}, in {seconds:.1f} s")
    silent = [row.clause for row in TABLE if row.clause not in result.rows]
    console.print(f"rows that decided a step: {len(result.rows)} of {len(TABLE)}", end="")
    console.print(f" (not {', '.join(silent)})" if silent else "")
    if result.counterexample is not None:
        broken, lines = result.counterexample
        show_trace(console, lines, f"This breaks {', '.join(broken)}")
    elif result.stuck is not None:
        show_trace(console, result.stuck.lines, "From here no client can finish (INV-9)")
    elif result.complete:
        console.print("[bold green]No invariant breaks, and from every state some client can finish.")
    else:
        console.print("No invariant broke in the states searched.")


def show_trace(console: "Console", lines: "Sequence[TraceLine]", title: str) -> None:
    """Print a trace as a table."""
    from rich.table import Table  # noqa: PLC0415 - as in explore

    table = Table("", "who", "what", "stored record", title=title, title_style="bold red")
    for number, line in enumerate(lines, 1):
        table.add_row(str(number), line.who, line.what, _words(line.record))
    console.print(table)


def _words(record: "Record | None") -> str:
    if record is None:
        return "nothing"
    lease = record.in_progress_expiry_timestamp
    until = f"until {record.expiry_timestamp} s" if lease is None else f"its lease until {lease // 1000} s"
    return f"{record.status} of {record.owner}, {until}"
