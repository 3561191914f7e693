"""Built-in layers whose methods are overridden: blocking and async, and still fenced."""

import asyncio
import logging
import threading
from typing import Any

import fakeredis
import pytest

from idemproof import (
    AsyncInMemoryPersistenceLayer,
    AsyncRedisCachePersistenceLayer,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    RedisCachePersistenceLayer,
    idempotent_function,
)
from idemproof.errors import IdempotencyLeaseLostError, IdempotencyPersistenceLayerError
from idemproof.spec.record import COMPLETED, RESULT_UNAVAILABLE

START = 1_700_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


def observed(base: type, calls: list[str]) -> type:
    class Observed(base):  # type: ignore[misc]
        def _put_record(self, data_record: Any) -> None:
            calls.append("put")
            super()._put_record(data_record)

        def _update_record(self, data_record: Any) -> None:
            calls.append("update")
            super()._update_record(data_record)

        def _delete_record(self, data_record: Any) -> None:
            calls.append("delete")
            super()._delete_record(data_record)

    return Observed


def observed_async(base: type, calls: list[str]) -> type:
    class Observed(base):  # type: ignore[misc]
        async def _put_record(self, data_record: Any) -> None:
            calls.append("put")
            await super()._put_record(data_record)

        async def _update_record(self, data_record: Any) -> None:
            calls.append("update")
            await super()._update_record(data_record)

        async def save_success(self, data: Any, result: Any) -> None:
            calls.append("success")
            await super().save_success(data, result)

        async def delete_record(self, data: Any, exception: Any = None) -> None:
            calls.append(f"deletion by {type(exception).__name__}")
            await super().delete_record(data, exception)

    return Observed


ASYNC_LAYERS = {
    "memory": lambda calls: observed_async(AsyncInMemoryPersistenceLayer, calls)(),
    "redis": lambda calls: observed_async(AsyncRedisCachePersistenceLayer, calls)(
        client=fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())
    ),
}


@pytest.mark.parametrize("kind", ASYNC_LAYERS)
def test_overridden_methods_of_an_async_layer_are_called(kind: str) -> None:
    calls: list[str] = []
    failing = False

    async def scenario() -> None:
        layer = ASYNC_LAYERS[kind](calls)

        @idempotent_function(data_keyword_argument="n", persistence_store=layer)
        async def charge(n: int) -> int:
            if failing:
                raise ZeroDivisionError
            return n

        assert [await charge(n=1) for _ in range(2)] == [1, 1]
        assert calls == ["put", "success", "update", "put"]
        calls.clear()
        nonlocal failing
        failing = True
        with pytest.raises(ZeroDivisionError):
            await charge(n=2)
        assert calls == ["put", "deletion by ZeroDivisionError"]

    asyncio.run(scenario())


def test_an_async_function_calls_the_methods_of_a_blocking_layer() -> None:
    calls: list[str] = []
    layer = observed(RedisCachePersistenceLayer, calls)(
        client=fakeredis.FakeRedis(server=fakeredis.FakeServer())
    )

    @idempotent_function(data_keyword_argument="n", persistence_store=layer)
    async def charge(n: int) -> int:
        return n

    async def scenario() -> list[int]:
        return [await charge(n=1) for _ in range(2)]

    assert asyncio.run(scenario()) == [1, 1]
    assert calls == ["put", "update", "put"]


def zombie(layer: Any, clock: Clock, *, raising: bool = False) -> tuple[Any, Any]:
    """Return a function whose first attempt outlives its lease and is taken over by the second."""
    runs: list[int] = []

    @idempotent_function(
        data_keyword_argument="n",
        persistence_store=layer,
        config=IdempotencyConfig(clock=clock, in_progress_expires_after_seconds=10),
    )
    def charge(n: int) -> str:
        runs.append(n)
        number = len(runs)
        if number == 1:
            clock.now += 11_000
            assert charge(n=n) == "run 2"
            if raising:
                raise ZeroDivisionError
        return f"run {number}"

    return charge, runs


