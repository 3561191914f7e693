"""The layers under test behind one blocking face. Tests ask for capabilities, never for a layer's name."""

import asyncio
import inspect
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from idemproof import (
    AsyncInMemoryPersistenceLayer,
    AsyncSQLitePersistenceLayer,
    BasePersistenceLayer,
    DataRecord,
    InMemoryPersistenceLayer,
    Record,
    SQLitePersistenceLayer,
)
from idemproof.backends.base import compare_and_swap
from idemproof.errors import IdempotencyItemAlreadyExistsError, IdempotencyItemNotFoundError
from idemproof.spec.record import live


class FourMethods(BasePersistenceLayer):
    """A minimal layer of the documented kind: decides by its own clock, knows no owner."""

    def __init__(self) -> None:
        self.rows: dict[str, Record] = {}

    def _get_record(self, idempotency_key: str) -> DataRecord:
        try:
            return DataRecord.of(self.rows[idempotency_key])
        except KeyError:
            raise IdempotencyItemNotFoundError from None

    def _put_record(self, data_record: DataRecord) -> None:
        standing = self.rows.get(data_record.idempotency_key)
        if standing is not None and live(standing, time.time_ns() // 1_000_000):
            raise IdempotencyItemAlreadyExistsError(old_data_record=standing)
        self._update_record(data_record)

    def _update_record(self, data_record: DataRecord) -> None:
        self.rows[data_record.idempotency_key] = Record(*data_record[:7])

    def _delete_record(self, data_record: DataRecord) -> None:
        self.rows.pop(data_record.idempotency_key, None)


class Kind(NamedTuple):
    """How to make a layer at a path, and what it can do.

    fenced: a swap happens only if owner, status and both deadlines stand as expected; no clock is read.
    durable: another layer object at the same path sees the records.
    housekeeping: it forgets expired records.
    """

    make: Callable[[Path], Any]
    capabilities: frozenset[str]


KINDS = {
    "memory": Kind(lambda _: InMemoryPersistenceLayer(), frozenset({"fenced", "housekeeping"})),
    "memory-async": Kind(lambda _: AsyncInMemoryPersistenceLayer(), frozenset({"fenced", "housekeeping"})),
    "sqlite": Kind(
        lambda path: SQLitePersistenceLayer(path, durable=False),
        frozenset({"fenced", "housekeeping", "durable"}),
    ),
    "sqlite-async": Kind(
        lambda path: AsyncSQLitePersistenceLayer(path, durable=False),
        frozenset({"fenced", "housekeeping", "durable"}),
    ),
    "four-methods": Kind(lambda _: compare_and_swap(FourMethods()), frozenset()),
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*capabilities): which layers the test is for")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "store" in metafunc.fixturenames:
        needs = {name for mark in metafunc.definition.iter_markers("needs") for name in mark.args}
        names = [name for name, kind in KINDS.items() if needs <= kind.capabilities]
        assert names, f"no layer has {needs}"
        metafunc.parametrize("store", names, indirect=True)


class Store:
    """A layer, blocking or async, called as if it were blocking."""

    def __init__(self, kind: Kind, path: Path) -> None:
        self.kind = kind
        self.layer = kind.make(path)
        self.capabilities = kind.capabilities
        self._path = path
        self._runner: asyncio.Runner | None = None
        self._others: list[Store] = []

    def load(self, key: str) -> Record | None:
        return self._call("_load", key)

    def swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int = 1) -> Record | None:
        return self._call("_swap", key, expected, new, 0 if new is None else keep_ms)

    def get(self, key: str) -> DataRecord:
        return self._call("_get_record", key)

    def put(self, record: Record) -> None:
        self._call("_put_record", record)

    def update(self, record: Record) -> None:
        self._call("_update_record", record)

    def delete(self, record: Record) -> None:
        self._call("_delete_record", record)

    def at(self, now: int) -> "Store":
        """Set the layer's clock."""
        self.layer.clock = lambda: now
        return self

    def kept(self, record: Record) -> Record:
        """Return ``record`` as this store is to give it back."""
        record = record._replace(sort_key=None)
        if "fenced" in self.capabilities:
            return record
        return record._replace(
            owner=None, response_data=record.response_data or None, payload_hash=record.payload_hash or None
        )

    def again(self) -> "Store":
        """Return another layer object on the same path."""
        self._others.append(Store(self.kind, self._path))
        return self._others[-1]

    def close(self) -> None:
        for other in self._others:
            other.close()
        if self._runner is not None:
            self._runner.close()
        if hasattr(self.layer, "close"):
            self.layer.close()

    def _call(self, method: str, *args: Any) -> Any:
        reply = getattr(self.layer, method)(*args)
        if not inspect.isawaitable(reply):
            return reply
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(reply)  # type: ignore[arg-type]


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Return each layer that has the needed capabilities, one after the other."""
    made = Store(KINDS[request.param], tmp_path / "records.db")
    yield made
    made.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.db"


@pytest.fixture
def make_sqlite(path: Path) -> Iterator[Callable[..., SQLitePersistenceLayer]]:
    """Make SQLite layers, at ``path`` if not told otherwise, and close them in the end."""
    made = []

    def make(where: Any = path, **options: Any) -> SQLitePersistenceLayer:
        made.append(SQLitePersistenceLayer(where, **options))
        return made[-1]

    yield make
    for layer in made:
        layer.close()
