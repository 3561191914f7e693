"""Final errors where claims refuse or ask: what is an answer, and what leaves the key to the next call."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from idemproof import (
    NOT_DONE,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    Kind,
    Occurrence,
    idempotent_function,
    last_call,
    set_default_observers,
)
from idemproof.conformance.calls import SimulatedCall
from idemproof.conformance.simulator import World
from idemproof.errors import (
    IdempotencyConfigError,
    IdempotencyLeaseLostError,
    IdempotencyPersistenceLayerError,
    IdempotencyRecordTooLargeError,
    IdempotencyResultUnavailableError,
    IdempotencySerializationError,
    IdempotencyUnknownOutcomeError,
)
from idemproof.reference.engine import Engine
from idemproof.spec.record import COMPLETED, ERROR_UNAVAILABLE, FINAL_ERROR, INPROGRESS, Record, claimable
from idemproof.testing import MovableClock, count_runs
from observing import Requests

LEASE = 10


class Died(BaseException):
    """A worker that ends in the middle: an interrupt."""


class CardError(Exception):
    """What a provider says about a card."""


class CardDeclined(CardError):  # noqa: N818 - as an application may call it
    """The final answer of a provider."""


class CardDeclinedForNow(CardDeclined):
    """A subclass, which is not declared."""


class Unknown(Exception):  # noqa: N818 - it reads as what happened
    """The provider does not say."""


def given(answer: Any) -> Any:
    """Return an answer, or raise it."""
    if isinstance(answer, BaseException):
        raise answer
    return answer


class Shop:
    """A function that pays, and one that is asked; both do what a test says."""

    def __init__(self, *, asynchronous: bool = False, policy: str = "ask", **settings: Any) -> None:
        self.clock = MovableClock()
        self.seen: list[Occurrence] = []
        self.ran: list[str] = []
        self.asked: list[str] = []
        self.ends: Any = "paid"
        self.answer: Any = NOT_DONE
        self._asynchronous = asynchronous
        config = IdempotencyConfig(
            clock=self.clock,
            observers=[self.seen.append],
            in_progress_expires_after_seconds=LEASE,
            on_takeover="refuse" if policy == "refuse" else "run",
            **{"final_errors": (CardDeclined,), **settings},
        )
        self.protected: Any = idempotent_function(
            self._made(self._pay),
            data_keyword_argument="order",
            persistence_store=InMemoryPersistenceLayer(),
            config=config,
            on_takeover=self._made(self._ask) if policy == "ask" else None,
        )

    def _made(self, function: Callable[[str], Any]) -> Any:
        def plain(order: str) -> Any:
            return function(order)

        async def awaited(order: str) -> Any:
            await asyncio.sleep(0)
            return function(order)

        return awaited if self._asynchronous else plain

    def _pay(self, order: str) -> Any:
        self.ran.append(order)
        return given(self.ends)

    def _ask(self, order: str) -> Any:
        self.asked.append(order)
        return given(self.answer)

    def pay(self) -> Any:
        called = self.protected("o1")
        return asyncio.run(called) if self._asynchronous else called

    def die(self) -> None:
        """Let a call end in the middle."""
        ends, self.ends = self.ends, Died()
        with pytest.raises(Died):
            self.pay()
        self.ends = ends
        self.seen.clear()
        self.ran.clear()

    @property
    def record(self) -> Record | None:
        return self.protected.idempotency.inspect("o1")  # type: ignore[no-any-return]

    def kinds(self) -> list[tuple[Kind, str | None]]:
        return [(each.kind, each.row) for each in self.seen]


BOTH = pytest.mark.parametrize("asynchronous", [False, True], ids=["def", "async def"])
CAREFUL = pytest.mark.parametrize("policy", ["refuse", "ask"])


@BOTH
@CAREFUL
@pytest.mark.clause("FIN-1", "TAKE-6")
def test_a_final_error_of_a_body_is_stored_and_not_asked_about(asynchronous: bool, policy: str) -> None:
    shop = Shop(asynchronous=asynchronous, policy=policy)
    shop.ends = CardDeclined("no funds", 5)
    with pytest.raises(CardDeclined) as first:
        shop.pay()
    assert first.value is shop.ends
    shop.clock.advance(LEASE + 1)
    with pytest.raises(CardDeclined) as again:
        shop.pay()
    assert again.value.args == ("no funds", 5)
    assert (shop.ran, shop.asked) == (["o1"], [])
    assert shop.kinds() == [(Kind.CLAIMED, "ROW-1"), (Kind.COMPLETED, "ROW-7"), (Kind.REPLAYED, "ROW-5")]


@BOTH
@pytest.mark.clause("FIN-1", "FIN-6", "TAKE-5")
def test_a_final_error_of_a_question_is_an_answer(asynchronous: bool) -> None:
    shop = Shop(asynchronous=asynchronous)
    shop.die()
    shop.answer = error = CardDeclined("no funds")
    with count_runs(shop.protected) as runs:
        with pytest.raises(CardDeclined) as first:
            shop.pay()
        with pytest.raises(CardDeclined) as again:
            shop.pay()
    assert first.value is error
    assert not hasattr(error, "__notes__")  # what is said of questions that cannot tell would be wrong
    assert again.value.args == ("no funds",)
    assert (shop.ran, shop.asked, runs.by_key) == ([], ["o1"], {})
    assert shop.kinds() == [(Kind.TOOK_OVER, "ROW-18"), (Kind.COMPLETED, "ROW-7"), (Kind.REPLAYED, "ROW-5")]
    assert [each.ran for each in shop.seen] == [False, False, False]
    assert shop.seen[1].error is error


@pytest.mark.clause("FIN-6", "TAKE-5")
@pytest.mark.parametrize("error", [CardDeclinedForNow("no"), CardError("no"), Unknown()], ids=repr)
def test_another_error_of_a_question_is_no_answer(error: Exception) -> None:
    shop = Shop(released_errors=(CardError,))
    shop.die()
    shop.answer = error
    with pytest.raises(type(error)):
        shop.pay()
    assert "The next call asks again" in error.__notes__[0]
    assert shop.kinds() == [(Kind.TOOK_OVER, "ROW-18"), (Kind.ABANDONED, "ROW-19")]
    record = shop.record
    assert record is not None
    assert claimable(record, shop.clock())


@pytest.mark.clause("FIN-1", "TAKE-5")
def test_a_body_that_runs_after_its_question_may_end_with_a_final_error() -> None:
    shop = Shop()
    shop.die()
    shop.ends = CardDeclined("no funds")
    for _ in range(2):
        with pytest.raises(CardDeclined):
            shop.pay()
    assert (shop.ran, shop.asked) == (["o1"], ["o1"])
    assert [each.ran for each in shop.seen] == [False, True, False]


@CAREFUL
@pytest.mark.clause("FIN-1", "TAKE-6")
def test_a_final_error_is_final_though_its_base_class_releases(policy: str) -> None:
    shop = Shop(policy=policy, released_errors=(CardError,))
    for error in (CardError("expired"), CardDeclinedForNow("later")):
        shop.ends = error
        with pytest.raises(CardError):
            shop.pay()
        assert shop.record is None
    shop.ends = CardDeclined("no funds")
    with pytest.raises(CardDeclined):
        shop.pay()
    record = shop.record
    assert record is not None
    assert record.status == COMPLETED


@pytest.mark.clause("FIN-6", "TAKE-4")
def test_an_error_of_the_engine_about_a_question_is_not_final() -> None:
    shop = Shop(final_errors=(TypeError,))
    shop.die()
    shop.answer = asyncio.sleep(0)
    with pytest.raises(TypeError, match="which nothing runs"):
        shop.pay()
    record = shop.record
    assert record is not None
    assert record.status == INPROGRESS


class TimeLimit(Exception):  # noqa: N818 - as those of job queues
    """An interrupt that is declared."""


class SoftTimeLimitExceeded(Exception):  # noqa: N818 - Celery's name
    """An interrupt that is known."""


class LongerLimit(TimeLimit):
    """A subclass of one that is declared."""


@pytest.mark.clause("FIN-6", "TAKE-6")
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"final_errors": (CardDeclined,), "released_errors": (ValueError, CardDeclined)},
            r"final_errors must not have .*CardDeclined: released_errors has it too",
        ),
        (
            {"interrupts": (TimeLimit,), "released_errors": (TimeLimit,)},
            r"released_errors must not have .*TimeLimit: it is an interrupt",
        ),
        (
            {"interrupts": (TimeLimit,), "released_errors": (LongerLimit,)},
            r"released_errors must not have .*LongerLimit: it is an interrupt",
        ),
        (
            {"released_errors": (SoftTimeLimitExceeded,)},
            r"released_errors must not have .*SoftTimeLimitExceeded: it is an interrupt",
        ),
        (
            {"interrupts": (TimeLimit,), "final_errors": (TimeLimit,)},
            r"final_errors must not have .*TimeLimit: it is an interrupt too",
        ),
    ],
)
def test_an_error_with_two_meanings_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(IdempotencyConfigError, match=says):
        IdempotencyConfig(**settings)


def in_world(world: World, **settings: Any) -> Engine:
    config = IdempotencyConfig(
        clock=world.clock,
        in_progress_expires_after_seconds=LEASE,
        expires_after_seconds=60,
        final_errors=(CardDeclined,),
        **settings,
    )
    return Engine(config, next_owner=world.next_owner, on_takeover=lambda: NOT_DONE)


def asking(world: World, engine: Engine) -> SimulatedCall:
    """Return a call that has taken over, and asks."""
    if world.record is None:
        world.call(engine).until_running().crash()
    world.now += LEASE * 1000
    call = world.call(engine)
    while not call.asking:
        call.step()
    return call


def ended(call: SimulatedCall, answer: Any) -> SimulatedCall:
    """Let the question be answered, and perform what is left without faults."""
    if isinstance(answer, BaseException):
        call.fail_to_answer(answer)
    else:
        call.answer(answer)
    while call.ended is None:
        assert not call.running
        call.step()
    return call


@pytest.mark.clause("ENG-8", "TAKE-5", "FIN-3")
@pytest.mark.parametrize("late", [CardDeclined("late"), "late"], ids=["late error", "late result"])
@pytest.mark.parametrize(
    "quick", [CardDeclined("quick"), "quick"], ids=["an error counts", "a result counts"]
)
def test_a_superseded_answer_gives_way_to_what_is_stored(world: World, late: Any, quick: Any) -> None:
    engine = in_world(world)
    call = asking(world, engine)
    ended(asking(world, engine), quick)
    ended(call, late)
    if isinstance(quick, Exception):
        assert (call.ended, type(call.value), call.value.args) == ("raised", CardDeclined, ("quick",))
    else:
        assert (call.ended, call.value) == ("returned", "quick")
    last = call.occurrences[-1]
    assert (last.kind, last.ran) == (Kind.SUPERSEDED, False)


@pytest.mark.clause("ENG-8", "FIN-4")
def test_a_superseded_answer_is_in_the_error_if_what_is_stored_is_not_available(world: World) -> None:
    engine, error = in_world(world), CardDeclined("late")
    call = asking(world, engine)
    quick = asking(world, engine)
    quick.fail_to_answer(CardDeclined(object()))
    while quick.ended is None:
        quick.step()
    assert isinstance(quick.value, IdempotencySerializationError)
    assert "on_takeover raised the final error CardDeclined" in str(quick.value)
    assert world.record is not None
    assert world.record.response_data == ERROR_UNAVAILABLE
    ended(call, error)
    assert isinstance(call.value, IdempotencyResultUnavailableError)
    assert call.value.raised is error


@pytest.mark.clause("ENG-9", "TAKE-5")
def test_an_answer_whose_claim_is_lost_is_in_the_error(world: World) -> None:
    engine, error = in_world(world), CardDeclined("late")
    call = asking(world, engine)
    asking(world, engine)
    ended(call, error)
    assert isinstance(call.value, IdempotencyLeaseLostError)
    assert call.value.raised is error
    assert "on_takeover answered; its final error, carried by this error" in str(call.value)


@pytest.mark.clause("ENG-7", "TAKE-5")
def test_an_answer_that_may_not_be_stored_is_in_the_error(world: World) -> None:
    error = CardDeclined("no")
    call = asking(world, in_world(world))
    call.fail_to_answer(error)
    while call.ended is None:
        call.step("refused")
    assert isinstance(call.value, IdempotencyPersistenceLayerError)
    assert call.value.raised is error
    assert "on_takeover answered for" in str(call.value)
    assert "not known whether its final error" in str(call.value)


@pytest.mark.clause("ENG-10", "FIN-4", "REC-6")
@pytest.mark.parametrize("answer", [CardDeclined("no"), "found"], ids=["final error", "result"])
def test_an_answer_that_is_too_large_is_marked_and_never_asked_for_again(world: World, answer: Any) -> None:
    engine = in_world(world)
    call = asking(world, engine)
    if isinstance(answer, Exception):
        call.fail_to_answer(answer)
    else:
        call.answer(answer)
    call.interrupt(IdempotencyRecordTooLargeError("400 KB at most"))
    while call.ended is None:
        call.step()
    assert isinstance(call.value, IdempotencyPersistenceLayerError)
    message = str(call.value)
    if isinstance(answer, Exception):
        assert "on_takeover raised the final error CardDeclined" in message
        assert call.value.raised is answer
    else:
        assert "on_takeover found the result of" in message
        assert call.value.result == "found"
    assert "too large for the store" in message
    assert "unction ran" not in message
    with pytest.raises(IdempotencyResultUnavailableError):
        raise world.call(engine).run().value


@pytest.mark.clause("ENG-12", "ENG-15", "FIN-1")
@pytest.mark.parametrize("asked", [True, False], ids=["question", "body"])
def test_an_interrupt_after_a_final_error_takes_effect_once_it_is_stored(world: World, asked: bool) -> None:
    engine = in_world(world)
    call = asking(world, engine) if asked else world.call(engine).until_running()
    call.command.failure = CardDeclined("no")
    interrupt = KeyboardInterrupt()
    call.interrupt(interrupt)
    while call.ended is None:
        call.step()
    assert call.value is interrupt
    assert world.record is not None
    assert str(world.record.response_data).startswith(FINAL_ERROR)


def test_the_last_call_tells_of_parked_and_abandoned_keys() -> None:
    shop = Shop(policy="refuse")
    shop.ends = Unknown()
    with last_call() as call, pytest.raises(Unknown):
        shop.pay()
    assert (call.kind, call.replayed) == (Kind.ABANDONED, False)
    with last_call() as call, pytest.raises(IdempotencyUnknownOutcomeError):
        shop.pay()
    record = shop.record
    assert record is not None
    assert (call.kind, call.key, call.replayed) == (Kind.PARKED, record.idempotency_key, False)
    assert call.record == record


def test_the_last_call_tells_of_the_answer_to_a_question() -> None:
    shop = Shop()
    shop.die()
    shop.answer = CardDeclined("no")
    with last_call() as call, pytest.raises(CardDeclined):
        shop.pay()
    assert call.occurrence is not None
    assert (call.kind, call.replayed, call.occurrence.ran) == (Kind.COMPLETED, False, False)
    with last_call() as call, pytest.raises(CardDeclined):
        shop.pay()
    assert (call.kind, call.replayed) == (Kind.REPLAYED, True)


def test_observers_of_the_process_see_takeovers() -> None:
    shop = Shop()
    watching = Requests()
    before = set_default_observers([watching])
    try:
        for answer, ends in (("unused", Unknown()), (Unknown(), "unused"), (CardDeclined("no"), "unused")):
            shop.answer, shop.ends = answer, ends
            with pytest.raises((Unknown, CardDeclined)):
                shop.pay()
    finally:
        set_default_observers(before)
    assert watching.kinds == [
        *(Kind.CLAIMED, Kind.ABANDONED),
        *(Kind.TOOK_OVER, Kind.ABANDONED),
        *(Kind.TOOK_OVER, Kind.COMPLETED),
    ]
    assert [each.kind for each in watching.seen if each.kind != "claim"] == ["abandon", "abandon", "complete"]
