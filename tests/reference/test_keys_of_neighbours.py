"""Objects and leaves whose class shows something other than they hold."""

import datetime as dt
import enum
import http.cookies
import pathlib
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import Mock
from uuid import UUID

import pydantic
import pytest
import werkzeug.datastructures

from derived_keys import (
    REFUSED,
    assert_distinguished,
    assert_refused_both,
    derived,
    refusal,
)

# Objects.


@dataclass
class Base:
    a: int


class Undeclared(Base):
    b = 0

    def __init__(self, b: int) -> None:
        super().__init__(1)
        self.b = b


class Slotted(Base):
    __slots__ = ("b",)

    def __init__(self, b: int) -> None:
        super().__init__(1)
        self.b = b


class SlottedOnce(Base):
    __slots__ = "b"  # noqa: PLC0205 - one name, as it may be given

    def __init__(self, b: int) -> None:
        super().__init__(1)
        self.b = b


class Caching(Base):
    @cached_property
    def twice(self) -> int:
        return self.a * 2


@pytest.mark.parametrize("kind", [Undeclared, Slotted, SlottedOnce])
def test_attributes_beside_the_fields_of_a_dataclass_hide_nothing(kind: Any) -> None:
    assert_refused_both(kind(1), kind(2))
    assert_distinguished(kind(1), kind(2), "b")
    assert_distinguished({"x": kind(1)}, {"x": kind(2)}, "x.b")


@pydantic.dataclasses.dataclass(config=pydantic.ConfigDict(extra="allow"))
class Open:
    a: int


def with_extra(b: int) -> Any:
    return Open(a=1, b=b)  # type: ignore[call-arg]  # an extra field


class Holder(pydantic.BaseModel):
    held: Any


@pytest.mark.clause("KEY-1", "KEY-5")
@pytest.mark.parametrize("kind", [with_extra, Undeclared, Slotted])
def test_what_a_dataclass_holds_beside_its_fields_counts_in_models_too(kind: Any) -> None:
    for put in (lambda held: held, lambda held: Holder(held=held), lambda held: Holder(held=[held])):
        assert_refused_both({"p": put(kind(1))}, {"p": put(kind(2))})
    one, other = {"p": Holder(held=kind(1))}, {"p": Holder(held=kind(2))}
    assert derived(one, "p.held.b") != derived(other, "p.held.b")
    assert derived(one, "p.held.a") == derived(other, "p.held.a")
    assert derived({"p": Holder(held=Open(a=1))}, "") == derived({"p": Holder(held=Base(a=1))}, "")


def test_what_a_dataclass_computes_once_is_not_counted() -> None:
    cached = Caching(1)
    assert cached.twice == 2
    assert derived(cached) == derived(Caching(1)) == derived({"a": 1})


@dataclass
class Both(dict[str, Any]):
    a: int = 1


@dataclass
class Text(str):  # noqa: SLOT000 - a dataclass
    a: int = 1

    def __new__(cls, text: str, _a: int = 1) -> Any:
        return str.__new__(cls, text)

    def __init__(self, _text: str, a: int = 1) -> None:
        self.a = a


@dataclass
class Items(list[int]):
    a: int = 1


def filled(kind: Any, value: Any) -> Any:
    made = kind()
    made.append(value) if isinstance(made, list) else made.update(value)
    return made


def test_a_dataclass_that_holds_more_than_its_fields_is_refused() -> None:
    assert_refused_both(filled(Both, {"k": 1}), filled(Both, {"k": 2}))
    assert_refused_both({"x": filled(Items, 1)}, {"x": filled(Items, 2)})
    assert_refused_both({"x": Text("a")}, {"x": Text("b")})
    assert derived(Both(a=2)) == derived(filled(Both, {"a": 1}) and Both(a=2)) == derived({"a": 2})
    assert derived(filled(Both, {"a": 1})) == derived({"a": 1})


