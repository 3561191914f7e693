"""Worker processes that share a SQLite file and are killed at any moment give one answer for each key."""

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

import fleet
import journal
from idemproof import SQLitePersistenceLayer
from idemproof.spec.record import COMPLETED

pytestmark = pytest.mark.once

SEED = 20_240_229
KEYS = 36
KILLS = 12
REASONS = {"killed", "outlived", "raised"}


# One test, as several would be spread over processes, and each of these would send out a fleet.
def test_a_fleet_under_fire_gives_one_answer_to_each_key(tmp_path: Path) -> None:
    database = tmp_path / "records.db"
    make = partial(SQLitePersistenceLayer, database, durable=False)
    left = fleet.Fleet(tmp_path, [make] * 4, seed=SEED, keys=KEYS, kills=KILLS, reasons=REASONS).work()
    print(f"\n{left}")  # noqa: T201 - what the run was worth
    assert journal.breaches(left) == {}
    assert len(left.killed) >= KILLS
    assert left.answers.keys() >= set(range(KEYS))
    assert left.repeated().keys() >= REASONS
    with closing(SQLitePersistenceLayer(database)) as layer:
        assert fleet.replayed(layer, list(left.answers)) == left.answers
    with closing(sqlite3.connect(database)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        stored = db.execute("SELECT data FROM records WHERE status = ?", (COMPLETED,)).fetchall()
    assert {(str(token),) for tokens in left.answers.values() for token in tokens} <= set(stored)
