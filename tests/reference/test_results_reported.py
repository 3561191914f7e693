"""Results that cannot be stored are reported with a fix: custom conversions, responses, depth."""

import dataclasses
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import flask
import flask.views
import pytest
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from django.http import HttpResponse
from pydantic import BaseModel, SecretStr
from starlette.responses import JSONResponse, Response

from idemproof import IdempotencyConfig, IdempotencyWarning
from idemproof.errors import (
    IdempotencyConfigError,
    IdempotencyModelTypeError,
    IdempotencyNoSerializationModelError,
    IdempotencySerializationError,
)
from idemproof.serialization import (
    BaseIdempotencyModelSerializer,
    CustomDictSerializer,
    DataclassSerializer,
    PydanticSerializer,
)
from replays import CARRIED, SAME, judged, protected


@dataclass
class Ticket:
    seat: str


@pytest.mark.clause("RES-4")
@pytest.mark.parametrize(
    ("to_dict", "from_dict", "outcome"),
    [
        (lambda t: {"place": t.seat}, lambda d: Ticket(d["seat"]), CARRIED),
        (lambda t: None, lambda d: Ticket(d["seat"]), CARRIED),
        (lambda t: {"seat": t.missing}, lambda d: Ticket(d["seat"]), CARRIED),
        (lambda t: {1, 2}, lambda d: Ticket(d["seat"]), CARRIED),
        (lambda t: {"seat": t.seat}, lambda d: Ticket(d["seat"]), SAME),
        (dataclasses.asdict, lambda d: Ticket(**d), SAME),
    ],
)
def test_own_functions_are_tried_on_the_first_result(to_dict: Any, from_dict: Any, outcome: str) -> None:
    assert judged(CustomDictSerializer(to_dict, from_dict), lambda: Ticket("C1")) == outcome


@pytest.mark.clause("RES-1", "RES-4")
def test_the_word_of_own_functions_counts_for_the_first_caller_too() -> None:
    call = protected(lambda payload: Ticket("C1"), CustomDictSerializer(dataclasses.asdict, dict))
    assert call(payload=1) == call(payload=1) == {"seat": "C1"}


@pytest.mark.clause("RES-4")
def test_a_derived_serializer_with_its_own_conversion_is_taken_at_its_word() -> None:
    class Rounded(DataclassSerializer):
        def to_dict(self, data: Any) -> Any:
            return {"seat": data.seat.upper()}

    call = protected(lambda payload: Ticket("c1"), Rounded(Ticket))
    assert call(payload=1) == call(payload=1) == Ticket("C1")


class Wide(BaseModel):
    lines: list[dict[str, Any]]


@pytest.mark.clause("RES-2")
def test_the_error_names_the_path_and_shows_no_value() -> None:
    secret = date(2024, 2, 29)
    call = protected(lambda payload: Wide(lines=[{}, {"on": secret}]), PydanticSerializer(Wide))
    with pytest.raises(IdempotencySerializationError) as raised:
        call(payload=1)
    message = str(raised.value)
    assert "it would come back changed: $.lines[1].on, a datetime.date, becomes a str" in message
    assert "will not run again" in message
    assert "CustomDictSerializer" in message
    assert "2024" not in message


@dataclass
class Plan:
    days: dict[str, list[date]]


@pytest.mark.clause("RES-2")
def test_the_error_names_where_the_rebuild_failed() -> None:
    call = protected(lambda payload: Plan({"a": [date(2024, 1, 1), "hidden"]}), DataclassSerializer(Plan))
    with pytest.raises(
        IdempotencySerializationError, match=r"cannot be rebuilt at \$\.days\.a\[1\]"
    ) as raised:
        call(payload=1)
    assert "hidden" not in str(raised.value)


class Number(BaseModel):
    numbers: list[int]


def test_the_error_names_where_a_model_was_refused() -> None:
    result = Number.model_construct(numbers=[1, "hidden"])
    call = protected(lambda payload: result, PydanticSerializer(Number))
    with pytest.raises(
        IdempotencySerializationError, match=r"cannot be rebuilt at \$\.numbers\[1\]"
    ) as raised:
        call(payload=1)
    assert "hidden" not in str(raised.value)


