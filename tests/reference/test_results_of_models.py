"""A Pydantic model is replayed unchanged, or the first caller gets an error."""

import dataclasses
import enum
import warnings
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

import pydantic
import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    PlainSerializer,
    PrivateAttr,
    SecretBytes,
    SecretStr,
    computed_field,
    field_serializer,
    field_validator,
    model_serializer,
)

from idemproof.serialization import PydanticSerializer
from replays import CARRIED, REFUSED, SAME, judged
from result_models import Line


class Issued(BaseModel):
    token: SecretStr


class IssuedMaybe(BaseModel):
    token: SecretStr | None = None
    raw: SecretBytes | None = None


class Secrets(BaseModel):
    by_name: dict[str, SecretStr] = {}
    issued: "list[Issued]" = []


Secret: Any = getattr(pydantic, "Secret", None)  # which old releases do not have


class Numbered(BaseModel):
    pin: Secret[int] if Secret else SecretStr


class Shown(BaseModel):
    token: Annotated[SecretStr, PlainSerializer(lambda secret: secret.get_secret_value())]


@pytest.mark.clause("RES-1", "RES-2", "RES-3")
def test_a_secret_comes_back_or_is_reported() -> None:
    assert judged(PydanticSerializer(Issued), lambda: Issued(token="t-83f1")) == REFUSED
    assert judged(PydanticSerializer(Numbered), lambda: Numbered(pin=5 if Secret else "5")) == REFUSED
    maybe = PydanticSerializer(IssuedMaybe)
    assert judged(maybe, lambda: IssuedMaybe(token="t")) == CARRIED
    assert judged(maybe, lambda: IssuedMaybe(raw=b"t")) == CARRIED
    assert judged(maybe, IssuedMaybe) == SAME
    many = PydanticSerializer(Secrets)
    assert judged(many, lambda: Secrets(by_name={"a": "t"})) == CARRIED
    assert judged(many, lambda: Secrets(issued=[Issued(token="t")])) == CARRIED
    assert judged(many, Secrets) == SAME
    assert judged(PydanticSerializer(Shown), lambda: Shown(token="t")) == SAME


def test_a_secret_by_the_return_annotation_is_refused() -> None:
    from idemproof.errors import IdempotencyModelTypeError  # noqa: PLC0415 - beside its only use
    from replays import protected  # noqa: PLC0415 - as above

    def issue(payload: Any) -> Issued:
        return Issued(token="t")

    with pytest.raises(IdempotencyModelTypeError, match=r"Issued\.token is a secret.*CustomDictSerializer"):
        protected(issue, PydanticSerializer)


class Receipt(BaseModel):
    id: int
    note: str = Field(default="", exclude=True)


class StrictReceipt(BaseModel):
    id: int
    note: str = Field(exclude=True)


class HasReceipt(BaseModel):
    inner: StrictReceipt


class Factory(BaseModel):
    tags: list[str] = Field(default_factory=list, exclude=True)


@pytest.mark.clause("RES-2", "RES-3")
def test_an_excluded_field_comes_back_or_is_reported() -> None:
    assert judged(PydanticSerializer(Receipt), lambda: Receipt(id=1, note="by hand")) == CARRIED
    assert judged(PydanticSerializer(Receipt), lambda: Receipt(id=1)) == SAME
    assert judged(PydanticSerializer(Factory), lambda: Factory(tags=["a"])) == CARRIED
    assert judged(PydanticSerializer(StrictReceipt), lambda: StrictReceipt(id=1, note="x")) == REFUSED
    assert (
        judged(PydanticSerializer(HasReceipt), lambda: HasReceipt(inner=StrictReceipt(id=1, note="x")))
        == REFUSED
    )


class Wire(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True)
    user_id: int = Field(validation_alias="uid", serialization_alias="userId")


class StrictWire(Wire):
    model_config = ConfigDict(serialize_by_alias=True, extra="forbid")


class Wires(BaseModel):
    wires: list[StrictWire]


class Swapped(BaseModel):
    a: int = Field(alias="b")
    b: int = Field(alias="a")


