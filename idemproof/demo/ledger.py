"""The bank's ledger: one row for each charge. It is separate from the idempotency store."""

import os
import secrets
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# No column is unique, because a second charge must be visible instead of failing.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS charges (
    charge TEXT NOT NULL,
    payment TEXT NOT NULL,
    amount INTEGER NOT NULL,
    currency TEXT NOT NULL,
    customer TEXT NOT NULL,
    process INTEGER NOT NULL
)
"""
_WAIT_SECONDS = 10


@dataclass(frozen=True)
class Charge:
    """One row of the ledger.

    Parameters
    ----------
    id
        The charge's id.
    payment
        The payment that was charged.
    amount
        In the currency's smallest unit.
    currency
        ISO 4217 code.
    customer
        Who paid.
    process
        The id of the process that made the charge.
    """

    id: str
    payment: str
    amount: int
    currency: str
    customer: str
    process: int


class Ledger:
    """A table to which charges are appended.

    Parameters
    ----------
    path
        The SQLite file. It is created if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with closing(self._open()) as db:
            db.execute(_SCHEMA)

    def append(self, payment: dict[str, Any]) -> str:
        """Charge ``payment`` once for each call, and return the charge's id."""
        charge = f"ch_{secrets.token_hex(3)}"
        row = (
            charge,
            payment["payment_id"],
            payment["amount"],
            payment["currency"],
            payment["customer"],
            os.getpid(),
        )
        with closing(self._open()) as db:
            db.execute("INSERT INTO charges VALUES (?, ?, ?, ?, ?, ?)", row)
        return charge

    def find(self, payment_id: str) -> str | None:
        """Return the id of the first charge of a payment, or None."""
        with closing(self._open()) as db:
            row = db.execute("SELECT charge FROM charges WHERE payment = ? LIMIT 1", (payment_id,)).fetchone()
        return None if row is None else str(row[0])

    def charges(self) -> list[Charge]:
        """Return all charges in the order in which they were made."""
        with closing(self._open()) as db:
            return [Charge(*row) for row in db.execute("SELECT * FROM charges ORDER BY rowid")]

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=_WAIT_SECONDS, isolation_level=None)
