"""Answers to callers: results, replays, and the results of the response hook."""

import datetime as dt
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pydantic
import pytest

from idemproof import DataRecord, InMemoryPersistenceLayer, idempotent_function
from idemproof.errors import IdempotencyResultUnavailableError, IdempotencySerializationError
from idemproof.serialization import CustomDictSerializer, DataclassSerializer, PydanticSerializer
from protection import Counter, Protection


def exact(value: Any) -> Any:
    """Tell types apart that are equal, such as 0 and False."""
    if isinstance(value, dict):
        return {key: exact(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [exact(inner) for inner in value]
    return type(value), repr(value)


@pytest.mark.parametrize("result", [None, {}, [], 0, 0.0, False, "", True, 1, "text", {"a": [None]}])
def test_results_replay_as_they_were(protect: Protection, result: Any) -> None:
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
    protect: Protection, result: Any, answer: Any
) -> None:
    pay = protect(Counter(result))
    assert exact(pay(1)) == exact(pay(1)) == exact(answer)


def test_what_a_caller_does_to_an_answer_harms_no_other(protect: Protection) -> None:
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
    protect: Protection, result: Any, serializer: Any
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


def test_a_result_that_cannot_be_stored_is_reported_once_and_never_made_again(protect: Protection) -> None:
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


def test_a_serializer_that_fails_is_like_a_result_that_cannot_be_stored(protect: Protection) -> None:
    pay = protect(Counter(5), DataclassSerializer(Order))
    with pytest.raises(IdempotencySerializationError) as first:
        pay(1)
    assert first.value.result == 5
    with pytest.raises(IdempotencyResultUnavailableError):
        pay(1)


def test_a_stored_result_that_no_longer_fits_is_reported_and_nothing_runs(protect: Protection) -> None:
    protect(Counter("old"))(1)
    function = Counter("new")
    with pytest.raises(IdempotencySerializationError, match="does not fit its serializer"):
        protect(function, CustomDictSerializer(str, int))(1)
    assert function.runs == 0


# The hook.


def test_the_hook_sees_replays_only_and_has_the_last_word(protect: Protection) -> None:
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


def test_the_hook_s_own_exception_and_empty_answers_reach_the_caller(protect: Protection) -> None:
    def broken(response: Any, idempotent_data: DataRecord) -> Any:
        raise LookupError("hook")

    function = Counter(None)
    assert protect(function, response_hook=broken)(1) is None
    with pytest.raises(LookupError, match="hook"):
        protect(function, response_hook=broken)(1)
    assert protect(function, response_hook=lambda response, _: [response])(1) == [None]
    assert protect(Counter(5), response_hook=lambda *_: None)(1) is None
    assert function.runs == 1
