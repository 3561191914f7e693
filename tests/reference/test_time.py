"""Windows and leases: how long a result is replayed and a claim is live, in every time zone."""

import asyncio
import datetime as dt
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from idemproof import IdempotencyConfig, InMemoryPersistenceLayer, idempotent, idempotent_function
from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyConfigError,
    IdempotencyInconsistentStateError,
)
from idemproof.spec.record import Record

NOW = 1_700_000_000_123


class Clock:
    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class Context:
    def __init__(self, left: Any) -> None:
        self.left = left

    def get_remaining_time_in_millis(self) -> Any:
        return self.left


@pytest.fixture
def layer() -> InMemoryPersistenceLayer:
    return InMemoryPersistenceLayer()


def protect(layer: InMemoryPersistenceLayer, function: Callable[..., Any], **settings: Any) -> Any:
    config = IdempotencyConfig(**settings)
    return idempotent_function(function, data_keyword_argument="data", persistence_store=layer, config=config)


def the_record(layer: InMemoryPersistenceLayer) -> Record:
    (record,) = layer._records.values()
    return record


def seen_by_the_body(layer: InMemoryPersistenceLayer, **settings: Any) -> Record:
    """Return the claim under which a body runs."""
    claims = []
    protect(layer, lambda data: claims.append(the_record(layer)), **settings)(1)
    return claims[0]


# Windows.


@pytest.mark.parametrize("name", ["expires_after_seconds", "in_progress_expires_after_seconds"])
@pytest.mark.parametrize("seconds", [0, -1, -0.5, 0.0, float("nan"), float("inf"), True, "60"])
def test_a_window_or_lease_that_is_invalid_is_refused_with_the_configuration(name: str, seconds: Any) -> None:
    with pytest.raises(IdempotencyConfigError, match=f"^{name} must be"):
        IdempotencyConfig(**{name: seconds})


@pytest.mark.clause("TIME-3", "TIME-5")
@given(
    window=st.one_of(st.integers(1, 10**6), st.floats(0.001, 10**4)),
    begun=st.integers(1_000_000_000_000, 4_000_000_000_000),
    took=st.integers(0, 5_000),
)
def test_a_result_is_replayed_for_its_window_and_at_most_a_second_more(
    window: float, begun: int, took: int
) -> None:
    clock, runs = Clock(begun), []

    def body(data: int) -> int:
        clock.now += took
        runs.append(data)
        return len(runs)

    pay = protect(InMemoryPersistenceLayer(), body, expires_after_seconds=window, clock=clock)
    assert pay(1) == 1
    asked = math.ceil(window * 1000)
    completed = clock.now
    clock.now = completed + asked - 1
    assert pay(1) == 1
    clock.now = completed + asked + 1000
    assert pay(1) == 2


@pytest.mark.clause("TIME-5")
@pytest.mark.parametrize("offset", [0, 1, 499, 500, 999])
def test_a_window_of_one_second_is_a_second_at_whatever_moment(
    layer: InMemoryPersistenceLayer, offset: int
) -> None:
    clock, runs = Clock(1_700_000_000_000 + offset), []

    def body(data: int) -> int:
        runs.append(data)
        return len(runs)

    pay = protect(layer, body, expires_after_seconds=1, clock=clock)
    answers = [pay(1)]
    for milliseconds in (999, 1001):
        clock.now += milliseconds
        answers.append(pay(1))
    assert answers == [1, 1, 2]


# Local time.


@pytest.fixture
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")  # needs no database of time zones
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


BACK = dt.datetime(2024, 10, 27, 1, 0, tzinfo=dt.UTC)
FORWARD = dt.datetime(2024, 3, 31, 1, 0, tzinfo=dt.UTC)


@pytest.mark.clause("TIME-1")
@pytest.mark.usefixtures("_berlin")
@pytest.mark.parametrize("change", [BACK, FORWARD], ids=["back", "forward"])
@pytest.mark.parametrize("minutes_before", [1, 15, 59])
def test_a_change_to_or_from_summer_time_changes_nothing(
    layer: InMemoryPersistenceLayer, change: dt.datetime, minutes_before: int
) -> None:
    runs: list[int] = []

    def body(data: int) -> int:
        runs.append(data)
        return len(runs)

    pay = protect(layer, body, expires_after_seconds=3600)
    change_at = change.timestamp()  # a number: travelling to a datetime would change the zone
    begun = change_at - 60 * minutes_before
    with time_machine.travel(begun, tick=False) as travel:
        offset = time.localtime().tm_gmtoff
        assert pay(1) == 1
        for moment in (change_at - 1, change_at, begun + 59 * 60):
            travel.move_to(moment)
            assert pay(1) == 1
        assert time.localtime().tm_gmtoff != offset
        travel.move_to(begun + 3600)
        assert pay(1) == 2


@pytest.mark.usefixtures("_berlin")
def test_a_hook_gets_the_expiry_in_local_time(layer: InMemoryPersistenceLayer) -> None:
    expirations: list[Any] = []

    def hook(response: Any, record: Any) -> Any:
        expirations.append(record.get_expiration_datetime())
        return response

    pay = protect(layer, lambda data: data, expires_after_seconds=3600, response_hook=hook)
    with time_machine.travel(FORWARD.timestamp() - 1800, tick=False):
        pay(1)
        pay(1)
    assert expirations == [dt.datetime(2024, 3, 31, 3, 30)]  # noqa: DTZ001 - documented as naive


