"""``idemproof records``: show the record of a key, forget it, or resolve a stuck operation."""

import asyncio
import datetime as dt
import json as jsons
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .stores import DynamoDB, Layer, Redis, SQLite, Store, layer_of
from .targets import refusal

if TYPE_CHECKING:
    from ..reference.records import Records
    from ..spec.record import Record

records = typer.Typer(
    no_args_is_help=True,
    help="Show the record of a key, forget it, or store the result of an operation that is stuck.",
)

_NONE, _REFUSED = 1, 3

Key = Annotated[str, typer.Argument(help="The stored key, as `f.idempotency.key(...)` returns it.")]
WithResult = Annotated[
    bool, typer.Option("--with-result", help="Also print the stored result, which may be confidential.")
]


@records.command()
def show(
    key: Key,
    store: Store = None,
    layer: Layer = None,
    sqlite: SQLite = None,
    redis: Redis = None,
    dynamodb: DynamoDB = None,
    json: Annotated[bool, typer.Option("--json", help="Print the fields as JSON.")] = False,
    with_result: WithResult = False,
) -> None:
    """Show the stored record of a key, even if it has expired.

    Exit code 0: the record is shown. 1: there is no record. 2: the request to the
    store failed, and a message says why.
    """
    record = _asked(
        layer_of(store, layer, sqlite, redis, dynamodb), lambda by: by.inspect(key), "ainspect", key
    )
    if record is None:
        raise _none(key)
    typer.echo(
        _as_json(record, with_result=with_result) if json else _in_words(record, with_result=with_result)
    )


@records.command()
def forget(
    key: Key,
    store: Store = None,
    layer: Layer = None,
    sqlite: SQLite = None,
    redis: Redis = None,
    dynamodb: DynamoDB = None,
    even_in_progress: Annotated[
        bool,
        typer.Option(
            "--even-in-progress", help="Also delete a live claim. Use it only if its worker is dead."
        ),
    ] = False,
    with_result: WithResult = False,
) -> None:
    """Delete the record of a key, so that the operation can run again.

    Forgetting does not undo anything: if the effect has happened, the next call
    repeats it. Local caches of running processes keep a result until it expires.

    Exit code 0: it is deleted. 1: there was none. 2: the request to the store
    failed. 3: refused: an attempt is in progress, or the record has just changed.
    """
    chosen = layer_of(store, layer, sqlite, redis, dynamodb)
    record = _asked(
        chosen,
        lambda by: by.forget(key, even_in_progress=even_in_progress),
        "aforget",
        key,
        even_in_progress=even_in_progress,
    )
    if record is None:
        raise _none(key)
    typer.echo(
        f"Forgotten: {key}\n{_in_words(record, with_result=with_result)}\n"
        "The next call runs the operation, even if its effect has happened already."
    )


@records.command()
def resolve(
    key: Key,
    result: Annotated[str, typer.Option(metavar="JSON", help="The result for all callers. Use - for stdin.")],
    store: Store = None,
    layer: Layer = None,
    sqlite: SQLite = None,
    redis: Redis = None,
    dynamodb: DynamoDB = None,
    expires_after_seconds: Annotated[
        float, typer.Option(min=0, help="How long the result is replayed (seconds).")
    ] = 3600,
) -> None:
    """Store the result of an operation that is stuck in progress after a crash.

    Exit code 0: it is stored. 1: there is no record: nothing is stuck. 2: the
    result is not JSON, or the request to the store failed. 3: refused: the
    operation is completed with another result, or the record has just changed.
    """
    try:
        value = jsons.loads(sys.stdin.read() if result == "-" else result)
    except (ValueError, RecursionError) as error:
        raise refusal(f"--result must be JSON, such as '{{\"id\": 1}}' or '\"done\"': {error}") from None
    record = _asked(
        layer_of(store, layer, sqlite, redis, dynamodb),
        lambda by: by.resolve(key, value),
        "aresolve",
        key,
        value,
        window=expires_after_seconds,
    )
    assert record is not None  # or it would have been refused
    typer.echo(f"Resolved: {key}\n{_in_words(record)}")


