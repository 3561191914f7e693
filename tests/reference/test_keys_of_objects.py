"""Objects, tuples and forms in payloads: an expression finds what is in them, or the call is refused."""

import datetime as dt
import email.message
import enum
import pathlib
import time
import uuid
from collections import ChainMap, OrderedDict, UserDict, defaultdict, deque, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import django.conf
import flask
import httpx
import multidict
import pydantic
import pytest
import starlette.datastructures
import werkzeug.datastructures
from aws_lambda_powertools.utilities.data_classes import SQSEvent
from django.http import QueryDict
from pydantic import v1 as pydantic_v1

from derived_keys import REFUSED, assert_distinguished, assert_refused_both, assert_same, derived, refusal

if not django.conf.settings.configured:
    django.conf.settings.configure()


@dataclass
class Leg:
    train: str
    cents: int


class LegModel(pydantic.BaseModel):
    train: str
    cents: int


class LegTuple(NamedTuple):
    train: str
    cents: int


@dataclass(slots=True, frozen=True)
class LegSlots:
    train: str
    cents: int


@pydantic.dataclasses.dataclass
class LegValidated:
    train: str
    cents: int


class LegV1(pydantic_v1.BaseModel):
    train: str
    cents: int


def leg_event(train: str, cents: int) -> Any:
    return SimpleNamespace(raw_event={"train": train, "cents": cents})


def leg_mapping(train: str, cents: int) -> Any:
    return MappingProxyType({"train": train, "cents": cents})


def leg_user_dict(train: str, cents: int) -> Any:
    return UserDict({"train": train, "cents": cents})


def leg_model(train: str, cents: int) -> Any:
    return LegModel(train=train, cents=cents)


def leg_v1(train: str, cents: int) -> Any:
    return LegV1(train=train, cents=cents)


LEGS = [Leg, leg_model, LegTuple, LegSlots, LegValidated, leg_v1, leg_event, leg_mapping, leg_user_dict]
PATHS = [
    "leg.train",
    "[id, leg.train]",
    "legs[0].train",
    "[id, legs[*].train]",
    "at[0].train",
    "[id, at[*].train]",
]


def trip(leg: Any, **more: Any) -> dict[str, Any]:
    return {"id": 1, "leg": leg, "legs": [leg], "at": (leg,), **more}


@pytest.mark.clause("KEY-6")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("make", LEGS)
def test_a_path_into_an_object_is_found(make: Any, path: str) -> None:
    one, other = (trip(make(train, 900)) for train in ("IC1", "IC2"))
    assert_distinguished(one, other, path)
    assert_same(one, trip(make("IC1", 100)), path)
    assert derived(one, path) == derived(trip({"train": "IC1", "cents": 9}), path)


@pytest.mark.clause("KEY-6")
@pytest.mark.parametrize(
    "check", ["leg.cents", "legs[*].cents", "legs[0].cents", "at[0].cents", "at[].cents"]
)
@pytest.mark.parametrize("make", LEGS)
def test_what_an_object_holds_is_validated(make: Any, check: str) -> None:
    assert_distinguished(trip(make("IC1", 900)), trip(make("IC1", 100)), "id", check)
    assert_same(trip(make("IC1", 900)), trip(make("IC2", 900)), "id", check)


