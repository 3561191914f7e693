"""The statements of the SQLAlchemy layers. Each one is a transaction of its own.

A claim looks first, and inserts only if there is no record, so that a replay writes nothing. A replacement is
one UPDATE or DELETE with the version as its condition. So no lock is ever held between two requests.
"""

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Insert,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    delete,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

from ..drivers.exchanges import Ask, Exchange
from ..spec.commands import Sleep
from ..spec.errors import (
    IdempotencyInvalidStatusError,
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConsistencyError,
    IdempotencyRecordTooLargeError,
)
from ..spec.record import Record, checked, same_record, same_version
from .housekeeping import evictable
from .sqlalchemy_errors import Trouble, is_lost_connection, trouble_of
from .sqlalchemy_table import (
    COLUMNS,
    LONGEST_KEY_ELSEWHERE,
    LONGEST_KEYS,
    POSTGRESQL,
    SQLITE,
    largest_packet,
    require_own_table,
)

_TRIES = 8
"""How often a request is repeated after a deadlock, a serialization failure, or a lost race."""

_LOCK_PAUSES_MS = (5, 10, 20, 40, 80, 160, 320)
"""The waits for a row that another transaction has locked, where the database itself does not wait."""

_PURGE_AT_MOST = 256
_OVERHEAD_BYTES = 4096
"""A bound for what a statement has next to the record's text, without the key and the payload hash."""


def fetch(connection: Connection, statement: Select[Any], given: dict[str, Any]) -> Any:
    """Return the first row, or None."""
    return connection.execute(statement, given).first()


def fetch_all(connection: Connection, statement: Select[Any], given: dict[str, Any]) -> Any:
    """Return all rows."""
    return connection.execute(statement, given).all()


def write(connection: Connection, statement: Insert | Update | Delete, given: dict[str, Any]) -> int:
    """Return how many rows the statement has changed."""
    return connection.execute(statement, given, execution_options={"preserve_rowcount": True}).rowcount


