"""The attempt, seen from the body: what it shows, where it is seen, and what it refuses."""

import contextvars
from collections.abc import Iterator
from typing import Any

import pytest

from four_methods import FourMethods
from heartbeat_time import LEASE_SECONDS, Time, Watched, protect, renewing
from idemproof import (
    CurrentAttempt,
    Idempotency,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    current_attempt,
    idempotent_function,
)
from idemproof.errors import IdempotencyConfigError, IdempotencyLeaseLostError
from idemproof.spec.record import COMPLETED, INPROGRESS, Record
from idemproof.testing import disabled


def here() -> CurrentAttempt:
    found = current_attempt()
    assert found is not None
    return found


def leased(time: Time, **settings: Any) -> IdempotencyConfig:
    return renewing(time, renew_lease=False, **settings)


def test_it_shows_what_the_record_says(time: Time) -> None:
    store = Watched()

    def body(n: int) -> int:
        attempt, record = here(), store._records[key]
        assert (attempt.key, attempt.owner) == (key, record.owner)
        assert attempt.took_over is False
        assert attempt.lease_ends_at == record.in_progress_expiry_timestamp == time.ms + 30_000
        assert attempt.remaining_ms() == 30_000
        assert not attempt.lost
        attempt.check()
        assert repr(attempt) == f"<the attempt {record.owner!r} on {key!r}>"
        time.pass_seconds(29.999)
        attempt.check()
        assert attempt.remaining_ms() == 1
        time.pass_seconds(0.001)
        assert attempt.remaining_ms() == 0
        with pytest.raises(IdempotencyLeaseLostError, match="is no longer protected: its lease has ended"):
            attempt.check()
        return n

    function = protect(body, store, leased(time))
    key = function.idempotency.key(n=1)
    assert function(n=1) == 1


def test_without_a_lease_it_shows_the_end_of_the_claim(time: Time) -> None:
    def body(n: int) -> int:
        assert here().lease_ends_at == time.ms + 3_600_000
        with pytest.raises(IdempotencyConfigError, match="has no lease of its own"):
            here().renew()
        return n

    assert protect(body, Watched(), IdempotencyConfig(clock=time.clock))(n=1) == 1


def test_a_takeover_shows_the_claim_that_it_replaced(time: Time) -> None:
    store, seen = Watched(), list[Any]()

    def body(n: int) -> int:
        seen.append(here().took_over)
        if len(seen) == 1:
            time.pass_seconds(LEASE_SECONDS)
            function(n=n)
        return n

    function = protect(body, store, leased(time))
    function(n=1)
    assert seen[0] is False
    assert seen[1].owner is not None


def test_a_takeover_is_remembered_though_its_reply_was_lost(time: Time) -> None:
    class LosesReplies(Watched):
        lost = 0

        def _swap(self, key: str, expected: Any, new: Any, ttl_ms: int) -> Any:
            found = super()._swap(key, expected, new, ttl_ms)
            if expected is not None and found is new and not self.lost:
                self.lost += 1
                raise ConnectionError("the reply is lost")
            return found

    store, seen = LosesReplies(), list[Any]()
    function = protect(lambda n: seen.append(here().took_over), store, leased(time))
    key = function.idempotency.key(n=1)
    left = Record(key, INPROGRESS, time.ms // 1000 + 600, time.ms - 1, None, None, "dead")
    store._records[key] = left
    function(n=1)
    assert (seen, store.lost) == ([left], 1)


def test_a_result_whose_window_is_over_is_not_taken_over(time: Time) -> None:
    seen: list[Any] = []
    function = protect(
        lambda n: seen.append(here().took_over), Watched(), leased(time, expires_after_seconds=5)
    )
    function(n=1)
    time.pass_seconds(10)
    function(n=1)
    assert seen == [False, False]


def test_a_body_renews_its_lease_itself(time: Time) -> None:
    store = Watched()

    def body(n: int) -> int:
        for _ in range(3):
            time.pass_seconds(LEASE_SECONDS - 1)
            here().renew()
            assert here().remaining_ms() == LEASE_SECONDS * 1000
            here().check()
        store.failing = True
        time.pass_seconds(1)
        with pytest.raises(ConnectionError):
            here().renew()
        assert not here().lost
        store.failing = False
        return n

    function = protect(body, store, leased(time))
    assert function(n=1) == 1
    assert [record.status for record in store._records.values()] == [COMPLETED]


def test_a_body_that_renews_too_late_learns_that_its_claim_is_lost(time: Time) -> None:
    store = Watched()

    def body(n: int) -> int:
        store.give_to("another", time.ms + 60_000)
        with pytest.raises(IdempotencyLeaseLostError, match="has lost its claim"):
            here().renew()
        assert here().lost
        return n

    with pytest.raises(IdempotencyLeaseLostError):
        protect(body, store, leased(time))(n=1)


def test_after_the_call_it_can_be_read_and_no_more(time: Time) -> None:
    kept: list[CurrentAttempt] = []
    context: list[contextvars.Context] = []

    def body(n: int) -> int:
        kept.append(here())
        context.append(contextvars.copy_context())
        here().renew()
        return n

    store = Watched()
    protect(body, store, leased(time))(n=1)
    attempt = kept[0]
    assert attempt.key.startswith("fn#")
    for refuse in (attempt.check, attempt.renew, context[0].run(here).check):
        with pytest.raises(IdempotencyLeaseLostError, match="has ended"):
            refuse()
    assert len(store.renewals) == 1
    assert [record.status for record in store._records.values()] == [COMPLETED]


def test_outside_of_protected_calls_there_is_none(time: Time) -> None:
    assert current_attempt() is None
    found: list[Any] = []
    function = protect(lambda n: found.append(current_attempt()), Watched(), leased(time))
    with disabled():
        function(n=1)
    assert found == [None]
    function(n=1)
    function(n=1)  # a replay
    assert len(found) == 2
    assert current_attempt() is None


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()])
def test_of_nested_calls_it_is_the_innermost_even_after_errors(error: BaseException, time: Time) -> None:
    store, keys = Watched(), list[str]()

    def inner(n: int) -> int:
        keys.append(here().key)
        raise error

    def outer(n: int) -> int:
        keys.append(here().key)
        with pytest.raises(type(error)):
            nested(n=n)
        keys.append(here().key)
        return n

    nested = idempotent_function(
        inner, data_keyword_argument="n", persistence_store=store, config=leased(time), key_prefix="inner"
    )
    protect(outer, store, leased(time))(n=1)
    assert [key.partition("#")[0] for key in keys] == ["fn", "inner", "fn"]
    assert current_attempt() is None


