"""What a call does about a claim of another whose lease has ended: run, refuse, or ask."""

import asyncio
import copy
import functools
import itertools
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import Mock

import pytest

import idemproof
from four_methods import FourMethods
from idemproof import (
    NOT_DONE,
    DataRecord,
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    Kind,
    Occurrence,
    idempotent,
    idempotent_function,
)
from idemproof.conformance.simulator import World
from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyConfigError,
    IdempotencyInconsistentStateError,
    IdempotencyLeaseLostError,
    IdempotencyResultUnavailableError,
    IdempotencySerializationError,
    IdempotencyUnknownOutcomeError,
    IdempotencyValidationError,
)
from idemproof.reference.durable import Execution
from idemproof.reference.engine import Engine
from idemproof.reference.takeover import QUESTIONS
from idemproof.serialization import DataclassSerializer
from idemproof.spec.record import COMPLETED, INPROGRESS, Record, claimable
from idemproof.testing import MovableClock, count_runs

LEASE = 10


class Died(BaseException):
    """A worker that ends in the middle: an interrupt."""


class Declined(Exception):  # noqa: N818 - it reads as what happened
    """A body says that nothing has happened."""


class Shop:
    """A function that charges orders, and what a provider knows of them."""

    def __init__(self, *, asynchronous: bool = False, ask: Any = "honest", **settings: Any) -> None:
        self.clock = MovableClock()
        self.layer = InMemoryPersistenceLayer()
        self.charges: list[str] = []
        self.questions: list[str] = []
        self.seen: list[Occurrence] = []
        self.before: BaseException | None = None
        self.after: BaseException | None = None
        self.slow = 0
        self._asynchronous = asynchronous
        settings.setdefault("in_progress_expires_after_seconds", LEASE)
        self.config = IdempotencyConfig(clock=self.clock, observers=[self.seen.append], **settings)
        question = self.look_up if ask == "honest" else ask
        decorate = idempotent_function(
            data_keyword_argument="order",
            persistence_store=self.layer,
            config=self.config,
            on_takeover=question and self._made(question),
        )
        self.protected: Any = decorate(self._made(self.charge))

    def _made(self, function: Callable[[str], Any]) -> Any:
        if not self._asynchronous:

            def plain(order: str) -> Any:
                return function(order)

            return plain

        async def awaited(order: str) -> Any:
            await asyncio.sleep(0)
            return function(order)

        return awaited

    def charge(self, order: str) -> str:
        if self.before is not None:
            raise self.before
        self.charges.append(order)
        if self.after is not None:
            raise self.after
        return f"charged {order}"

    def look_up(self, order: str) -> Any:
        self.questions.append(order)
        self.clock.advance(self.slow)
        return f"charged {order}" if order in self.charges else NOT_DONE

    def pay(self, order: str = "o1") -> Any:
        called = self.protected(order)
        return asyncio.run(called) if self._asynchronous else called

    def die(self, *, after: bool, order: str = "o1") -> None:
        """Let a call end in the middle."""
        self.before, self.after = (None, Died()) if after else (Died(), None)
        with pytest.raises(Died):
            self.pay(order)
        self.before = self.after = None
        self.seen.clear()

    def record(self, order: str = "o1") -> Record | None:
        return self.protected.idempotency.inspect(order)  # type: ignore[no-any-return]

    def kinds(self) -> list[tuple[Kind, str | None]]:
        return [(each.kind, each.row) for each in self.seen]


BOTH = pytest.mark.parametrize("asynchronous", [False, True], ids=["def", "async def"])


@BOTH
@pytest.mark.clause("TAKE-3", "TAKE-5", "ROW-18")
def test_what_has_happened_is_found_and_not_repeated(asynchronous: bool) -> None:
    shop = Shop(asynchronous=asynchronous)
    shop.die(after=True)
    with count_runs(shop.protected) as runs:
        assert shop.pay() == "charged o1"
        assert shop.pay() == "charged o1"
    assert (shop.charges, shop.questions, runs.by_key) == (["o1"], ["o1"], {})
    assert shop.kinds() == [
        (Kind.TOOK_OVER, "ROW-18"),
        (Kind.COMPLETED, "ROW-7"),
        (Kind.REPLAYED, "ROW-5"),
    ]
    assert [each.ran for each in shop.seen] == [False, False, False]