# Leases.


def test_a_running_body_outlasts_a_window_that_is_shorter_than_its_lease(
    layer: InMemoryPersistenceLayer,
) -> None:
    clock, runs = Clock(), []

    def body(data: int) -> str:
        runs.append(data)
        assert the_record(layer).expiry_timestamp * 1000 >= NOW + 600_000
        for clock.now in (NOW + 1_000, NOW + 2_000, NOW + 599_999):
            with pytest.raises(IdempotencyAlreadyInProgressError) as refusal:
                pay(data)
            assert refusal.value.retry_after_ms == NOW + 600_000 - clock.now
        return "paid"

    pay = protect(layer, body, expires_after_seconds=1, in_progress_expires_after_seconds=600, clock=clock)
    assert pay(1) == pay(1) == "paid"
    assert runs == [1]
    clock.now += 999
    assert pay(1) == "paid"


def test_without_a_lease_a_run_has_the_whole_window(
    layer: InMemoryPersistenceLayer, caplog: pytest.LogCaptureFixture
) -> None:
    claim = seen_by_the_body(layer, expires_after_seconds=60, clock=Clock())
    assert claim.in_progress_expiry_timestamp is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize(
    ("own", "left", "lease"),
    [
        (10, None, 10_000),
        (0.0005, None, 1),
        (None, 5_000, 5_000),
        (None, 5_000.9, 5_000),
        (10, 5_000, 5_000),
        (10, 20_000, 10_000),
    ],
)
@pytest.mark.parametrize("registered", ["by hand", "at the start", "by a handler", "by an async handler"])
def test_the_lease_is_the_shorter_of_the_configured_and_the_context_s(
    layer: InMemoryPersistenceLayer, own: float | None, left: Any, lease: int, registered: str
) -> None:
    context = None if left is None else Context(left)
    config = IdempotencyConfig(
        in_progress_expires_after_seconds=own,
        clock=Clock(),
        lambda_context=context if registered == "at the start" else None,
    )
    claims: list[Record] = []

    @idempotent_function(
        data_keyword_argument="data", persistence_store=layer, config=config, key_prefix="inner"
    )
    def pay(data: int) -> None:
        claims.extend(
            record for record in layer._records.values() if record.idempotency_key.startswith("inner")
        )

    if registered == "by hand":
        config.register_lambda_context(context)
        pay(1)
    elif registered == "at the start":
        pay(1)
    elif registered == "by a handler":
        # What the handler calls runs under the context that the handler got.
        idempotent(lambda event, context: pay(1), persistence_store=layer, config=config)({"id": 1}, context)
    else:

        async def handler(event: Any, context: Any) -> None:
            pay(1)

        asyncio.run(idempotent(handler, persistence_store=layer, config=config)({"id": 1}, context))
    assert [claim.in_progress_expiry_timestamp for claim in claims] == [NOW + lease]


def test_a_handler_without_a_context_leaves_the_registered_one_alone(layer: InMemoryPersistenceLayer) -> None:
    config = IdempotencyConfig(clock=Clock(), lambda_context=Context(5_000))
    handler = idempotent(
        lambda event: the_record(layer).in_progress_expiry_timestamp, persistence_store=layer, config=config
    )
    assert handler({"id": 1}) == NOW + 5_000


def test_a_context_is_asked_again_for_every_call(layer: InMemoryPersistenceLayer) -> None:
    clock = Clock()
    config = IdempotencyConfig(clock=clock, event_key_jmespath="id")
    leases = []

    @idempotent(persistence_store=layer, config=config)
    def handler(event: Any, context: Any) -> None:
        leases.extend(
            record.in_progress_expiry_timestamp
            for record in layer._records.values()
            if record.in_progress_expiry_timestamp is not None
        )

    for number, left in enumerate((5_000, 7_000)):
        handler({"id": number}, Context(left))
    assert leases == [NOW + 5_000, NOW + 7_000]


@pytest.mark.parametrize("left", [0, -1, 0.4])
def test_with_no_time_left_nothing_begins(layer: InMemoryPersistenceLayer, left: Any) -> None:
    with pytest.raises(IdempotencyInconsistentStateError, match="no time left"):
        seen_by_the_body(layer, lambda_context=Context(left))
    assert len(layer) == 0


@pytest.mark.parametrize("left", ["5000", None, float("nan"), True])
def test_a_context_that_talks_nonsense_is_refused_and_nothing_runs(
    layer: InMemoryPersistenceLayer, left: Any
) -> None:
    with pytest.raises(IdempotencyConfigError, match="get_remaining_time_in_millis"):
        seen_by_the_body(layer, lambda_context=Context(left))
    assert len(layer) == 0


def test_what_is_no_lambda_context_bounds_nothing(layer: InMemoryPersistenceLayer) -> None:
    claim = seen_by_the_body(
        layer, lambda_context=object(), in_progress_expires_after_seconds=10, clock=Clock()
    )
    assert claim.in_progress_expiry_timestamp == NOW + 10_000
