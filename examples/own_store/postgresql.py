"""Your own store in PostgreSQL, with two methods: a table with a column for each field of a record.

Each write is one statement that names the version it replaces: it needs no lock and no longer transaction.
The second of two equal transfers prints nothing and gets the receipt of the first.
"""

import os

import psycopg
from psycopg_pool import ConnectionPool

from idemproof import CompareAndSwapLayer, IdempotencyConfig, Record, idempotent_function
from idemproof.spec.record import same_version

# BIGINT: the lease is in epoch milliseconds. COLLATE "C": keys are compared byte by byte.
CREATE = """
CREATE TABLE IF NOT EXISTS idempotency (
    id TEXT COLLATE "C" PRIMARY KEY, status TEXT NOT NULL, expiration BIGINT NOT NULL,
    in_progress_expiration BIGINT, data TEXT, validation TEXT, owner TEXT)
"""
READ = """
SELECT id, status, expiration, in_progress_expiration, data, validation, owner
FROM idempotency WHERE id = %s
"""
INSERT = "INSERT INTO idempotency VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING"
# What `same_version` compares. A completed record has no lease, and NULL = NULL is not true.
IS_EXPECTED = """
id = %s AND status = %s AND expiration = %s AND in_progress_expiration IS NOT DISTINCT FROM %s
AND COALESCE(owner, '') = COALESCE(%s, '')
"""
UPDATE = f"""
UPDATE idempotency
SET status = %s, expiration = %s, in_progress_expiration = %s, data = %s, validation = %s, owner = %s
WHERE {IS_EXPECTED}
"""
DELETE = f"DELETE FROM idempotency WHERE {IS_EXPECTED}"

TRIES = 10


class PostgreSQLStore(CompareAndSwapLayer):
    def __init__(self, pool: ConnectionPool) -> None:
        self.pool = pool

    def _load(self, key: str) -> Record | None:
        with self.pool.connection() as connection:
            return self._read(connection, key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        del ttl_ms  # PostgreSQL deletes nothing by itself
        with self.pool.connection() as connection:
            for _ in range(TRIES):
                if self._replace(connection, key, expected, new):
                    return new
                # Refused: return what is stored, not what was proposed.
                current = self._read(connection, key)
                if not same_version(current, expected):
                    return current
                # The record that refused the write has been replaced since: write again.
        raise RuntimeError(f"The record of {key!r} is as expected, and {TRIES} writes did not replace it.")

    def _replace(
        self, connection: psycopg.Connection, key: str, expected: Record | None, new: Record | None
    ) -> bool:
        """Write in one statement, if the expected record is stored. Return whether it was."""
        if expected is None:
            if new is None:
                return self._read(connection, key) is None
            return connection.execute(INSERT, new).rowcount == 1
        status, expiry, lease, owner = expected[1], expected[2], expected[3], expected[6]
        version = (key, status, expiry, lease, owner)
        if new is None:
            return connection.execute(DELETE, version).rowcount == 1
        return connection.execute(UPDATE, (*new[1:], *version)).rowcount == 1

    def _read(self, connection: psycopg.Connection, key: str) -> Record | None:
        row = connection.execute(READ, (key,)).fetchone()
        return None if row is None else Record(*row)

    def close(self) -> None:
        self.pool.close()


def open_store() -> PostgreSQLStore:
    # A pool of its own: a request never waits for connections that the callers of the function hold.
    # In autocommit mode each statement is a transaction. Without it, nothing is stored until COMMIT.
    options = {"autocommit": True, "options": "-c default_transaction_isolation=read\\ committed"}
    pool = ConnectionPool(os.environ["DATABASE"], kwargs=options, min_size=1, max_size=10, open=True)
    with pool.connection() as connection:
        connection.execute(CREATE)  # better in a migration: not every service may create tables
    return PostgreSQLStore(pool)


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
