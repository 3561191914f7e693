"""Functions that can be decorated, and how they are called: arguments, kinds of function, refusals."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from unittest.mock import Mock

import aws_lambda_powertools.utilities.idempotency as original
import celery
import pytest

from idemproof import (
    AsyncInMemoryPersistenceLayer,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    idempotent,
    idempotent_function,
)
from idemproof.errors import IdempotencyConfigError

PREFIX = f"test-func.{__name__}."


class Untouchable(InMemoryPersistenceLayer):
    """Fails the test that asks it for anything."""

    def _load(self, key: str) -> Any:
        raise AssertionError(f"asked for {key}")

    def _swap(self, key: str, *_: Any) -> Any:
        raise AssertionError(f"asked for {key}")


@pytest.fixture
def layer() -> InMemoryPersistenceLayer:
    return InMemoryPersistenceLayer()


@pytest.fixture
def protect(layer: InMemoryPersistenceLayer) -> Callable[..., Any]:
    """`idempotent_function` on ``data``, over one layer."""
    return functools.partial(idempotent_function, data_keyword_argument="data", persistence_store=layer)


def once_each(protected: Callable[..., Any], runs: list[Any], *calls: tuple[tuple[Any, ...], Any]) -> None:
    """Make all calls twice, and check that calls of one operation run once."""
    answers = [protected(*args, **kwargs) for args, kwargs in calls]
    assert [protected(*args, **kwargs) for args, kwargs in calls] == answers
    assert len(runs) == 1


# Where the payload is.


def test_keyword_position_and_default_are_the_same_call(protect: Callable[..., Any]) -> None:
    runs = []

    @protect
    def pay(tenant: str, data: Any = 7, *, note: str = "") -> int:
        runs.append(data)
        return len(runs)

    once_each(
        pay, runs, (("t",), {}), (("t", 7), {}), (("t",), {"data": 7}), ((), {"data": 7, "tenant": "u"})
    )
    assert pay("t", 8) == 2


def test_a_keyword_only_argument_and_its_default(protect: Callable[..., Any]) -> None:
    runs = []

    @protect
    def pay(*others: str, data: int = 7) -> int:
        runs.append(data)
        return len(runs)

    once_each(pay, runs, (("a", "b"), {}), ((), {"data": 7}))


def test_a_positional_only_argument_is_not_confused_with_others_of_its_name(
    protect: Callable[..., Any],
) -> None:
    @protect
    def pay(data: int, /, **others: int) -> tuple[int, int]:
        return data, others["data"]

    assert pay(1, data=9) == [1, 9]
    assert pay(2, data=9) == [2, 9]
    assert pay(1, data=8) == [1, 9]


def test_the_payload_may_be_one_of_any_keywords(protect: Callable[..., Any]) -> None:
    runs = []

    @protect
    def pay(**fields: Any) -> int:
        runs.append(fields)
        return len(runs)

    once_each(pay, runs, ((), {"data": 1, "note": "a"}), ((), {"data": 1, "note": "b"}))
    with pytest.raises(TypeError, match="without 'data'"):
        pay(note="a")


@pytest.mark.parametrize("name", ["dta", "", "others", "self"])
def test_a_misspelt_argument_is_refused_at_decoration(layer: InMemoryPersistenceLayer, name: str) -> None:
    def pay(tenant: str, data: int, *others: int) -> None: ...

    with pytest.raises(TypeError, match=rf"no parameter '{name}'.*tenant, data, others"):
        idempotent_function(pay, data_keyword_argument=name, persistence_store=layer)


def test_a_call_without_the_payload_is_a_type_error_before_anything_ran() -> None:
    def pay(tenant: str, data: int) -> None:
        raise AssertionError("it ran")

    protected: Any = idempotent_function(pay, data_keyword_argument="data", persistence_store=Untouchable())
    with pytest.raises(TypeError, match=r"pay\(\) was called without 'data'"):
        protected("tenant")


def test_a_handler_called_without_its_context_does_not_run() -> None:
    protected: Any = idempotent(lambda event, context: event, persistence_store=Untouchable())
    with pytest.raises(TypeError, match="was called without 'context'"):
        protected({"id": 1})


# Kinds of function.


def test_methods_share_a_key_across_instances(protect: Callable[..., Any]) -> None:
    runs = []

    class Shop:
        @protect
        def pay(self, data: int) -> int:
            runs.append(self)
            return len(runs)

    once_each(Shop().pay, runs, ((1,), {}), ((), {"data": 1}))
    once_each(Shop().pay, runs, ((1,), {}))


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
@pytest.mark.parametrize("above", [True, False], ids=["above", "below"])
def test_static_and_class_methods_on_either_side_of_the_decorator(
    protect: Callable[..., Any], kind: Any, above: bool
) -> None:
    runs = []

    def static(data: int) -> int:
        runs.append(data)
        return len(runs)

    def of_class(cls: type, data: int) -> int:
        assert isinstance(cls, type)
        return static(data)

    function = static if kind is staticmethod else of_class
    shop: Any = type("Shop", (), {"pay": protect(kind(function)) if above else kind(protect(function))})
    once_each(shop.pay, runs, ((1,), {}), ((), {"data": 1}))
    once_each(shop().pay, runs, ((1,), {}))
    assert shop.pay(2) == 2


def test_partials_fill_in_arguments_before_and_at_the_payload(protect: Callable[..., Any]) -> None:
    runs = []

    def pay(tenant: str, data: int) -> int:
        runs.append((tenant, data))
        return len(runs)

    once_each(protect(functools.partial(pay, "t")), runs, ((1,), {}), ((), {"data": 1}))
    fixed = protect(functools.partial(pay, data=5), key_prefix="fixed")
    assert fixed("t") == fixed("t", data=5) == 2
    assert fixed("t", data=6) == 3


class Payer:
    """A callable object, and a method to bind."""

    def __init__(self) -> None:
        self.runs: list[int] = []

    def __call__(self, data: int) -> int:
        self.runs.append(data)
        return len(self.runs)

    def pay(self, data: int) -> int:
        return self(data)


def test_callable_objects_bound_methods_lambdas_and_mocks(protect: Callable[..., Any]) -> None:
    for choose in (lambda payer: payer, lambda payer: payer.pay, lambda payer: lambda data: payer(data=data)):
        payer = Payer()
        once_each(protect(choose(payer)), payer.runs, ((1,), {}), ((), {"data": 1}))
    mock = Mock(return_value="paid")
    assert protect(mock, key_prefix="mock")(data=1) == protect(mock, key_prefix="mock")(data=1) == "paid"
    mock.assert_called_once_with(data=1)


def test_async_callables_of_all_kinds_stay_async(protect: Callable[..., Any]) -> None:
    runs = []

    class AsyncPayer:
        async def __call__(self, data: int) -> int:
            runs.append(data)
            return len(runs)

        async def pay(self, data: int) -> int:
            return await self(data)

    async def pay(tenant: str, data: int) -> int:
        return await AsyncPayer()(data)

    for number, function in enumerate((AsyncPayer(), AsyncPayer().pay, functools.partial(pay, "t")), 1):
        protected = protect(function, key_prefix=f"kind {number}")
        assert inspect.iscoroutinefunction(protected)
        assert asyncio.run(protected(1)) == asyncio.run(protected(data=1)) == number == len(runs)


def test_the_wrapper_looks_like_the_function(protect: Callable[..., Any]) -> None:
    def pay(data: int, note: str = "") -> str:
        """Pay."""
        return f"{data}{note}"

    async def pay_async(data: int, note: str = "") -> str:
        """Pay, later."""
        return f"{data}{note}"

    for function in (pay, pay_async):
        protected = protect(function)
        assert protected.__wrapped__ is function
        assert inspect.signature(protected) == inspect.signature(function)
        for name in ("__name__", "__qualname__", "__doc__", "__module__", "__annotations__"):
            assert getattr(protected, name) == getattr(function, name)


# Refusals.


def generator(data: int) -> Iterator[int]:
    yield data


async def async_generator(data: int) -> AsyncIterator[int]:
    yield data


class GeneratorObject:
    def __call__(self, data: int) -> Iterator[int]:
        yield data


@pytest.mark.parametrize(
    "function",
    [
        generator,
        async_generator,
        functools.partial(generator, 1),
        functools.partial(functools.partial(async_generator)),
        GeneratorObject(),
        functools.partial(GeneratorObject()),
        staticmethod(generator),
        classmethod(async_generator),
    ],
)
def test_generators_are_refused_at_decoration(protect: Callable[..., Any], function: Any) -> None:
    with pytest.raises(TypeError, match="is a generator"):
        protect(function)
    with pytest.raises(TypeError, match="is a generator"):
        idempotent(function, persistence_store=InMemoryPersistenceLayer())


class Task:
    """As Celery's: called it runs here, sent it runs in a worker."""

    def __call__(self, data: str) -> str:
        return data

    def apply_async(self, *_: object) -> None:
        raise AssertionError("sent")


