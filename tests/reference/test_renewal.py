"""Renewal beside blocking functions: when it happens, what ends it, and what a store can do to it."""

import contextvars
import threading
from typing import Any

import pytest

from heartbeat_time import (
    BEAT_SECONDS,
    LEASE_SECONDS,
    WATCHDOG_SECONDS,
    Seen,
    Time,
    Watched,
    protect,
    renewing,
)
from idemproof import IdempotencyConfig, Kind, current_attempt
from idemproof.drivers import heartbeats
from idemproof.errors import IdempotencyError, IdempotencyLeaseLostError
from idemproof.reference.config import LONGEST_RUN_SECONDS
from idemproof.spec.record import COMPLETED


@pytest.mark.clause("REN-1", "REN-6", "REN-7")
def test_a_lease_is_renewed_every_third_of_it_until_the_body_returns(
    time: Time, seen: Seen, store: Watched
) -> None:
    def body(n: int) -> int:
        attempt = current_attempt()
        assert attempt is not None
        for _ in range(7):
            time.pass_seconds(BEAT_SECONDS)
            renewed = seen.wait_for(Kind.RENEWED)
            assert (renewed.row, renewed.ran) == ("ROW-12", False)
            assert attempt.lease_ends_at == time.ms + LEASE_SECONDS * 1000
            attempt.check()
        return n

    function = protect(body, store, renewing(time, seen))
    assert function(n=7) == 7
    assert seen.kinds == ["claimed", *["renewed"] * 7, "completed"]
    time.pass_seconds(1000)
    assert function(n=7) == 7
    assert len(store.renewals) == 7


def test_nothing_is_renewed_before_it_is_due(time: Time, seen: Seen, store: Watched) -> None:
    def body(n: int) -> None:
        time.pass_seconds(BEAT_SECONDS - 0.001)
        time.pass_seconds(0.001)
        seen.wait_for(Kind.RENEWED)

    protect(body, store, renewing(time, seen))(n=1)
    assert len(store.renewals) == 1


@pytest.mark.clause("REN-5")
def test_a_refused_renewal_shows_the_body_that_its_claim_is_lost(
    time: Time, seen: Seen, store: Watched
) -> None:
    def body(n: int) -> int:
        attempt = current_attempt()
        assert attempt is not None
        assert not attempt.lost
        store.give_to("another", time.ms + 60_000)
        time.pass_seconds(BEAT_SECONDS)
        assert seen.wait_for(Kind.RENEWAL_REFUSED).row == "ROW-13"
        assert attempt.lost
        with pytest.raises(IdempotencyLeaseLostError, match="has lost its claim"):
            attempt.check()
        with pytest.raises(IdempotencyLeaseLostError, match="has lost its claim"):
            attempt.renew()
        time.pass_seconds(2 * BEAT_SECONDS)
        return n

    with pytest.raises(IdempotencyLeaseLostError) as lost:
        protect(body, store, renewing(time, seen))(n=3)
    assert lost.value.result == 3
    assert len(store.renewals) == 1, "it is tried again after a refusal"


@pytest.mark.clause("REN-5", "REN-6")
def test_a_store_that_fails_for_a_while_loses_no_claim(time: Time, seen: Seen, store: Watched) -> None:
    def body(n: int) -> int:
        attempt = current_attempt()
        assert attempt is not None
        store.failing = True
        time.pass_seconds(BEAT_SECONDS)
        failed = seen.wait_for(Kind.RENEWAL_FAILED)
        assert isinstance(failed.error, ConnectionError)
        assert not attempt.lost
        attempt.check()
        time.pass_seconds(LEASE_SECONDS)
        with pytest.raises(IdempotencyLeaseLostError, match="its lease has ended"):
            attempt.check()
        assert not attempt.lost
        store.failing = False
        while not attempt.remaining_ms():
            time.pass_seconds(BEAT_SECONDS)
            seen.wait_for(Kind.RENEWED)
        attempt.check()
        return n

    assert protect(body, store, renewing(time, seen))(n=1) == 1
    assert seen.kinds.count("renewal failed") == 1


@pytest.mark.clause("REN-9")
def test_a_store_that_hangs_for_one_key_does_not_delay_others(time: Time, seen: Seen, store: Watched) -> None:
    outer_seen = Seen()

    def others(n: int) -> int:
        time.pass_seconds(BEAT_SECONDS)  # both are due, and the older one hangs
        store.hangs.get(timeout=WATCHDOG_SECONDS)
        seen.wait_for(Kind.RENEWED)
        return n

    def body(n: int) -> int:
        assert inner(n=2) == 2
        store.hanging.popitem()[1].set()
        outer_seen.wait_for(Kind.RENEWED)
        return n

    inner = protect(others, store, renewing(time, seen))
    outer = protect(body, store, renewing(time, outer_seen))
    store.hanging[outer.idempotency.key(n=1)] = threading.Event()
    assert outer(n=1) == 1


