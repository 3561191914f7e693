"""Signals of PostgreSQL for calls that wait: what wakes them, what that costs, and what stays behind."""

import asyncio
import logging
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from forks import FORKING
from idemproof import (
    AsyncPostgresPersistenceLayer,
    IdempotencyConfig,
    PostgresPersistenceLayer,
    Record,
    idempotent_function,
)
from idemproof.backends import postgres_signals
from idemproof.backends.base import InThreads
from idemproof.backends.postgres_statements import signal_of
from idemproof.errors import IdempotencyPersistenceLayerError
from idemproof.spec.record import COMPLETED, INPROGRESS
from pgbouncer import PgBouncer

pytestmark = pytest.mark.once

Make = Callable[..., PostgresPersistenceLayer]

FOREVER = 600  # seconds, for what must happen
FAR = 32_503_680_000
CLAIM = Record("key", INPROGRESS, FAR, FAR * 1000 - 1, None, "hash", "owner")
RENEWED = CLAIM._replace(in_progress_expiry_timestamp=FAR * 1000)
TAKEN = CLAIM._replace(owner="another")
RESULT = Record("key", COMPLETED, FAR, None, '{"a": 1}', "hash", "owner")
CHANGES = pytest.mark.parametrize("change", [RESULT, None, RENEWED, TAKEN], ids=str)


class Watched:
    """The server as an operator sees it."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def number(self, query: str) -> int:
        found = self.connection.execute(query).fetchone()  # type: ignore[call-overload]
        return int(found[0])

    def sessions(self, query: str = "") -> int:
        """Count the sessions of layers, or those whose last statement contains ``query``."""
        return self.number(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            f"AND application_name = 'idemproof' AND query LIKE '%{query}%'"
        )

    def listening(self) -> int:
        """Count the keys that sessions listen to."""
        return self.number(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database())"
        )

    def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.connection.execute("SELECT pg_sleep(0.005)")

    def end_the_listening_session(self) -> None:
        self.connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND "
            "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )


@pytest.fixture
def watched(records_table: str) -> Iterator[Watched]:
    with psycopg.connect(records_table, autocommit=True) as connection:
        yield Watched(connection)


@pytest.fixture
def in_thread() -> Iterator[Callable[..., Future[Any]]]:
    with ThreadPoolExecutor(4) as threads:
        yield threads.submit


@pytest.fixture(params=["blocking", "async", "in threads"])
def waiting(request: pytest.FixtureRequest, records_table: str, make_postgres: Make) -> Iterator[Any]:
    """Return a function that waits in this thread, by a layer that nobody else uses."""
    if request.param == "blocking":
        yield make_postgres(records_table)._wait_for_change
    elif request.param == "in threads":
        layer = InThreads(make_postgres(records_table))
        yield lambda *args: asyncio.run(layer._wait_for_change(*args))  # type: ignore[misc, arg-type]
    else:
        with asynchronous(records_table) as wait:
            yield wait


@contextmanager
def asynchronous(dsn: str) -> Iterator[Callable[..., bool]]:
    layer = AsyncPostgresPersistenceLayer(dsn)
    yield lambda *args: asyncio.run(layer._wait_for_change(*args))  # type: ignore[misc, arg-type]
    asyncio.run(layer.close())


def threads_that_listen() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "idemproof-signals"]


@pytest.mark.clause("CAS-14")
@CHANGES
def test_a_call_is_woken_by_any_change_of_another_process(
    waiting: Any,
    watched: Watched,
    records_table: str,
    make_postgres: Make,
    in_thread: Any,
    change: Record | None,
) -> None:
    other = make_postgres(records_table)
    other._swap("key", None, CLAIM, 1)
    woken = in_thread(waiting, "key", CLAIM, FOREVER)
    watched.until(lambda: watched.listening() == 1)
    assert other._swap("key", CLAIM, change, 1) == change
    assert woken.result(FOREVER)


@pytest.mark.clause("CAS-14")
@CHANGES
def test_a_change_before_the_wait_ends_it_at_once(
    waiting: Any, records_table: str, make_postgres: Make, change: Record | None
) -> None:
    other = make_postgres(records_table)
    if change is not None:
        other._swap("key", None, change, 1)
    assert waiting("key", CLAIM, FOREVER)
    assert waiting("key", CLAIM, FOREVER)  # the connection listens to the key already


@pytest.mark.clause("CAS-14")
def test_a_change_between_two_waits_is_not_missed(
    waiting: Any, watched: Watched, records_table: str, make_postgres: Make
) -> None:
    other = make_postgres(records_table)
    other._swap("key", None, CLAIM, 1)
    while not watched.listening():
        assert not waiting("key", CLAIM, 0.05)
    other._swap("key", CLAIM, RESULT, 1)
    assert waiting("key", CLAIM, FOREVER)


@pytest.mark.clause("CAS-14")
def test_another_key_and_a_refused_swap_wake_nobody(
    waiting: Any, watched: Watched, records_table: str, make_postgres: Make, in_thread: Any
) -> None:
    other = make_postgres(records_table)
    other._swap("key", None, CLAIM, 1)
    other._swap("other", None, CLAIM, 1)
    woken = in_thread(waiting, "key", CLAIM, FOREVER)
    watched.until(lambda: watched.listening() == 1)
    assert other._swap("key", TAKEN, RESULT, 1) == CLAIM
    other._swap("other", CLAIM, RESULT, 1)
    assert not woken.done()
    other._swap("key", CLAIM, RESULT, 1)
    assert woken.result(FOREVER)


@pytest.mark.clause("CAS-14")
def test_a_wait_ends_when_its_time_is_over(waiting: Any, records_table: str, make_postgres: Make) -> None:
    make_postgres(records_table)._swap("key", None, CLAIM, 1)
    assert not waiting("key", CLAIM, 0.001)
    assert not waiting("key", CLAIM, 0.1)


@pytest.mark.clause("CAS-14")
def test_no_change_is_missed_between_processes(
    records_table: str, make_postgres: Make, in_thread: Any
) -> None:
    """Two layers take turns; each waits without a limit for the other's change."""
    layers = [make_postgres(records_table) for _ in range(2)]
    layers[0]._swap("key", None, CLAIM._replace(owner="0"), 1)

    def play(me: int) -> None:
        layer = layers[me]
        wait = layer._wait_for_change
        assert wait is not None
        for turn in range(me, 300, 2):
            while (seen := layer._load("key")) is not None and seen.owner != str(turn):
                assert wait("key", seen, FOREVER)
            assert seen is not None
            layer._swap("key", seen, seen._replace(owner=str(turn + 1)), 1)

    for played in [in_thread(play, me) for me in (0, 1)]:
        played.result(FOREVER)