class Statements:
    """The requests for the records in one table, as exchanges with a client that runs functions.

    Parameters
    ----------
    table
        The table.
    dialect
        The dialect of the engine.
    """

    def __init__(self, table: Table, dialect: Dialect) -> None:
        self._table = table
        self._dialect = dialect.name
        self._verified = False
        self._largest_packet: int | None = None
        columns = [table.c[name] for name in COLUMNS]
        self._read = select(*columns).where(table.c.id == bindparam("key"))
        self._insert = self._insertion()
        self._replacements: dict[tuple[bool, bool, bool], Update | Delete] = {}

    def forget_check(self) -> None:
        """Check the table again at the next request, because it may have been replaced."""
        self._verified = False

    def load(self, key: str) -> Exchange:
        """Return the record of a key."""
        yield from self._require(key)
        return (yield from self._load(key))

    def swap(self, key: str, expected: Record | None, new: Record | None) -> Exchange:
        """Replace a record, and return the record that is stored afterwards."""
        yield from self._require(key)
        self._refuse_too_large(key, new)
        for tried in range(_TRIES):
            try:
                done, stored = yield from self._try(key, expected, new)
            except Exception as error:  # noqa: BLE001 - judged below, outside of the handler
                failure = error
            else:
                if done:
                    return stored
                continue
            self._judge(failure, key, new, last=tried == _TRIES - 1)
            if trouble_of(failure) is not Trouble.TAKEN:
                yield Sleep(5 << tried)
        raise IdempotencyPersistenceConsistencyError(
            f"The record of {key!r} in the table {self._table.fullname!r} could not be written in {_TRIES} "
            "tries, although it never changed. Check the table for triggers, rules and policies."
        )

    def _try(self, key: str, expected: Record | None, new: Record | None) -> Exchange:
        """Return whether the swap is decided, and the record that is stored then."""
        if expected is None:
            found = yield from self._load(key)
            if found is not None or new is None:
                return True, found
            changed = yield Ask("run", (write, self._insert, new._asdict()))
            return changed == 1, new
        changed = yield from self._replace(key, expected, new)
        if changed == 1:
            return True, new
        found = yield from self._load(key)
        if new is not None and same_record(found, new):
            return True, new  # some drivers count only rows whose values differ
        return not same_version(found, expected), found

    def purge(self, now: int) -> Exchange:
        """Delete the records that have expired at ``now``, and return how many there were."""
        yield from self._verify()
        table, total, last = self._table, 0, ""
        names = [name for name in COLUMNS if name != "data"]
        page = (
            select(*(table.c[name] for name in names))
            .where(table.c.expiration <= now // 1000, table.c.id > bindparam("last"))
            .order_by(table.c.id)
            .limit(_PURGE_AT_MOST)
        )
        over = and_(
            table.c.id.in_(bindparam("keys", expanding=True)),
            table.c.expiration <= now // 1000,
            or_(table.c.in_progress_expiration.is_(None), table.c.in_progress_expiration <= now),
        )
        statement = self._where_locked(delete(table), over, skip_locked=True)
        while True:
            rows = yield Ask("run", (fetch_all, page, {"last": last}))
            found = [
                Record(row.id, row.status, row.expiration, row.in_progress_expiration, None, *row[4:])
                for row in rows
            ]
            keys = [each.idempotency_key for each in found if _is_well_formed(each) and evictable(each, now)]
            if keys:
                try:
                    total += yield Ask("run", (write, statement, {"keys": keys}))
                except Exception as error:
                    if trouble_of(error) is not Trouble.LOCKED:
                        raise
                    # Another transaction still uses one of them, so the next purge deletes them.
            if len(rows) < _PURGE_AT_MOST:
                return total
            last = found[-1].idempotency_key

    def _require(self, key: str) -> Exchange:
        yield from self._verify()
        try:
            size = len(key.encode())
        except UnicodeEncodeError as cause:
            raise self._refused_key(key, "is not valid Unicode") from cause
        if self._dialect == POSTGRESQL and "\0" in key:
            raise self._refused_key(key, "has a NUL character, which PostgreSQL cannot store")
        longest = LONGEST_KEYS.get(self._dialect)
        if longest is not None and size > longest:
            raise self._refused_key(key, f"has {size} bytes, and {self._dialect} indexes at most {longest}")
        if longest is None and self._dialect != SQLITE and len(key) > LONGEST_KEY_ELSEWHERE:
            raise self._refused_key(
                key, f"has {len(key)} characters, and the column at most {LONGEST_KEY_ELSEWHERE}"
            )

    def _verify(self) -> Exchange:
        if not self._verified:
            yield Ask("run", (require_own_table, self._table))
            self._largest_packet = yield Ask("run", (largest_packet,))
            self._verified = True

    def _load(self, key: str) -> Exchange:
        row = yield Ask("run", (fetch, self._read, {"key": key}))
        return None if row is None else Record(*row)

    def _replace(self, key: str, expected: Record, new: Record | None) -> Exchange:
        given: dict[str, Any] = {
            "key": key,
            "was_status": expected[1],
            "was_expiration": expected.expiry_timestamp,
        }
        if expected.in_progress_expiry_timestamp is not None:
            given["was_lease"] = expected.in_progress_expiry_timestamp
        if expected.owner:
            given["was_owner"] = expected.owner
        if new is not None:
            given |= {f"new_{name}": value for name, value in zip(COLUMNS[1:], new[1:], strict=True)}
        statement = self._replacement("was_lease" in given, "was_owner" in given, new is None)
        for pause in (*_LOCK_PAUSES_MS, 0):
            try:
                return (yield Ask("run", (write, statement, given)))
            except Exception as error:
                # MySQL and SQLite have waited.
                if self._dialect != POSTGRESQL or not pause or trouble_of(error) is not Trouble.LOCKED:
                    raise
            yield Sleep(pause)
        raise AssertionError  # not reached: the last try returns or raises

    def _replacement(self, has_lease: bool, has_owner: bool, removes: bool) -> Update | Delete:
        found = self._replacements.get((has_lease, has_owner, removes))
        if found is None:
            columns = self._table.c
            lease, owner = columns.in_progress_expiration, columns.owner
            condition = and_(
                columns.id == bindparam("key"),
                columns.status == bindparam("was_status"),
                columns.expiration == bindparam("was_expiration"),
                lease == bindparam("was_lease") if has_lease else lease.is_(None),
                owner == bindparam("was_owner") if has_owner else or_(owner.is_(None), owner == ""),
            )
            change: Update | Delete = delete(self._table)
            if not removes:
                change = update(self._table).values({name: bindparam(f"new_{name}") for name in COLUMNS[1:]})
            found = self._where_locked(change, condition)
            self._replacements[has_lease, has_owner, removes] = found
        return found

    def _where_locked(self, change: Any, condition: ColumnElement[bool], *, skip_locked: bool = False) -> Any:
        """Return ``change`` for rows that meet ``condition``. On PostgreSQL it waits for no row's lock."""
        if self._dialect != POSTGRESQL:
            return change.where(condition)
        key = self._table.c.id
        held = select(key).where(condition).with_for_update(nowait=not skip_locked, skip_locked=skip_locked)
        return change.where(key == held.cte("held").c.id)

    def _insertion(self) -> Insert:
        values: dict[str, Any] = {
            name: bindparam(field) for name, field in zip(COLUMNS, Record._fields, strict=True)
        }
        if self._dialect == POSTGRESQL:
            return postgresql.insert(self._table).values(values).on_conflict_do_nothing().inline()
        if self._dialect == SQLITE:
            return sqlite.insert(self._table).values(values).on_conflict_do_nothing().inline()
        return insert(self._table).values(values).inline()

    def _judge(self, error: Exception, key: str, new: Record | None, *, last: bool) -> None:
        """Return if the statement may be repeated; raise otherwise."""
        trouble = trouble_of(error)
        if is_lost_connection(error) and self._largest_packet is not None and new is not None:
            # The server has closed the connection, because it could not skip the rest of the statement.
            size = 2 * len((new.response_data or "").encode())
            if size + _OVERHEAD_BYTES > self._largest_packet:
                raise self._too_large(key, size) from error
        if last or trouble not in (Trouble.CONFLICT, Trouble.TAKEN):
            raise error

    def _refuse_too_large(self, key: str, new: Record | None) -> None:
        if self._largest_packet is not None and new is not None and new.response_data is not None:
            size = len(new.response_data.encode("utf-8", "surrogatepass"))
            if size + _OVERHEAD_BYTES > self._largest_packet:
                raise self._too_large(key, size)

    def _too_large(self, key: str, size: int) -> IdempotencyRecordTooLargeError:
        return IdempotencyRecordTooLargeError(
            f"The record of {key!r} needs up to {size} bytes in a statement, and the server's "
            f"max_allowed_packet is {self._largest_packet}. It was not stored. Raise the limit."
        )

    def _refused_key(self, key: str, why: str) -> IdempotencyPersistenceConfigError:
        shown = f"{key[:60]!r}…" if len(key) > 60 else repr(key)  # noqa: PLR2004 - a line
        return IdempotencyPersistenceConfigError(
            f"The key {shown} {why}. Nothing was written. Use a shorter or simpler key."
        )


def _is_well_formed(record: Record) -> bool:
    try:
        checked(record, record.idempotency_key)
    except IdempotencyInvalidStatusError:
        return False
    return True
