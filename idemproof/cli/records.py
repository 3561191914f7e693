"""``idemproof records``: show the record of a key, forget it, or resolve a stuck operation."""

import asyncio
import datetime as dt
import json as jsons
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .targets import found, refusal

if TYPE_CHECKING:
    from ..reference.records import Records
    from ..spec.record import Record

records = typer.Typer(
    no_args_is_help=True,
    help="Show the record of a key, forget it, or store the result of an operation that is stuck.",
)

_NONE, _REFUSED = 1, 3

Key = Annotated[str, typer.Argument(help="The stored key, as `f.idempotency.key(...)` returns it.")]
SQLite = Annotated[Path | None, typer.Option(metavar="FILE", help="The file of a SQLitePersistenceLayer.")]
Redis = Annotated[str | None, typer.Option(metavar="URL", help="The server of a RedisCachePersistenceLayer.")]
DynamoDB = Annotated[
    str | None, typer.Option(metavar="TABLE", help="The table of a DynamoDBPersistenceLayer.")
]
Layer = Annotated[
    str | None,
    typer.Option(metavar="MODULE:NAME", help="A persistence layer, or a function that returns one."),
]


@records.command()
def show(
    key: Key,
    sqlite: SQLite = None,
    redis: Redis = None,
    dynamodb: DynamoDB = None,
    layer: Layer = None,
    json: Annotated[bool, typer.Option("--json", help="Print the fields as JSON.")] = False,
) -> None:
    """Show the stored record of a key, even if it has expired.

    Exit code 0: the record is shown. 1: there is no record. 2: the request to the
    store failed, and a message says why.
    """
    record = _asked(_layer(sqlite, redis, dynamodb, layer), lambda by: by.inspect(key), "ainspect", key)
    if record is None:
        raise _none(key)
    typer.echo(jsons.dumps(record._asdict()) if json else _in_words(record))


@records.command()
def forget(
    key: Key,
    sqlite: SQLite = None,
    redis: Redis = None,
    dynamodb: DynamoDB = None,
    layer: Layer = None,
    even_in_progress: Annotated[
        bool,
        typer.Option(
            "--even-in-progress", help="Also delete a live claim. Use it only if its worker is dead."
        ),
    ] = False,
) -> None:
    """Delete the record of a key, so that the operation can run again.

    Local caches of running processes keep a result until it expires.

    Exit code 0: it is deleted. 1: there was none. 2: the request to the store
    failed. 3: refused: an attempt is in progress, or the record has just changed.
    """
    chosen = _layer(sqlite, redis, dynamodb, layer)
    record = _asked(
        chosen,
        lambda by: by.forget(key, even_in_progress=even_in_progress),
        "aforget",
        key,
        even_in_progress=even_in_progress,
    )
    if record is None:
        raise _none(key)
    typer.echo(f"Forgotten: {key}\n{_in_words(record)}")


@records.command()
def resolve(
    key: Key,
    result: Annotated[str, typer.Option(metavar="JSON", help="The result for all callers. Use - for stdin.")],
    sqlite: SQLite = None,
    redis: Redis = None,
    dynamodb: DynamoDB = None,
    layer: Layer = None,
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
    except ValueError as error:
        raise refusal(f"--result must be JSON, such as '{{\"id\": 1}}' or '\"done\"': {error}") from None
    record = _asked(
        _layer(sqlite, redis, dynamodb, layer),
        lambda by: by.resolve(key, value),
        "aresolve",
        key,
        value,
        window=expires_after_seconds,
    )
    assert record is not None  # or it would have been refused
    typer.echo(f"Resolved: {key}\n{_in_words(record)}")


def _layer(sqlite: Path | None, redis: str | None, dynamodb: str | None, target: str | None) -> Any:
    """Return the layer that the options name."""
    from idemproof import (  # noqa: PLC0415 - other commands do without
        DynamoDBPersistenceLayer,
        RedisCachePersistenceLayer,
        SQLitePersistenceLayer,
    )

    given = [each for each in (sqlite, redis, dynamodb, target) if each is not None]
    if len(given) != 1:
        raise refusal("Name one store: --sqlite FILE, --redis URL, --dynamodb TABLE or --layer MODULE:NAME.")
    try:
        if sqlite is not None:
            if not sqlite.is_file():
                raise refusal(f"There is no file {str(sqlite)!r}.")
            return SQLitePersistenceLayer(sqlite)
        if redis is not None:
            return RedisCachePersistenceLayer(url=redis)
        if dynamodb is not None:
            return DynamoDBPersistenceLayer(dynamodb)
        return _named_layer(str(target))
    except (ValueError, TypeError) as error:
        raise refusal(str(error)) from None


def _named_layer(target: str) -> Any:
    from idemproof import AsyncBasePersistenceLayer, BasePersistenceLayer  # noqa: PLC0415 - as in _layer

    named = found(target)
    if callable(named) and not isinstance(named, BasePersistenceLayer | AsyncBasePersistenceLayer):
        try:
            named = named()
        except Exception as error:  # noqa: BLE001 - whatever it does, there is no layer
            raise refusal(f"{target!r} raised {type(error).__name__}: {error}") from None
    if not isinstance(named, BasePersistenceLayer | AsyncBasePersistenceLayer):
        raise refusal(f"{target!r} is neither a persistence layer nor a function that returns one.")
    return named


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


def _in_words(record: "Record") -> str:
    """Return a record line by line."""
    from ..backends.clock import wall_clock_ms  # noqa: PLC0415 - as in _layer
    from ..spec.record import deadline_ms, expiry_ms, live  # noqa: PLC0415 - same

    now = wall_clock_ms()
    over = "" if live(record, now) else ", which is over"
    lines = [f"status        {record.status}, until {_moment(deadline_ms(record))}{over}"]
    if expiry_ms(record) != deadline_ms(record):
        lines.append(f"expires       {_moment(expiry_ms(record))}")
    lines += [
        f"{name:<14}{value}"
        for name, value in (
            ("owner", record.owner),
            ("payload hash", record.payload_hash),
            ("result", record.response_data),
        )
        if value is not None
    ]
    return "\n".join(lines)


def _moment(epoch_ms: int) -> str:
    try:
        moment = dt.datetime.fromtimestamp(epoch_ms / 1000, dt.UTC)
    except (OverflowError, ValueError, OSError):
        return f"{epoch_ms} ms since the epoch"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
