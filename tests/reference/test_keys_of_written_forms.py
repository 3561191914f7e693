"""Custom forms of serializers, aliases and computed fields: distinguished in keys, or refused."""

import base64
import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any

import pydantic
import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    RootModel,
    SecretStr,
    computed_field,
    field_serializer,
    model_serializer,
)

from derived_keys import (
    REFUSED,
    assert_distinguished,
    assert_refused_both,
    derived,
)


class Table(RootModel[dict[str, int]]):
    pass


def test_a_root_model_is_what_it_holds() -> None:
    assert derived(Table({"a": 1})) == derived({"a": 1})
    assert derived({"t": Table({"a": 1})}, "t.a") == derived(1)
    card = RootModel[dict[str, SecretStr]]
    assert_refused_both(card({"a": "1"}), card({"a": "2"}))


class Computed(BaseModel):
    _text: str = PrivateAttr(default="")

    @computed_field
    def token(self) -> SecretStr:
        return SecretStr(self._text)


class ComputedMasked(BaseModel):
    _text: str = PrivateAttr(default="")

    @computed_field
    def token(self) -> Annotated[str, PlainSerializer(lambda _: "***")]:
        return self._text


class ComputedBase(BaseModel):
    _text: str = PrivateAttr(default="")

    @computed_field
    def token(self) -> BaseModel:
        return Money(amount=Decimal(1), currency=self._text)


class Money(BaseModel):
    amount: Decimal
    currency: str


def computing(kind: Any, text: str) -> Any:
    model = kind()
    model._text = text
    return model


@pytest.mark.clause("KEY-2", "KEY-4", "KEY-5")
@pytest.mark.parametrize("key", ["", "token"])
def test_what_a_model_computes_is_compared_too(key: str) -> None:
    for kind in (Computed, ComputedMasked):
        assert_refused_both(computing(kind, "a"), computing(kind, "b"), key)
        assert_refused_both(computing(kind, "a"), computing(kind, "b"), "`1`", key or "@")
    assert_distinguished(computing(ComputedBase, "a"), computing(ComputedBase, "b"), key)
    assert_distinguished(computing(Computed, "a"), computing(Computed, "b"), key, hash_secret="pepper")


class Wire(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)
    user: int = Field(serialization_alias="userId")
    card: SecretStr = Field(default=SecretStr(""), serialization_alias="cardNumber")


class Crossed(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)
    a: SecretStr = Field(serialization_alias="b")
    b: str = Field(serialization_alias="a")


@pytest.mark.clause("KEY-2", "KEY-3")
def test_a_field_that_is_dumped_by_an_alias_is_found_by_both_names() -> None:
    one, other = Wire(user=1), Wire(user=2)
    assert derived(one, "user") == derived(one, "userId") == derived(1)
    assert derived(one) == derived({"userId": 1, "cardNumber": ""})
    assert derived(one, "length(@)") == derived(2)
    assert_distinguished(one, other, "[user]")
    assert_distinguished({"w": one}, {"w": other}, "w.user")
    cards = [Wire(user=1, card=card) for card in "ab"]
    for name in ("card", "cardNumber"):
        assert_refused_both(*cards, name)
        assert_distinguished(*cards, name, hash_secret="pepper")


@pytest.mark.clause("KEY-2")
@pytest.mark.parametrize("key", ["", "b", "[b]"])
def test_aliases_that_are_names_of_other_fields_hide_no_secret(key: str) -> None:
    assert_refused_both(*(Crossed(a=secret, b="**********") for secret in "xy"), key)


class Ordered(BaseModel):
    a: int
    b: int

    @model_serializer
    def out(self) -> dict[str, int]:
        return {"least": min(self.a, self.b), "most": max(self.a, self.b)}


class Renamed(BaseModel):
    a: int
    b: int
    on: dt.date

    @model_serializer
    def out(self) -> dict[str, Any]:
        return {"onDay": self.on.isoformat(), "theA": self.a, "theB": self.b}


class Listed(BaseModel):
    a: str
    b: str

    @model_serializer
    def out(self) -> list[str]:
        return [self.a, self.b]


class Joined(BaseModel):
    amount: Decimal
    currency: str

    @model_serializer
    def out(self) -> str:
        return f"{self.amount} {self.currency}"


class Glued(BaseModel):
    a: str
    b: str

    @model_serializer
    def out(self) -> str:
        return self.a + self.b


