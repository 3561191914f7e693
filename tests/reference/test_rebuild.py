"""A replay rebuilds the dataclass that the first call returned, down to what it holds."""

import collections
import dataclasses
import enum
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID

import pydantic
import pytest
from aws_lambda_powertools.shared.json_encoder import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from idemproof.errors import IdempotencyModelTypeError
from idemproof.reference.encoding import encode
from idemproof.serialization import (
    DataclassSerializer,
)
from stored_forms import assert_replays, replayed


class Colour(enum.Enum):
    RED = "r"
    PAIR = ("a", 1)
    DECIMAL = Decimal("1.50")


class Word(enum.StrEnum):
    YES = "yes"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Line:
    sku: str
    price: Decimal


@dataclass
class Scalars:
    text: str
    number: int
    fraction: float
    flag: bool
    price: Decimal
    at: datetime
    day: date
    hour: time
    key: UUID
    colour: Colour
    word: Word
    level: Level
    path: PurePosixPath


SCALARS = st.builds(
    Scalars,
    fraction=st.floats(allow_nan=False),
    price=st.decimals(allow_nan=False),
    # ISO text has no place for fold, and comparisons do not look at it.
    at=st.datetimes(
        timezones=st.none() | st.just(UTC) | st.just(timezone(timedelta(hours=-3, minutes=30)))
    ).map(lambda at: at.replace(fold=0)),
    hour=st.times().map(lambda hour: hour.replace(fold=0)),
    path=st.sampled_from([PurePosixPath("/a/b")]),
)


@settings(deadline=None)
@given(SCALARS)
def test_fields_come_back_with_their_types(result: Any) -> None:
    assert_replays(Scalars, result)


@dataclass
class Dates:
    when: datetime | date
    other: date | datetime


def test_a_date_is_no_midnight() -> None:
    at, day = datetime(2026, 1, 2, tzinfo=UTC), date(2026, 1, 2)
    assert_replays(Dates, Dates(at, at), Dates(day, day))


@dataclass
class Containers:
    one: Line
    maybe: Line | None
    optional: Optional[Line]  # noqa: UP045 - the old spelling is supported
    union: Union[Line, None]  # noqa: UP007 - the old spelling is supported
    many: list[Line]
    sequence: Sequence[Line]
    each: tuple[Line, ...]
    pair: tuple[Line, Decimal, str]
    bare: tuple
    named: dict[str, Line]
    mapping: Mapping[str, list[Line]]
    by_number: dict[int, Decimal]
    by_day: dict[date, str]
    by_colour: dict[Colour, int]
    by_level: dict[Level, int]
    by_flag: dict[bool, float]
    days: set[date]
    colours: frozenset[Colour]
    words: set[str]
    queue: collections.deque[Decimal]
    untyped: list
    anything: Any


def _containers(line: Line) -> Containers:
    day = date(2026, 1, 2)
    return Containers(
        one=line,
        maybe=line,
        optional=None,
        union=line,
        many=[line, line],
        sequence=[line],
        each=(line, line),
        pair=(line, Decimal("0.10"), "x"),
        bare=(1, "a"),
        named={"a": line},
        mapping={"a": [line]},
        by_number={1: Decimal(2)},
        by_day={day: "x"},
        by_colour={Colour.RED: 1, Colour.DECIMAL: 2},
        by_level={Level.HIGH: 1},
        by_flag={True: 0.5, False: 1.0},
        days={day},
        colours=frozenset(Colour),
        words={"b", "a"},
        queue=collections.deque([Decimal("1.5")]),
        untyped=[1, {"a": None}],
        anything={"a": [1.5]},
    )


def test_containers_come_back_with_what_they_hold() -> None:
    result = _containers(Line("a", Decimal("1.10")))
    assert replayed(DataclassSerializer(Containers), result) == result


class Point(NamedTuple):
    x: int
    price: Decimal


class Options(TypedDict, total=False):
    day: date
    name: str


UserId = NewType("UserId", UUID)


@dataclass
class Special:
    point: Point
    plain_point: collections.namedtuple("Plain", "x y")  # noqa: PYI024 - the old spelling is supported
    options: Options
    user: UserId
    annotated: Annotated[Decimal, "euros"]
    literal: Literal[Word.YES, 5, "a"]
    rights: Right
    nested: list[dict[str, tuple[Point, ...]]]
    final: Final[date] = date(2026, 1, 1)


