"""If a verdict says that a value is rebuilt unchanged, the comparison agrees."""

import dataclasses
import enum
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import pydantic
import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    computed_field,
    field_validator,
)

from idemproof.reference.encoding import decode, encode
from idemproof.reference.results.comparing import difference
from idemproof.reference.results.verdicts import verdict
from idemproof.serialization import DataclassSerializer, PydanticSerializer


class Colour(enum.Enum):
    RED = "red"


class Odd(enum.Enum):
    PAIR = (1, 2)


@dataclass
class Part:
    sku: str
    count: int


@dataclass
class Whole:
    parts: list[Part] = field(default_factory=list)
    by_name: dict[str, Part | None] = field(default_factory=dict)
    price: Decimal | None = None
    rate: float = 0.0
    day: date | None = None
    at: datetime | None = None
    key: UUID | None = None
    colour: Colour = Colour.RED
    kind: Literal["a", "b"] = "a"
    numbers: tuple[int, ...] = ()
    anything: Any = None
    items: list = field(default_factory=list)
    table: dict = field(default_factory=dict)


class PartModel(BaseModel):
    sku: str
    count: int = Field(ge=0)


class WholeModel(BaseModel):
    parts: list[PartModel] = []
    by_name: dict[str, PartModel | None] = {}
    price: Decimal | None = None
    rate: float = 0.0
    day: date | None = None
    at: datetime | None = None
    key: UUID | None = None
    colour: Colour = Colour.RED
    kind: Literal["a", "b"] = "a"
    numbers: tuple[int, ...] = ()
    anything: Any = None
    items: list = []
    table: dict = {}
    name: str = Field(default="abc", min_length=2, max_length=5)

    @computed_field
    @property
    def count(self) -> int:
        return len(self.parts)


GOOD: list[dict[str, Any]] = [
    {},
    {"price": Decimal("1.50"), "rate": 1.5, "day": date(2024, 1, 1), "key": UUID(int=1), "kind": "b"},
    {"at": datetime(2024, 1, 1, 5), "numbers": (1, 2)},  # noqa: DTZ001 - naive on purpose
    {"anything": {"a": [1, 1.5, None, True, "x"]}, "items": [[]], "table": {"a": {}}},
]

# Each is of the announced type, or looks like it, and does not come back for sure.
DOUBTFUL: list[dict[str, Any]] = [
    {"rate": float("nan")},
    {"rate": float("inf")},
    {"rate": 1},
    {"price": Decimal("NaN")},
    {"price": 1},
    {"day": datetime(2024, 1, 1)},  # noqa: DTZ001 - a date by inheritance
    {"day": date(99, 1, 1)},
    {"at": datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1)))},
    {"anything": (1,)},
    {"anything": [1, {"b": 1, "a": 2}]},
    {"anything": [{1: 2}]},
    {"anything": [float("nan")]},
    {"table": {"a": date(2024, 1, 1)}},
    {"items": [(1,)]},
    {"at": datetime(2024, 1, 1, fold=1)},  # noqa: DTZ001 - naive on purpose
    {"kind": "c"},
    {"colour": "red"},
    {"numbers": [1]},
    {"numbers": (True,)},
    {"by_name": {"b": None, "a": None}},
    {"by_name": {1: None}},
    {"parts": [None]},
    {"parts": ({},)},
]


@pytest.mark.clause("RES-1")
@pytest.mark.parametrize("values", GOOD, ids=str)
def test_a_verdict_says_what_comparing_says(values: dict[str, Any]) -> None:
    part, model = Part("a", 1), PartModel(sku="a", count=1)
    of_dataclasses = Whole(parts=[part], by_name={"a": part, "b": None}, **values)
    of_models = WholeModel(parts=[model], by_name={"a": model, "b": None}, **values)
    for serializer, result in (
        (DataclassSerializer(Whole), of_dataclasses),
        (PydanticSerializer(WholeModel), of_models),
    ):
        test = verdict(type(result))
        assert test is not None
        assert test(result)
        assert difference(result, serializer.from_dict(decode(encode(serializer.to_dict(result))))) is None


