"""What a transaction on SQLite may have done before the call that completes in it."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from attempts import complete
from idemproof import SQLitePersistenceLayer
from idemproof.errors import IdempotencyPersistenceConnectionError
from transaction_places import SQLitePlace

pytestmark = pytest.mark.once

BEGUN, READ, WRITTEN = "SELECT 1", "SELECT * FROM effects", "INSERT INTO effects VALUES ('before')"


@pytest.mark.parametrize(
    ("mode", "before", "outcome"),
    [
        ("wal", BEGUN, "works"),
        ("wal", READ, "its write fails"),
        ("wal", WRITTEN, "waits for itself"),
        ("delete", BEGUN, "works"),
        ("delete", READ, "waits for itself"),
        ("delete", WRITTEN, "waits for itself"),
    ],
)
def test_what_the_transaction_did_before_the_call_decides(
    tmp_path: Path, mode: str, before: str, outcome: str
) -> None:
    path = tmp_path / "application.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
    place = SQLitePlace(SQLitePersistenceLayer(path, table="idempotency", timeout_seconds=0), path)
    connection = place.new()
    connection.execute("PRAGMA busy_timeout = 0")
    runs: list[str] = []

    def body(what: str) -> Any:
        runs.append(what)
        place.act(connection, what)
        return complete(1, connection)

    protected = place.protect(body)
    place.begin(connection)
    connection.execute(before)
    if outcome == "works":
        assert protected(what="a") == 1
        place.commit(connection)
    elif outcome == "its write fails":
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            protected(what="a")
    else:
        with pytest.raises(IdempotencyPersistenceConnectionError, match="begin the transaction in the func"):
            protected(what="a")
        assert runs == []
    if outcome != "works":
        place.roll_back(connection)
        place.begin(connection)
        assert protected(what="a") == 1
        place.commit(connection)
    assert place.effects() == ["a"]
    place.close()
