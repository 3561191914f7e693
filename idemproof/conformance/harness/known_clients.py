"""The clients of stores that the suite knows: which of their methods send a request, and what each is called.

Only what the layer has imported is looked up. A method that sends nothing, such as a commit without a
transaction, is no step.
"""

import importlib
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from .scheduled_client import What

Describe = Callable[..., What | None]
"""Describes a call, given its arguments; returns None if the call sends nothing to the store."""

_WORDS = 3
_LONGEST = 60
_IDLE = 0
"""The status of a connection of psycopg without a transaction."""
_UNLOCK = "SELECT pg_advisory_unlock_all()"


class Known(NamedTuple):
    """A method that sends a request.

    Parameters
    ----------
    module, kind, method
        Where it is defined.
    describe
        Describes a call.
    at
        The index of the argument that belongs to the client.
    """

    module: str
    kind: str
    method: str
    describe: Describe
    at: int = 0


def command(_client: Any, *args: Any, **_: Any) -> What:
    """Describe a call by its command and first arguments, or by its operation."""
    return partial(_command, args)


def _command(args: tuple[Any, ...]) -> str:
    words = [each.decode(errors="replace") if isinstance(each, bytes) else str(each) for each in args]
    if not words:
        return "EXEC"
    if any(isinstance(each, dict) for each in args):
        return words[0]
    return " ".join(_short(word) for word in words[:_WORDS])


def named(name: str) -> Describe:
    """Describe a call of a method that the user names by its arguments."""

    def describe(*args: Any, **_: Any) -> What:
        return lambda: f"{name}({', '.join(_short(repr(each)) for each in args)})"

    return describe


def _statement(client: Any, query: Any = "", *_: Any, **__: Any) -> What:
    begins = "BEGIN, " if _begins_with_it(client) else ""
    return lambda: f"{begins}{_sql(query)}"


def _many(client: Any, query: Any = "", *_: Any, **__: Any) -> What:
    begins = "BEGIN, " if _begins_with_it(client) else ""
    return lambda: f"{begins}{_sql(query)} (many)"


def _begins_with_it(cursor: Any) -> bool:
    """Return whether psycopg begins a transaction with the next statement."""
    connection = getattr(cursor, "connection", None)
    return _status(connection) == _IDLE and not connection.autocommit  # type: ignore[union-attr]


def _status(connection: Any) -> int | None:
    """Return the status of a transaction, if it is a connection of psycopg."""
    return getattr(getattr(connection, "info", None), "transaction_status", None)


def _ends(word: str) -> Describe:
    """Describe a commit or rollback by ``word``; without a transaction nothing is sent."""

    def describe(connection: Any, *_: Any, **__: Any) -> What | None:
        real = connection_of(connection)
        return None if _status(real) == _IDLE or getattr(real, "in_transaction", None) is False else word

    return describe


def connection_of(client: Any) -> Any:
    """Return the driver's own object, if a pool of SQLAlchemy has wrapped it."""
    return getattr(client, "dbapi_connection", client)


def _block_begins(transaction: Any) -> What:
    nested = transaction.connection.info.transaction_status != _IDLE
    return "SAVEPOINT" if nested else "BEGIN"


def _block_ends(transaction: Any, kind: Any = None, *_: Any) -> What | None:
    if transaction.connection.closed:
        return None
    undone = kind is not None or transaction.force_rollback
    if transaction.savepoint_name:
        return "ROLLBACK TO SAVEPOINT" if undone else "RELEASE SAVEPOINT"
    return "ROLLBACK" if undone else "COMMIT"


def _prepared(statement: Any, *_: Any, **__: Any) -> What:
    # Its method for it raises an error if the connection is closed, which is not for us to report.
    return lambda: _sql(getattr(statement, "_query", "a prepared statement"))


def _asyncpg_statement(connection: Any, query: Any = "", *_: Any, **__: Any) -> What | None:
    # What its pool sends when a connection comes back.
    return None if str(query).startswith(_UNLOCK) else _statement(connection, query)


def _of_dialect(describe: Describe) -> Describe:
    return lambda _dialect, *args, **kwargs: describe(*args, **kwargs)


