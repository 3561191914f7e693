"""Whether what comes back is what the function returned: in type and value, however deep."""

import dataclasses
import functools
import math
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any

_SHOWN_NAME = 40

# Path, first value, second value. Iterative, since results may be nested deeper than the stack allows.
_Pairs = list[tuple[str, Any, Any]]

_ABSENT: Any = type("absent", (), {})()


def difference(first: Any, second: Any) -> str | None:
    """Return where two values differ and how, or None if they are the same.

    Parameters
    ----------
    first
        What the function returned.
    second
        What its stored text was rebuilt to.

    Returns
    -------
    str or None
        A path such as ``$.items[2].price``, followed by names of types; no value is shown.
    """
    pairs: _Pairs = [("$", first, second)]
    seen: set[tuple[int, int]] = set()
    while pairs:
        path, one, other = pairs.pop()
        if one is other and isinstance(one, str | int | bool | type(None)):
            continue
        if type(one) is not type(other):
            return _told(path, one, other)
        if not _is_leaf(one):
            # Values that contain themselves are compared once.
            if (id(one), id(other)) in seen:
                continue
            seen.add((id(one), id(other)))
        found = _compare(path, one, other)
        if found is None:
            return f"{path}, a {kind_of(one)}, has another value"
        pairs.extend(reversed(found))
    return None


def kind_of(value: Any) -> str:
    """Return the name of a value's type, with its module unless that is obvious."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def step(key: Any) -> str:
    """Return the part of a path that leads to a key of a mapping."""
    name = str(key)
    if name.isidentifier() and len(name) <= _SHOWN_NAME:
        return f".{name}"
    return f"[{name[:_SHOWN_NAME]!r}]"


def _told(path: str, one: Any, other: Any) -> str:
    if other is _ABSENT:
        return f"{path}, a {kind_of(one)}, is lost"
    if one is _ABSENT:
        return f"{path}, a {kind_of(other)}, is added"
    return f"{path}, a {kind_of(one)}, becomes a {kind_of(other)}"


def _is_leaf(value: Any) -> bool:
    return isinstance(value, str | bytes | int | float | Decimal)


def _compare(path: str, one: Any, other: Any) -> _Pairs | None:
    """Return the pairs that must be the same too; None if the values differ in themselves."""
    for kinds, compare in _COMPARISONS:
        if isinstance(one, kinds):
            pairs = compare(path, one, other)
            break
    else:
        pairs = []
        if not _has_parts(one):
            return _equal_objects(path, one, other)
    if pairs is not None and _has_parts(one):
        return pairs + list(_parts(path, one, other))
    return pairs


def _alike(same: Callable[[Any, Any], bool]) -> Callable[[str, Any, Any], _Pairs | None]:
    return lambda _, one, other: [] if same(one, other) else None


def _same_float(one: float, other: float) -> bool:
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return float.__eq__(one, other) and math.copysign(1, one) == math.copysign(1, other)


def _same_time(one: Any, other: Any) -> bool:
    # Stored text has the offset and no name of a zone: the rebuilt value, which all callers get, has that.
    return bool(one == other and one.utcoffset() == other.utcoffset())


def _same_sets(path: str, one: Any, other: Any) -> _Pairs | None:
    if len(one) != len(other):
        return None
    kept = {item: item for item in other}
    if any(item not in kept for item in one):
        return None
    return [(f"{path}{{...}}", item, kept[item]) for item in one]


def _items(path: str, one: Any, other: Any) -> _Pairs | None:
    if len(one) != len(other) or getattr(one, "maxlen", None) != getattr(other, "maxlen", None):
        return None
    return [(f"{path}[{index}]", *pair) for index, pair in enumerate(zip(one, other, strict=True))]


def _mappings(path: str, one: Any, other: Any) -> _Pairs | None:
    if isinstance(one, OrderedDict) and list(one) != list(other):
        return None
    if isinstance(one, defaultdict) and one.default_factory is not other.default_factory:
        return None
    kept = {key: key for key in other}
    pairs: _Pairs = []
    for key in one:
        if key in kept:
            pairs.append((f"{path}{step(key)} (the key)", key, kept[key]))
            pairs.append((f"{path}{step(key)}", one[key], other[key]))
        else:
            pairs.append((f"{path}{step(key)}", one[key], _ABSENT))
    pairs.extend((f"{path}{step(key)}", _ABSENT, other[key]) for key in other if key not in one)
    return pairs


def _exceptions(path: str, one: Any, other: Any) -> _Pairs:
    # A dataclass may be an exception; what its constructor leaves in `args` says nothing more.
    return [] if dataclasses.is_dataclass(one) else [(f"{path}.args", one.args, other.args)]


_COMPARISONS: tuple[tuple[Any, Callable[[str, Any, Any], _Pairs | None]], ...] = (
    (Enum, _alike(lambda one, other: one is other or bool(one == other))),
    (str, _alike(str.__eq__)),
    (bytes, _alike(bytes.__eq__)),
    (int, _alike(int.__eq__)),
    (float, _alike(_same_float)),
    (Decimal, _alike(lambda one, other: one.as_tuple() == other.as_tuple())),
    (datetime | time, _alike(_same_time)),
    (list | tuple | deque, _items),
    (AbstractSet, _same_sets),
    (Mapping, _mappings),
    (BaseException, _exceptions),
)


def _has_parts(value: Any) -> bool:
    kind = type(value)
    return (
        dataclasses.is_dataclass(value)
        or hasattr(kind, "model_fields")
        or isinstance(
            value, str | int | float | list | tuple | dict | set | frozenset | deque | BaseException
        )
        or (kind.__eq__ is object.__eq__ and bool(attributes(value)))
    )


def _parts(path: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    mine, its = attributes(one), attributes(other)
    for name in mine | its:
        yield f"{path}.{name}", mine.get(name, _ABSENT), its.get(name, _ABSENT)


def attributes(value: Any) -> dict[str, Any]:
    """Return what an object holds: its fields, extra fields, private and other attributes."""
    if isinstance(value, Enum):
        return {}
    kind = type(value)
    found: dict[str, Any] = dict(getattr(value, "__dict__", ()))
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if not name.startswith("__") and hasattr(value, name):
                found.setdefault(name, getattr(value, name))
    if hasattr(kind, "model_fields"):
        found |= getattr(value, "__pydantic_extra__", None) or {}
        found |= getattr(value, "__pydantic_private__", None) or {}
    # What is computed when it is asked for need not have been asked for.
    return {
        name: kept
        for name, kept in found.items()
        if not isinstance(getattr(kind, name, None), functools.cached_property)
    }


def _equal_objects(_path: str, one: Any, other: Any) -> _Pairs | None:
    if one is other:
        return []
    if type(one).__eq__ is object.__eq__:
        return None
    return [] if bool(one == other) else None
