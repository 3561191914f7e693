"""Layers over a table of SQLite: a correct one, with conditional updates, and broken ones."""

# ruff: noqa: D102 - what is overridden is documented where it comes from

import shutil
import sqlite3
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from idemproof.conformance.suite.factories import Factory
from idemproof.spec.record import COMPLETED, INPROGRESS, Record

from .exhibits import broken
from .foundations import LooksThenStores, Overwriting

_SCHEMA = """
CREATE TABLE records (id TEXT PRIMARY KEY, status TEXT NOT NULL, expiry INTEGER NOT NULL, lease INTEGER,
    response TEXT, hash TEXT, owner TEXT)
"""
_READ = "SELECT id, status, expiry, lease, response, hash, owner FROM records WHERE id = ?"
_INSERT = "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)"
_REPLACE = _INSERT.replace("INSERT", "INSERT OR REPLACE")
_SAME_VERSION = "id = ? AND status = ? AND expiry = ? AND lease IS ? AND coalesce(owner, '') = ?"
_UPDATE_VERSION = (
    "UPDATE records SET id = ?, status = ?, expiry = ?, lease = ?, response = ?, hash = ?, owner = ? WHERE "  # noqa: S608 - constants only
    + _SAME_VERSION
)
_DELETE_VERSION = "DELETE FROM records WHERE " + _SAME_VERSION  # noqa: S608 - constants only


class File:
    """A factory of layers of one class over one file, which is deleted when the factory is garbage collected.

    Parameters
    ----------
    kind
        The class.
    """

    def __init__(self, kind: "type[Table]") -> None:
        folder = tempfile.mkdtemp(prefix="idemproof-broken-layers-")
        self._make = partial(kind, str(Path(folder, "records.db")))
        self._remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        with closing(sqlite3.connect(self._make.args[0], isolation_level=None)) as db:
            db.execute(_SCHEMA)

    def __call__(self) -> "Table":
        """Return another layer over the file."""
        return self._make()

    def __reduce__(self) -> Any:
        # Another process gets the bare function, so that only this one deletes the file.
        return partial, (self._make.func, *self._make.args)


class Table(Overwriting):
    """A table with pooled connections and conditional updates.

    Parameters
    ----------
    path
        The path of the existing file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.idle: list[sqlite3.Connection] = []

    @classmethod
    def factory(cls) -> Factory:
        """Return a factory of layers of this class over a new file."""
        return File(cls)

    def close(self) -> None:
        """Close the connections."""
        while self.idle:
            self.idle.pop().close()

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Yield an autocommit connection from the pool; close it if a request on it fails."""
        try:
            db = self.idle.pop()
        except IndexError:
            db = sqlite3.connect(self.path, timeout=10, isolation_level=None, check_same_thread=False)
            db.execute("PRAGMA synchronous = OFF")
        try:
            yield db
        except BaseException:
            db.close()
            raise
        self.idle.append(db)

    def _load(self, key: str) -> Record | None:
        with self.connection() as db:
            return self.read(db, key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:  # noqa: ARG002
        with self.connection() as db:
            db.execute("BEGIN IMMEDIATE")
            changed = self.change(db, key, expected, new)
            current = new if changed else self.read(db, key)
            db.execute("COMMIT")
            return current

    def read(self, db: sqlite3.Connection, key: str) -> Record | None:
        """Return the stored record."""
        row = db.execute(_READ, (key,)).fetchone()
        return None if row is None else Record(*row)

    def change(self, db: sqlite3.Connection, key: str, expected: Record | None, new: Record | None) -> bool:
        """Replace ``expected`` with ``new``, and return whether that was done."""
        if expected is None:
            if new is None:
                return self.read(db, key) is None
            return db.execute(f"{_INSERT} ON CONFLICT DO NOTHING", values(new)).rowcount == 1
        version = (
            key,
            expected.status,
            expected.expiry_timestamp,
            expected.in_progress_expiry_timestamp,
            expected.owner or "",
        )
        if new is None:
            return db.execute(_DELETE_VERSION, version).rowcount == 1
        return db.execute(_UPDATE_VERSION, (*values(new), *version)).rowcount == 1

    def store(self, key: str, new: Record | None, _keep_ms: int) -> None:
        with self.connection() as db:
            write(db, key, new)


def write(db: sqlite3.Connection, key: str, new: Record | None) -> None:
    """Store ``new``, or delete the record if it is None, whatever is stored now."""
    if new is None:
        db.execute("DELETE FROM records WHERE id = ?", (key,))
    else:
        db.execute(_REPLACE, values(new))


def values(record: Record) -> tuple[Any, ...]:
    """Return a record as a row."""
    return (*record[:6], record.owner)


@broken(CAS_4="exclusion", INV_1="exclusion")
class SelectsThenReplaces(LooksThenStores, Table):
    """It reads the record, compares, and writes in a separate statement."""


@broken(CAS_4="exclusion", INV_1="exclusion")
class SelectsBeforeTakingOver(LooksThenStores, Table):
    """Its first claim is one atomic statement, but a takeover reads, compares, and then writes."""

    def in_steps(self, expected: Record | None, new: Record | None) -> bool:
        return expected is not None and new is not None and new.status == INPROGRESS


@broken(CAS_4="exclusion")
class SelectsBeforeCompleting(LooksThenStores, Table):
    """It reads the owner of the claim, and then stores the result in a separate statement."""

    def in_steps(self, _expected: Record | None, new: Record | None) -> bool:
        return new is not None and new.status == COMPLETED


@broken(CAS_4="exclusion")
class DeletesThenInserts(Table):
    """It replaces a record by a deletion and a separate insertion."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        if expected is None or new is None:
            return super()._swap(key, expected, new, ttl_ms)
        current = super()._swap(key, expected, None, ttl_ms)
        if current is not None:
            return current
        return super()._swap(key, None, new, ttl_ms)


@broken(CAS_4="exclusion")
class ReadsAfterwards(Table):
    """It stores correctly, but answers with what it reads after its transaction."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        super()._swap(key, expected, new, ttl_ms)
        return self._load(key)


@broken(CAS_2="fencing")
class UpdatesByStatus(Table):
    """Its update only requires that the row is in progress, as in many tutorials."""

    def change(self, db: sqlite3.Connection, key: str, expected: Record | None, new: Record | None) -> bool:
        if expected is None or new is None or new.status != COMPLETED:
            return super().change(db, key, expected, new)
        still = db.execute("DELETE FROM records WHERE id = ? AND status = 'INPROGRESS'", (key,)).rowcount
        return still == 1 and super().change(db, key, None, new)


@broken(CAS_2="contract", INV_2="contract")
class Upserts(Table):
    """Its insertion replaces an existing row."""

    def change(self, db: sqlite3.Connection, key: str, expected: Record | None, new: Record | None) -> bool:
        if expected is not None or new is None:
            return super().change(db, key, expected, new)
        db.execute(_REPLACE, values(new))
        return True


@broken(CAS_2="contract")
class ComparesNullWithEquals(Table):
    """It compares a NULL lease with "=", which is never true in SQL, so no result is ever replaced."""

    def change(self, db: sqlite3.Connection, key: str, expected: Record | None, new: Record | None) -> bool:
        absent = expected is not None and expected.in_progress_expiry_timestamp is None
        return not absent and super().change(db, key, expected, new)


@broken(CAS_1="faults")
class SwallowsErrors(Table):
    """It treats an error of its store as an absent record."""

    def _load(self, key: str) -> Record | None:
        try:
            return super()._load(key)
        except sqlite3.Error:
            return None