@BOTH
@pytest.mark.clause("TAKE-5")
def test_what_has_not_happened_is_done(asynchronous: bool) -> None:
    shop = Shop(asynchronous=asynchronous)
    shop.die(after=False)
    assert shop.pay() == "charged o1"
    assert (shop.charges, shop.questions) == (["o1"], ["o1"])


@BOTH
@pytest.mark.clause("TAKE-4", "TAKE-5", "ENG-11", "ROW-19")
def test_a_question_that_raises_is_asked_again_by_the_next_call(asynchronous: bool) -> None:
    trouble = ConnectionError("the provider is down")

    def ask(order: str) -> Any:
        asked.append(order)
        if len(asked) == 1:
            raise trouble
        return "charged o1"

    asked: list[str] = []
    shop = Shop(asynchronous=asynchronous, ask=ask)
    shop.die(after=True)
    with pytest.raises(ConnectionError) as raised:
        shop.pay()
    assert raised.value is trouble
    assert "on_takeover raised this for" in trouble.__notes__[0]
    assert "function did not run now" in trouble.__notes__[0]
    record = shop.record()
    assert record is not None
    assert record.status == INPROGRESS
    assert claimable(record, shop.clock())
    assert shop.kinds() == [(Kind.TOOK_OVER, "ROW-18"), (Kind.ABANDONED, "ROW-19")]
    assert not any(each.ran for each in shop.seen)
    assert shop.pay() == "charged o1"
    assert (shop.charges, len(asked)) == (["o1"], 2)


@BOTH
@pytest.mark.clause("TAKE-6", "ROW-19")
@pytest.mark.parametrize("error", [ValueError("timeout"), Died()], ids=repr)
def test_what_a_body_raises_leaves_the_key_to_the_question(asynchronous: bool, error: BaseException) -> None:
    shop = Shop(asynchronous=asynchronous)
    shop.after = error
    with pytest.raises(type(error)) as raised:
        shop.pay()
    assert raised.value is error
    assert shop.kinds() == [(Kind.CLAIMED, "ROW-1"), (Kind.ABANDONED, "ROW-19")]
    shop.after = None
    assert shop.pay() == "charged o1"  # at once: the lease is over
    assert (shop.charges, shop.questions) == (["o1"], ["o1"])


@BOTH
@pytest.mark.clause("TAKE-6")
def test_a_declared_error_releases(asynchronous: bool) -> None:
    class Expired(Declined):
        pass

    shop = Shop(asynchronous=asynchronous, released_errors=(Declined,))
    for error in (Declined(), Expired()):
        shop.before = error
        with pytest.raises(Declined):
            shop.pay()
        assert shop.record() is None
    shop.before = None
    assert shop.pay() == "charged o1"
    assert shop.questions == []


@pytest.mark.clause("TAKE-6")
@pytest.mark.parametrize("wrapped", [False, True], ids=["itself", "behind a declared error"])
def test_an_interrupt_is_no_declared_error(wrapped: bool) -> None:
    class Stopped(Exception):  # noqa: N818 - as above
        pass

    shop = Shop(interrupts=(Stopped,), released_errors=(Exception,))
    error: Exception = Stopped()
    if wrapped:
        error = ValueError()
        error.__cause__ = Stopped()
    shop.after = error
    with pytest.raises(type(error)):
        shop.pay()
    assert shop.record() is not None
    assert shop.kinds()[-1] == (Kind.ABANDONED, "ROW-19")