def _always(word: str) -> Describe:
    return lambda *_, **__: word


def _operation(name: str) -> Describe:
    def describe(collection: Any, *_: Any, **__: Any) -> What:
        return lambda: f"{name} in {collection.name}"

    return describe


def _redis(library: str) -> Iterator[Known]:
    name = library.capitalize()
    for package in (library, f"{library}.asyncio"):
        yield Known(f"{package}.client", name, "execute_command", command)
        yield Known(f"{package}.client", "Pipeline", "immediate_execute_command", command)
        yield Known(f"{package}.client", "Pipeline", "execute", command)
        yield Known(f"{package}.cluster", f"{name}Cluster", "execute_command", command)
        yield Known(f"{package}.cluster", "ClusterPipeline", "execute", command)


def _psycopg(prefix: str, asynchronous: str) -> Iterator[Known]:
    for module, kind in (("psycopg.cursor", "Cursor"), ("psycopg._server_cursor", "ServerCursor")):
        where = f"{module}_async" if asynchronous else module
        yield Known(where, f"{prefix}{kind}", "execute", _statement)
        yield Known(where, f"{prefix}{kind}", "executemany", _many)
    where = f"psycopg.connection{'_async' if asynchronous else ''}"
    yield Known(where, f"{prefix}Connection", "commit", _ends("COMMIT"))
    yield Known(where, f"{prefix}Connection", "rollback", _ends("ROLLBACK"))
    yield Known("psycopg.transaction", f"{prefix}Transaction", f"__{asynchronous}enter__", _block_begins)
    yield Known("psycopg.transaction", f"{prefix}Transaction", f"__{asynchronous}exit__", _block_ends)


def _pymongo(package: str, prefix: str) -> Iterator[Known]:
    changes = ("replace_one", "update_one", "update_many", "delete_one", "delete_many", "bulk_write")
    found = ("find_one", "find_one_and_update", "find_one_and_replace", "find_one_and_delete")
    for name in ("insert_one", "insert_many", *changes, *found, "count_documents"):
        yield Known(f"pymongo.{package}.collection", f"{prefix}Collection", name, _operation(name))
    session = f"pymongo.{package}.client_session"
    yield Known(session, f"{prefix}ClientSession", "commit_transaction", _always("COMMIT"))
    yield Known(session, f"{prefix}ClientSession", "abort_transaction", _always("ROLLBACK"))


def _mysql() -> Iterator[Known]:
    yield Known("pymysql.cursors", "Cursor", "execute", _statement)
    yield Known("pymysql.cursors", "Cursor", "executemany", _many)
    yield Known("pymysql.connections", "Connection", "begin", _always("BEGIN"))
    for module, kind in (("cursor", "MySQLCursor"), ("cursor_cext", "CMySQLCursor")):
        yield Known(f"mysql.connector.{module}", kind, "execute", _statement)
        yield Known(f"mysql.connector.{module}", kind, "executemany", _many)
    yield Known("mysql.connector.abstracts", "MySQLConnectionAbstract", "start_transaction", _always("BEGIN"))
    for module, kind in (
        ("pymysql.connections", "Connection"),
        ("mysql.connector.connection", "MySQLConnection"),
        ("mysql.connector.connection_cext", "CMySQLConnection"),
    ):
        yield Known(module, kind, "commit", _always("COMMIT"))
        yield Known(module, kind, "rollback", _always("ROLLBACK"))


def _asyncpg() -> Iterator[Known]:
    for name in ("execute", "executemany", "fetch", "fetchrow", "fetchval", "fetchmany"):
        yield Known(
            "asyncpg.connection", "Connection", name, _many if name == "executemany" else _asyncpg_statement
        )
        if name != "execute":
            yield Known("asyncpg.prepared_stmt", "PreparedStatement", name, _prepared)


def _sqlalchemy() -> Iterator[Known]:
    """Whatever the driver is: a blocking engine's requests go through its dialect."""
    where = ("sqlalchemy.engine.default", "DefaultDialect")
    yield Known(*where, "do_execute", _of_dialect(_statement), at=1)
    yield Known(*where, "do_execute_no_params", _of_dialect(_statement), at=1)
    yield Known(*where, "do_executemany", _of_dialect(_many), at=1)
    yield Known(*where, "do_commit", _of_dialect(_ends("COMMIT")), at=1)
    yield Known(*where, "do_rollback", _of_dialect(_ends("ROLLBACK")), at=1)


