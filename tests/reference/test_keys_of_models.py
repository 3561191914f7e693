"""Values that a model's dump masks, leaves out or cuts off: distinguished in keys, or refused by name."""

import base64
import datetime as dt
import enum
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

import pydantic
import pytest
from pydantic import (
    Base64Str,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    SecretBytes,
    SecretStr,
    SerializeAsAny,
    WrapSerializer,
    field_serializer,
    model_serializer,
)

from derived_keys import (
    REFUSED,
    assert_distinguished,
    assert_refused_both,
    assert_same,
    derived,
    refusal,
)

Secret: Any = getattr(pydantic, "Secret", None)  # which old releases do not have
SECRETS = [
    (SecretStr, SecretStr("4929"), SecretStr("5404")),
    (SecretBytes, SecretBytes(b"4929"), SecretBytes(b"5404")),
    *([(Secret[int], Secret[int](4929), Secret[int](5404))] if Secret else []),
    (SecretStr | None, SecretStr("4929"), SecretStr("5404")),
    (list[SecretStr], [SecretStr("4929")], [SecretStr("5404")]),
    (dict[str, SecretStr], {"card": SecretStr("4929")}, {"card": SecretStr("5404")}),
    (tuple[int, SecretStr], (1, SecretStr("4929")), (1, SecretStr("5404"))),
    (set[SecretStr], {SecretStr("4929")}, {SecretStr("5404")}),
    (dict[SecretStr, int], {SecretStr("4929"): 1}, {SecretStr("5404"): 1}),
]
SHAPES: list[Callable[[Any], Any]] = [
    lambda model: model,
    lambda model: {"booking": model},
    lambda model: [model],
    lambda model: {"bookings": [(model,)]},
]


def model_of(annotation: Any) -> Any:
    return pydantic.create_model("Booking", room=(int, ...), card=(annotation, ...))


@pytest.mark.clause("KEY-2")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("annotation", "one", "other"), SECRETS, ids=[str(each[0]) for each in SECRETS])
def test_a_secret_is_refused_and_not_shown(annotation: Any, one: Any, other: Any, shape: Any) -> None:
    booking = model_of(annotation)
    bookings = [shape(booking(room=7, card=card)) for card in (one, other)]
    assert_refused_both(*bookings)
    message = refusal(bookings[0])
    assert "card" in message
    assert "4929" not in message


@pytest.mark.clause("KEY-2")
@pytest.mark.parametrize(
    ("key", "check"), [("card", ""), ("[room, card]", ""), ("room", "card"), ("room", "@")]
)
@pytest.mark.parametrize(
    ("annotation", "one", "other"), SECRETS[:-5], ids=[str(each[0]) for each in SECRETS[:-5]]
)
def test_a_secret_that_is_selected_is_refused(
    annotation: Any, one: Any, other: Any, key: str, check: str
) -> None:
    booking = model_of(annotation)
    assert_refused_both(booking(room=7, card=one), booking(room=7, card=other), key, check)
    message = refusal(booking(room=7, card=one), key, check)
    assert "hash_secret" in message
    assert "4929" not in message


def test_a_secret_that_is_not_selected_may_stay() -> None:
    booking = model_of(SecretStr)
    assert_same(booking(room=7, card="4929"), booking(room=7, card="5404"), "room", "[room]")


@pytest.mark.clause("KEY-2")
@pytest.mark.parametrize(("annotation", "one", "other"), SECRETS, ids=[str(each[0]) for each in SECRETS])
@pytest.mark.parametrize(("key", "check"), [("", ""), ("card", ""), ("[room, card]", ""), ("room", "card")])
def test_with_a_hash_secret_secrets_are_distinguished(
    annotation: Any, one: Any, other: Any, key: str, check: str
) -> None:
    booking = model_of(annotation)
    assert_distinguished(
        booking(room=7, card=one), booking(room=7, card=other), key, check, hash_secret="pepper"
    )


def test_an_empty_secret_shows_that_it_is_empty() -> None:
    booking = model_of(SecretStr)
    assert derived(booking(room=7, card="")) == derived({"room": 7, "card": ""})


class Transfer(BaseModel):
    cents: int
    account: str = Field(exclude=True)


class Optional(BaseModel):
    cents: int
    account: str = Field("NL00", exclude=True)


