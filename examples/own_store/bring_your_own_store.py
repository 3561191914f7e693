"""Your own store, with the four documented methods: a table of SQLite.

One statement decides which call may run, so two concurrent workers cannot both claim a key. The second of two
equal transfers prints nothing and gets the receipt of the first.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from idemproof import BasePersistenceLayer, DataRecord, IdempotencyConfig, idempotent_function
from idemproof.errors import IdempotencyItemAlreadyExistsError, IdempotencyItemNotFoundError

CREATE = """
CREATE TABLE IF NOT EXISTS idempotency (
    id TEXT PRIMARY KEY, status TEXT NOT NULL, expiration INTEGER NOT NULL,
    in_progress_expiration INTEGER, data TEXT, validation TEXT)
"""
# A claim ends with its lease (milliseconds), a result with its expiry (seconds).
PUT = """
INSERT INTO idempotency VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    status = excluded.status, expiration = excluded.expiration,
    in_progress_expiration = excluded.in_progress_expiration,
    data = excluded.data, validation = excluded.validation
WHERE COALESCE(idempotency.in_progress_expiration, idempotency.expiration * 1000) <= ?
"""
UPDATE = """
INSERT INTO idempotency VALUES (?, ?, ?, NULL, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    status = excluded.status, expiration = excluded.expiration, in_progress_expiration = NULL,
    data = excluded.data, validation = excluded.validation
"""
GET = "SELECT * FROM idempotency WHERE id = ?"
DELETE = "DELETE FROM idempotency WHERE id = ?"


class SQLStore(BasePersistenceLayer):
    def __init__(self, path: str) -> None:
        self.path = path
        with self._database() as database:
            database.execute(CREATE)

    def _get_record(self, idempotency_key: str) -> DataRecord:
        with self._database() as database:
            row = database.execute(GET, (idempotency_key,)).fetchone()
        if row is None:
            raise IdempotencyItemNotFoundError(f"No record has the key {idempotency_key!r}.")
        return DataRecord(*row)

    def _put_record(self, data_record: DataRecord) -> None:
        key, status, expiry, lease, response, payload_hash, *_ = data_record
        now = time.time_ns() // 1_000_000
        with self._database() as database:
            # No other connection writes until COMMIT, so this reads the record that refused the claim.
            database.execute("BEGIN IMMEDIATE")
            put = database.execute(PUT, (key, status, expiry, lease, response, payload_hash, now))
            row = None if put.rowcount else database.execute(GET, (key,)).fetchone()
            database.execute("COMMIT")
        if row is not None:
            raise IdempotencyItemAlreadyExistsError(old_data_record=DataRecord(*row))

    def _update_record(self, data_record: DataRecord) -> None:
        key, status, expiry, _, response, payload_hash, *_ = data_record
        with self._database() as database:
            database.execute(UPDATE, (key, status, expiry, response, payload_hash))

    def _delete_record(self, data_record: DataRecord) -> None:
        with self._database() as database:
            database.execute(DELETE, (data_record.idempotency_key,))

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        # A connection for each request, because a connection of sqlite3 belongs to one thread.
        with closing(sqlite3.connect(self.path, isolation_level=None)) as database:
            yield database


def open_store() -> SQLStore:
    return SQLStore(os.environ.get("DATABASE", "bank.db"))


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
