"""Measure the cost of protection over SQLite. The floor is the same plain transactions on the same table.

The floor of a first call is two committed transactions. The floor of a replay is one SELECT. Powertools and
idemkit have no SQLite layer.
"""

import asyncio
import contextlib
import json
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from libraries import BARE, IDEMPROOF, Function, by_jmespath, first_and_replay
from measuring import FIRST, REPLAY, Contestant, Scenario, Size, Step, by_steps, in_tasks, in_threads, in_turn
from payloads import HUGE, LARGE, ORDER, Kind, Payload
from stores import Places

import idemproof

_EXPIRY = 4_102_444_800
# Long enough that no caller gives up on a busy machine.
_PATIENT: dict[str, Any] = {"durable": False, "timeout_seconds": 60.0}
_WRITE = "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?)"
_LOOK = "SELECT data FROM records WHERE id = ?"

_Enter = Callable[[Places, contextlib.ExitStack], list[Contestant]]


def made(folder: Path, *, durable: bool, **options: float) -> idemproof.SQLitePersistenceLayer:
    """Return a layer whose file exists."""
    layer = idemproof.SQLitePersistenceLayer(new_path(folder), durable=durable, **options)
    layer.purge()
    return layer


def new_path(folder: Path) -> Path:
    """Return a path in a new directory."""
    return Path(tempfile.mkdtemp(dir=folder, prefix="sqlite-")) / "records.db"


def connected(path: Path, *, durable: bool) -> sqlite3.Connection:
    """Return a connection with the same settings as those of the layer."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    return db


def _bare(kind: Kind, db: sqlite3.Connection) -> dict[str, Function]:
    def write(payload: Payload, status: str, data: str | None) -> None:
        row = (f"bare#{payload['order_id']}", status, _EXPIRY, _EXPIRY, data, None, None)
        db.execute("BEGIN IMMEDIATE")
        db.execute(_WRITE, row)
        db.execute("COMMIT")

    def first(payload: Payload) -> Payload:
        write(payload, "INPROGRESS", None)
        write(payload, "COMPLETED", json.dumps(kind.answer(payload)))
        return kind.answer(payload)

    def replay(payload: Payload) -> Any:
        (data,) = db.execute(_LOOK, (f"bare#{payload['order_id']}",)).fetchone()
        return json.loads(data)

    return {FIRST: first, REPLAY: replay}


def _blocking(kind: Kind, *, durable: bool) -> _Enter:
    def enter(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:
        # The layer creates the table, so that both write the same rows with the same index.
        path = made(places.folder, durable=durable)._path
        db = stack.enter_context(contextlib.closing(connected(path, durable=durable)))
        layer = stack.enter_context(contextlib.closing(made(places.folder, durable=durable)))
        steps = [Step(case, in_turn(act), kind.answer) for case, act in _bare(kind, db).items()]
        runs: list[Any] = []
        act = in_turn(by_jmespath(idemproof, layer, kind, runs))
        return [by_steps(BARE, steps), first_and_replay(IDEMPROOF, kind, runs, act)]

    return enter


def _together(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:
    """Return one contestant for each kind of concurrency. None is the floor of the others."""
    contestants = []
    for threads in (1, 16):
        layer = stack.enter_context(contextlib.closing(made(places.folder, **_PATIENT)))
        runs: list[Any] = []
        act = in_threads(by_jmespath(idemproof, layer, ORDER, runs), threads, stack)
        name = "1 thread" if threads == 1 else f"{threads} threads"
        contestants.append(first_and_replay(name, ORDER, runs, act))
    runner = stack.enter_context(asyncio.Runner())
    for tasks in (1, 200):
        shared = idemproof.AsyncSQLitePersistenceLayer(new_path(places.folder), durable=False)
        stack.callback(shared.close)
        runs = []
        function = by_jmespath(idemproof, shared, ORDER, runs, asynchronous=True)
        name = "1 task" if tasks == 1 else f"{tasks} tasks"
        contestants.append(first_and_replay(name, ORDER, runs, in_tasks(function, tasks, runner)))
    return contestants


SCENARIOS = [
    Scenario("SQLite, durable", _blocking(ORDER, durable=True), BARE, Size(21, 100)),
    Scenario("SQLite, not durable", _blocking(ORDER, durable=False), BARE, Size(21, 200)),
    Scenario("SQLite, 10 KB", _blocking(LARGE, durable=True), BARE, Size(11, 50), kind=LARGE),
    Scenario("SQLite, 300 KB", _blocking(HUGE, durable=True), BARE, Size(7, 6), Size(1, 2), kind=HUGE),
    Scenario(
        "SQLite, together", _together, "1 thread", Size(9, 200), remark="Not durable; one writer at a time."
    ),
]
