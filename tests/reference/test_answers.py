"""What callers are told: results, replays, hooks, exceptions of the body, payloads that make no key."""

import asyncio
import datetime as dt
import functools
import gc
import inspect
import traceback
import weakref
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, Protocol

import pydantic
import pytest

from idemproof import DataRecord, IdempotencyConfig, InMemoryPersistenceLayer, idempotent, idempotent_function
from idemproof import errors as idempotency_errors
from idemproof.errors import (
    IdempotencyKeyError,
    IdempotencyResultUnavailableError,
    IdempotencySerializationError,
    IdempotencyValidationError,
)
from idemproof.reference.config import IdempotencyWarning
from idemproof.serialization import CustomDictSerializer, DataclassSerializer, PydanticSerializer


class Protect(Protocol):
    def __call__(self, function: Callable[..., Any], **settings: Any) -> Callable[..., Any]: ...


@pytest.fixture
def layer() -> InMemoryPersistenceLayer:
    return InMemoryPersistenceLayer()


@pytest.fixture(params=["def", "async def"])
def protect(layer: InMemoryPersistenceLayer, request: pytest.FixtureRequest) -> Protect:
    """Protect a plain function as it is, or as the body of an ``async def``; either is called plainly."""

    def plain(function: Callable[..., Any], serializer: Any = None, **settings: Any) -> Callable[..., Any]:
        return idempotent_function(
            function,
            data_keyword_argument="data",
            persistence_store=layer,
            output_serializer=serializer,
            config=IdempotencyConfig(**settings),
        )

    def through_a_coroutine(
        function: Callable[..., Any], serializer: Any = None, **settings: Any
    ) -> Callable[..., Any]:
        @functools.wraps(function)
        async def body(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        # The wrapper passes its arguments on as they are.
        body.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
        protected = plain(body, serializer, **settings)
        return lambda *args, **kwargs: run(protected(*args, **kwargs))

    return plain if request.param == "def" else through_a_coroutine


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end without a loop of its own: nothing in memory ever waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waited")


class Counter:
    """Returns what it is told, and counts."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.runs = 0

    def __call__(self, data: Any) -> Any:
        self.runs += 1
        return self.result


# Results and replays.


def exact(value: Any) -> Any:
    """Tell types apart that are equal, such as 0 and False."""
    if isinstance(value, dict):
        return {key: exact(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [exact(inner) for inner in value]
    return type(value), repr(value)


@pytest.mark.parametrize("result", [None, {}, [], 0, 0.0, False, "", True, 1, "text", {"a": [None]}])
def test_results_replay_as_they_were(protect: Protect, result: Any) -> None:
    function = Counter(result)
    pay = protect(function)
    assert exact(pay(1)) == exact(pay(1)) == exact(result)
    assert function.runs == 1


@pytest.mark.parametrize(
    ("result", "answer"),
    [
        ((1, (2,)), [1, [2]]),
        ({1: "a", 2: "b"}, {"1": "a", "2": "b"}),
        (Decimal("1.10"), "1.10"),
        ({"at": ("x",)}, {"at": ["x"]}),
    ],
)
def test_without_a_serializer_all_callers_get_the_same_plain_types(
    protect: Protect, result: Any, answer: Any
) -> None:
    pay = protect(Counter(result))
    assert exact(pay(1)) == exact(pay(1)) == exact(answer)


def test_what_a_caller_does_to_an_answer_harms_no_other(protect: Protect) -> None:
    pay = protect(Counter({"items": [1]}), use_local_cache=True)
    for _ in range(3):
        answer = pay(1)
        assert answer == {"items": [1]}
        answer["items"].append(2)
        answer["more"] = True


@dataclass
class Line:
    price: Decimal
    at: dt.date


@dataclass
class Order:
    lines: tuple[Line, ...]
    notes: dict[str, Line] = field(default_factory=dict)


class Model(pydantic.BaseModel):
    price: Decimal
    at: dt.date


LINE = Line(Decimal("1.10"), dt.date(2024, 2, 29))


@pytest.mark.parametrize(
    ("result", "serializer"),
    [
        (Order((LINE, LINE), {"a": LINE}), DataclassSerializer(Order)),
        (Model(price=Decimal("1.10"), at=LINE.at), PydanticSerializer(Model)),
        ({1, 2}, CustomDictSerializer(sorted, set)),
        (None, DataclassSerializer(Order)),
        (0, CustomDictSerializer(str, int)),
    ],
)
def test_with_a_serializer_a_replay_is_equal_and_of_the_same_type(
    protect: Protect, result: Any, serializer: Any
) -> None:
    function = Counter(result)
    pay = protect(function, serializer)
    assert exact(pay(1)) == exact(pay(1)) == exact(result)
    assert pay(1) == result
    assert function.runs == 1


def test_a_serializer_class_takes_its_model_from_the_annotation(layer: InMemoryPersistenceLayer) -> None:
    def pay(data: int) -> Order:
        return Order((LINE,))

    protected = idempotent_function(
        pay, data_keyword_argument="data", persistence_store=layer, output_serializer=DataclassSerializer
    )
    assert protected(1) == protected(1) == Order((LINE,))


def test_a_result_that_cannot_be_stored_is_told_once_and_never_made_again(protect: Protect) -> None:
    thing = object()
    function = Counter(thing)
    pay = protect(function, use_local_cache=True)
    with pytest.raises(IdempotencySerializationError, match="will not run again") as first:
        pay(1)
    assert first.value.result is thing
    for _ in range(2):
        with pytest.raises(IdempotencyResultUnavailableError):
            pay(1)
    assert function.runs == 1


def test_a_serializer_that_fails_is_like_a_result_that_cannot_be_stored(protect: Protect) -> None:
    pay = protect(Counter(5), DataclassSerializer(Order))
    with pytest.raises(IdempotencySerializationError) as first:
        pay(1)
    assert first.value.result == 5
    with pytest.raises(IdempotencyResultUnavailableError):
        pay(1)


def test_a_stored_result_that_no_longer_fits_is_told_and_nothing_runs(protect: Protect) -> None:
    protect(Counter("old"))(1)
    function = Counter("new")
    with pytest.raises(IdempotencySerializationError, match="does not fit its serializer"):
        protect(function, CustomDictSerializer(str, int))(1)
    assert function.runs == 0


# The hook.


def test_the_hook_sees_replays_only_and_has_the_last_word(protect: Protect) -> None:
    seen: list[Any] = []
    now = 1_700_000_000_000

    def hook(response: Any, idempotent_data: DataRecord) -> Any:
        seen.append((response, type(idempotent_data), idempotent_data.get_expiration_datetime()))
        return response, "seen before"

    pay = protect(
        Counter(Order((LINE,))),
        DataclassSerializer(Order),
        response_hook=hook,
        clock=lambda: now,
        expires_after_seconds=60,
    )
    assert pay(1) == Order((LINE,))
    assert seen == []
    assert pay(1) == (Order((LINE,)), "seen before")
    expiry = dt.datetime.fromtimestamp(now / 1000 + 60)  # noqa: DTZ006 - documented as naive
    assert seen == [(Order((LINE,)), DataRecord, expiry)]


def test_the_hook_s_own_exception_and_empty_answers_reach_the_caller(protect: Protect) -> None:
    def broken(response: Any, idempotent_data: DataRecord) -> Any:
        raise LookupError("hook")

    function = Counter(None)
    assert protect(function, response_hook=broken)(1) is None
    with pytest.raises(LookupError, match="hook"):
        protect(function, response_hook=broken)(1)
    assert protect(function, response_hook=lambda response, _: [response])(1) == [None]
    assert protect(Counter(5), response_hook=lambda *_: None)(1) is None
    assert function.runs == 1


# Exceptions of the body.

IDEMPOTENCY_ERRORS = [getattr(idempotency_errors, name) for name in idempotency_errors.__all__]


@pytest.mark.parametrize(
    "kind",
    [
        ValueError,
        KeyboardInterrupt,
        SystemExit,
        asyncio.CancelledError,
        StopAsyncIteration,
        *IDEMPOTENCY_ERRORS,
    ],
)
def test_the_body_s_exception_arrives_unchanged_and_frees_the_key(
    protect: Protect,
    layer: InMemoryPersistenceLayer,
    kind: type[BaseException],
    request: pytest.FixtureRequest,
) -> None:
    error = kind("of the body")
    runs = []

    def the_body_itself(data: int) -> str:
        runs.append(data)
        if len(runs) == 1:
            raise error
        return "second"

    pay = protect(the_body_itself)
    with pytest.raises(kind) as caught:
        pay(1)
    assert caught.value is error
    assert error.__cause__ is error.__context__ is None
    assert traceback.extract_tb(error.__traceback__)[-1].name == "the_body_itself"
    assert len(layer) == 0
    assert pay(1) == pay(1) == "second"
    assert len(runs) == 2


def test_a_body_may_raise_even_stop_iteration(layer: InMemoryPersistenceLayer) -> None:
    error = StopIteration("of the body")

    def pay(data: int) -> None:
        raise error

    protected = idempotent_function(pay, data_keyword_argument="data", persistence_store=layer)
    with pytest.raises(StopIteration) as caught:
        protected(1)
    assert caught.value is error
    assert len(layer) == 0


def test_a_failed_call_keeps_nothing_alive(protect: Protect) -> None:
    class Precious:
        pass

    kept: list[weakref.ref[Precious]] = []

    def body(data: int) -> None:
        precious = Precious()
        kept.append(weakref.ref(precious))
        raise ValueError(data)

    pay = protect(body)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ValueError, match="1"):
            pay(1)
        assert kept[0]() is None
    finally:
        gc.enable()


# Payloads.


@dataclass
class Charge:
    id: str
    note: str = ""


class ChargeModel(pydantic.BaseModel):
    id: str
    note: str = ""


def of_event(id: str, note: str = "") -> SimpleNamespace:  # noqa: A002 - a field's name
    return SimpleNamespace(raw_event={"id": id, "note": note})


@pytest.mark.parametrize("make", [Charge, ChargeModel, of_event, lambda **fields: fields])
def test_payloads_of_all_kinds_are_searched_and_compared(protect: Protect, make: Callable[..., Any]) -> None:
    function = Counter("paid")
    pay = protect(function, event_key_jmespath="id", payload_validation_jmespath="note")
    assert pay(make(id="a", note="x")) == pay(make(id="a", note="x")) == "paid"
    with pytest.raises(IdempotencyValidationError):
        pay(make(id="a", note="other"))
    assert function.runs == 1
    pay(make(id="b", note="other"))
    assert function.runs == 2


def test_without_a_key_a_call_runs_unprotected_with_a_warning(
    protect: Protect, layer: InMemoryPersistenceLayer
) -> None:
    function = Counter((1,))
    pay = protect(function, event_key_jmespath="id")
    for number in (1, 2):
        with pytest.warns(IdempotencyWarning, match="runs without idempotency") as caught:
            assert pay({"other": 1}) == (1,)
        assert function.runs == number
        assert [warning.filename for warning in caught] == [__file__]
    assert len(layer) == 0


@pytest.mark.parametrize(
    ("settings", "payload"),
    [
        ({"event_key_jmespath": "id", "raise_on_no_idempotency_key": True}, {"other": 1}),
        ({"event_key_jmespath": "powertools_json(body).id"}, {"body": "{not json"}),
        ({"payload_validation_jmespath": "powertools_json(body)"}, {"body": "{not json"}),
        ({}, {1: "a", "b": 2}),
        ({}, {"a": object()}),
    ],
)
def test_what_makes_no_key_is_a_key_error_and_nothing_runs(
    protect: Protect, layer: InMemoryPersistenceLayer, settings: dict[str, Any], payload: Any
) -> None:
    function = Counter("paid")
    with pytest.raises(IdempotencyKeyError):
        protect(function, **settings)(payload)
    assert (function.runs, len(layer)) == (0, 0)


def test_handlers_answer_repeats_of_an_event(layer: InMemoryPersistenceLayer) -> None:
    function = Counter({"statusCode": 200})

    @idempotent(
        persistence_store=layer, config=IdempotencyConfig(event_key_jmespath="powertools_json(body).id")
    )
    def handler(event: dict[str, Any], context: Any) -> Any:
        return function(event)

    for body in ('{"id": 1}', '{"id": 1, "retry": true}'):
        assert handler({"body": body}, None) == {"statusCode": 200}
    assert function.runs == 1