def test_a_generator_sees_the_attempt_of_the_body_that_consumes_it(time: Time) -> None:
    def owners() -> Iterator[Any]:
        while True:
            found = current_attempt()
            yield None if found is None else found.key

    shared = owners()
    function = protect(lambda n: next(shared), Watched(), leased(time))
    assert next(shared) is None
    assert function(n=1) == function.idempotency.key(n=1)
    assert function(n=2) == function.idempotency.key(n=2)
    assert next(shared) is None


def test_the_core_shows_it_too(time: Time) -> None:
    answer = Idempotency(Watched(), leased(time)).run("order 7", lambda: here().key)
    assert answer.value == "order 7"


@pytest.mark.clause("REN-8")
def test_a_layer_without_owner_tokens_shows_it_but_cannot_renew(time: Time) -> None:
    def body(n: int) -> int:
        here().check()
        with pytest.raises(IdempotencyConfigError, match="stores no owner tokens"):
            here().renew()
        return n

    assert protect(body, FourMethods(), leased(time))(n=1) == 1


class Overrides(InMemoryPersistenceLayer):
    def save_success(self, data: Any, result: Any) -> None:
        super().save_success(data, result)


def plain(n: int) -> int:
    return n


async def waits(n: int) -> int:
    return n


@pytest.mark.clause("REN-8")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"in_progress_expires_after_seconds": None},
            "renew_lease=True needs in_progress_expires_after_seconds",
        ),
        ({"in_progress_expires_after_seconds": 0.4}, "must be at least 0.5 with renew_lease=True"),
        ({"max_run_seconds": 29}, "max_run_seconds must be at least in_progress_expires_after_seconds"),
        ({"max_run_seconds": 0}, "max_run_seconds must be a number of seconds above 0"),
        ({"max_run_seconds": -1}, "max_run_seconds must be a number of seconds above 0"),
        ({"max_run_seconds": float("nan")}, "max_run_seconds must be a number of seconds above 0"),
        ({"max_run_seconds": 1e300}, "max_run_seconds must be a number of seconds above 0"),
        ({"max_run_seconds": None}, "max_run_seconds must be a number of seconds above 0"),
        ({"max_run_seconds": True}, "max_run_seconds must be a number of seconds above 0"),
        ({"renew_lease": "no"}, "renew_lease must be True or False"),
        ({"renew_lease": False, "cancel_when_lost": True}, "cancel_when_lost=True needs renew_lease=True"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], words: str, time: Time) -> None:
    with pytest.raises(IdempotencyConfigError, match=words):
        renewing(time, **settings)


@pytest.mark.clause("REN-8")
@pytest.mark.parametrize(
    ("function", "layer", "settings", "words"),
    [
        (plain, FourMethods, {}, "FourMethods, a layer with four methods, stores none"),
        (plain, Overrides, {}, "Overrides, which overrides documented methods"),
        (plain, Watched, {"cancel_when_lost": True}, "plain is a plain one, which cannot be cancelled"),
    ],
)
def test_functions_and_layers_that_cannot_renew_are_refused_at_decoration(
    function: Any, layer: Any, settings: dict[str, Any], words: str, time: Time
) -> None:
    with pytest.raises(IdempotencyConfigError, match=words):
        protect(function, layer(), renewing(time, **settings))


def test_the_core_refuses_what_decorators_refuse(time: Time) -> None:
    with pytest.raises(IdempotencyConfigError, match="FourMethods"):
        Idempotency(FourMethods(), renewing(time))
    with pytest.raises(IdempotencyConfigError, match="cannot be cancelled"):
        Idempotency(Watched(), renewing(time, cancel_when_lost=True)).run("key", lambda: 1)
