"""The return annotation names the serializer's model, even if annotations are strings."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Optional, Union

import pydantic
import pytest

from idemproof.errors import IdempotencyModelTypeError, IdempotencyNoSerializationModelError
from idemproof.reference.serialization import resolve_serializer
from idemproof.serialization import (
    BaseIdempotencyModelSerializer,
    CustomDictSerializer,
    DataclassSerializer,
    PydanticSerializer,
)

if TYPE_CHECKING:
    from nowhere import OnlyForTypeCheckers


@dataclass
class Order:
    total: Decimal


class Model(pydantic.BaseModel):
    total: Decimal


def plain() -> Order: ...


def or_none() -> Order | None: ...


def optional() -> Optional[Order]: ...  # noqa: UP045 - the old spelling is supported


def union() -> Union[Order, None]: ...  # noqa: UP007 - the old spelling is supported


def quoted() -> "Order": ...  # noqa: UP037 - doubly a string


def annotated() -> Annotated[Order, "kept"]: ...


async def asynchronous() -> Order: ...


def with_an_unresolvable_argument(order: OnlyForTypeCheckers) -> Order: ...


@functools.wraps(plain)
def wrapper(*args: Any, **kwargs: Any) -> int:
    return plain(*args, **kwargs)


class Service:
    def method(self) -> Order: ...

    @staticmethod
    def static() -> Order: ...

    @classmethod
    def by_class(cls) -> Order: ...

    def __call__(self) -> Order: ...


ANNOTATED = [
    plain,
    or_none,
    optional,
    union,
    quoted,
    annotated,
    asynchronous,
    with_an_unresolvable_argument,
    wrapper,
    functools.partial(plain),
    functools.partial(functools.partial(plain)),
    functools.lru_cache(plain),
    Service.method,
    Service().method,
    Service.static,
    vars(Service)["static"],
    Service.by_class,
    vars(Service)["by_class"],
    Service(),
    functools.partial(Service()),
]


@pytest.mark.parametrize("function", ANNOTATED, ids=[str(n) for n in range(len(ANNOTATED))])
def test_the_model_comes_from_the_return_annotation(function: Any) -> None:
    serializer = resolve_serializer(DataclassSerializer, function)
    assert serializer.from_dict({"total": "1.50"}) == Order(Decimal("1.50"))


def test_a_pydantic_model_comes_from_the_return_annotation() -> None:
    def local() -> Model | None: ...

    serializer = resolve_serializer(PydanticSerializer, local)
    assert serializer.from_dict({"total": "1.50"}) == Model(total=Decimal("1.50"))


def test_classes_defined_in_a_function_are_found() -> None:
    @dataclass
    class Line:
        price: Decimal

    @dataclass
    class Basket:
        lines: list[Line]
        next: Basket | None = None

    def local() -> Basket: ...

    result = Basket([Line(Decimal(1))], Basket([]))
    serializer = resolve_serializer(DataclassSerializer, local)
    assert serializer.from_dict(serializer.to_dict(result)) == result
    assert DataclassSerializer(Basket).from_dict(serializer.to_dict(result)) == result


def test_a_local_class_hides_a_global_one_of_the_same_name() -> None:
    @dataclass
    class Order:
        count: int

    def local() -> Order: ...

    assert resolve_serializer(DataclassSerializer, local).from_dict({"count": 1}) == Order(1)


def _local_function() -> Any:
    def local() -> Order: ...

    return local


def test_names_of_unrelated_callers_are_not_used() -> None:
    Order = int  # noqa: N806, F841 - stands in the way of nothing

    assert resolve_serializer(DataclassSerializer, _local_function()).from_dict({"total": "1"}).total == 1
    assert resolve_serializer(DataclassSerializer, plain).from_dict({"total": "1"}).total == Decimal(1)


def _made_elsewhere() -> Any:
    @dataclass
    class Kept:
        total: Decimal
        next: Kept | None = None

    def local() -> Kept:
        return Kept(Decimal(5))

    return local


def test_closure_variables_are_found_when_the_defining_function_has_returned() -> None:
    function = _made_elsewhere()
    serializer = resolve_serializer(DataclassSerializer, function)
    assert serializer.from_dict({"total": "5", "next": {"total": "5"}}).next == function()


def _wraps_what_was_made_elsewhere() -> Any:
    @functools.wraps(_made_elsewhere())
    def wrapping(*args: Any, **kwargs: Any) -> None: ...

    return wrapping


def test_the_closure_of_a_wrapped_function_is_found() -> None:
    serializer = resolve_serializer(DataclassSerializer, _wraps_what_was_made_elsewhere())
    assert serializer.from_dict({"total": "5"}).total == Decimal(5)


class Outer:
    @dataclass
    class Inner:
        total: Decimal

    @dataclass
    class Holder:
        inner: Outer.Inner

    def method(self) -> Outer.Inner: ...


def test_classes_inside_classes_are_found() -> None:
    assert resolve_serializer(DataclassSerializer, Outer().method).from_dict({"total": "1"}) == Outer.Inner(
        Decimal(1)
    )
    assert DataclassSerializer(Outer.Holder).from_dict({"inner": {"total": "1"}}).inner.total == Decimal(1)


def test_the_class_body_that_is_being_defined_is_seen() -> None:
    found = []

    class Body:
        @dataclass
        class Answer:
            total: Decimal

        def method(self) -> Answer: ...

        found.append(resolve_serializer(DataclassSerializer, method))

    assert found[0].from_dict({"total": "1"}) == Body.Answer(Decimal(1))


def no_annotation(): ...  # noqa: ANN201 - on purpose


def returns_none() -> None: ...


def misspelt() -> Odrer: ...  # noqa: F821 - on purpose


def only_for_type_checkers() -> OnlyForTypeCheckers: ...


def no_expression() -> "not an annotation": ...  # noqa: F722 - on purpose


MODELLESS = [no_annotation, returns_none, misspelt, only_for_type_checkers, no_expression, print, len]


@pytest.mark.parametrize("serializer", [DataclassSerializer, PydanticSerializer])
@pytest.mark.parametrize("function", MODELLESS, ids=lambda function: function.__name__)
def test_a_missing_or_unresolvable_annotation_is_refused(function: Any, serializer: Any) -> None:
    with pytest.raises(IdempotencyNoSerializationModelError, match="return"):
        resolve_serializer(serializer, function)


def test_an_unresolvable_annotation_is_named_with_its_function() -> None:
    with pytest.raises(IdempotencyNoSerializationModelError, match="'Odrer' of misspelt cannot be resolved"):
        resolve_serializer(DataclassSerializer, misspelt)


@pytest.mark.parametrize("serializer", [DataclassSerializer, PydanticSerializer])
def test_an_annotation_of_another_kind_is_refused(serializer: Any) -> None:
    def local() -> dict[str, int]: ...

    with pytest.raises(IdempotencyModelTypeError, match="not dict"):
        resolve_serializer(serializer, local)


def test_a_serializer_is_used_as_it_is() -> None:
    serializer = CustomDictSerializer(dict, dict)
    assert resolve_serializer(serializer, no_annotation) is serializer
    assert resolve_serializer(None, no_annotation) is None


def test_a_model_serializer_of_your_own_gets_the_resolved_annotation() -> None:
    class Own(BaseIdempotencyModelSerializer):
        @classmethod
        def instantiate(cls, model_type: Any) -> Any:
            serializer = cls()
            serializer.model = model_type
            return serializer

        def to_dict(self, data: Any) -> None: ...

        def from_dict(self, data: Any) -> None: ...

    assert resolve_serializer(Own, plain).model is Order
    assert resolve_serializer(Own, or_none).model == Order | None
    assert resolve_serializer(Own, no_annotation).model is None


@pytest.mark.parametrize(
    "wrong", [CustomDictSerializer, Order, "dataclass", dict, 5, DataclassSerializer.instantiate]
)
def test_anything_else_is_a_type_error(wrong: Any) -> None:
    with pytest.raises(TypeError, match="output_serializer must be"):
        resolve_serializer(wrong, plain)