class Aliased(BaseModel):
    one: int = Field(alias="One")
    two: int = Field(validation_alias=AliasPath("t", 0))
    three: int = Field(validation_alias=AliasChoices("x", "y"))


@pytest.mark.clause("RES-1")
def test_other_names_out_than_in_come_back() -> None:
    assert judged(PydanticSerializer(Wire), lambda: Wire(uid=1)) == SAME
    assert judged(PydanticSerializer(StrictWire), lambda: StrictWire(uid=1)) == SAME
    assert judged(PydanticSerializer(Wires), lambda: Wires(wires=[StrictWire(uid=1)])) == SAME
    assert judged(PydanticSerializer(Aliased), lambda: Aliased(One=1, t=[2], y=3)) == SAME
    assert judged(PydanticSerializer(Swapped), lambda: Swapped(a=1, b=2)) == SAME


class Bill(BaseModel):
    lines: list[Line]


class OpenLine(BaseModel):
    model_config = ConfigDict(extra="allow")
    net: int

    @computed_field
    @property
    def gross(self) -> int:
        return self.net * 2


class OpenLines(BaseModel):
    lines: dict[str, OpenLine]


@pytest.mark.clause("RES-1")
def test_what_a_model_computes_need_not_be_read() -> None:
    assert judged(PydanticSerializer(Line), lambda: Line(net=5)) == SAME
    assert judged(PydanticSerializer(Bill), lambda: Bill(lines=[Line(net=5)])) == SAME
    assert judged(PydanticSerializer(OpenLine), lambda: OpenLine(net=5)) == SAME
    assert judged(PydanticSerializer(OpenLine), lambda: OpenLine(net=5, more="x")) == SAME
    assert judged(PydanticSerializer(OpenLines), lambda: OpenLines(lines={"a": OpenLine(net=5)})) == SAME


class Payout(BaseModel):
    iban: str

    @field_serializer("iban")
    def hide(self, value: str) -> str:
        return "****" + value[-4:]


class Payouts(BaseModel):
    payouts: list[Payout]


class Cents(BaseModel):
    cents: int

    @field_serializer("cents")
    def scaled(self, value: int) -> float:
        return value / 100


class Stay(BaseModel):
    on: date

    @field_serializer("on")
    def out(self, value: date) -> str:
        return value.strftime("%d/%m/%Y")


class Exchanged(BaseModel):
    on: date

    @field_serializer("on")
    def out(self, value: date) -> str:
        return value.strftime("%Y-%d-%m")


class ReadBack(Stay):
    @field_validator("on", mode="before")
    @classmethod
    def back(cls, value: Any) -> Any:
        return datetime.strptime(value, "%d/%m/%Y").date() if isinstance(value, str) else value  # noqa: DTZ007 - a date


class Sum(BaseModel):
    parts: list[int] = []

    @model_serializer
    def total(self) -> int:
        return sum(self.parts)


@pytest.mark.clause("RES-2")
def test_a_serializer_that_masks_scales_or_writes_otherwise_is_reported() -> None:
    iban = "NL20INGB0001234567"
    assert judged(PydanticSerializer(Payout), lambda: Payout(iban=iban)) == CARRIED
    assert judged(PydanticSerializer(Payouts), lambda: Payouts(payouts=[Payout(iban=iban)])) == CARRIED
    assert judged(PydanticSerializer(Cents), lambda: Cents(cents=500)) == CARRIED
    assert judged(PydanticSerializer(Stay), lambda: Stay(on=date(2024, 1, 20))) == CARRIED
    assert judged(PydanticSerializer(Exchanged), lambda: Exchanged(on=date(2024, 1, 2))) == CARRIED
    assert judged(PydanticSerializer(Exchanged), lambda: Exchanged(on=date(2024, 2, 2))) == SAME
    assert judged(PydanticSerializer(ReadBack), lambda: ReadBack(on=date(2024, 1, 20))) == SAME
    assert judged(PydanticSerializer(Sum), lambda: Sum(parts=[1, 2])) == CARRIED


T = TypeVar("T")


class Base(BaseModel):
    id: int


class Card(Base):
    last4: str


class Holder(BaseModel):
    one: Base | None = None
    many: list[Base] = []
    named: dict[str, Base] = {}