@pytest.mark.clause("KEY-6")
@pytest.mark.parametrize("make", LEGS)
def test_an_object_in_a_field_of_a_dataclass_or_model_is_found(make: Any) -> None:
    @dataclass(frozen=True)
    class Trip:
        id: int
        legs: tuple[Any, ...]

    class TripModel(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        id: int
        legs: tuple[Any, ...]

    for kind in (Trip, *([TripModel] if make not in (leg_event, leg_mapping, leg_v1, leg_user_dict) else [])):
        one, other = (kind(id=1, legs=(make("IC1", cents),)) for cents in (900, 100))
        assert_distinguished(one, other, "id", "legs[*].cents")
        assert_distinguished(one, other, "[id, legs[*].cents]")


@pytest.mark.clause("KEY-6")
@pytest.mark.parametrize(
    ("one", "other", "path"),
    [
        ({"at": (1, 2)}, {"at": (3, 2)}, "at[0]"),
        ({"id": 1, "at": (1, 2)}, {"id": 1, "at": (3, 2)}, "[id, at[0]]"),
        ((1, 2), (3, 2), "[0]"),
        ((1, 2), (3, 2), "[:1]"),
        ((1, 2), (3, 2), "[]"),
        ((1, 2), (3, 2), "[?@ > `0`]"),
        ((1, 2), (1, 3), "sum(@)"),
        ((1, 2), (1, 2, 3), "length(@)"),
        (([1], [2]), ([1], [3]), "[]"),
        (([1], (2,)), ([1], (3,)), "[] | [1]"),
        (deque([1, 2]), deque([3, 2]), "[0]"),
        ({"leg": LegTuple("a", 1)}, {"leg": LegTuple("b", 1)}, "leg[0]"),
        (LegTuple("a", 1), LegTuple("b", 1), "train"),
        (
            {"legs": (Leg("a", 1), Leg("b", 2))},
            {"legs": (Leg("a", 1), Leg("c", 2))},
            "max_by(legs, &cents).train",
        ),
        ({"legs": [Leg("a", 1)]}, {"legs": [Leg("b", 1)]}, "legs[*].*"),
        ({"legs": [Leg("a", 1)]}, {"legs": [Leg("b", 1)]}, "map(&train, legs)"),
        ({"legs": [Leg("a", 1)]}, {"legs": [Leg("b", 1)]}, "legs[*].to_string(@)"),
        ({"leg": Leg("a", 1)}, {"leg": Leg("b", 1)}, "merge(leg, {x: `1`})"),
        ({"leg": LegModel(train="a", cents=1)}, {"leg": LegModel(train="b", cents=1)}, "values(leg)"),
        (
            {"legs": [Leg("a", 1)], "x": Leg("a", 1)},
            {"legs": [Leg("a", 1)], "x": Leg("b", 1)},
            "[legs[0] == x]",
        ),
        (
            {"legs": (Leg("a", 1),), "x": "a"},
            {"legs": (Leg("a", 1),), "x": "b"},
            "contains(legs[*].train, x)",
        ),
        ({"a": (), "b": 1}, {"a": (), "b": 2}, "a || b"),
        ({"a": (1,), "b": 1}, {"a": (1,), "b": 2}, "a && b"),
    ],
)
def test_tuples_and_objects_are_searched_as_lists_and_objects(one: Any, other: Any, path: str) -> None:
    assert REFUSED not in (derived(one, path), derived(other, path))
    assert derived(one, path) != derived(other, path)


UNSELECTED = [
    object(),
    {1, 2},
    SimpleNamespace(a=1),
    lambda: None,
    LegModel,
    iter(()),
    {("a",): object()},
]


@pytest.mark.clause("KEY-7")
@pytest.mark.parametrize("anything", UNSELECTED, ids=[str(n) for n in range(len(UNSELECTED))])
def test_what_is_not_selected_may_be_anything(anything: Any) -> None:
    assert derived(trip(anything, x=[anything]), "id", "[id]") == derived(trip(None, x=[]), "id", "[id]")
    assert derived({"legs": [{"train": "a", "x": anything}]}, "legs[*].train") == derived(["a"])


class Untouchable(pydantic.BaseModel):
    x: int = 1

    def model_dump(self, **settings: Any) -> Any:
        raise AssertionError("it was touched")


@pytest.mark.clause("KEY-7")
def test_what_is_not_selected_is_not_even_opened() -> None:
    assert derived({"id": 1, "m": Untouchable(), "n": [Untouchable()]}, "id") == derived(1)
    assert derived([Untouchable(), 7], "[1]") == derived(7)


def query(text: str) -> Any:
    return QueryDict(text)


def werkzeug_of(kind: Any) -> Any:
    return lambda text: kind([pair.split("=") for pair in text.split("&")])


def headers(text: str) -> email.message.Message:
    message = email.message.Message()
    for pair in text.split("&"):
        message.add_header(*pair.split("="))
    return message


FORMS = {
    "django": query,
    "werkzeug": werkzeug_of(werkzeug.datastructures.MultiDict),
    "werkzeug-immutable": werkzeug_of(werkzeug.datastructures.ImmutableMultiDict),
    "werkzeug-combined": lambda text: werkzeug.datastructures.CombinedMultiDict(
        [werkzeug_of(werkzeug.datastructures.MultiDict)(text)]
    ),
    "werkzeug-headers": werkzeug_of(werkzeug.datastructures.Headers),
    "starlette-query": starlette.datastructures.QueryParams,
    "starlette-form": werkzeug_of(starlette.datastructures.FormData),
    "starlette-headers": lambda text: starlette.datastructures.Headers(
        raw=[
            (name.lower().encode(), value.encode())
            for name, value in (pair.split("=") for pair in text.split("&"))
        ]
    ),
    "multidict": werkzeug_of(multidict.MultiDict),
    "multidict-proxy": lambda text: multidict.MultiDictProxy(werkzeug_of(multidict.MultiDict)(text)),
    "cimultidict": werkzeug_of(multidict.CIMultiDict),
    "httpx-query": httpx.QueryParams,
    "email": headers,
}


@pytest.mark.clause("KEY-8")
@pytest.mark.parametrize(
    "changed", ["buyer=7&row=E&row=D", "buyer=7&row=C&row=E", "buyer=7&row=C", "buyer=7&row=C&row=D&row=D"]
)
@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_all_values_of_a_form_count(make: Any, changed: str) -> None:
    one, other = make("buyer=7&row=C&row=D"), make(changed)
    assert derived(one) == derived({"buyer": "7", "row": ["C", "D"]})
    for payloads, path in (((one, other), ""), (({"form": one}, {"form": other}), "form.")):
        assert_distinguished(*payloads)
        assert_distinguished(*payloads, f"{path}row")
        assert_distinguished(*payloads, f"[{path}buyer, {path}row]")
        assert_distinguished(*payloads, f"{path}buyer", f"{path}row")
        assert_distinguished(*payloads, f"{path}buyer", "@")


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_forms_without_repeated_names_are_what_they_hold(make: Any) -> None:
    assert derived(make("buyer=7&row=C")) == derived({"buyer": "7", "row": "C"})
    assert derived(make("buyer=7&row=C"), "row") == derived("C")
    assert derived({"f": make("buyer=7")}, "not_null(f.row, f.buyer)") == derived("7")


def test_names_of_headers_have_no_case() -> None:
    for name in ("werkzeug-headers", "starlette-headers", "cimultidict", "email"):
        assert derived(FORMS[name]("X-Key=a&y=b"), '"x-key"') == derived("a")


def test_a_lone_list_is_not_the_same_as_its_items() -> None:
    lone = werkzeug.datastructures.MultiDict([("row", ["C", "D"])])
    assert_distinguished(lone, FORMS["werkzeug"]("row=C&row=D"))


@pytest.mark.clause("KEY-8")
def test_a_flask_form_counts_with_all_values() -> None:
    app = flask.Flask(__name__)
    found = []
    for row in "DE":
        with app.test_request_context(
            "/",
            method="POST",
            data=f"buyer=7&row=C&row={row}",
            content_type="application/x-www-form-urlencoded",
        ):
            found += [(derived(flask.request.form), derived(flask.request.form, "row"))]
            assert derived(flask.request, "form.row") == REFUSED
            assert "Request" in refusal(flask.request, "form.row")
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1]