@pytest.mark.parametrize("raising", [False, True], ids=["returns", "raises"])
def test_what_is_too_late_changes_nothing_through_an_override_either(raising: bool) -> None:
    calls: list[str] = []
    clock = Clock()
    layer = observed(InMemoryPersistenceLayer, calls)()
    charge, runs = zombie(layer, clock, raising=raising)
    if raising:
        with pytest.raises(ZeroDivisionError):
            charge(n=1)
    else:
        assert charge(n=1) == "run 2"  # superseded: the answer that counts
    assert len(runs) == 2
    (record,) = layer._records.values()
    assert (record.status, record.response_data) == (COMPLETED, '"run 2"')
    assert charge(n=1) == "run 2"


def test_an_attempt_whose_claim_is_held_by_another_gets_lease_lost() -> None:
    calls: list[str] = []
    clock = Clock()
    layer = observed(InMemoryPersistenceLayer, calls)()

    @idempotent_function(
        data_keyword_argument="n",
        persistence_store=layer,
        config=IdempotencyConfig(clock=clock, in_progress_expires_after_seconds=10),
    )
    def charge(n: int) -> str:
        (key,) = layer._records
        layer._records[key] = layer._records[key]._replace(owner="another")
        return "lost"

    with pytest.raises(IdempotencyLeaseLostError) as raised:
        charge(n=1)
    assert raised.value.result == "lost"


def test_a_record_that_an_override_makes_is_fenced_too() -> None:
    class Rebuilt(InMemoryPersistenceLayer):
        def _put_record(self, data_record: Any) -> None:
            super()._put_record(type(data_record)(*tuple(data_record)[:7]))

    layer = Rebuilt()
    owners = []

    @idempotent_function(data_keyword_argument="n", persistence_store=layer)
    def charge(n: int) -> int:
        owners.append(next(iter(layer._records.values())).owner)
        return n

    assert [charge(n=1), charge(n=1)] == [1, 1]
    assert len(owners) == 1
    assert owners[0]


def test_an_override_that_does_not_call_its_parent_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Bare(InMemoryPersistenceLayer):
        def _put_record(self, data_record: Any) -> None:
            self._records[data_record.idempotency_key] = data_record.as_record()._replace(owner=None)

    @idempotent_function(data_keyword_argument="n", persistence_store=Bare())
    def charge(n: int) -> int:
        return n

    assert charge(n=1) == 1
    assert "Bare._put_record does not call" in caplog.text


def test_an_attribute_that_is_lengthened_by_an_override_still_lets_the_claim_go() -> None:
    class Patient(InMemoryPersistenceLayer):
        def _put_record(self, data_record: Any) -> None:
            data_record.expiry_timestamp += 600
            super()._put_record(data_record)

    layer = Patient()

    @idempotent_function(data_keyword_argument="n", persistence_store=layer)
    def charge(n: int) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        charge(n=1)
    assert layer._records == {}


def test_a_result_that_is_no_json_is_completed_through_the_overrides() -> None:
    calls: list[str] = []
    layer = observed(InMemoryPersistenceLayer, calls)()

    @idempotent_function(data_keyword_argument="n", persistence_store=layer)
    def charge(n: int) -> Any:
        return {n}

    with pytest.raises(IdempotencyPersistenceLayerError) as raised:
        charge(n=1)
    assert raised.value.result == {1}
    assert calls == ["put", "update"]
    (record,) = layer._records.values()
    assert record.response_data == RESULT_UNAVAILABLE