@pytest.mark.clause("KEY-4")
def test_what_a_serializer_of_the_whole_model_puts_elsewhere_is_seen_there() -> None:
    day = dt.date(2026, 1, 2)
    assert derived(Ordered(a=1, b=2)) == REFUSED
    assert_distinguished(Renamed(a=1, b=2, on=day), Renamed(a=2, b=1, on=day))
    assert_distinguished(Renamed(a=1, b=2, on=day), Renamed(a=2, b=1, on=day), "[a]")
    assert_distinguished(Listed(a="ab", b="c"), Listed(a="a", b="bc"))
    assert_distinguished(Joined(amount=1, currency="EUR"), Joined(amount=1, currency="USD"))
    assert_refused_both(Glued(a="ab", b="c"), Glued(a="a", b="bc"))


def written(annotation: Any, value: Any, write: Callable[[Any], Any]) -> Any:
    model = pydantic.create_model("Written", value=(Annotated[annotation, PlainSerializer(write)], ...))
    return model(value=value)


LOSSY = [
    (str, "r", lambda _: "redacted"),
    (str, "d", lambda _: "redacted"),
    (str, "-", lambda _: "---"),
    (list[str], ["a,b"], ",".join),
    (list[str], ["a b"], "".join),
    (dt.timedelta, dt.timedelta(days=99_999_999, microseconds=1), lambda span: span.total_seconds()),
    (dt.datetime, dt.datetime(9999, 1, 1, 0, 0, 0, 1, dt.UTC), lambda at: at.timestamp()),
    (
        dict[tuple[str, ...], int],
        {("a,b",): 1},
        lambda names: {",".join(name): n for name, n in names.items()},
    ),
]
FAITHFUL = [
    (str, "abc", lambda text: f"code {text}"),
    (str, "abc", lambda text: f"<{text}>"),
    (list[str], ["a b"], ",".join),
    (bytes, b"\xff\xfe", lambda data: base64.b64encode(data).decode()),
    (dt.timedelta, dt.timedelta(hours=1, microseconds=1), lambda span: span.total_seconds()),
    (dict[tuple[str, ...], int], {("a", "b"): 1}, dict),
]


@pytest.mark.clause("KEY-4")
@pytest.mark.parametrize(("annotation", "value", "write"), LOSSY)
def test_what_may_be_written_for_another_value_is_refused(annotation: Any, value: Any, write: Any) -> None:
    assert derived(written(annotation, value, write)) == REFUSED


@pytest.mark.clause("KEY-4")
@pytest.mark.parametrize(("annotation", "value", "write"), FAITHFUL)
def test_what_shows_its_value_goes_on_working(annotation: Any, value: Any, write: Any) -> None:
    model = written(annotation, value, write)
    assert derived(model) == derived(model.model_dump(mode="json"))


def test_a_mask_in_a_list_is_no_text_around_a_value() -> None:
    hiding = Annotated[str, PlainSerializer(lambda _: "hidden")]
    model = pydantic.create_model("Model", values=(list[hiding], ...))
    assert_refused_both(model(values=["h"]), model(values=["d"]))


@pytest.mark.parametrize("mode", ["utf8", "base64", "hex"])
def test_every_form_of_bytes_that_pydantic_can_choose_goes_on_working(mode: Any) -> None:
    class Holding(BaseModel):
        model_config = ConfigDict(ser_json_bytes=mode)
        data: bytes

    assert derived(Holding(data=b"ab")) == derived(Holding(data=b"ab").model_dump(mode="json"))
    assert_distinguished(Holding(data=b"ab"), Holding(data=b"ac"))


def test_a_value_of_a_class_of_the_user_that_is_written_as_its_only_part_is_distinguished() -> None:
    class Number:
        def __init__(self, value: int) -> None:
            self.value = value

    class Holding(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        number: Number

        @field_serializer("number")
        def out(self, number: Number) -> int:
            return number.value

    assert_distinguished(*(Holding(number=Number(value)) for value in (1, 2)))


def test_a_pattern_with_flags_is_no_longer_its_text() -> None:
    searching = pydantic.create_model("Searching", pattern=(re.Pattern, ...))
    assert derived(searching(pattern="a")) == derived({"pattern": "a"})
    assert derived(searching(pattern=re.compile("a", re.IGNORECASE))) == REFUSED


class Excluding(BaseModel):
    a: int
    on: dt.date = dt.date(2026, 1, 1)

    def model_dump(self, **settings: Any) -> Any:
        return super().model_dump(**settings, exclude={"on"})


@pytest.mark.clause("KEY-3")
def test_what_a_dump_of_the_user_leaves_out_is_found_by_its_name() -> None:
    one, other = (Excluding(a=1, on=dt.date(2026, 1, day)) for day in (2, 3))
    assert_refused_both(one, other)
    assert_distinguished(one, other, "on")