class First(dict[str, Any]):
    """Shows the first of several values."""

    def items(self) -> Any:
        return [(name, values[0]) for name, values in super().items()]


@pytest.mark.clause("KEY-8")
def test_a_dict_that_shows_other_items_than_it_holds_is_refused() -> None:
    assert_refused_both(First(row=["C", "D"]), First(row=["C", "E"]))
    assert_refused_both({"f": First(row=["C", "D"])}, {"f": First(row=["C", "E"])})
    assert "First" in refusal(First(row="CD"))


@pytest.mark.parametrize(
    "kind", [OrderedDict, UserDict, MappingProxyType, ChainMap, lambda d: defaultdict(int, d)]
)
def test_other_mappings_are_objects(kind: Any) -> None:
    assert derived({"m": kind({"a": 1})}) == derived({"m": {"a": 1}})
    assert derived(kind({"a": 1}), "a") == derived(1)
    assert derived(kind({"a": 1}), "*") == derived([1])


class ToDict:
    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    def to_dict(self) -> Any:
        return self.fields


OPAQUE = [SimpleNamespace, ToDict, lambda **fields: iter(fields), lambda **fields: {1}]


@pytest.mark.clause("KEY-9")
@pytest.mark.parametrize("make", OPAQUE)
@pytest.mark.parametrize(
    "key", ["id", "[id, kind]", "*", "[0]", "[*].id", "[].id", "[?id]", "keys(@)", "id.x || `1`"]
)
def test_an_object_that_nothing_can_read_is_refused(make: Any, key: str) -> None:
    event = make(id="evt_1", kind="paid")
    for strict in (False, True):
        message = refusal(event, key, raise_on_no_idempotency_key=strict)
        assert type(event).__name__ in message
        assert "evt_1" not in message
    assert type(event).__name__ in refusal({"event": event}, f"event | {key}")


@pytest.mark.clause("KEY-9")
@pytest.mark.parametrize("make", OPAQUE)
def test_validation_of_an_object_that_nothing_can_read_is_refused(make: Any) -> None:
    assert_refused_both(*({"id": 1, "event": make(kind=kind)} for kind in "ab"), "id", "event.kind")