@pytest.mark.clause("ENG-14", "TAKE-6")
def test_a_body_that_has_not_run_releases() -> None:
    async def charge(order: str) -> str:
        return order

    @functools.wraps(charge)
    def wrapper(order: str) -> Any:
        return charge(order)

    layer = InMemoryPersistenceLayer()
    pay = idempotent_function(
        wrapper,
        data_keyword_argument="order",
        persistence_store=layer,
        config=IdempotencyConfig(on_takeover="refuse"),
    )
    with pytest.raises(TypeError, match="has not run"):
        pay("o1")
    assert pay.idempotency.inspect("o1") is None


@BOTH
@pytest.mark.clause("TAKE-2", "ROW-17")
def test_a_key_is_parked_until_it_is_resolved_forgotten_or_over(asynchronous: bool) -> None:
    shop = Shop(asynchronous=asynchronous, ask=None, on_takeover="refuse", expires_after_seconds=60)
    for order in ("o1", "o2", "o3"):
        shop.die(after=True, order=order)
        with pytest.raises(IdempotencyUnknownOutcomeError) as raised:
            shop.pay(order)
    record = shop.record("o3")
    assert record is not None
    for part in (
        record.idempotency_key,
        "may have done",
        "did not run now",
        "resolve",
        "forget",
        "on_takeover",
    ):
        assert part in str(raised.value)
    assert shop.kinds()[-1] == (Kind.PARKED, "ROW-17")
    shop.protected.idempotency.resolve("o1", result="charged by hand")
    assert shop.pay("o1") == "charged by hand"
    shop.protected.idempotency.forget("o2")
    assert shop.pay("o2") == "charged o2"
    shop.clock.advance(61)
    assert shop.pay("o3") == "charged o3"


@pytest.mark.clause("TAKE-2")
def test_a_live_claim_is_in_progress_under_every_policy() -> None:
    for settings in ({"ask": None}, {"ask": None, "on_takeover": "refuse"}, {}):
        shop = Shop(**settings)  # type: ignore[arg-type]

        def again(shop: Shop = shop) -> str:
            with pytest.raises(IdempotencyAlreadyInProgressError):
                shop.pay()
            return "tried"

        shop.charge = lambda order, again=again: again()  # type: ignore[method-assign]
        shop.protected = idempotent_function(
            data_keyword_argument="order", persistence_store=shop.layer, config=shop.config
        )(lambda order, shop=shop: shop.charge(order))
        assert shop.pay() == "tried"


@pytest.mark.clause("TAKE-2", "ROW-3")
@pytest.mark.parametrize("policy", ["refuse", "ask"])
def test_another_payload_never_takes_over(policy: str) -> None:
    clock, layer = MovableClock(), InMemoryPersistenceLayer()
    settings: dict[str, Any] = {
        "event_key_jmespath": "id",
        "payload_validation_jmespath": "amount",
        "in_progress_expires_after_seconds": LEASE,
        "clock": clock,
    }
    if policy == "refuse":
        settings["on_takeover"] = "refuse"
    dies = [True]
    asked: list[Any] = []

    def ask(order: Any) -> Any:
        asked.append(order)
        return NOT_DONE

    @idempotent_function(
        data_keyword_argument="order",
        persistence_store=layer,
        config=IdempotencyConfig(**settings),
        on_takeover=ask if policy == "ask" else None,
    )
    def pay(order: Any) -> Any:
        if dies:
            raise Died
        return order

    with pytest.raises(Died):
        pay({"id": 1, "amount": 5})
    dies.clear()
    with pytest.raises(IdempotencyValidationError):
        pay({"id": 1, "amount": 6})
    assert asked == []


def in_world(world: World, *, on_takeover: Any = lambda: NOT_DONE, **settings: Any) -> Engine:
    config = IdempotencyConfig(
        clock=world.clock, in_progress_expires_after_seconds=10, expires_after_seconds=60, **settings
    )
    return Engine(config, next_owner=world.next_owner, on_takeover=on_takeover)