@pytest.mark.clause("CAS-14")
def test_a_change_that_is_being_committed_is_not_missed(
    waiting: Any, watched: Watched, records_table: str, make_postgres: Make
) -> None:
    """A statement that has found nobody listening may not have committed when a call begins to wait."""
    make_postgres(records_table)._swap("key", None, CLAIM, 1)
    with psycopg.connect(records_table) as committing:
        committing.execute("SELECT pg_try_advisory_xact_lock(%s)", [int(signal_of("key"))])
        assert waiting("key", CLAIM, FOREVER)
    assert watched.listening() == 0


# What it costs.


def test_nobody_is_notified_unless_a_call_waits(
    watched: Watched, records_table: str, make_postgres: Make, in_thread: Any
) -> None:
    layer, other = make_postgres(records_table), make_postgres(records_table)
    heard: list[str] = []
    watched.connection.add_notify_handler(lambda notify: heard.append(notify.payload))
    watched.connection.execute("LISTEN idemproof")
    other._swap("key", None, CLAIM, 1)
    other._swap("key", CLAIM, RENEWED, 1)
    watched.number("SELECT 1")
    assert heard == []
    woken = in_thread(layer._wait_for_change, "key", RENEWED, FOREVER)
    watched.until(lambda: watched.listening() == 1)
    other._swap("key", RENEWED, RESULT, 1)
    assert woken.result(FOREVER)
    watched.until(lambda: bool(heard))
    assert heard == [signal_of("key")]


@pytest.mark.clause("WAIT-2")
def test_a_thousand_calls_that_wait_share_one_connection_and_one_lock(
    watched: Watched, records_table: str, make_postgres: Make
) -> None:
    other = make_postgres(records_table)
    other._swap("key", None, CLAIM, 1)
    before = watched.sessions()

    async def main() -> list[bool]:
        layer = AsyncPostgresPersistenceLayer(records_table)
        wait = layer._wait_for_change
        assert wait is not None
        calls = [asyncio.ensure_future(wait("key", CLAIM, FOREVER)) for _ in range(1000)]
        await asyncio.sleep(0)
        await asyncio.to_thread(watched.until, lambda: watched.listening() == 1)
        assert watched.sessions() == before + 1
        assert len(threads_that_listen()) == 1
        other._swap("key", CLAIM, RESULT, 1)
        answers = await asyncio.gather(*calls)
        await layer.close()
        return answers

    assert asyncio.run(main()) == [True] * 1000