@pytest.mark.parametrize("eager", [True, False], ids=["made", "not yet made"])
def test_a_task_of_a_queue_is_refused_and_its_function_is_not(
    protect: Callable[..., Any], eager: bool
) -> None:
    app = celery.Celery("tasks", set_as_current=False)

    def work(data: str) -> str:
        return data

    made = app.task(work, lazy=not eager)
    for task in (made, functools.partial(made), Task()):
        with pytest.raises(TypeError, match="is a task of a queue"):
            protect(task)
        with pytest.raises(TypeError, match="is a task of a queue"):
            idempotent(task, persistence_store=InMemoryPersistenceLayer())
    assert app.task(protect(work), name="other")(data="now") == "now"


@pytest.mark.parametrize("thing", [Payer, 5, "pay", functools.partialmethod(generator), property(generator)])
def test_what_is_no_function_is_refused(protect: Callable[..., Any], thing: Any) -> None:
    with pytest.raises(TypeError, match="Only functions can be made idempotent"):
        protect(thing)


def test_a_builtin_that_hides_its_parameters_is_refused(protect: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="iter has no readable signature"):
        protect(iter)
    with pytest.raises(TypeError, match="iter has no readable signature"):
        idempotent(iter, persistence_store=InMemoryPersistenceLayer())


