"""Measure whether a call costs more if the store has many records: a thousand, and a million."""

import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from libraries import by_jmespath, first_and_replay
from measuring import Contestant, Scenario, Size, in_turn
from over_sqlite import connected, made
from payloads import ORDER
from stores import Places

import idemproof
from idemproof.spec.record import COMPLETED, Record

FEW, MANY, MANY_IN_SMOKE = 10**3, 10**6, 10**4

RETENTION_MS = 3_600_000
RESULT = '{"statusCode": 200, "handled": "o-1"}'

_FILL = """
WITH RECURSIVE numbers(number) AS (
    SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < :count
)
INSERT INTO records
SELECT 'filled#' || lower(hex(randomblob(16))), 'COMPLETED', :expiry + number % 3600, NULL,
       :result, NULL, 'filler'
FROM numbers
"""

_Enter = Callable[[Places, contextlib.ExitStack], list[Contestant]]


def _name(count: int) -> str:
    return f"{count:,} records".replace(",", " ")


def _memory(count: int) -> idemproof.InMemoryPersistenceLayer:
    layer = idemproof.InMemoryPersistenceLayer()
    expiry = int(time.time()) + RETENTION_MS // 1000
    for number in range(count):
        key = f"filled#{number:032x}"
        layer._swap(key, None, Record(key, COMPLETED, expiry, None, RESULT, None, "filler"), RETENTION_MS)
    return layer


def _sqlite(folder: Path, count: int, stack: contextlib.ExitStack) -> idemproof.SQLitePersistenceLayer:
    layer = stack.enter_context(contextlib.closing(made(folder, durable=False)))
    db: sqlite3.Connection
    with contextlib.closing(connected(layer._path, durable=False)) as db:
        expiry = int(time.time()) + RETENTION_MS // 1000
        db.execute(_FILL, {"count": count, "expiry": expiry, "result": RESULT})
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return layer


def in_memory(many: int) -> _Enter:
    """Return a function that opens two dictionaries, the second with ``many`` records."""

    def enter(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:  # noqa: ARG001 - others need it
        return [_contestant(_memory(count), count) for count in (FEW, many)]

    return enter


def in_sqlite(many: int) -> _Enter:
    """Return a function that opens two files, the second with ``many`` records."""

    def enter(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:
        return [_contestant(_sqlite(places.folder, count, stack), count) for count in (FEW, many)]

    return enter


def _contestant(layer: Any, count: int) -> Contestant:
    runs: list[Any] = []
    return first_and_replay(_name(count), ORDER, runs, in_turn(by_jmespath(idemproof, layer, ORDER, runs)))


def scenarios(*, smoke: bool) -> list[Scenario]:
    """Return the scenarios, with fewer records for a smoke test."""
    many = MANY_IN_SMOKE if smoke else MANY
    return [
        Scenario("growing, memory", in_memory(many), _name(FEW), Size(15, 400)),
        Scenario("growing, SQLite", in_sqlite(many), _name(FEW), Size(15, 200)),
    ]