@records.command("list")
def list_records(
    store: Store = None,
    layer: Layer = None,
    prefix: Annotated[str, typer.Option(help="Only keys that begin with this text.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The maximum number of keys.")] = 100,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """List stored records: key, status and deadline, never results.

    Redis and DynamoDB are scanned: on a large database, this takes time, and on
    DynamoDB read capacity for the whole table.

    Exit code 0: listed. 1: there is none. 2: the request to the store failed, or
    its keys cannot be listed.
    """
    from idemproof.errors import IdempotencyError, IdempotencyInvalidStatusError  # noqa: PLC0415 - as in _asked

    from ..backends.listing import stored_keys  # noqa: PLC0415 - same
    from ..reference.idempotency import records_of  # noqa: PLC0415 - same

    chosen = layer_of(store, layer, None, None, None)
    shown = foreign = 0
    try:
        keys = stored_keys(chosen, prefix, limit + 1)
        by = records_of(chosen)
        for key in keys[:limit]:
            try:
                record = by.inspect(key)
            except IdempotencyInvalidStatusError:
                foreign += 1
                continue
            if record is not None:  # it may have been deleted since
                shown += 1
                typer.echo(
                    _as_json(record, with_result=False)
                    if json
                    else f"{_printable(key)}  {_status_of(record)}"
                )
    except IdempotencyError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    if foreign:
        typer.echo(f"{foreign} of the keys have no valid record: corrupt, or of other software.", err=True)
    if len(keys) > limit:
        typer.echo(f"There are more than {limit} keys. Use --prefix, or a larger --limit.", err=True)
    if not shown:
        typer.echo(f"No record has a key that begins with {prefix!r}." if prefix else "No records.", err=True)
        raise typer.Exit(_NONE)


def _printable(key: str) -> str:
    return key if key.isprintable() else repr(key)


def _asked(
    layer: Any,
    ask: "Callable[[Records], Record | None]",
    awaited: str,
    *args: Any,
    window: float = 3600,
    **kwargs: Any,
) -> "Record | None":
    """Return the answer of the layer's records. For an async layer, the method is ``awaited``."""
    from idemproof import AsyncBasePersistenceLayer, IdempotencyConfig  # noqa: PLC0415 - as in _layer
    from idemproof.errors import (  # noqa: PLC0415 - same
        IdempotencyAlreadyInProgressError,
        IdempotencyError,
        IdempotencyInconsistentStateError,
        IdempotencyItemAlreadyExistsError,
        IdempotencyItemNotFoundError,
    )

    from ..reference.idempotency import records_of  # noqa: PLC0415 - same

    refused = (
        IdempotencyAlreadyInProgressError,
        IdempotencyInconsistentStateError,
        IdempotencyItemAlreadyExistsError,
    )
    try:
        by = records_of(layer, IdempotencyConfig(expires_after_seconds=window))
        if isinstance(layer, AsyncBasePersistenceLayer):
            answer: Record | None = asyncio.run(getattr(by, awaited)(*args, **kwargs))
        else:
            answer = ask(by)
    except IdempotencyItemNotFoundError:
        raise _none(args[0]) from None
    except IdempotencyError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(_REFUSED if isinstance(error, refused) else 2) from None
    return answer


def _none(key: str) -> typer.Exit:
    typer.echo(f"No record has the key {key!r}.", err=True)
    return typer.Exit(_NONE)


def _as_json(record: "Record", *, with_result: bool) -> str:
    fields = record._asdict()
    if not with_result:
        del fields["response_data"]
    return jsons.dumps(fields)


def _status_of(record: "Record") -> str:
    from ..backends.clock import wall_clock_ms  # noqa: PLC0415 - other commands do without
    from ..spec.record import deadline_ms, live  # noqa: PLC0415 - same

    over = "" if live(record, wall_clock_ms()) else ", which is over"
    return f"{record.status}, until {_moment(deadline_ms(record))}{over}"


def _in_words(record: "Record", *, with_result: bool = False) -> str:
    """Return a record line by line."""
    from ..spec.record import deadline_ms, expiry_ms  # noqa: PLC0415 - as in _status_of

    lines = [f"status        {_status_of(record)}"]
    if expiry_ms(record) != deadline_ms(record):
        lines.append(f"expires       {_moment(expiry_ms(record))}")
    lines += [
        f"{name:<14}{value}"
        for name, value in (
            ("owner", record.owner),
            ("payload hash", record.payload_hash),
            ("result", record.response_data if with_result else _kind_of_result(record)),
        )
        if value is not None
    ]
    return "\n".join(lines)


def _kind_of_result(record: "Record") -> str | None:
    """Return what kind of response a record has, without showing it."""
    from ..reference.final_errors import read  # noqa: PLC0415 - as in _status_of
    from ..spec.record import UNAVAILABLE, is_result  # noqa: PLC0415 - same

    text = record.response_data
    if text is None or text in UNAVAILABLE:
        return text
    if is_result(text):
        return f"{len(text)} characters; --with-result prints it"
    try:
        return f"the final error {read(text)[0]}; --with-result prints its arguments"
    except (ValueError, RecursionError):
        return "corrupt; --with-result prints it"


def _moment(epoch_ms: int) -> str:
    try:
        moment = dt.datetime.fromtimestamp(epoch_ms / 1000, dt.UTC)
    except (OverflowError, ValueError, OSError):
        return f"{epoch_ms} ms since the epoch"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