def test_objects_that_answer_to_any_name_are_not_taken_for_events() -> None:
    one, other = (werkzeug.datastructures.Authorization("basic", {"username": name}) for name in "ab")
    assert_refused_both(one, other)
    assert_refused_both([one], [other])
    assert derived(SimpleNamespace(raw_event={"a": 1})) == derived({"a": 1})


@pytest.mark.clause("KEY-15")
@pytest.mark.parametrize("key", ["", "a", "[a]"])
def test_a_double_that_converts_into_others_of_its_kind_is_refused_at_once(key: str) -> None:
    double = Mock()
    assert derived({"x": double}, key and f"x.{key.strip('[]')}.b") == REFUSED
    assert len(double.mock_calls) < 60


def test_cookies_of_the_standard_library_hide_no_value() -> None:
    assert_refused_both(*(http.cookies.SimpleCookie({"a": value}) for value in "12"))


class Shape(NamedTuple):
    a: int

    @property
    def size(self) -> int:
        return self.a


def test_a_property_of_a_named_tuple_is_refused_by_its_name() -> None:
    assert "Shape" in refusal({"x": Shape(1)}, "x.size")
    assert derived({"x": Shape(1), "id": 2}, "not_null(x.count, id)") == derived(2)


# Leaves.


class ShortDecimal(Decimal):
    def __str__(self) -> str:
        return "7"


class ShortDate(dt.date):
    def isoformat(self) -> str:
        return "2026"


class LongTime(dt.datetime):
    """Knows more than its base class does, as those of data frames do."""

    more = ""

    def isoformat(self, *_: Any) -> str:
        return super().isoformat() + self.more


class ShortId(UUID):
    def __str__(self) -> str:
        return "id"


class ShortPath(pathlib.PurePosixPath):
    __slots__ = ()

    def __str__(self) -> str:
        return "path"


@pytest.mark.clause("KEY-1")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ShortDecimal(1), ShortDecimal(2)),
        (ShortDate(2026, 1, 1), ShortDate(2026, 1, 2)),
        (ShortId(int=1), ShortId(int=2)),
        (ShortPath("a"), ShortPath("b")),
    ],
)
def test_a_class_that_writes_less_than_its_base_is_refused(one: Any, other: Any) -> None:
    assert_refused_both(one, other)
    assert_refused_both({"x": [other, one]}, {"x": [one, other]})


def test_a_class_that_writes_more_than_its_base_is_distinguished() -> None:
    one, other = LongTime(2026, 1, 1), LongTime(2026, 1, 1)
    other.more = "1"
    assert_distinguished({"at": one}, {"at": other})
    holding = pydantic.create_model("Holding", at=(dt.datetime, ...))
    assert derived(holding(at=other)) == REFUSED


class Options(enum.Enum):
    ONE = {"x": 1, "y": [1]}  # noqa: RUF012 - as people write it
    TWO = {"x": 2, "y": [2]}  # noqa: RUF012 - same


class Alike(enum.Enum):
    ONE = 1
    TWO = 2

    @property
    def value(self) -> str:
        return "alike"


def test_members_with_parts_are_searched_and_those_that_look_alike_refused() -> None:
    for key in ("o.x", "o.y[0]", "o.*", "keys(o)"):
        assert derived({"o": Options.ONE}, key) == derived({"o": Options.ONE.value}, key)
    assert_distinguished({"o": Options.ONE}, {"o": Options.TWO}, "o.x")
    assert_refused_both({"o": Alike.ONE}, {"o": Alike.TWO})


class Array:
    """Compares each of its numbers, as those of NumPy do."""

    def __eq__(self, other: object) -> Any:
        return self

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise ValueError("ambiguous")


@pytest.mark.clause("KEY-10")
@pytest.mark.parametrize("key", ["", "x", "[x]", "[x == `1`]", "!x", "x || `1`", "{a: x}", "[[x]]"])
def test_what_has_no_truth_is_refused_by_name(key: str) -> None:
    assert derived({"x": Array()}, key) == REFUSED
