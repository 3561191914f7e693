"""Serializers: the models they accept, and the results they store and rebuild."""

import importlib
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import (
    Any,
    Generic,
    Optional,
    TypeVar,
)

import pydantic
import pytest

from idemproof import errors, serialization
from idemproof.errors import IdempotencyModelTypeError, IdempotencyNoSerializationModelError
from idemproof.serialization import (
    BaseIdempotencySerializer,
    CustomDictSerializer,
    DataclassSerializer,
    PydanticSerializer,
)
from stored_forms import replayed


@dataclass
class Line:
    sku: str
    price: Decimal


class Model(pydantic.BaseModel):
    price: Decimal
    at: datetime


@pytest.mark.parametrize("result", [{"sku": "a"}, Line, 5])
def test_a_function_that_returns_no_dataclass_is_a_type_error(result: Any) -> None:
    with pytest.raises(TypeError, match="where Line was expected"):
        DataclassSerializer(Line).to_dict(result)


T = TypeVar("T")


@dataclass
class Page(Generic[T]):
    items: list[T]
    first: T | None = None


NOT_DATACLASSES = [
    int,
    dict,
    Model,
    Line("a", Decimal(1)),
    "Line",
    list[Line],
    Line | int,
    Line | Page | None,
]


@pytest.mark.parametrize("model", NOT_DATACLASSES, ids=str)
def test_a_model_that_is_no_dataclass_is_refused(model: Any) -> None:
    with pytest.raises(IdempotencyModelTypeError):
        DataclassSerializer.instantiate(model)


@pytest.mark.parametrize("serializer", [DataclassSerializer, PydanticSerializer])
@pytest.mark.parametrize("model", [None, type(None)])
def test_no_model_is_refused(serializer: Any, model: Any) -> None:
    with pytest.raises(IdempotencyNoSerializationModelError):
        serializer.instantiate(model)


@pytest.mark.parametrize("model", [Model, Model | None, Optional[Model]])  # noqa: UP045
def test_a_pydantic_model_is_stored_as_json_data_and_validated(model: Any) -> None:
    serializer = PydanticSerializer.instantiate(model)
    result = Model(price=Decimal("1.50"), at=datetime(2026, 1, 1, tzinfo=UTC))
    assert serializer.to_dict(result) == {"price": "1.50", "at": "2026-01-01T00:00:00Z"}
    assert replayed(serializer, result) == result


class Aliased(pydantic.BaseModel):
    price: Decimal = pydantic.Field(alias="Price")
    inner: "Aliased | None" = None


def test_a_model_with_aliases_comes_back() -> None:
    result = Aliased(Price=Decimal(1), inner=Aliased(Price=Decimal(2)))
    assert replayed(PydanticSerializer(Aliased), result) == result
    assert replayed(DataclassSerializer(Page[Aliased]), Page([result])) == Page([result])


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra="forbid")
    at: datetime
    parts: tuple[int, ...]

    @pydantic.computed_field
    @property
    def size(self) -> int:
        return len(self.parts)


def test_a_strict_model_with_computed_fields_comes_back() -> None:
    result = Strict(at=datetime(2026, 1, 1, tzinfo=UTC), parts=(1, 2))
    assert replayed(PydanticSerializer(Strict), result) == result


NOT_MODELS = [int, Line, list[Model], Model | Aliased, "Model", Model(price=1, at=0)]


@pytest.mark.parametrize("model", NOT_MODELS, ids=str)
def test_what_is_no_pydantic_model_is_refused(model: Any) -> None:
    with pytest.raises(IdempotencyModelTypeError):
        PydanticSerializer(model)


def test_a_function_that_returns_no_model_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="returned dict, where Model was expected"):
        PydanticSerializer(Model).to_dict({"price": 1})


def test_without_pydantic_its_serializer_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(IdempotencyModelTypeError, match=r"pip install idemproof\[pydantic\]"):
        PydanticSerializer(Model)


def test_own_functions_do_both_directions() -> None:
    serializer = CustomDictSerializer(to_dict=lambda value: {"is": value}, from_dict=lambda data: data["is"])
    assert serializer.to_dict(5) == {"is": 5}
    assert replayed(serializer, [1]) == [1]


@pytest.mark.parametrize("name", ["to_dict", "from_dict"])
def test_own_functions_must_be_callable(name: Any) -> None:
    functions = {"to_dict": dict, "from_dict": dict, name: {}}
    with pytest.raises(TypeError, match=f"{name} must be callable, not dict"):
        CustomDictSerializer(**functions)


def test_a_serializer_of_your_own_implements_both_directions() -> None:
    with pytest.raises(TypeError, match="abstract"):
        type("Half", (BaseIdempotencySerializer,), {"to_dict": lambda self, data: data})()


def test_the_front_door_has_every_public_error_and_serializer() -> None:
    specified = importlib.import_module("idemproof.spec.errors")
    public = {
        name
        for name, value in vars(specified).items()
        if isinstance(value, type) and value.__module__ == specified.__name__ and not name.startswith("_")
    }
    assert set(errors.__all__) == public
    assert all(getattr(errors, name) is getattr(specified, name) for name in public)
    assert all(hasattr(serialization, name) for name in serialization.__all__)