@pytest.mark.parametrize("method", ["_put_record", "_update_record"])
def test_a_request_that_fails_once_is_tried_again(method: str) -> None:
    failures = [OSError("once")]

    def flaky(self: Any, data_record: Any) -> None:
        if failures:
            raise failures.pop()
        getattr(super(kind, self), method)(data_record)

    kind = type("Flaky", (InMemoryPersistenceLayer,), {method: flaky})

    @idempotent_function(data_keyword_argument="n", persistence_store=kind())
    def charge(n: int) -> int:
        return n

    assert [charge(n=1), charge(n=1)] == [1, 1]


def test_a_claim_whose_reply_is_lost_is_recognized_with_the_stored_lease() -> None:
    clock = Clock()
    failures = [OSError("the reply is lost")]
    leases = []

    class Lossy(InMemoryPersistenceLayer):
        def _put_record(self, data_record: Any) -> None:
            super()._put_record(data_record)
            if failures:
                clock.now += 1000
                raise failures.pop()

    layer = Lossy()

    @idempotent_function(
        data_keyword_argument="n",
        persistence_store=layer,
        config=IdempotencyConfig(clock=clock, in_progress_expires_after_seconds=10),
    )
    def charge(n: int) -> int:
        leases.append(next(iter(layer._records.values())).in_progress_expiry_timestamp)
        return n

    assert charge(n=1) == 1
    assert leases == [START + 10_000]


def test_of_threads_through_overrides_one_runs() -> None:
    calls: list[str] = []
    layer = observed(InMemoryPersistenceLayer, calls)()
    runs: list[int] = []
    barrier = threading.Barrier(8)

    @idempotent_function(data_keyword_argument="n", persistence_store=layer)
    def charge(n: int) -> int:
        runs.append(n)
        return n

    def call() -> None:
        barrier.wait()
        try:
            charge(n=1)
        except Exception as refusal:
            calls.append(type(refusal).__name__)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert runs == [1]
    assert {call for call in calls if call.startswith("Idem")} <= {"IdempotencyAlreadyInProgressError"}


def test_a_layer_that_calls_another_does_not_pass_its_call_on() -> None:
    inner = InMemoryPersistenceLayer()

    class Copying(InMemoryPersistenceLayer):
        def _update_record(self, data_record: Any) -> None:
            inner._put_record(data_record)  # a record of its own there
            super()._update_record(data_record)

    layer = Copying()

    @idempotent_function(data_keyword_argument="n", persistence_store=layer)
    def charge(n: int) -> int:
        return n

    assert charge(n=1) == 1
    assert [record.status for record in (*inner._records.values(), *layer._records.values())] == [
        COMPLETED
    ] * 2


@pytest.mark.parametrize("name", ["function", "self"])
def test_the_function_s_parameters_may_have_any_name(name: str) -> None:
    layer = observed(InMemoryPersistenceLayer, [])()
    config = IdempotencyConfig(in_progress_expires_after_seconds=30)

    def work(p: int, **more: Any) -> Any:
        return more

    async def work_async(p: int, **more: Any) -> Any:
        return more

    protected, protected_async = (
        idempotent_function(body, data_keyword_argument="p", persistence_store=layer, config=config)
        for body in (work, work_async)
    )
    assert protected(p=1, **{name: 2}) == {name: 2}
    assert asyncio.run(protected_async(p=1, **{name: 2})) == {name: 2}


def test_a_filter_that_raises_does_not_keep_an_override_from_claiming() -> None:
    class Unfenced(InMemoryPersistenceLayer):
        def _put_record(self, data_record: Any) -> None:
            raised.append(False)

    def refuse(record: logging.LogRecord) -> bool:
        raised.append(True)
        raise RuntimeError(record)

    raised: list[bool] = []
    logger = logging.getLogger("idemproof")
    config = IdempotencyConfig(in_progress_expires_after_seconds=30)
    work = idempotent_function(
        lambda p: p, data_keyword_argument="p", persistence_store=Unfenced(), config=config, key_prefix="work"
    )
    logger.addFilter(refuse)
    try:
        assert work(p=1) == 1
    finally:
        logger.removeFilter(refuse)
    assert raised == [False, True]
