"""Generated annotations, dataclasses and models, with strategies for their values."""

import enum
import itertools
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import make_dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple, Union
from uuid import UUID

import pydantic
from hypothesis import strategies as st

_numbers = itertools.count()


class Word(enum.Enum):
    RED = "red"
    ONE = "1"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Point(NamedTuple):
    x: int
    day: date


_TEXTS = st.sampled_from(
    ["", "a", "red", "1", "2024-01-01", str(UUID(int=1)), "P1DT0S", "é\U0001f600", "\ud83d"]
)
_AT = st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1), timezones=st.none() | st.just(UTC)).map(  # noqa: DTZ001
    lambda at: at.replace(fold=0)
)

SCALARS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, _TEXTS),
    (int, st.integers(-3, 3) | st.integers()),
    (float, st.floats() | st.sampled_from([0.0, -0.0, 1.0])),
    (bool, st.booleans()),
    (type(None), st.none()),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (date, st.dates()),
    (datetime, _AT),
    (time, st.times().map(lambda hour: hour.replace(fold=0))),
    (timedelta, st.timedeltas()),
    (UUID, st.uuids() | st.just(UUID(int=1))),
    (Word, st.sampled_from(Word)),
    (Level, st.sampled_from(Level)),
    (bytes, st.binary(max_size=4)),
    (PurePosixPath, st.sampled_from([PurePosixPath("/a"), PurePosixPath("red")])),
    (Literal["red", 1], st.sampled_from(["red", 1])),
    (Point, st.builds(Point, st.integers(), st.dates())),
]
KEYS = [
    (str, _TEXTS),
    (int, st.integers(-3, 3)),
    (date, st.dates()),
    (UUID, st.uuids()),
    (Word, st.sampled_from(Word)),
]


@st.composite
def typed(  # noqa: C901, PLR0911 - one for each kind of type
    draw: Any, depth: int = 3, *, unions: bool = True, doubtful: bool = True
) -> tuple[Any, Any]:
    """Draw an annotation, and a strategy for its values."""
    kinds = ["scalar"]
    if depth:
        kinds += ["list", "tuple", "fixed", "dict", "set", "class", "optional", "mapping", "deque"]
        kinds += ["union"] * 2 * unions + ["any"] * doubtful
    kind = draw(st.sampled_from(kinds))
    if kind == "scalar":
        return draw(st.sampled_from(SCALARS))
    if kind == "any":
        _, values = draw(st.sampled_from(SCALARS))
        return Any, values | st.lists(values, max_size=2) | st.tuples(values)

    def inner() -> tuple[Any, Any]:
        return draw(typed(depth - 1, unions=unions, doubtful=doubtful))

    if kind == "set":
        hint, values = draw(st.sampled_from([each for each in SCALARS if each[0] is not float]))
        return draw(
            st.sampled_from(
                [
                    (set[hint], st.sets(values, max_size=3)),
                    (frozenset[hint], st.frozensets(values, max_size=3)),
                ]
            )
        )
    if kind == "class":
        fields = [inner() for _ in range(draw(st.integers(1, 3)))]
        return draw(classes(fields))
    if kind == "mapping":
        key, keys = draw(st.sampled_from(KEYS))
        hint, values = inner()
        return draw(
            st.sampled_from(
                [
                    (OrderedDict[key, hint], st.dictionaries(keys, values, max_size=3).map(OrderedDict)),
                    (Counter[key], st.lists(keys, max_size=3).map(Counter)),
                    (
                        defaultdict[key, list[hint]],
                        st.dictionaries(keys, st.lists(values, max_size=2), max_size=2).map(
                            lambda items: defaultdict(list, items)
                        ),
                    ),
                ]
            )
        )
    hint, values = inner()
    if kind == "list":
        return list[hint], st.lists(values, max_size=3)
    if kind == "deque":
        return deque[hint], st.lists(values, max_size=3).map(deque)
    if kind == "tuple":
        return tuple[hint, ...], st.lists(values, max_size=3).map(tuple)
    if kind == "optional":
        return hint | None, st.none() | values
    if kind == "dict":
        key, keys = draw(st.sampled_from(KEYS))
        return dict[key, hint], st.dictionaries(keys, values, max_size=3)
    other, others = inner()
    if kind == "fixed":
        return tuple[hint, other], st.tuples(values, others)
    return Union[hint, other], values | others  # noqa: UP007 - of types at run time


def classes(fields: list[tuple[Any, Any]]) -> st.SearchStrategy[tuple[Any, Any]]:
    """Return a strategy for a class with these fields, and its values."""
    name = f"Made{next(_numbers)}"
    names = [f"f{index}" for index in range(len(fields))]
    values = {each: field[1] for each, field in zip(names, fields, strict=True)}
    made = make_dataclass(name, [(each, field[0]) for each, field in zip(names, fields, strict=True)])
    return st.just((made, st.builds(made, **values)))


def models(fields: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    names = [f"f{index}" for index in range(len(fields))]
    made = pydantic.create_model(
        f"Model{next(_numbers)}", **{each: (field[0], ...) for each, field in zip(names, fields, strict=True)}
    )
    values = {each: field[1] for each, field in zip(names, fields, strict=True)}
    return made, st.builds(made.model_construct, **values) | st.builds(made, **values)
