"""Completion within a transaction of the application: statements, and the exchanges that send them (TXN-1).

A completion is one UPDATE on the condition that the claim is still the attempt's own. If it changes no row,
the transaction is left unable to commit: PostgreSQL fails a cast, whose text says why; elsewhere the
transaction is rolled back (TXN-6). Only the connection of the application is used.
"""

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from ..drivers.exchanges import Ask, Exchange
from ..spec.invariants import is_result_of
from ..spec.record import Record
from .base import InThreads

POSTGRESQL, MYSQL, SQLITE = "postgresql", "mysql", "sqlite"

MARK = "Idemproof refuses this transaction"
"""Begins what PostgreSQL says about a transaction that must not commit."""

_LOST = f"{MARK}, because the attempt does not hold its claim here. It cannot commit."
_NESTED = f"{MARK} in a savepoint, because that could be rolled back alone. It cannot commit."
_ABORTED = f"{MARK}, because its result is not recorded. It cannot commit."
_NUMBER = "Transaction "

_UPDATE = """\
UPDATE {table} SET status = 'COMPLETED', expiration = {expiration}, in_progress_expiration = NULL,
    data = {data}, validation = {validation}, owner = {owner}
WHERE id = {key} AND status = 'INPROGRESS' AND owner = {owner}"""

_TYPED = {
    "expiration": "CAST({expiration} AS bigint)",
    **{name: f"CAST({{{name}}} AS text)" for name in ("data", "validation", "owner", "key")},
    "signal": "CAST({signal} AS bigint)",
}

_ON_POSTGRESQL = """\
WITH own AS (
    {update}
    RETURNING CAST(CAST(xmin AS text) AS bigint) = mod(txid_current(), 4294967296) AS outermost{signals}
)
SELECT CAST(CASE WHEN count(*) = 0 THEN '{lost} {number}' WHEN {savepoint} OR bool_and(outermost) THEN ''
    ELSE '{nested} {number}' END || CAST(txid_current() AS text) AS bigint), bool_and(outermost)
FROM own"""

_SIGNALS = """,
        CASE WHEN current_setting('max_prepared_transactions') <> '0' THEN false
            WHEN pg_try_advisory_lock({signal}) THEN pg_advisory_unlock({signal})
            ELSE pg_notify('idemproof', CAST({signal} AS text)) IS NOT NULL END AS signals"""
"""Notifies, at the commit, if a call waits for the record, so that its session shares the lock.

The lock is not held until the commit, because calls that begin to wait meanwhile would find it taken, and ask
again at once. A transaction that notifies cannot be prepared for a commit in two phases, so it notifies only
if the server allows no such commits, which is the default.
"""

_READ = (
    "SELECT status, expiration, in_progress_expiration, data, validation, owner FROM {table} WHERE id = {key}"
)

_SAME = "SELECT txid_current_if_assigned() IS NOT DISTINCT FROM CAST(\0transaction\0 AS bigint)"

_ABORT = f"SELECT CAST('{_ABORTED}' AS integer)"

_ABORT_ONE = f"""\
SELECT CAST(CASE WHEN txid_current_if_assigned() = CAST(\0transaction\0 AS bigint) THEN '{_ABORTED}'
    ELSE '1' END AS integer)"""


NO_TRANSACTION, NOT_VISIBLE, IN_SAVEPOINT, ROLLED_BACK = (
    "NoTransaction",
    "NotVisible",
    "InSavepoint",
    "RolledBack",
)


_NO_TABLE = (1146, 1054)
_CHANGED_SINCE_SNAPSHOT = 1020
"""Numbers of errors of MariaDB and MySQL."""

HAS_FAILED = "a statement of the transaction has failed, so it cannot commit"


