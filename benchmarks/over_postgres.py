"""Measure the cost of protection over PostgreSQL. The floor is plain committed statements of the same client.

The floor of a first call is an INSERT and an UPDATE, of a replay one SELECT, prepared, in autocommit mode, on
a table of the layer. Commits wait for the disk, as by default. Powertools has no layer for PostgreSQL.

"In a transaction", the floor of a first call is the INSERT of a claim and, in a transaction, that of an
effect. Idemproof sends two statements more: an UPDATE in the transaction, and a SELECT after it.

"1 ms away", each reply takes a millisecond longer.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

import psycopg
from libraries import BARE, IDEMPROOF, Context, Function, by_jmespath, closing, first_and_replay
from measuring import FIRST, REPLAY, Contestant, Scenario, Size, Step, by_steps, in_tasks, in_turn
from payloads import LARGE, ORDER, Kind, Payload
from stores import Places

import idemproof

_EXPIRY = 4_102_444_800
_INSERT = (
    "INSERT INTO bare (id, status, expiration, in_progress_expiration, validation, owner) "
    "VALUES (%s, %s, %s, %s, %s, %s)"
)
_UPDATE = (
    "UPDATE bare SET status = %s, expiration = %s, in_progress_expiration = NULL, data = %s WHERE id = %s"
)
_LOOK = "SELECT data FROM bare WHERE id = %s"


def _claim(payload: Payload) -> tuple[Any, ...]:
    return payload["order_id"], "INPROGRESS", _EXPIRY, _EXPIRY * 1000, None, "o" * 32


def _result(kind: Kind, payload: Payload) -> tuple[Any, ...]:
    return "COMPLETED", _EXPIRY, json.dumps(kind.answer(payload)), payload["order_id"]


def _bare(kind: Kind, connection: psycopg.Connection[Any]) -> dict[str, Function]:
    def first(payload: Payload) -> Payload:
        connection.execute(_INSERT, _claim(payload))
        connection.execute(_UPDATE, _result(kind, payload))
        return kind.answer(payload)

    def replay(payload: Payload) -> Any:
        found = connection.execute(_LOOK, (payload["order_id"],)).fetchone()
        assert found is not None
        return json.loads(found[0])

    return {FIRST: first, REPLAY: replay}


def _bare_async(kind: Kind, connection: psycopg.AsyncConnection[Any]) -> dict[str, Function]:
    async def first(payload: Payload) -> Payload:
        await connection.execute(_INSERT, _claim(payload))
        await connection.execute(_UPDATE, _result(kind, payload))
        return kind.answer(payload)

    async def replay(payload: Payload) -> Any:
        found = await (await connection.execute(_LOOK, (payload["order_id"],))).fetchone()
        assert found is not None
        return json.loads(found[0])

    return {FIRST: first, REPLAY: replay}


def _tables(dsn: str) -> None:
    """Create the tables of both contestants, empty."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS bare, idempotency")
    for table in ("bare", "idempotency"):
        with contextlib.closing(idemproof.PostgresPersistenceLayer(dsn, table=table)) as layer:
            layer.create_table()


def _near(places: Places) -> str:
    return places.postgres


def _far(places: Places) -> str:
    return places.far_postgres


def _blocking(kind: Kind, address: Callable[[Places], str] = _near) -> Any:
    def enter(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:
        dsn = address(places)
        _tables(dsn)
        bare = _bare(kind, stack.enter_context(psycopg.connect(dsn, autocommit=True)))
        layer = stack.enter_context(contextlib.closing(idemproof.PostgresPersistenceLayer(dsn)))
        runs: list[Any] = []
        act = in_turn(by_jmespath(idemproof, layer, kind, runs))
        steps = [Step(case, in_turn(one), kind.answer) for case, one in bare.items()]
        return [by_steps(BARE, steps), first_and_replay(IDEMPROOF, kind, runs, act)]

    return enter


def _in_a_transaction(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:
    dsn = places.postgres
    _tables(dsn)
    claims, effects = (stack.enter_context(psycopg.connect(dsn)) for _ in range(2))
    claims.autocommit = True
    effects.execute("DROP TABLE IF EXISTS effects")
    effects.execute("CREATE TABLE effects (id text)")
    effects.commit()

    def act(payload: Payload) -> None:
        effects.execute("INSERT INTO effects VALUES (%s)", (payload["order_id"],))

    def first(payload: Payload) -> Payload:
        claims.execute(_INSERT, _claim(payload))
        with effects.transaction():
            act(payload)
        return ORDER.answer(payload)

    def replay(payload: Payload) -> Any:
        found = claims.execute(_LOOK, (payload["order_id"],)).fetchone()
        assert found is not None
        return ORDER.answer(payload)

    layer = stack.enter_context(contextlib.closing(idemproof.PostgresPersistenceLayer(dsn)))
    runs: list[Any] = []

    def within(payload: Payload) -> Payload:
        runs.append(payload)
        attempt = idemproof.current_attempt()
        assert attempt is not None
        with effects.transaction():
            act(payload)
            return attempt.complete(ORDER.answer(payload), within=effects)

    config = idemproof.IdempotencyConfig(**ORDER.expressions, lambda_context=Context())
    ours = idemproof.idempotent_function(
        within, data_keyword_argument="payload", persistence_store=layer, config=config
    )
    steps = [Step(FIRST, in_turn(first), ORDER.answer), Step(REPLAY, in_turn(replay), ORDER.answer)]
    return [by_steps(BARE, steps), first_and_replay(IDEMPROOF, ORDER, runs, in_turn(ours))]


def _async(address: Callable[[Places], str]) -> Any:
    def enter(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:
        dsn = address(places)
        _tables(dsn)
        runner = stack.enter_context(asyncio.Runner())
        connection = runner.run(psycopg.AsyncConnection.connect(dsn, autocommit=True))
        stack.callback(closing(runner, connection.close))
        layer = idemproof.AsyncPostgresPersistenceLayer(dsn)
        stack.callback(closing(runner, layer.close))
        runs: list[Any] = []
        ours = by_jmespath(idemproof, layer, ORDER, runs, asynchronous=True)
        steps = [
            Step(case, in_tasks(one, 1, runner), ORDER.answer)
            for case, one in _bare_async(ORDER, connection).items()
        ]
        return [by_steps(BARE, steps), first_and_replay(IDEMPROOF, ORDER, runs, in_tasks(ours, 1, runner))]

    return enter


SCENARIOS = [
    Scenario("PostgreSQL, 200 B", _blocking(ORDER), BARE, Size(21, 200)),
    Scenario("PostgreSQL, 10 KB", _blocking(LARGE), BARE, Size(11, 60), kind=LARGE),
    Scenario("PostgreSQL, in a transaction", _in_a_transaction, BARE, Size(11, 200)),
    Scenario("PostgreSQL, async, 1 task", _async(_near), BARE, Size(11, 200)),
    Scenario("PostgreSQL, 1 ms away", _blocking(ORDER, _far), BARE, Size(11, 100)),
    Scenario("PostgreSQL, 1 ms away, async", _async(_far), BARE, Size(11, 100)),
]
