"""A replay rebuilds dataclasses with constructors of all kinds."""

from dataclasses import InitVar, dataclass, field
from datetime import date
from decimal import Decimal
from typing import (
    Any,
)

import pytest

from idemproof.serialization import (
    DataclassSerializer,
)
from stored_forms import assert_replays, replayed


@dataclass
class Line:
    sku: str
    price: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    line: Line
    total: Decimal = field(init=False)
    counter: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", self.line.price * 2)


def test_fields_that_the_constructor_does_not_take_come_back() -> None:
    result = Frozen(line=Line("a", Decimal(2)))
    object.__setattr__(result, "counter", 9)
    assert_replays(Frozen, result)


@dataclass
class Taxed:
    net: Decimal
    rate: InitVar[Decimal]
    gross: Decimal = Decimal(0)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self, rate: Decimal) -> None:
        self.gross = self.net * rate


def test_an_argument_that_is_no_field_is_not_asked_for_again() -> None:
    serializer = DataclassSerializer(Taxed)
    assert replayed(serializer, result := Taxed(Decimal(10), Decimal("1.19"))) == result
    assert serializer.from_dict({"net": "1", "gross": "2"}).notes == []
    with pytest.raises(TypeError, match="'net' of Taxed is not stored"):
        serializer.from_dict({"gross": "2"})


@dataclass
class Hinted:
    a: Decimal
    hint: InitVar[str]


def test_an_argument_that_nothing_is_done_with_is_not_asked_for_again() -> None:
    assert_replays(Hinted, Hinted(Decimal(1), "x"))


@dataclass
class Indexed:
    names: list[str]
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = len(self.names)
        self.index = dict.fromkeys(self.names)


def test_what_the_constructor_makes_beside_the_fields_is_made_again() -> None:
    assert replayed(DataclassSerializer(Indexed), Indexed(["a"])).index == {"a": None}


@dataclass
class Doubled:
    value: int

    def __post_init__(self) -> None:
        self.value *= 2


@dataclass
class Parsed:
    day: date

    def __post_init__(self) -> None:
        self.day = date.fromisoformat(self.day)


def test_what_was_prepared_once_is_not_prepared_again() -> None:
    assert_replays(Doubled, Doubled(4))
    assert_replays(Parsed, Parsed("2026-01-01"))


@dataclass(init=False)
class OwnConstructor:
    a: int
    b: Decimal

    def __init__(self, both: Any) -> None:
        self.a, self.b = both


@dataclass(init=False)
class NoConstructor:
    a: Decimal = Decimal(1)


@dataclass
class Problem(Exception):  # noqa: N818 - the example
    code: Decimal


def test_a_constructor_that_does_not_take_the_fields_is_not_called() -> None:
    assert_replays(OwnConstructor, OwnConstructor((1, Decimal(2))))
    result = NoConstructor()
    result.a = Decimal(5)
    assert_replays(NoConstructor, result)
    assert replayed(DataclassSerializer(Problem), Problem(Decimal(4))).code == Decimal(4)
