"""Completion within sessions that use several databases, and connections that hide how they commit."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from django.db import connections, transaction
from django.utils.connection import ConnectionProxy
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from attempts import complete
from django_places import DjangoSQLitePlace
from idemproof.errors import IdempotencyTransactionError
from transaction_places import WHAT, Place, SQLAlchemyPlace, sqlalchemy_place

pytestmark = pytest.mark.once


class Base(DeclarativeBase):
    """The tables of the application."""


class Order(Base):
    """An effect."""

    __tablename__ = "orders"
    number: Mapped[int] = mapped_column(primary_key=True)


class CommitsEachStatement(sqlite3.Connection):
    """What ``autocommit=True`` makes from Python 3.12."""

    autocommit = True
    isolation_level = ""  # without effect then

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "isolation_level": None})


@pytest.fixture
def place(tmp_path: Path) -> Iterator[SQLAlchemyPlace]:
    made: Any = sqlalchemy_place(f"sqlite:///{tmp_path / 'records.db'}")
    Base.metadata.create_all(made.engine)
    yield made
    made.close()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[sa.Engine]:
    """Another database, which has the same tables."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'elsewhere.db'}")
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


def orders(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(sa.text("SELECT count(*) FROM orders")).scalar_one())


@pytest.mark.clause("TXN-5", "INV-11")
@pytest.mark.parametrize("uses_both", [False, True])
def test_session_with_its_effect_in_another_database_is_refused(
    place: SQLAlchemyPlace, elsewhere: sa.Engine, uses_both: bool
) -> None:
    def body(what: str) -> Any:
        with Session(place.engine, binds={Order: elsewhere}) as session, session.begin():
            if uses_both:
                session.execute(WHAT, {"what": what})
            session.add(Order(number=1))
            return complete(1, session)

    with pytest.raises(
        IdempotencyTransactionError, match="connections" if uses_both else "database"
    ) as raised:
        place.protect(body)(what="a")
    assert raised.value.kind == "NotVisible"
    assert (place.effects(), place.records(), orders(elsewhere)) == ([], [], 0)


@pytest.mark.clause("INV-11")
def test_session_without_an_engine_for_all_completes_where_its_effect_is(place: SQLAlchemyPlace) -> None:
    def body(what: str) -> Any:
        with Session(binds={Order: place.engine}) as session, session.begin():
            session.add(Order(number=1))
            return complete(1, session)

    assert place.protect(body)(what="a") == 1
    assert (orders(place.engine), place.records()) == (1, ["COMPLETED"])


@pytest.mark.clause("TXN-5")
def test_session_without_an_engine_and_an_effect_is_refused(place: SQLAlchemyPlace) -> None:
    def body(what: str) -> Any:
        with Session(binds={Order: place.engine}) as session, session.begin():
            return complete(1, session)

    with pytest.raises(IdempotencyTransactionError, match="Write the effect first") as raised:
        place.protect(body)(what="a")
    assert raised.value.kind == "NoTransaction"


@pytest.mark.clause("TXN-6")
def test_connection_of_another_kind_of_database_is_refused_before_it_writes(
    place: SQLAlchemyPlace, dsn: str
) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT 1")

        def body(what: str) -> Any:
            return complete(1, connection)

        with pytest.raises(IdempotencyTransactionError, match="Nothing was written") as raised:
            place.protect(body)(what="a")
    assert raised.value.kind == "NotVisible"


@pytest.mark.clause("TXN-5")
def test_sqlite_that_commits_each_statement_is_refused_below_sqlalchemy(
    place: SQLAlchemyPlace, tmp_path: Path
) -> None:
    engine = sa.create_engine(
        f"sqlite:///{tmp_path / 'records.db'}", connect_args={"factory": CommitsEachStatement}
    )

    def body(what: str) -> Any:
        with engine.begin() as connection:
            connection.execute(WHAT, {"what": what})
            return complete(1, connection)

    with pytest.raises(IdempotencyTransactionError) as raised:
        place.protect(body)(what="a")
    assert raised.value.kind == "NoTransaction"
    engine.dispose()


@pytest.mark.clause("TXN-5")
def test_pipeline_without_an_answer_is_refused_by_name(on_postgres: Place) -> None:
    place, connection = on_postgres, on_postgres.new()

    def body(what: str) -> Any:
        with connection.pipeline() as pipeline, connection.transaction():
            place.act(connection, what)
            if what == "in time":
                pipeline.sync()
            return complete(1, connection)

    protected = place.protect(body)
    with pytest.raises(IdempotencyTransactionError, match="pipeline mode") as raised:
        protected(what="too early")
    assert raised.value.kind == "NoTransaction"
    assert protected(what="in time") == 1
    assert place.effects() == ["in time"]


@pytest.mark.clause("TXN-10")
def test_savepoint_below_a_session_is_refused(place: SQLAlchemyPlace) -> None:
    def body(what: str) -> Any:
        with (
            place.engine.begin() as connection,
            Session(connection, join_transaction_mode="create_savepoint") as session,
        ):
            session.execute(WHAT, {"what": what})
            return complete(1, session)

    with pytest.raises(IdempotencyTransactionError) as raised:
        place.protect(body)(what="a")
    assert raised.value.kind == "InSavepoint"
    assert (place.effects(), place.records()) == ([], [])


@pytest.mark.clause("INV-11")
def test_session_of_the_thread_and_the_connection_of_django_are_unwrapped(
    place: SQLAlchemyPlace, tmp_path: Path
) -> None:
    sessions = scoped_session(sessionmaker(place.engine))
    django_place = DjangoSQLitePlace(tmp_path)
    proxy = ConnectionProxy(connections, django_place.alias)

    def body(what: str) -> Any:
        with sessions.begin():
            sessions.execute(WHAT, {"what": what})
            return complete(1, sessions)

    def view(what: str) -> Any:
        with transaction.atomic(django_place.alias):
            django_place.act(proxy, what)
            return complete(1, proxy)

    assert (place.protect(body)(what="a"), django_place.protect(view)(what="a")) == (1, 1)
    assert (place.records(), django_place.records()) == (["COMPLETED"], ["COMPLETED"])
    sessions.remove()
    django_place.close()