def lapsed(world: World, engine: Engine) -> None:
    """Let an attempt die in its body, and its lease end."""
    world.call(engine).until_running().crash()
    world.now += 10_000


@pytest.mark.clause("TAKE-3", "ROW-2")
def test_a_takeover_whose_reply_is_lost_still_asks(world: World) -> None:
    engine = in_world(world)
    lapsed(world, engine)
    call = world.call(engine)
    call.step()  # what stands is found
    call.step("reply lost")
    while not call.asking:
        assert not call.running
        call.step()
    call.answer("found")
    assert call.run().value == "found"


@pytest.mark.clause("TAKE-3", "TAKE-4")
@pytest.mark.parametrize("fate", ["reply lost", "delayed", "interrupted after"])
def test_a_call_that_ends_before_it_asks_abandons(world: World, fate: Any) -> None:
    engine = in_world(world)
    lapsed(world, engine)
    call = world.call(engine)
    call.step()
    call.step(fate)
    while call.ended is None:
        call.interrupt(KeyboardInterrupt()) if not call.interrupted else call.step()
    while world.delayed:
        world.deliver()
    assert world.record is not None
    assert world.record.status == INPROGRESS
    world.now = max(world.now, world.record.in_progress_expiry_timestamp or 0)
    again = world.call(engine)
    while not again.asking:
        assert not again.running
        again.step()


@pytest.mark.clause("TAKE-5", "ENG-3")
def test_an_answer_that_comes_after_the_lease_is_asked_for_again(world: World) -> None:
    engine = in_world(world)
    lapsed(world, engine)
    call = world.call(engine)
    for _ in range(2):
        while not call.asking:
            assert not call.running
            call.step()
        if not world.record or world.record.owner == "owner-2":
            world.now += 10_000 if _ == 0 else 0
        call.answer()
    assert call.until_running().running
    assert world.record is not None
    assert world.now < (world.record.in_progress_expiry_timestamp or 0)


@pytest.mark.clause("INV-8", "TAKE-4")
def test_answers_that_always_come_too_late_end_the_call(world: World) -> None:
    engine = in_world(world)
    lapsed(world, engine)
    call, asked = world.call(engine), 0
    while call.ended is None:
        assert not call.running
        if call.asking:
            asked += 1
            world.now += 10_000
            call.answer()
        else:
            call.step()
    assert asked == QUESTIONS
    assert isinstance(call.value, IdempotencyInconsistentStateError)
    assert "function did not run" in str(call.value)
    assert world.record is not None


@pytest.mark.clause("TAKE-5", "ENG-9")
def test_a_result_that_is_found_after_the_claim_was_lost_is_in_the_error(world: World) -> None:
    engine = in_world(world)
    lapsed(world, engine)
    call = world.call(engine)
    while not call.asking:
        call.step()
    world.now += 10_000
    other = world.call(engine)
    while not other.asking:
        other.step()
    call.answer("found")
    call.run()
    assert isinstance(call.value, IdempotencyLeaseLostError)
    assert call.value.result == "found"
    assert "on_takeover answered" in str(call.value)
    assert "function ran" not in str(call.value)


@pytest.mark.clause("ENG-12", "ENG-15")
def test_an_interrupt_after_an_answer_loses_no_result_and_begins_no_body(world: World) -> None:
    for answer in ("found", NOT_DONE):
        world.record = None
        engine = in_world(world)
        lapsed(world, engine)
        call = world.call(engine)
        while not call.asking:
            call.step()
        call.command.result, call.command.returned = answer, True
        call.interrupt(KeyboardInterrupt())
        while call.ended is None:
            assert not call.running
            call.step()
        assert isinstance(call.value, KeyboardInterrupt)
        record = world.record
        assert record is not None
        assert (record.status == COMPLETED) == (answer == "found")


