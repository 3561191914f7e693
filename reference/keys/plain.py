"""From what was selected to plain data that can be encoded, or to the place that cannot be: in linear time."""

import datetime as dt
import sys
from decimal import Decimal
from enum import Enum
from json import dumps
from typing import Any, NamedTuple

from .opening import SCALARS, contents, is_leaf
from .refusals import KeptOut, Marker, Refused, Secret, Unselected, failed_conversion, is_secret, kind_of

_WAYS = "Convert it to plain JSON data before the call, or select other parts"

# A path longer than this says no more than its beginning.
_SHOWN_SEGMENTS = 12
_SHOWN_NAME = 40

_KEYS = (str, int, float, type(None))
_NUMBERLESS = frozenset((str, float, bool, type(None)))
_LONG_BITS = 14_000
"""Shorter integers can always be written out."""

# A place is its parent and its own segment: paths are only spelt out for the one that is reported.
_Place = tuple["_Place | None", Any]
_ROOT: _Place = (None, None)


def plain(selected: Any, *, reveal: bool, leaves: bool = False) -> Any:
    """Return a copy of what was selected that consists of dicts, lists, scalars, and leaves that can be written.

    Parameters
    ----------
    selected
        Anything.
    reveal
        Whether secrets become what they hide; if not, they are refused.
    leaves
        Whether anything that cannot be opened may stay as it is: it is not going to be written.

    Raises
    ------
    Refused
        Something in it cannot stand in a key; its path says where.
    """
    return _Walk(reveal=reveal, leaves=leaves, strict=False).run(selected)


def locate(selected: Any, *, reveal: bool) -> Refused:
    """Return why something cannot be encoded, with the path of the first such place."""
    walk = _Walk(reveal=reveal, leaves=False, strict=True)
    try:
        walk.run(selected)
    except Refused as refusal:
        return refusal
    refusal = Refused(f"is nested {walk.deepest[0]} levels deep, more than can be encoded", _WAYS)
    refusal.path = spelt(walk.deepest[1])
    return refusal


class _Item(NamedTuple):
    """A value to look at, and where what stands for it goes."""

    value: Any
    target: Any
    slot: Any
    place: _Place
    depth: int


