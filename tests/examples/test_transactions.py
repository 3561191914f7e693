"""Effects that are committed together with their records: Django, FastAPI, an outbox, DynamoDB."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType

import boto3
import httpx
import pytest

pytestmark = pytest.mark.once

Load = Callable[[str], ModuleType]
EXAMPLES = Path(__file__).parents[2] / "examples" / "transactions"
DJANGO = """
import json, sys
sys.path.insert(0, sys.argv[1])
import django_view as shop
from django.test import Client
shop.create_tables()
client = Client(raise_request_exception=False)
def book(seat, key):
    answer = client.post(f"/bookings/{seat}", headers={"Idempotency-Key": key})
    return answer.status_code, answer.json() if answer.status_code == 201 else None
print(json.dumps([book("A7", "k1"), book("A7", "k1"), book("A7", "k2"), book("B1", "k3")]))
shop.connection.close()
shop.store.close()
"""


def rows(file: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(statement).fetchall()


def test_a_seat_is_booked_once_and_a_refused_booking_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "bookings.db"
    environment = os.environ | {"DATABASE": str(file), "PYTHONPATH": str(EXAMPLES.parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", DJANGO, str(EXAMPLES)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    booked = [201, {"booked": "A7"}]
    assert json.loads(done.stdout) == [booked, booked, [500, None], [201, {"booked": "B1"}]]
    assert rows(file, "SELECT seat FROM bookings") == [("A7",), ("B1",)]
    assert rows(file, "SELECT status FROM idempotency WHERE status = 'COMPLETED'") == [("COMPLETED",)] * 2


def test_an_order_is_placed_once_in_the_transaction_of_its_session(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "orders.db"
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{file}")
    shop = load("transactions/fastapi_orders.py")

    async def order_twice() -> list[httpx.Response]:
        transport = httpx.ASGITransport(shop.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            return [await client.post("/orders/tea", headers={"Idempotency-Key": "k"}) for _ in range(2)]

    answers = asyncio.run(order_twice())
    assert [each.status_code for each in answers] == [201, 201]
    assert [each.json() for each in answers] == [{"order": 1, "item": "tea"}] * 2
    assert rows(file, "SELECT id, item FROM orders") == [(1, "tea")]
    shop.store.close()
    shop.engine.dispose()


def test_a_shipment_and_its_message_are_written_once(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE", str(tmp_path / "shipping.db"))
    worker = load("transactions/outbox_worker.py")
    message = {"order": "o-1"}
    assert [worker.ship(message=message), worker.ship(message=message)] == [{"shipment": 1}] * 2
    sent: list[str] = []
    assert worker.send_outbox(lambda _, text: sent.append(text)) == 1
    assert sent == ["order o-1 is on its way"]
    assert worker.send_outbox(print) == 0
    worker.store.close()


@pytest.mark.usefixtures("aws")
class TestDynamoDB:
    def shop(self, load: Load, pieces: int) -> ModuleType:
        client = boto3.client("dynamodb")
        client.create_table(
            TableName="shop",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        stock = {"id": {"S": "stock tea"}, "pieces": {"N": str(pieces)}}
        client.put_item(TableName="shop", Item=stock)
        return load("transactions/dynamodb_order.py")

    def test_an_article_is_taken_from_the_stock_once(self, load: Load) -> None:
        shop = self.shop(load, 5)
        order = {"id": "o-1", "article": "tea"}
        assert [shop.place_order(order=order), shop.place_order(order=order)] == [{"ordered": "tea"}] * 2
        found = shop.client.get_item(TableName="shop", Key={"id": {"S": "stock tea"}})
        assert found["Item"]["pieces"] == {"N": "4"}

    def test_what_is_sold_out_is_not_ordered_and_may_be_tried_again(self, load: Load) -> None:
        shop = self.shop(load, 0)
        for _ in range(2):
            with pytest.raises(shop.SoldOutError):
                shop.place_order(order={"id": "o-1", "article": "tea"})
        assert "Item" not in shop.client.get_item(TableName="shop", Key={"id": {"S": "order o-1"}})
