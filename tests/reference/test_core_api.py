"""The core: operations under keys that the caller names, over layers of either side."""

import asyncio
import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from four_methods import FourMethods
from idemproof import (
    Answer,
    AsyncInMemoryPersistenceLayer,
    Idempotency,
    IdempotencyConfig,
    IdempotencyWarning,
    InMemoryPersistenceLayer,
    Kind,
    Occurrence,
)
from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyConfigError,
    IdempotencyKeyError,
    IdempotencyResultUnavailableError,
    IdempotencySerializationError,
    IdempotencyValidationError,
)
from idemproof.serialization import CustomDictSerializer, DataclassSerializer
from idemproof.testing import MovableClock, in_memory, use_clock

LEASE = 30


class WithOverrides(FourMethods):
    """Called by its public methods."""

    def __init__(self) -> None:
        super().__init__()
        self.saved: list[Any] = []

    def save_success(self, data: Any, result: Any) -> None:
        self.saved.append((data, result))
        super().save_success(data, result)


class Caller:
    """Runs blocking, or on an event loop."""

    def __init__(self, layer: Any, **options: Any) -> None:
        self.asynchronous = isinstance(layer, AsyncInMemoryPersistenceLayer)
        settings = {
            name: options.pop(name)
            for name in list(options)
            if name not in ("key_prefix", "output_serializer")
        }
        config = IdempotencyConfig(**{"in_progress_expires_after_seconds": LEASE, **settings})
        self.core = Idempotency(layer, config, **options)

    def __call__(self, key: Any, body: Callable[[], Any], **options: Any) -> Answer[Any]:
        if not self.asynchronous:
            return self.core.run(key, body, **options)

        async def later() -> Any:
            await asyncio.sleep(0)
            return body()

        return asyncio.run(self.core.arun(key, later, **options))


LAYERS = [InMemoryPersistenceLayer, AsyncInMemoryPersistenceLayer, FourMethods, WithOverrides]


@pytest.fixture(params=LAYERS, ids=lambda kind: kind.__name__)
def make(request: pytest.FixtureRequest) -> Callable[..., Caller]:
    return lambda **options: Caller(request.param(), **options)


class Counted:
    def __init__(self, result: Any = "done") -> None:
        self.runs = 0
        self.result = result

    def __call__(self) -> Any:
        self.runs += 1
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