NL01, NL02 = (Transfer(cents=500, account=account) for account in ("NL01", "NL02"))


@pytest.mark.clause("KEY-3")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", [Transfer, Optional])
def test_an_excluded_field_is_refused_in_the_whole(shape: Any, kind: Any) -> None:
    payload = shape(kind(cents=500, account="NL01"))
    assert "account" in refusal(payload)
    assert "NL01" not in refusal(payload)
    assert derived(shape(kind(cents=500, account="NL02"))) == REFUSED
    assert derived(payload, "`1`", "@") == REFUSED


@pytest.mark.clause("KEY-3")
def test_the_absence_of_an_excluded_field_says_its_default() -> None:
    assert derived(Optional(cents=500)) == derived({"cents": 500})
    assert derived(Optional(cents=500), "[account]") == derived(["NL00"])
    assert derived(Optional(cents=500), "*") == derived([500])
    assert derived(Optional(cents=500), "length(@)") == derived(1)


@pytest.mark.clause("KEY-3")
@pytest.mark.parametrize("key", ["account", "[cents, account]", "@.account", "{a: account}"])
def test_an_excluded_field_is_found_by_its_name(key: str) -> None:
    assert_distinguished(NL01, NL02, key)
    assert_distinguished({"t": NL01}, {"t": NL02}, f"t | {key}")
    assert_distinguished([NL01], [NL02], "[*].account")
    assert derived(NL01, "account") == derived("NL01")


@pytest.mark.clause("KEY-3")
def test_an_excluded_field_is_validated_by_its_name() -> None:
    assert_distinguished(NL01, NL02, "cents", "account")
    assert_same(NL01, NL02, "cents", "cents")


class Aliased(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True)

    cents: int
    account: str = Field(alias="accountNumber", exclude=True)


@pytest.mark.clause("KEY-3")
@pytest.mark.parametrize("name", ["account", "accountNumber"])
def test_an_excluded_field_is_found_by_its_alias_too(name: str) -> None:
    first, second = (Aliased(cents=500, accountNumber=account) for account in ("NL01", "NL02"))
    assert_distinguished(first, second, f"[cents, {name}]")
    assert_distinguished(first, second, "cents", name)
    assert derived(first) == REFUSED


def masked(value: str) -> str:
    return "*" * (len(value) - 4) + value[-4:]


class MaskedByMethod(BaseModel):
    cents: int
    iban: str

    @field_serializer("iban")
    def hide(self, value: str) -> str:
        return masked(value)


class MaskedByPlain(BaseModel):
    cents: int
    iban: Annotated[str, PlainSerializer(masked)]


class MaskedByWrap(BaseModel):
    cents: int
    iban: Annotated[str, WrapSerializer(lambda value, handler: masked(handler(value)))]


class MaskedWhole(BaseModel):
    cents: int
    iban: str

    @model_serializer(mode="wrap")
    def out(self, handler: Any) -> Any:
        return {**handler(self), "iban": masked(self.iban)}


class DroppedWhole(BaseModel):
    cents: int
    iban: str

    @model_serializer
    def out(self) -> dict[str, int]:
        return {"cents": self.cents}


class AsText(BaseModel):
    cents: int
    iban: str

    @model_serializer
    def out(self) -> str:
        return f"{self.cents} to somebody"


MASKS = [MaskedByMethod, MaskedByPlain, MaskedByWrap, MaskedWhole, DroppedWhole, AsText]


@pytest.mark.clause("KEY-4")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", MASKS)
def test_what_a_serializer_masks_or_drops_is_refused(kind: Any, shape: Any) -> None:
    payouts = [shape(kind(cents=1, iban=iban)) for iban in ("NL011234", "NL021234")]
    assert_refused_both(*payouts)
    assert "NL01" not in refusal(payouts[0])


@pytest.mark.clause("KEY-4")
@pytest.mark.parametrize("kind", MASKS[:-1])
def test_a_masked_field_that_is_selected_is_refused_or_found(kind: Any) -> None:
    one, other = (kind(cents=1, iban=iban) for iban in ("NL011234", "NL021234"))
    for payloads in ((one, other), ({"p": one}, {"p": other})):
        path = "iban" if payloads[0] is one else "p.iban"
        (assert_distinguished if kind is DroppedWhole else assert_refused_both)(*payloads, path)
        (assert_distinguished if kind is DroppedWhole else assert_refused_both)(*payloads, "`1`", path)


