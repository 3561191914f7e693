"""Completion within transactions: isolation levels, a pooler, autocommit, takeovers, forks, odd names."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import IsolationLevel
from sqlalchemy.orm import Session

from attempts import complete
from idemproof import NOT_DONE, SQLAlchemyPersistenceLayer
from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyConfigError,
    IdempotencyTransactionError,
)
from pgbouncer import PgBouncer
from transaction_places import Place, SQLAlchemyPlace, psycopg_place, sqlalchemy_place, sqlite_place

pytestmark = pytest.mark.once


@pytest.fixture
def place(dsn: str) -> Iterator[Place]:
    made = psycopg_place(dsn)
    yield made
    made.close()


def acting(place: Place, connection: Any) -> Any:
    def body(what: str) -> Any:
        with place.transaction(connection):
            place.act(connection, what)
            return complete(1, connection)

    return body


@pytest.mark.clause("TXN-6")
@pytest.mark.parametrize("level", [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE])
def test_transaction_that_began_before_the_call_does_not_see_its_claim(
    place: Place, level: IsolationLevel
) -> None:
    connection = place.new()
    connection.isolation_level = level
    connection.execute("SELECT * FROM idempotency")

    def body(what: str) -> Any:
        place.act(connection, what)
        return complete(1, connection)

    with pytest.raises(IdempotencyTransactionError, match="began before the call") as raised:
        place.protect(body)(what="a")
    assert raised.value.kind == "NotVisible"
    connection.commit()
    assert place.effects() == []
    connection.rollback()
    assert place.protect(acting(place, connection))(what="b") == 1


@pytest.mark.clause("INV-11", "TXN-2")
def test_serialization_failure_at_the_commit_leaves_nothing_and_a_new_call_succeeds(place: Place) -> None:
    place.change("CREATE TABLE totals (id int PRIMARY KEY, n int)")
    place.change("INSERT INTO totals VALUES (1, 0), (2, 0)")
    one, other = place.new(), place.new()
    one.isolation_level = other.isolation_level = IsolationLevel.SERIALIZABLE
    fails = [True]

    def body(what: str) -> Any:
        with one.transaction():
            one.execute("SELECT sum(n) FROM totals")
            one.execute("UPDATE totals SET n = n + 1 WHERE id = 1")
            place.act(one, what)
            complete(1, one)
            if fails.pop() if fails else False:
                with other.transaction():
                    other.execute("SELECT sum(n) FROM totals")
                    other.execute("UPDATE totals SET n = n + 1 WHERE id = 2")
        return 1

    protected = place.protect(body)
    with pytest.raises(psycopg.errors.SerializationFailure):
        protected(what="a")
    assert (place.effects(), place.records()) == ([], [])
    assert protected(what="a") == 1
    assert (place.effects(), place.records()) == (["a"], ["COMPLETED"])


@pytest.mark.clause("INV-11")
def test_transactions_go_through_pgbouncer(place: Any, postgres_server: Any) -> None:
    with PgBouncer(postgres_server) as pooler:
        address = f"host={pooler.host} port={pooler.port} dbname={place.dsn.rpartition('/')[2]} user=postgres"
        with psycopg.connect(address) as connection:
            connection.prepare_threshold = None
            protected = place.protect(acting(place, connection))
            assert [protected(what=str(n)) for n in range(8)] == [1] * 8
    assert len(place.effects()) == 8


@pytest.mark.clause("TXN-5")
def test_autocommit_connections_are_refused_unless_they_are_in_a_transaction(place: Any) -> None:
    connection = psycopg.connect(place.dsn, autocommit=True)
    place.opened.append(connection)

    def bare(what: str) -> Any:
        place.act(connection, what)
        return complete(1, connection)

    with pytest.raises(IdempotencyTransactionError) as raised:
        place.protect(bare)(what="a")
    assert raised.value.kind == "NoTransaction"

    def body(what: str) -> Any:
        with connection.transaction():
            place.act(connection, what)
            return complete(1, connection)

    assert place.protect(body)(what="b") == 1


@pytest.mark.clause("TXN-5")
@pytest.mark.parametrize("kind", ["connection", "session"])
@pytest.mark.parametrize("database", ["PostgreSQL", "SQLite", "MariaDB"])
def test_sqlalchemy_in_autocommit_mode_is_refused(
    kind: str, database: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    urls = {
        "SQLite": lambda: f"sqlite:///{tmp_path / 'alchemy.db'}",
        "MariaDB": lambda: request.getfixturevalue("mariadb_server").create_database(),
        "PostgreSQL": lambda: request.getfixturevalue("dsn").replace("ql://", "ql+psycopg://"),
    }
    place: Any = sqlalchemy_place(urls[database]())
    engine = place.engine.execution_options(isolation_level="AUTOCOMMIT")

    def body(what: str) -> Any:
        with engine.connect() if kind == "connection" else Session(engine) as connection:
            place.act(connection, what)
            return complete(1, connection)

    with pytest.raises(IdempotencyTransactionError, match="autocommit mode") as raised:
        place.protect(body)(what="a")
    assert raised.value.kind == "NoTransaction"
    assert place.records() == []
    place.close()


@pytest.mark.clause("INV-11")
def test_completion_may_be_the_first_statement_of_a_sqlalchemy_transaction(tmp_path: Path) -> None:
    place: Any = sqlalchemy_place(f"sqlite:///{tmp_path / 'alchemy.db'}")

    def body(what: str) -> Any:
        with place.engine.begin() as connection:
            answer = complete(1, connection)
            place.act(connection, what)
        return answer

    assert place.protect(body)(what="a") == 1
    assert (place.effects(), place.records()) == (["a"], ["COMPLETED"])
    place.close()


@pytest.mark.clause("TAKE-3", "TAKE-6", "INV-11")
def test_takeover_asks_before_a_body_that_completes_in_its_transaction(place: Place) -> None:
    connection = place.new()
    now = [1_700_000_000_000]
    asked: list[str] = []

    def dies(what: str) -> Any:
        os.write(2, b"")
        raise KeyboardInterrupt

    def ask(what: str) -> Any:
        asked.append(what)
        with pytest.raises(IdempotencyConfigError, match="on_takeover is still being asked"):
            complete(1, connection)
        return NOT_DONE

    with pytest.raises(KeyboardInterrupt):
        place.protect(dies, clock=lambda: now[0], on_takeover_asks=ask)(what="a")
    protected = place.protect(acting(place, connection), clock=lambda: now[0], on_takeover_asks=ask)
    assert protected(what="a") == 1
    assert (asked, place.effects(), place.records()) == (["a"], ["a"], ["COMPLETED"])


@pytest.mark.clause("TXN-4", "WAIT-4")
def test_other_calls_find_a_lapsed_claim_locked_and_do_not_take_it_over(place: Place) -> None:
    connection = place.new()
    now = [1_700_000_000_000]
    refused: list[BaseException] = []

    def body(what: str) -> Any:
        place.act(connection, what)
        complete(1, connection)
        now[0] += 3_600_000 // 2

        def call() -> None:
            try:
                protected(what="a")
            except IdempotencyAlreadyInProgressError as error:
                refused.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join(60)
        connection.commit()
        return 1

    protected = place.protect(body, clock=lambda: now[0])
    assert protected(what="a") == 1
    assert len(refused) == 1
    assert place.effects() == ["a"]


@pytest.mark.clause("INV-11")
def test_child_of_a_fork_does_not_complete_twice(tmp_path: Path) -> None:
    place = sqlite_place(tmp_path)

    def body(what: str) -> Any:
        connection = place.connect()
        with place.transaction(connection):
            place.act(connection, what)
            answer = complete(1, connection)
        connection.close()
        return answer

    protected = place.protect(body)
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if protected(what="a") == 1 else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert protected(what="a") == 1
    assert place.effects() == ["a"]
    place.close()


def test_text_of_sqlalchemy_is_not_confused_by_its_names(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'odd.db'}")
    layer = SQLAlchemyPersistenceLayer(engine, 'odd "na:me" %s {key}')
    layer.create_table()
    place = SQLAlchemyPlace(layer, engine)
    assert place.protect(acting(place, place.new()))(what="a") == 1
    place.close()
