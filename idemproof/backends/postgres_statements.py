"""Builds statements for PostgreSQL and parses replies. Uses no client and no clock, and decides nothing.

Each request is one statement, which is a transaction of its own. So a request takes one round trip, nothing
stays locked between requests, and all settings that a statement makes end with it.
"""

import hashlib
import re
from typing import Any

from ..drivers.exchanges import Ask, Exchange
from ..spec.commands import Sleep
from ..spec.errors import (
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConsistencyError,
    IdempotencyRecordTooLargeError,
)
from ..spec.record import COMPLETED, INPROGRESS, Record, same_version
from .postgres_errors import sqlstate
from .within import POSTGRESQL, Records

COLUMNS = {
    "id": "text",
    "status": "text",
    "expiration": "bigint",
    "in_progress_expiration": "bigint",
    "data": "text",
    "validation": "text",
    "owner": "text",
}
"""The names and types of the columns, in the order of a record's fields."""

_FIELDS = ", ".join([*COLUMNS][1:])

LARGEST_KEY = 2692
"""The largest size of a key in bytes. An entry of an index may have 2,704, and 12 of them are its header."""

LARGEST_TEXT = 2**30 - 2**16
"""The largest size of a result in bytes: a message to the server has at most 1 GiB, with all fields."""

_LONGEST_NAME = 63

_WAITS_MS = {INPROGRESS: 200, COMPLETED: 2000, None: 200}
"""How long a request waits for a locked row, by the status that it writes. Storing a result matters most."""

_LOST_RACES = 10
_CONFLICTS = 10
_PAUSE_MS = 5
_SERIALIZATION = ("40001", "40P01")
_LOST_CREATION = ("23505", "42P07", "42710")
"""What one of two sessions gets that create the same table at the same time."""

_PURGE_AT_ONCE = 1000
_LARGEST = 2**63 - 1

# The text of PostgreSQL has no NUL character, so it is escaped, and so is the character that escapes it.
_ESCAPE = "\x01"
_ESCAPED = re.compile("\x01([01])")

_CHECK = """\
SELECT pg_backend_pid(), pg_is_in_recovery(), current_setting('server_version_num')::int, t.relpersistence,
    ARRAY(SELECT a.attname::text || ' ' || format_type(a.atttypid, NULL)
        FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped),
    (SELECT c.collisdeterministic FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation
        WHERE a.attrelid = t.oid AND a.attname = 'id'),
    EXISTS (SELECT FROM pg_index i WHERE i.indrelid = t.oid AND i.indisunique AND i.indisvalid
        AND i.indimmediate AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] =
            (SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attname = 'id')),
    ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum > 0
        AND NOT a.attisdropped AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = '')
FROM (SELECT to_regclass(%(table)s) AS oid) AS asked LEFT JOIN pg_class AS t ON t.oid = asked.oid
"""

_DDL = """\
CREATE TABLE IF NOT EXISTS {table} (
    id text COLLATE "C" PRIMARY KEY,
    status text NOT NULL,
    expiration bigint NOT NULL,
    in_progress_expiration bigint,
    data text,
    validation text,
    owner text
) WITH (fillfactor = 70);

CREATE INDEX IF NOT EXISTS {index} ON {table} USING brin (expiration);
"""

_CLAIM = """\
WITH old AS MATERIALIZED (
    SELECT {fields} FROM {table} WHERE id = %(key)s
), won AS (
    INSERT INTO {table} (id, {fields})
    SELECT %(key)s::text, %(status)s::text, %(expiration)s::bigint, %(lease)s::bigint, %(data)s::text,
        %(validation)s::text, %(owner)s::text
    WHERE NOT EXISTS (SELECT FROM old) AND set_config('lock_timeout', %(wait)s, true) IS NOT NULL
    ON CONFLICT (id) DO NOTHING
    RETURNING id
)
SELECT true, NULL, NULL::bigint, NULL::bigint, NULL, NULL, NULL FROM won
UNION ALL SELECT false, {fields} FROM old
"""