def test_a_connection_holds_a_bounded_number_of_locks(
    watched: Watched,
    records_table: str,
    make_postgres: Make,
    monkeypatch: pytest.MonkeyPatch,
    in_thread: Any,
) -> None:
    monkeypatch.setattr(postgres_signals, "MOST_KEYS", 2)
    monkeypatch.setattr(postgres_signals, "_TURN_SECONDS", 0.01)
    wait = make_postgres(records_table)._wait_for_change
    claims = [CLAIM._replace(idempotency_key=str(number)) for number in range(4)]
    other = make_postgres(records_table)
    for claim in claims:
        other._swap(claim.idempotency_key, None, claim, 1)
    woken = [in_thread(wait, claim.idempotency_key, claim, FOREVER) for claim in claims[:2]]
    watched.until(lambda: watched.listening() == 2)
    assert wait is not None
    with pytest.raises(IdempotencyPersistenceLayerError, match="2 keys"):
        wait("2", claims[2], FOREVER)
    for claim in claims[:2]:
        other._swap(claim.idempotency_key, claim, None, 0)
    assert [each.result(FOREVER) for each in woken] == [True, True]
    third = in_thread(wait, "2", claims[2], FOREVER)  # instead of a key that nobody waits for
    watched.until(lambda: watched.listening() <= 2 and "2" in wait.__self__._topics)  # type: ignore[attr-defined]
    other._swap("2", claims[2], None, 0)
    assert third.result(FOREVER)
    monkeypatch.setattr(postgres_signals, "_LINGER_SECONDS", 0.0)
    watched.until(lambda: watched.listening() == 0)


# Where it is not possible, or fails.


def test_calls_poll_through_a_pooler(
    pgbouncer_server: PgBouncer, records_table: str, make_postgres: Make, watched: Watched
) -> None:
    dsn = pgbouncer_server.dsn(psycopg.conninfo.conninfo_to_dict(records_table)["dbname"])
    layer = make_postgres(dsn)
    layer._swap("key", None, CLAIM, 1)
    wait = layer._wait_for_change
    assert wait is not None
    assert wait("key", CLAIM, FOREVER)  # nothing is known about the record
    assert layer._wait_for_change is layer._wait_for_change_async is None
    with pytest.raises(Exception, match="pooler"):
        wait("key", CLAIM, FOREVER)
    assert watched.listening() == 0
    watched.until(lambda: not threads_that_listen())


def test_a_layer_with_lent_connections_offers_no_signals(records_table: str, postgres_pool: Any) -> None:
    assert PostgresPersistenceLayer(lambda: psycopg.connect(records_table))._wait_for_change is None
    assert PostgresPersistenceLayer(postgres_pool)._wait_for_change is None
    assert AsyncPostgresPersistenceLayer(postgres_pool)._wait_for_change is None


@pytest.mark.clause("CAS-14", "WAIT-6")
def test_a_lost_session_wakes_the_calls_and_is_replaced(
    waiting: Any, watched: Watched, records_table: str, make_postgres: Make, in_thread: Any
) -> None:
    other = make_postgres(records_table)
    other._swap("key", None, CLAIM, 1)
    woken = in_thread(waiting, "key", CLAIM, FOREVER)
    watched.until(lambda: watched.listening() == 1)
    watched.end_the_listening_session()
    assert woken.result(FOREVER)  # because a change may have been missed
    woken = in_thread(waiting, "key", CLAIM, FOREVER)
    watched.until(lambda: watched.listening() == 1)
    other._swap("key", CLAIM, None, 0)
    assert woken.result(FOREVER)


@pytest.mark.clause("WAIT-6")
def test_without_a_server_a_wait_ends_with_its_time_and_the_log_has_no_password(
    caplog: pytest.LogCaptureFixture, make_postgres: Make
) -> None:
    layer = make_postgres("postgresql://postgres:very_secret@127.0.0.1:1/very_secret", timeout_seconds=1)
    wait = layer._wait_for_change
    assert wait is not None
    with caplog.at_level(logging.DEBUG, "idemproof"):
        assert not wait("key", CLAIM, 0.3)
    layer.close()
    assert "calls that wait poll" in caplog.text
    assert "very_secret" not in caplog.text
    assert [each.levelname for each in caplog.records].count("WARNING") == 1
    assert not threads_that_listen()


# What stays behind.