@pytest.mark.clause("REN-9")
def test_no_more_threads_than_stated_wait_for_stores(
    time: Time, store: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "MOST_THREADS", 2)
    seen = Seen()
    before = threading.active_count()

    def body(n: int) -> int:
        if n < 4:
            return function(n=n + 1)
        time.pass_seconds(BEAT_SECONDS)
        hanging = {store.hangs.get(timeout=WATCHDOG_SECONDS) for _ in range(2)}
        assert threading.active_count() - before == 2
        assert len(hanging) == 2
        for event in list(store.hanging.values()):
            event.set()
        for _ in range(4):  # all of them, once threads are free
            seen.wait_for(Kind.RENEWED)
        return n

    function = protect(body, store, renewing(time, seen))
    store.hanging.update({function.idempotency.key(n=n): threading.Event() for n in range(1, 5)})
    assert function(n=1) == 4


@pytest.mark.clause("REN-3", "REN-4")
def test_a_renewal_in_flight_delays_completion_by_a_tenth_of_the_lease_at_most(
    time: Time, seen: Seen, store: Watched
) -> None:
    released = threading.Event()
    beats: list[Any] = []

    def body(n: int) -> int:
        attempt: Any = current_attempt()
        beats.append(attempt._attempt.renewal.beat)
        time.pass_seconds(BEAT_SECONDS)
        store.hangs.get(timeout=WATCHDOG_SECONDS)
        return n

    def let_time_pass() -> None:
        time.waiting.wait()
        assert store._records[key].status != COMPLETED
        time.pass_seconds(LEASE_SECONDS / 10 - 0.001)
        time.pass_seconds(0.001)

    function = protect(body, store, renewing(time, seen))
    key = function.idempotency.key(n=1)
    store.hanging[key] = released
    helper = threading.Thread(target=let_time_pass)
    helper.start()
    assert function(n=1) == 1
    helper.join()
    completed = store._records[key]
    assert completed.status == COMPLETED
    released.set()
    turn = beats[0].home.turn
    with turn:
        assert turn.wait_for(lambda: not beats[0].performing, WATCHDOG_SECONDS)
    time.pass_seconds(100)
    assert store._records[key] == completed
    assert store.renewals.count(key) == 1


@pytest.mark.clause("REN-3", "REN-7")
def test_a_renewal_that_lands_while_the_body_ends_counts(time: Time, seen: Seen, store: Watched) -> None:
    released = threading.Event()
    deadlines = []

    def body(n: int) -> int:
        time.pass_seconds(BEAT_SECONDS)
        store.hangs.get(timeout=WATCHDOG_SECONDS)
        time.on_wait = released.set
        return n

    function = protect(body, store, renewing(time, seen))
    engine = function.idempotency.core.engine
    complete = engine._complete

    def noting(attempt: Any, text: str) -> Any:
        deadlines.append(attempt.held.in_progress_expiry_timestamp - time.ms)
        return complete(attempt, text)

    engine._complete = noting
    store.hanging[function.idempotency.key(n=1)] = released
    assert function(n=1) == 1
    assert deadlines == [LEASE_SECONDS * 1000]


@pytest.mark.clause("REN-2")
def test_a_lease_ends_with_the_longest_run(time: Time, seen: Seen, store: Watched) -> None:
    began = time.ms

    def body(n: int) -> int:
        attempt = current_attempt()
        assert attempt is not None
        for _ in range(4):
            time.pass_seconds(BEAT_SECONDS)
            seen.wait_for(Kind.RENEWED)
        assert attempt.lease_ends_at == began + 65_000
        time.pass_seconds(BEAT_SECONDS)
        time.pass_seconds(BEAT_SECONDS)
        with pytest.raises(IdempotencyError, match="max_run_seconds"):
            attempt.renew()
        time.pass_seconds(5)
        with pytest.raises(IdempotencyLeaseLostError, match="its lease has ended"):
            attempt.check()
        return n

    assert protect(body, store, renewing(time, seen, max_run_seconds=65))(n=1) == 1
    assert len(store.renewals) == 4


@pytest.mark.clause("REN-2")
def test_a_lease_is_not_renewed_beyond_the_time_of_the_lambda_context(time: Time, store: Watched) -> None:
    class Context:
        def get_remaining_time_in_millis(self) -> int:
            return ends - time.ms

    seen, ends = Seen(), time.ms + 35_000

    def body(n: int) -> int:
        time.pass_seconds(BEAT_SECONDS)
        seen.wait_for(Kind.RENEWED)
        attempt = current_attempt()
        assert attempt is not None
        assert attempt.lease_ends_at == ends
        time.pass_seconds(BEAT_SECONDS)
        time.pass_seconds(100)
        return n

    config = renewing(time, seen, lambda_context=Context())
    assert protect(body, store, config)(n=1) == 1
    assert len(store.renewals) == 1