@pytest.mark.parametrize(
    "leaf",
    ["text", 5, True, None, dt.date(2026, 1, 1), uuid.UUID(int=1), pathlib.Path("a"), Decimal(1), b"x"],
)
def test_a_path_into_what_has_no_parts_finds_nothing(leaf: Any) -> None:
    assert derived({"id": 1, "leaf": leaf}, "not_null(leaf.x, leaf[0], leaf.*, id)") == derived(1)


class Kind(enum.Enum):
    PAIR = (1, 2)
    DATE = dt.date(2026, 1, 1)


def test_leaves_are_written_as_before() -> None:
    at = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    payload = {"at": at, "n": [Decimal("1.0"), Decimal("NaN")], "k": Kind.PAIR, "d": {Kind: 1} and Kind.DATE}
    written = {"at": at.isoformat(), "n": ["1.0", float("nan")], "k": [1, 2], "d": "2026-01-01"}
    assert derived(payload) == derived(written)


def test_an_undeclared_subclass_of_a_dataclass_hides_no_attribute() -> None:
    class Express(Leg):
        def __init__(self, seat: str) -> None:
            super().__init__("IC1", 900)
            self.seat = seat

    assert_refused_both(Express("A"), Express("B"))
    assert_distinguished(Express("A"), Express("B"), "seat")
    assert_distinguished({"leg": Express("A")}, {"leg": Express("B")}, "[id, leg.seat] | [1]")


def test_fields_of_version_one_that_are_excluded_are_refused() -> None:
    class Transfer(pydantic_v1.BaseModel):
        cents: int
        account: str = pydantic_v1.Field(..., exclude=True)
        card: pydantic_v1.SecretStr = pydantic_v1.SecretStr("")

    assert_refused_both(*(Transfer(cents=1, account=account) for account in "ab"))
    assert_distinguished(*(Transfer(cents=1, account=account) for account in "ab"), "account")
    assert_refused_both(*(Transfer(cents=1, account="a", card=card) for card in "ab"), "card")


def test_an_event_source_class_inside_is_read() -> None:
    event = SQSEvent({"Records": [{"messageId": "m-1"}]})
    assert derived({"event": event}, "event.Records[0].messageId") == derived("m-1")
    assert derived(event, "Records[0].messageId") == derived("m-1")


@dataclass
class Node:
    next: Any = None
    more: list[Any] = field(default_factory=list)


def test_an_object_that_contains_itself_is_refused() -> None:
    node = Node()
    node.next = [node]
    assert "contains itself" in refusal(node)
    assert "contains itself" in refusal({"n": node})


def test_custom_functions_get_objects_as_before() -> None:
    from jmespath.functions import signature  # noqa: PLC0415

    from idemproof.reference.jmespath_functions import PowertoolsFunctions  # noqa: PLC0415

    class Mine(PowertoolsFunctions):
        @signature({"types": []})
        def _func_train(self, leg: Any) -> Any:
            return leg.train

    options = {"custom_functions": Mine()}
    assert derived({"leg": Leg("IC1", 1)}, "train(leg)", jmespath_options=options) == derived("IC1")


def pairs() -> Iterator[Any]:
    point = namedtuple("point", "x y")  # noqa: PYI024
    yield {"p": point(1, 2)}, {"p": [1, 2]}
    yield {"p": (1, (2,))}, {"p": [1, [2]]}
    yield {"legs": [Leg("a", 1)]}, {"legs": [{"train": "a", "cents": 1}]}


@pytest.mark.parametrize(("one", "other"), list(pairs()))
def test_what_is_written_alike_has_one_key(one: Any, other: Any) -> None:
    assert_same(one, other)


class Shown(list[Any]):
    """Shows something else than it holds."""

    def __iter__(self) -> Any:
        return iter(["shown"])


def test_a_list_counts_with_what_it_holds() -> None:
    assert derived({"l": Shown([1, 2])}) == derived({"l": [1, 2]})
    assert_distinguished(Shown([1, 2]), Shown([1, 3]), "[1]")


@pytest.mark.clause("KEY-9")
def test_a_field_of_a_tuple_that_names_none_is_refused() -> None:
    moment = time.gmtime(0)
    assert derived({"t": moment}) == derived({"t": list(moment)})
    assert "struct_time" in refusal({"t": moment}, "t.tm_mday")
    assert derived({"t": moment, "id": 1}, "not_null(t.day, id)") == derived(1)
