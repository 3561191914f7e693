"""Signals of PostgreSQL for calls that wait, from completions within transactions."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg
import pytest

from attempts import BodyError, attempt, complete
from idemproof import PostgresPersistenceLayer
from idemproof.backends.postgres_statements import signal_of
from transaction_places import Place, psycopg_place

pytestmark = pytest.mark.once

LONG = 60  # seconds, for what must happen

# A server that allows commits in two phases, as far as this statement sees.
TWO_PHASES = """
CREATE SCHEMA two_phases;
CREATE FUNCTION two_phases.current_setting(text) RETURNS text LANGUAGE sql AS $$ SELECT '8' $$;
SET search_path = two_phases, pg_catalog, public
"""


class Hearing:
    """A session that hears every notification, and sees all locks."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self._heard: list[str] = []
        connection.add_notify_handler(lambda notify: self._heard.append(notify.payload))
        connection.execute("LISTEN idemproof")

    def heard(self) -> list[str]:
        """Return the payloads of what was sent by now."""
        self.connection.execute("SELECT 1")
        return self._heard

    def locks(self) -> list[str]:
        """Return the modes of the advisory locks in the database."""
        rows = self.connection.execute(
            "SELECT mode FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return [mode for (mode,) in rows]

    def until_a_call_listens(self) -> None:
        while not self.locks():
            self.connection.execute("SELECT pg_sleep(0.005)")


@pytest.fixture
def place(dsn: str) -> Iterator[Place]:
    made = psycopg_place(dsn)
    yield made
    made.close()


@pytest.fixture
def hearing(dsn: str) -> Iterator[Hearing]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield Hearing(connection)


@pytest.fixture
def wait(dsn: str, hearing: Hearing) -> Iterator[Any]:
    """Return a function that lets another process wait for a change, as far as the server sees."""
    with closing(PostgresPersistenceLayer(dsn)) as layer, ThreadPoolExecutor(1) as threads:

        def begin(seconds: float = LONG) -> Future[bool]:
            key = attempt().key
            begun = threads.submit(layer._wait_for_change, key, layer._load(key), seconds)  # type: ignore[arg-type]
            hearing.until_a_call_listens()
            return begun

        yield begin


def test_a_call_that_waits_is_woken_by_the_commit(place: Place, hearing: Hearing, wait: Any) -> None:
    connection = place.new()
    woken: list[Future[bool]] = []
    keys: list[str] = []

    def body(what: str) -> Any:
        keys.append(attempt().key)
        woken.append(wait())
        with place.transaction(connection):
            answer = complete(1, connection)
            assert hearing.heard() == []
        return answer

    assert place.protect(body)(what="a") == 1
    assert woken[0].result(LONG)
    assert hearing.heard() == [signal_of(keys[0])]


def test_nobody_is_notified_unless_a_call_waits(place: Place, hearing: Hearing) -> None:
    connection = place.new()

    def body(what: str) -> Any:
        with place.transaction(connection):
            answer = complete(1, connection)
            assert hearing.locks() == [], "a call that begins to wait now is not turned away"
        return answer

    assert place.protect(body)(what="a") == 1
    assert hearing.heard() == []


@pytest.mark.clause("WAIT-6")
def test_a_rollback_notifies_nobody_but_the_release_after_it_does(
    place: Place, hearing: Hearing, wait: Any
) -> None:
    connection = place.new()
    woken: list[Future[bool]] = []

    def body(what: str) -> Any:
        woken.append(wait())
        with place.transaction(connection):
            complete(1, connection)
            place.roll_back(connection)
            assert hearing.heard() == []
            raise BodyError

    with pytest.raises(BodyError):
        place.protect(body)(what="a")
    assert woken[0].result(LONG)
    assert len(hearing.heard()) == 1


def test_nobody_is_notified_where_the_server_allows_commits_in_two_phases(
    place: Place, hearing: Hearing, wait: Any
) -> None:
    """A transaction that notifies cannot be prepared."""
    connection = place.new()

    def body(what: str) -> Any:
        wait(0.0)
        with place.transaction(connection):
            connection.execute(TWO_PHASES)
            answer = complete(1, connection)
            assert connection.execute("SELECT current_setting('max_prepared_transactions')").fetchone() == (
                "8",
            )
            assert hearing.locks() == ["ShareLock"]
        return answer

    assert place.protect(body)(what="a") == 1
    assert hearing.heard() == []