@pytest.mark.clause("RES-2")
@pytest.mark.parametrize("values", DOUBTFUL, ids=str)
def test_what_is_doubtful_is_compared(values: dict[str, Any]) -> None:
    for kind, make in ((Whole, Whole), (WholeModel, WholeModel.model_construct)):
        test = verdict(kind)
        assert test is not None
        assert not test(make(**values))


def test_what_was_assigned_or_added_is_compared() -> None:
    test = verdict(WholeModel)
    assert test is not None
    for name, value in (
        ("name", "a"),
        ("name", "abcdef"),
        ("parts", [PartModel.model_construct(sku="a", count=-1)]),
    ):
        model = WholeModel()
        setattr(model, name, value)
        assert not test(model)
    whole = Whole()
    whole.more = 1  # type: ignore[attr-defined]
    assert (tell := verdict(Whole)) is not None
    assert not tell(whole)
    assert not tell(type("Sub", (Whole,), {})())


@dataclass
class Prepared:
    at: int

    def __post_init__(self) -> None:
        self.at += 1


@dataclass(slots=True)
class Slots:
    at: int


@dataclass
class Extra:
    at: int
    more: InitVar[int] = 0


@dataclass
class NotInit:
    at: int = field(init=False, default=0)


@dataclass
class Guarded:
    at: int

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value + 1)


@dataclass(init=False)
class OwnInit:
    at: int

    def __init__(self, at: int) -> None:
        self.at = at + 1


class Plain(BaseModel):
    at: int


class Private(Plain):
    _more: int = PrivateAttr(default=0)


class Checked(Plain):
    @field_validator("at")
    @classmethod
    def more(cls, at: int) -> int:
        return at + 1


class Posted(Plain):
    def model_post_init(self, context: Any) -> None:
        self.at += 1


class Inside(BaseModel):
    many: list[Annotated[int, AfterValidator(lambda at: at + 1)]]


class Renamed(BaseModel):
    at: int = Field(alias="At")


class Hidden(BaseModel):
    at: int = Field(default=0, exclude=True)


class Stripped(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True)
    at: str


class Dumped(Plain):
    def model_dump(self, **options: Any) -> Any:
        return {"at": 0}


class Open(Plain):
    model_config = ConfigDict(extra="allow")


class StrictComputed(Plain):
    model_config = ConfigDict(extra="forbid")

    @computed_field
    @property
    def more(self) -> int:
        return self.at


class HoldsDataclass(BaseModel):
    part: Part


@dataclass
class Tree:
    inner: "Tree | None" = None


class TreeModel(BaseModel):
    many: "list[TreeModel]" = []


@dataclass
class HoldsOdd:
    odd: Odd


@pytest.mark.parametrize(
    "kind",
    [
        *(Prepared, Slots, Extra, NotInit, Guarded, OwnInit, HoldsOdd, Tree, TreeModel),
        *(Private, Checked, Posted, Inside, Renamed, Hidden, Stripped, Dumped, Open, StrictComputed),
        *(HoldsDataclass, pydantic.RootModel[int], pydantic.dataclasses.dataclass(Part)),
        dataclasses.make_dataclass("Opaque", [("at", object)]),
        dataclasses.make_dataclass("Either", [("at", int | str)]),
        dataclasses.make_dataclass("Zoned", [("at", timezone)]),
    ],
)
def test_code_of_a_class_or_a_doubtful_type_takes_the_verdict_away(kind: Any) -> None:
    assert verdict(kind) is None


def test_only_dataclasses_give_utc_back_as_it_was() -> None:
    at = datetime(2024, 1, 1, tzinfo=UTC)
    of_dataclass, of_model = verdict(Whole), verdict(WholeModel)
    assert of_dataclass is not None
    assert of_model is not None
    assert of_dataclass(Whole(at=at))
    assert not of_model(WholeModel(at=at))
    back = DataclassSerializer(Whole).from_dict({"at": at.isoformat()})
    assert back.at.tzinfo is UTC