class Problem(Exception):  # noqa: N818 - it says what is wrong with a connection
    """A connection cannot be used: the kind of the error for the caller, and what is wrong."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(what)
        self.kind = kind
        self.what = what


class Client:
    """One connection of the application.

    Parameters
    ----------
    given
        The connection.
    """

    dialect: str
    asynchronous = False
    knows_savepoints = False
    """Whether :meth:`require` finds each savepoint that its library may still roll back.

    PostgreSQL also counts those that were rolled back and not released, as SQLAlchemy leaves them.
    """

    def __init__(self, given: Any) -> None:
        self.given = given

    def is_open(self) -> bool:
        """Return whether the connection is in a transaction now. Sends nothing."""
        raise NotImplementedError

    def require(self, *, savepoint: bool) -> Any:
        """Raise :class:`Problem` unless the connection is in a transaction, and in no savepoint.

        Note which transaction that is, as far as the connection tells transactions from each other.
        """
        raise NotImplementedError

    def is_over(self) -> bool:
        """Return whether the transaction that was noted is known to have ended. Sends nothing."""
        return False

    def is_same(self) -> Any:
        """Return whether the connection is still in the transaction that was noted; None if it cannot tell.

        PostgreSQL is asked for the number of the transaction instead.
        """
        return None

    def rows(self, statement: str, given: dict[str, Any]) -> Any:
        """Execute a query, and return its rows."""
        raise NotImplementedError

    def changed(self, statement: str, given: dict[str, Any]) -> Any:
        """Execute a change, and return how many rows it has changed."""
        raise NotImplementedError

    def roll_back(self) -> Any:
        """Roll the whole transaction back."""
        raise NotImplementedError


class Records(NamedTuple):
    """Where a layer keeps its records, for the connections of an application.

    Parameters
    ----------
    dialect
        "postgresql", "mysql" (also for MariaDB), or "sqlite".
    table
        The quoted name of the table.
    encode, decode
        Convert a text to what the table stores, and back.
    path
        The file of a SQLite database; None if it is not known, and for other databases.
    signal_of
        Returns the number of the signal for a key; None if calls that wait get none.
    """

    dialect: str
    table: str
    encode: Callable[[str], Any]
    decode: Callable[[Any], Any]
    path: str | None = None
    signal_of: Callable[[str], str] | None = None


class Written(NamedTuple):
    """A completion was written.

    Parameters
    ----------
    outermost
        Whether it is known to be in no savepoint, so that it cannot be rolled back alone.
    transaction
        The number of the transaction, if the database tells.
    """

    outermost: bool = False
    transaction: int | None = None


class Refusal(NamedTuple):
    """Why a completion was not written: the transaction can commit no more, unless ``unsent``.

    ``why`` is "lost", "savepoint", "failed", "database" or "no table".
    """

    why: str
    unsent: bool = False
    error: Exception | None = None
    transaction: int | None = None


def records_of(store: Any) -> Records | None:
    """Return where the layer of a call keeps its records, or None if it cannot complete in a transaction."""
    found: Callable[[], Records] | None = built_in(store, "_records")
    return None if found is None else found()


def built_in(store: Any, name: str) -> Callable[..., Any] | None:
    """Return the method ``name`` of the layer of a call, if all of its records are written by built-in code.

    A layer of the application may use the name for anything. One that loads and swaps in its own way, for
    example to encrypt results, would be bypassed.
    """
    # An async call may use a blocking layer, whose requests run in threads.
    layer = store._layer if isinstance(store, InThreads) else store
    if all(_is_built_in(type(layer), each) for each in (name, "_load", "_swap")):
        method: Callable[..., Any] = getattr(layer, name)
        return method
    return None


def _is_built_in(kind: type, name: str) -> bool:
    return next((each.__module__ for each in kind.__mro__ if name in vars(each)), "").startswith(_HERE)


_HERE = f"{__package__}."


def write(records: Records, new: Record, *, savepoint: bool) -> Exchange:
    """Store the result ``new``, if the claim is held; return :class:`Written` or :class:`Refusal`."""
    if records.dialect == SQLITE and not (yield from _is_same_file(records)):
        return Refusal("database", unsent=True)
    given = {"key": records.encode(new.idempotency_key), "expiration": new.expiry_timestamp}
    for name, value in zip(("data", "validation", "owner"), new[4:], strict=True):
        given[name] = None if value is None else records.encode(value)
    failure: Exception | None = None
    try:
        if records.dialect == POSTGRESQL:
            if records.signal_of is not None:
                given["signal"] = int(records.signal_of(new.idempotency_key))
            text = _on_postgresql(savepoint=savepoint, signals="signal" in given)
            ((transaction, outermost),) = yield Ask("rows", (_statement(records, text), given))
            return Written(outermost, transaction)
        if (yield Ask("changed", (_statement(records, _UPDATE), given))) == 1:
            return Written()
    except Exception as error:  # noqa: BLE001 - judged below, outside of the handler
        failure = error
    if records.dialect != POSTGRESQL:
        yield Ask("roll_back")
    return Refusal("lost") if failure is None else _judged(failure)


def _statement(records: Records, text: str) -> str:
    """Return a statement in which a name between two NUL is a parameter. No table has NUL in its name."""
    return re.sub(r"\{(key|expiration|data|validation|owner|signal)\}", "\0\\1\0", text).replace(
        "{table}", records.table
    )


def _on_postgresql(*, savepoint: bool, signals: bool) -> str:
    whole = _ON_POSTGRESQL.replace("{update}", _UPDATE).replace("{signals}", _SIGNALS if signals else "")
    for name, typed in _TYPED.items():
        whole = whole.replace(f"{{{name}}}", typed)
    whole = whole.replace("{lost}", _LOST).replace("{nested}", _NESTED).replace("{number}", _NUMBER)
    return whole.replace("{savepoint}", str(savepoint).upper())


def _judged(failure: Exception) -> Refusal:
    """Return the refusal that ``failure`` is, or raise it."""
    text = _text_of_driver(failure)
    if MARK in text:
        number = re.search(rf"{_NUMBER}(\d+)", text)
        transaction = None if number is None else int(number[1])
        return Refusal("savepoint" if _NESTED in text else "lost", error=failure, transaction=transaction)
    if _has_no_table(failure, text):
        return Refusal("no table", error=failure)
    if is_aborted(failure):
        return Refusal("failed", error=failure)
    if _number_of(failure) == _CHANGED_SINCE_SNAPSHOT:
        return Refusal("lost", error=failure)
    raise failure


def read(records: Records, key: str) -> Exchange:
    """Return the record of ``key`` as the transaction sees it, or None."""
    text = _READ.replace("{key}", _TYPED["key"]) if records.dialect == POSTGRESQL else _READ
    rows = yield Ask("rows", (_statement(records, text), {"key": records.encode(key)}))
    if not rows:
        return None
    status, expiry, lease, *texts = rows[0]
    texts = [value if value is None else records.decode(value) for value in texts]
    return Record(key, records.decode(status), expiry, lease, *texts)


def is_locked(records: Records, key: str, owner: str) -> Exchange:
    """Return whether the open transaction has locked the record of ``key``, which ``owner`` has completed.

    If it does not see the result, that was rolled back, and this is a later transaction. SQLite locks the
    whole file for any change of it, so there another connection tries whether it could write.
    """
    if records.dialect == SQLITE:
        return records.path is None or _is_write_locked(records.path)
    return is_result_of(owner, (yield from read(records, key)))


def _is_write_locked(path: str) -> bool:
    import sqlite3  # noqa: PLC0415 - programs with another database need not load it

    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        return False


def is_same(records: Records, transaction: int | None) -> Exchange:
    """Return whether the transaction that is open is, or may be, the one that was completed in.

    Ask only if it does not show the result: it may have rolled back the savepoint in which it was completed,
    or be a later transaction of the connection, perhaps another user's.
    """
    if records.dialect == POSTGRESQL:
        if transaction is None:
            return True
        ((same,),) = yield Ask("rows", (_SAME, {"transaction": transaction}))
        return same
    same = yield Ask("is_same")
    if same is None and records.dialect == SQLITE and records.path is not None:
        return _is_write_locked(records.path)  # as it is until the end of a transaction that has written
    return same is not False


def abort(records: Records, transaction: int | None) -> Exchange:
    """Leave the transaction unable to commit. On PostgreSQL, no other one than that with this number."""
    if records.dialect != POSTGRESQL:
        yield Ask("roll_back")
        return
    given = {} if transaction is None else {"transaction": transaction}
    try:
        yield Ask("rows", (_ABORT_ONE if given else _ABORT, given))
    except Exception as error:
        # Failed: that was the purpose, or it had failed before.
        if MARK not in _text_of_driver(error) and not is_aborted(error):
            raise


def is_aborted(error: BaseException) -> bool:
    """Return whether ``error`` says that the transaction cannot commit any more."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"PendingRollbackError", "TransactionManagementError"}:
        return True
    return "25P02" in _states(error)