class Page(BaseModel, Generic[T]):
    items: list[T]


class Refusal(BaseModel):
    reason: str = ""


@pytest.mark.clause("RES-2")
@pytest.mark.parametrize(
    ("model", "make"),
    [
        (Base, lambda: Card(id=1, last4="4242")),
        (Holder, lambda: Holder(one=Card(id=1, last4="4242"))),
        (Holder, lambda: Holder(many=[Card(id=1, last4="4242")])),
        (Holder, lambda: Holder(named={"a": Card(id=1, last4="4242")})),
        (Page[Base], lambda: Page[Base](items=[Card(id=1, last4="4242")])),
        (Base, Refusal),
        (Holder, Refusal),
    ],
)
def test_a_subclass_or_another_model_is_reported(model: Any, make: Any) -> None:
    assert judged(PydanticSerializer(model), make) == CARRIED


def test_generic_models_come_back() -> None:
    assert judged(PydanticSerializer(Page[Base]), lambda: Page[Base](items=[Base(id=1)])) == SAME
    assert judged(PydanticSerializer(Page), lambda: Page(items=[1, "a"])) == SAME
    assert judged(PydanticSerializer(Page), lambda: Page(items=[date(2024, 1, 1)])) == CARRIED


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Twin(BaseModel):
    id: int


class Several(BaseModel):
    ref: UUID | str = ""
    day: date | str = ""
    price: Decimal | str = ""
    colour: Colour | str = ""
    level: Level | int = 0
    when: datetime | date | None = None
    number: int | str = 0
    either: Base | Refusal | None = None


@pytest.mark.clause("RES-1", "RES-2")
@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ({"ref": UUID(int=1)}, SAME),
        ({"ref": "free text"}, SAME),
        ({"ref": str(UUID(int=1))}, SAME),
        ({"day": date(2024, 1, 1)}, SAME),
        ({"day": date(2024, 1, 1), "ref": str(UUID(int=1))}, CARRIED),
        ({"price": Decimal("1.50")}, SAME),
        ({"colour": Colour.RED}, CARRIED),
        ({"level": Level.LOW}, CARRIED),
        ({"when": date(2024, 1, 1)}, SAME),
        ({"when": datetime(2024, 1, 1, 5)}, SAME),  # noqa: DTZ001 - the example
        ({"number": 1}, SAME),
        ({"number": "1"}, SAME),
        ({"either": Base(id=1)}, SAME),
        ({"either": Refusal(reason="x")}, SAME),
    ],
)
def test_a_field_of_several_types(values: dict[str, Any], outcome: str) -> None:
    assert judged(PydanticSerializer(Several), lambda: Several(**values)) == outcome


@pytest.mark.clause("RES-3")
@pytest.mark.parametrize(
    "annotation",
    [
        PurePosixPath | str,
        tuple | list,
        list | tuple,
        set[int] | list[int],
        Base | Twin,
        list[Base | Twin],
        dict[str, Twin | Base | None],
        SecretStr,
    ],
    ids=str,
)
def test_what_can_never_come_back_is_refused_when_decorated(annotation: Any) -> None:
    model = pydantic.create_model("Made", it=(annotation, ...))
    assert judged(PydanticSerializer(model), model.model_construct) == REFUSED


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    name: str


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


INNOCENT = [
    (str | None, "a"),
    (int | float, 1.5),
    (Base | Refusal, Refusal(reason="x")),
    (list[Base] | Base, [Base(id=1)]),
    (Cat | Dog, Dog(name="a")),
    (Annotated[Cat | Dog, Field(discriminator="kind")], Dog(name="a")),
    (Decimal | int, Decimal("1.5")),
    (Decimal | int, 5),
    (UUID | str, "x"),
    (str | int | float | bool | None, True),
    (dict[str, int] | list[int], {"a": 1}),
    (Literal["a"] | int, "a"),
    (timedelta, timedelta(days=-1, microseconds=5)),
    (bytes, b"text"),
    (datetime, datetime(2024, 1, 1, tzinfo=UTC)),
]


