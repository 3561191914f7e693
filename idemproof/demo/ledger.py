"""The bank's ledger: one row for each charge that was made. The idempotency store knows nothing of it."""

import os
import secrets
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Nothing is unique here: a second charge must show, not fail.
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
        The charge's name.
    payment
        The payment that it was made for.
    amount
        In the currency's smallest unit.
    currency
        ISO 4217 code.
    customer
        Who paid.
    process
        The process that made it.
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
        Its SQLite file; created if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with closing(self._open()) as db:
            db.execute(_SCHEMA)

    def append(self, payment: dict[str, Any]) -> str:
        """Charge ``payment``, once for every call, and return the charge's id."""
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

    def charges(self) -> list[Charge]:
        """Return all charges in the order in which they were made."""
        with closing(self._open()) as db:
            return [Charge(*row) for row in db.execute("SELECT * FROM charges ORDER BY rowid")]

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=_WAIT_SECONDS, isolation_level=None)
