"""Completions within transactions that end in unusual ways, or had failed before."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from django.db import transaction
from sqlalchemy.orm import Session

from attempts import BodyError, complete
from django_places import DjangoSQLitePlace
from idemproof.errors import IdempotencyLeaseLostError, IdempotencyTransactionError
from transaction_places import Place, psycopg_place, sqlalchemy_place, sqlite_place

pytestmark = pytest.mark.once


def rolls_back(place: Any, body: Callable[..., Any]) -> str:
    """Call a body whose transaction cannot be committed, and return the error's message."""
    with pytest.raises(IdempotencyTransactionError) as raised:
        place.protect(body)(what="a")
    assert raised.value.kind == "RolledBack"
    return str(raised.value)


@pytest.mark.clause("INV-11", "TXN-10")
def test_savepoints_that_ended_before_the_completion_do_not_matter(place: Place) -> None:
    connection = place.new()

    def body(what: str) -> Any:
        with place.transaction(connection):
            with place.savepoint(connection):
                place.act(connection, what)
            with suppress(BodyError), place.savepoint(connection):
                place.act(connection, "undone")
                raise BodyError
            return complete(1, connection)

    assert place.protect(body)(what="a") == 1
    assert (place.effects(), place.records()) == (["a"], ["COMPLETED"])


@pytest.mark.clause("TXN-7", "INV-11")
def test_transaction_that_ends_with_its_connection_is_no_answer(place: Place) -> None:
    closed: list[bool] = []

    def body(what: str) -> Any:
        connection = place.connect()
        place.begin(connection)
        place.act(connection, what)
        answer = complete(1, connection)
        if not closed:
            closed.append(True)
            connection.close()
        else:
            place.commit(connection)
            connection.close()
        return answer

    protected = place.protect(body)
    with pytest.raises(IdempotencyTransactionError) as raised:
        protected(what="a")
    assert raised.value.kind == "RolledBack"
    assert place.effects() == []


@pytest.mark.clause("TXN-7")
@pytest.mark.parametrize("way", ["Rollback", "force_rollback"])
def test_rollback_without_an_exception_is_no_answer_and_releases(on_postgres: Place, way: str) -> None:
    place, connection = on_postgres, on_postgres.new()

    def body(what: str) -> Any:
        with connection.transaction(force_rollback=way == "force_rollback"):
            place.act(connection, what)
            complete(1, connection)
            if way == "Rollback":
                raise psycopg.Rollback
        return 1

    rolls_back(place, body)
    assert (place.effects(), place.records()) == ([], [])


@pytest.mark.clause("TXN-7", "INV-11")
@pytest.mark.parametrize("swallows", [False, True])
def test_commit_that_fails_by_a_deferred_constraint_leaves_nothing(
    on_postgres: Place, swallows: bool
) -> None:
    place = on_postgres
    place.change("ALTER TABLE effects ADD UNIQUE (what) DEFERRABLE INITIALLY DEFERRED")
    place.change("INSERT INTO effects VALUES ('a')")
    connection = place.new()

    def body(what: str) -> Any:
        with suppress(psycopg.Error) if swallows else connection.transaction():
            place.act(connection, what)
            complete(1, connection)
            if swallows:
                connection.commit()
        return 1

    with pytest.raises(IdempotencyTransactionError if swallows else psycopg.errors.UniqueViolation):
        place.protect(body)(what="a")
    assert (place.effects(), place.records()) == (["a"], [])


