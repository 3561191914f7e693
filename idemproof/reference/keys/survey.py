"""Search selected data level by level for values that cannot be encoded.

Built-in functions check each level as a whole. Of a wide level, only those parts are opened that an encoder
refuses, because it proves in a fraction of the time that the other parts have no fault.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import accumulate, chain, compress
from typing import Any, NamedTuple

from ...drivers.interrupts import raise_interrupt
from ..places import ROOT, Place, spelt
from .refusals import Refused, kind_of

WAYS = "Convert it to plain JSON data before the call, or select other parts"

_CONTAINERS = frozenset((dict, list, tuple))
_DICT = frozenset((dict,))
_USUAL = _CONTAINERS | {str, int, float, bool, type(None)}
_KEYS = (str, int, float, type(None))
DEEPEST = 2000
"""Objects that unfold deeper than this unfold without end, and cannot be encoded."""

_SHORT = 10**4000
"""Shorter integers can always be encoded."""

_WIDE = 64
"""For a level with more containers than this, first try to prove most of them faultless."""
_PARTS = 16
_ATTEMPTS = 3
"""Limits how often parts are read that are not proven faultless."""


class _Level(NamedTuple):
    """The values at one depth, and which of them contain other values."""

    items: list[Any]
    holders: Sequence[int]
    """The indexes of the containers whose contents are the next level."""
    ends: list[int]
    """The end of each container's contents in the next level."""


def survey(  # noqa: C901 - one loop, for speed
    selected: Any,
    convert: Callable[[Any], Any],
    is_written: Callable[[Any], bool],
    write: Callable[[Any], Any],
    *,
    refused: Exception | None,
) -> bool:
    """Return whether there are objects to convert in the selected data.

    Parameters
    ----------
    selected
        Anything.
    convert
        Converts an object by one level, or refuses it.
    is_written
        Returns whether the encoder can write a value of a class that JSON does not have.
    write
        Encodes a list, or raises if there is a fault in it.
    refused
        The error of ``write`` for the whole, if it was refused. Then keys and numbers are searched too.

    Raises
    ------
    Refused
        A value cannot be encoded. The path says where it is.
    """
    levels: list[_Level] = []
    items: list[Any] = [selected]
    seen: set[int] = set()
    unfolded = 0
    attempts = _ATTEMPTS
    numbers = refused is not None and not isinstance(refused, TypeError)
    while items:
        kinds = set(map(type, items))
        unusual = kinds - _USUAL
        if unusual and _convert_objects(unusual, levels, items, convert, is_written):
            kinds = set(map(type, items))
            unfolded += 1
            if unfolded > DEEPEST:
                raise Refused(f"unfolds into objects more than {DEEPEST} levels deep", WAYS)
        if numbers and int in kinds:
            _check_numbers(levels, items)
        if kinds.isdisjoint(_CONTAINERS):
            break
        holders: Sequence[int] = range(len(items))
        if kinds <= _CONTAINERS:
            if not all(items):
                holders = list(compress(holders, items))  # nothing is wrong with what is empty
        else:
            holders = list(compress(holders, _of_kinds(items, _CONTAINERS)))
        containers = items if len(holders) == len(items) else list(map(items.__getitem__, holders))
        if dict in kinds and refused is not None:
            _check_keys(levels, items, list(compress(holders, _of_kinds(containers, _DICT))))
        if kinds <= _CONTAINERS and len(holders) > _WIDE and attempts:
            attempts -= 1
            doubtful = _doubtful(containers, write, only_first=refused is not None)
            holders = list(map(holders.__getitem__, doubtful))
            containers = list(map(containers.__getitem__, doubtful))
            if dict in kinds and refused is None:
                _check_keys(levels, items, list(compress(holders, _of_kinds(containers, _DICT))))
        identities = set(map(id, containers))
        if len(identities) < len(holders) or not seen.isdisjoint(identities):
            # Each container is read once, because it may contain itself.
            holders = _first_seen(holders, items, seen)
            containers = list(map(items.__getitem__, holders))
        seen |= identities
        levels.append(_Level(items, holders, list(accumulate(map(len, containers)))))
        items = list(chain.from_iterable(map(_contents, containers) if dict in kinds else containers))
    return unfolded > 0


