"""Releasing a claim in a layer without owners: the record is read before it is deleted."""

from typing import Any

import pytest

from idemproof import BasePersistenceLayer, DataRecord, IdempotencyConfig, idempotent_function
from idemproof.backends.base import compare_and_swap
from idemproof.drivers import blocking as drivers
from idemproof.errors import (
    IdempotencyItemAlreadyExistsError,
    IdempotencyItemNotFoundError,
    IdempotencyPersistenceLayerError,
)
from idemproof.reference.engine import Engine


class Table(BasePersistenceLayer):
    """Four methods over a dictionary. The given number of puts fails."""

    def __init__(self, *, keeps_leases: bool = True) -> None:
        self.rows: dict[str, DataRecord] = {}
        self.failures = 0
        self.keeps_leases = keeps_leases

    def _get_record(self, idempotency_key: str) -> DataRecord:
        if idempotency_key not in self.rows:
            raise IdempotencyItemNotFoundError
        return self.rows[idempotency_key]

    def _put_record(self, data_record: DataRecord) -> None:
        if self.failures:
            self.failures -= 1
            raise TimeoutError
        current = self.rows.get(data_record.idempotency_key)
        if current is not None and not current.is_expired:
            raise IdempotencyItemAlreadyExistsError
        kept = data_record if self.keeps_leases else data_record._replace(in_progress_expiry_timestamp=None)
        self.rows[data_record.idempotency_key] = kept

    def _update_record(self, data_record: DataRecord) -> None:
        self.rows[data_record.idempotency_key] = data_record

    def _delete_record(self, data_record: DataRecord) -> None:
        del self.rows[data_record.idempotency_key]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "pause", lambda seconds: None)


def protect(table: Table, runs: list[int], error: Exception | None = None) -> Any:
    @idempotent_function(
        data_keyword_argument="data",
        persistence_store=table,
        config=IdempotencyConfig(in_progress_expires_after_seconds=30),
        key_prefix="work",
    )
    def work(data: int) -> int:
        runs.append(data)
        if error is not None:
            raise error
        return len(runs)

    return work


def test_a_claim_that_fails_leaves_anothers_result_alone() -> None:
    table, runs = Table(), []
    work = protect(table, runs)
    assert work(1) == 1
    table.failures = 3
    with pytest.raises(IdempotencyPersistenceLayerError):
        work(1)
    assert work(1) == 1
    assert runs == [1]


def test_a_claim_that_fails_leaves_anothers_claim_alone() -> None:
    table, runs = Table(), []
    expiry = 2**33
    table.rows["work#c4ca4238a0b923820dcc509a6f75849b"] = theirs = DataRecord(
        "work#c4ca4238a0b923820dcc509a6f75849b", "INPROGRESS", expiry, expiry * 1000
    )
    table.failures = 3
    with pytest.raises(IdempotencyPersistenceLayerError):
        protect(table, runs)(1)
    assert list(table.rows.values()) == [theirs]
    assert runs == []


@pytest.mark.parametrize("keeps_leases", [True, False])
def test_a_body_that_raises_frees_its_key(keeps_leases: bool) -> None:
    table, runs = Table(keeps_leases=keeps_leases), []
    with pytest.raises(ValueError, match="declined"):
        protect(table, runs, ValueError("declined"))(1)
    assert table.rows == {}
    assert protect(table, runs)(1) == 2


def test_a_body_that_raises_too_late_leaves_the_new_owners_result_alone() -> None:
    table, runs = Table(), []

    def overtaken(record: DataRecord) -> None:
        """Another attempt has completed meanwhile."""
        table.rows[record.idempotency_key] = record._replace(status="COMPLETED", response_data='"theirs"')

    work = protect(table, runs, ValueError("too late"))
    original = table._put_record
    table._put_record = lambda record: (original(record), overtaken(record))[0]  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="too late"):
        work(1)
    table._put_record = original  # type: ignore[method-assign]
    assert protect(table, runs)(1) == "theirs"


def test_a_claim_that_fails_leaves_a_claim_without_a_lease_alone() -> None:
    """Such a claim cannot be distinguished from an own claim of the same second."""
    table, runs = Table(keeps_leases=False), []
    work = protect(table, runs)
    rows: list[DataRecord] = []

    def remember(record: DataRecord) -> None:
        rows.append(record._replace(in_progress_expiry_timestamp=None))
        table.rows[record.idempotency_key] = rows[0]
        raise TimeoutError

    table._put_record = remember  # type: ignore[method-assign]
    with pytest.raises(IdempotencyPersistenceLayerError):
        work(1)
    assert list(table.rows.values()) == rows[:1]
    assert runs == []


@pytest.mark.parametrize("fails", ["_update_record", "_delete_record"])
def test_nothing_stays_of_a_call_that_is_over(fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise ConnectionError("away")

    def declines(p: int) -> str:
        if fails == "_delete_record":
            raise ValueError("declined")
        return "done"

    monkeypatch.setattr("idemproof.drivers.blocking.pause", lambda _: None)
    layer: Any = Table()
    monkeypatch.setattr(layer, fails, away)
    store = compare_and_swap(layer)
    engine = Engine(IdempotencyConfig(in_progress_expires_after_seconds=30))
    kept = [repr(vars(store)), len(vars(store))]
    for number in range(20):
        with pytest.raises(IdempotencyPersistenceLayerError):
            drivers.drive(engine.steps(f"key {number}", None), store, declines, (number,))
    assert [repr(vars(store)), len(vars(store))] == kept
