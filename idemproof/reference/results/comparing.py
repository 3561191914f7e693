"""Compare a rebuilt result with what the function returned: types and values, at any depth."""

import dataclasses
import functools
import math
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any
from uuid import UUID

from ..places import ROOT, Place, keyed, spelt, type_name

_Pair = tuple[Any, Any, Any]  # a path step, and the two values at it
_Parts = Callable[[Any, Any], "Iterator[_Pair] | list[_Pair] | None"]

_ABSENT: Any = type("absent", (), {})()

# Values of these types are the same if they are equal and have the same type.
_ATOMS = frozenset((str, int, bool, NoneType, bytes, bytearray, UUID, timedelta, date))


def difference(first: Any, second: Any) -> str | None:
    """Return where and how two values differ, or None if they are the same.

    Parameters
    ----------
    first
        What the function returned.
    second
        What was rebuilt from its stored text.

    Returns
    -------
    str or None
        A path such as ``$.items[2].price``, followed by names of types. It shows no value.
    """
    # Iterative, because results may be nested deeper than the stack allows.
    pairs: list[tuple[Any, Any, Place]] = [(first, second, ROOT)]
    seen: set[tuple[int, int]] = set()
    while pairs:
        one, other, place = pairs.pop()
        kind: Any = type(one)
        if kind is not type(other):
            return _type_change(spelt(place, _format_step, None), one, other)
        if kind in _ATOMS:
            parts: Any = () if one == other else None
        else:
            # Values that contain themselves are compared once.
            if (id(one), id(other)) in seen:
                continue
            seen.add((id(one), id(other)))
            parts = _parts_of(kind)(one, other)  # type: ignore[arg-type]  # it is hashable
        if parts is None:
            return f"{spelt(place, _format_step, None)}, a {_kind(one)}, has another value"
        for step, mine, its in parts:
            part_type = type(mine)
            if part_type not in _ATOMS or (mine is not its and (part_type is not type(its) or mine != its)):
                pairs.append((mine, its, (place, step)))
    return None


class _Key:
    """The path step to a key of a mapping."""

    def __init__(self, key: Any) -> None:
        self.key = key


class _Item:
    """The path step to a mapping's value for a key."""

    def __init__(self, key: Any) -> None:
        self.key = key


def _format_step(step: Any) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    if isinstance(step, _Key):
        return f"{keyed(step.key)} (the key)"
    if isinstance(step, _Item):
        return keyed(step.key)
    return str(step) if step == "{...}" else f".{step}"


def _kind(value: Any) -> str:
    return type_name(type(value))


def _type_change(path: str, one: Any, other: Any) -> str:
    if other is _ABSENT:
        return f"{path}, a {_kind(one)}, is lost"
    if one is _ABSENT:
        return f"{path}, a {_kind(other)}, is added"
    return f"{path}, a {_kind(one)}, becomes a {_kind(other)}"