class TestAnswers:
    def test_the_first_is_run_and_repeats_are_replayed(self, make: Callable[..., Caller]) -> None:
        run, body = make(), Counted({"id": 1})
        first, second = run("order-1", body), run("order-1", body)
        assert (first.value, first.replayed, second.value, second.replayed) == (
            {"id": 1},
            False,
            {"id": 1},
            True,
        )
        assert body.runs == 1
        assert first.record is not None
        assert second.record is not None
        for record in (first.record, second.record):
            assert (record.idempotency_key, record.response_data) == ("order-1", '{"id": 1}')

    def test_what_the_body_raises_is_raised_and_frees_the_key(self, make: Callable[..., Caller]) -> None:
        run, body = make(), Counted(ValueError("declined"))
        for _ in range(2):
            with pytest.raises(ValueError, match="declined"):
                run("order-1", body)
        assert body.runs == 2

    @pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), SystemExit(2)])
    def test_an_interrupt_frees_the_key(self, make: Callable[..., Caller], interrupt: BaseException) -> None:
        run = make()
        with pytest.raises(type(interrupt)):
            run("order-1", Counted(interrupt))
        assert run("order-1", Counted()).replayed is False

    def test_a_key_inside_of_its_own_run_is_in_progress(self) -> None:
        core = Idempotency(InMemoryPersistenceLayer(), IdempotencyConfig(in_progress_expires_after_seconds=9))
        with pytest.raises(IdempotencyAlreadyInProgressError, match="'order-1'"):
            core.run("order-1", lambda: core.run("order-1", Counted()))
        outer = core.run("order-1", lambda: core.run("order-2", Counted()).value)
        assert (outer.value, outer.replayed) == ("done", False)

    def test_payload_hashes_are_compared(self, make: Callable[..., Caller]) -> None:
        run, body = make(), Counted()
        run("order-1", body, payload_hash="a")
        assert run("order-1", body, payload_hash="a").replayed
        assert run("order-1", body).replayed
        with pytest.raises(IdempotencyValidationError):
            run("order-1", body, payload_hash="b")

    def test_a_result_that_cannot_be_stored(self, make: Callable[..., Caller]) -> None:
        run, body = make(), Counted({1})
        with pytest.raises(IdempotencySerializationError) as raised:
            run("order-1", body)
        assert raised.value.result == {1}
        with pytest.raises(IdempotencyResultUnavailableError):
            run("order-1", body)
        assert body.runs == 1

    def test_a_superseded_run_is_answered_with_what_counts(self) -> None:
        clock, layer = MovableClock(), InMemoryPersistenceLayer()
        core = Idempotency(layer, IdempotencyConfig(clock=clock, in_progress_expires_after_seconds=LEASE))

        def slow() -> str:
            clock.advance(LEASE)
            assert core.run("order-1", lambda: "winner's").value == "winner's"
            return "loser's"

        answer = core.run("order-1", slow)
        assert (answer.value, answer.replayed) == ("winner's", True)

    def test_a_local_cache_and_a_hook(self) -> None:
        layer = InMemoryPersistenceLayer()
        core = Idempotency(
            layer, IdempotencyConfig(use_local_cache=True, response_hook=lambda response, _: [response])
        )
        assert core.run("order-1", Counted()).value == "done"
        layer._records.clear()
        again = core.run("order-1", Counted())
        assert (again.value, again.replayed) == (["done"], True)
        assert again.record is not None

    def test_a_serializer(self, make: Callable[..., Caller]) -> None:
        @dataclass
        class Order:
            id: int

        run = make(output_serializer=CustomDictSerializer(to_dict=vars, from_dict=lambda data: Order(**data)))
        assert [run("order-1", Counted(Order(1))).value for _ in range(2)] == [Order(1), Order(1)]
        run = make(output_serializer=DataclassSerializer(model=Order))
        assert [run("order-1", Counted(Order(1))).value for _ in range(2)] == [Order(1), Order(1)]

    def test_observers_and_tests_reach_it(self) -> None:
        seen: list[Occurrence] = []
        core = Idempotency(InMemoryPersistenceLayer(), IdempotencyConfig(observers=[seen.append]))
        clock = MovableClock()
        with in_memory() as memory, use_clock(clock):
            core.run("order-1", Counted())
            clock.advance(3601)
            assert core.run("order-1", Counted()).replayed is False
            assert len(memory) == 1
        assert [each.kind for each in seen if each.kind is not Kind.NO_LEASE] == [
            *(Kind.CLAIMED, Kind.COMPLETED),
            *(Kind.TOOK_OVER, Kind.COMPLETED),
        ]
        assert core.run("order-1", Counted()).replayed is False

    def test_switched_off_every_call_runs(self, make: Callable[..., Caller], monkeypatch: Any) -> None:
        monkeypatch.setenv("POWERTOOLS_IDEMPOTENCY_DISABLED", "true")
        run, body = make(), Counted()
        with pytest.warns(IdempotencyWarning):
            answers = [run("order-1", body) for _ in range(2)]
        assert answers == [Answer("done", replayed=False, record=None)] * 2

    def test_methods_that_are_overridden_get_the_key_as_data(self) -> None:
        layer = WithOverrides()
        Idempotency(layer, key_prefix="orders").run("order-1", Counted())
        assert layer.saved == [("order-1", "done")]
        assert list(layer.kept) == ["orders#order-1"]


class TestBodies:
    def test_async_bodies_are_refused_where_nobody_awaits_them(self) -> None:
        async def body() -> int:
            return 1

        core = Idempotency(InMemoryPersistenceLayer())
        with pytest.raises(TypeError, match="is async: await arun instead"):
            core.run("order-1", body)
        assert core.records.inspect("order-1") is None
        assert asyncio.run(core.arun("order-1", body)).value == 1

    def test_a_plain_body_runs_once_on_an_event_loop_too(self) -> None:
        core, body = Idempotency(InMemoryPersistenceLayer()), Counted()
        answers = [asyncio.run(core.arun("order-1", body)).replayed for _ in range(2)]
        assert (answers, body.runs) == ([False, True], 1)

    def test_an_async_layer_is_awaited(self) -> None:
        core = Idempotency(AsyncInMemoryPersistenceLayer())
        body = Counted()
        with pytest.raises(IdempotencyConfigError, match="is an async layer: await arun"):
            core.run("order-1", body)
        assert body.runs == 0

    @pytest.mark.parametrize("body", [5, None, "run"])
    def test_what_cannot_be_called_is_refused(self, make: Callable[..., Caller], body: Any) -> None:
        core = make().core
        with pytest.raises(TypeError, match="body must be a function"):
            asyncio.run(core.arun("order-1", body))

    def test_a_coroutine_that_a_plain_body_returns_is_named(self) -> None:
        async def pay() -> int:
            return 1

        def body() -> Any:
            return pay()

        with pytest.raises(IdempotencySerializationError, match="order-1") as raised:
            Idempotency(InMemoryPersistenceLayer()).run("order-1", body)
        raised.value.result.close()

    def test_a_cancelled_run_frees_the_key(self) -> None:
        core = Idempotency(AsyncInMemoryPersistenceLayer())

        async def main() -> Answer[str]:
            begun = asyncio.Event()

            async def body() -> str:
                begun.set()
                await asyncio.Event().wait()
                return "never"

            task = asyncio.create_task(core.arun("order-1", body))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await core.arun("order-1", finish)

        async def finish() -> str:
            return "done"

        assert asyncio.run(main()).replayed is False


