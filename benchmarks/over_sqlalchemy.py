"""Measure the cost of protection over SQLAlchemy. The floor is bare statements through the same engine.

The floor of a first call is two committed statements, each in ``engine.begin()``. The floor of a replay is
one SELECT in ``engine.connect()``.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

from libraries import BARE, IDEMPROOF, Function, by_jmespath, first_and_replay
from measuring import FIRST, REPLAY, Contestant, Scenario, Size, Step, by_steps, in_tasks, in_turn
from payloads import ORDER, Kind, Payload
from stores import Places

import idemproof

_EXPIRY = 4_102_444_800

_Enter = Callable[[Places, contextlib.ExitStack], list[Contestant]]


def _statements(table: Any) -> tuple[Any, Any, Any]:
    import sqlalchemy as sql  # noqa: PLC0415 - other scenarios do not need it

    given = sql.bindparam("key")
    return (
        sql.insert(table).inline(),
        sql.update(table)
        .where(table.c.id == given, table.c.status == "INPROGRESS", table.c.owner == sql.bindparam("mine"))
        .values(status="COMPLETED", data=sql.bindparam("result")),
        sql.select(table.c.data).where(table.c.id == given),
    )


def _claim(payload: Payload) -> dict[str, Any]:
    key = f"bare#{payload['order_id']}"
    return {"id": key, "status": "INPROGRESS", "expiration": _EXPIRY, "owner": "mine"}


def _result(kind: Kind, payload: Payload) -> dict[str, Any]:
    return {
        "key": f"bare#{payload['order_id']}",
        "mine": "mine",
        "result": json.dumps(kind.answer(payload)),
    }


def _bare(kind: Kind, engine: Any, table: Any) -> dict[str, Function]:
    insert, update, select = _statements(table)

    def first(payload: Payload) -> Payload:
        with engine.begin() as connection:
            connection.execute(insert, _claim(payload))
        with engine.begin() as connection:
            connection.execute(update, _result(kind, payload))
        return kind.answer(payload)

    def replay(payload: Payload) -> Any:
        with engine.connect() as connection:
            return json.loads(connection.scalar(select, {"key": f"bare#{payload['order_id']}"}))

    return {FIRST: first, REPLAY: replay}


def _async_bare(kind: Kind, engine: Any, table: Any) -> dict[str, Function]:
    insert, update, select = _statements(table)

    async def first(payload: Payload) -> Payload:
        async with engine.begin() as connection:
            await connection.execute(insert, _claim(payload))
        async with engine.begin() as connection:
            await connection.execute(update, _result(kind, payload))
        return kind.answer(payload)

    async def replay(payload: Payload) -> Any:
        async with engine.connect() as connection:
            return json.loads(await connection.scalar(select, {"key": f"bare#{payload['order_id']}"}))

    return {FIRST: first, REPLAY: replay}


def _blocking(address: Callable[[Places], str]) -> _Enter:
    def enter(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:
        import sqlalchemy  # noqa: PLC0415 - as above

        engine = sqlalchemy.create_engine(address(places))
        stack.callback(engine.dispose)
        layer = stack.enter_context(contextlib.closing(idemproof.SQLAlchemyPersistenceLayer(engine)))
        layer.create_table()
        steps = [
            Step(case, in_turn(act), ORDER.answer) for case, act in _bare(ORDER, engine, layer.table).items()
        ]
        runs: list[Any] = []
        act = in_turn(by_jmespath(idemproof, layer, ORDER, runs))
        return [by_steps(BARE, steps), first_and_replay(IDEMPROOF, ORDER, runs, act)]

    return enter


def _asynchronous(address: Callable[[Places], str], tasks: int) -> _Enter:
    def enter(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:
        from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 - as above

        runner = stack.enter_context(asyncio.Runner())
        engine = create_async_engine(address(places))
        stack.callback(lambda: runner.run(engine.dispose()))
        layer = idemproof.AsyncSQLAlchemyPersistenceLayer(engine)
        stack.callback(lambda: runner.run(layer.close()))
        runner.run(layer.create_table())
        steps = [
            Step(case, in_tasks(act, tasks, runner), ORDER.answer)
            for case, act in _async_bare(ORDER, engine, layer.table).items()
        ]
        runs: list[Any] = []
        function = by_jmespath(idemproof, layer, ORDER, runs, asynchronous=True)
        act = in_tasks(function, tasks, runner)
        return [by_steps(BARE, steps), first_and_replay(IDEMPROOF, ORDER, runs, act)]

    return enter


def _on_postgresql(driver: str) -> Callable[[Places], str]:
    return lambda places: places.postgresql.replace("postgresql://", f"postgresql+{driver}://")


SCENARIOS = [
    Scenario("SQLAlchemy, PostgreSQL", _blocking(_on_postgresql("psycopg")), BARE, Size(15, 100)),
    Scenario(
        "SQLAlchemy, PostgreSQL, async", _asynchronous(_on_postgresql("asyncpg"), 1), BARE, Size(15, 100)
    ),
    Scenario("SQLAlchemy, MariaDB", _blocking(lambda places: places.mariadb), BARE, Size(15, 100)),
    Scenario(
        "SQLAlchemy, SQLite", _blocking(lambda places: f"sqlite:///{places.folder}/by.db"), BARE, Size(15, 50)
    ),
]
