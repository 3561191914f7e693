"""Layers over SQLAlchemy with usual faults. The environment variable ``RECORDS`` is a database's address."""

import os
from collections.abc import Callable

import sqlalchemy
from sqlalchemy import orm

from idemproof import CompareAndSwapLayer, Record, idempotency_table
from idemproof.backends.sqlalchemy_table import COLUMNS
from idemproof.spec.record import same_version


class _Rows(orm.DeclarativeBase):
    pass


class _Row(_Rows):
    __table__ = idempotency_table(_Rows.metadata)


def _record(row: _Row | None) -> Record | None:
    return None if row is None else Record(*(getattr(row, name) for name in COLUMNS))


def _row(record: Record) -> _Row:
    return _Row(**dict(zip(COLUMNS, record, strict=True)))


class ByMerge(CompareAndSwapLayer):
    """Looks, compares, and then lets ``Session.merge`` insert or update, whatever was stored in between."""

    def __init__(self) -> None:
        self.engine = sqlalchemy.create_engine(os.environ["RECORDS"])

    def _load(self, key: str) -> Record | None:
        with orm.Session(self.engine) as session:
            return _record(session.get(_Row, key))

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        found = self._load(key)
        if not same_version(found, expected):
            return found
        with orm.Session(self.engine) as session:
            self.write(session, key, new)
        return new

    def write(self, session: orm.Session, key: str, new: Record | None) -> None:
        if new is not None:
            session.merge(_row(new))
        elif (row := session.get(_Row, key)) is not None:
            session.delete(row)
        session.commit()

    def close(self) -> None:
        self.engine.dispose()


class WithoutCommit(ByMerge):
    """Flushes, and trusts the end of the session to commit."""

    def write(self, session: orm.Session, key: str, new: Record | None) -> None:
        commit: Callable[[], None] = session.flush
        session.commit = commit  # type: ignore[method-assign]
        super().write(session, key, new)