class Charge(BaseModel):
    amount: Decimal

    @field_serializer("amount")
    def out(self, value: Decimal) -> str:
        return f"{value:.2f}"


@pytest.mark.clause("KEY-4")
def test_a_serializer_that_rounds_is_refused_where_it_loses_digits() -> None:
    assert_refused_both(Charge(amount=Decimal("1.003")), Charge(amount=Decimal("1.004")))
    assert derived(Charge(amount=Decimal("1.5"))) == derived({"amount": "1.50"})


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


def written(annotation: Any, write: Callable[[Any], Any]) -> Any:
    return pydantic.create_model("Written", value=(Annotated[annotation, PlainSerializer(write)], ...))


DAY, MOMENT = dt.date(2026, 1, 2), dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
FAITHFUL = [
    (dt.date, DAY, lambda day: day.strftime("%d.%m.%Y")),
    (dt.date, DAY, lambda day: day.strftime("%Y%m%d")),
    (dt.date, DAY, lambda day: day.strftime("%d %B %Y")),
    (dt.date, DAY, lambda day: f"{day.month}/{day.day}/{day.year}"),
    (dt.date, DAY, lambda day: day.toordinal()),
    (dt.datetime, MOMENT, lambda at: at.strftime("%Y-%m-%d %H:%M:%S")),
    (dt.datetime, MOMENT, lambda at: at.strftime("%d/%m/%Y %H:%M:%SZ")),
    (dt.datetime, MOMENT, lambda at: int(at.timestamp())),
    (dt.datetime, MOMENT, lambda at: at.timestamp() * 1000),
    (dt.timedelta, dt.timedelta(hours=1), lambda period: period.total_seconds()),
    (Decimal, Decimal("1234.50"), lambda amount: f"EUR {amount:,.2f}"),
    (Decimal, Decimal("1.50"), str),
    (Decimal, Decimal("1.50"), float),
    (int, 15, lambda number: f"no. {number}"),
    (int, 15, str),
    (str, "abc", lambda text: f"<{text}>"),
    (Colour, Colour.RED, lambda colour: colour.name),
    (Colour, Colour.RED, lambda colour: colour.name.title()),
    (bool, True, lambda answer: "ja" if answer else "nein"),
    (UUID, UUID(int=7), lambda each: each.hex),
    (bytes, b"abc", lambda data: data.hex()),
    (list[str], ["a", "b"], ",".join),
    (dict[str, int], {"a": 1}, lambda each: [{"name": name, "count": count} for name, count in each.items()]),
]


@pytest.mark.clause("KEY-4")
@pytest.mark.parametrize(("annotation", "value", "write"), FAITHFUL)
def test_a_serializer_that_loses_nothing_goes_on_working(annotation: Any, value: Any, write: Any) -> None:
    model = written(annotation, write)(value=value)
    expected = model.model_dump(mode="json")
    assert derived(model) == derived(expected)
    assert derived({"model": model}, "[model.value]") == derived([expected["value"]])