def test_named_tuples_typed_dicts_and_annotated_types_come_back() -> None:
    point = Point(1, Decimal("2.50"))
    plain = Special.__dataclass_fields__["plain_point"].type(1, 2)
    user = UserId(UUID(int=5))
    result = Special(
        point,
        plain,
        {"day": date(2026, 1, 1)},
        user,
        Decimal(1),
        Word.YES,
        Right.READ | Right.WRITE,
        [{"a": (point,)}],
    )
    assert_replays(Special, result, dataclasses.replace(result, literal=5, options={"name": "n"}))


@dataclass
class Unions:
    price: int | Decimal | None
    when: Decimal | str
    content: Line | Point | list[Line]


@pytest.mark.parametrize(
    "result",
    [
        Unions(5, "tomorrow", Line("a", Decimal(1))),
        Unions(Decimal("5.0"), "x", [Line("a", Decimal(1))]),
        Unions(None, "", Point(1, Decimal(2))),
    ],
    ids=repr,
)
def test_a_union_comes_back_as_the_member_that_gives_the_stored_data(result: Any) -> None:
    assert_replays(Unions, result)


@dataclass
class Tree:
    value: Decimal
    children: "list[Tree]" = field(default_factory=list)
    parent: "Tree | None" = None


def test_a_dataclass_may_contain_itself() -> None:
    assert_replays(Tree, Tree(Decimal(1), [Tree(Decimal(2), [Tree(Decimal(3))])]))


T = TypeVar("T")


@dataclass
class Page(Generic[T]):
    items: list[T]
    first: T | None = None


def test_a_generic_dataclass_rebuilds_its_argument() -> None:
    assert_replays(Page[Line], Page([Line("a", Decimal(1))], Line("b", Decimal(2))))
    assert_replays(Page, Page(["a"]))


class Model(pydantic.BaseModel):
    price: Decimal
    at: datetime


@dataclass
class HoldsModels:
    model: Model
    models: list[Model]


def test_pydantic_models_inside_come_back_validated() -> None:
    model = Model(price=Decimal("1.50"), at=datetime(2026, 1, 1, tzinfo=UTC))
    result = HoldsModels(model, [model])
    assert replayed(DataclassSerializer(HoldsModels), result) == result


def test_a_record_of_an_older_or_newer_shape_is_read_as_far_as_it_goes() -> None:
    serializer = DataclassSerializer(Tree)
    assert serializer.from_dict({"value": "1", "removed": 5}) == Tree(Decimal(1))
    with pytest.raises(TypeError, match="value"):
        serializer.from_dict({})
    with pytest.raises(TypeError, match="Tree is stored as an object, not as list"):
        serializer.from_dict([])


@dataclass
class Wire:
    price: Decimal
    lines: list[Line]
    table: dict[int, tuple[Decimal, float]]
    word: Word
    model: Model
    nan: Decimal = Decimal("NaN")


def test_what_is_stored_is_what_the_original_stores() -> None:
    model = Model(price=Decimal("1.50"), at=datetime(2026, 1, 1, tzinfo=UTC))
    result = Wire(Decimal("1.10"), [Line("ä", Decimal(2))], {3: (Decimal(1), 0.5)}, Word.YES, model)
    stored = encode(DataclassSerializer(Wire).to_dict(result))
    assert stored == json.dumps(dataclasses.asdict(result), cls=Encoder, sort_keys=True)


@pytest.mark.parametrize("value", [b"x", object(), Line, {frozenset(): 1}])
def test_what_cannot_be_stored_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError):
        encode(DataclassSerializer(Page).to_dict(Page([value])))


def test_a_field_whose_type_is_unknown_is_refused_when_the_serializer_is_made() -> None:
    @dataclass
    class Broken:
        day: "Dya"  # noqa: F821 - misspelt on purpose

    with pytest.raises(IdempotencyModelTypeError, match=r"'Dya' of field 'day' of .*Broken"):
        DataclassSerializer(Broken)


@dataclass
class Streams:
    prices: Iterable[Decimal]
    tags: Iterable[str]


def test_iterables_come_back_as_lists() -> None:
    assert_replays(Streams, Streams([Decimal(1)], ["a"]))