@pytest.mark.clause("TAKE-1")
def test_run_takes_over_as_before(world: World) -> None:
    engine = in_world(world, on_takeover=None)
    lapsed(world, engine)
    call = world.call(engine).until_running()
    assert call.command.replaced.status == INPROGRESS
    assert not call.command.asks
    call.fail(ValueError())
    call.run()
    assert world.record is None


def test_cancellation_during_the_question_abandons() -> None:
    async def main() -> None:
        clock, layer = MovableClock(), InMemoryPersistenceLayer()
        runs: list[str] = []
        asking = asyncio.Event()

        async def ask(order: str) -> Any:
            asking.set()
            await asyncio.sleep(3600)

        @idempotent_function(
            data_keyword_argument="order",
            persistence_store=layer,
            config=IdempotencyConfig(clock=clock, in_progress_expires_after_seconds=LEASE),
            on_takeover=ask,
        )
        async def pay(order: str) -> str:
            runs.append(order)
            raise Died

        with pytest.raises(Died):
            await pay("o1")
        call = asyncio.create_task(pay("o1"))
        await asking.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert runs == ["o1"]
        record = await pay.idempotency.ainspect("o1")
        assert record is not None
        assert claimable(record, clock())

    asyncio.run(main())


def test_a_handler_asks_with_its_own_arguments() -> None:
    clock = MovableClock()
    seen: list[Any] = []
    dies = [True]

    def ask(message: Any, ctx: Any) -> Any:
        seen.append((message, ctx))
        return "found"

    @idempotent(
        persistence_store=InMemoryPersistenceLayer(), config=IdempotencyConfig(clock=clock), on_takeover=ask
    )
    def handler(message: Any, ctx: Any) -> Any:
        raise Died

    for call in (lambda: handler({"id": 1}, None), lambda: handler(event={"id": 2}, context=None)):  # type: ignore[call-arg]
        with pytest.raises(Died):
            call()
        assert call() == "found"
    assert dies
    assert seen == [({"id": 1}, None), ({"id": 2}, None)]


def test_a_method_is_asked_with_its_instance() -> None:
    class Till:
        def ask(self, order: str) -> Any:
            return f"{self!r} knows {order}"

        @idempotent_function(
            data_keyword_argument="order", persistence_store=InMemoryPersistenceLayer(), on_takeover=ask
        )
        def pay(self, order: str) -> Any:
            raise Died

        @idempotent_function(
            data_keyword_argument="order",
            persistence_store=InMemoryPersistenceLayer(),
            on_takeover=staticmethod(lambda order: f"known {order}"),
        )
        @staticmethod
        def refund(order: str) -> Any:
            raise Died

        def __repr__(self) -> str:
            return "the till"

    for function, answer in ((Till().pay, "the till knows o1"), (Till.refund, "known o1")):
        with pytest.raises(Died):
            function("o1")
        assert function("o1") == answer


def plain(order: str, amount: int = 1) -> Any:
    raise NotImplementedError


async def awaited(order: str, amount: int = 1) -> Any:
    raise NotImplementedError


def generated(order: str, amount: int = 1) -> Any:
    yield order


class Callee:
    async def __call__(self, order: str, amount: int = 1) -> Any:
        raise NotImplementedError


@pytest.mark.clause("TAKE-7")
@pytest.mark.parametrize(
    ("function", "ask", "says"),
    [
        (plain, awaited, "is async def, and plain is a plain function"),
        (plain, Callee(), "is async def"),
        (plain, functools.partial(awaited), "is async def"),
        (awaited, plain, "is a plain function, and awaited is async def"),
        (plain, generated, "is a generator"),
        (plain, lambda order: None, r"it has \(order\), and plain has \(order, amount=1\)"),
        (plain, lambda order, amount=2: None, "amount=2"),
        (plain, lambda order, amount=1.0: None, "amount=1.0"),
        (plain, lambda order, amount=[]: None, "amount"),
        (plain, lambda order, amount: None, "needs the same parameters"),
        (plain, lambda order, *, amount=1: None, "needs the same parameters"),
        (plain, lambda order, price=1: None, "needs the same parameters"),
        (plain, lambda order, amount=1, **more: None, "needs the same parameters"),
        (plain, lambda *args: None, "needs the same parameters"),
        (plain, dict, "must be a function"),
        (plain, 5, "must be a function"),
        (plain, NOT_DONE, "must be a function"),
        (plain, "refuse", "is set in IdempotencyConfig"),
    ],
)
def test_a_question_that_does_not_fit_is_refused_at_decoration(function: Any, ask: Any, says: str) -> None:
    decorate = idempotent_function(
        data_keyword_argument="order", persistence_store=InMemoryPersistenceLayer(), on_takeover=ask
    )
    with pytest.raises(IdempotencyConfigError, match=says):
        decorate(function)