# Web frameworks.


def _flask(make_view: Callable[[flask.Flask], None]) -> Any:
    app = flask.Flask("shop")
    app.testing = True
    make_view(app)
    return app.test_client()


FORMS = [
    lambda p: ({"id": p}, 201, {"Location": f"/orders/{p}"}),
    lambda p: ({"id": p}, 201),
    lambda p: ("made", 201),
    lambda p: ({"error": "taken"}, 409),
    lambda p: ({"id": p}, {"Location": "/"}),
    lambda p: ({"id": p}, [("Location", "/")]),
    lambda p: ({"id": p}, "201 CREATED"),
]


@pytest.mark.clause("RES-2")
@pytest.mark.parametrize("answer", FORMS)
def test_a_flask_view_that_returns_a_body_and_a_status_is_reported(answer: Any) -> None:
    runs: list[Any] = []

    def put(payload: str) -> Any:
        runs.append(payload)
        return answer(payload)

    client = _flask(lambda app: app.put("/orders/<payload>")(protected(put, None)))
    with pytest.raises(IdempotencySerializationError, match="returned a tuple") as raised:
        client.put("/orders/7")
    assert raised.value.result == answer("7")
    assert "plain data" in str(raised.value)
    with pytest.raises(Exception, match="could not be stored"):
        client.put("/orders/7")
    assert len(runs) == 1


def test_a_flask_view_behind_decorators_or_in_a_class_is_reported() -> None:
    import functools  # noqa: PLC0415 - beside its only use

    def outer(view: Any) -> Any:
        @functools.wraps(view)
        def inner(**arguments: Any) -> Any:
            return view(**arguments)

        return inner

    class Orders(flask.views.MethodView):
        @staticmethod
        @functools.partial(protected, serializer=None)
        def put(payload: str) -> Any:
            return {"id": payload}, 201

    def add(app: flask.Flask) -> None:
        app.post("/a/<payload>")(outer(protected(lambda payload: ({}, 201), None)))
        app.add_url_rule("/b/<payload>", view_func=Orders.as_view("orders"))

    client = _flask(add)
    for call in (lambda: client.post("/a/1"), lambda: client.put("/b/1")):
        with pytest.raises(IdempotencySerializationError, match="Flask"):
            call()


def _event(path: str) -> dict[str, Any]:
    http = {"method": "PUT", "path": path}
    request = {"http": http, "stage": "$default", "requestId": "1"}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "headers": {},
        "requestContext": request,
    }


def test_a_route_of_powertools_event_handler_is_reported() -> None:
    app = APIGatewayHttpResolver()
    app.put("/orders/<payload>")(protected(lambda payload: ({"id": payload}, 201), None))
    pair = protected(lambda payload: (5, 201), None)

    @app.put("/pairs/<payload>")
    def pairs(payload: str) -> Any:
        return {"pair": pair(payload=payload)}

    with pytest.raises(IdempotencySerializationError, match="Powertools view") as raised:
        app.resolve(_event("/orders/7"), None)
    assert raised.value.result == ({"id": "7"}, 201)
    assert app.resolve(_event("/pairs/7"), None)["body"] == '{"pair":[5,201]}'


def test_an_async_flask_view_is_reported() -> None:
    async def view(payload: str) -> Any:
        return {"id": payload}, 201

    client = _flask(lambda app: app.put("/x/<payload>")(protected(view, None)))
    with pytest.raises(IdempotencySerializationError, match="Flask view"):
        client.put("/x/7")


