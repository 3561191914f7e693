"""List the keys of the records in a store, for operators. No call of a function needs it."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from ..spec.errors import IdempotencyConfigError, IdempotencyError, IdempotencyPersistenceLayerError

_PER_REQUEST = 1000


def stored_keys(layer: Any, prefix: str, limit: int) -> list[str]:
    """Return at most ``limit`` stored keys that begin with ``prefix``.

    On Redis, keys of other software are among them. On Redis and DynamoDB, the whole database or table is
    scanned, and keys that are written meanwhile may be missing.

    Parameters
    ----------
    layer
        A built-in blocking layer.
    prefix
        How the keys begin.
    limit
        The maximum number of keys.

    Raises
    ------
    IdempotencyConfigError
        The keys of this layer cannot be listed.
    IdempotencyPersistenceLayerError
        The store failed.
    """
    find = _finder_of(layer)
    if find is None:
        raise IdempotencyConfigError(
            f"The keys of {type(layer).__name__} cannot be listed: only the blocking layers over SQLite, "
            "PostgreSQL by psycopg, Redis by redis-py, DynamoDB and memory can. Name a key."
        )
    try:
        return list(islice(dict.fromkeys(find(layer, prefix, limit)), limit))
    except IdempotencyError:
        raise
    except Exception as error:
        failure = _translated(layer, error, prefix)
        if failure is error:
            raise
    raise failure from None


def _finder_of(layer: Any) -> Callable[[Any, str, int], Iterator[str]] | None:
    # By name, so that no client library is loaded for another store.
    names = [base.__name__ for base in type(layer).__mro__ if base.__module__.startswith(__package__)]
    if "RedisCachePersistenceLayer" in names:
        return _in_redis if hasattr(layer.client, "scan_iter") else None
    for name, find in _FINDERS.items():
        if name in names:
            return find
    return None


def _in_memory(layer: Any, prefix: str, limit: int) -> Iterator[str]:  # noqa: ARG001 - the caller stops
    return (key for key in sorted(layer._records) if key.startswith(prefix))


def _in_sqlite(layer: Any, prefix: str, limit: int) -> Iterator[str]:
    wanted = (len(prefix), prefix, limit)
    rows = layer._retry_while_busy(lambda db: db.execute(layer._table.keys, wanted).fetchall())
    return (row[0] for row in rows)


def _in_postgres(layer: Any, prefix: str, limit: int) -> Iterator[str]:
    return iter(layer._perform(layer._table.keys(prefix, limit), "the keys"))


def _in_redis(layer: Any, prefix: str, limit: int) -> Iterator[str]:
    pattern = "".join(f"\\{each}" if each in "\\*?[]^-" else each for each in prefix)
    seen: dict[str, None] = {}  # SCAN may return a key twice
    for key in layer.client.scan_iter(match=f"{pattern}*", count=_PER_REQUEST):
        seen[key if isinstance(key, str) else key.decode(errors="surrogateescape")] = None
        if len(seen) >= limit:
            break
    return iter(sorted(seen))


def _in_dynamodb(layer: Any, prefix: str, limit: int) -> Iterator[str]:
    table = layer._table
    table.require()
    name = table.sort_key_attr or table.key_attr
    names, values, conditions = {"#key": name}, {}, []
    if prefix:
        conditions.append("begins_with(#key, :prefix)")
        values[":prefix"] = {"S": prefix}
    if table.sort_key_attr is not None:
        names["#partition"] = table.key_attr
        values[":partition"] = {"S": table.static_pk_value}
        conditions.append("begins_with(#partition, :partition)")
    request: dict[str, Any] = {
        "TableName": table.table_name,
        "ProjectionExpression": "#key",
        "ExpressionAttributeNames": names,
        "Limit": _PER_REQUEST,
    }
    if conditions:
        request |= {"FilterExpression": " AND ".join(conditions), "ExpressionAttributeValues": values}
    found: list[str] = []
    while len(found) < limit:
        page = layer.client.scan(**request)
        found += [item[name]["S"] for item in page["Items"] if "S" in item.get(name, {})]
        if "LastEvaluatedKey" not in page:
            break
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
    return iter(sorted(found[:limit]))


_FINDERS: dict[str, Callable[[Any, str, int], Iterator[str]]] = {
    "SQLitePersistenceLayer": _in_sqlite,
    "PostgresPersistenceLayer": _in_postgres,
    "DynamoDBPersistenceLayer": _in_dynamodb,
    "InMemoryPersistenceLayer": _in_memory,
}


def _translated(layer: Any, error: Exception, prefix: str) -> Exception:
    """Return an error of this library, without credentials."""
    if _finder_of(layer) is _in_dynamodb:
        from .credentials import without_aws_secrets  # noqa: PLC0415 - boto3 is loaded by then

        failure = IdempotencyPersistenceLayerError(f"The keys of the table could not be listed: {error}")
        return without_aws_secrets(failure, layer.client)
    if hasattr(layer, "_address"):
        from .redis_clients import secrets_of  # noqa: PLC0415 - as above
        from .redis_errors import translate_error  # noqa: PLC0415 - as above

        return translate_error(error, prefix, secrets_of(layer.client))
    return IdempotencyPersistenceLayerError(f"The keys could not be listed: {error}")