class _Walk:
    # Iterative, since too deep a nesting is one of the things it has to report.

    def __init__(self, *, reveal: bool, leaves: bool, strict: bool) -> None:
        self._reveal = reveal
        self._leaves = leaves
        self._strict = strict
        self._open: set[int] = set()
        self.deepest: tuple[int, _Place] = (0, _ROOT)

    def run(self, selected: Any) -> Any:
        result: list[Any] = [None]
        pending: list[Any] = [_Item(selected, result, 0, _ROOT, 0)]
        most = 2 * sys.getrecursionlimit() if self._strict else None
        while pending:
            item = pending.pop()
            if type(item) is int:
                self._open.discard(item)
                continue
            try:
                self._visit(item, pending)
            except Refused as refusal:
                if refusal.path == "$":
                    refusal.path = spelt(item.place)
                raise
            if item.depth > self.deepest[0]:
                self.deepest = (item.depth, item.place)
                # Nothing that deep can be encoded, and an object can unfold for ever.
                if most is not None and item.depth > most:
                    break
                if item.depth > _DEEPEST:
                    raise RecursionError
        return result[0]

    def _visit(self, item: _Item, pending: list[Any]) -> None:
        value = item.value
        kind = type(value)
        if kind is not dict and kind is not list:
            value = self._converted(value)
            if type(value) is not dict and type(value) is not list:
                item.target[item.slot] = value
                if self._strict and type(value) is int:
                    self._check_number(value)
                return
        # The object itself, if it is one: what it converts to is new each time.
        identity = id(item.value)
        if identity in self._open:
            raise Refused(f"is of type {kind_of(item.value)} and contains itself", _WAYS)
        if type(value) is dict:
            kinds = set(map(type, value.values()))
            if self._strict or Unselected in kinds:
                value = self._checked_keys(value)
        else:
            kinds = set(map(type, value))
        if kinds <= SCALARS and not (self._strict and not kinds <= _NUMBERLESS):
            item.target[item.slot] = value
            if item.depth >= self.deepest[0]:
                self.deepest = (item.depth, item.place)
            return
        self._open.add(identity)
        pending.append(identity)
        self._descend(value, item, pending)

    def _descend(self, value: Any, item: _Item, pending: list[Any]) -> None:
        first = len(pending)
        depth = item.depth + 1
        copy: Any = dict(value) if type(value) is dict else list(value)
        item.target[item.slot] = copy
        for slot, child in value.items() if type(value) is dict else enumerate(value):
            kind = type(child)
            if kind in SCALARS:
                if kind is int and self._strict:
                    self._check_number(child, (item.place, slot))
                continue
            pending.append(_Item(child, copy, slot, (item.place, slot), depth))
        # The first is looked at first.
        pending[first:] = reversed(pending[first:])

    @staticmethod
    def _checked_keys(mapping: dict[Any, Any]) -> dict[Any, Any]:
        found = {name: value for name, value in mapping.items() if type(value) is not Unselected}
        kinds = set(map(type, found))
        if kinds <= {str}:
            return found
        for key in found:
            if not isinstance(key, _KEYS):
                raise Refused(f"has a key of type {kind_of(key)}, where JSON only has strings", _WAYS)
        try:
            sorted(found)
        except TypeError as error:
            names = " and ".join(sorted({kind_of(key) for key in found}))
            raise Refused(f"has keys of types {names}, which cannot be put in order", _WAYS) from error
        return found

    @staticmethod
    def _check_number(number: int, place: _Place | None = None) -> None:
        if number.bit_length() > _LONG_BITS:
            try:
                str(number)
            except ValueError as error:
                refusal = Refused("is of type int and too long to be written out", _WAYS)
                refusal.path = "$" if place is None else spelt(place)
                raise refusal from error

    def _converted(self, value: Any) -> Any:
        """Return a dict, a list, or something that is written as it is."""
        kind = type(value)
        if kind in SCALARS:
            return value
        if kind is tuple:
            return list(value)
        if isinstance(value, Marker):
            return self._unmarked(value)
        if is_secret(value):
            return self._unmarked(Secret(value, None))
        if isinstance(value, Enum) and is_leaf(value) and not isinstance(value, str | int | float | Decimal):
            return self._converted_further(value.value)
        if isinstance(value, type):
            return self._opaque(value)
        try:
            found = contents(value)
        except Refused:
            raise
        except Exception as error:
            raise failed_conversion(value, error) from error
        if found is value:
            written = is_leaf(value) and not isinstance(value, bytes)
            return value if written else self._opaque(value)
        return self._converted_further(found)

    def _unmarked(self, marker: Marker) -> Any:
        if self._reveal and isinstance(marker, Secret):
            return self._converted_further(marker.reveal())
        if self._leaves and isinstance(marker, KeptOut):
            return self._converted_further(marker.value)
        return self._converted_further(marker.resolve())

    def _converted_further(self, found: Any) -> Any:
        return found if type(found) in (dict, list) else self._converted(found)

    def _opaque(self, value: Any) -> Any:
        if self._leaves:
            return value
        raise Refused(f"is of type {kind_of(value)}, which cannot be encoded", _WAYS)


_DEEPEST = 1_000_000


def spelt(place: _Place) -> str:
    """Return a path such as ``$.items[2].price``."""
    segments: list[Any] = []
    here: _Place | None = place
    while here is not None:
        here, segment = here
        if here is not None:
            segments.append(segment)
    segments.reverse()
    shown = [_segment(segment) for segment in segments[:_SHOWN_SEGMENTS]]
    return "".join(["$", *shown, *(["..."] if len(segments) > _SHOWN_SEGMENTS else [])])


def _segment(slot: Any) -> str:
    if type(slot) is int:
        return f"[{slot}]"
    name = str(slot)
    if name.isidentifier() and len(name) <= _SHOWN_NAME:
        return f".{name}"
    return f"[{dumps(name if len(name) <= _SHOWN_NAME else name[:_SHOWN_NAME] + '...')}]"