_VERSION = """\
WHERE id = %(key)s AND status = %(old_status)s AND expiration = %(old_expiration)s::bigint
    AND in_progress_expiration IS NOT DISTINCT FROM %(old_lease)s::bigint
    AND coalesce(owner, '') = %(old_owner)s::text
    AND set_config('lock_timeout', %(wait)s, true) IS NOT NULL
RETURNING CASE WHEN pg_try_advisory_xact_lock(%(signal)s::bigint) THEN true
    ELSE pg_notify('idemproof', %(signal)s::text) IS NOT NULL END
"""
"""Both return true. It notifies only if a call waits for the record, and so its session shares the lock."""

LISTEN = "LISTEN idemproof"
_SUBSCRIBE = "SELECT pg_try_advisory_lock_shared(%(signal)s::bigint)"
_UNSUBSCRIBE = "SELECT pg_advisory_unlock_shared(%(signal)s::bigint)"

_REPLACE = """\
UPDATE {table} SET status = %(status)s, expiration = %(expiration)s::bigint,
    in_progress_expiration = %(lease)s::bigint, data = %(data)s, validation = %(validation)s,
    owner = %(owner)s
{where}"""

_DELETE = "DELETE FROM {table} {where}"

_LOAD = "SELECT false, {fields} FROM {table} WHERE id = %(key)s"

_KEYS = """\
SELECT id FROM {table} WHERE starts_with(id, %(prefix)s) ORDER BY id LIMIT %(most)s::bigint
"""

_PURGE = """\
WITH gone AS (
    DELETE FROM {table} WHERE id = ANY (ARRAY(
        SELECT id FROM {table}
        WHERE expiration <= %(seconds)s::bigint
            AND (status = 'COMPLETED' OR (status = 'INPROGRESS'
                AND (in_progress_expiration IS NULL OR in_progress_expiration <= %(now)s::bigint)))
        LIMIT %(most)s::bigint FOR UPDATE SKIP LOCKED
    ))
    RETURNING id
)
SELECT count(*) FROM gone
"""