def test_an_async_layer_under_a_plain_function_is_refused_at_decoration() -> None:
    for kind in (lambda function: function, staticmethod, classmethod):
        with pytest.raises(TypeError, match="pay is a plain function, and AsyncInMemoryPersistenceLayer"):
            idempotent_function(
                kind(Payer.pay),
                data_keyword_argument="data",
                persistence_store=AsyncInMemoryPersistenceLayer(),
            )


@pytest.mark.parametrize(
    "decorator", [idempotent, functools.partial(idempotent_function, data_keyword_argument="x")]
)
def test_what_belongs_to_the_original_is_refused_with_a_hint(decorator: Any) -> None:
    layer = InMemoryPersistenceLayer()
    with pytest.raises(TypeError, match=r"config must be .* Import it from idemproof"):
        decorator(persistence_store=layer, config=original.IdempotencyConfig())
    with pytest.raises(TypeError, match=r"config must be .*IdempotencyConfig, not \{\}"):
        decorator(persistence_store=layer, config={})
    with pytest.raises(TypeError, match=r"config must be .* Pass an instance, not the class"):
        decorator(persistence_store=layer, config=IdempotencyConfig)
    with pytest.raises(TypeError, match=r"persistence_store must be .* Import it from idemproof"):
        decorator(persistence_store=original.DynamoDBPersistenceLayer("a-table", boto3_client=object()))


