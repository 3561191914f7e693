"""The examples of DynamoDB: whose table, whose names, which client."""

import socket
from collections.abc import Callable
from types import ModuleType
from typing import Any

import boto3
import pytest

from idemproof.errors import IdempotencyPersistenceConnectionError, IdempotencyValidationError

Load = Callable[[str], ModuleType]
Event = Callable[[str], Any]


def items_of(table: str, region: str | None = None) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = boto3.client("dynamodb", region_name=region).scan(TableName=table)["Items"]
    return items


@pytest.mark.usefixtures("aws")
def test_a_table_with_other_names(load: Load, event: Event, context: Any) -> None:
    cinema = load("dynamodb/customised_table.py")
    cinema.store.create_table()
    booking = event("dynamodb/customised_table.json")
    ticket = {"ticket": "T-1", "seat": "F12"}
    assert cinema.handler(booking, context) == cinema.handler(booking, context) == ticket
    with pytest.raises(IdempotencyValidationError):
        cinema.handler(booking | {"seat": "F13"}, context)
    assert cinema.seats_sold == ["F12"]
    [item] = items_of("CinemaOperations")
    # A completed record has no lease, so nothing is held until any time.
    assert set(item) == {"operation", "expires_at", "state", "answer", "fingerprint", "held_by"}
    assert item["state"] == {"S": "COMPLETED"}


@pytest.mark.usefixtures("aws")
def test_the_lease_has_its_own_name_too(
    load: Load, event: Event, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cinema = load("dynamodb/customised_table.py")
    cinema.store.create_table()
    held = []

    class Seats(list[str]):
        def append(self, seat: str) -> None:
            held.extend(items_of("CinemaOperations"))
            super().append(seat)

    monkeypatch.setattr(cinema, "seats_sold", Seats())
    cinema.handler(event("dynamodb/customised_table.json"), context)
    [item] = held
    assert set(item) == {"operation", "expires_at", "held_until", "state", "fingerprint", "held_by"}


@pytest.mark.usefixtures("aws")
def test_a_table_with_a_sort_key(load: Load, event: Event, context: Any) -> None:
    billing = load("dynamodb/composite_key.py")
    billing.store.create_table()
    may = event("dynamodb/composite_key.json")
    june = may | {"period": "2031-06"}
    for _ in range(2):
        assert billing.handler(may, context) == {"bill": 1, "cents": 1290}
        assert billing.handler(june, context) == {"bill": 2, "cents": 1290}
    assert billing.bills == [("s-81", "2031-05"), ("s-81", "2031-06")]
    items = items_of("Subscriptions")
    assert [item["pk"] for item in items] == [{"S": "billing"}] * 2
    assert len({item["sk"]["S"] for item in items}) == 2


@pytest.mark.usefixtures("aws")
def test_a_session_of_another_region(load: Load, event: Event, context: Any) -> None:
    parcels = load("dynamodb/custom_session.py")
    parcels.store.create_table()
    parcel = event("dynamodb/custom_session.json")
    assert parcels.handler(parcel, context) == parcels.handler(parcel, context) == {"label": "PT-40017"}
    assert parcels.labels_printed == ["40017"]
    assert len(items_of("IdempotencyTable", "eu-west-1")) == 1
    assert items_of("IdempotencyTable") == []  # that of the Lambda function's own region


@pytest.mark.usefixtures("aws")
def test_a_configuration_of_the_client(load: Load, event: Event, context: Any) -> None:
    bank = load("dynamodb/custom_config.py")
    transfer = event("dynamodb/custom_config.json")
    booked = {"transfer_id": "t-5530", "booked": 1}
    assert bank.handler(transfer, context) == bank.handler(transfer, context) == booked
    with pytest.raises(IdempotencyValidationError):
        bank.handler(transfer | {"cents": 2500000}, context)
    assert len(bank.transfers) == 1
    config = bank.store.client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (0.5, 1)
    assert config.retries == {"mode": "standard", "total_max_attempts": 2}


def test_without_the_table_no_money_moves(
    load: Load, event: Event, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    for pause in ("time.sleep", "idemproof.drivers.blocking.pause"):  # between tries
        monkeypatch.setattr(pause, lambda _: None)
    with socket.socket() as bound:  # and never listening: connections are refused at once
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", f"http://127.0.0.1:{bound.getsockname()[1]}")
        bank = load("dynamodb/custom_config.py")
        with pytest.raises(IdempotencyPersistenceConnectionError):
            bank.handler(event("dynamodb/custom_config.json"), context)
    assert bank.transfers == []
