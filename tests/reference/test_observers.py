"""Observers get what happens to calls, and whatever they do changes no call."""

import asyncio
import functools
import logging
from collections.abc import Callable
from typing import Any

import pytest

from idemproof import (
    AsyncInMemoryPersistenceLayer,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    Kind,
    Occurrence,
    Record,
    idempotent_function,
)
from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyConfigError,
    IdempotencyLeaseLostError,
    IdempotencyPersistenceLayerError,
    IdempotencySerializationError,
)
from idemproof.spec.record import COMPLETED
from idemproof.testing import MovableClock, count_runs

LEASE = {"in_progress_expires_after_seconds": 30}


def protected(
    *observers: Callable[[Occurrence], Any], body: Any = None, layer: Any = None, **settings: Any
) -> Any:
    """Return a function that counts its runs, over memory."""

    def pay(order: int) -> list[int]:
        runs.append(order)
        return [len(runs)]

    runs: list[int] = []
    return idempotent_function(
        body or pay,
        data_keyword_argument="order",
        persistence_store=InMemoryPersistenceLayer() if layer is None else layer,
        config=IdempotencyConfig(**{**LEASE, "observers": observers, **settings}),
    )


def _handed_on(function: Callable[[Occurrence], Any], occurrence: Occurrence) -> Any:
    return function(occurrence)


class FailingOnDemand(InMemoryPersistenceLayer):
    """Takes no more requests once it ``fails``."""

    fails = False

    def _swap(self, *args: Any) -> Record | None:
        if self.fails:
            raise ConnectionError
        return super()._swap(*args)


class TimeLimit(Exception):  # noqa: N818 - as job queues call theirs
    pass


class TestWhatTheyGet:
    def test_each_of_them_gets_every_occurrence_in_its_order(self) -> None:
        first: list[Occurrence] = []
        both: list[tuple[str, Kind]] = []
        pay = protected(first.append, lambda each: both.append(("second", each.kind)))
        pay(1)
        pay(1)
        assert [each.kind for each in first] == [Kind.CLAIMED, Kind.COMPLETED, Kind.REPLAYED]
        assert both == [("second", each.kind) for each in first]
        assert {each.key for each in first} == {pay.idempotency.key(1)}
        assert first[0].owner == first[1].owner != first[2].owner

    def test_the_duration_is_by_the_configured_clock(self) -> None:
        clock = MovableClock()
        seen: list[Occurrence] = []

        def body(order: int) -> int:
            clock.advance(1.5)
            return order

        protected(seen.append, body=body, clock=clock)(1)
        assert [each.duration_ms for each in seen] == [0, 1500]

    @pytest.mark.parametrize("blocking", [True, False])
    def test_async_functions_report_too(self, blocking: bool) -> None:
        seen: list[Occurrence] = []

        async def body(order: int) -> int:
            await asyncio.sleep(0)
            return order

        layer = InMemoryPersistenceLayer() if blocking else AsyncInMemoryPersistenceLayer()
        pay = protected(seen.append, body=body, layer=layer)
        assert [asyncio.run(pay(1)), asyncio.run(pay(1))] == [1, 1]
        assert [each.kind for each in seen] == [Kind.CLAIMED, Kind.COMPLETED, Kind.REPLAYED]

    def test_the_log_names_kind_and_key_at_its_level(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, logger="idemproof")
        pay = protected()
        pay(1)
        pay(1)
        key = pay.idempotency.key(1)
        assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
            ("DEBUG", f"claimed: {key}"),
            ("DEBUG", f"completed: {key}"),
            ("DEBUG", f"replayed: {key}"),
        ]
        assert caplog.records[0].__dict__["idempotency_event"] == "claimed"
        assert {record.__dict__["idempotency_key"] for record in caplog.records} == {key}

    def test_nothing_is_made_for_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise AssertionError("something was reported to nobody")

        logging.getLogger("idemproof").setLevel(logging.INFO)
        try:
            monkeypatch.setattr("idemproof.reference.engine.Report", fail)
            pay = protected()
            assert pay(1) == pay(1) == [1]
        finally:
            logging.getLogger("idemproof").setLevel(logging.NOTSET)