class PostgresTable:
    """A table, and the statements for it.

    Parameters
    ----------
    name
        The name of the table.
    schema
        Its schema; None for the one that the connection's ``search_path`` finds.

    Raises
    ------
    IdempotencyPersistenceConfigError
        A name is empty or too long.
    """

    def __init__(self, name: str, schema: str | None) -> None:
        given = {"table": name} if schema is None else {"schema": schema, "table": name}
        for parameter, each in given.items():
            if not isinstance(each, str) or not each or "\0" in each or "." in each:
                raise IdempotencyPersistenceConfigError(
                    f"{parameter} must be the name of a {parameter}, without dots, not {each!r}."
                )
            if len(each.encode(errors="replace")) > _LONGEST_NAME:
                raise IdempotencyPersistenceConfigError(
                    f"{parameter} has more than {_LONGEST_NAME} bytes, and PostgreSQL would cut it off: "
                    f"{each!r}."
                )
        self.name = ".".join(_quoted(each) for each in given.values())
        # An index is in the schema of its table.
        index = f"{name.encode()[: _LONGEST_NAME - 11].decode(errors='ignore')}_expiration"
        self.ddl = _DDL.format(table=self.name, index=_quoted(index))
        names = {"table": self.name.replace("%", "%%"), "fields": _FIELDS}
        names["where"] = _VERSION
        self._claim, self._replace, self._delete, self._load, self._keys, self._purge = (
            each.format_map(names) for each in (_CLAIM, _REPLACE, _DELETE, _LOAD, _KEYS, _PURGE)
        )

    def records(self) -> Records:
        """Return where the records are, for completion within transactions of the application."""
        return Records(POSTGRESQL, self.name, _text, _whole, signal_of=signal_of)

    def load(self, key: str) -> Exchange:
        """Read the stored record of ``key``."""
        (_, current) = yield from self._ask(self._load, key, {"key": _key(key)})
        return current

    def swap(self, key: str, expected: Record | None, new: Record | None) -> Exchange:
        """Replace ``expected`` with ``new``, insert it, or delete it."""
        if expected is None:
            if new is None:
                return (yield from self.load(key))
            statement = self._claim
            parameters = _record(key, new)
        else:
            statement = self._delete if new is None else self._replace
            parameters = {"key": _key(key)} if new is None else _record(key, new)
            parameters |= {
                "signal": signal_of(key),
                "old_status": _text(expected.status),
                "old_expiration": str(expected.expiry_timestamp),
                "old_lease": _number(expected.in_progress_expiry_timestamp),
                "old_owner": _text(expected.owner or ""),
            }
        parameters["wait"] = str(_WAITS_MS.get(None if new is None else new.status, _WAITS_MS[None]))
        for _ in range(_LOST_RACES):
            done, current = yield from self._ask(statement, key, parameters)
            if done:
                return new
            if expected is not None:
                current = yield from self.load(key)
            # Otherwise another session has written meanwhile, so ask again.
            if not same_version(current, expected):
                return current
        raise IdempotencyPersistenceConsistencyError(
            f"The record of {key!r} changed {_LOST_RACES} times during one request, or a policy or a trigger "
            f"of the table {self.name} hides it. Retry."
        )

    def _ask(self, statement: str, key: str, parameters: dict[str, Any]) -> Exchange:
        """Send a statement; return whether it has written, and the record that it found."""
        rows = yield from _repeated(statement, parameters)
        if not rows:
            return False, None
        done, *fields = rows[0]
        return done, None if done else _decoded(key, fields)

    def subscribe(self, signal: str) -> Exchange:
        """Have changes of a record notify this session; return False if another session is changing it."""
        ((granted,),) = yield from _repeated(_SUBSCRIBE, {"signal": signal})
        return granted

    def unsubscribe(self, signal: str) -> Exchange:
        """End what :meth:`subscribe` has begun."""
        yield from _repeated(_UNSUBSCRIBE, {"signal": signal})

    def keys(self, prefix: str, most: int) -> Exchange:
        """Return at most so many stored keys that begin with ``prefix``."""
        rows = yield from _repeated(self._keys, {"prefix": _text(prefix), "most": str(most)})
        return [_whole(key) for (key,) in rows]

    def purge(self, now: int) -> Exchange:
        """Delete the records that the specification allows to evict, in batches. Return their number."""
        total = 0
        seconds = min(now // 1000, _LARGEST)
        parameters = {
            "now": str(min(now, _LARGEST)),
            "seconds": str(seconds),
            "most": str(_PURGE_AT_ONCE),
        }
        while True:
            ((gone,),) = yield from _repeated(self._purge, parameters)
            total += gone
            if gone < _PURGE_AT_ONCE:
                return total

    def create(self) -> Exchange:
        """Create the table and its index, unless they exist, and check them."""
        table, index = self.ddl.split(";\n\n")
        yield from _repeated(table, None, _LOST_CREATION)
        yield from self.check()
        yield from _repeated(index, None, _LOST_CREATION)

    def check(self) -> Exchange:
        """Check the session and the table; return the id of the session's process.

        Raises
        ------
        IdempotencyPersistenceConfigError
            There is no such table, it is not for records, or it may lose or confuse them.
        """
        ((pid, replica, _, persistence, columns, exact, unique, required),) = yield Ask(
            "ask", (_CHECK, {"table": self.name})
        )
        if replica:
            raise IdempotencyPersistenceConfigError(
                f"Records in {self.name} cannot be read from a replica, which may lag behind. Connect to the "
                "primary."
            )
        if isinstance(persistence, bytes):
            raise IdempotencyPersistenceConfigError(
                "The connection has the client encoding SQL_ASCII, by which text is not decoded. Use UTF8."
            )
        found = dict(each.split(" ", 1) for each in columns)
        wrong = ""
        if persistence is None:
            wrong = "it does not exist for this user. Create it, for example by create_table()"
        elif missing := [f"{name} {kind}" for name, kind in COLUMNS.items() if found.get(name) != kind]:
            has = (
                ", ".join(f"{name} {found[name]}" for name in COLUMNS if name in found)
                or "none of its columns"
            )
            wrong = f"it needs the columns {', '.join(missing)}, and has {has}. Use another table"
        elif others := [name for name in required if name not in COLUMNS]:
            wrong = f"its column {others[0]} must not be NULL and has no default. Use another table"
        elif persistence == "u":
            wrong = "it is UNLOGGED: a crash of the server would empty it. Use ALTER TABLE … SET LOGGED"
        elif exact is False:
            wrong = 'the collation of its column id makes different keys equal. Use COLLATE "C"'
        elif not unique:
            wrong = "its column id has no unique index. Make it the primary key"
        if wrong:
            raise IdempotencyPersistenceConfigError(f"The table {self.name} cannot be used: {wrong}.")
        return pid


def _repeated(
    statement: str, parameters: dict[str, Any] | None, lost: tuple[str, ...] = _SERIALIZATION
) -> Exchange:
    """Send a statement, again if the server has rolled it back because of another session.

    That happens at stricter isolation than READ COMMITTED, and when two sessions create one table.
    """
    for pause in range(_CONFLICTS):
        try:
            return (yield Ask("ask", (statement, parameters)))
        except Exception as error:
            if sqlstate(error) not in lost or pause == _CONFLICTS - 1:
                raise
        yield Sleep(pause * _PAUSE_MS)
    raise AssertionError  # not reached


def signal_of(key: str) -> str:
    """Return the number of the lock, and the payload of the notifications, for the record of ``key``."""
    digest = hashlib.sha256(b"idemproof:" + key.encode(errors="surrogatepass")).digest()
    return str(int.from_bytes(digest[:8], signed=True))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _number(value: int | None) -> str | None:
    return None if value is None else str(value)


def _key(key: str) -> str:
    text = _text(key)
    # A character has at most four bytes.
    if len(text) > LARGEST_KEY // 4 and (size := len(text.encode())) > LARGEST_KEY:
        raise IdempotencyRecordTooLargeError(
            f"The key {key[:60]!r}… has {size} bytes, but PostgreSQL indexes at most {LARGEST_KEY}. Nothing "
            "was sent. Use a shorter key_prefix."
        )
    return text


def _record(key: str, record: Record) -> dict[str, Any]:
    """Return the parameters that write a record. Numbers are texts, so that their size changes no type."""
    _, status, expiry, lease, response, payload_hash, owner = record
    if response is not None and len(response) > LARGEST_TEXT // 4 and len(response.encode()) > LARGEST_TEXT:
        raise IdempotencyRecordTooLargeError(
            f"The result of {key!r} is larger than {LARGEST_TEXT} bytes. Nothing was sent."
        )
    return {
        "key": _key(key),
        "status": _text(status),
        "expiration": str(expiry),
        "lease": None if lease is None else str(lease),
        "data": None if response is None else _text(response),
        "validation": None if payload_hash is None else _text(payload_hash),
        "owner": None if owner is None else _text(owner),
    }


def _text(text: str) -> str:
    if "\0" in text or _ESCAPE in text:
        return text.replace(_ESCAPE, _ESCAPE + "1").replace("\0", _ESCAPE + "0")
    return text


def _decoded(key: str, fields: list[Any]) -> Record:
    """Return the record in a row. It may be malformed; the specification checks that (REC-7)."""
    status, expiry, lease, *texts = fields
    return Record(key, status, expiry, lease, *map(_whole, texts))


def _whole(text: Any) -> Any:
    return _ESCAPED.sub(_unescaped, text) if isinstance(text, str) and _ESCAPE in text else text


def _unescaped(found: re.Match[str]) -> str:
    return _ESCAPE if found[1] == "1" else "\0"