@pytest.mark.clause("CAS-12")
@pytest.mark.parametrize("asynchronous", [False, True])
def test_close_ends_the_thread_and_the_session_and_the_layer_stays_usable(
    records_table: str, watched: Watched, make_postgres: Make, *, asynchronous: bool
) -> None:
    make_postgres(records_table)._swap("key", None, CLAIM, 1)

    async def main() -> None:
        layer = AsyncPostgresPersistenceLayer(records_table)
        for _ in range(2):
            assert not await layer._wait_for_change("key", CLAIM, 0.2)  # type: ignore[misc]
            assert watched.listening() == len(threads_that_listen()) == 1
            await layer.close()
            await layer.close()
            assert not threads_that_listen()
        watched.until(lambda: watched.listening() == 0)

    if asynchronous:
        asyncio.run(main())
        return
    layer = PostgresPersistenceLayer(records_table)
    for _ in range(2):
        assert not layer._wait_for_change("key", CLAIM, 0.2)  # type: ignore[misc]
        assert watched.listening() == len(threads_that_listen()) == 1
        layer.close()
        layer.close()
        assert not threads_that_listen()
    watched.until(lambda: watched.listening() == 0)


@pytest.mark.clause("CAS-12")
def test_the_connection_ends_when_no_call_waits(
    records_table: str, watched: Watched, make_postgres: Make, monkeypatch: pytest.MonkeyPatch, in_thread: Any
) -> None:
    monkeypatch.setattr(postgres_signals, "_TURN_SECONDS", 0.01)
    layer, other = make_postgres(records_table), make_postgres(records_table)
    other._swap("key", None, CLAIM, 1)
    assert layer._signals is not None
    layer._signals._idle_seconds = 0.0
    woken = in_thread(layer._wait_for_change, "key", CLAIM, FOREVER)
    watched.until(lambda: watched.listening() == 1)  # and it stays while one waits
    other._swap("key", CLAIM, RESULT, 1)
    assert woken.result(FOREVER)
    watched.until(lambda: not threads_that_listen() and watched.listening() == 0)


@pytest.mark.clause("CAS-13", "CAS-14")
def test_a_forked_child_listens_by_itself(records_table: str) -> None:
    script = FORKING + textwrap.dedent(f"""
        import threading, time
        from idemproof import PostgresPersistenceLayer, Record
        layer, other = (PostgresPersistenceLayer({records_table!r}) for _ in range(2))
        seen = Record("key", "INPROGRESS", 2**40, 2**45, None, None, "owner")
        renewed = seen._replace(owner="renewed")
        assert other._swap("key", None, seen, 1) == seen
        answers = []
        def wait(seen): answers.append(layer._wait_for_change("key", seen, 600))
        def begin(seen):
            thread = threading.Thread(target=wait, args=(seen,))
            thread.start()
            while "key" not in layer._signals._topics: time.sleep(0.005)
            return thread
        thread = begin(seen)
        def in_child():
            assert not layer._wait_for_change("key", seen, 0.001)
            mine = begin(seen)
            assert other._swap("key", seen, renewed, 1) == renewed
            mine.join(40)
            assert answers == [True]
            layer.close()
            assert threading.active_count() == 1
        join(fork(in_child))
        thread.join(600)
        assert answers == [True]
        thread = begin(renewed)
        other._swap("key", renewed, None, 0)
        thread.join(600)
        assert answers == [True, True]
        layer.close()
    """)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=FOREVER, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.clause("WAIT-1", "WAIT-6")
def test_a_call_that_waits_gets_the_answer_by_a_signal(
    records_table: str,
    watched: Watched,
    make_postgres: Make,
    in_thread: Any,
) -> None:
    runs: list[int] = []
    may_end = threading.Event()

    def protected(layer: PostgresPersistenceLayer) -> Callable[..., str]:
        @idempotent_function(
            data_keyword_argument="order",
            persistence_store=layer,
            config=IdempotencyConfig(
                in_progress_expires_after_seconds=600, wait_for_in_progress_seconds=FOREVER
            ),
        )
        def charge(order: int) -> str:
            runs.append(order)
            assert may_end.wait(FOREVER)
            return "done"

        return charge

    first = in_thread(protected(make_postgres(records_table)), order=1)
    watched.until(lambda: bool(runs))
    second = in_thread(protected(make_postgres(records_table)), order=1)
    watched.until(lambda: watched.listening() == 1)
    may_end.set()
    assert first.result(FOREVER) == second.result(FOREVER) == "done"
    assert runs == [1]