def _has_no_table(error: BaseException, text: str) -> bool:
    """Return whether the database has no table of records, or none with these columns."""
    if _states(error) & {"42P01", "42703", "3F000"} or "no such table" in text or "no such column" in text:
        return True
    return _number_of(error) in _NO_TABLE


def _number_of(error: BaseException) -> Any:
    """Return the number of an error of MariaDB or MySQL."""
    return next(iter(_links(error)[-1].args), None)


def _states(error: BaseException) -> set[str]:
    return {
        str(state)
        for link in _links(error)
        for state in (getattr(link, "sqlstate", None), getattr(link, "pgcode", None))
        if state
    }


def _text_of_driver(error: BaseException) -> str:
    """Return what the database said, without the statement that a wrapper adds."""
    return str(_links(error)[-1])


def _links(error: BaseException) -> list[BaseException]:
    """Return an error of a wrapper, and those of the driver below it."""
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = getattr(link, "orig", None) or link.__cause__
    return links


def _is_same_file(records: Records) -> Exchange:
    """Return whether the main database of the connection is the file of the records."""
    if records.path is None:
        return True
    rows = yield Ask("rows", ("PRAGMA database_list", {}))
    found = next((row[2] for row in rows if row[1] == "main"), None)
    try:
        return bool(found) and Path(str(found)).samefile(records.path)
    except FileNotFoundError:
        return False