def _of_commands() -> Iterator[Known]:
    """Yield the requests to a layer that is a command, which announces its own steps."""
    where = f"{__package__.removesuffix('harness')}commands.layer"
    for name in ("send", "receive", "exchange"):
        yield Known(where, "Connection", name, command)


KNOWN = (
    *_redis("redis"),
    *_redis("valkey"),
    Known("botocore.client", "BaseClient", "_make_api_call", command),
    Known("aiobotocore.client", "AioBaseClient", "_make_api_call", command),
    *_psycopg("", ""),
    *_psycopg("Async", "a"),
    *_asyncpg(),
    *_sqlalchemy(),
    *_mysql(),
    *_pymongo("synchronous", ""),
    *_pymongo("asynchronous", "Async"),
    *_of_commands(),
)


def imported() -> Iterator[tuple[type, Known]]:
    """Yield the methods whose modules have been imported, with their classes."""
    for each in KNOWN:
        kind = getattr(sys.modules.get(each.module), each.kind, None)
        if kind is not None and each.method in vars(kind):
            yield kind, each


def undoes(client: Any, words: str) -> bool:
    """Return whether a call only undoes what the database itself undoes, if it loses the connection."""
    return client is not sqlite3 and words.startswith("ROLLBACK")


def may_fail_alone(client: Any, words: str) -> bool:
    """Return whether a failure of the call has an effect of its own, and leaves the client usable.

    The beginning of a transaction changes nothing, and a block of psycopg keeps a count of its own.
    """
    if client is sqlite3:
        return True
    return not (hasattr(client, "savepoint_name") or _BEGINNING.match(words))


_BEGINNING = re.compile(r"BEGIN(?!,)|START TRANSACTION|SAVEPOINT", re.IGNORECASE)


def lost_connection(client: Any) -> Exception:
    """Return the error that the library of ``client`` raises for a lost connection."""
    text = "the connection is lost"
    if client is sqlite3:
        return sqlite3.OperationalError("disk I/O error")
    for kind in type(client).__mro__:
        library = kind.__module__.partition(".")[0]
        if library == "botocore":
            exceptions = importlib.import_module("botocore.exceptions")
            timed_out: Exception = exceptions.ReadTimeoutError(endpoint_url="http://127.0.0.1")
            return timed_out
        where = _ERRORS.get(library)
        if where is not None:
            module, name = where
            lost: Exception = getattr(importlib.import_module(module), name)(text)
            return lost
    return ConnectionError(text)


_ERRORS = {
    "redis": ("redis.exceptions", "ConnectionError"),
    "valkey": ("valkey.exceptions", "ConnectionError"),
    "psycopg": ("psycopg", "OperationalError"),
    "asyncpg": ("asyncpg.exceptions", "ConnectionDoesNotExistError"),
    "pymysql": ("pymysql.err", "OperationalError"),
    "mysql": ("mysql.connector.errors", "OperationalError"),
    "pymongo": ("pymongo.errors", "AutoReconnect"),
}


def end_session(client: Any) -> None:
    """Do what a database does when it loses a connection: roll back, and release the session's locks."""
    connection = getattr(client, "connection", client)
    library = type(connection).__module__.partition(".")[0]
    if library == "psycopg" and not connection.closed:
        # As its own rollback is refused inside a transaction block.
        for statement in ("ROLLBACK", _UNLOCK) if _status(connection) != _IDLE else (_UNLOCK,):
            connection.pgconn.exec_(statement.encode())
    elif library in ("pymysql", "mysql"):
        connection.rollback()


def _sql(query: Any) -> str:
    """Return a statement on one line: a text, bytes, or an object that composes one."""
    if isinstance(query, bytes):
        query = query.decode(errors="replace")
    elif hasattr(query, "as_string"):
        query = query.as_string(None)
    return _short(" ".join(str(query).split()))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
