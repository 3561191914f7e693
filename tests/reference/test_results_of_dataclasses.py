"""A dataclass is replayed unchanged, or the first caller gets an error."""

import enum
import sys
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, Self, TypedDict, TypeVar, Union
from uuid import UUID

import pydantic
import pytest
from pydantic import BaseModel, Field, SecretStr

from idemproof.serialization import DataclassSerializer
from replays import CARRIED, REFUSED, SAME, judged
from result_models import Line


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


@dataclass
class Card:
    cents: int


@dataclass
class Voucher:
    cents: int


@dataclass
class Cash:
    cents: int
    drawer: str = "A"


class Point(NamedTuple):
    x: int
    price: Decimal


class Options(TypedDict, total=False):
    day: date


DAY = date(2024, 1, 1)

UNIONS = [
    (date | str, DAY, SAME),
    (date | str, "tomorrow", SAME),
    (date | str, "2024-01-01", CARRIED),
    (UUID | str, UUID(int=1), SAME),
    (UUID | str, "free text", SAME),
    (Decimal | str, Decimal("1.50"), SAME),
    (Decimal | str, "x", SAME),
    (Colour | str, Colour.RED, SAME),
    (Colour | str, "blue", SAME),
    (Level | int, Level.LOW, SAME),
    (Level | int, 7, SAME),
    (Union[date, str, None], DAY, SAME),  # noqa: UP007 - the old spelling is supported
    (Union[date, str, None], None, SAME),  # noqa: UP007 - as above
    (list[date | str], [DAY, "tomorrow"], SAME),
    (date | None, DAY, SAME),
    (datetime | date, DAY, SAME),
    (datetime | date, datetime(2024, 1, 1), SAME),  # noqa: DTZ001 - the example
    (datetime, datetime(2024, 10, 27, 2, 30, fold=1), CARRIED),  # noqa: DTZ001 - of which the text lacks the fold
    (datetime, datetime(2024, 10, 27, 2, 30, tzinfo=UTC, fold=1), SAME),
    (Card | dict, Card(5), SAME),
    (Card | dict, {"other": 5}, SAME),
    (Card | dict, {"cents": 5}, CARRIED),
    (Card | Cash, Cash(5), SAME),
    (Card | Cash, Card(5), SAME),
    (list[Card] | Card, [Card(5)], SAME),
    (list[Card] | Card, Card(5), SAME),
    (list[int] | list[str], ["a"], SAME),
    (list[int] | tuple[date, ...], (DAY,), SAME),
    (tuple[int, int] | list[int], [1], SAME),
    (tuple[int, int] | list[int], (1, 2), SAME),
    (tuple[int, int] | list[int], [1, 2], CARRIED),
    (timedelta | int, timedelta(1, 2, 3), SAME),
    (timedelta | str, "P1D", SAME),
    (bytes | int, b"\xff", SAME),
    (Point | list[str], Point(1, Decimal(2)), SAME),
    (Options | int, {"day": DAY}, SAME),
    (Literal["a", 1] | date, DAY, SAME),
    (str | None, None, SAME),
    (int | float, 1.0, SAME),
    (bool | int, 1, SAME),
    (Decimal | int, 5, SAME),
    (Decimal | int, Decimal(5), SAME),
    (dict[str, date] | dict[str, int], {"a": 1}, SAME),
    (dict[str, date | str], {"a": "b", "c": DAY}, SAME),
    (tuple[Card, Any] | Colour, (Card(1), 2), SAME),
    (tuple[Card, object] | Colour, (Card(1), 2), SAME),
    (Card | Any, Card(1), SAME),
    (Card | Any, [1], SAME),
    (dict[date, int] | dict[int, Any], {-1: 0, -3: 1, 10: 2, 9: 3}, SAME),
]


@pytest.mark.clause("RES-1", "RES-2")
@pytest.mark.parametrize(("annotation", "value", "outcome"), UNIONS, ids=str)
def test_a_field_of_several_types(annotation: Any, value: Any, outcome: str) -> None:
    model = make_dataclass("Made", [("it", annotation)])
    assert judged(DataclassSerializer(model), lambda: model(value)) == outcome


@pytest.mark.clause("RES-3")
@pytest.mark.parametrize(
    "annotation",
    [
        Card | Voucher,
        list[Card | Voucher],
        dict[str, Voucher | Card | None],
        tuple | list,
        set[int] | list[int],
        frozenset | set,
        PurePosixPath | str,
        bytes | bytearray,
        Counter[str] | dict[str, int],
        SecretStr,
    ],
    ids=str,
)
def test_what_can_never_come_back_is_refused_when_decorated(annotation: Any) -> None:
    model = make_dataclass("Made", [("it", annotation)])
    assert judged(DataclassSerializer(model), lambda: model(None)) == REFUSED


@dataclass
class Event:
    detail: Any = None
    thing: object = None
    items: list = field(default_factory=list)
    table: dict = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)