@pytest.mark.parametrize(
    "decorator", [idempotent, functools.partial(idempotent_function, data_keyword_argument="x")]
)
def test_a_layer_must_be_an_instance(decorator: Any) -> None:
    with pytest.raises(TypeError, match="Pass an instance, not the class"):
        decorator(persistence_store=InMemoryPersistenceLayer)
    with pytest.raises(TypeError, match="must be a persistence layer, not None"):
        decorator(persistence_store=None)
    with pytest.raises(TypeError, match="persistence_store"):
        decorator(lambda x: x)


# Names of keys, and both ways to write the decorator.


def keys(layer: InMemoryPersistenceLayer) -> list[str]:
    return [key.partition("#")[0] for key in layer._records]


@pytest.mark.parametrize("bad", ["", 5, b"x"])
def test_a_bad_key_prefix_is_refused_at_decoration(protect: Callable[..., Any], bad: Any) -> None:
    with pytest.raises(IdempotencyConfigError, match="key_prefix"):
        protect(key_prefix=bad)
    with pytest.raises(IdempotencyConfigError, match="key_prefix"):
        idempotent(persistence_store=InMemoryPersistenceLayer(), key_prefix=bad)


def test_a_key_prefix_survives_renaming(protect: Callable[..., Any], layer: InMemoryPersistenceLayer) -> None:
    @protect(key_prefix="payments")
    def pay(data: int) -> str:
        return "old"

    @protect(key_prefix="payments")
    def settle(data: int) -> str:
        raise AssertionError("it ran again")

    assert pay(1) == settle(1) == "old"
    assert keys(layer) == ["payments"]


@pytest.mark.parametrize("bare", [True, False], ids=["called at once", "as a factory"])
def test_both_decorators_both_ways(layer: InMemoryPersistenceLayer, bare: bool) -> None:
    def pay(data: int) -> str:
        return "paid"

    def handler(event: Any, context: Any) -> str:
        return "handled"

    settings: dict[str, Any] = {"persistence_store": layer, "config": IdempotencyConfig()}
    of_data = settings | {"data_keyword_argument": "data"}
    pay = idempotent_function(pay, **of_data) if bare else idempotent_function(**of_data)(pay)
    handler = idempotent(handler, **settings) if bare else idempotent(**settings)(handler)
    assert (pay(1), handler({"id": 1}, None), handler({"id": 1}, None)) == ("paid", "handled", "handled")
    scope = f"{PREFIX}test_both_decorators_both_ways.<locals>"
    assert keys(layer) == [f"{scope}.pay", f"{scope}.handler"]


@pytest.mark.parametrize(
    ("handler", "order"),
    [
        (lambda event, context: context.done(event), (0, 1)),
        (lambda first, second=None: second.done(first), (0, 1)),
        (lambda context, event: context.done(event), (1, 0)),
        (lambda self, order, of: of.done(order), (2, 0, 1)),
    ],
)
def test_a_handler_s_event_is_found_by_name_or_place(
    layer: InMemoryPersistenceLayer, handler: Any, order: tuple[int, ...]
) -> None:
    runs: list[Any] = []

    class Context:
        def done(self, event: Any) -> Any:
            runs.append(event)
            return event["id"]

    protected = idempotent(handler, persistence_store=layer, key_prefix="handler")
    for number in (1, 1, 2, 2):
        arguments = ({"id": number}, Context(), "self")
        assert protected(*(arguments[place] for place in order)) == number
    assert runs == [{"id": 1}, {"id": 2}]


def test_a_handler_takes_an_event_and_need_not_take_a_context(layer: InMemoryPersistenceLayer) -> None:
    payer = Payer()
    handler = idempotent(payer, persistence_store=layer)
    assert handler({"id": 1}) == handler({"id": 1}) == len(payer.runs) == 1
    with pytest.raises(TypeError, match="takes no event"):
        idempotent(lambda *, event: event, persistence_store=layer)