@pytest.mark.clause("INV-11")
def test_commit_that_fails_on_sqlite_leaves_nothing(tmp_path: Path) -> None:
    """There the transaction stays open until it is rolled back."""
    place = sqlite_place(tmp_path)
    place.change("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
    place.change(
        "CREATE TABLE children (parent INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)"
    )
    connection = place.new()
    connection.execute("PRAGMA foreign_keys = ON")

    def body(what: str) -> Any:
        with place.transaction(connection):
            place.act(connection, what)
            connection.execute("INSERT INTO children VALUES (1)")
            return complete(1, connection)

    with pytest.raises(sqlite3.IntegrityError):
        place.protect(body)(what="a")
    connection.close()
    assert place.effects() == []
    place.close()


@pytest.mark.clause("TXN-6")
def test_lost_lease_in_a_pipeline_cannot_commit(on_postgres: Place) -> None:
    place, connection = on_postgres, on_postgres.new()

    def body(what: str) -> Any:
        place.steal()
        with suppress(psycopg.Error), connection.pipeline() as pipeline:
            place.act(connection, what)
            pipeline.sync()
            with pytest.raises(IdempotencyLeaseLostError):
                complete(1, connection)
        connection.commit()
        return 1

    with pytest.raises(IdempotencyLeaseLostError):
        place.protect(body)(what="a")
    assert place.effects() == []


@pytest.mark.clause("TXN-8")
def test_pipeline_around_the_call_shows_its_result(on_postgres: Place) -> None:
    place, connection = on_postgres, on_postgres.new()

    def body(what: str) -> Any:
        place.act(connection, what)
        pipeline.sync()
        return complete(1, connection)

    with connection.pipeline() as pipeline:
        assert place.protect(body)(what="a") == 1
    connection.commit()
    assert (place.effects(), place.records()) == (["a"], ["COMPLETED"])


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def alchemy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A place of SQLAlchemy."""
    url = f"sqlite:///{tmp_path / 'alchemy.db'}"
    if request.param == "PostgreSQL":
        url = request.getfixturevalue("dsn").replace("postgresql://", "postgresql+psycopg://")
    made = sqlalchemy_place(url)
    yield made
    made.close()


@pytest.fixture
def fail_to_flush(alchemy: Any) -> Callable[[Session], None]:
    """Return a function that lets the flush of a session fail."""
    alchemy.change("CREATE TABLE numbers (id INTEGER PRIMARY KEY)")
    base: Any = sa.orm.declarative_base()
    number = type(
        "Number", (base,), {"__tablename__": "numbers", "id": sa.Column(sa.Integer, primary_key=True)}
    )

    def fail(session: Session) -> None:
        session.add_all([number(id=1), number(id=1)])
        with pytest.raises(Exception, match=r"(?i)unique"):
            session.flush()

    return fail


@pytest.mark.clause("TXN-5", "INV-11")
def test_session_that_begins_nothing_by_itself_completes_after_begin(alchemy: Any) -> None:
    def body(what: str) -> Any:
        with Session(alchemy.engine, autobegin=False) as session:
            with pytest.raises(IdempotencyTransactionError) as raised:
                complete(1, session)
            assert raised.value.kind == "NoTransaction"
            with session.begin():
                answer = complete(1, session)
                alchemy.act(session, what)
        return answer

    assert alchemy.protect(body)(what="a") == 1
    assert (alchemy.effects(), alchemy.records()) == (["a"], ["COMPLETED"])


@pytest.mark.clause("TXN-7", "TXN-8")
@pytest.mark.parametrize("mode", ["conditional_savepoint", "rollback_only", "control_fully"])
def test_session_in_an_outer_transaction_may_end_before_it(alchemy: Any, mode: Any) -> None:
    """As in test suites, which roll the outer transaction back."""
    connection = alchemy.new()

    def body(what: str) -> Any:
        with Session(connection, join_transaction_mode=mode, autobegin=False) as session, session.begin():
            alchemy.act(session, what)
            return complete(1, session)

    protected = alchemy.protect(body)
    connection.begin()
    assert protected(what="a") == 1
    if mode == "control_fully":
        assert not connection.in_transaction()
    else:
        assert alchemy.effects() == []
        connection.commit()
    assert (alchemy.effects(), alchemy.records()) == (["a"], ["COMPLETED"])


@pytest.mark.clause("TXN-5")
@pytest.mark.parametrize("kind", ["connection", "session"])
def test_transaction_that_had_failed_is_refused_by_name(dsn: str, kind: str) -> None:
    place: Any = sqlalchemy_place(dsn.replace("postgresql://", "postgresql+psycopg://"))

    def body(what: str) -> Any:
        with place.engine.connect() if kind == "connection" else Session(place.engine) as connection:
            place.act(connection, what)
            with suppress(sa.exc.SQLAlchemyError):
                connection.execute(sa.text("SELECT no_column"))
            return complete(1, connection)

    assert "cannot commit" in rolls_back(place, body)
    assert (place.effects(), place.records()) == ([], [])
    place.close()


@pytest.mark.clause("TXN-5")
def test_session_whose_flush_had_failed_is_refused_by_name(alchemy: Any, fail_to_flush: Any) -> None:
    place = alchemy

    def body(what: str) -> Any:
        with Session(place.engine) as session:
            place.act(session, what)
            fail_to_flush(session)
            return complete(1, session)

    assert "cannot commit" in rolls_back(place, body)
    assert (place.effects(), place.records()) == ([], [])


@pytest.mark.clause("TXN-7", "INV-11")
def test_flush_that_fails_after_the_completion_leaves_nothing(alchemy: Any, fail_to_flush: Any) -> None:
    place = alchemy
    session = Session(place.engine)
    place.opened.append(session)

    def body(what: str) -> Any:
        place.act(session, what)
        answer = complete(1, session)
        fail_to_flush(session)
        return answer

    rolls_back(place, body)
    session.rollback()
    assert place.effects() == []


@pytest.mark.clause("TXN-7", "TXN-5")
@pytest.mark.parametrize("when", ["before", "after"])
def test_transaction_that_django_is_to_roll_back_is_no_answer(tmp_path: Path, when: str) -> None:
    place = DjangoSQLitePlace(tmp_path)
    connection = place.new()

    def body(what: str) -> Any:
        with transaction.atomic(place.alias):
            place.act(connection, what)
            if when == "before":
                with suppress(BodyError), transaction.atomic(place.alias, savepoint=False):
                    raise BodyError
            complete(1, connection)
            transaction.set_rollback(True, place.alias)
        return 1

    rolls_back(place, body)
    assert place.effects() == []
    place.close()


@pytest.mark.clause("INV-11")
def test_read_only_transaction_raises_what_the_driver_says_and_releases(on_postgres: Place) -> None:
    place, connection = on_postgres, on_postgres.new()
    connection.read_only = True

    def body(what: str) -> Any:
        place.begin(connection)
        return complete(1, connection)

    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        place.protect(body)(what="a")
    assert place.records() == []


@pytest.mark.clause("TXN-6", "TXN-7")
def test_lost_lease_that_is_ignored_in_a_savepoint_stops_an_open_transaction(plain_place: Place) -> None:
    place, connection = plain_place, plain_place.new()

    def body(what: str) -> Any:
        place.steal()
        place.begin(connection)
        place.act(connection, what)
        with suppress(Exception), place.savepoint(connection):
            complete(1, connection, savepoint=True)
        return 1

    with pytest.raises(IdempotencyLeaseLostError):
        place.protect(body)(what="a")
    try:
        place.commit(connection)
    except Exception:
        place.roll_back(connection)
    assert place.effects() == []


@pytest.mark.clause("TXN-7", "ENG-5")
@pytest.mark.parametrize("kind", ["psycopg", "SQLAlchemy"])
def test_connection_that_breaks_before_the_commit_is_no_unknown_outcome(dsn: str, kind: str) -> None:
    place: Any = psycopg_place(dsn)
    if kind == "SQLAlchemy":
        place = sqlalchemy_place(dsn.replace("postgresql://", "postgresql+psycopg://"))
    connection = place.new()

    def body(what: str) -> Any:
        place.begin(connection)
        place.act(connection, what)
        answer = complete(1, connection)
        place.query(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
            "WHERE state = 'idle in transaction' AND datname = current_database()"
        )
        return answer

    rolls_back(place, body)
    assert (place.effects(), place.records()) == ([], [])
    place.close()