LOSSY = [
    (dt.date, DAY, lambda day: day.strftime("%Y-%m")),
    (dt.date, dt.date(2026, 1, 1), lambda day: day.strftime("%Y-%m")),
    (dt.date, DAY, lambda day: day.year),
    (dt.datetime, MOMENT, lambda at: at.strftime("%Y-%m-%d")),
    (dt.datetime, MOMENT.replace(microsecond=5), lambda at: int(at.timestamp())),
    (
        dt.datetime,
        MOMENT.astimezone(dt.timezone(dt.timedelta(hours=2))),
        lambda at: at.strftime("%Y-%m-%d %H:%M:%S"),
    ),
    (str, "NL01", len),
    (str, "NL01", lambda text: None),
    (str, "NL01", str.lower),
    (str | None, None, lambda text: text or ""),
    (int, 1234, lambda number: number // 100),
    (int, 7, lambda number: number > 0),
    (float, 1.004, lambda number: round(number, 2)),
    (Colour, Colour.RED, lambda colour: "colour"),
    (bool, True, lambda answer: "said"),
    (UUID, UUID(int=7 << 96), lambda each: each.hex[:8]),
    (bytes, b"abc", lambda data: "<data>"),
    (list[int], [2, 1], sorted),
    (list[int], [2, 1], lambda items: items[:1]),
    (list[str], ["a,b", "c"], ",".join),
    (dict[str, int], {"a": 1}, list),
    (tuple[str, str], ("a", "b"), "".join),
]


@pytest.mark.clause("KEY-4")
@pytest.mark.parametrize(("annotation", "value", "write"), LOSSY)
def test_a_serializer_that_loses_something_is_refused(annotation: Any, value: Any, write: Any) -> None:
    model = written(annotation, write)(value=value)
    assert derived(model) == derived(model, "value") == derived([model], "[*].value | [0]") == REFUSED
    assert derived(model, "`1`", "value") == REFUSED
    assert "$.value" in refusal(model)


def test_forms_that_pydantic_itself_can_choose_go_on_working() -> None:
    class Hexed(BaseModel):
        model_config = ConfigDict(ser_json_bytes="hex", ser_json_timedelta="float")
        data: bytes
        period: dt.timedelta
        text: Base64Str

    model = Hexed(data=b"\xff", period=dt.timedelta(seconds=1.5), text=base64.b64encode(b"text"))
    assert derived(model) == derived(model.model_dump(mode="json"))


def test_numbers_that_json_cannot_hold_are_not_taken_for_none() -> None:
    class Measured(BaseModel):
        value: float | None
        unit: str = "m"

    found = [derived(Measured(value=value)) for value in (float("inf"), float("-inf"), float("nan"), None)]
    distinct = [each for each in found if each != REFUSED]
    assert len(set(distinct)) == len(distinct)


class Means(BaseModel):
    pass


class Bank(Means):
    iban: str


@dataclass
class Party:
    pass


@dataclass
class Person(Party):
    name: str


T = TypeVar("T")


class Box(BaseModel, Generic[T]):
    inside: T


BANKS = Bank(iban="NL01"), Bank(iban="NL02")
PLACES = [
    (Means, lambda means: means, "means.iban"),
    (Means | None, lambda means: means, "means.iban"),
    (list[Means], lambda means: [means], "means[0].iban"),
    (list[Means], lambda means: [means], "means[*].iban"),
    (dict[str, Means], lambda means: {"a": means}, "means.a.iban"),
    (tuple[Means, ...], lambda means: (means,), "means[0].iban"),
    (deque[Means], lambda means: deque([means]), "means[0].iban"),
    (Box[Means], lambda means: Box[Means](inside=means), "means.inside.iban"),
    (RootModel[list[Means]], lambda means: RootModel[list[Means]]([means]), "means[0].iban"),
    (SerializeAsAny[Means], lambda means: means, "means.iban"),
    (Any, lambda means: means, "means.iban"),
]


@pytest.mark.clause("KEY-5")
@pytest.mark.parametrize(
    ("annotation", "put", "path"), PLACES, ids=[str(each[0]) + each[2] for each in PLACES]
)
def test_a_subclass_in_a_field_of_its_base_is_distinguished(annotation: Any, put: Any, path: str) -> None:
    order = pydantic.create_model("Order", cents=(int, ...), means=(annotation, ...))
    one, other = (order(cents=1, means=put(bank)) for bank in BANKS)
    assert_distinguished(one, other)
    assert_distinguished(one, other, path)
    assert_distinguished(one, other, f"[cents, {path}]")
    assert_distinguished(one, other, "cents", path)
    assert_distinguished({"o": [one]}, {"o": [other]}, f"o[0].{path}")


@pytest.mark.clause("KEY-5")
def test_a_dataclass_of_a_subclass_in_a_field_is_distinguished() -> None:
    class Contract(BaseModel):
        party: Party
        parties: list[Party] = []

    assert_distinguished(Contract(party=Person("A")), Contract(party=Person("B")))
    assert_distinguished(
        *(Contract(party=Party(), parties=[Person(name)]) for name in "AB"), "parties[*].name"
    )


def test_a_discriminated_union_goes_on_working() -> None:
    class Card(BaseModel):
        kind: Literal["card"] = "card"
        number: str

    class Cash(BaseModel):
        kind: Literal["cash"] = "cash"

    class Order(BaseModel):
        means: Card | Cash = Field(discriminator="kind")

    order = Order(means=Card(number="1"))
    assert derived(order) == derived({"means": {"kind": "card", "number": "1"}})