def _convert_objects(
    unusual: set[type],
    levels: list[_Level],
    items: list[Any],
    convert: Callable[[Any], Any],
    is_written: Callable[[Any], bool],
) -> bool:
    """Replace each object by its converted form, and return whether there are any."""
    written: dict[type, bool] = {}
    for place in list(compress(range(len(items)), _of_kinds(items, unusual))):
        kind = type(items[place])
        if kind not in written:
            written[kind] = is_written(items[place])
        if not written[kind]:
            items[place] = _checked(convert, levels, items, place)
    return not all(written.values())


def _doubtful(items: list[Any], write: Callable[[Any], Any], *, only_first: bool) -> Sequence[int]:
    """Return the indexes of the containers that are not proven faultless."""
    size = -(-len(items) // _PARTS)
    doubtful: list[int] = []
    for start in range(0, len(items), size):
        part = items[start : start + size]
        try:
            write(part)
        except Exception as error:  # noqa: BLE001 - the fault is searched for
            raise_interrupt(error)
            doubtful += range(start, start + len(part))
            if only_first:
                break
    return doubtful


def _of_kinds(items: list[Any], kinds: Collection[type]) -> Iterable[bool]:
    return map(kinds.__contains__, map(type, items))


def _first_seen(holders: Sequence[int], items: list[Any], seen: set[int]) -> list[int]:
    known = set(seen)
    first: list[int] = []
    for place in holders:
        if id(items[place]) not in known:
            known.add(id(items[place]))
            first.append(place)
    return first


def _contents(container: Any) -> Iterable[Any]:
    return container.values() if type(container) is dict else container


def _checked(convert: Callable[[Any], Any], levels: list[_Level], items: list[Any], place: int) -> Any:
    try:
        return convert(items[place])
    except Refused as refusal:
        if refusal.path == "$":
            refusal.path = spelt(_place_of(levels, place))
        raise


def _check_numbers(levels: list[_Level], items: list[Any]) -> None:
    numbers = list(compress(items, _of_kinds(items, (int,))))
    for number in (max(numbers), min(numbers)):
        if _is_too_long(number):
            place = list(map(id, items)).index(id(number))
            raise _refused("is of type int and too long to be encoded", levels, place)


def _is_too_long(number: int) -> bool:
    if -_SHORT < number < _SHORT:
        return False
    try:
        str(number)
    except ValueError:
        return True
    return False


def _check_keys(levels: list[_Level], items: list[Any], places: list[int]) -> None:
    if set(map(type, chain.from_iterable(map(items.__getitem__, places)))) <= {str}:
        return
    if len(places) > _PARTS:
        size = -(-len(places) // _PARTS)
        for start in range(0, len(places), size):
            _check_keys(levels, items, places[start : start + size])
    else:
        for place in places:
            if fault := _key_fault(items[place]):
                raise _refused(fault, levels, place)


def _key_fault(mapping: dict[Any, Any]) -> str | None:
    if set(map(type, mapping)) <= {str}:
        return None
    for key in mapping:
        if not isinstance(key, _KEYS):
            return f"has a key of type {kind_of(key)}, where JSON only has strings"
        if isinstance(key, int) and _is_too_long(key):
            return f"has a key of type {kind_of(key)}, too long to be encoded"
    try:
        sorted(mapping)
    except TypeError:
        kinds = " and ".join(sorted({kind_of(key) for key in mapping}))
        return f"has keys of types {kinds}, which cannot be sorted"
    return None


def _refused(what: str, levels: list[_Level], place: int) -> Refused:
    refusal = Refused(what, WAYS)
    refusal.path = spelt(_place_of(levels, place))
    return refusal


def _place_of(levels: list[_Level], place: int) -> Place:
    slots: list[Any] = []
    for level in reversed(levels):
        holder = bisect_right(level.ends, place)
        index = place - (level.ends[holder - 1] if holder else 0)
        place = level.holders[holder]
        container = level.items[place]
        slots.append(list(container)[index] if type(container) is dict else index)
    found = ROOT
    for slot in reversed(slots):
        found = (found, slot)
    return found
