"""Layers over a table of PostgreSQL: a correct one, with a locking read, and broken ones.

They need a real server, so they are not among those of the kill matrix. ``tests/conformance/suite`` judges
them.
"""

# ruff: noqa: D102, S608 - what is overridden is documented where it comes from; constants only

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple, TypeVar

import psycopg

from idemproof import CompareAndSwapLayer, Record
from idemproof.spec.record import same_version

_FIELDS = "status, expiration, in_progress_expiration, data, validation, owner"
_SET = ", ".join(f"{name} = %({name})s" for name in _FIELDS.split(", "))
_VALUES = ", ".join(f"%({name})s" for name in ("id", *_FIELDS.split(", ")))

CREATE = (
    "CREATE TABLE IF NOT EXISTS broken (id text PRIMARY KEY, status text, expiration bigint, "
    "in_progress_expiration bigint, data text, validation text, owner text)"
)


class Sample(NamedTuple):
    """A broken layer, and how the suite finds it."""

    kind: "type[LocksAndCompares]"
    clause: str
    tier: str


SAMPLES: dict[str, Sample] = {}
"""The broken layers, by the sentence that states their fault."""

_Kind = TypeVar("_Kind", bound="type[LocksAndCompares]")


def _broken(clause: str, tier: str) -> Any:
    def register(kind: _Kind) -> _Kind:
        SAMPLES[(kind.__doc__ or "").strip()] = Sample(kind, clause, tier)
        return kind

    return register


class LocksAndCompares(CompareAndSwapLayer):
    """Locks the row in a transaction, compares, and writes.

    Parameters
    ----------
    dsn
        The address of the database.
    """

    read: ClassVar = f"SELECT {_FIELDS} FROM broken WHERE id = %(id)s"
    lock: ClassVar = f"{read} FOR UPDATE"
    insert: ClassVar = f"INSERT INTO broken VALUES ({_VALUES}) ON CONFLICT (id) DO NOTHING"
    update: ClassVar = f"UPDATE broken SET {_SET} WHERE id = %(id)s"
    delete: ClassVar = "DELETE FROM broken WHERE id = %(id)s"

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.idle: list[psycopg.Connection[Any]] = []

    def close(self) -> None:
        while self.idle:
            self.idle.pop().close()

    def _load(self, key: str) -> Record | None:
        with self.transaction() as connection:
            return self.found(connection, self.read, key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:  # noqa: ARG002
        while True:
            with self.transaction() as connection:
                current = self.found(connection, self.lock, key)
                if not same_version(current, expected):
                    return current
                if self.write(connection, key, current, new):
                    return new

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """Begin a transaction; commit it at the end."""
        with self.connection() as connection, connection.transaction():
            yield connection

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """Yield an idle connection, or a new one, which is idle afterwards if nothing was raised."""
        try:
            connection = self.idle.pop()
        except IndexError:
            connection = psycopg.connect(self.dsn, autocommit=True)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self.idle.append(connection)

    def found(self, connection: Any, statement: str, key: str) -> Record | None:
        row = connection.execute(statement, {"id": key}).fetchone()
        return None if row is None else Record(key, *row)

    def write(self, connection: Any, key: str, current: Record | None, new: Record | None) -> bool:
        """Write ``new``, or delete the record; return whether that has changed a row, if it had to."""
        if new is None:
            return current is None or connection.execute(self.delete, {"id": key}).rowcount == 1
        statement = self.insert if current is None else self.update
        return bool(connection.execute(statement, row_of(new)).rowcount == 1)


def row_of(record: Record) -> dict[str, Any]:
    """Return a record as the parameters of a statement."""
    return dict(zip(("id", *_FIELDS.split(", ")), record, strict=True))


@_broken("CAS-4", "exclusion")
class ReadsWithoutForUpdate(LocksAndCompares):
    """It reads without FOR UPDATE, and trusts that its transaction keeps others away."""

    lock: ClassVar = LocksAndCompares.read


@_broken("CAS-4", "exclusion")
class LocksOutsideATransaction(LocksAndCompares):
    """Its SELECT FOR UPDATE is committed by itself, so that the row is locked no more when it writes."""

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        with self.connection() as connection:
            yield connection


@_broken("CAS-4", "exclusion")
class UpsertsWithoutWhere(LocksAndCompares):
    """It claims by INSERT … ON CONFLICT DO UPDATE without a WHERE, which overwrites another claim."""

    insert: ClassVar = f"INSERT INTO broken VALUES ({_VALUES}) ON CONFLICT (id) DO UPDATE SET {_SET}"


@_broken("CAS-2", "contract")
class ComparesNullByEquals(LocksAndCompares):
    """It compares the lease by =, which is never true of NULL: a claim without a lease is never replaced."""

    update: ClassVar = f"{LocksAndCompares.update} AND in_progress_expiration = %(old_lease)s"

    def write(self, connection: Any, key: str, current: Record | None, new: Record | None) -> bool:
        if current is None or new is None:
            return super().write(connection, key, current, new)
        old = {"old_lease": current.in_progress_expiry_timestamp}
        return bool(connection.execute(self.update, row_of(new) | old).rowcount == 1)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:  # noqa: ARG002
        with self.transaction() as connection:
            current = self.found(connection, self.lock, key)
            if same_version(current, expected) and self.write(connection, key, current, new):
                return new
            return current


@_broken("CAS-4", "exclusion")
class SkipsLockedRows(LocksAndCompares):
    """It reads with SKIP LOCKED, so that a locked record looks like an absent one."""

    lock: ClassVar = f"{LocksAndCompares.lock} SKIP LOCKED"

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:  # noqa: ARG002
        with self.transaction() as connection:
            current = self.found(connection, self.lock, key)
            if same_version(current, expected) and self.write(connection, key, current, new):
                return new
            return current


class InsertsBeforeLooking(LocksAndCompares):
    """It inserts first and looks in one statement: racing a release, it claims, and returns the old record.

    The suite pauses between statements, so it does not find that. A test shows it with a release that is
    not yet committed.
    """

    claim: ClassVar = (
        f"WITH won AS ({LocksAndCompares.insert} RETURNING {_FIELDS}) "
        f"SELECT {_FIELDS} FROM won UNION ALL {LocksAndCompares.read}"
    )

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        if expected is not None or new is None:
            return super()._swap(key, expected, new, ttl_ms)
        while True:
            with self.transaction() as connection:
                rows = connection.execute(self.claim, row_of(new)).fetchall()
                if rows:
                    return Record(key, *rows[-1])
