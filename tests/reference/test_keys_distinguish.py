"""Generated payloads have the same key only if their selected plain data is equal."""

import json
from collections import deque
from dataclasses import dataclass
from typing import Any, NamedTuple

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict

from derived_keys import REFUSED, derived


@dataclass
class Record:
    a: Any
    b: Any = None


class Model(pydantic.BaseModel):
    a: Any
    b: Any = None


class Pair(NamedTuple):
    a: Any
    b: Any


NAMES = ("a", "b", "x")
SCALARS = st.sampled_from([0, 1, "", "a", "0", True, None, 1.0])


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=2),
        st.lists(inner, max_size=2).map(tuple),
        st.lists(inner, max_size=2).map(deque),
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=2),
        st.builds(Record, inner, inner),
        st.builds(Pair, inner, inner),
        st.builds(lambda a, b: Model(a=a, b=b), SCALARS, st.lists(SCALARS, max_size=2)),
        st.lists(st.tuples(st.sampled_from(NAMES), SCALARS), max_size=3).map(MultiDict),
    )


PAYLOADS = st.recursive(SCALARS, objects, max_leaves=6)


def written(value: Any) -> Any:
    """Return the plain data of a value."""
    if isinstance(value, MultiDict):
        found = {name: value.getlist(name) for name in value}
        return {name: items[0] if len(items) == 1 else items for name, items in found.items()}
    if isinstance(value, Record | Model):
        return {"a": written(value.a), "b": written(value.b)}
    if isinstance(value, dict):
        return {name: written(item) for name, item in value.items()}
    if isinstance(value, list | tuple | deque):
        return [written(item) for item in value]
    return value


@pytest.mark.clause("KEY-1")
@given(PAYLOADS, PAYLOADS)
def test_keys_and_payload_hashes_are_equal_if_and_only_if_the_plain_data_are(one: Any, other: Any) -> None:
    first, second = (
        derived({"id": 1, "p": payload}, "[id, [p]]", "[[p]]", warned="ignore") for payload in (one, other)
    )
    assert REFUSED not in (first, second)
    texts = [json.dumps(written(payload), sort_keys=True) for payload in (one, other)]
    assert (first[0] == second[0]) is (first[1] == second[1]) is (texts[0] == texts[1])


@pytest.mark.clause("KEY-1", "KEY-6")
@given(
    PAYLOADS, st.sampled_from(["[p.a]", "[p[0]]", "[p[*].a]", "[p.*]", "[p.a.b]", "[p[1:]]", "[p == p.a]"])
)
def test_an_expression_finds_in_objects_what_it_finds_in_their_plain_data(payload: Any, key: str) -> None:
    if not _is_named_by_position(payload):
        found, expected = (
            derived({"p": each}, f"[`1`, {key}]", warned="ignore") for each in (payload, written(payload))
        )
        assert found == expected


def _is_named_by_position(value: Any) -> bool:
    """Return whether a named tuple is in it: it is an object and a list at once."""
    if isinstance(value, Pair):
        return True
    if isinstance(value, Record):
        return _is_named_by_position(value.a) or _is_named_by_position(value.b)
    if isinstance(value, dict):
        return any(map(_is_named_by_position, value.values()))
    return isinstance(value, list | tuple | deque) and any(map(_is_named_by_position, value))
