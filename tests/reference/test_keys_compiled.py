"""An expression that was made into functions selects what the interpreter selects, and what jmespath does."""

import json
from collections import OrderedDict, deque
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import jmespath
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idemproof.reference.jmespath_functions import DEFAULT_OPTIONS
from idemproof.reference.keys.paths import compiled
from idemproof.reference.keys.refusals import KeptOut, Marker, Refused, Secret, Unselected
from idemproof.reference.keys.searching import OpeningInterpreter

_SETTINGS = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass
class Held:
    a: Any
    b: Any = None


class Model(pydantic.BaseModel):
    a: int = 1
    c: pydantic.SecretStr = pydantic.SecretStr("s")
    b: int = pydantic.Field(2, exclude=True)


class Pair(NamedTuple):
    a: Any
    b: Any


names = st.sampled_from("abc")
leaves = (
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(allow_nan=False) | st.sampled_from(["", "a"])
)


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        _nested(inner)
        | st.builds(Held, inner, inner)
        | st.builds(Pair, inner, inner)
        | st.builds(deque, st.lists(inner, max_size=2))
        | st.builds(OrderedDict, st.dictionaries(names, inner, max_size=2))
        | st.tuples(inner, inner)
        | st.builds(KeptOut, inner, st.none())
        | st.builds(Unselected, inner, st.none())
    )


_opaque = (
    st.builds(object)
    | st.builds(SimpleNamespace, a=leaves)
    | st.builds(Model)
    | st.just(Held)
    | st.builds(lambda: Secret(pydantic.SecretStr("s"), None))
)

plain_data = st.recursive(leaves, _nested, max_leaves=12)
any_data = st.recursive(leaves | _opaque, _objects, max_leaves=12)

_atoms = names | st.sampled_from(
    ["@", "[0]", "[-1]", "[7]", "`1`", "`null`", '`{"a": [1]}`', "[*]", "*", "[]", "[:1]"]
)


def _combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    after = (
        st.sampled_from(
            [".a", ".b", "[0]", "[-2]", "[*]", "[*].a", "[]", ".*", "[?a]", ".[a, b]", ".{a: b, b: a}"]
        )
        | inner.map(" | {}".format)
        | inner.map(" || {}".format)
        | inner.map(" == {}".format)
    )
    return (
        st.tuples(inner, after).map("".join)
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"[{', '.join(parts)}]")
        | st.lists(st.tuples(names, inner), min_size=1, max_size=3).map(
            lambda parts: f"{{{', '.join(f'{name}: {part}' for name, part in parts)}}}"
        )
        | inner.map("({})".format)
        | inner.map("length({})".format)
        | inner.map("not_null({}, a)".format)
    )


expressions = st.recursive(_atoms, _combined, max_leaves=6)


def _outcome(search: Any, data: Any) -> Any:
    """Return what a search comes to, comparable: objects stand for themselves."""
    try:
        return _shown(search(data))
    except Refused as refusal:
        return "refused", refusal.what, refusal.ways
    except Exception as error:
        return "raised", type(error), str(error)


def _shown(found: Any) -> Any:
    if type(found) is dict:
        return "dict", [(name, _shown(item)) for name, item in found.items()]
    if type(found) in (list, tuple):
        return type(found), [_shown(item) for item in found]
    if isinstance(found, Marker):
        return type(found), _shown(found.value)
    return type(found), repr(found)


def _both(expression: str) -> tuple[Any, Any] | None:
    try:
        node = jmespath.compile(expression).parsed
    except jmespath.exceptions.JMESPathError:
        return None
    visit = OpeningInterpreter(DEFAULT_OPTIONS, reveal=False).visit
    return compiled(node, visit, dict), lambda data: visit(node, data)


@pytest.mark.clause("KEY-1", "KEY-6")
@_SETTINGS
@given(expressions, any_data)
def test_any_payload_is_searched_as_by_the_interpreter(expression: str, data: Any) -> None:
    if both := _both(expression):
        quick, slow = both
        assert _outcome(quick, data) == _outcome(slow, data)


@pytest.mark.clause("KEY-1")
@_SETTINGS
@given(expressions, plain_data)
def test_plain_data_is_searched_as_by_jmespath(expression: str, data: Any) -> None:
    if both := _both(expression):
        quick, _ = both
        original = jmespath.compile(expression)
        assert (
            _outcome(quick, data)[:2] == _outcome(lambda it: original.search(it, DEFAULT_OPTIONS), data)[:2]
        )


@pytest.mark.parametrize("depth", [1, 31, 32, 33, 100])
def test_deep_expressions_are_left_to_the_interpreter(depth: int) -> None:
    data: Any = 5
    for _ in range(depth):
        data = {"a": data}
    expression = " | ".join(["a"] * depth)
    both = _both(expression)
    assert both is not None
    assert both[0](data) == both[1](data) == 5
    listed = _both("[" * depth + "@" + "]" * depth)
    assert listed is not None
    assert json.dumps(listed[0](1)) == "[" * depth + "1" + "]" * depth


def test_objects_are_of_the_class_that_the_options_give() -> None:
    node = jmespath.compile("{b: a, a: b, b: `1`}").parsed
    options = jmespath.Options(dict_cls=OrderedDict, custom_functions=DEFAULT_OPTIONS.custom_functions)
    visit = OpeningInterpreter(options, reveal=False).visit
    found = compiled(node, visit, OrderedDict)({"a": 1, "b": 2})
    assert found == visit(node, {"a": 1, "b": 2}) == OrderedDict(b=1, a=2)
    assert type(found) is OrderedDict
