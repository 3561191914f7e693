"""Results become JSON text, and come back as they were."""

import enum
import math
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, Never

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idemproof.reference.encoding import decode, encode, locate_failure
from idemproof.reference.keys import KeyEncoder

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@dataclass
class Point:
    x: int
    y: Decimal


class Model(pydantic.BaseModel):
    at: datetime


@settings(deadline=None)
@given(JSON)
def test_plain_data_comes_back_as_it_was(value: Any) -> None:
    back = decode(encode(value))
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("value", [{}, [], 0, 0.0, False, "", None])
def test_falsy_results_come_back_as_they_were(value: Any) -> None:
    back = decode(encode(value))
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("text", [None, ""])
def test_no_text_is_none(text: str) -> None:
    assert decode(text) is None


def test_keys_are_sorted_and_text_is_ascii() -> None:
    assert encode({"b": "ä", "a": 1}) == '{"a": 1, "b": "\\u00e4"}'


def test_decimals_dataclasses_and_models_are_encoded() -> None:
    value = [Decimal("1.10"), Point(1, Decimal(2)), Model(at=datetime(2026, 1, 2, tzinfo=UTC))]
    assert decode(encode(value)) == ["1.10", {"x": 1, "y": "2"}, {"at": "2026-01-02T00:00:00Z"}]


def test_a_decimal_that_is_no_number_is_nan() -> None:
    assert encode(Decimal("NaN")) == "NaN"
    assert math.isnan(decode("NaN"))


def test_a_field_named_json_does_not_hide_a_dataclass() -> None:
    @dataclass
    class Request:
        json: str

    assert encode(Request("body")) == '{"json": "body"}'


@pytest.mark.parametrize("value", [datetime(2026, 1, 1, tzinfo=UTC), {1}, b"x", object(), Point])
def test_a_result_of_another_type_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError):
        encode({"value": value})


def test_text_that_is_not_json_is_a_value_error() -> None:
    with pytest.raises(ValueError):
        decode("{")


class Colour(enum.Enum):
    RED = "r"


def _cycle() -> Any:
    value = {"a": [{}]}
    value["a"][0]["back"] = value
    return value


def _deep(levels: int) -> Any:
    value = inner = []
    for _ in range(levels):
        inner.append([])
        inner = inner[0]
    return value


class Unfolding:
    """Each conversion gives another one, for ever."""

    json = True

    def model_dump(self, mode: str) -> Any:
        return {"next": Unfolding()}


def _failing(mode: Any) -> Never:
    raise RuntimeError("secret value")


FAULTS = [
    ({"items": [{}, {}, {"price": {1}}]}, "$.items[2].price", "is of type set, which cannot be encoded"),
    (b"x", "$", "is of type bytes"),
    ({"a": {"two words": object()}}, '$.a["two words"]', "is of type object"),
    ({"a": {(1, 2): 3}}, "$.a", "has a key of type tuple"),
    ({"a": {1: 2, "b": 3}}, "$.a", "has keys of types int and str, which cannot be sorted"),
    ({"a": [10**5000]}, "$.a[0]", "is of type int and too long to be encoded"),
    (_cycle(), "$.a[0].back", "is of type dict and contains itself"),
    (_deep(100_000), "$[0][0][0]", "is nested"),
    (Unfolding(), "$.next.next", "is nested"),
    ({"p": [Point(1, {2})]}, "$.p[0].y", "is of type set"),
    ({"c": Colour.RED}, "$.c", f"is of type {__name__}.Colour, which cannot be encoded"),
    (
        {"m": SimpleNamespace(json=True, model_dump=_failing)},
        "$.m",
        "types.SimpleNamespace, which cannot be encoded (RuntimeError)",
    ),
]


@pytest.mark.parametrize(("value", "path", "fault"), FAULTS, ids=[path for _, path, _ in FAULTS])
def test_a_failure_is_located_and_explained(value: Any, path: str, fault: str) -> None:
    with pytest.raises((TypeError, ValueError, RecursionError, RuntimeError)):
        encode(value)
    found_path, found_fault = locate_failure(value)
    assert found_path == path or (found_path.startswith(path) and found_path.endswith("..."))
    assert fault in found_fault


def test_siblings_that_are_the_same_object_are_no_cycle() -> None:
    shared = {"a": 1}
    assert locate_failure({"x": shared, "y": [shared, shared], "z": {1}})[0] == "$.z"


def test_the_encoder_that_failed_decides_what_can_be_encoded() -> None:
    value = [Colour.RED, datetime(2026, 1, 1, tzinfo=UTC), {1}]
    assert locate_failure(value)[0] == "$[0]"
    assert locate_failure(value, KeyEncoder())[0] == "$[2]"


def test_long_names_and_paths_are_cut_short() -> None:
    value = {"k" * 1000: {1}}
    for _ in range(40):
        value = {"n": value}
    path, _ = locate_failure(value)
    assert len(path) < 200
    assert len(locate_failure({"k" * 1000: {1}})[0]) < 60


def test_explaining_does_not_need_the_stack() -> None:
    """The value is far deeper than the interpreter can recurse."""
    depth = 20 * sys.getrecursionlimit()
    assert "is nested" in locate_failure(_deep(depth))[1]


@pytest.mark.parametrize("bad", [{"s3cret"}, b"s3cret", {1: "s3cret", "b": "s3cret"}, {("s3cret",): 1}])
def test_no_value_is_shown(bad: Any) -> None:
    assert "s3cret" not in "".join(locate_failure({"data": "s3cret", "bad": ["s3cret", bad]}))