def test_a_thawed_process_renews_the_claim_that_nobody_took(time: Time, seen: Seen, store: Watched) -> None:
    def body(n: int) -> int:
        time.pass_seconds(1000)  # frozen for so long: the clock jumps
        seen.wait_for(Kind.RENEWED)
        attempt = current_attempt()
        assert attempt is not None
        attempt.check()
        assert attempt.remaining_ms() == LEASE_SECONDS * 1000
        return n

    assert protect(body, store, renewing(time, seen))(n=1) == 1


def test_a_thawed_process_finds_its_claim_taken(time: Time, seen: Seen, store: Watched) -> None:
    def body(n: int) -> int:
        store.give_to("another", time.ms + 2_000_000)
        time.pass_seconds(1000)
        seen.wait_for(Kind.RENEWAL_REFUSED)
        return n

    with pytest.raises(IdempotencyLeaseLostError):
        protect(body, store, renewing(time, seen))(n=1)


def test_a_clock_that_is_set_back_shortens_no_lease(time: Time, seen: Seen, store: Watched) -> None:
    def body(n: int) -> int:
        attempt = current_attempt()
        assert attempt is not None
        before = attempt.lease_ends_at
        time.ms -= 3_600_000
        time.pass_seconds(BEAT_SECONDS)
        attempt.check()
        assert attempt.lease_ends_at == before
        return n

    assert protect(body, store, renewing(time, seen))(n=1) == 1


@pytest.mark.parametrize("error", [ValueError("declined"), KeyboardInterrupt(), SystemExit(1)])
def test_a_body_that_raises_ends_its_renewal_and_releases(
    error: BaseException, time: Time, seen: Seen, store: Watched
) -> None:
    def body(n: int) -> int:
        time.pass_seconds(BEAT_SECONDS)
        seen.wait_for(Kind.RENEWED)
        raise error

    function = protect(body, store, renewing(time, seen))
    with pytest.raises(type(error)):
        function(n=1)
    assert len(store) == 0
    time.pass_seconds(1000)
    assert len(store.renewals) == 1


@pytest.mark.clause("ENG-12", "REN-3")
def test_an_interrupt_while_a_renewal_is_awaited_takes_effect_after_the_completion(
    time: Time, seen: Seen, store: Watched
) -> None:
    def strike() -> None:
        raise KeyboardInterrupt

    def body(n: int) -> int:
        time.pass_seconds(BEAT_SECONDS)
        store.hangs.get(timeout=WATCHDOG_SECONDS)
        time.on_wait = strike
        return n

    function = protect(body, store, renewing(time, seen))
    key = function.idempotency.key(n=1)
    store.hanging[key] = threading.Event()
    with pytest.raises(KeyboardInterrupt):
        function(n=1)
    assert store._records[key].status == COMPLETED
    store.hanging.pop(key).set()


def test_without_a_thread_the_function_does_not_run(
    time: Time, store: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ran: list[int] = []
    function = protect(lambda n: ran.append(n) or n, store, renewing(time))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(IdempotencyError, match=r"No thread could be started.*did not run"):
            function(n=1)
    assert (ran, len(store)) == ([], 0)
    function(n=1)
    assert ran == [1]


def test_ended_calls_are_forgotten(time: Time, store: Watched) -> None:
    function = protect(lambda n: n, store, renewing(time))
    for n in range(1000):
        function(n=n)
    home = heartbeats._heartbeats
    assert home is not None
    assert len(home._due) < 200
    assert all(beat.layer is None for _, _, beat in home._due if beat.stopped)


def test_one_thread_serves_calls_that_follow_each_other(time: Time, store: Watched) -> None:
    before = threading.active_count()
    function = protect(lambda n: n, store, renewing(time))
    for n in range(20):
        function(n=n)
    assert threading.active_count() == before + 1
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "idemproof-renewal")


def test_a_renewal_has_the_context_of_its_call(time: Time, store: Watched) -> None:
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant")
    seen, found = Seen(), []

    def note(occurrence: Any) -> None:
        found.append((tenant.get(), current_attempt() is None))
        seen(occurrence)

    def body(n: int) -> int:
        time.pass_seconds(BEAT_SECONDS)
        seen.wait_for(Kind.RENEWED)
        return n

    function = protect(body, store, renewing(time, observers=[note]))
    tenant.set("shop 7")
    function(n=1)
    assert found == [("shop 7", True)] * 3


def test_an_observer_that_raises_does_not_end_the_renewal(time: Time, store: Watched) -> None:
    seen = Seen()

    def fail(occurrence: Any) -> None:
        if occurrence.kind is Kind.RENEWED:
            raise SystemExit

    def body(n: int) -> int:
        for _ in range(3):
            time.pass_seconds(BEAT_SECONDS)
            seen.wait_for(Kind.RENEWED)
        return n

    assert protect(body, store, renewing(time, observers=[fail, seen]))(n=1) == 1


def test_the_longest_run_is_an_hour_unless_it_is_set() -> None:
    config = IdempotencyConfig(in_progress_expires_after_seconds=30, renew_lease=True)
    assert config.max_run_seconds == LONGEST_RUN_SECONDS == 3600