@pytest.mark.parametrize("ask", [plain, Mock(), lambda *args, **kwargs: None, functools.partial(plain)])
def test_a_question_with_the_same_parameters_is_accepted(ask: Any) -> None:
    idempotent_function(
        data_keyword_argument="order", persistence_store=InMemoryPersistenceLayer(), on_takeover=ask
    )(lambda order, amount=1: None)


@pytest.mark.parametrize("value", [None, True, "ask", "Run", b"run", plain, 1, ("run",)])
def test_a_wrong_policy_is_refused(value: Any) -> None:
    with pytest.raises(IdempotencyConfigError, match="on_takeover must be 'run' or 'refuse'"):
        IdempotencyConfig(on_takeover=value)


@pytest.mark.parametrize(
    "value", [None, ValueError, [ValueError], (BaseException,), (5,), ("ValueError",), (ValueError(),)]
)
def test_wrong_released_errors_are_refused(value: Any) -> None:
    with pytest.raises(IdempotencyConfigError, match="released_errors must be a tuple"):
        IdempotencyConfig(released_errors=value)


class Overridden(InMemoryPersistenceLayer):
    def _put_record(self, data_record: DataRecord) -> None:
        super()._put_record(data_record)


@pytest.mark.clause("TAKE-7")
@pytest.mark.parametrize("layer", [FourMethods, Overridden])
@pytest.mark.parametrize("policy", ["refuse", "ask"])
def test_a_layer_that_takes_over_by_itself_is_refused_at_decoration(layer: Any, policy: str) -> None:
    config = IdempotencyConfig(on_takeover="refuse") if policy == "refuse" else None
    decorate = idempotent_function(
        data_keyword_argument="order",
        persistence_store=layer(),
        config=config,
        on_takeover=plain if policy == "ask" else None,
    )
    with pytest.raises(IdempotencyConfigError, match="on_takeover"):
        decorate(plain)
    idempotent_function(plain, data_keyword_argument="order", persistence_store=layer())


def test_a_layer_whose_methods_a_test_replaces_is_refused_when_it_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer = DynamoDBPersistenceLayer("table", boto3_client=Mock())
    pay = idempotent_function(
        plain,
        data_keyword_argument="order",
        persistence_store=layer,
        config=IdempotencyConfig(on_takeover="refuse"),
    )
    monkeypatch.setattr(layer, "save_inprogress", Mock())
    with pytest.raises(IdempotencyConfigError, match="Nothing ran"):
        pay("o1")


@pytest.mark.clause("TAKE-7")
def test_a_durable_execution_is_never_asked(world: World) -> None:
    execution = Execution("arn", "step.1", None, operates=False)
    steps = in_world(world).steps(world.KEY, None, execution=execution)
    with pytest.raises(IdempotencyConfigError, match=r"durable execution 'arn'.*Nothing ran"):
        next(steps)

    class DurableContext:
        pass

    def handler(event: Any, context: DurableContext) -> Any:
        raise NotImplementedError

    with pytest.raises(IdempotencyConfigError, match="durable execution"):
        idempotent(
            handler, persistence_store=InMemoryPersistenceLayer(), on_takeover=lambda event, context: None
        )


