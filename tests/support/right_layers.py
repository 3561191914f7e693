"""Layers that are right, by two methods and by four; broken ones change them in one place."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakeredis

from idemproof import (
    AsyncInMemoryPersistenceLayer,
    AsyncSQLitePersistenceLayer,
    BasePersistenceLayer,
    CompareAndSwapLayer,
    DataRecord,
    InMemoryPersistenceLayer,
    Record,
    RedisCachePersistenceLayer,
    SQLitePersistenceLayer,
)
from idemproof.conformance import Capabilities
from idemproof.errors import IdempotencyItemAlreadyExistsError, IdempotencyItemNotFoundError
from idemproof.spec.record import live, same_version


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class TwoMethods(CompareAndSwapLayer):
    """The two methods over a dictionary, which broken layers change in one place each."""

    def __init__(self) -> None:
        self.rows: dict[str, Record] = {}

    def _load(self, key: str) -> Record | None:
        return self.rows.get(self.name(key))

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        standing = self._load(key)
        if not self.matches(standing, expected):
            return self.refusal(standing)
        if new is None:
            self.rows.pop(self.name(key), None)
            return None
        self.write(self.name(key), new, ttl_ms)
        return self._load(key)

    def name(self, key: str) -> str:
        return key

    def matches(self, standing: Record | None, expected: Record | None) -> bool:
        return same_version(standing, expected)

    def refusal(self, standing: Record | None) -> Record | None:
        return standing

    def write(self, name: str, new: Record, ttl_ms: int) -> None:
        self.rows[name] = new


class FourMethods(BasePersistenceLayer):
    """The documented methods over a dictionary: decides by its own clock, knows no owner."""

    def __init__(self) -> None:
        self.rows: dict[str, Record] = {}

    def _get_record(self, idempotency_key: str) -> DataRecord:
        try:
            return DataRecord.of(self.rows[self.name(idempotency_key)])
        except KeyError:
            raise IdempotencyItemNotFoundError from None

    def _put_record(self, data_record: DataRecord) -> None:
        standing = self.rows.get(self.name(data_record.idempotency_key))
        if standing is not None and self.live(standing, now_ms()):
            raise IdempotencyItemAlreadyExistsError(old_data_record=self.refusal(standing))
        self.write(data_record)

    def _update_record(self, data_record: DataRecord) -> None:
        self.write(data_record)

    def _delete_record(self, data_record: DataRecord) -> None:
        self.rows.pop(self.name(data_record.idempotency_key), None)

    def name(self, key: str) -> str:
        return key

    def live(self, record: Record, now: int) -> bool:
        return live(record, now)

    def refusal(self, standing: Record) -> Record | None:
        return standing

    def write(self, record: Record) -> None:
        self.rows[self.name(record.idempotency_key)] = Record(*record[:7])


Made = tuple[Callable[[], Any], Capabilities]

OFFERED = Capabilities()
NOT_FENCED = Capabilities(fenced=False)
STILL = Capabilities(movable_clock=False)


def _redis(_: Path) -> Callable[[], Any]:
    server = fakeredis.FakeServer(version=(7,))
    return lambda: RedisCachePersistenceLayer(client=fakeredis.FakeRedis(server=server))


RIGHT: dict[str, Callable[[Path], Made]] = {
    "memory": lambda _: (InMemoryPersistenceLayer, OFFERED),
    "memory-async": lambda _: (AsyncInMemoryPersistenceLayer, OFFERED),
    "memory-with-the-real-clock": lambda _: (InMemoryPersistenceLayer, STILL),
    "sqlite": lambda path: (lambda: SQLitePersistenceLayer(path / "records.db", durable=False), OFFERED),
    "sqlite-async": lambda path: (
        lambda: AsyncSQLitePersistenceLayer(path / "records.db", durable=False),
        OFFERED,
    ),
    "fakeredis": lambda path: (_redis(path), OFFERED),
    "two-methods": lambda _: (TwoMethods, OFFERED),
    "four-methods": lambda _: (FourMethods, NOT_FENCED),
    "four-methods-with-the-real-clock": lambda _: (
        FourMethods,
        Capabilities(fenced=False, movable_clock=False),
    ),
}
