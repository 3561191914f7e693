"""An application that completes its attempt in its own transaction, and what its client is told."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from asgi_calls import Counted, call
from idemproof import SQLitePersistenceLayer, current_attempt
from idemproof.errors import IdempotencyTransactionError
from idemproof.http import IdempotencyMiddleware, Response

pytestmark = pytest.mark.once


class Orders:
    """An application with its orders and its records in one file."""

    def __init__(self, file: Path) -> None:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("CREATE TABLE orders (number)")
        self.store = SQLitePersistenceLayer(file, table="idempotency")
        self.connection = sqlite3.connect(file, isolation_level=None)

    async def order(self, answer: bytes) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.execute("INSERT INTO orders VALUES (1)")
        attempt = current_attempt()
        assert attempt is not None
        await attempt.acomplete(Response(201, (), answer), within=self.connection)

    def count(self) -> int:
        count: int = self.connection.execute("SELECT count(*) FROM orders").fetchone()[0]
        return count


@pytest.fixture
def orders(tmp_path: Path) -> Iterator[Orders]:
    made = Orders(tmp_path / "orders.db")
    yield made
    made.connection.close()
    made.store.close()


@pytest.mark.clause("HTTP-14", "TXN-7")
@pytest.mark.parametrize("answer", [b"done", b"other"])
def test_an_answer_whose_transaction_does_not_commit_is_not_sent(orders: Orders, answer: bytes) -> None:
    async def act() -> None:
        await orders.order(answer)
        if answer == b"done":
            orders.connection.execute("ROLLBACK")  # as after an error that is ignored

    app = Counted(201, chunks=[b"done"], before=act)
    middleware: Any = IdempotencyMiddleware(app, persistence_store=orders.store)
    with pytest.raises(IdempotencyTransactionError) as raised:
        call(middleware)
    assert raised.value.kind == ("RolledBack" if answer == b"done" else "ResultDiffers")
    assert not raised.value.committed
    assert not orders.connection.in_transaction
    assert orders.count() == 0


def test_an_answer_that_differs_from_what_was_committed_is_sent_and_reported(
    orders: Orders, caplog: pytest.LogCaptureFixture
) -> None:
    async def act() -> None:
        await orders.order(b"other")
        orders.connection.execute("COMMIT")

    middleware: Any = IdempotencyMiddleware(
        Counted(201, chunks=[b"done"], before=act), persistence_store=orders.store
    )
    with caplog.at_level(logging.ERROR, "idemproof"):
        assert call(middleware).body == b"done"
    assert "was committed before" in caplog.text
    assert call(middleware).body == b"other"
    assert orders.count() == 1