@pytest.mark.clause("RES-2")
@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ({"detail": DAY}, CARRIED),
        ({"detail": (1, 2)}, CARRIED),
        ({"detail": Card(1)}, CARRIED),
        ({"detail": b"x"}, CARRIED),
        ({"thing": UUID(int=1)}, CARRIED),
        ({"items": [DAY]}, CARRIED),
        ({"items": [(1,)]}, CARRIED),
        ({"table": {1: 2}}, CARRIED),
        ({"table": {"b": 1, "a": OrderedDict(z=1, b=2)}}, CARRIED),
        ({"texts": ["\ud83d\ude00"]}, CARRIED),
        ({"texts": ["\ud83d", "\N{GRINNING FACE}"]}, SAME),
        ({"detail": {"a": [1, None, 1.5, True]}, "items": [{}], "table": {"a": 1}}, SAME),
        ({"detail": [float("nan"), float("inf"), -0.0]}, SAME),
    ],
    ids=str,
)
def test_fields_of_any_type(values: dict[str, Any], outcome: str) -> None:
    assert judged(DataclassSerializer(Event), lambda: Event(**values)) == outcome


@dataclass
class Label:
    text: str


@pytest.mark.clause("RES-2")
def test_two_halves_of_a_character_are_reported_and_the_character_comes_back() -> None:
    assert judged(DataclassSerializer(Label), lambda: Label("\ud83d\ude00")) == CARRIED
    assert judged(DataclassSerializer(Label), lambda: Label("\N{GRINNING FACE}")) == SAME


@dataclass
class Stop:
    day: date


T = TypeVar("T")
S = TypeVar("S", bound=Stop)
K = TypeVar("K")


@dataclass
class Page(Generic[T]):
    items: list[T]


@dataclass
class Stops(Page[Stop]):
    total: int = 0


@dataclass
class Counted(Page[T]):
    first: T | None = None


@dataclass
class Pairs(Generic[K, T]):
    pairs: dict[K, T] = field(default_factory=dict)


@dataclass
class Deep(Pairs[date, Page[T]], Generic[T]):
    more: list[T] = field(default_factory=list)


@dataclass
class Bounded(Generic[S]):
    stop: S


@dataclass
class Chain(Generic[T]):
    value: T
    rest: "Chain[T] | None" = None


STOP = Stop(DAY)


@pytest.mark.clause("RES-1")
@pytest.mark.parametrize(
    ("model", "result", "outcome"),
    [
        (Stops, Stops([STOP], 1), SAME),
        (Counted[Stop], Counted([STOP], STOP), SAME),
        (Page[Stop], Page([STOP]), SAME),
        (Page, Page([1]), SAME),
        (Page, Page([STOP]), CARRIED),
        (Deep[Stop], Deep({DAY: Page([STOP])}, [STOP]), SAME),
        (Bounded, Bounded(STOP), SAME),
        (Chain[date], Chain(DAY, Chain(DAY)), SAME),
        (Page[Page[Stop | None]], Page([Page([None, STOP])]), SAME),
    ],
    ids=str,
)
def test_generic_dataclasses_and_their_subclasses(model: Any, result: Any, outcome: str) -> None:
    assert judged(DataclassSerializer(model), lambda: result) == outcome


@dataclass
class Node:
    kid: Optional[Self] = None  # noqa: UP045 - the old spelling is supported
    kids: list[Self] = field(default_factory=list)
    named: dict[str, Self | None] = field(default_factory=dict)


@dataclass
class Leaf(Node):
    day: date = DAY


@pytest.mark.clause("RES-1")
def test_self_is_the_class_itself() -> None:
    assert judged(DataclassSerializer(Node), lambda: Node(Node(), [Node()], {"a": Node(), "b": None})) == SAME
    assert judged(DataclassSerializer(Leaf), lambda: Leaf(Leaf(), [Leaf(day=DAY)])) == SAME


@dataclass
class Train:
    on: date


@dataclass
class Late(Train):
    minutes: int = 0


@dataclass
class Bus:
    on: date


@dataclass
class Trains:
    one: Train | None = None
    many: list[Train] = field(default_factory=list)
    named: dict[str, Train] = field(default_factory=dict)


@pytest.mark.clause("RES-2")
@pytest.mark.parametrize(
    ("model", "result"),
    [
        (Train, Late(DAY, 5)),
        (Train, Late(DAY)),
        (Train, Bus(DAY)),
        (Trains, Trains(Late(DAY))),
        (Trains, Trains(many=[Late(DAY)])),
        (Trains, Trains(named={"a": Late(DAY)})),
        (Train, Train(datetime(2024, 1, 1, 5))),  # noqa: DTZ001 - the example
        (Train, Train("soon")),
        (Train, {"on": "2024-01-01"}),
    ],
    ids=str,
)
def test_what_the_annotations_do_not_say_is_reported(model: Any, result: Any) -> None:
    assert judged(DataclassSerializer(model), lambda: result) == CARRIED


def _tagged() -> Card:
    card = Card(1)
    card.note = "by hand"  # type: ignore[attr-defined]
    return card


