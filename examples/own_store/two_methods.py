"""Your own store, with two methods, read and compare-and-swap: less to write, and fenced.

Neither method reads a clock or makes a decision. The second of two equal transfers prints nothing and gets
the receipt of the first. Any store with conditional writes works: SQL here, an ETag elsewhere.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from idemproof import CompareAndSwapLayer, IdempotencyConfig, Record, idempotent_function
from idemproof.spec.record import same_version

CREATE = "CREATE TABLE IF NOT EXISTS idempotency (id TEXT PRIMARY KEY, record TEXT NOT NULL)"
READ = "SELECT record FROM idempotency WHERE id = ?"
INSERT = "INSERT INTO idempotency VALUES (?, ?) ON CONFLICT (id) DO NOTHING"
REPLACE = "UPDATE idempotency SET record = ? WHERE id = ? AND record = ?"
DELETE = "DELETE FROM idempotency WHERE id = ? AND record = ?"


class SQLStore(CompareAndSwapLayer):
    def __init__(self, path: str) -> None:
        self.path = path
        with self._database() as database:
            database.execute(CREATE)

    def _load(self, key: str) -> Record | None:
        with self._database() as database:
            return self._read(database, key)[1]

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        del ttl_ms  # only a store with a time to live needs it
        with self._database() as database:
            while True:
                text, current = self._read(database, key)
                if not same_version(current, expected):
                    return current
                if self._replace(database, key, text, new):
                    return new
                # Another call wrote between reading and writing: read again.

    def _replace(self, database: sqlite3.Connection, key: str, text: str | None, new: Record | None) -> bool:
        """Write in one statement, if the stored text is unchanged. Return whether it was."""
        if text is None:
            if new is None:
                return True
            return database.execute(INSERT, (key, json.dumps(new))).rowcount == 1
        if new is None:
            return database.execute(DELETE, (key, text)).rowcount == 1
        return database.execute(REPLACE, (json.dumps(new), key, text)).rowcount == 1

    def _read(self, database: sqlite3.Connection, key: str) -> tuple[str | None, Record | None]:
        row = database.execute(READ, (key,)).fetchone()
        return (None, None) if row is None else (row[0], Record(*json.loads(row[0])))

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        # A connection for each request, because a connection of sqlite3 belongs to one thread.
        with closing(sqlite3.connect(self.path, isolation_level=None)) as database:
            yield database


def open_store() -> SQLStore:
    return SQLStore(os.environ.get("DATABASE", "transfers.db"))


def main() -> None:
    config = IdempotencyConfig(
        event_key_jmespath="reference",
        payload_validation_jmespath="[account, amount]",
        in_progress_expires_after_seconds=30,
        service="bank",  # services that share a store have different names
    )

    @idempotent_function(data_keyword_argument="order", persistence_store=open_store(), config=config)
    def transfer(order: dict) -> dict:
        print(f"transferring {order['amount']} to {order['account']}")
        return {"receipt": f"R-{order['reference']}"}

    order = {"reference": "rent-2026-11", "account": "DE02 1203 0000 0000 2020 51", "amount": 950}
    print(transfer(order=order))
    print(transfer(order=order))


if __name__ == "__main__":
    main()