@functools.lru_cache(maxsize=1024)
def _parts_of(kind: Any) -> _Parts:
    """Return the function that pairs the parts of two values; it returns None if they differ anyway."""
    own = next((parts for kinds, parts in _PARTS if issubclass(kind, kinds)), None)
    if kind in _CLOSED or issubclass(kind, Enum):
        assert own is not None
        return own
    structured = dataclasses.is_dataclass(kind) or hasattr(kind, "model_fields")
    if own is None and not structured:
        return _objects
    slots, model = _names_of_slots(kind), hasattr(kind, "model_fields")
    if own is not None and not slots and not kind.__dictoffset__:
        return own  # the values have no other attributes
    fields = [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
    simple = not slots and not _computed(kind) and kind.__dictoffset__

    def parts(one: Any, other: Any) -> Iterator[_Pair] | list[_Pair] | None:
        if simple and (not model or _is_closed(one, other)):
            mine, its = one.__dict__, other.__dict__
        else:
            mine, its = (_attributes(slots, each, model=model) for each in (one, other))
        if mine.keys() == its.keys():
            if own is None:
                return zip(mine, mine.values(), map(its.__getitem__, mine), strict=True)
        else:
            # A field may be the class's default on one side, and an attribute of the object on the other.
            mine, its = (
                {name: getattr(each, name) for name in fields if hasattr(each, name)} | held
                for each, held in ((one, mine), (other, its))
            )
        pairs: list[_Pair] = [(name, value, its.get(name, _ABSENT)) for name, value in mine.items()]
        pairs.extend((name, _ABSENT, its[name]) for name in its if name not in mine)
        if own is not None:
            further = own(one, other)
            if further is None:
                return None
            pairs.extend(further)
        return pairs

    return parts


def _is_closed(one: Any, other: Any) -> bool:
    """Return whether two models have neither extra fields nor private attributes."""
    return not (
        one.__pydantic_extra__
        or other.__pydantic_extra__
        or one.__pydantic_private__
        or other.__pydantic_private__
    )


def _alike(same: Callable[[Any, Any], bool]) -> _Parts:
    return lambda one, other: [] if same(one, other) else None


def _same_float(one: float, other: float) -> bool:
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return float.__eq__(one, other) and math.copysign(1, one) == math.copysign(1, other)


def _same_time(one: Any, other: Any) -> bool:
    # Stored text has the offset without the zone's name, and all callers get the rebuilt value.
    # If a time has no zone, only the fold says which of two hours it means.
    return bool(
        one == other
        and one.utcoffset() == other.utcoffset()
        and (one.tzinfo is not None or one.fold == other.fold)
    )


def _sets(one: Any, other: Any) -> list[_Pair] | None:
    if len(one) != len(other):
        return None
    kept = {item: item for item in other}
    if any(item not in kept for item in one):
        return None
    return [("{...}", item, kept[item]) for item in one]


def _items(one: Any, other: Any) -> Iterator[_Pair] | None:
    if len(one) != len(other):
        return None
    return zip(range(len(one)), one, other, strict=True)


def _queues(one: Any, other: Any) -> Iterator[_Pair] | None:
    return _items(one, other) if one.maxlen == other.maxlen else None


def _mappings(one: Any, other: Any) -> list[_Pair] | None:
    if isinstance(one, OrderedDict) and list(one) != list(other):
        return None
    if isinstance(one, defaultdict) and one.default_factory is not other.default_factory:
        return None
    pairs: list[_Pair] = []
    texts = True
    for key, item in one.items():
        texts = texts and type(key) is str
        pairs.append((_Item(key), item, other.get(key, _ABSENT)))
    pairs.extend((_Item(key), _ABSENT, item) for key, item in other.items() if key not in one)
    if not texts:
        kept = {key: key for key in other}
        pairs.extend((_Key(key), key, kept[key]) for key in one if key in kept)
    return pairs


def _exceptions(one: Any, other: Any) -> list[_Pair]:
    # A dataclass may be an exception: its fields say all that its constructor leaves in `args`.
    return [] if dataclasses.is_dataclass(one) else [("args", one.args, other.args)]


_PARTS: tuple[tuple[Any, _Parts], ...] = (
    (Enum, _alike(lambda one, other: one is other or bool(one == other))),
    (str, _alike(str.__eq__)),
    (bytes, _alike(bytes.__eq__)),
    (int, _alike(int.__eq__)),
    (float, _alike(_same_float)),
    (Decimal, _alike(lambda one, other: str(one) == str(other))),
    ((datetime, time), _alike(_same_time)),
    (deque, _queues),
    ((list, tuple), _items),
    (AbstractSet, _sets),
    (Mapping, _mappings),
    (BaseException, _exceptions),
)

# Values of these types have no other attributes.
_CLOSED = frozenset(
    (float, Decimal, datetime, time, list, tuple, dict, set, frozenset, deque, OrderedDict, defaultdict)
)


def _names_of_slots(kind: type) -> tuple[str, ...]:
    slots = [vars(base).get("__slots__", ()) for base in kind.__mro__]
    names = [name for each in slots for name in ((each,) if isinstance(each, str) else each)]
    return tuple(name for name in names if not name.startswith("__"))


def _attributes(slots: tuple[str, ...], value: Any, *, model: bool) -> dict[str, Any]:
    """Return an object's attributes: fields, extra fields, private and other attributes."""
    kind: Any = type(value)
    found: dict[str, Any] = getattr(value, "__dict__", None) or {}
    if slots:
        found = {name: getattr(value, name) for name in slots if hasattr(value, name)} | found
    if model:
        if extra := getattr(value, "__pydantic_extra__", None):
            found = found | extra
        if private := getattr(value, "__pydantic_private__", None):
            found = found | private
    if computed := _computed(kind):
        # A cached property may be computed on one side only.
        return {name: kept for name, kept in found.items() if name not in computed}
    return found


@functools.lru_cache(maxsize=1024)
def _computed(kind: Any) -> frozenset[str]:
    return frozenset(
        name
        for base in kind.__mro__
        for name, attribute in vars(base).items()
        if isinstance(attribute, functools.cached_property)
    )


def _objects(one: Any, other: Any) -> list[_Pair] | None:
    """Compare by ``==`` if the class defines it, else by attributes."""
    if one is other:
        return []
    kind: Any = type(one)
    if kind.__eq__ is not object.__eq__:
        return [] if bool(one == other) else None
    slots = _names_of_slots(kind)
    mine, its = (_attributes(slots, each, model=False) for each in (one, other))
    if not mine and not its:
        # For example a lock, which a constructor creates: two of them cannot be distinguished.
        return None if kind is object or callable(one) else []
    return [(name, mine.get(name, _ABSENT), its.get(name, _ABSENT)) for name in mine | its]