def test_a_tuple_that_is_no_view_s_answer_stays_a_list() -> None:
    pair = protected(lambda payload: (5, 201), None)

    def view(payload: str) -> Any:
        return {"pair": pair(payload=payload)}

    client = _flask(lambda app: app.put("/pairs/<payload>")(view))
    assert client.put("/pairs/7").json == client.put("/pairs/7").json == {"pair": [5, 201]}
    assert pair(payload=1) == pair(payload=1) == [5, 201]
    plain = _flask(lambda app: app.put("/x/<payload>")(protected(lambda payload: {"id": payload}, None)))
    assert plain.put("/x/7").json == plain.put("/x/7").json == {"id": "7"}


@pytest.mark.clause("RES-2", "RES-3")
@pytest.mark.parametrize("response", [flask.Response("x"), HttpResponse, JSONResponse({}), Response()])
def test_a_response_is_reported_with_the_way_out(response: Any) -> None:
    if response is HttpResponse:
        response = HttpResponse.__new__(HttpResponse)
    call = protected(lambda payload: response, None)
    with pytest.raises(
        IdempotencySerializationError, match="Protect a function that returns plain data"
    ) as raised:
        call(payload=1)
    assert raised.value.result is response


def _annotated(kind: Any) -> Any:
    def view(payload: Any) -> Any: ...

    view.__annotations__["return"] = kind
    return view


@pytest.mark.clause("RES-3")
@pytest.mark.parametrize(
    "kind", [flask.Response, HttpResponse, JSONResponse, Response | None, tuple[flask.Response, int]], ids=str
)
def test_a_response_is_refused_where_the_annotation_names_it(kind: Any) -> None:
    with pytest.raises(IdempotencyModelTypeError, match="Protect a function that returns plain data"):
        protected(_annotated(kind), None)
    with pytest.warns(IdempotencyWarning, match="Protect a function"):
        protected(_annotated(kind), None, result_check="warn")


# What names a class that is defined later.


def test_a_return_annotation_may_name_what_is_defined_later() -> None:
    def make(payload: Any) -> "Later": ...

    call = protected(make, DataclassSerializer)
    model_call = protected(make, BaseAny)
    with pytest.raises(IdempotencyNoSerializationModelError, match=r"Later.*before the first call"):
        call(payload=1)

    @dataclass
    class Later:
        day: date

    make.__code__ = (lambda payload: _later[0]).__code__
    _later[:] = [Later(date(2024, 1, 1))]
    assert call(payload=1) == call(payload=1) == Later(date(2024, 1, 1))
    assert model_call(payload=1) == model_call(payload=1) == Later


_later: list[Any] = []