def test_an_attribute_that_is_no_field_is_reported() -> None:
    assert judged(DataclassSerializer(Card), _tagged) == CARRIED


@dataclass
class Guarded:
    count: int
    mark: Any = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.lock = threading.Lock()


def _marked() -> Guarded:
    guarded = Guarded(1)
    guarded.done = object()  # type: ignore[attr-defined]
    return guarded


def test_what_a_constructor_makes_again_need_not_be_the_same_one() -> None:
    assert judged(DataclassSerializer(Guarded), lambda: Guarded(1)) == SAME
    assert judged(DataclassSerializer(Guarded), _marked) == CARRIED


@dataclass
class Box:
    by_row: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    sold: Counter[str] = field(default_factory=Counter)
    order: OrderedDict[str, date] = field(default_factory=OrderedDict)
    fixed: MappingProxyType[str, int] | None = None
    queue: deque[date] = field(default_factory=deque)


@pytest.mark.clause("RES-1", "RES-2")
@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ({"by_row": defaultdict(list, C=[1])}, SAME),
        ({"by_row": defaultdict(set, C=[1])}, CARRIED),
        ({"by_row": {"C": [1]}}, CARRIED),
        ({"sold": Counter("CCD")}, SAME),
        ({"order": OrderedDict(b=DAY, a=DAY)}, SAME),
        ({"order": OrderedDict(a=DAY, b=DAY)}, SAME),
        ({"fixed": MappingProxyType({"a": 1})}, SAME),
        ({"queue": deque([DAY])}, SAME),
        ({"queue": deque([DAY], maxlen=3)}, CARRIED),
    ],
    ids=str,
)
def test_kinds_of_mappings(values: dict[str, Any], outcome: str) -> None:
    assert judged(DataclassSerializer(Box), lambda: Box(**values)) == outcome


class Issued(BaseModel):
    token: SecretStr | None = None


@dataclass
class Bill:
    line: Line
    issued: list[Issued] = field(default_factory=list)
    either: Line | Issued | None = None


@pydantic.dataclasses.dataclass
class Validated:
    one: Annotated[int, Field(alias="One")]
    day: date = DAY


@pytest.mark.clause("RES-1", "RES-2")
def test_models_inside_dataclasses() -> None:
    bill = DataclassSerializer(Bill)
    assert judged(bill, lambda: Bill(Line(net=5))) == SAME
    assert judged(bill, lambda: Bill(Line(net=5), either=Line(net=1))) == SAME
    assert judged(bill, lambda: Bill(Line(net=5), [Issued(token="t")])) == CARRIED
    assert judged(DataclassSerializer(Validated), lambda: Validated(One=1)) == SAME


@dataclass
class Kinds:
    span: timedelta = timedelta()
    raw: bytes = b""
    buffer: bytearray = field(default_factory=bytearray)
    at: datetime = datetime(2024, 1, 1, tzinfo=UTC)
    table: dict[Literal[1, 2], str] = field(default_factory=dict)
    text: "Text" = ""  # type: ignore[assignment]


class Text(str):
    __slots__ = ()


@pytest.mark.clause("RES-1")
@pytest.mark.parametrize(
    "values",
    [
        {"span": timedelta(days=-3, seconds=1, microseconds=7)},
        {"span": timedelta.max},
        {"raw": bytes(range(256))},
        {"buffer": bytearray(b"\0x")},
        {"table": {1: "a", 2: "b"}},
    ],
    ids=str,
)
def test_durations_bytes_and_known_keys(values: dict[str, Any]) -> None:
    assert judged(DataclassSerializer(Kinds), lambda: Kinds(text=Text("x"), **values)) == SAME


@dataclass
class Early:
    later: "Afterwards"
    many: "list[Afterwards] | None" = None


EARLY = DataclassSerializer(Early)


@dataclass
class Afterwards:
    day: date
    raw: bytes = b""


@pytest.mark.clause("RES-1")
def test_a_class_that_is_defined_later_is_found_at_the_first_use() -> None:
    assert judged(EARLY, lambda: Early(Afterwards(DAY, b"\xff"), [Afterwards(DAY)])) == SAME


# In text, since the oldest Python that is supported has no such statements.
MODERN = """
type Data = dict[str, Data] | list[Data] | str | int | None
type Days = dict[str, Days] | list[Days] | date | None
type Pair[T] = tuple[T, T]

@dataclass
class Modern[T]:
    data: Data = None
    days: Days = None
    pair: Pair[T] | None = None
    inner: Self | None = None
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type statements are new in Python 3.12")
@pytest.mark.clause("RES-1")
def test_type_statements_are_followed_though_they_refer_to_themselves() -> None:
    scope: dict[str, Any] = dict(globals())
    exec(MODERN, scope)
    modern = scope["Modern"]
    days = {"a": [DAY, None, {"b": DAY}]}

    def make() -> Any:
        return modern({"a": [1, {"b": None}]}, days, (DAY, DAY), modern(pair=(DAY, DAY)))

    assert judged(DataclassSerializer(modern[date]), make) == SAME