def test_a_question_that_answers_with_a_coroutine_is_no_answer() -> None:
    shop = Shop(ask=lambda order: asyncio.sleep(0))
    shop.die(after=True)
    with pytest.raises(TypeError, match="which nothing runs"):
        shop.pay()
    assert shop.charges == ["o1"]
    record = shop.record()
    assert record is not None
    assert record.status == INPROGRESS


def test_the_answer_that_nothing_was_done_is_one_object() -> None:
    assert idemproof.NOT_DONE is NOT_DONE
    assert repr(NOT_DONE) == "idemproof.NOT_DONE"
    assert (
        copy.copy(NOT_DONE)
        is copy.deepcopy([NOT_DONE])[0]
        is pickle.loads(pickle.dumps(NOT_DONE))
        is NOT_DONE
    )


def test_a_result_that_is_found_goes_through_the_serializer() -> None:
    class Unstorable:
        pass

    answers: list[Any] = [Unstorable(), [1, 2]]
    shop = Shop(ask=lambda order: answers[0])
    shop.die(after=True)
    with pytest.raises(IdempotencySerializationError) as raised:
        shop.pay()
    assert raised.value.result is answers[0]
    assert str(raised.value).startswith("on_takeover found the result of")
    with pytest.raises(IdempotencyResultUnavailableError):
        shop.pay()
    assert shop.charges == ["o1"]


def test_a_found_result_comes_back_as_its_model() -> None:
    @dataclass
    class Receipt:
        charge: str

    def look_up(order: str) -> Receipt:
        return Receipt(order)

    @idempotent_function(
        data_keyword_argument="order",
        persistence_store=InMemoryPersistenceLayer(),
        output_serializer=DataclassSerializer(Receipt),
        on_takeover=look_up,
    )
    def pay(order: str) -> Receipt:
        raise Died

    with pytest.raises(Died):
        pay("o1")
    assert pay("o1") == pay("o1") == Receipt("o1")


def test_a_call_from_the_question_to_its_own_key_is_no_answer() -> None:
    shop = Shop(ask=lambda order: shop.protected(order))  # noqa: PLW0108 - it is made first
    shop.die(after=True)
    with pytest.raises(IdempotencyAlreadyInProgressError):
        shop.pay()
    assert shop.charges == ["o1"]


def test_a_body_that_returns_the_answer_is_told_so() -> None:
    pay = idempotent_function(
        lambda order: NOT_DONE, data_keyword_argument="order", persistence_store=InMemoryPersistenceLayer()
    )
    with pytest.raises(IdempotencySerializationError):
        pay("o1")


SWEPT = (
    *("takeover.py", "engine.py", "releases.py", "attempt.py", "finishing.py", "settle.py", "changes.py"),
    "blocking.py",
)
"""The files of the engine in which an interrupt strikes, at each of the lines that a call executes."""


def interrupted(shop: Shop, line: int) -> bool:
    """Let an interrupt strike at a line of a call; return whether the call had so many lines."""
    seen = itertools.count(1)

    def trace(frame: Any, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.endswith(SWEPT) or "idemproof" not in frame.f_code.co_filename:
            return None
        if event == "line" and next(seen) == line:
            raise KeyboardInterrupt
        return trace

    usual = sys.gettrace()
    sys.settrace(trace)
    try:
        shop.pay()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(usual)
    return next(seen) > line


@pytest.mark.clause("INV-10", "ENG-15", "TAKE-4")
@pytest.mark.parametrize("after", [False, True], ids=["before the effect", "after the effect"])
def test_an_interrupt_at_any_line_of_a_takeover_repeats_and_loses_nothing(after: bool) -> None:
    line = 1
    while True:
        shop = Shop()
        shop.die(after=after)
        more = interrupted(shop, line)
        shop.clock.advance(LEASE)
        assert shop.pay() == "charged o1", line
        assert shop.charges == ["o1"], line
        if not more:
            break
        line += 1
    assert line > 100
