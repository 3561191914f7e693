"""A worker that ships orders, with an outbox: one commit for the shipment, its message and the record.

The effect on another system, a message, is not part of any transaction. So the worker writes it to a table in
the same transaction, and another loop sends what is in the table, at least once, under the message's own id.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing

from idemproof import IdempotencyConfig, SQLitePersistenceLayer, current_attempt, idempotent_function

FILE = os.environ.get("DATABASE", "shipping.db")
store = SQLitePersistenceLayer(FILE, table="idempotency")
config = IdempotencyConfig(in_progress_expires_after_seconds=30)

with closing(sqlite3.connect(FILE)) as connection:
    connection.executescript(
        """
        CREATE TABLE IF NOT EXISTS shipments (id INTEGER PRIMARY KEY, order_id TEXT);
        CREATE TABLE IF NOT EXISTS outbox (id TEXT PRIMARY KEY, message TEXT);
        """
    )


@idempotent_function(data_keyword_argument="message", persistence_store=store, config=config)
def ship(message: dict) -> dict:
    attempt = current_attempt()
    with closing(sqlite3.connect(FILE)) as connection, connection:  # commits, or rolls back
        order = message["order"]
        shipment = connection.execute("INSERT INTO shipments (order_id) VALUES (?)", (order,)).lastrowid
        # The key is the same for each delivery of the message, so it identifies what is sent.
        connection.execute("INSERT INTO outbox VALUES (?, ?)", (attempt.key, f"order {order} is on its way"))
        return attempt.complete({"shipment": shipment}, within=connection)


def send_outbox(send: Callable[[str, str], None]) -> int:
    """Send what is in the outbox, and return how much it was."""
    with closing(sqlite3.connect(FILE)) as connection:
        waiting = connection.execute("SELECT id, message FROM outbox").fetchall()
        for id_, message in waiting:
            send(id_, message)  # who gets it twice recognizes it by its id
            with connection:
                connection.execute("DELETE FROM outbox WHERE id = ?", (id_,))
    return len(waiting)
