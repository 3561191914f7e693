"""Define the ``idemproof`` command line. Each command imports its dependencies when it runs."""

from importlib.metadata import version
from typing import Annotated

import rich  # noqa: F401 - the commands need it: if it is missing, that shows here, before any of them runs
import typer

from .check import check
from .check_http import check_http
from .explore import explore, explore_engine
from .prove import prove
from .records import records
from .spec import spec

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Idempotency for Python, built on an executable specification that runs in production.",
)
dynamodb = typer.Typer(no_args_is_help=True, help="Tables for the DynamoDB layer.")
app.add_typer(dynamodb, name="dynamodb")
postgres = typer.Typer(no_args_is_help=True, help="Tables for the PostgreSQL layer.")
app.add_typer(postgres, name="postgres")
app.add_typer(records, name="records")
app.command()(check)
app.command()(check_http)
app.command()(explore)
app.command()(explore_engine)
app.command()(prove)
app.command()(spec)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"idemproof {version('idemproof')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the SQLite files, and print where they are.")
    ] = False,
) -> None:
    """Deliver payment webhooks to several processes, some of them twice, and kill one process.

    Run the same deliveries without protection and with it. Exit code 0: with protection every payment was
    charged exactly once and every answer was right. Otherwise 1.
    """
    from rich.console import Console  # noqa: PLC0415 - other commands do without

    from ..demo.director import perform  # noqa: PLC0415 - same
    from ..demo.stage import StageError  # noqa: PLC0415 - same

    try:
        good = perform(Console(), keep=keep)
    except StageError as failure:
        typer.echo(f"The demo did not finish: {failure}", err=True)
        raise typer.Exit(1) from failure
    raise typer.Exit(0 if good else 1)


@dynamodb.command("create-table")
def create_table(
    table: Annotated[str, typer.Argument(help="The table's name.")],
    key_attr: Annotated[str, typer.Option(help="The partition key.")] = "id",
    sort_key_attr: Annotated[
        str | None, typer.Option(help="The sort key. By default, the table has only a partition key.")
    ] = None,
    expiry_attr: Annotated[str, typer.Option(help="The attribute for the time to live.")] = "expiration",
) -> None:
    """Create a table for development, with a time to live, billed per request. An existing table is kept.

    The AWS SDK's settings choose region, credentials and endpoint: AWS_DEFAULT_REGION, AWS_PROFILE,
    AWS_ENDPOINT_URL_DYNAMODB.
    """
    from idemproof import DynamoDBPersistenceLayer  # noqa: PLC0415 - as in demo
    from idemproof.errors import IdempotencyError  # noqa: PLC0415 - same

    try:
        DynamoDBPersistenceLayer(
            table, key_attr, sort_key_attr=sort_key_attr, expiry_attr=expiry_attr
        ).create_table()
    except IdempotencyError as failure:
        typer.echo(str(failure), err=True)
        raise typer.Exit(1) from failure
    typer.echo(f"The table {table!r} is ready. Records expire by {expiry_attr!r}.")


@postgres.command("create-table")
def create_postgres_table(
    conninfo: Annotated[
        str,
        typer.Argument(help="The database: postgresql://user@host/database. By default, PGHOST and so on."),
    ] = "",
    table: Annotated[str, typer.Option(help="The table's name.")] = "idempotency",
    schema: Annotated[
        str | None, typer.Option(help="The table's schema. By default, the first of search_path.")
    ] = None,
    show: Annotated[
        bool, typer.Option("--print", help="Print the statements for a migration, and connect to nothing.")
    ] = False,
) -> None:
    """Create a table for records, with its index. An existing table is kept, and checked.

    Set the password in PGPASSWORD or in a password file, because other users may see arguments.
    """
    from idemproof import PostgresPersistenceLayer  # noqa: PLC0415 - as in demo
    from idemproof.errors import IdempotencyError  # noqa: PLC0415 - same

    try:
        layer = PostgresPersistenceLayer(conninfo, table=table, schema=schema)
        if show:
            typer.echo(layer.ddl, nl=False)
            return
        layer.create_table()
    except IdempotencyError as failure:
        typer.echo(str(failure), err=True)
        raise typer.Exit(1) from failure
    typer.echo(f"The table {table!r} is ready.")
