"""Conversion of payloads of all kinds to plain data."""

from dataclasses import dataclass, field
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, Never

import pydantic
import pytest

from idemproof.reference.keys.opening import as_plain_data
from idemproof.reference.keys.refusals import Refused


@dataclass
class Line:
    sku: str
    price: Decimal


@dataclass
class Order:
    lines: list[Line] = field(default_factory=list)
    raw_event: str = "not this"

    def dict(self) -> Never:
        raise AssertionError("a dataclass is a dataclass first")


class Model(pydantic.BaseModel):
    price: Decimal


@pytest.mark.parametrize("payload", [{"a": 1}, [1], "text", 5, None, 1.5, ("a",), SimpleNamespace(a=1)])
def test_other_values_stay_the_very_same(payload: Any) -> None:
    assert as_plain_data(payload) is payload


def test_a_dataclass_becomes_a_dict_of_what_its_fields_hold() -> None:
    lines = [Line("a", Decimal("1.5"))]
    found = as_plain_data(Order(lines))
    assert found == {"lines": lines, "raw_event": "not this"}
    assert found["lines"] is lines


def test_a_pydantic_model_becomes_json_data() -> None:
    assert as_plain_data(Model(price=Decimal("1.50"))) == {"price": "1.50"}


def test_model_dump_comes_before_dict_and_dict_before_raw_event() -> None:
    both = SimpleNamespace(model_dump=lambda mode: {"by": mode}, dict=dict, raw_event=1)
    assert as_plain_data(both) == {"by": "json"}
    assert as_plain_data(SimpleNamespace(dict=lambda: {"by": "dict"}, raw_event=1)) == {"by": "dict"}
    assert as_plain_data(SimpleNamespace(dict="no method", raw_event={"by": "event"})) == {"by": "event"}


def test_a_subclass_of_dict_may_still_convert_itself() -> None:
    class Event(dict):
        raw_event = {"a": 1}  # noqa: RUF012 - a double

    assert as_plain_data(Event(b=2)) == {"a": 1}


@pytest.mark.parametrize("kind", [Order, Model, SimpleNamespace])
def test_a_class_is_not_an_instance(kind: Any) -> None:
    assert as_plain_data(kind) is kind


def test_a_payload_that_cannot_be_turned_into_data_is_refused_with_its_type() -> None:
    class Holder:
        def dict(self) -> Never:
            raise OSError

    with pytest.raises(Refused) as refusal:
        as_plain_data(Holder())
    assert "Holder" in refusal.value.what
    assert isinstance(refusal.value.__cause__, OSError)