class Name(enum.StrEnum):
    ORDER = "order-1"


class Loud(str):
    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()


class TestKeys:
    def test_a_text_is_stored_as_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "checkout")
        layer = InMemoryPersistenceLayer()
        core = Idempotency(layer)
        for key in ("order 1", "a#b", "Bestellung-ü", " "):
            assert core.stored_key(key) == key
            core.run(key, Counted())
            assert layer._load(key) is not None

    def test_subclasses_of_text_count_as_their_text(self) -> None:
        core = Idempotency(InMemoryPersistenceLayer())
        core.run("order-1", Counted())
        for key in (Name.ORDER, Loud("order-1")):
            assert core.run(key, Counted()).replayed
            assert type(core.stored_key(key)) is str

    @pytest.mark.clause("KEY-13")
    def test_prefix_and_service_stand_before_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        layer = InMemoryPersistenceLayer()
        assert Idempotency(layer, key_prefix="orders").stored_key("1") == "orders#1"
        named = IdempotencyConfig(service="shop")
        assert Idempotency(layer, named).stored_key("1") == "shop#1"
        assert Idempotency(layer, named, key_prefix="orders").stored_key("1") == "orders#1"
        core = Idempotency(layer)
        monkeypatch.setenv("IDEMPROOF_SERVICE", "warehouse")
        assert core.stored_key("1") == "warehouse#1"
        one, other = Idempotency(layer, named), core
        assert one.run("1", Counted("shop's")).value == "shop's"
        assert other.run("1", Counted("warehouse's")).value == "warehouse's"

    @pytest.mark.parametrize("key", [1, None, b"order", ("a",), 1.5, True, "", "\ud800"])
    def test_what_is_no_text_is_refused_by_name(self, make: Callable[..., Caller], key: Any) -> None:
        run, body = make(), Counted()
        with pytest.raises(IdempotencyKeyError, match="Nothing ran"):
            run(key, body)
        with pytest.raises(IdempotencyKeyError):
            run.core.records.inspect(key)
        assert body.runs == 0

    @pytest.mark.parametrize("payload_hash", [5, b"a"])
    def test_what_is_no_hash_is_refused(self, make: Callable[..., Caller], payload_hash: Any) -> None:
        body = Counted()
        with pytest.raises(TypeError, match="payload_hash must be a text"):
            make()("order-1", body, payload_hash=payload_hash)
        assert body.runs == 0


class TestConstruction:
    @pytest.mark.parametrize("name", ["event_key_jmespath", "payload_validation_jmespath"])
    def test_expressions_are_refused(self, name: str) -> None:
        with pytest.raises(IdempotencyConfigError, match=f"{name}='id' selects from a payload"):
            Idempotency(InMemoryPersistenceLayer(), IdempotencyConfig(**{name: "id"}))

    @pytest.mark.parametrize(
        "arguments", [(InMemoryPersistenceLayer,), (None,), (InMemoryPersistenceLayer(), {})]
    )
    def test_what_is_no_layer_or_configuration_is_refused(self, arguments: Any) -> None:
        with pytest.raises(TypeError):
            Idempotency(*arguments)

    @pytest.mark.parametrize("prefix", ["", 5])
    def test_a_prefix_is_a_text(self, prefix: Any) -> None:
        with pytest.raises(IdempotencyConfigError, match="key_prefix"):
            Idempotency(InMemoryPersistenceLayer(), key_prefix=prefix)

    def test_a_serializer_is_an_instance(self) -> None:
        wrong: Any = DataclassSerializer
        with pytest.raises(TypeError, match="must be an instance of a serializer"):
            Idempotency(InMemoryPersistenceLayer(), output_serializer=wrong)