@pytest.mark.clause("OBS-2")
class TestThatTheyChangeNothing:
    @pytest.mark.parametrize(
        "error", [RuntimeError("mine"), StopIteration(), GeneratorExit(), RecursionError()]
    )
    @pytest.mark.parametrize("asynchronous", [False, True])
    def test_what_one_raises_is_logged_and_kept_from_nobody(
        self, error: BaseException, asynchronous: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(_: Occurrence) -> None:
            raise error

        async def body(order: int) -> list[int]:
            return [order]

        seen: list[Occurrence] = []
        pay = protected(fail, seen.append, body=body if asynchronous else None)
        call = (lambda: asyncio.run(pay(1))) if asynchronous else (lambda: pay(1))
        assert call() == call() == [1]
        assert [each.kind for each in seen] == [Kind.CLAIMED, Kind.COMPLETED, Kind.REPLAYED]
        failures = [record for record in caplog.records if "failed to observe" in record.getMessage()]
        assert [record.levelname for record in failures] == ["WARNING"] * 3
        assert all(record.exc_info and record.exc_info[1] is error for record in failures)
        assert not any("[1]" in record.getMessage() for record in failures)  # no part of a result

    def test_what_the_body_raises_stays_what_it_is(self) -> None:
        def fail(_: Occurrence) -> None:
            raise RuntimeError("mine")

        def body(order: int) -> None:
            raise ValueError(order)

        pay = protected(fail, body=body)
        for _ in range(2):
            with pytest.raises(ValueError, match="7") as raised:
                pay(7)
            assert raised.value.__context__ is None

    @pytest.mark.clause("ENG-12", "ENG-15")
    @pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), TimeLimit()])
    @pytest.mark.parametrize(
        ("at", "ran", "stands"),
        [(Kind.CLAIMED, 0, False), (Kind.COMPLETED, 1, True), (Kind.REPLAYED, 1, True)],
    )
    def test_an_interrupt_is_raised_and_takes_effect_where_it_may(
        self, at: Kind, ran: int, stands: bool, interrupt: BaseException
    ) -> None:
        runs: list[int] = []
        seen: list[Kind] = []
        armed = [at is not Kind.REPLAYED]

        def strike(occurrence: Occurrence) -> None:
            if occurrence.kind is at and armed[0]:
                raise interrupt

        layer = InMemoryPersistenceLayer()
        pay = protected(
            strike,
            lambda each: seen.append(each.kind),
            body=lambda order: runs.append(order) or None,
            layer=layer,
            interrupts=(TimeLimit,),
        )
        if at is Kind.REPLAYED:
            pay(1)
            armed[0] = True
        with pytest.raises(type(interrupt)) as raised:
            pay(1)
        assert raised.value is interrupt
        assert (len(runs), len(layer) == 1) == (ran, stands)
        assert at in seen  # the others got it, too
        assert (Kind.RELEASED in seen) is (at is Kind.CLAIMED)
        armed[0] = False
        assert pay(1) is None
        assert len(runs) == 1

    @pytest.mark.clause("ENG-12")
    @pytest.mark.parametrize(
        ("at", "behind"),
        [
            (Kind.LEASE_LOST, IdempotencyLeaseLostError),
            (Kind.OUTCOME_UNKNOWN, IdempotencyPersistenceLayerError),
            (Kind.RESULT_NOT_STORED, IdempotencySerializationError),
            (Kind.SUPERSEDED, None),
        ],
    )
    def test_an_interrupt_at_the_end_has_the_error_with_the_result_behind_it(
        self, at: Kind, behind: type[Exception] | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("idemproof.drivers.blocking.pause", lambda _: None)
        interrupt = KeyboardInterrupt()
        layer = FailingOnDemand()

        def strike(occurrence: Occurrence) -> None:
            if occurrence.kind is at:
                raise interrupt

        def body(order: int) -> Any:
            (claim,) = layer._records.values()
            key = claim.idempotency_key
            if at is Kind.LEASE_LOST:
                layer._records[key] = claim._replace(owner="other")
            elif at is Kind.SUPERSEDED:
                layer._records[key] = Record(key, COMPLETED, claim.expiry_timestamp, None, '"other"')
            layer.fails = at is Kind.OUTCOME_UNKNOWN
            return {1} if at is Kind.RESULT_NOT_STORED else "mine"

        pay = protected(strike, body=body, layer=layer, completion_timeout_seconds=0)
        with pytest.raises(KeyboardInterrupt) as raised:
            pay(1)
        assert raised.value is interrupt
        cause: Any = raised.value.__cause__
        assert cause is None if behind is None else type(cause) is behind
        if cause is not None:
            assert cause.result == ({1} if at is Kind.RESULT_NOT_STORED else "mine")

    def test_an_observer_may_cancel_its_own_task(self) -> None:
        runs: list[int] = []

        def cancel_at(kind: Kind, occurrence: Occurrence) -> None:
            task = asyncio.current_task()
            assert task is not None
            if occurrence.kind is kind:
                task.cancel()

        async def body(order: int) -> int:
            await asyncio.sleep(0)
            runs.append(order)
            return order

        for at, ran in ((Kind.CLAIMED, 0), (Kind.COMPLETED, 1)):
            layer = AsyncInMemoryPersistenceLayer()
            runs.clear()

            async def main(pay: Any) -> None:
                await pay(1)
                await asyncio.sleep(0)

            with pytest.raises(asyncio.CancelledError):
                asyncio.run(main(protected(functools.partial(cancel_at, at), body=body, layer=layer)))
            assert len(runs) == ran
            assert asyncio.run(protected(body=body, layer=layer)(1)) == 1
            assert len(runs) == 1

    def test_an_interrupt_at_a_release_is_raised_after_it(self) -> None:
        interrupt = KeyboardInterrupt()

        def strike(occurrence: Occurrence) -> None:
            if occurrence.kind is Kind.RELEASED:
                raise interrupt

        def body(order: int) -> None:
            raise ValueError(order)

        layer = InMemoryPersistenceLayer()
        with pytest.raises(KeyboardInterrupt) as raised:
            protected(strike, body=body, layer=layer)(7)
        assert isinstance(raised.value.__cause__, ValueError)
        assert len(layer) == 0

    def test_a_coroutine_function_is_refused_and_a_coroutine_is_a_failure(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def later(_: Occurrence) -> None:
            pass

        with pytest.raises(IdempotencyConfigError, match="observers must be a list or tuple of plain"):
            IdempotencyConfig(observers=[later])
        assert protected(functools.partial(_handed_on, later))(1) == [1]
        assert "failed to observe 'claimed'" in caplog.text

    @pytest.mark.parametrize("wrong", [5, "log", [5], {print}, print, [Kind], None, (print, None)])
    def test_what_is_no_observer_is_refused(self, wrong: Any) -> None:
        with pytest.raises(IdempotencyConfigError, match="observers"):
            IdempotencyConfig(observers=wrong)

    def test_a_configuration_keeps_the_observers_that_it_was_given(self) -> None:
        given: list[Any] = []
        config = IdempotencyConfig(observers=given)
        given.append(print)
        assert config.observers == ()


@pytest.mark.clause("OBS-3")
class TestThatTheyMayBeSlow:
    def test_a_lease_that_ends_meanwhile_is_claimed_again(self) -> None:
        clock = MovableClock()
        runs: list[int] = []

        def slow(occurrence: Occurrence) -> None:
            if occurrence.kind is Kind.CLAIMED:
                clock.advance(31)

        layer = InMemoryPersistenceLayer()

        def body(order: int) -> int:
            (record,) = layer._records.values()
            assert record.in_progress_expiry_timestamp == clock() + 30_000
            runs.append(order)
            return order

        assert protected(slow, body=body, layer=layer, clock=clock)(1) == 1
        assert runs == [1]

    def test_another_may_have_taken_over_meanwhile(self) -> None:
        clock = MovableClock()
        layer = InMemoryPersistenceLayer()
        seen: list[Kind] = []

        def slow(occurrence: Occurrence) -> None:
            if occurrence.kind is Kind.CLAIMED:
                clock.advance(31)
                assert other(1) == "other's"

        def body(order: int) -> str:
            raise AssertionError(order)

        other = idempotent_function(
            lambda order: "other's",
            data_keyword_argument="order",
            persistence_store=layer,
            config=IdempotencyConfig(clock=clock, in_progress_expires_after_seconds=30),
            key_prefix="same",
        )
        pay = idempotent_function(
            body,
            data_keyword_argument="order",
            persistence_store=layer,
            config=IdempotencyConfig(
                **LEASE, clock=clock, observers=[slow, lambda each: seen.append(each.kind)]
            ),
            key_prefix="same",
        )
        assert pay(1) == "other's"
        assert seen == [Kind.CLAIMED, Kind.REPLAYED]


@pytest.mark.clause("OBS-4")
class TestThatTheyMayCall:
    @pytest.mark.parametrize("kind", [Kind.CLAIMED, Kind.COMPLETED, Kind.REPLAYED])
    def test_what_an_observer_calls_itself_is_not_reported_to_it(self, kind: Kind) -> None:
        seen: list[Kind] = []
        others: list[Kind] = []
        inside: list[Any] = []

        def reenter(occurrence: Occurrence) -> None:
            seen.append(occurrence.kind)
            if occurrence.kind is kind:
                try:
                    inside.append(pay(1))
                except IdempotencyAlreadyInProgressError as refusal:
                    inside.append(refusal)

        pay = protected(reenter, lambda each: others.append(each.kind))
        assert pay(1) == pay(1) == [1]
        assert seen == [Kind.CLAIMED, Kind.COMPLETED, Kind.REPLAYED]
        (answer,) = inside
        assert (
            isinstance(answer, IdempotencyAlreadyInProgressError) if kind is Kind.CLAIMED else answer == [1]
        )
        assert len(others) == 4

    def test_runs_are_counted_beside_the_configured_observers(self) -> None:
        seen: list[Kind] = []
        pay = protected(lambda each: seen.append(each.kind))
        with count_runs(pay) as runs:
            pay(1)
            pay(1)
        runs.assert_once()
        pay(1)
        assert len(seen) == 4
