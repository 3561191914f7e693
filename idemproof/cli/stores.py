"""The store of a command: a URL, or a layer by its name."""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

import typer

from .targets import found, refusal

_ALLOWED = "sqlite:///FILE, postgresql://HOST/DATABASE, redis://HOST, rediss://HOST or dynamodb://TABLE"

Store = Annotated[str | None, typer.Option(metavar="URL", help=f"The store: {_ALLOWED}.", show_default=False)]
Layer = Annotated[
    str | None,
    typer.Option(metavar="MODULE:NAME", help="A persistence layer, or a function that returns one."),
]
# The names of earlier releases.
SQLite = Annotated[Path | None, typer.Option(metavar="FILE", hidden=True)]
Redis = Annotated[str | None, typer.Option(metavar="URL", hidden=True)]
DynamoDB = Annotated[str | None, typer.Option(metavar="TABLE", hidden=True)]


def layer_of(
    store: str | None, target: str | None, sqlite: Path | None, redis: str | None, dynamodb: str | None
) -> Any:
    """Return the layer that the options name."""
    given = [each for each in (store, target, sqlite, redis, dynamodb) if each is not None]
    if len(given) != 1:
        raise refusal("Name one store: --store URL or --layer MODULE:NAME.")
    try:
        if target is not None:
            return _named_layer(target)
        if store is not None:
            return _by_url(store)
        if sqlite is not None:
            return _in_file(sqlite)
        return _in_redis(redis) if redis is not None else _in_table(str(dynamodb))
    except (ValueError, TypeError) as error:
        raise refusal(str(error)) from None


def _by_url(url: str) -> Any:
    scheme, separator, rest = url.partition("://")
    if separator and scheme in ("redis", "rediss"):
        return _in_redis(url)
    if separator and scheme in ("postgres", "postgresql"):
        return _in_postgres(url)
    parts = urlsplit(url) if separator and scheme in ("sqlite", "dynamodb") else None
    if parts is not None and not (parts.query or parts.fragment):
        # sqlite:///relative.db and sqlite:////absolute.db, as SQLAlchemy writes them.
        if scheme == "sqlite" and not parts.netloc and len(parts.path) > 1:
            return _in_file(Path(unquote(parts.path[1:])))
        if scheme == "dynamodb" and rest and "/" not in rest.removesuffix("/"):
            return _in_table(rest.removesuffix("/"))
    shown = url if "@" not in url else f"a URL that begins with {scheme!r}"
    raise ValueError(f"--store must be {_ALLOWED}, not {shown}. For other stores, use --layer.")


def _in_file(path: Path) -> Any:
    from idemproof import SQLitePersistenceLayer  # noqa: PLC0415 - other commands do without

    if not path.is_file():
        raise refusal(f"There is no file {str(path)!r}.")
    return SQLitePersistenceLayer(path)


def _in_postgres(url: str) -> Any:
    from idemproof import PostgresPersistenceLayer  # noqa: PLC0415 - same

    return PostgresPersistenceLayer(url)


def _in_redis(url: str) -> Any:
    from idemproof import RedisCachePersistenceLayer  # noqa: PLC0415 - same

    return RedisCachePersistenceLayer(url=url)


def _in_table(name: str) -> Any:
    from idemproof import DynamoDBPersistenceLayer  # noqa: PLC0415 - same

    return DynamoDBPersistenceLayer(name)


def _named_layer(target: str) -> Any:
    from idemproof import AsyncBasePersistenceLayer, BasePersistenceLayer  # noqa: PLC0415 - as in _in_file

    named = found(target)
    if callable(named) and not isinstance(named, BasePersistenceLayer | AsyncBasePersistenceLayer):
        try:
            named = named()
        except Exception as error:  # noqa: BLE001 - whatever it does, there is no layer
            raise refusal(f"{target!r} raised {type(error).__name__}: {error}") from None
    if not isinstance(named, BasePersistenceLayer | AsyncBasePersistenceLayer):
        raise refusal(f"{target!r} is neither a persistence layer nor a function that returns one.")
    return named