@pytest.mark.parametrize(("annotation", "value"), INNOCENT, ids=str)
def test_innocent_annotations_are_accepted_and_come_back(annotation: Any, value: Any) -> None:
    model = pydantic.create_model("Made", it=(annotation, ...))
    assert judged(PydanticSerializer(model), lambda: model(it=value)) == SAME


class Event(BaseModel):
    detail: Any = None
    items: list = []
    table: dict = {}


@pytest.mark.clause("RES-2")
@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ({"detail": date(2024, 1, 1)}, CARRIED),
        ({"detail": (1, 2)}, CARRIED),
        ({"detail": Base(id=1)}, CARRIED),
        ({"items": [date(2024, 1, 1)]}, CARRIED),
        ({"table": {1: "a"}}, CARRIED),
        ({"detail": {"a": [1, None, 1.5, True]}}, SAME),
        ({"items": [1, {"a": []}]}, SAME),
        ({"table": {"a": {"b": 1}}}, SAME),
    ],
)
def test_a_field_of_any_type(values: dict[str, Any], outcome: str) -> None:
    assert judged(PydanticSerializer(Event), lambda: Event(**values)) == outcome


class Filter(BaseModel):
    tags: Json[list[int]]
    more: Json = None


class Seen(BaseModel):
    seen: dict[tuple[int, str], bool] = {}


def test_json_texts_come_back_and_tuples_as_keys_are_reported() -> None:
    assert judged(PydanticSerializer(Filter), lambda: Filter(tags="[1, 2]", more='{"a": 1}')) == SAME
    assert judged(PydanticSerializer(Seen), lambda: Seen(seen={(1, "a"): True})) == CARRIED


class Job(BaseModel):
    id: int
    _tries: int = PrivateAttr(default=0)


def _tried() -> Job:
    job = Job(id=1)
    job._tries = 3
    return job


def _assigned() -> Base:
    base = Base(id=1)
    base.id = "x"  # type: ignore[assignment]
    return base


@pytest.mark.clause("RES-2")
def test_private_attributes_and_values_that_were_never_validated_are_reported() -> None:
    assert judged(PydanticSerializer(Job), _tried) == CARRIED
    assert judged(PydanticSerializer(Job), lambda: Job(id=1)) == SAME
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert judged(PydanticSerializer(Base), _assigned) == CARRIED
        assert judged(PydanticSerializer(Base), lambda: Base.model_construct(id="x")) == CARRIED


class Streaming(BaseModel):
    numbers: Iterable[int]


@pytest.mark.clause("RES-3")
def test_an_iterator_is_refused_before_it_is_used_up() -> None:
    assert judged(PydanticSerializer(Streaming), lambda: Streaming(numbers=iter([1]))) == REFUSED


@pydantic.dataclasses.dataclass
class Validated:
    one: Annotated[int, Field(alias="One")]


@dataclasses.dataclass
class Inside:
    at: date


class HoldsDataclasses(BaseModel):
    one: Validated
    two: Inside


def test_dataclasses_inside_models_come_back() -> None:
    def make() -> HoldsDataclasses:
        return HoldsDataclasses(one=Validated(One=1), two=Inside(date(2024, 1, 1)))

    assert judged(PydanticSerializer(HoldsDataclasses), make) == SAME


class Marked(pydantic.RootModel[list[Any]]):
    pass


@pytest.mark.parametrize(
    "value", [["idemproof:json", 1], ["idemproof:json", {"a": 1}], ["idemproof:json"], [1, 2]]
)
def test_a_list_that_looks_like_the_marked_form_comes_back(value: Any) -> None:
    assert judged(PydanticSerializer(Marked), lambda: Marked(value)) == SAME


@dataclasses.dataclass
class HoldsModels(Generic[T]):
    page: Page[T]
    several: Several | None = None


def test_generic_models_and_marked_forms_inside_dataclasses() -> None:
    from idemproof.serialization import DataclassSerializer  # noqa: PLC0415 - its only use here

    def make() -> HoldsModels[date]:
        return HoldsModels(Page[date](items=[date(2024, 1, 1)]), Several(ref=UUID(int=1)))

    assert judged(DataclassSerializer(HoldsModels[date]), make) == SAME