class BaseAny(BaseIdempotencyModelSerializer):
    """Returns the model."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @classmethod
    def instantiate(cls, model_type: Any) -> Any:
        return cls(model_type)

    def to_dict(self, data: Any) -> Any:
        return "x"

    def from_dict(self, data: Any) -> Any:
        return self._model


@pytest.mark.clause("RES-3")
def test_a_field_that_stays_unknown_is_refused_before_anything_runs() -> None:
    runs: list[Any] = []

    @dataclass
    class Broken:
        day: "Unknown"

    class Model(BaseModel):
        day: "Unknown"

    for serializer in (DataclassSerializer(Broken), PydanticSerializer(Model)):
        call = protected(lambda payload: runs.append(1), serializer)
        with pytest.raises(IdempotencyModelTypeError, match="before the first call"):
            call(payload=1)
    assert runs == []
    Unknown = date  # noqa: N806 - it is known from here on
    call = protected(lambda payload: Broken(date(2024, 1, 1)), DataclassSerializer(Broken))
    assert call(payload=1) == call(payload=1) == Broken(date(2024, 1, 1))


def test_a_model_may_name_what_its_function_defines_later() -> None:
    class Outer(BaseModel):
        inner: "Inner"
        many: "list[Inner]" = []

    call = protected(lambda payload: Outer(inner=Inner(day=date(2024, 1, 1))), PydanticSerializer(Outer))

    class Inner(BaseModel):
        day: date

    assert call(payload=1) == call(payload=1) == Outer(inner=Inner(day=date(2024, 1, 1)))


# The option.


class Token(BaseModel):
    token: SecretStr


class Maybe(BaseModel):
    token: SecretStr | None


@dataclass
class Anything:
    it: Any


@pytest.mark.parametrize(
    ("serializer", "result", "repeat"),
    [
        (PydanticSerializer(Maybe), Maybe(token="t"), Maybe(token="*" * 10)),
        (DataclassSerializer(Anything), Anything((1,)), Anything([1])),
        (CustomDictSerializer(lambda t: None, lambda d: d), Ticket("a"), None),
    ],
)
def test_the_option_warns_and_stores_as_before(serializer: Any, result: Any, repeat: Any) -> None:
    call = protected(lambda payload: result, serializer, result_check="warn")
    with pytest.warns(IdempotencyWarning, match="result_check"):
        assert call(payload=1) is result
    assert call(payload=1) == repeat


def test_the_option_warns_of_models_and_views() -> None:
    with pytest.warns(IdempotencyWarning, match=r"Token\.token is a secret"):
        call = protected(lambda payload: Token(token="t"), PydanticSerializer(Token), result_check="warn")
    with pytest.warns(IdempotencyWarning, match="come back changed"):
        call(payload=1)
    view = protected(lambda payload: ({}, 201), None, result_check="warn")
    client = _flask(lambda app: app.put("/x/<payload>")(view))
    with pytest.warns(IdempotencyWarning, match="Flask view"):
        assert client.put("/x/7").json == [{}, 201]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert client.put("/x/7").json == [{}, 201]


def test_the_option_has_two_values() -> None:
    with pytest.raises(IdempotencyConfigError, match="result_check must be 'raise' or 'warn'"):
        IdempotencyConfig(result_check="ignore")  # type: ignore[arg-type]


# Depth.


def nest(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


def deeper(frames: int, call: Callable[[], Any]) -> Any:
    return deeper(frames - 1, call) if frames else call()


@pytest.mark.clause("RES-5")
def test_a_result_that_is_too_deep_for_the_stack_is_not_corrupt() -> None:
    limit = sys.getrecursionlimit()
    levels = limit - 150
    runs: list[Any] = []

    def body(payload: Any) -> Any:
        runs.append(payload)
        return nest(levels)

    call = protected(body, None)
    try:
        sys.setrecursionlimit(limit + 1000)
        call(payload=1)
    finally:
        sys.setrecursionlimit(limit)

    # Not all interpreters count the levels of JSON among those of the stack.
    answers: list[Any] = []
    failure = None
    try:
        answers.append(deeper(limit // 2, lambda: call(payload=1)))
    except RecursionError as error:
        failure = error
    assert answers or "is sound" in str(getattr(failure, "__notes__", ""))
    assert len(runs) == 1


@dataclass
class Tree:
    inner: "Tree | None" = None
    either: "Tree | int" = 0


@pytest.mark.clause("RES-1", "RES-2", "RES-5")
@pytest.mark.parametrize("levels", range(20, 400, 20))
def test_nested_dataclasses_come_back_or_are_reported_however_deep(levels: int) -> None:
    def tree() -> Tree:
        made = Tree()
        for level in range(levels):
            made = Tree(made) if level % 3 else Tree(either=made)
        return made

    assert judged(DataclassSerializer(Tree), tree) in (SAME, CARRIED)


@pytest.mark.clause("RES-5")
@pytest.mark.parametrize("levels", [150, 200])
# Python 3.12 has a limit of its own for calls of C, which cannot be raised: 300 levels meet it.
def test_a_dataclass_that_is_too_deep_for_the_stack_is_no_misfit(levels: int) -> None:
    tree = Tree()
    for level in range(levels):
        tree = Tree(tree) if level % 3 else Tree(either=tree)
    call = protected(lambda payload: tree, DataclassSerializer(Tree))
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(30 * limit)
        call(payload=1)
    finally:
        sys.setrecursionlimit(limit)
    with pytest.raises(RecursionError) as raised:
        deeper(limit // 2, lambda: call(payload=1))
    assert "is sound" in str(raised.value.__notes__)
