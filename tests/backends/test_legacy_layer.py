"""A layer with the four documented methods works unchanged."""

import asyncio
import datetime as dt
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from idemproof import (
    BasePersistenceLayer,
    DataRecord,
    IdempotencyConfig,
    idempotent,
    idempotent_function,
)
from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyInconsistentStateError,
    IdempotencyInvalidStatusError,
    IdempotencyItemAlreadyExistsError,
    IdempotencyItemNotFoundError,
    IdempotencyPersistenceLayerError,
    IdempotencyValidationError,
)

NOON = dt.datetime(2030, 1, 1, 12, tzinfo=dt.UTC)


@dataclass
class Row:
    """A row of a table that stores all numbers as decimals, and no empty columns."""

    state: str
    until: Decimal
    claimed_until: Decimal | None
    answer: str = ""
    checksum: str = ""


@dataclass
class Table:
    rows: dict[str, Row] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


class TableLayer(BasePersistenceLayer):
    """Never calls its parent's constructor, and stores no owners."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def _as_record(self, key: str, row: Row) -> DataRecord:
        return DataRecord(
            key,
            row.state,
            row.until,
            row.claimed_until,
            row.answer,
            row.checksum,  # type: ignore[arg-type]
        )

    def _get_record(self, idempotency_key: str) -> DataRecord:
        self.table.asked.append("get")
        row = self.table.rows.get(idempotency_key)
        if row is None:
            raise IdempotencyItemNotFoundError
        return self._as_record(idempotency_key, row)

    def _put_record(self, data_record: DataRecord) -> None:
        self.table.asked.append("put")
        now = dt.datetime.now(dt.UTC).timestamp()
        row = self.table.rows.get(data_record.idempotency_key)
        if row is not None and now < row.until:
            lapsed = (
                row.state == "INPROGRESS"
                and row.claimed_until is not None
                and row.claimed_until <= Decimal(now * 1000)
            )
            if not lapsed:
                self.refuse(data_record.idempotency_key, row)
        claimed_until = data_record.in_progress_expiry_timestamp
        self.table.rows[data_record.idempotency_key] = Row(
            data_record.status,
            Decimal(data_record.expiry_timestamp),
            Decimal(claimed_until) if claimed_until else None,
            checksum=data_record.payload_hash if self.payload_validation_enabled else "",
        )

    def refuse(self, key: str, row: Row) -> None:
        raise IdempotencyItemAlreadyExistsError(
            f"Cannot store {key}: it is there", old_data_record=self._as_record(key, row)
        )

    def _update_record(self, data_record: DataRecord) -> None:
        self.table.asked.append("update")
        row = self.table.rows[data_record.idempotency_key]
        row.state = data_record.status
        row.until = Decimal(data_record.expiry_timestamp)
        row.answer = data_record.response_data
        if self.payload_validation_enabled:
            row.checksum = data_record.payload_hash

    def _delete_record(self, data_record: DataRecord) -> None:
        self.table.asked.append("delete")
        self.table.rows.pop(data_record.idempotency_key, None)


class TersePersistenceLayer(TableLayer):
    """Raises that a record exists without returning it, so the library has to read it."""

    def refuse(self, key: str, row: Row) -> None:
        raise IdempotencyItemAlreadyExistsError


class StubbornLayer(TableLayer):
    """Refuses even what the specification calls claimable."""

    def _put_record(self, data_record: DataRecord) -> None:
        row = self.table.rows.get(data_record.idempotency_key)
        if row is None:
            return super()._put_record(data_record)
        self.table.asked.append("put")
        return self.refuse(data_record.idempotency_key, row)


class ClosedLayer(TableLayer):
    """Refuses every claim."""

    def _put_record(self, data_record: DataRecord) -> None:
        self.table.asked.append("put")
        raise IdempotencyItemAlreadyExistsError


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture(params=[TableLayer, TersePersistenceLayer])
def layer(request: pytest.FixtureRequest, table: Table) -> BasePersistenceLayer:
    made: BasePersistenceLayer = request.param(table)
    return made


@pytest.fixture
def clock() -> Any:
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


def counted(layer: BasePersistenceLayer, config: IdempotencyConfig | None = None) -> tuple[Any, list[Any]]:
    runs: list[Any] = []
    config = config or IdempotencyConfig(in_progress_expires_after_seconds=10, expires_after_seconds=60)

    @idempotent_function(data_keyword_argument="order", persistence_store=layer, config=config)
    def charge(order: Any) -> Any:
        runs.append(order)
        return {"number": len(runs)}

    return charge, runs


def test_the_first_call_runs_and_repeats_are_answered_with_its_result(
    layer: BasePersistenceLayer, table: Table
) -> None:
    charge, runs = counted(layer)
    assert [charge(order="a"), charge(order="a"), charge(order="b")] == [
        {"number": 1},
        {"number": 1},
        {"number": 2},
    ]
    assert runs == ["a", "b"]
    reads = ["get"] if isinstance(layer, TersePersistenceLayer) else []
    assert table.asked == ["put", "update", "put", *reads, "put", "update"]


@pytest.mark.parametrize("result", [None, {}, [], 0, 0.0, False, "", "é"])
def test_any_result_is_replayed_as_it_was(layer: BasePersistenceLayer, result: Any) -> None:
    @idempotent_function(data_keyword_argument="order", persistence_store=layer)
    def charge(order: Any) -> Any:
        return result

    first, again = charge(order=1), charge(order=1)
    assert (first, type(first)) == (again, type(again)) == (result, type(result))


def test_a_handler_is_protected_and_its_remaining_time_is_the_lease(
    layer: BasePersistenceLayer, table: Table, clock: Any
) -> None:
    class Context:
        def get_remaining_time_in_millis(self) -> int:
            return 2_500

    leases = []

    @idempotent(persistence_store=layer)
    def handler(event: Any, context: Any) -> str:
        leases.extend(row.claimed_until for row in table.rows.values())
        return "handled"

    assert handler({"id": 1}, Context()) == handler({"id": 1}, Context()) == "handled"
    assert leases == [NOON.timestamp() * 1000 + 2_500]


def test_a_call_during_the_run_is_refused(layer: BasePersistenceLayer) -> None:
    refusals = []

    @idempotent_function(
        data_keyword_argument="order",
        persistence_store=layer,
        config=IdempotencyConfig(in_progress_expires_after_seconds=10),
    )
    def charge(order: int) -> str:
        if not refusals:
            with pytest.raises(IdempotencyAlreadyInProgressError) as refused:
                charge(order=order)
            refusals.append(refused.value.retry_after_ms)
        return "charged"

    assert charge(order=1) == "charged"
    assert 0 < refusals[0] <= 10_000


def test_an_exception_releases_the_key(layer: BasePersistenceLayer, table: Table) -> None:
    outcomes = iter([ValueError("no"), "yes"])

    @idempotent_function(data_keyword_argument="order", persistence_store=layer)
    def charge(order: int) -> Any:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with pytest.raises(ValueError, match="no"):
        charge(order=1)
    assert table.rows == {}
    assert charge(order=1) == charge(order=1) == "yes"


@pytest.mark.parametrize(("seconds", "runs_in_all"), [(59, 1), (60, 2), (61, 2)])
def test_a_result_is_replayed_until_its_window_is_over(
    layer: BasePersistenceLayer, clock: Any, seconds: int, runs_in_all: int
) -> None:
    charge, runs = counted(layer)
    charge(order=1)
    clock.shift(seconds)
    assert charge(order=1) == {"number": runs_in_all}
    assert len(runs) == runs_in_all


@pytest.mark.parametrize("past", [-1, 0, 1])
def test_a_dead_workers_claim_is_taken_over_when_its_lease_is_over(
    layer: BasePersistenceLayer, table: Table, clock: Any, past: int
) -> None:
    charge, runs = counted(layer)
    charge(order=1)
    (row,) = table.rows.values()
    row.state, row.claimed_until = "INPROGRESS", Decimal(int(NOON.timestamp()) * 1000 + 5_000)
    clock.shift(5 + past / 1000)
    if past < 0:
        with pytest.raises(IdempotencyAlreadyInProgressError):
            charge(order=1)
    else:
        assert charge(order=1) == {"number": 2}
    assert len(runs) == (1 if past < 0 else 2)


def test_another_payload_under_the_same_key_is_refused(layer: BasePersistenceLayer, table: Table) -> None:
    config = IdempotencyConfig(event_key_jmespath="id", payload_validation_jmespath="amount")
    charge, runs = counted(layer, config)
    first = charge(order={"id": 1, "amount": 5})
    assert charge(order={"id": 1, "amount": 5}) == first
    with pytest.raises(IdempotencyValidationError):
        charge(order={"id": 1, "amount": 6})
    assert len(runs) == 1
    assert all(row.checksum for row in table.rows.values())


def test_without_validation_the_layer_is_given_empty_texts(layer: BasePersistenceLayer, table: Table) -> None:
    @idempotent_function(data_keyword_argument="order", persistence_store=layer)
    def charge(order: int) -> None:
        assert [(row.answer, row.checksum) for row in table.rows.values()] == [("", "")]

    charge(order=1)
    assert [row.checksum for row in table.rows.values()] == [""]


def test_an_async_function_is_protected(layer: BasePersistenceLayer) -> None:
    runs = []

    @idempotent_function(data_keyword_argument="order", persistence_store=layer)
    async def charge(order: int) -> int:
        runs.append(order)
        await asyncio.sleep(0)
        return order * 2

    async def main() -> list[int]:
        return [await charge(order=4), await charge(order=4)]

    assert asyncio.run(main()) == [8, 8]
    assert runs == [4]


@pytest.mark.parametrize(
    ("kind", "stored"), [(StubbornLayer, True), (ClosedLayer, True), (ClosedLayer, False)]
)
def test_a_layer_that_refuses_what_may_be_claimed_ends_the_call_and_nothing_runs(
    kind: type[TableLayer], table: Table, clock: Any, stored: bool
) -> None:
    charge, runs = counted(kind(table))
    counted(TableLayer(table))[0](order=1)
    clock.shift(3600)
    if not stored:
        table.rows.clear()
    table.asked.clear()
    with pytest.raises(IdempotencyInconsistentStateError):
        charge(order=1)
    assert runs == []
    assert 1 < table.asked.count("put") <= 16


@pytest.mark.parametrize(
    ("column", "value"),
    [("state", "PAUSED"), ("until", None), ("until", Decimal("1.5")), ("answer", 5), ("answer", "{")],
)
def test_a_corrupt_row_is_named_and_nothing_runs(table: Table, column: str, value: Any) -> None:
    counted(TableLayer(table))[0](order=1)
    (row,) = table.rows.values()
    setattr(row, column, value)
    charge, runs = counted(ClosedLayer(table))
    with pytest.raises(IdempotencyInvalidStatusError, match="corrupt"):
        charge(order=1)
    assert runs == []


def test_a_layer_may_report_the_key_as_its_table_has_it(table: Table) -> None:
    class Partitioned(TableLayer):
        def _as_record(self, key: str, row: Row) -> DataRecord:
            return super()._as_record(f"partition of {key}", row)

    charge, runs = counted(Partitioned(table))
    assert charge(order=1) == charge(order=1) == {"number": 1}
    assert len(runs) == 1


def test_a_failing_layer_is_reported_as_such_and_nothing_runs(table: Table) -> None:
    class Unplugged(TableLayer):
        def _put_record(self, data_record: DataRecord) -> None:
            self.table.asked.append("put")
            raise ConnectionError("unplugged")

    charge, runs = counted(Unplugged(table))
    with pytest.raises(IdempotencyPersistenceLayerError, match="unplugged"):
        charge(order=1)
    assert runs == []
    assert table.asked.count("put") <= 3


def test_two_functions_and_two_configurations_may_share_a_layer(table: Table) -> None:
    layer = TableLayer(table)
    by_all, runs_by_all = counted(layer)
    by_id, runs_by_id = counted(layer, IdempotencyConfig(event_key_jmespath="id"))
    for amount in (1, 2):
        by_all(order={"id": 1, "amount": amount})
    # Both are called alike, so only their keys tell them apart.
    for amount in (1, 2):
        by_id(order={"id": 1, "amount": amount})
    assert (len(runs_by_all), len(runs_by_id)) == (2, 1)
